//! By what the files hold: read, hashed, searched, compared. However large a file is, at most a chunk or a line of it is held.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::root::{Root, shown};
use super::{LIMIT_MAX, open, walk, with_walk};
use crate::fault::Fault;
use crate::input::Input;
use crate::options::Options;
use crate::task::{Task, hex};

/// Bytes read at once.
const CHUNK: usize = 128 << 10;
/// Most bytes of a file in one result.
const READ_MAX: u64 = 32 << 10;
/// What is looked at of a longer line, bytes.
const LINE_MAX: usize = 64 << 10;
/// What is told of a longer line, characters.
const SHOWN_MAX: usize = 200;
/// Most files with the same content that are named.
const GROUP_MAX: usize = 10;

pub fn read(_: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let root = open(options)?;
    let path = root.inside(input.text("path")?)?;
    let (mut file, size) = root.file(&path)?;
    let offset = input.number_or("offset", 0, u64::MAX >> 1)?;
    let most = input.number_or("bytes", READ_MAX / 2, READ_MAX)?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| Fault::system(shown(&path), &error))?;
    // A character that is cut at the end belongs to the next part.
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(whole).unwrap_or_default()
        }
        Err(error) => {
            let at = offset.saturating_add(u64::try_from(error.valid_up_to()).unwrap_or(0));
            return Err(Fault::input(format!("{} is not UTF-8 from byte {at} on", shown(&path))));
        }
    };
    let end = offset.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
    let next = if end < size { json!(end) } else { Value::Null };
    Ok(json!({"text": text, "bytes": size, "next": next}))
}

/// SHA-256 of a file; `read` counts on.
fn digest(task: &Task, path: &Path, mut file: File, read: &mut u64) -> Result<[u8; 32], Fault> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        task.at(*read, None, || format!("hashes {}", shown(path)))?;
        let count = file.read(&mut chunk).map_err(|error| Fault::system(shown(path), &error))?;
        if count == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(chunk.get(..count).unwrap_or_default());
        *read = read.saturating_add(u64::try_from(count).unwrap_or(0));
    }
}

/// The same; a file that cannot be read has none. Cancelling is passed on.
fn digest_of(task: &Task, root: &Root, path: &Path, read: &mut u64) -> Result<Option<[u8; 32]>, Fault> {
    let Ok((file, _)) = root.file(path) else { return Ok(None) };
    match digest(task, path, file, read) {
        Ok(hash) => Ok(Some(hash)),
        Err(fault) if fault == Fault::cancelled() => Err(fault),
        Err(_) => Ok(None),
    }
}

pub fn hash(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = input.count_or("limit", 100, LIMIT_MAX)?;
    let mut hashes = Map::new();
    let mut total = Sha256::new();
    let (mut count, mut refused, mut bytes) = (0_u64, 0_u64, 0);
    let walked = walk(task, input, options, |root, entry| {
        if entry.kind != FileType::RegularFile {
            return Ok(());
        }
        let Some(hash) = digest_of(task, root, &entry.path, &mut bytes)? else {
            refused += 1;
            return Ok(());
        };
        count += 1;
        total.update(hash);
        total.update(entry.path.as_os_str().as_encoded_bytes());
        total.update([0]);
        if hashes.len() < limit {
            hashes.insert(entry.shown(), json!(hex(&hash)));
        }
        Ok(())
    })?;
    let total = hex(&total.finalize());
    let told = json!({"hashes": hashes, "count": count, "refused": refused, "bytes": bytes, "total": total});
    Ok(with_walk(told, &walked))
}

pub fn verify(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let root = open(options)?;
    let (mut different, mut missing) = (Vec::new(), Vec::new());
    let (mut equal, mut read) = (0_u64, 0);
    for (name, wanted) in input.map("expected")? {
        let wanted = wanted.as_str().filter(|text| text.len() == 64);
        let wanted = wanted
            .ok_or_else(|| Fault::input(format!("{name} is expected to be no SHA-256 of 64 digits")))?;
        let path = root.inside(name)?;
        match digest_of(task, &root, &path, &mut read)? {
            Some(hash) if hex(&hash).eq_ignore_ascii_case(wanted) => equal += 1,
            Some(_) => different.push(name),
            None => missing.push(name),
        }
    }
    let is_equal = different.is_empty() && missing.is_empty();
    Ok(json!({"equal": equal, "different": different, "missing": missing, "is_equal": is_equal}))
}

/// Hands each line to `see`, with its number from 1; of long ones the beginning. False: it is no text.
fn lines(file: File, mut see: impl FnMut(u64, &[u8]) -> Result<(), Fault>) -> Result<bool, Fault> {
    let mut reader = BufReader::with_capacity(CHUNK, file);
    let mut line = Vec::new();
    let mut number = 1;
    loop {
        let Ok(bytes) = reader.fill_buf() else { return Ok(true) };
        if bytes.is_empty() {
            break;
        }
        if bytes.contains(&0) {
            return Ok(false);
        }
        let (piece, used) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (bytes.get(..end).unwrap_or_default(), end + 1),
            None => (bytes, bytes.len()),
        };
        let room = LINE_MAX.saturating_sub(line.len());
        line.extend_from_slice(piece.get(..piece.len().min(room)).unwrap_or_default());
        let is_end = used > piece.len();
        reader.consume(used);
        if is_end {
            see(number, &line)?;
            line.clear();
            number += 1;
        }
    }
    if !line.is_empty() {
        see(number, &line)?;
    }
    Ok(true)
}

pub fn search(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = input.count_or("limit", 100, LIMIT_MAX)?;
    let any_case = input.flag("any_case")?;
    let sought = input.text("text")?;
    if sought.is_empty() || sought.len() > 1_000 {
        return Err(Fault::input("“text” has 1 to 1000 bytes"));
    }
    let fold = |bytes: &[u8]| if any_case { bytes.to_ascii_lowercase() } else { bytes.to_vec() };
    let sought = fold(sought.as_bytes());
    let mut matches = Vec::new();
    let (mut count, mut searched, mut binary) = (0_u64, 0_u64, 0_u64);
    let walked = walk(task, input, options, |root, entry| {
        if entry.kind != FileType::RegularFile {
            return Ok(());
        }
        let Ok((file, _)) = root.file(&entry.path) else { return Ok(()) };
        let is_text = lines(file, |number, line| {
            task.at(searched, None, || format!("searches {}", entry.shown()))?;
            let folded = if any_case { fold(line) } else { Vec::new() };
            let looked = if any_case { &folded } else { line };
            if looked.windows(sought.len()).any(|window| window == sought) {
                count += 1;
                if matches.len() < limit {
                    let text: String = String::from_utf8_lossy(line).chars().take(SHOWN_MAX).collect();
                    matches.push(json!({"path": entry.shown(), "line": number, "text": text}));
                }
            }
            Ok(())
        })?;
        *(if is_text { &mut searched } else { &mut binary }) += 1;
        Ok(())
    })?;
    let told = json!({"matches": matches, "count": count, "searched": searched, "binary": binary});
    Ok(with_walk(told, &walked))
}

pub fn duplicates(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = input.count_or("limit", 100, LIMIT_MAX)?;
    let least = input.number_or("min_bytes", 1, u64::MAX)?;
    // Only files of the same size can be the same: most are never read.
    let mut sizes: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let walked = walk(task, input, options, |_, entry| {
        if entry.kind == FileType::RegularFile && entry.bytes >= least {
            sizes.entry(entry.bytes).or_default().push(entry.path);
        }
        Ok(())
    })?;
    let root = open(options)?;
    let (mut groups, mut count, mut wasted, mut read) = (Vec::new(), 0_u64, 0_u64, 0);
    // The largest first: they are worth most.
    for (bytes, paths) in sizes.iter().rev().filter(|(_, paths)| paths.len() > 1) {
        let mut same: BTreeMap<[u8; 32], (u64, Vec<String>)> = BTreeMap::new();
        for path in paths {
            if let Some(hash) = digest_of(task, &root, path, &mut read)? {
                let (files, told) = same.entry(hash).or_default();
                *files += 1;
                if told.len() < GROUP_MAX {
                    told.push(shown(path));
                }
            }
        }
        for (hash, (files, paths)) in same.into_iter().filter(|(_, (files, _))| *files > 1) {
            count += 1;
            wasted = wasted.saturating_add(bytes.saturating_mul(files - 1));
            if groups.len() < limit {
                groups.push(json!({"sha256": hex(&hash), "bytes": bytes, "count": files, "paths": paths}));
            }
        }
    }
    Ok(with_walk(json!({"groups": groups, "count": count, "wasted_bytes": wasted}), &walked))
}
