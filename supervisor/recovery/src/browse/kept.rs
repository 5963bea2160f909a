//! A few values that are dear to make, and made again when they are needed again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// At most so many values; who was not asked for the longest time goes first.
#[derive(Debug)]
pub struct Kept<K, V> {
    most: usize,
    places: Mutex<Places<K, V>>,
}

#[derive(Debug)]
struct Places<K, V> {
    /// Counts requests: it says which one is older.
    turn: u64,
    known: HashMap<K, (u64, Arc<Place<V>>)>,
}

/// A value, once somebody has made it.
#[derive(Debug)]
struct Place<V>(Mutex<Option<Arc<V>>>);

impl<K: Eq + Hash + Clone, V> Kept<K, V> {
    /// None yet, and at most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, places: Mutex::new(Places { turn: 0, known: HashMap::new() }) }
    }

    /// The value, which is made where it is not known. Of several who ask for the same at once one makes it.
    ///
    /// # Errors
    ///
    /// What making it gives; the next one who asks tries again.
    pub fn get<E>(&self, key: &K, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let place = self.place(key);
        let mut value = lock(&place.0);
        if let Some(value) = value.as_ref() {
            return Ok(Arc::clone(value));
        }
        let made = Arc::new(make()?);
        *value = Some(Arc::clone(&made));
        Ok(made)
    }

    fn place(&self, key: &K) -> Arc<Place<V>> {
        let mut places = lock(&self.places);
        places.turn += 1;
        let turn = places.turn;
        if let Some((asked, place)) = places.known.get_mut(key) {
            *asked = turn;
            return Arc::clone(place);
        }
        if places.known.len() >= self.most {
            let oldest = places.known.iter().min_by_key(|(_, (asked, _))| *asked);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                places.known.remove(&oldest);
            }
        }
        let place = Arc::new(Place(Mutex::new(None)));
        places.known.insert(key.clone(), (turn, Arc::clone(&place)));
        place
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn who_was_not_asked_for_the_longest_time_goes() {
        let kept = Kept::new(2);
        let made = AtomicU32::new(0);
        let get = |key: u32| {
            let make = || {
                made.fetch_add(1, Ordering::Relaxed);
                Ok::<_, ()>(key)
            };
            assert_eq!(kept.get(&key, make).as_deref(), Ok(&key));
            made.load(Ordering::Relaxed)
        };
        assert_eq!([1, 2, 1, 3, 1, 2].map(get), [1, 2, 2, 3, 3, 4]);
        assert_eq!(lock(&kept.places).known.len(), 2);
    }

    #[test]
    fn one_makes_it_and_a_failure_is_not_kept() {
        let (kept, made) = (Kept::new(4), AtomicU32::new(0));
        assert_eq!(kept.get(&7, || Err::<u32, _>("no")), Err("no"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let make = || {
                        made.fetch_add(1, Ordering::Relaxed);
                        std::thread::yield_now();
                        Ok::<_, ()>(9)
                    };
                    assert_eq!(kept.get(&7, make).as_deref(), Ok(&9));
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
