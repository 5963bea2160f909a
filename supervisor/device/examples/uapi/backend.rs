//! The way to the firmware goes away and comes back: the kernel's own WMI driver is unbound from its device.
//!
//! Its character device goes with it, so the firmware is opened anew each time, and nobody may use an old descriptor.

use std::fs;
use std::path::PathBuf;

use device::{Device, Error};
use nix::errno::Errno;
use types::token::{Change, Select, TokenId};

use crate::bench::{Check, Fallible, Tally, same, until};
use crate::laptop::Laptop;
use crate::raw::{address, begin, commit_of, entry, raw, read_of, refused, settle_of, stage, whole, write};
use crate::uapi::*;

/// The kernel's driver of the WMI devices that take calls.
const DRIVER: &str = "/sys/bus/wmi/drivers/dell-smbios";
/// A device that no rule denies, which these checks may write.
const TOKEN: TokenId = TokenId(0x8060);

/// The driver without its device, until this is dropped.
struct Unbound(String);

impl Unbound {
    fn new() -> Fallible<Self> {
        // Beside the devices there are links to the driver's module and its attributes.
        let is_device = |path: &PathBuf| path.join("driver").exists() && path.join("guid").exists();
        let mut links = fs::read_dir(DRIVER)?.filter_map(|link| link.ok().map(|link| link.path()));
        let link = links.find(is_device).ok_or("no device is bound to the kernel's driver")?;
        let name = link.file_name().ok_or("a device without a name")?.to_string_lossy().into_owned();
        fs::write(format!("{DRIVER}/unbind"), &name)?;
        Ok(Self(name))
    }

    fn bind(self) -> Check {
        fs::write(format!("{DRIVER}/bind"), &self.0)?;
        // The drop that follows has nothing left to do.
        until("the kernel's driver", || Ok(Laptop::open().is_ok()))
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _bound_already = fs::write(format!("{DRIVER}/bind"), &self.0);
    }
}

fn info(node: &str) -> Fallible<dsmil_info> {
    let mut info = dsmil_info::default();
    raw(&fs::File::open(node)?, DSMIL_IOC_INFO, &mut info)?;
    Ok(info)
}

/// What a failed call of the firmware comes to.
fn absent() -> dsmil_failure {
    entry(Errno::ENODEV, DSMIL_REASON_FIRMWARE, 0, TOKEN)
}

/// A freshly loaded module that nobody has open; the allow-list is sealed afterwards.
pub(crate) fn check(tally: &mut Tally) {
    tally.check("backend-gone-reads-enodev", |node| {
        same(info(node)?.backend, DSMIL_BACKEND_WMI)?;
        let device = Device::open(node)?;
        let before = device.read(&[(TOKEN, Select::Current)]).pop().ok_or("no answer")??.value;
        let unbound = Unbound::new()?;
        same(info(node)?.backend, DSMIL_BACKEND_NONE)?;
        let file = fs::File::open(node)?;
        let mut entries = [dsmil_read_entry { id: TOKEN.0, ..Default::default() }];
        let mut read = read_of(&mut entries);
        raw(&file, DSMIL_IOC_READ, &mut read)?;
        let failed = dsmil_read_entry { error: Errno::ENODEV as i32, id: TOKEN.0, ..Default::default() };
        same((read.failed, entries), (1, [failed]))?;
        let count = info(node)?.readable;
        let room = vec![dsmil_read_entry::default(); usize::try_from(count)?];
        let mut all = dsmil_snapshot { count, selects: 1, entries: address(&room), ..Default::default() };
        raw(&file, DSMIL_IOC_SNAPSHOT, &mut all)?;
        same((all.count, all.failed), (count, count))?;
        // What is in the cache is there as before.
        let cached = device.read_cached(&[(TOKEN, Select::Current)], device::Age::Any);
        same(cached.first().map(|a| a.as_ref().map(|aged| aged.value)), Some(Ok(before)))?;
        unbound.bind()?;
        same(info(node)?.backend, DSMIL_BACKEND_WMI)?;
        same(device.read(&[(TOKEN, Select::Current)]).pop().ok_or("no answer")??.value, before)
    });
    tally.check("backend-gone-commit-enodev", |node| {
        Device::open(node)?.allow(&[TOKEN])?;
        let old = stored(node)?;
        let file = fs::OpenOptions::new().read(true).write(true).open(node)?;
        let unbound = Unbound::new()?;
        let number = begin(&file, 0)?;
        stage(&file, number, &[change(old ^ 1)])?;
        let told = refused(&file, DSMIL_IOC_COMMIT, commit_of(number), absent())?;
        let now = info(node)?;
        same((told.undo, now.state, now.outcome), (DSMIL_UNDO_NONE, DSMIL_STATE_IDLE, DSMIL_OUTCOME_FAILED))?;
        unbound.bind()?;
        same(stored(node)?, old)
    });
    tally.check("backend-gone-undo-is-retried-until-it-is-back", |node| {
        let old = stored(node)?;
        let file = fs::OpenOptions::new().read(true).write(true).open(node)?;
        let number = write(&file, &[change(old ^ 1)], 60_000)?;
        same(stored(node)?, old ^ 1)?;
        let unbound = Unbound::new()?;
        refused(&file, DSMIL_IOC_UNDO, settle_of(number), absent())?;
        let undoing = whole(Errno::EBUSY, DSMIL_REASON_UNDOING);
        refused(&file, DSMIL_IOC_BEGIN, dsmil_begin::default(), undoing)?;
        same(info(node)?.state, DSMIL_STATE_UNDOING)?;
        unbound.bind()?;
        until("the undo", || Ok(info(node)?.state == DSMIL_STATE_IDLE))?;
        same((stored(node)?, info(node)?.outcome), (old, DSMIL_OUTCOME_UNDONE))
    });
    tally.check("backend-gone-is-named-by-the-library", |node| {
        let device = Device::open(node)?;
        let unbound = Unbound::new()?;
        same(device.info()?.backend, device::Backend::None)?;
        let answer = device.read(&[(TOKEN, Select::Current)]).pop().ok_or("no answer")?;
        let is_named = matches!(answer, Err(Error::Firmware { source: Errno::ENODEV, status: 0, .. }));
        unbound.bind()?;
        crate::bench::holds(is_named, format!("{answer:?}"))
    });
}

/// What the firmware's storage holds of the token.
fn stored(node: &str) -> Fallible<u32> {
    let tokens = Device::open(node)?.tokens()?;
    let location = tokens.iter().find(|t| t.id == TOKEN).ok_or("no such token")?.location;
    Laptop::open()?.peek(location)
}

fn change(value: u32) -> Change {
    Change { id: TOKEN, select: Select::Current, value, expected: None }
}
