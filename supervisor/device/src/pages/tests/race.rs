//! The reader against a writer that runs on another processor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// Changes to meet, and how long to wait for them on a machine that has much else to do.
const CHANGES: u32 = 2000;
const LONG: Duration = Duration::from_secs(20);

/// The value that goes with a time: any other is torn.
fn value_of(time_ns: u64) -> u32 {
    u32::try_from(time_ns.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).unwrap()
}

#[test]
fn no_look_is_torn_while_the_pages_change() {
    let ids: Vec<u16> = (1..=16).collect();
    let written = Written::new(&Layout::of(&ids));
    let pages = written.map().unwrap();
    let ended = AtomicBool::new(false);
    let met = thread::scope(|scope| {
        scope.spawn(|| {
            let mut time_ns = 0;
            while !ended.load(Ordering::Relaxed) {
                time_ns += 1;
                written.change(|| {
                    for index in 0..ids.len() * 3 {
                        written.cell(index, time_ns, value_of(time_ns));
                    }
                    written.generation(time_ns);
                });
                // Between two changes there is time to look, as there is in the module.
                (0..2000).for_each(|turn| _ = std::hint::black_box(turn));
            }
        });
        let _ends_the_writer = Ends(&ended);
        read(&pages)
    });
    // On one processor, a change is met only where a thread is stopped.
    assert!(
        met == CHANGES || thread::available_parallelism().is_ok_and(|n| n.get() == 1),
        "only {met} changes"
    );
}

/// Ends the writer also when the reader has found something torn.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many looks saw something new.
fn read(pages: &Pages) -> u32 {
    let cells: Vec<_> = pages.reader.names.iter().map(|(id, select)| (TokenId(*id), *select)).collect();
    let cells = cells.iter().filter_map(|(id, select)| pages.find(*id, Select::from_code(*select)?));
    let cells: Vec<_> = cells.collect();
    let (mut met, mut newest) = (0, 0);
    let start = Instant::now();
    while met < CHANGES && start.elapsed() < LONG {
        for cell in &cells {
            if let Ok(Some(cached)) = pages.get(*cell) {
                assert_eq!(cached.value, value_of(cached.time_ns), "torn");
                assert!(cached.time_ns >= newest, "went back");
                met += u32::from(met < CHANGES && cached.time_ns > newest);
                newest = cached.time_ns;
            }
        }
        if let Ok(contents) = pages.all() {
            for held in &contents.values {
                assert_eq!(held.cached.time_ns, contents.state.generation, "torn between cells");
                assert_eq!(held.cached.value, value_of(held.cached.time_ns), "torn");
            }
        }
    }
    met
}
