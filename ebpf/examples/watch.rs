//! Shows what the probes see: thermal events as they come, and at the end how long tasks waited.
//!
//! `watch [SECONDS]`, 5 by default; with 0 it waits for the end of standard input, so that
//! `… | watch 0` measures a command.

use std::error::Error;
use std::io::Read as _;
use std::time::{Duration, Instant};

use ebpf::Probes;

fn main() -> Result<(), Box<dyn Error>> {
    let seconds: u64 = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let start = Instant::now();
    let mut probes = Probes::load()?;
    println!("loaded in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    for loss in probes.losses() {
        println!("{loss}");
    }
    if seconds == 0 {
        std::io::stdin().read_to_end(&mut Vec::new())?;
    } else {
        watch(&mut probes, Duration::from_secs(seconds))?;
    }
    show_waits(&probes)?;
    println!("{:?}", probes.lost()?);
    Ok(())
}

fn watch(probes: &mut Probes, time: Duration) -> Result<(), ebpf::Error> {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        // Rounded up, so that the last millisecond is not spent asking.
        match probes.thermal_events(left + Duration::from_millis(1)) {
            Ok(events) => {
                events.iter().for_each(|event| println!("{:8.3} s {event:?}", start.elapsed().as_secs_f64()))
            }
            Err(ebpf::Error::Lost(_)) => std::thread::sleep(left),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn show_waits(probes: &Probes) -> Result<(), ebpf::Error> {
    for (cpu, slots) in probes.scheduler()?.iter().enumerate() {
        println!("cpu {cpu}: {} waits", slots.iter().sum::<u64>());
        for (power, count) in slots.iter().enumerate().filter(|(_, count)| **count > 0) {
            println!("  from {:>8} µs: {count}", if power == 0 { 0 } else { 1u64 << power });
        }
    }
    Ok(())
}
