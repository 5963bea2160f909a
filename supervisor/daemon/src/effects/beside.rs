//! What goes beside the engine: data to seal, blobs, vaults, and what was opened. It must not reach a fact, so the engine knows
//! its hash or length alone, and it is kept here under the request's name until the request ends.

use std::collections::HashMap;
use std::sync::Mutex;

use engine::RequestId;
use zeroize::Zeroizing;

use super::lock;

/// Requests that may have something here: as many as there are works at once.
const REQUESTS_MAX: usize = engine::state::WORKS_MAX;

/// Bytes that are wiped when they are dropped.
pub type Bytes = Zeroizing<Vec<u8>>;

#[derive(Default)]
struct Entry {
    given: Option<Bytes>,
    answer: Option<Bytes>,
}

/// The side room.
#[derive(Default)]
pub struct Beside(Mutex<HashMap<RequestId, Entry>>);

impl Beside {
    /// Keeps what a request has handed over; false where there is no room.
    pub fn give(&self, request: RequestId, bytes: Bytes) -> bool {
        let mut entries = lock(&self.0);
        let has_room = entries.len() < REQUESTS_MAX || entries.contains_key(&request);
        if has_room {
            entries.entry(request).or_default().given = Some(bytes);
        }
        has_room
    }

    /// What a request has handed over: once.
    pub fn given(&self, request: RequestId) -> Option<Bytes> {
        lock(&self.0).get_mut(&request)?.given.take()
    }

    /// Keeps what goes with the answer; where the request has ended, or handed nothing over, it is dropped.
    pub fn answer(&self, request: RequestId, bytes: Bytes) {
        if let Some(entry) = lock(&self.0).get_mut(&request) {
            entry.answer = Some(bytes);
        }
    }

    /// The request has ended: what goes with its answer.
    pub fn end(&self, request: RequestId) -> Option<Bytes> {
        lock(&self.0).remove(&request)?.answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: usize) -> RequestId {
        RequestId(u128::try_from(number).unwrap().to_be_bytes())
    }

    #[test]
    fn it_is_bounded_and_ends_with_the_request() {
        let beside = Beside::default();
        let bytes = |byte| Zeroizing::new(vec![byte; 4]);
        for number in 0..REQUESTS_MAX {
            assert!(beside.give(request(number), bytes(1)));
        }
        assert!(!beside.give(request(REQUESTS_MAX), bytes(1)));
        // The same request again takes no more room.
        assert!(beside.give(request(0), bytes(2)));
        assert_eq!(beside.given(request(0)), Some(bytes(2)));
        assert_eq!(beside.given(request(0)), None);
        beside.answer(request(0), bytes(3));
        assert_eq!(beside.end(request(0)), Some(bytes(3)));
        assert_eq!(beside.end(request(0)), None);
        beside.answer(request(0), bytes(4));
        assert_eq!(beside.end(request(0)), None);
        assert!(beside.give(request(REQUESTS_MAX), bytes(1)));
    }
}
