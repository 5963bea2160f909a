//! What a power cut makes of a sector.

use crate::log::tests::Choices;

/// What becomes of a sector whose writing was under way when the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It holds what it held before.
    Lost,
    Written,
    /// The first so many bytes are written.
    Begun(usize),
    /// All but the first so many bytes are written.
    Ended(usize),
    /// It holds neither, but what follows from this number.
    Garbage(u64),
}

impl Fate {
    pub(super) fn apply(self, sector: &mut [u8], written: &[u8]) {
        let at = |place: usize| place.min(written.len());
        match self {
            Self::Lost => {}
            Self::Written => sector.copy_from_slice(written),
            Self::Begun(place) => sector[..at(place)].copy_from_slice(&written[..at(place)]),
            Self::Ended(place) => sector[at(place)..].copy_from_slice(&written[at(place)..]),
            Self::Garbage(seed) => {
                let mut random = Choices(seed);
                sector.iter_mut().for_each(|byte| *byte = random.next().to_le_bytes()[0]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::{Disk, Mode};
    use super::super::Sim;
    use super::*;

    /// The last block is written again and again; what is in it already is never at risk, whole sectors or half ones.
    #[test]
    fn what_is_in_a_block_already_survives_that_it_is_written_again() {
        let (disk, path) = (Sim::default(), Path::new("/file"));
        let file = disk.open(path, Mode::CreateAppend).unwrap();
        file.write_at(0, &[0; 8192]).unwrap();
        file.append_at(0, &[1; 700]).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(disk.choices(), 0);
        file.append_at(700, &[2; 900]).unwrap();
        // Of the eight sectors of the block those that changed.
        assert_eq!(disk.choices(), 3);
        for fate in [
            Fate::Lost,
            Fate::Written,
            Fate::Begun(100),
            Fate::Begun(500),
            Fate::Ended(100),
            Fate::Ended(400),
        ] {
            let crashed = disk.crash_within(&mut || fate);
            let mut seen = vec![0; 8192];
            crashed.open(path, Mode::Read).unwrap().read_at(0, &mut seen).unwrap();
            assert_eq!(seen[..700], [1; 700], "{fate:?}");
            assert!(seen[700..1600].iter().all(|byte| [0, 2].contains(byte)), "{fate:?}");
            assert!(seen[1600..].iter().all(|byte| *byte == 0), "{fate:?}");
        }
        // A sector that is gone takes with it what was in it.
        let crashed = disk.crash_within(&mut || Fate::Garbage(7));
        let mut seen = vec![0; 700];
        crashed.open(path, Mode::Read).unwrap().read_at(0, &mut seen).unwrap();
        assert!(seen[..512] == [1; 512] && seen[512..] != [1; 188]);
    }
}
