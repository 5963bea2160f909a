//! What an agent may use up: by its cgroup where the tree has controllers, else by the limits of each process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sandbox::{By, Exit, Place, Subtree};
use types::agent::{Bytes, Cpu, Limits};

use crate::lab::{Lab, SOON, all, root, until};

#[test]
fn what_the_tree_cannot_is_said() {
    let Some(lab) = Lab::new() else { return };
    let capabilities = lab.subtree.capabilities();
    println!("{capabilities}; missing: {:?}", capabilities.missing);
    let controllers = std::fs::read_to_string(lab.delegated.join("cgroup.controllers")).unwrap();
    let has = |name| controllers.split_whitespace().any(|found| found == name);
    let (memory, pids) = (has("memory"), has("pids"));
    assert_eq!((capabilities.memory, capabilities.pids, capabilities.cpu), (memory, pids, has("cpu")));
    assert_eq!(capabilities.memory_by(), if memory { By::Cgroup } else { By::Process });
    assert_eq!(capabilities.cpu_by() == By::Cgroup, has("cpu"));
    assert_eq!(capabilities.missing.iter().any(|missing| missing.starts_with("memory:")), !memory);
    assert!(capabilities.freeze && capabilities.kill, "this kernel is older than we think");
}

/// The cgroup of this process, as a folder.
fn own_cgroup() -> PathBuf {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    root().unwrap().join(path)
}

#[test]
fn controllers_come_once_we_step_aside() {
    let Some(lab) = Lab::new() else { return };
    let before = own_cgroup();
    let delegated = lab.delegated.with_extension("delegated");
    std::fs::create_dir(&delegated).unwrap();
    std::fs::write(delegated.join("cgroup.procs"), "0").unwrap();
    let crowded = Subtree::prepare(&delegated, "agents").unwrap();
    assert!(!crowded.capabilities().memory && !crowded.capabilities().cpu);
    sandbox::subtree::step_aside(&delegated, "supervisor").unwrap();
    assert_eq!(own_cgroup(), delegated.join("supervisor"));
    let free = Subtree::prepare(&delegated, "agents").unwrap();
    println!(
        "{:?}, and once we have stepped aside {:?}",
        crowded.capabilities().missing,
        free.capabilities().missing
    );
    assert_eq!(free.capabilities(), lab.subtree.capabilities());
    std::fs::write(before.join("cgroup.procs"), "0").unwrap();
    for name in ["agents", "supervisor", "."] {
        std::fs::remove_dir(delegated.join(name).components().as_path()).unwrap();
    }
}

#[test]
fn memory_is_limited_one_way_or_the_other() {
    let Some(lab) = Lab::new() else { return };
    let limits = Limits { memory: Bytes(32 << 20), ..Limits::default() };
    let mut process = lab.leaf("eats", &limits).spawn(&lab.misbehaving(&["eat", "200"])).unwrap();
    let said = all(&mut process.stdio.stdout);
    let exit = process.wait(SOON).unwrap().unwrap();
    if lab.subtree.capabilities().memory {
        assert_eq!((exit, said.as_str()), (Exit::Signal { number: 9, core: false }, ""));
        let usage = process.usage().unwrap();
        assert!(usage.memory_kills.unwrap() > 0, "{usage:?}");
        assert!(usage.memory_peak.is_none_or(|peak| peak <= limits.memory), "{usage:?}");
    } else {
        assert_eq!(exit, Exit::Code(3), "{said}");
        let mebibytes: u64 = said.split(' ').nth(3).unwrap().parse().unwrap();
        assert!((16..32).contains(&mebibytes), "{said}");
    }
    // Within the limit it lives.
    let mut process = lab.leaf("fits", &limits).spawn(&lab.misbehaving(&["eat", "16"])).unwrap();
    assert_eq!(process.wait(SOON).unwrap(), Some(Exit::Code(0)));
}

#[test]
fn processes_are_limited_one_way_or_the_other() {
    let Some(lab) = Lab::new() else { return };
    let limits = Limits { pids: 25, ..Limits::default() };
    let mut spec = lab.misbehaving(&["bomb"]);
    if !lab.subtree.capabilities().pids {
        spec.user.processes_max = 25;
    }
    let process = lab.leaf("bomb", &limits).spawn(&spec).unwrap();
    until("the limit is reached", || process.usage().unwrap().processes == 25);
    let most = (0..50).map(|_| {
        std::thread::sleep(Duration::from_millis(4));
        process.usage().unwrap().processes
    });
    assert_eq!(most.max(), Some(25));
}

#[test]
fn processor_time_is_limited_where_the_tree_can() {
    let Some(lab) = Lab::new() else { return };
    if !lab.subtree.capabilities().cpu {
        eprintln!("skipped: the tree has no controller of processor time");
        return;
    }
    let limits = Limits { cpu: Cpu(20), ..Limits::default() };
    let process = lab.leaf("spin", &limits).spawn(&lab.misbehaving(&["spin"])).unwrap();
    let began = Instant::now();
    let before = process.usage().unwrap().cpu_us;
    std::thread::sleep(Duration::from_secs(2));
    let used = process.usage().unwrap().cpu_us - before;
    let percent = u128::from(used) * 100 / began.elapsed().as_micros();
    println!("20 % of a core gave {percent} %");
    assert!((10..=26).contains(&percent), "{percent} %");
}

#[test]
fn an_agent_runs_where_it_is_placed() {
    let Some(lab) = Lab::new() else { return };
    let place = Place { weight: Some(50), processors: vec![0] };
    let leaf = lab.subtree.leaf("placed", &Limits::default(), &place).unwrap();
    let mut process = leaf.spawn(&lab.misbehaving(&["tell"])).unwrap();
    let said = all(&mut process.stdio.stdout);
    assert!(said.contains("status Cpus_allowed_list: 0\n"), "{said}");
}
