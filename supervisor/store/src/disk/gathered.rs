//! Bytes that are gathered for writing, in memory that can go to the device as it is.

use super::blocks::BLOCK;

/// Bytes that are added at the end and, once written, dropped at the start. The first one is aligned to a block.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    memory: Vec<u8>,
    /// How far from its beginning the memory is aligned.
    shift: usize,
    filled: usize,
}

impl Gathered {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let memory = vec![0; bytes + BLOCK];
        Self { shift: shift(&memory), memory, filled: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    pub(crate) fn get(&self) -> &[u8] {
        self.memory.get(self.shift..self.shift + self.filled).unwrap_or_default()
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// So many more bytes at the end, to be filled.
    pub(crate) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let (start, end) = (self.filled, self.filled + bytes);
        if self.memory.len() < end + BLOCK {
            let mut larger = Self::with_capacity(end.next_power_of_two());
            larger.filled = self.filled;
            if let Some(to) = larger.memory.get_mut(larger.shift..larger.shift + self.filled) {
                to.copy_from_slice(self.get());
            }
            *self = larger;
        }
        self.filled = end;
        self.memory.get_mut(self.shift + start..self.shift + end).unwrap_or_default()
    }

    /// Drops so many bytes at the start.
    pub(crate) fn drop_front(&mut self, bytes: usize) {
        let bytes = bytes.min(self.filled);
        self.memory.copy_within(self.shift + bytes..self.shift + self.filled, self.shift);
        self.filled -= bytes;
    }

    /// Takes back what was added last.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.filled = self.filled.min(bytes);
    }
}

fn shift(memory: &[u8]) -> usize {
    let address = memory.as_ptr().addr();
    address.next_multiple_of(BLOCK) - address
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_gathered_comes_in_order_and_begins_at_a_block(
            steps in prop::collection::vec((any::<u8>(), 0..3 * BLOCK, 0..3 * BLOCK), 0..20),
        ) {
            let (mut gathered, mut model) = (Gathered::with_capacity(100), Vec::new());
            for (fill, more, less) in steps {
                gathered.extend(&vec![fill; more]);
                model.extend(vec![fill; more]);
                prop_assert!(gathered.get() == model);
                prop_assert!(gathered.get().as_ptr().addr().is_multiple_of(BLOCK));
                let less = less.min(model.len());
                gathered.drop_front(less);
                model.drain(..less);
                prop_assert!(gathered.get() == model);
            }
            prop_assert_eq!(gathered.len(), model.len());
        }
    }
}
