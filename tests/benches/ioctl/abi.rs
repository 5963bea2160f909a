//! The ioctls of a node, raw: what a call costs must be the kernel's, not a client's.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};

use crate::uapi::{
    self, dsmil_info, dsmil_list, dsmil_read, dsmil_read_entry, dsmil_snapshot, dsmil_token, dsmil_version,
};

/// A number that no driver has.
const UNKNOWN: c_ulong = nix::request_code_readwrite!(uapi::DSMIL_IOC_MAGIC, 0xff, 8);
/// `DSMIL_C_IOC_BARE` of the C driver.
const BARE: c_ulong = nix::request_code_readwrite!(0xdb, 0x00, size_of::<Bare>());

/// `struct dsmil_c_bare`: a call to the firmware for each readable location and select.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Bare {
    pub selects: u32,
    pub calls: u32,
    pub failed: u32,
    pub reserved: u32,
}

/// `/dev/dsmil` or the node of the C driver.
#[derive(Debug)]
pub struct Node(File);

impl Node {
    /// Opens it for reading.
    pub fn open(path: &str) -> anyhow::Result<Self> {
        Ok(Self(File::open(Path::new(path)).with_context(|| format!("opening {path}"))?))
    }

    pub fn version(&self, version: &mut dsmil_version) -> c_int {
        // SAFETY: the driver fills in one `dsmil_version`.
        unsafe { libc::ioctl(self.0.as_raw_fd(), c_ulong::from(uapi::DSMIL_IOC_VERSION), version) }
    }

    pub fn info(&self, info: &mut dsmil_info) -> c_int {
        // SAFETY: the driver fills in one `dsmil_info`.
        unsafe { libc::ioctl(self.0.as_raw_fd(), c_ulong::from(uapi::DSMIL_IOC_INFO), info) }
    }

    /// An ioctl that the driver does not know; −1.
    pub fn unknown(&self, argument: &mut u64) -> c_int {
        // SAFETY: the number's size says that a driver that knows it would use 8 bytes.
        unsafe { libc::ioctl(self.0.as_raw_fd(), UNKNOWN, argument) }
    }
}

/// A list of tokens and the room for it.
#[derive(Debug)]
pub struct List {
    request: dsmil_list,
    tokens: Vec<dsmil_token>,
}

impl List {
    /// With room for so many tokens.
    pub fn of(count: u32) -> Self {
        let mut tokens = vec![dsmil_token::default(); count as usize];
        let request = dsmil_list { cursor: 0, count, tokens: address(&mut tokens), reserved: 0 };
        Self { request, tokens }
    }

    /// Makes it ask for the first tokens again.
    pub fn rewind(&mut self, count: u32) {
        self.request.cursor = 0;
        self.request.count = count;
    }

    pub fn call(&mut self, node: &Node) -> c_int {
        // SAFETY: the driver fills in at most `count` tokens, for which there is room at the address.
        unsafe { libc::ioctl(node.0.as_raw_fd(), c_ulong::from(uapi::DSMIL_IOC_LIST), &raw mut self.request) }
    }

    /// What came.
    pub fn tokens(&self) -> &[dsmil_token] {
        self.tokens.get(..self.request.count as usize).unwrap_or_default()
    }
}

/// A request to read and its entries.
#[derive(Debug)]
pub struct Read {
    request: dsmil_read,
    wanted: Vec<dsmil_read_entry>,
    entries: Vec<dsmil_read_entry>,
    max_age_ms: u32,
}

impl Read {
    /// The present value of each token.
    pub fn of(ids: &[u16], max_age_ms: u32) -> anyhow::Result<Self> {
        let wanted: Vec<_> =
            ids.iter().map(|id| dsmil_read_entry { id: *id, ..dsmil_read_entry::default() }).collect();
        u32::try_from(wanted.len())?;
        Ok(Self { request: dsmil_read::default(), entries: wanted.clone(), wanted, max_age_ms })
    }

    /// Puts everything back to what a request must be; a driver wants zeros where it gives something.
    #[inline]
    pub fn prepare(&mut self) {
        self.entries.copy_from_slice(&self.wanted);
        #[expect(clippy::cast_possible_truncation, reason = "checked when it was made")]
        let count = self.wanted.len() as u32;
        let entries = address(&mut self.entries);
        self.request = dsmil_read { count, max_age_ms: self.max_age_ms, entries, ..dsmil_read::default() };
        std::hint::black_box(self);
    }

    pub fn call(&mut self, node: &Node) -> c_int {
        // SAFETY: the driver reads and fills in `count` entries, which is how many are at the address.
        unsafe { libc::ioctl(node.0.as_raw_fd(), c_ulong::from(uapi::DSMIL_IOC_READ), &raw mut self.request) }
    }

    /// The values, if all could be read.
    pub fn values(&self) -> Option<Vec<u32>> {
        let failed = self.request.failed != 0;
        (!failed).then(|| self.entries.iter().map(|entry| entry.value).collect())
    }
}

/// A snapshot of the present values and the room for it.
#[derive(Debug)]
pub struct Snapshot {
    request: dsmil_snapshot,
    entries: Vec<dsmil_read_entry>,
    max_age_ms: u32,
}

impl Snapshot {
    /// With room for all tokens.
    pub fn of(max_age_ms: u32) -> Self {
        let entries = vec![dsmil_read_entry::default(); uapi::DSMIL_SNAPSHOT_MAX as usize];
        Self { request: dsmil_snapshot::default(), entries, max_age_ms }
    }

    /// Puts everything back to what a request must be.
    pub fn prepare(&mut self) {
        self.request = dsmil_snapshot {
            count: uapi::DSMIL_SNAPSHOT_MAX,
            selects: 1 << uapi::DSMIL_SELECT_CURRENT,
            max_age_ms: self.max_age_ms,
            entries: address(&mut self.entries),
            ..dsmil_snapshot::default()
        };
        std::hint::black_box(self);
    }

    pub fn call(&mut self, node: &Node) -> c_int {
        // SAFETY: the driver fills in at most `count` entries, for which there is room at the address.
        unsafe {
            libc::ioctl(node.0.as_raw_fd(), c_ulong::from(uapi::DSMIL_IOC_SNAPSHOT), &raw mut self.request)
        }
    }

    /// Id and value of each entry, if all could be read.
    pub fn values(&self) -> Option<Vec<(u16, u32)>> {
        let filled = self.entries.get(..self.request.count as usize)?;
        (self.request.failed == 0).then(|| filled.iter().map(|entry| (entry.id, entry.value)).collect())
    }
}

/// Calls the firmware once for each readable location, through the C driver.
pub fn bare(node: &Node, bare: &mut Bare) -> c_int {
    // SAFETY: the driver takes and fills in one `dsmil_c_bare`.
    unsafe { libc::ioctl(node.0.as_raw_fd(), BARE, bare) }
}

/// Why the last call failed.
pub fn refused() -> Errno {
    Errno::last()
}

fn address<T>(items: &mut [T]) -> u64 {
    items.as_mut_ptr().expose_provenance() as u64
}
