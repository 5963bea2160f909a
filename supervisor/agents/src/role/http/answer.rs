//! Takes an HTTP/1.1 answer apart (RFC 9112): status, headers, and a body of known length, in chunks, or up to the end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

/// Most bytes of status and headers together.
const HEAD_MAX: usize = 16 << 10;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By their names in lower case; those that stand several times are joined by a comma.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// Why there is none.
#[derive(Debug)]
pub enum Wrong {
    /// It did not come.
    Io(std::io::Error),
    /// It came, and is none; in words that go on “the server's answer”.
    Answer(String),
}

impl From<std::io::Error> for Wrong {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn wrong<T>(why: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::Answer(why.into()))
}

/// A line without its end, taken from what is left of `room`.
fn line(reader: &mut impl BufRead, room: &mut usize) -> Result<String, Wrong> {
    let mut bytes = Vec::new();
    let most = u64::try_from(*room).unwrap_or(u64::MAX);
    reader.take(most).read_until(b'\n', &mut bytes)?;
    *room = room.saturating_sub(bytes.len());
    if bytes.pop() != Some(b'\n') {
        return wrong(if *room == 0 { "has a head of more than 16 KiB" } else { "ends in its head" });
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads an answer with a body of at most `body_max` bytes.
///
/// # Errors
///
/// See [`Wrong`].
pub fn read(stream: impl Read, body_max: usize) -> Result<Answer, Wrong> {
    let mut reader = BufReader::new(stream);
    let mut room = HEAD_MAX;
    let first = line(&mut reader, &mut room)?;
    let status = match first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok()) {
        Some(status @ 200..=999) => status,
        Some(100..200) => return wrong("only says that another one follows"),
        _ => return wrong("is not HTTP/1"),
    };
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let header = line(&mut reader, &mut room)?;
        if header.is_empty() {
            break;
        }
        let Some((name, value)) = header.split_once(':') else {
            return wrong("has a header without a colon");
        };
        let entry = headers.entry(name.to_ascii_lowercase());
        let value = value.trim();
        entry.and_modify(|all| *all = format!("{all}, {value}")).or_insert_with(|| value.to_owned());
    }
    let body = match (headers.get("transfer-encoding"), headers.get("content-length")) {
        _ if [204, 304].contains(&status) => Vec::new(),
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => chunked(&mut reader, body_max)?,
        (Some(coding), _) => return wrong(format!("is encoded as {coding:?}")),
        (None, Some(length)) => match length.parse::<usize>() {
            Ok(length) if length <= body_max => exactly(&mut reader, length)?,
            Ok(length) => return wrong(format!("has {length} bytes, more than {body_max}")),
            Err(_) => return wrong("has a length that is none"),
        },
        (None, None) => to_the_end(&mut reader, body_max)?,
    };
    Ok(Answer { status, headers, body })
}

fn exactly(reader: &mut impl BufRead, length: usize) -> Result<Vec<u8>, Wrong> {
    let mut body = vec![0; length];
    match reader.read_exact(&mut body) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => wrong("ends too early"),
        other => Ok(other.map(|()| body)?),
    }
}

fn to_the_end(reader: &mut impl BufRead, most: usize) -> Result<Vec<u8>, Wrong> {
    let mut body = Vec::new();
    reader.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut body)?;
    if body.len() > most { wrong(format!("has more than {most} bytes")) } else { Ok(body) }
}

fn chunked(reader: &mut impl BufRead, most: usize) -> Result<Vec<u8>, Wrong> {
    let mut body = Vec::new();
    loop {
        let size = line(reader, &mut HEAD_MAX.clone())?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(size, 16) else { return wrong("has a chunk without a size") };
        if size == 0 {
            // What follows says nothing of the body, and the connection is closed.
            return Ok(body);
        }
        if size > most - body.len().min(most) {
            return wrong(format!("has more than {most} bytes"));
        }
        body.append(&mut exactly(reader, size)?);
        if !line(reader, &mut HEAD_MAX.clone())?.is_empty() {
            return wrong("has a chunk that is longer than it says");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Result<Answer, String> {
        read(text.as_bytes(), 20).map_err(|why| match why {
            Wrong::Io(error) => error.to_string(),
            Wrong::Answer(why) => why,
        })
    }

    #[test]
    fn bodies_end_where_they_say() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\nhello",
        ] {
            let answer = answer(text).unwrap();
            assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]), "{text}");
        }
        let twice = answer("HTTP/1.1 204 No\r\nA: 1\r\na:  2\r\n\r\n").unwrap();
        assert_eq!((twice.status, twice.headers["a"].as_str()), (204, "1, 2"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(HEAD_MAX));
        for (text, why) in [
            ("SSH-2.0-x\r\n", "not HTTP/1"),
            ("HTTP/1.1 200 OK\r\n", "ends in its head"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n", "21 bytes, more than 20"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "too early"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "a length that is none"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n", "more than 20"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "longer than it says"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "gzip"),
            ("HTTP/1.1 200 OK\r\n\r\n123456789012345678901", "more than 20 bytes"),
            ("HTTP/1.1 200 OK\r\nbad\r\n\r\n", "without a colon"),
            (long.as_str(), "more than 16 KiB"),
        ] {
            let told = answer(text).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
