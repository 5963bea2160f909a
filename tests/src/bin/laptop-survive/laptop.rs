//! The firmware past the module, and the module.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use device::{Device, State};
use nix::time::{ClockId, clock_gettime};
use tests::machine::fault::Fault;
use tests::machine::guest::Firmware;
use tests::machine::vendor::Call;
use types::token::{Change, Select, TokenId};

use crate::dice::Dice;

/// The module's node.
pub(crate) const NODE: &str = "/dev/dsmil";
/// Pause between two looks at the module.
const LOOK_PAUSE: Duration = Duration::from_micros(300);

/// What may be written in these trials: tokens with a location of their own, and two locations with all their tokens.
const ALLOWED: [u16; 15] = [
    0x8060, 0x8061, 0x8062, 0x8063, 0x8064, 0x8065, 0x8066, 0x8067, 0x0341, 0x0342, 0x0343, 0x0346, 0x0347,
    0x0453, 0x0454,
];

/// Transactions of these sizes are tried: a token each with its select.
const PLACES: [&[(u16, Select)]; 3] = [
    &[(0x8060, Select::Current)],
    &[(0x0341, Select::Current), (0x0346, Select::Battery), (0x8061, Select::Ac)],
    &[
        (0x8062, Select::Current),
        (0x8062, Select::Battery),
        (0x8062, Select::Ac),
        (0x0343, Select::Ac),
        (0x0453, Select::Current),
        (0x8063, Select::Current),
        (0x8064, Select::Battery),
        (0x8060, Select::Current),
    ],
];

/// How many sizes of transactions are tried.
pub(crate) const SIZES: usize = PLACES.len();

/// One of a location's values.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) id: TokenId,
    pub(crate) select: Select,
    location: u16,
    /// The values that a shared location may have; any if empty.
    values: Vec<u32>,
}

/// The firmware past the module, and the module.
pub(crate) struct Laptop {
    pub(crate) firmware: Firmware,
    pub(crate) device: Device,
    sizes: Vec<Vec<Place>>,
}

impl Laptop {
    /// Opens both, and seals the allow-list if nobody has.
    ///
    /// # Errors
    ///
    /// The module is not loaded, holds somebody's transaction, or has another allow-list.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let (firmware, device) = (Firmware::open()?, Device::open(NODE)?);
        let info = device.info()?;
        ensure!(info.state == State::Idle, "the module is not idle: {:?}", info.state);
        ensure!(info.limits.writes.per_second == 0, "the module's write_rate must be 0 for so many changes");
        if !info.sealed {
            device.allow(&ALLOWED.map(TokenId))?;
        }
        let tokens = device.tokens()?;
        let writable = tokens.iter().filter(|token| token.writable).map(|token| token.id.0);
        ensure!(writable.collect::<BTreeSet<_>>() == BTreeSet::from(ALLOWED), "another allow-list is sealed");
        let place = |&(id, select): &(u16, Select)| {
            let token = tokens.iter().find(|token| token.id.0 == id).context("a token is missing")?;
            let siblings = tokens.iter().filter(|other| other.location == token.location);
            let values = siblings.map(|other| u32::from(other.table_value)).collect();
            let values = if token.shares_location { values } else { vec![] };
            anyhow::Ok(Place { id: TokenId(id), select, location: token.location, values })
        };
        let sizes: anyhow::Result<_> =
            PLACES.iter().map(|places| places.iter().map(place).collect::<anyhow::Result<_>>()).collect();
        let laptop = Self { firmware, device, sizes: sizes? };
        laptop.clear_faults()?;
        Ok(laptop)
    }

    /// The places of a size, which is below [`SIZES`].
    pub(crate) fn places(&self, size: usize) -> anyhow::Result<Vec<Place>> {
        self.sizes.get(size).cloned().context("there is no such size")
    }

    /// What the firmware holds, past the module and all faults.
    pub(crate) fn peek(&self, places: &[Place]) -> anyhow::Result<Vec<u32>> {
        let peek = |place: &Place| {
            let [value, ..] = self.firmware.vendor(Call::Peek, place.inputs(0))?;
            Ok(value)
        };
        places.iter().map(peek).collect()
    }

    /// Puts a value there, as somebody else would.
    pub(crate) fn poke(&self, place: &Place, value: u32) -> anyhow::Result<()> {
        self.firmware.vendor(Call::Poke, place.inputs(value))?;
        Ok(())
    }

    /// Token calls that the firmware has had, and faults that it has applied.
    pub(crate) fn calls(&self) -> anyhow::Result<(u32, u32)> {
        let [reads, writes, faults] = self.firmware.vendor(Call::Calls, [0; 4])?;
        Ok((reads.wrapping_add(writes), faults))
    }

    pub(crate) fn add_fault(&self, spec: &str) -> anyhow::Result<()> {
        self.firmware.vendor(Call::FaultAdd, spec.parse::<Fault>()?.words())?;
        Ok(())
    }

    pub(crate) fn clear_faults(&self) -> anyhow::Result<()> {
        self.firmware.vendor(Call::FaultClear, [0; 4])?;
        Ok(())
    }

    /// Waits until the module says that it is idle; false if it does not until then, CLOCK_BOOTTIME in nanoseconds.
    pub(crate) fn rests_until(&self, end_ns: u64) -> anyhow::Result<bool> {
        loop {
            match self.device.info()?.state {
                State::Idle => return Ok(true),
                State::Other(state) => bail!("the module is in state {state}"),
                _ if now_ns()? > end_ns => return Ok(false),
                _ => sleep(LOOK_PAUSE),
            }
        }
    }
}

impl Place {
    /// The inputs of the firmware's calls past the module.
    pub(crate) fn inputs(&self, value: u32) -> [u32; 4] {
        [self.location.into(), self.select.code().into(), value, 0]
    }

    /// A value that the module may write there, other than `old`.
    fn another(&self, old: u32, dice: &mut Dice) -> u32 {
        loop {
            match dice.pick(&self.values) {
                None => return any_but(&[old], dice),
                Some(value) if value != old => return value,
                Some(_) => {}
            }
        }
    }
}

/// A change of each place to another value.
pub(crate) fn changes(places: &[Place], old: &[u32], dice: &mut Dice) -> Vec<Change> {
    let change = |(place, &old): (&Place, &u32)| {
        let value = place.another(old, dice);
        // Half of them say what must stand there.
        let expected = (dice.below(2) == 0).then_some(old);
        Change { id: place.id, select: place.select, value, expected }
    };
    places.iter().zip(old).map(change).collect()
}

/// A value that is none of these.
pub(crate) fn any_but(others: &[u32], dice: &mut Dice) -> u32 {
    loop {
        let value = u32::try_from(dice.below(0x1_0000)).unwrap_or(0);
        if !others.contains(&value) {
            return value;
        }
    }
}

/// CLOCK_BOOTTIME, which counts suspend, in nanoseconds.
pub(crate) fn now_ns() -> anyhow::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    Ok(u64::try_from(Duration::from(now).as_nanos())?)
}
