//! What two texts differ in, line by line: the longest common subsequence, over what is left between equal beginnings and ends.

use serde_json::{Value, json};

use super::{limit, shown};
use crate::fault::Fault;
use crate::input::Input;
use crate::options::Options;
use crate::task::Task;

/// Most lines of a text: the table of lengths has as many entries as lines times lines, of two bytes.
const LINES_MAX: usize = 2_000;

/// A line that only one of them has, by its number in that one, from 1.
enum Change<'t> {
    Removed(usize, &'t str),
    Added(usize, &'t str),
}

/// Longest common subsequences of what is behind each pair of places.
struct Lengths {
    width: usize,
    lengths: Vec<u16>,
}

impl Lengths {
    fn new(task: &Task, before: &[&str], after: &[&str]) -> Result<Self, Fault> {
        let width = after.len() + 1;
        let mut table = Self { width, lengths: vec![0; (before.len() + 1) * width] };
        for (row, line) in before.iter().enumerate().rev() {
            task.at(0, None, || "compares".to_owned())?;
            for (column, other) in after.iter().enumerate().rev() {
                let length = if line == other {
                    table.at(row + 1, column + 1) + 1
                } else {
                    table.at(row + 1, column).max(table.at(row, column + 1))
                };
                if let Some(entry) = table.lengths.get_mut(row * width + column) {
                    *entry = length;
                }
            }
        }
        Ok(table)
    }

    fn at(&self, row: usize, column: usize) -> u16 {
        self.lengths.get(row * self.width + column).copied().unwrap_or(0)
    }
}

fn changes<'t>(task: &Task, before: &[&'t str], after: &[&'t str]) -> Result<Vec<Change<'t>>, Fault> {
    let equal = |(a, b): &(&&str, &&str)| a == b;
    let head = before.iter().zip(after).take_while(equal).count();
    let (before, after) = (before.get(head..).unwrap_or_default(), after.get(head..).unwrap_or_default());
    let tail = before.iter().rev().zip(after.iter().rev()).take_while(equal).count();
    let before = before.get(..before.len() - tail).unwrap_or_default();
    let after = after.get(..after.len() - tail).unwrap_or_default();
    let lengths = Lengths::new(task, before, after)?;
    let mut changes = Vec::new();
    let (mut row, mut column) = (0, 0);
    loop {
        match (before.get(row), after.get(column)) {
            (None, None) => return Ok(changes),
            (Some(line), Some(other)) if line == other => {
                row += 1;
                column += 1;
            }
            (Some(line), other)
                if other.is_none() || lengths.at(row + 1, column) >= lengths.at(row, column + 1) =>
            {
                row += 1;
                changes.push(Change::Removed(head + row, line));
            }
            (_, Some(other)) => {
                column += 1;
                changes.push(Change::Added(head + column, other));
            }
            (Some(_), None) => row += 1,
        }
    }
}

pub fn diff(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let limit = limit(input)?;
    let lines = |name| {
        let lines: Vec<&str> = input.text(name)?.lines().collect();
        match lines.len() {
            0..=LINES_MAX => Ok(lines),
            count => Err(Fault::input(format!("“{name}” has {count} lines, more than {LINES_MAX}"))),
        }
    };
    let changes = changes(task, &lines("before")?, &lines("after")?)?;
    let removed = changes.iter().filter(|change| matches!(change, Change::Removed(..))).count();
    let told: Vec<Value> = changes
        .iter()
        .take(limit)
        .map(|change| match change {
            Change::Removed(line, text) => json!({"line": line, "removed": shown(text)}),
            Change::Added(line, text) => json!({"line": line, "added": shown(text)}),
        })
        .collect();
    Ok(json!({
        "changes": told, "removed": removed, "added": changes.len() - removed, "is_equal": changes.is_empty(),
    }))
}
