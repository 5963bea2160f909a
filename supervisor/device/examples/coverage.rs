//! Shows that the kernel traces the module: counts the places in it that opening and listing pass (KCOV).
//!
//! ```text
//! coverage [NODE]
//! ```
//!
//! For the kernel of `make test-sanitize`, as root. Exit status 1 if no place of the module was seen.

use std::error::Error;
use std::ffi::c_ulong;
use std::fs::{self, File};
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use device::Device;
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

/// Places that fit, each eight bytes, behind the count.
const PLACES: usize = 1 << 16;
/// `_IOR('c', 1, unsigned long)`, `_IO('c', 100)`, `_IO('c', 101)` of linux/kcov.h.
const INIT_TRACE: c_ulong = 0x8008_6301;
const ENABLE: c_ulong = 0x6364;
const DISABLE: c_ulong = 0x6365;
/// `KCOV_TRACE_PC` of linux/kcov.h.
const TRACE_PC: c_ulong = 0;

fn main() -> ExitCode {
    let node = std::env::args().nth(1).unwrap_or_else(|| "/dev/dsmil".to_owned());
    match trace(&node) {
        Ok(places) => {
            println!("{} places of the module were passed", places.len());
            if places.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The module's places that opening the node and listing its tokens pass, each once.
fn trace(node: &str) -> Result<Vec<u64>, Box<dyn Error>> {
    let module = text()?;
    let kcov = File::options().read(true).write(true).open("/sys/kernel/debug/kcov")?;
    control(&kcov, INIT_TRACE, PLACES.try_into()?)?;
    let buffer = map(&kcov)?;
    control(&kcov, ENABLE, TRACE_PC)?;
    let listed = Device::open(node).and_then(|device| device.tokens());
    let count = buffer.first().map_or(0, |count| count.load(Ordering::Acquire));
    control(&kcov, DISABLE, 0)?;
    listed?;
    let passed = buffer.iter().skip(1).take(count.try_into()?).map(|place| place.load(Ordering::Relaxed));
    let mut places: Vec<u64> = passed.filter(|place| module.contains(place)).collect();
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// Addresses of the module, from /proc/modules: name, size, users, their names, state, address.
fn text() -> Result<std::ops::Range<u64>, Box<dyn Error>> {
    let modules = fs::read_to_string("/proc/modules")?;
    let line = modules.lines().find(|line| line.starts_with("dsmil ")).ok_or("the module is not loaded")?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, size, _, _, _, address, ..] = words.as_slice() else {
        return Err("/proc/modules has another form".into());
    };
    let start = u64::from_str_radix(address.trim_start_matches("0x"), 16)?;
    Ok(start..start + size.parse::<u64>()?)
}

fn control(kcov: &File, command: c_ulong, argument: c_ulong) -> Result<(), Errno> {
    // SAFETY: KCOV's commands take a number, not an address.
    Errno::result(unsafe { libc::ioctl(kcov.as_raw_fd(), command, argument) }).map(drop)
}

/// The trace as the kernel writes it: the count, then the places. Mapped until the process ends.
fn map(kcov: &File) -> Result<&'static [AtomicU64], Box<dyn Error>> {
    let length = NonZero::new(PLACES * 8).ok_or("no length")?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: A new mapping, at an address that the kernel chooses.
    let start: NonNull<AtomicU64> =
        unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, kcov, 0)? }.cast();
    // SAFETY: It holds PLACES aligned numbers, is never unmapped, and the kernel changes them only as whole words.
    Ok(unsafe { std::slice::from_raw_parts(start.as_ptr(), PLACES) })
}
