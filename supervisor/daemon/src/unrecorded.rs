//! What was done without the log: restores in an emergency in which it could not be used (`recovery::rescue`) left a file each,
//! and a start puts what they hold into the log, as notes of root.
//!
//! A file goes when the log is found to tell of it, so at the next start: until then it is not sure that the note is durable.

use std::fs;
use std::path::{Path, PathBuf};

use engine::{Command, Event, RequestId, State};
use recovery::rescue::journal::UNRECORDED;
use sha2::{Digest as _, Sha256};
use types::peer::Peer;

use crate::keys::remove_file;

/// What the notes are called.
const KIND: &str = "offline-restore";
/// Files that are taken at one start; more are left to the next.
const FILES_MAX: usize = 64;
/// The largest file that is taken, bytes: a restore's facts are some kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The notes that are still to be made; files of which the log tells are removed.
pub fn notes(state_dir: &Path, state: &State) -> Vec<Event> {
    let Ok(list) = fs::read_dir(state_dir.join(UNRECORDED)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let mut events = Vec::new();
    for path in files.into_iter().take(FILES_MAX) {
        match notes_of(&path, state) {
            Ok(notes) if notes.is_empty() => {
                if let Err(error) = remove_file(&path) {
                    tracing::warn!("the log tells of {}, which stays: {error:#}", path.display());
                }
            }
            Ok(notes) => {
                tracing::warn!("a restore without the log is put into it: {}", path.display());
                events.extend(notes);
            }
            Err(why) => {
                tracing::error!("{} tells of a restore that the log does not know: {why}", path.display());
            }
        }
    }
    events
}

/// A file, in as many notes as it takes, but for those that the log has.
fn notes_of(path: &Path, state: &State) -> Result<Vec<Event>, String> {
    let bytes = store::blob::read(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let most = state.rules.notes.bytes_max;
    if most == 0 {
        return Err("notes are switched off".to_owned());
    }
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut events = Vec::new();
    for (part, content) in (0_u64..).zip(bytes.chunks(most)) {
        let digest = Sha256::new()
            .chain_update(b"dsmil unrecorded 1\0")
            .chain_update(name)
            .chain_update(part.to_be_bytes())
            .chain_update(content)
            .finalize();
        let mut request = RequestId([0; 16]);
        request.0.iter_mut().zip(digest).for_each(|(byte, hashed)| *byte = hashed);
        if state.notes.places.contains_key(&request) {
            continue;
        }
        let peer = Peer { pid: i32::try_from(std::process::id()).unwrap_or_default(), uid: 0, gid: 0 };
        let command = Command::Note { kind: KIND.to_owned(), content: content.to_vec() };
        events.push(Event::Asked { request, peer, command });
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use engine::{Input, Record, Room, decide, evolve};
    use policy::Rules;
    use types::time::Time;

    use super::*;

    #[test]
    fn what_the_log_does_not_tell_is_noted_once_and_then_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(UNRECORDED);
        fs::create_dir(&folder).unwrap();
        let content: Vec<u8> = (0..250).collect();
        fs::write(folder.join("1-2.cbor"), &content).unwrap();
        let notes = policy::Notes { bytes_max: 100, hour_bytes_max: 0 };
        let mut state = State::new(Rules { notes, ..Rules::default() });
        let mut told = Vec::new();
        for round in [3, 0] {
            let events = super::notes(dir.path(), &state);
            assert_eq!(events.len(), round);
            for event in events {
                let input = Input { time: Time::default(), room: Room::Notes, event };
                for fact in decide(&state, &input).unwrap().facts {
                    let engine::Fact::Noted { kind, content, asker, .. } = &fact else { panic!("{fact:?}") };
                    assert_eq!((kind.as_str(), asker.uid), (KIND, 0));
                    told.extend(content.clone());
                    evolve(&mut state, &Record::new(input.time, fact));
                }
            }
        }
        assert_eq!(told, content);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        assert!(super::notes(&dir.path().join("none"), &state).is_empty());
    }
}
