//! Tables as RFC 4180 has them.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::input::Input;
use crate::options::Options;
use crate::task::Task;

/// Most columns.
const COLUMNS_MAX: usize = 1_000;

/// A row with the line in which it begins, or the line in which something is wrong.
type Row = Result<(u64, Vec<String>), (u64, &'static str)>;

/// Takes a text apart into rows.
struct Rows<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    separator: char,
    line: u64,
}

impl Iterator for Rows<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        self.rest.peek()?;
        let begin = self.line;
        let mut fields = Vec::new();
        loop {
            let (field, is_last) = match self.field() {
                Ok(field) => field,
                Err(why) => return Some(Err((self.line, why))),
            };
            fields.push(field);
            if fields.len() > COLUMNS_MAX {
                return Some(Err((begin, "there are more than 1000 columns")));
            }
            if is_last {
                return Some(Ok((begin, fields)));
            }
        }
    }
}

impl Rows<'_> {
    /// A field, and whether its row ends with it.
    fn field(&mut self) -> Result<(String, bool), &'static str> {
        let mut text = String::new();
        let is_quoted = self.rest.next_if_eq(&'"').is_some();
        if is_quoted {
            loop {
                match self.rest.next() {
                    Some('"') if self.rest.next_if_eq(&'"').is_some() => text.push('"'),
                    Some('"') => break,
                    Some(c) => {
                        self.line += u64::from(c == '\n');
                        text.push(c);
                    }
                    None => return Err("a quote is never closed"),
                }
            }
        }
        loop {
            match self.rest.next() {
                None => return Ok((text, true)),
                Some('\r') if self.rest.peek() == Some(&'\n') => {}
                Some('\n') => {
                    self.line += 1;
                    return Ok((text, true));
                }
                Some(c) if c == self.separator => return Ok((text, false)),
                Some(_) if is_quoted => return Err("something stands behind a closing quote"),
                Some('"') => return Err("a quote stands in the middle of a field"),
                Some(c) => text.push(c),
            }
        }
    }
}

/// What is known of a column.
#[derive(Default)]
struct Column {
    filled: u64,
    numbers: u64,
    least: f64,
    most: f64,
    sum: f64,
}

impl Column {
    fn add(&mut self, field: &str) {
        let field = field.trim();
        self.filled += u64::from(!field.is_empty());
        let Some(number) = field.parse::<f64>().ok().filter(|number| number.is_finite()) else { return };
        let is_first = self.numbers == 0;
        self.least = if is_first { number } else { self.least.min(number) };
        self.most = if is_first { number } else { self.most.max(number) };
        self.sum += number;
        self.numbers += 1;
    }

    fn told(&self, name: &str) -> Value {
        match self.numbers {
            0 => json!({"name": name, "filled": self.filled, "numbers": 0}),
            _ => json!({
                "name": name, "filled": self.filled, "numbers": self.numbers, "least": self.least, "most": self.most,
                "sum": self.sum,
            }),
        }
    }
}

pub fn check(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let separator = input.text_or("separator", ",")?;
    let mut characters = separator.chars();
    let (Some(separator), None) = (characters.next(), characters.next()) else {
        return Err(Fault::input("“separator” is one character"));
    };
    let has_header = input.get("header").is_none() || input.flag("header")?;
    let text = input.text("text")?;
    let mut rows = Rows { rest: text.chars().peekable(), separator, line: 1 };
    let wrong = |line: u64, why: &str| Ok(json!({"valid": false, "line": line, "why": why}));
    let mut names: Vec<String> = Vec::new();
    let mut columns: Vec<Column> = Vec::new();
    let mut count = 0_u64;
    for row in &mut rows {
        let (line, fields) = match row {
            Ok(row) => row,
            Err((line, why)) => return wrong(line, why),
        };
        task.at(line, None, || format!("line {line}"))?;
        if columns.is_empty() {
            columns = fields.iter().map(|_| Column::default()).collect();
            names = (1..=fields.len()).map(|number| number.to_string()).collect();
            if has_header {
                names = fields;
                continue;
            }
        } else if fields.len() != columns.len() {
            let why = format!("{} fields where {} are expected", fields.len(), columns.len());
            return wrong(line, &why);
        }
        count += 1;
        columns.iter_mut().zip(&fields).for_each(|(column, field)| column.add(field));
    }
    let told: Vec<Value> = columns.iter().zip(&names).map(|(column, name)| column.told(name)).collect();
    Ok(json!({"valid": true, "rows": count, "columns": told}))
}
