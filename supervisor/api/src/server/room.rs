//! Who may hold how many connections: nobody can keep the others out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections at once; the last ones are kept for root.
pub const CONNECTIONS_MAX: usize = 256;
/// Connections of all users but root.
pub const CONNECTIONS_OF_USERS_MAX: usize = 224;
/// Connections of one user who is not root.
pub const CONNECTIONS_OF_USER_MAX: usize = 128;

/// The connections that are open, by user.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    users: Arc<Mutex<HashMap<u32, usize>>>,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Room,
    uid: u32,
}

impl Room {
    /// A place for this user, or a sentence that says why there is none.
    pub(super) fn admit(&self, uid: u32) -> Result<Place, String> {
        let mut users = self.lock();
        let all: usize = users.values().sum();
        let roots = users.get(&0).copied().unwrap_or_default();
        let own = users.entry(uid).or_default();
        if uid != 0 && *own >= CONNECTIONS_OF_USER_MAX {
            return Err(format!("user {uid} has {CONNECTIONS_OF_USER_MAX} connections already: close one"));
        }
        if all >= CONNECTIONS_MAX || (uid != 0 && all.saturating_sub(roots) >= CONNECTIONS_OF_USERS_MAX) {
            if *own == 0 {
                users.remove(&uid);
            }
            return Err("too many connections are open: try again later".to_owned());
        }
        *own += 1;
        Ok(Place { room: self.clone(), uid })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        // Counting leaves nothing half-done.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.room.lock();
        if let Some(own) = users.get_mut(&self.uid) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_keeps_the_others_out() {
        let room = Room::default();
        let mut held = Vec::new();
        for uid in 1000..1010 {
            held.extend((0..CONNECTIONS_MAX).filter_map(|_| room.admit(uid).ok()));
            assert!(room.admit(uid).is_err());
        }
        assert_eq!(held.len(), CONNECTIONS_OF_USERS_MAX);
        let root: Vec<_> = (0..CONNECTIONS_MAX).filter_map(|_| room.admit(0).ok()).collect();
        assert_eq!(root.len(), CONNECTIONS_MAX - CONNECTIONS_OF_USERS_MAX);
        drop(root);
        held.pop();
        assert!(room.admit(2000).is_ok());
        drop(held);
        assert!(room.lock().is_empty());
        let own: Vec<_> = (0..CONNECTIONS_MAX).filter_map(|_| room.admit(7).ok()).collect();
        assert_eq!(own.len(), CONNECTIONS_OF_USER_MAX);
        assert!(room.admit(8).is_ok());
    }
}
