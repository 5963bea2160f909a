//! Bytes of a file that a person wrote, as text.

use super::mistake::{Mistake, Place};

/// The file as text, of at most `most` bytes.
///
/// # Errors
///
/// It is longer, or not UTF-8, or holds a NUL byte.
pub fn read(bytes: &[u8], most: usize) -> Result<&str, Mistake> {
    if bytes.len() > most {
        let what = format!("the file has {} bytes", bytes.len());
        return Err(Mistake::new(Place::default(), what, format!("keep it within {most}")));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let place = place_after(std::str::from_utf8(good).unwrap_or_default());
            return Err(Mistake::new(place, "bytes that are not UTF-8", "save the file as UTF-8"));
        }
    };
    match text.find('\0') {
        Some(at) => {
            let place = place_after(text.get(..at).unwrap_or_default());
            Err(Mistake::new(place, "a NUL byte", "save the file as plain text"))
        }
        None => Ok(text),
    }
}

/// The place of what follows this beginning of a file.
fn place_after(text: &str) -> Place {
    let line = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place { line: count(line), column: count(column) }
}
