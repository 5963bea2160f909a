//! What kill and freeze reach.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::{Exit, Subtree};

use crate::lab::{Lab, SOON, line, until};

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie does nothing any more; whoever is process 1 takes its time.
    !stat.is_empty() && !stat.contains(") Z ") && !stat.contains(") X ")
}

#[test]
fn a_fork_bomb_is_killed_whole() {
    let Some(lab) = Lab::new() else { return };
    let process = lab.start("bomb", &["bomb"]);
    let limit = if lab.subtree.capabilities().pids { 20 } else { 100 };
    until("the bomb has gone off", || process.usage().unwrap().processes >= limit);
    let began = Instant::now();
    process.kill(SOON).unwrap();
    println!("a bomb of at least {limit} processes is gone after {:?}", began.elapsed());
    assert_eq!(process.usage().unwrap().processes, 0);
    assert!(matches!(process.finish(SOON).unwrap(), Exit::Signal { number: 9, .. }));
}

#[test]
fn who_leaves_group_and_session_is_killed_too() {
    let Some(lab) = Lab::new() else { return };
    let mut process = lab.start("escape", &["escape"]);
    let pid: i32 = line(process.stdio.stdout.as_ref().unwrap()).parse().unwrap();
    assert_eq!(process.wait(SOON).unwrap(), Some(Exit::Code(0)));
    assert!(is_alive(pid) && pid != process.pid());
    // It is in no group and no session of ours any more, but still in its cgroup.
    assert_eq!(lab.subtree.processes().unwrap(), [pid]);
    process.finish(SOON).unwrap();
    assert!(!is_alive(pid));
}

#[test]
fn who_is_dropped_is_killed_too() {
    let Some(lab) = Lab::new() else { return };
    let process = lab.start("escape", &["escape"]);
    let pid: i32 = line(process.stdio.stdout.as_ref().unwrap()).parse().unwrap();
    drop(process);
    assert!(!is_alive(pid));
}

#[test]
fn who_ignores_signals_is_killed_all_the_same() {
    let Some(lab) = Lab::new() else { return };
    let mut process = lab.start("ignore", &["ignore"]);
    assert_eq!(line(process.stdio.stdout.as_ref().unwrap()), "ready");
    process.signal(rustix::process::Signal::TERM).unwrap();
    assert_eq!(process.wait(Duration::from_millis(100)).unwrap(), None);
    assert!(matches!(process.finish(SOON).unwrap(), Exit::Signal { number: 9, .. }));
}

#[test]
fn the_time_of_a_frozen_loop_stands_still() {
    let Some(lab) = Lab::new() else { return };
    let process = lab.start("spin", &["spin"]);
    let time = || process.usage().unwrap().cpu_us;
    until("it runs", || time() > 50_000);
    process.freeze(SOON).unwrap();
    let frozen = time();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(time(), frozen);
    process.thaw().unwrap();
    until("it goes on", || time() > frozen + 50_000);
    // Frozen ones die, too.
    process.freeze(SOON).unwrap();
    process.kill(SOON).unwrap();
}

#[test]
fn one_write_stops_all_and_one_kills_all() {
    let Some(lab) = Lab::new() else { return };
    let spinning: Vec<_> = (0..4).map(|n| lab.start(&format!("spin-{n}"), &["spin"])).collect();
    let sleeping: Vec<_> = (0..76).map(|n| lab.start(&format!("sleep-{n}"), &["ignore"])).collect();
    let time = || spinning.iter().map(|process| process.usage().unwrap().cpu_us).sum::<u64>();
    let began = Instant::now();
    lab.subtree.freeze().unwrap();
    assert!(lab.subtree.wait_frozen(SOON).unwrap());
    let stopped = began.elapsed();
    let before = time();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(time(), before);
    let began = Instant::now();
    lab.subtree.kill().unwrap();
    lab.subtree.wait_empty(SOON).unwrap();
    println!("80 agents stand still after {stopped:?}, are gone after {:?} more", began.elapsed());
    for process in spinning.into_iter().chain(sleeping) {
        assert!(matches!(process.finish(SOON).unwrap(), Exit::Signal { number: 9, .. }));
    }
}

#[test]
fn what_an_earlier_run_left_is_cleared() {
    let Some(lab) = Lab::new() else { return };
    std::mem::forget(lab.start("left", &["spin"]));
    let again = Subtree::prepare(&lab.delegated, "agents").unwrap();
    assert_eq!(again.processes().unwrap().len(), 1);
    again.clear(SOON).unwrap();
    assert!(again.processes().unwrap().is_empty());
}

/// Not a test of its own: the parent of [`an_agent_dies_with_its_parent`].
#[test]
#[ignore = "is run by another test"]
fn parent() {
    let Some(lab) = Lab::new() else { return };
    let process = lab.start("orphan", &["spin"]);
    println!("\nagent {} in {}", process.pid(), lab.delegated.display());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn an_agent_dies_with_its_parent() {
    let Some(lab) = Lab::new() else { return };
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "killing::parent", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let told = lines.find(|line| line.starts_with("agent ")).expect("it starts an agent");
    let words: Vec<&str> = told.split(' ').collect();
    let pid = words[1].parse().unwrap();
    assert!(is_alive(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("the agent is gone", || !is_alive(pid));
    let delegated = std::path::Path::new(words[3]);
    Subtree::prepare(delegated, "agents").unwrap().clear(SOON).unwrap();
    std::fs::remove_dir(delegated.join("agents")).unwrap();
    std::fs::remove_dir(delegated).unwrap();
    drop(lab);
}
