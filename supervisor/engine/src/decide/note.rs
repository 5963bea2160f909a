//! What somebody tells of their own accord: a fact without an order, because it changes nothing but the log.

use types::peer::Peer;

use super::Decision;
use crate::command::{NOTE_BYTES_MAX, RequestId, kind_fault};
use crate::fact::Fact;
use crate::input::{Input, Room};
use crate::reply::{Answer, Body, Refusal, Reply};
use crate::state::{NOTE_FRAME_BYTES, State};

pub(super) fn note(
    state: &State,
    input: &Input,
    (request, peer): (RequestId, Peer),
    kind: &str,
    content: &[u8],
) -> Decision {
    let reply = |body| Reply { request, body };
    if let Err(refusal) = admit(state, input, &peer, kind, content) {
        return Decision::reply(reply(Body::Refused(refusal)));
    }
    let noted = Fact::Noted {
        request: request.0,
        asker: peer.into(),
        kind: kind.to_owned(),
        content: content.to_vec(),
    };
    // Its place is known before it is appended: the log holds each fact that is folded in, and nothing else.
    Decision::fact(noted).with(reply(Body::Done(Answer::Noted { index: state.facts })))
}

/// A note needs no permit, for it does nothing; but the log is everybody's, and nobody may fill it.
fn admit(state: &State, input: &Input, peer: &Peer, kind: &str, content: &[u8]) -> Result<(), Refusal> {
    if let Some(fault) = kind_fault(kind) {
        return Err(Refusal::Invalid(fault.to_owned()));
    }
    let limits = &state.rules.notes;
    let most = limits.bytes_max.min(NOTE_BYTES_MAX);
    if content.len() > most {
        return Err(Refusal::Invalid(format!("a note has at most {most} bytes, this one {}", content.len())));
    }
    if input.room < Room::Notes {
        return Err(Refusal::NoRoom);
    }
    let bytes =
        u64::try_from(kind.len() + content.len()).unwrap_or(u64::MAX).saturating_add(NOTE_FRAME_BYTES);
    let told = state.noted_bytes(peer.uid, input.time.wall_ns);
    if peer.uid != 0 && told.saturating_add(bytes) > limits.hour_bytes_max {
        return Err(Refusal::Busy(format!(
            "a pause, after {} bytes of notes of this user within an hour,",
            limits.hour_bytes_max
        )));
    }
    Ok(())
}
