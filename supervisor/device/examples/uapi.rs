//! Drives the node of a freshly loaded module through every input it must refuse and every path it must take.
//!
//! Run as root where the module is loaded and nothing is sealed yet:
//!
//! ```text
//! uapi [NODE [TOKEN...]]
//! ```
//!
//! NODE is `/dev/dsmil` if not given. TOKENs are the ones it may write; without them it takes DSMIL devices that
//! the module does not deny. It seals them, so the module must be reloaded for a second run. Values are as they
//! were afterwards. One line for each check, and the exit status is 0 if all passed.

use std::collections::BTreeMap;
use std::env;
use std::error::Error as StdError;
use std::ffi::c_ulong;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use device::{Device, Error, Outcome, State};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup, fork};
use types::token::{Change, Denied, Select, Token, TokenId};

#[path = "../../../include/uapi/dsmil.rs"]
#[rustfmt::skip]
#[expect(non_camel_case_types, dead_code, reason = "generated")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::indexing_slicing, reason = "generated")]
mod uapi;
use uapi::*;

type Check = Result<(), Box<dyn StdError>>;

/// Address that is mapped in no process.
const BAD_ADDRESS: u64 = 8;
/// Number that no ioctl of the interface has.
const UNKNOWN_IOCTL: u32 = (DSMIL_IOC_VERSION & !0xff) | 0xee;

/// What the checks are about.
struct Bench {
    node: String,
    device: Device,
    tokens: Vec<Token>,
    /// Tokens to write, not sharing their locations.
    own: Vec<TokenId>,
    passed: u32,
    failed: u32,
}

impl Bench {
    fn check(&mut self, name: &str, check: fn(&Self) -> Check) {
        match check(self) {
            Ok(()) => {
                println!("ok {name}");
                self.passed += 1;
            }
            Err(why) => {
                println!("FAIL {name} {why}");
                self.failed += 1;
            }
        }
    }

    fn open(&self) -> Result<File, Box<dyn StdError>> {
        Ok(OpenOptions::new().read(true).write(true).open(&self.node)?)
    }

    /// A token to write.
    fn token(&self) -> Result<TokenId, Box<dyn StdError>> {
        self.own.first().copied().ok_or_else(|| "no token to write".into())
    }

    /// A token that no rule denies, but that is not on the list.
    fn other(&self) -> Result<TokenId, Box<dyn StdError>> {
        let tokens = self.device.tokens()?;
        let other = tokens.iter().find(|t| t.denied.is_none() && !t.writable);
        Ok(other.ok_or("every token is on the list")?.id)
    }

    /// A token that the module denies for this reason.
    fn denied(&self, rule: Denied) -> Result<TokenId, Box<dyn StdError>> {
        let found = self.tokens.iter().find(|t| t.denied == Some(rule));
        Ok(found.ok_or_else(|| format!("the table has no token denied by {rule}"))?.id)
    }

    /// An id that is not in the table.
    fn absent(&self) -> Result<TokenId, Box<dyn StdError>> {
        let absent = (1..u16::MAX).map(TokenId).find(|id| self.tokens.iter().all(|t| t.id != *id));
        absent.ok_or_else(|| "the table is full".into())
    }

    fn value(&self, id: TokenId) -> Result<u32, Box<dyn StdError>> {
        let mut answers = self.device.read(&[(id, Select::Current)]);
        Ok(answers.pop().ok_or("no answer")??.value)
    }

    /// A change of one token to another value, and the value before.
    fn flip(&self, id: TokenId) -> Result<(Change, u32), Box<dyn StdError>> {
        let old = self.value(id)?;
        let change = Change { id, select: Select::Current, value: old ^ 1, expected: Some(old) };
        Ok((change, old))
    }

    /// Waits until the value stands, for 5 s at most.
    fn until_value(&self, id: TokenId, value: u32) -> Check {
        let start = Instant::now();
        while self.value(id)? != value {
            if start.elapsed() > Duration::from_secs(5) {
                return Err(format!("{id} holds {:#x}, not {value:#x}", self.value(id)?).into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// One raw ioctl.
fn raw<T>(file: &File, number: u32, argument: &mut T) -> Result<(), Errno> {
    raw_at(file, number, std::ptr::from_mut(argument).expose_provenance())
}

fn raw_at(file: &File, number: u32, address: usize) -> Result<(), Errno> {
    // SAFETY: Callers pass the address of a structure of the ioctl's type that lives through the call, or one
    // that is mapped in no process, which the kernel refuses.
    let done = unsafe { nix::libc::ioctl(file.as_raw_fd(), c_ulong::from(number), address) };
    Errno::result(done).map(|_| ())
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr().expose_provenance().try_into().unwrap_or(0)
}

/// The ioctl fails with this error.
fn refuses<T>(file: &File, number: u32, mut argument: T, errno: Errno) -> Check {
    match raw(file, number, &mut argument) {
        Err(found) if found == errno => Ok(()),
        found => Err(format!("expected {errno:?}, got {found:?}").into()),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Check {
    if found == wanted { Ok(()) } else { Err(format!("found {found:?}, expected {wanted:?}").into()) }
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let node = arguments.next().unwrap_or_else(|| "/dev/dsmil".to_owned());
    let ids: Result<Vec<TokenId>, _> = arguments.map(|id| id.parse()).collect();
    let Ok(ids) = ids else {
        eprintln!("usage: uapi [NODE [TOKEN...]]");
        return ExitCode::from(2);
    };
    let (device, tokens) = match Device::open(&node).and_then(|d| d.tokens().map(|t| (d, t))) {
        Ok(opened) => opened,
        Err(why) => {
            println!("FAIL open {why}");
            return ExitCode::FAILURE;
        }
    };
    let free = |t: &&Token| t.denied.is_none() && !t.shares_location && t.id.device().is_some();
    let own = if ids.is_empty() { tokens.iter().filter(free).map(|t| t.id).take(4).collect() } else { ids };
    let mut bench = Bench { node, device, tokens, own, passed: 0, failed: 0 };
    forms(&mut bench);
    reading(&mut bench);
    before_the_seal(&mut bench);
    sealing(&mut bench);
    writing(&mut bench);
    undoing(&mut bench);
    println!("{} passed, {} failed", bench.passed, bench.failed);
    if bench.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is refused whatever the state: numbers, addresses, reserved members, counts.
fn forms(bench: &mut Bench) {
    bench.check("unknown-ioctl-enotty", |b| refuses(&b.open()?, UNKNOWN_IOCTL, [0_u64; 32], Errno::ENOTTY));
    bench.check("wrong-size-ioctl-enotty", |b| {
        refuses(&b.open()?, DSMIL_IOC_VERSION + (8 << 16), [0_u64; 32], Errno::ENOTTY)
    });
    bench.check("version", |b| {
        let mut version = dsmil_version::default();
        raw(&b.open()?, DSMIL_IOC_VERSION, &mut version)?;
        same(version, dsmil_version { abi: DSMIL_ABI_VERSION, reserved: 0 })
    });
    bench.check("bad-pointer-efault", |b| {
        let file = b.open()?;
        for number in DSMIL_IOC_VERSION & 0xff..=DSMIL_IOC_UNDO & 0xff {
            let ioctl = ALL.iter().find(|ioctl| **ioctl & 0xff == number).ok_or("unlisted ioctl")?;
            same(raw_at(&file, *ioctl, usize::try_from(BAD_ADDRESS)?), Err(Errno::EFAULT))?;
        }
        Ok(())
    });
    bench.check("list-bad-array-efault", |b| {
        let list = dsmil_list { count: 4, tokens: BAD_ADDRESS, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_LIST, list, Errno::EFAULT)
    });
    bench.check("list-bad-cursor-einval", |b| {
        let mut room = [dsmil_token::default(); 4];
        let cursor = u32::try_from(b.tokens.len())? + 1;
        let list = dsmil_list { cursor, count: 4, tokens: address(&room), ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_LIST, list, Errno::EINVAL)?;
        refuses(&b.open()?, DSMIL_IOC_LIST, dsmil_list { cursor: u32::MAX, ..list }, Errno::EINVAL)?;
        same(std::mem::take(&mut room), [dsmil_token::default(); 4])
    });
    bench.check("list-reserved-einval", |b| {
        let room = [dsmil_token::default(); 4];
        let list = dsmil_list { count: 4, tokens: address(&room), reserved: 1, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_LIST, list, Errno::EINVAL)
    });
    bench.check("list-count-out-of-range", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_LIST, dsmil_list::default(), Errno::EINVAL)?;
        let list = dsmil_list { count: DSMIL_LIST_MAX + 1, ..Default::default() };
        refuses(&file, DSMIL_IOC_LIST, list, Errno::E2BIG)
    });
    bench.check("list-end-is-empty", |b| {
        let room = [dsmil_token::default(); 4];
        let cursor = u32::try_from(b.tokens.len())?;
        let mut list = dsmil_list { cursor, count: 4, tokens: address(&room), ..Default::default() };
        raw(&b.open()?, DSMIL_IOC_LIST, &mut list)?;
        same((list.count, list.cursor), (0, cursor))
    });
    bench.check("read-reserved-einval", |b| {
        let file = b.open()?;
        let entries = [dsmil_read_entry::default(); 1];
        let read = dsmil_read { count: 1, entries: address(&entries), ..Default::default() };
        refuses(&file, DSMIL_IOC_READ, dsmil_read { flags: 1, ..read }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_READ, dsmil_read { failed: 1, ..read }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_READ, dsmil_read { reserved: 1, ..read }, Errno::EINVAL)
    });
    bench.check("read-count-out-of-range", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_READ, dsmil_read::default(), Errno::EINVAL)?;
        let read = dsmil_read { count: DSMIL_READ_MAX + 1, ..Default::default() };
        refuses(&file, DSMIL_IOC_READ, read, Errno::E2BIG)
    });
    bench.check("read-bad-array-efault", |b| {
        let read = dsmil_read { count: 1, entries: BAD_ADDRESS, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_READ, read, Errno::EFAULT)
    });
    bench.check("settle-reserved-einval", |b| {
        let file = b.open()?;
        for number in [DSMIL_IOC_CONFIRM, DSMIL_IOC_UNDO] {
            let settle = dsmil_settle { transaction: 1, ..Default::default() };
            refuses(&file, number, dsmil_settle { flags: 1, ..settle }, Errno::EINVAL)?;
            refuses(&file, number, dsmil_settle { undone: 1, ..settle }, Errno::EINVAL)?;
            refuses(&file, number, dsmil_settle { left: 1, ..settle }, Errno::EINVAL)?;
            refuses(&file, number, dsmil_settle { reserved: 1, ..settle }, Errno::EINVAL)?;
            refuses(&file, number, dsmil_settle { failure: dirty(), ..settle }, Errno::EINVAL)?;
        }
        Ok(())
    });
    bench.check("settle-without-transaction-esrch", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_CONFIRM, dsmil_settle::default(), Errno::ESRCH)?;
        refuses(&file, DSMIL_IOC_UNDO, dsmil_settle { transaction: 7, ..Default::default() }, Errno::ESRCH)
    });
}

/// Every ioctl of the interface.
const ALL: [u32; 8] = [
    DSMIL_IOC_VERSION,
    DSMIL_IOC_INFO,
    DSMIL_IOC_LIST,
    DSMIL_IOC_READ,
    DSMIL_IOC_ALLOW,
    DSMIL_IOC_WRITE,
    DSMIL_IOC_CONFIRM,
    DSMIL_IOC_UNDO,
];

/// A failure that did not come from the module.
fn dirty() -> dsmil_failure {
    dsmil_failure { reason: 1, ..Default::default() }
}

fn reading(bench: &mut Bench) {
    bench.check("info", |b| {
        let info = b.device.info()?;
        same(info.tokens, u32::try_from(b.tokens.len())?)?;
        same(info.sealed, false)?;
        same(info.state, State::Idle)?;
        println!("   {info:?}");
        Ok(())
    });
    bench.check("list-84-devices", |b| {
        let devices = b.tokens.iter().filter(|t| t.id.device().is_some()).count();
        same(u32::try_from(devices)?, b.device.info()?.devices)?;
        same(devices, 84)
    });
    bench.check("list-in-small-steps", |b| {
        let (file, mut ids, mut cursor) = (b.open()?, Vec::new(), 0);
        loop {
            let room = [dsmil_token::default(); 5];
            let mut list = dsmil_list { cursor, count: 5, tokens: address(&room), ..Default::default() };
            raw(&file, DSMIL_IOC_LIST, &mut list)?;
            ids.extend(room.iter().take(usize::try_from(list.count)?).map(|t| TokenId(t.id)));
            if list.count == 0 {
                break;
            }
            cursor = list.cursor;
        }
        same(ids, b.tokens.iter().map(|t| t.id).collect())
    });
    bench.check("list-shared-locations", |b| {
        let mut locations: BTreeMap<u16, Vec<&Token>> = BTreeMap::new();
        for token in &b.tokens {
            locations.entry(token.location).or_default().push(token);
        }
        for tokens in locations.values() {
            let denied = tokens.iter().any(|t| t.denied.is_some());
            for token in tokens {
                same((token.id, token.shares_location), (token.id, tokens.len() > 1))?;
                same((token.id, token.denied.is_some()), (token.id, denied))?;
            }
        }
        Ok(())
    });
    bench.check("read-all", |b| {
        let wanted: Vec<_> = b.tokens.iter().map(|t| (t.id, Select::Current)).collect();
        for answer in b.device.read(&wanted) {
            match answer {
                Ok(_) | Err(Error::NotReadable(_)) => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(())
    });
    bench.check("read-every-select", |b| {
        let id = b.token()?;
        let answers = b.device.read(&[(id, Select::Current), (id, Select::Ac), (id, Select::Battery)]);
        answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    });
    bench.check("read-unknown-enoent", |b| {
        let (absent, own) = (b.absent()?, b.token()?);
        let answers = b.device.read(&[(absent, Select::Current), (own, Select::Current)]);
        same(answers.first(), Some(&Err(Error::Unknown(absent))))?;
        same(answers.get(1).map(Result::is_ok), Some(true))
    });
    bench.check("read-entry-form-einval", |b| {
        let good = dsmil_read_entry { id: b.token()?.0, ..Default::default() };
        let mut entries = [
            dsmil_read_entry { select: 3, ..good },
            dsmil_read_entry { reserved: 1, ..good },
            dsmil_read_entry { value: 1, ..good },
            dsmil_read_entry { status: 1, ..good },
            good,
        ];
        let array = entries.as_mut_ptr().expose_provenance().try_into()?;
        let mut read = dsmil_read { count: 5, entries: array, ..Default::default() };
        raw(&b.open()?, DSMIL_IOC_READ, &mut read)?;
        let einval = i32::from(Errno::EINVAL as u16);
        same(entries.map(|e| e.error), [einval, einval, einval, einval, 0])?;
        same(read.failed, 4)
    });
}

/// A write of one entry, as the interface takes it.
fn write_of(entries: &[dsmil_write_entry]) -> dsmil_write {
    let count = entries.len().try_into().unwrap_or(u32::MAX);
    dsmil_write { count, entries: address(entries), ..Default::default() }
}

fn before_the_seal(bench: &mut Bench) {
    bench.check("write-unsealed-refused", |b| {
        let (change, old) = b.flip(b.token()?)?;
        same(b.device.write(&[change], Duration::ZERO).err(), Some(Error::NotSealed))?;
        same(b.value(change.id)?, old)
    });
    bench.check("write-reserved-einval", |b| {
        let file = b.open()?;
        let good = dsmil_write_entry { id: b.token()?.0, ..Default::default() };
        let write = write_of(std::slice::from_ref(&good));
        refuses(&file, DSMIL_IOC_WRITE, dsmil_write { flags: 1, ..write }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_WRITE, dsmil_write { undo: 1, ..write }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_WRITE, dsmil_write { transaction: 1, ..write }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_WRITE, dsmil_write { failure: dirty(), ..write }, Errno::EINVAL)?;
        for bad in [
            dsmil_write_entry { flags: 2, ..good },
            dsmil_write_entry { expected: 1, ..good },
            dsmil_write_entry { old: 1, ..good },
            dsmil_write_entry { select: 3, ..good },
        ] {
            refuses(&file, DSMIL_IOC_WRITE, write_of(&[bad]), Errno::EINVAL)?;
        }
        Ok(())
    });
    bench.check("write-count-out-of-range", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_WRITE, write_of(&[]), Errno::EINVAL)?;
        let many = vec![dsmil_write_entry::default(); usize::try_from(DSMIL_WRITE_MAX)? + 1];
        refuses(&file, DSMIL_IOC_WRITE, write_of(&many), Errno::E2BIG)
    });
    bench.check("write-bad-array-efault", |b| {
        let write = dsmil_write { count: 1, entries: BAD_ADDRESS, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_WRITE, write, Errno::EFAULT)
    });
    bench.check("write-read-only-file-ebadf", |b| {
        let file = File::open(&b.node)?;
        let entry = [dsmil_write_entry { id: b.token()?.0, ..Default::default() }];
        refuses(&file, DSMIL_IOC_WRITE, write_of(&entry), Errno::EBADF)?;
        refuses(&file, DSMIL_IOC_ALLOW, dsmil_allow::default(), Errno::EBADF)
    });
    bench.check("opener-without-capability-eperm", |b| {
        // Our own capabilities count for nothing: what counts is who opened.
        let file = open_without_capabilities(&b.node)?;
        refuses(&file, DSMIL_IOC_ALLOW, dsmil_allow::default(), Errno::EPERM)?;
        let entry = [dsmil_write_entry { id: b.token()?.0, ..Default::default() }];
        refuses(&file, DSMIL_IOC_WRITE, write_of(&entry), Errno::EPERM)
    });
}

/// The node, opened by a thread that has given up its capabilities.
fn open_without_capabilities(node: &str) -> Result<File, Box<dyn StdError>> {
    let node = node.to_owned();
    let opener = std::thread::spawn(move || -> std::io::Result<File> {
        // Version 3 of the header, this thread; then no effective, permitted or inheritable ones.
        let header = [0x2008_0522_u32, 0];
        let none = [0_u32; 6];
        // SAFETY: The kernel reads a header of two words and three sets of two words each.
        let done = unsafe { nix::libc::syscall(nix::libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
        Errno::result(done)?;
        // Without capabilities the node's mode decides, and root owns it.
        OpenOptions::new().read(true).write(true).open(node)
    });
    Ok(opener.join().map_err(|_| "the opening thread died")??)
}

fn allow_of(ids: &[u16]) -> dsmil_allow {
    let count = ids.len().try_into().unwrap_or(u32::MAX);
    dsmil_allow { count, ids: address(ids), ..Default::default() }
}

fn sealing(bench: &mut Bench) {
    bench.check("allow-reserved-einval", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_ALLOW, dsmil_allow { flags: 1, ..Default::default() }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_ALLOW, dsmil_allow { failure: dirty(), ..Default::default() }, Errno::EINVAL)
    });
    bench.check("allow-count-e2big", |b| {
        let allow = dsmil_allow { count: DSMIL_ALLOW_MAX + 1, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow, Errno::E2BIG)
    });
    bench.check("allow-bad-array-efault", |b| {
        let allow = dsmil_allow { count: 1, ids: BAD_ADDRESS, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow, Errno::EFAULT)
    });
    bench.check("allow-unknown-enoent", |b| {
        let absent = b.absent()?;
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow_of(&[absent.0]), Errno::ENOENT)?;
        same(b.device.allow(&[b.token()?, absent]), Err(Error::Unknown(absent)))
    });
    bench.check("allow-twice-the-same-einval", |b| {
        let id = b.token()?.0;
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow_of(&[id, id]), Errno::EINVAL)
    });
    bench.check("allow-never-written-refused", |b| {
        for token in b.tokens.iter().filter(|t| t.denied.is_some()) {
            let rule = token.denied.ok_or("not denied")?;
            let refused = Err(Error::NeverWritten { id: token.id, rule });
            same(b.device.allow(&[b.token()?, token.id]), refused)?;
        }
        same(b.device.info()?.sealed, false)
    });
    bench.check("allow-part-of-a-location-refused", |b| {
        let Some(shared) = b.tokens.iter().find(|t| t.shares_location && t.denied.is_none()) else {
            return Err("no free token shares a location on this machine".into());
        };
        match b.device.allow(&[shared.id]) {
            Err(Error::PartialLocation { missing }) if missing != shared.id => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    });
    bench.check("allow", |b| {
        // One shared location as a whole, besides the tokens on their own.
        let shared = b.tokens.iter().find(|t| t.shares_location && t.denied.is_none());
        let together = b.tokens.iter().filter(|t| shared.is_some_and(|s| s.location == t.location));
        let ids: Vec<_> = b.own.iter().copied().chain(together.map(|t| t.id)).collect();
        b.device.allow(&ids)?;
        let info = b.device.info()?;
        same((info.sealed, info.writable), (true, u32::try_from(ids.len())?))?;
        let writable = b.device.tokens()?.into_iter().filter(|t| t.writable).count();
        same(writable, ids.len())
    });
    bench.check("allow-second-time-eperm", |b| {
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow_of(&[b.token()?.0]), Errno::EPERM)?;
        same(b.device.allow(&[]), Err(Error::Sealed))
    });
}

fn writing(bench: &mut Bench) {
    bench.check("write-quarantine-refused-for-root", |b| {
        let id = b.denied(Denied::Quarantine)?;
        let (change, old) = b.flip(id)?;
        let refused = Error::NeverWritten { id, rule: Denied::Quarantine };
        same(b.device.write(&[change], Duration::ZERO).err(), Some(refused))?;
        same(b.value(id)?, old)
    });
    bench.check("write-every-denied-refused", |b| {
        for token in b.tokens.iter().filter(|t| t.denied.is_some()) {
            let change = Change { id: token.id, select: Select::Current, value: 1, expected: None };
            // Behind a good one: nothing may have been written when the bad one is found.
            let (good, old) = b.flip(b.token()?)?;
            match b.device.write(&[good, change], Duration::ZERO) {
                Err(Error::NeverWritten { id, .. }) if id == token.id => {}
                other => return Err(format!("{}: {other:?}", token.id).into()),
            }
            same(b.value(good.id)?, old)?;
        }
        Ok(())
    });
    bench.check("write-unknown-enoent", |b| {
        let absent = b.absent()?;
        let entry = [dsmil_write_entry { id: absent.0, ..Default::default() }];
        refuses(&b.open()?, DSMIL_IOC_WRITE, write_of(&entry), Errno::ENOENT)
    });
    bench.check("write-not-allowed-refused", |b| {
        let id = b.other()?;
        let change = Change { id, select: Select::Current, value: 1, expected: None };
        same(b.device.write(&[change], Duration::ZERO).err(), Some(Error::NotAllowed(id)))
    });
    bench.check("write-duplicate-einval", |b| {
        let (change, old) = b.flip(b.token()?)?;
        match b.device.write(&[change, change], Duration::ZERO) {
            Err(Error::Invalid { index: Some(1), .. }) => same(b.value(change.id)?, old),
            other => Err(format!("{other:?}").into()),
        }
    });
    bench.check("write-deadline-out-of-range", |b| {
        let (change, _) = b.flip(b.token()?)?;
        for deadline in [Duration::from_millis(999), Duration::from_millis(600_001), Duration::MAX] {
            match b.device.write(&[change], deadline) {
                Err(Error::Invalid { .. }) => {}
                other => return Err(format!("{deadline:?}: {other:?}").into()),
            }
        }
        Ok(())
    });
    bench.check("write-unexpected-refused", |b| {
        let (mut change, old) = b.flip(b.token()?)?;
        change.expected = Some(old ^ 2);
        let refused = Error::Unexpected { id: change.id, found: old };
        same(b.device.write(&[change], Duration::ZERO).err(), Some(refused))?;
        same(b.value(change.id)?, old)
    });
    bench.check("write-shared-location-value", |b| {
        let shared = b.device.tokens()?.into_iter().find(|t| t.shares_location && t.writable);
        let shared = shared.ok_or("no shared location is on the list")?;
        let there: Vec<_> = b.tokens.iter().filter(|t| t.location == shared.location).collect();
        let strange = (0..).find(|v| there.iter().all(|t| u32::from(t.table_value) != *v));
        let change = |value| Change { id: shared.id, select: Select::Current, value, expected: None };
        match b.device.write(&[change(strange.ok_or("no value left")?)], Duration::ZERO) {
            Err(Error::Invalid { .. }) => {}
            other => return Err(format!("{other:?}").into()),
        }
        let old = b.value(shared.id)?;
        let other = there.iter().map(|t| u32::from(t.table_value)).find(|v| *v != old);
        let other = other.ok_or("no other value")?;
        let pending = b.device.write(&[change(other)], Duration::ZERO)?;
        same(b.value(shared.id)?, other)?;
        pending.undo()?;
        same(b.value(shared.id)?, old)
    });
    bench.check("write-result-unwritable-efault-undone", write_to_read_only_memory);
    bench.check("write-confirm", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::ZERO)?;
        same(pending.old().first().map(|r| r.value), Some(old))?;
        pending.confirm()?;
        same(b.value(change.id)?, change.value)?;
        same(b.device.info()?.outcome, Outcome::Confirmed)?;
        // And back, so that the machine is as it was.
        let back = Change { value: old, expected: Some(change.value), ..change };
        b.device.write(&[back], Duration::ZERO)?.confirm()?;
        same(b.value(change.id)?, old)
    });
    bench.check("write-many-and-every-select", |b| {
        let mut changes = Vec::new();
        for id in &b.own {
            for select in [Select::Current, Select::Ac, Select::Battery] {
                let old = b.device.read(&[(*id, select)]).pop().ok_or("no answer")??.value;
                changes.push(Change { id: *id, select, value: old ^ 3, expected: Some(old) });
            }
        }
        let pending = b.device.write(&changes, Duration::ZERO)?;
        let wanted: Vec<_> = changes.iter().map(|c| (c.id, c.select)).collect();
        let standing = b.device.read(&wanted).into_iter().collect::<Result<Vec<_>, _>>()?;
        let settled = pending.undo()?;
        let back = b.device.read(&wanted).into_iter().collect::<Result<Vec<_>, _>>()?;
        same(
            standing.iter().map(|r| r.value).collect(),
            changes.iter().map(|c| c.value).collect::<Vec<_>>(),
        )?;
        same(
            back.iter().map(|r| Some(r.value)).collect(),
            changes.iter().map(|c| c.expected).collect::<Vec<_>>(),
        )?;
        same(settled.undone, u32::try_from(changes.len())?)
    });
}

/// The answer cannot be given back, so nobody could confirm: the change must not stay.
fn write_to_read_only_memory(b: &Bench) -> Check {
    let (change, old) = b.flip(b.token()?)?;
    let file = b.open()?;
    let entry = dsmil_write_entry { id: change.id.0, value: change.value, ..Default::default() };
    let page = memory::Page::new(entry)?;
    let write = dsmil_write { count: 1, entries: page.address().try_into()?, ..Default::default() };
    refuses(&file, DSMIL_IOC_WRITE, write, Errno::EFAULT)?;
    same(b.value(change.id)?, old)?;
    let page = memory::Page::new(write_of(std::slice::from_ref(&entry)))?;
    same(raw_at(&file, DSMIL_IOC_WRITE, page.address()), Err(Errno::EFAULT))?;
    same(b.value(change.id)?, old)?;
    same(b.device.info()?.state, State::Idle)
}

/// A structure of the interface in memory that can be read but not written.
mod memory {
    use std::num::NonZeroUsize;

    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

    const SIZE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

    pub(crate) struct Page(std::ptr::NonNull<std::ffi::c_void>);

    impl Page {
        /// Holds a copy of `value`.
        pub(crate) fn new<T: Copy>(value: T) -> Result<Self, nix::Error> {
            let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            // SAFETY: A mapping of its own, at an address that the kernel chooses.
            let page = Self(unsafe { mmap_anonymous(None, SIZE, access, MapFlags::MAP_PRIVATE) }?);
            // SAFETY: The page is ours, writable, aligned, and larger than any structure of the interface.
            unsafe {
                page.0.cast::<T>().write(value);
                mprotect(page.0, SIZE.get(), ProtFlags::PROT_READ)?;
            }
            Ok(page)
        }

        pub(crate) fn address(&self) -> usize {
            self.0.as_ptr().expose_provenance()
        }
    }

    impl Drop for Page {
        fn drop(&mut self) {
            // SAFETY: The mapping is ours, and nobody refers to it any more.
            let _ = unsafe { munmap(self.0, SIZE.get()) };
        }
    }
}

/// What brings the old values back.
fn undoing(bench: &mut Bench) {
    bench.check("undo-on-drop", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::ZERO)?;
        same(b.value(change.id)?, change.value)?;
        drop(pending);
        same(b.value(change.id)?, old)?;
        same(b.device.info()?.outcome, Outcome::Undone)
    });
    bench.check("second-write-ebusy", |b| {
        let (change, _) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::ZERO)?;
        let second = Device::open(&b.node)?.write(&[change], Duration::ZERO).err();
        pending.undo()?;
        same(second, Some(Error::Busy))
    });
    bench.check("settle-by-another-file-eperm", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::ZERO)?;
        let settle = dsmil_settle { transaction: pending.transaction(), ..Default::default() };
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_CONFIRM, settle, Errno::EPERM)?;
        refuses(&file, DSMIL_IOC_UNDO, settle, Errno::EPERM)?;
        let wrong = dsmil_settle { transaction: pending.transaction() + 1, ..settle };
        refuses(&file, DSMIL_IOC_CONFIRM, wrong, Errno::ESRCH)?;
        drop(file);
        same(b.value(change.id)?, change.value)?;
        pending.undo()?;
        same(b.value(change.id)?, old)
    });
    bench.check("settle-by-a-child-eperm", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        let number = write_raw(&file, &change, 0)?;
        let settle = dsmil_settle { transaction: number, ..Default::default() };
        let child = forked(|| refuses(&file, DSMIL_IOC_CONFIRM, settle, Errno::EPERM).is_ok())?;
        same(wait(child)?, 0)?;
        // The child's exit closed its descriptor; that is not the owner's.
        same(b.value(change.id)?, change.value)?;
        drop(file);
        same(b.value(change.id)?, old)
    });
    bench.check("undo-on-close", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        write_raw(&file, &change, 0)?;
        same(b.value(change.id)?, change.value)?;
        drop(file);
        same(b.value(change.id)?, old)?;
        same(b.device.info()?.outcome, Outcome::Closed)
    });
    bench.check("undo-on-close-of-a-duplicate", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        write_raw(&file, &change, 0)?;
        drop(dup(&file)?);
        same(b.value(change.id)?, old)
    });
    bench.check("undo-on-kill", undo_on_kill);
    bench.check("undo-at-deadline", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::from_secs(1))?;
        let written = Instant::now();
        match b.device.info()?.state {
            State::Pending { remaining } if remaining <= Duration::from_secs(1) => {}
            other => return Err(format!("{other:?}").into()),
        }
        b.until_value(change.id, old)?;
        if written.elapsed() < Duration::from_millis(900) {
            return Err("too early".into());
        }
        same(b.device.info()?.outcome, Outcome::Expired)?;
        same(pending.confirm(), Err(Error::NotPending))?;
        same(b.value(change.id)?, old)
    });
    bench.check("idle-in-the-end", |b| same(b.device.info()?.state, State::Idle));
}

fn write_raw(file: &File, change: &Change, deadline_ms: u32) -> Result<u64, Box<dyn StdError>> {
    let entry = [dsmil_write_entry { id: change.id.0, value: change.value, ..Default::default() }];
    let mut write = dsmil_write { deadline_ms, ..write_of(&entry) };
    raw(file, DSMIL_IOC_WRITE, &mut write)?;
    Ok(write.transaction)
}

/// A child that has written and is killed while another process has the file open too.
fn undo_on_kill(b: &Bench) -> Check {
    let (change, old) = b.flip(b.token()?)?;
    let (ready, told) = nix::unistd::pipe()?;
    let node = b.node.clone();
    let child = forked(move || {
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&node) else { return false };
        // The grandchild keeps the file open, so that `release` does not come when the child dies.
        let grandchild = forked(|| {
            sleep(Duration::from_secs(3));
            true
        });
        let written = write_raw(&file, &change, 0).is_ok() && grandchild.is_ok();
        let _ = nix::unistd::write(&told, if written { b"y" } else { b"n" });
        sleep(Duration::from_secs(60));
        true
    })?;
    let mut answer = [0];
    nix::unistd::read(&ready, &mut answer)?;
    same(answer, *b"y")?;
    same(b.value(change.id)?, change.value)?;
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL)?;
    waitpid(child, None)?;
    b.until_value(change.id, old)?;
    same(b.device.info()?.outcome, Outcome::Closed)
}

/// A child that runs `body` and exits with 0 if that is true.
fn forked(body: impl FnOnce() -> bool) -> Result<Pid, Errno> {
    // SAFETY: This program has one thread when it forks: the one that opened without capabilities is joined.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = i32::from(!body());
            // SAFETY: Ends the child without running what belongs to the parent.
            unsafe { nix::libc::_exit(status) }
        }
    }
}

fn wait(child: Pid) -> Result<i32, Box<dyn StdError>> {
    match waitpid(child, None)? {
        WaitStatus::Exited(_, status) => Ok(status),
        other => Err(format!("{other:?}").into()),
    }
}
