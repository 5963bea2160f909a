//! The standard output: tables for people, one JSON document for programs.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use api::wire::{Answer, Behind};
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::fault::Fault;

/// Room for a document that holds a secret, bytes.
const DOCUMENT_BYTES: usize = 4 << 10;

/// What catches the eye on a terminal; nothing of it reaches a file or a pipe.
pub const HEADING: Style = Style::new().bold();
/// For what a reader should not miss.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// For what went wrong.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();

/// An answer and what is behind it, as one JSON document.
#[derive(Serialize)]
struct Document<'a, T> {
    answer: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<&'a Behind>,
}

/// Writes an answer: as JSON, or as the text that was made of it.
pub fn answer(json: bool, answer: &Answer, behind: &Behind, text: &str) -> Result<(), Fault> {
    if json { document(answer, Some(behind)) } else { print(text) }
}

/// Writes an answer as one JSON document on a line.
pub fn document(answer: &impl Serialize, behind: Option<&Behind>) -> Result<(), Fault> {
    line(&Document { answer, behind })
}

/// An answer as one JSON document on a line, for one that holds a secret: wiped when it is dropped.
pub fn document_text(answer: &impl Serialize, behind: Option<&Behind>) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut text = Zeroizing::new(Vec::with_capacity(DOCUMENT_BYTES));
    serde_json::to_writer(&mut *text, &Document { answer, behind })
        .map_err(|error| Fault::Failed(error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes anything as JSON on a line.
pub fn line(value: &impl Serialize) -> Result<(), Fault> {
    let mut text = serde_json::to_vec(value).map_err(|error| Fault::Failed(error.to_string()))?;
    text.push(b'\n');
    raw(&text)
}

/// Writes text whose parts were made safe by [`clean`]; colours only where they are wanted.
pub fn print(text: &str) -> Result<(), Fault> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Fault::Output)
}

/// Writes bytes as they are.
pub fn raw(bytes: &[u8]) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Fault::Output)
}

/// Writes a new file; one that is there stays.
pub fn write_new(path: &Path, text: &str) -> Result<(), Fault> {
    let file = File::options().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Fault::Failed(format!("cannot write {}: {error}", path.display())))
}

/// A line on the error output. Where nobody can read it, there is nobody to tell that.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", clean(text));
}

/// A warning on the error output.
pub fn warning(text: &str) {
    labelled(WARNING, "warning", text);
}

/// An error on the error output.
pub fn error(text: &str) {
    labelled(ERROR, "error", text);
}

fn labelled(style: Style, label: &str, text: &str) {
    let _ = writeln!(anstream::stderr(), "dsmil: {style}{label}:{style:#} {}", clean(text));
}

/// Text for a terminal: what could move its cursor, change its state or reorder what is read is shown as an escape.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
        {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Columns that are as wide as their widest cell.
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows; the header may be empty.
    pub fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|&cell| cell.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = Vec::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        if !self.header.is_empty() {
            writeln!(f, "{HEADING}{}{HEADING:#}", aligned(&self.header, &widths))?;
        }
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", aligned(row, &widths)))
    }
}

fn aligned(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    cells.join("  ").trim_end().to_owned()
}

/// A number with its noun.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Bytes in the largest binary unit that leaves a number of at least one, to a tenth.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = units.into_iter().zip((1..).map(|step| 1u64 << (10 * step)));
    match unit.take_while(|(_, size)| *size <= bytes).last() {
        None => format!("{bytes} B"),
        Some((unit, size)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(size);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(clean("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(clean("\u{9b}31m \u{202e}exe"), "\\u{9b}31m \\u{202e}exe");
        assert_eq!(clean("“ä” — 90 °C"), "“ä” — 90 °C");
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row(["0x8000".to_owned(), String::new()]);
        table.row(["1".to_owned(), "ä".to_owned()]);
        let text = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(text, "ID      NAME\n0x8000\n1       ä\n");
    }

    #[test]
    fn bytes_are_read_by_people() {
        for (number, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_600_000, "1.5 MiB"), (u64::MAX, "15.9 EiB")]
        {
            assert_eq!(bytes(number), text);
        }
    }
}
