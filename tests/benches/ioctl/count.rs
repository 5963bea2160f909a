//! Counting instructions: under QEMU's `-icount shift=0` the time stamp counter goes up by one for each.

use std::arch::asm;
use std::arch::x86_64::_rdtsc;
use std::hint::black_box;

use anyhow::ensure;
use nix::libc::c_int;
use tests::bench::Spread;

/// Calls of a batch whose cost is divided by their number: few enough that the kernel's timer, every 4 million
/// instructions, hits few batches.
pub const CALLS: u32 = 100;

/// Turns of the loop of known length.
const TURNS: u64 = 100_000;

fn now() -> u64 {
    // SAFETY: every x86-64 processor has the counter, and Linux lets programs read it.
    unsafe { _rdtsc() }
}

/// The counts of so many calls, and whether one of them gave another result than `expected`.
#[inline]
fn batch<S>(calls: u32, expected: c_int, state: &mut S, mut act: impl FnMut(&mut S) -> c_int) -> (u64, bool) {
    let mut differs = 0;
    let began = now();
    for _ in 0..calls {
        differs |= act(state) ^ expected;
    }
    (now() - began, differs != 0)
}

/// Instructions of one call, without the loop and the preparation.
///
/// # Errors
///
/// A call gave another result than `expected`.
#[inline]
pub fn cost<S>(
    calls: u32,
    expected: c_int,
    state: &mut S,
    mut prepare: impl FnMut(&mut S),
    mut call: impl FnMut(&mut S) -> c_int,
) -> anyhow::Result<f64> {
    let (empty, _) = batch(calls, expected, state, |state| {
        prepare(state);
        black_box(expected)
    });
    let (full, differs) = batch(calls, expected, state, |state| {
        prepare(state);
        call(state)
    });
    ensure!(!differs, "a call did not give {expected}: {}", std::io::Error::last_os_error());
    Ok((full as f64 - empty as f64) / f64::from(calls))
}

/// Counts a loop of known length: instructions that were counted above those that it has. The first value is
/// the median of many, the second the largest.
///
/// # Errors
///
/// The median is off by more than a thousandth, so the counter does not count instructions.
pub fn check() -> anyhow::Result<(f64, f64)> {
    let surplus: Vec<f64> = (0..51)
        .map(|_| {
            let began = now();
            // SAFETY: two instructions for each turn, on a register of the block's own; nothing else is touched.
            unsafe {
                asm!("2:", "dec {turns}", "jnz 2b", turns = inout(reg) TURNS => _, options(nomem, nostack));
            }
            (now() - began) as f64 - (2 * TURNS) as f64
        })
        .collect();
    let largest = surplus.iter().copied().fold(0.0, f64::max);
    let median = Spread::of(&surplus).map_or(f64::NAN, |spread| spread.median);
    ensure!(
        median.abs() < TURNS as f64 / 500.0,
        "a loop of {} instructions counted {median} more: is this the laptop with ICOUNT=1?",
        2 * TURNS
    );
    Ok((median, largest))
}
