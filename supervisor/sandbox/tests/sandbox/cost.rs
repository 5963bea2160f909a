//! What starting an agent costs, beside the least that starting a program can.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use sandbox::Exit;
use types::agent::Limits;

use crate::lab::{Lab, SOON};

/// Enough for a median.
const ROUNDS: i64 = 400;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Processor time of this process and of its children that have ended, microseconds: other load does not lengthen it much.
fn cpu_us() -> i64 {
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .map(|who| {
            let usage = getrusage(who).unwrap();
            usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
        })
        .sum()
}

#[test]
#[ignore = "measures: --ignored --nocapture"]
fn spawn_cost() {
    let Some(lab) = Lab::new() else { return };
    let spec = lab.spec(&["/bin/true"]);
    let (mut plain, mut ours, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let (mut plain_us, mut ours_us) = (0, 0);
    for round in 0..ROUNDS {
        let before = cpu_us();
        let began = Instant::now();
        let mut child = Command::new("/bin/true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.wait().unwrap();
        plain.push(began.elapsed());
        let between = cpu_us();
        plain_us += between - before;
        let began = Instant::now();
        let leaf = lab.leaf(&format!("cost-{round}"), &Limits::default());
        let made = Instant::now();
        let mut process = leaf.spawn(&spec).unwrap();
        assert_eq!(process.wait(SOON).unwrap(), Some(Exit::Code(0)));
        ours.push(made.elapsed());
        process.finish(SOON).unwrap();
        whole.push(began.elapsed());
        ours_us += cpu_us() - between;
    }
    println!(
        "start and end of /bin/true: posix_spawn {:?}, as an agent {:?}, with its cgroup made and removed {:?}",
        median(plain),
        median(ours),
        median(whole)
    );
    println!("processor time: posix_spawn {} µs, as an agent {} µs", plain_us / ROUNDS, ours_us / ROUNDS);
}
