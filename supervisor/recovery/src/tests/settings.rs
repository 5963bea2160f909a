//! Settings of the running kernel, in a name space of the test's own.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use types::time::Time;

use super::tree::*;
use crate::Error;
use crate::diff::{self, diff};
use crate::manifest::{Manifest, Part};
use crate::restore::{self, Machine, Restore, Scope};
use crate::settings::knobs::Knobs;
use crate::settings::{CHANGES_BYTES_MAX, Setting, put_back};
use crate::worker::Worker;
use crate::worker::effect::{Effect, Executor};

const DOMAIN: &str = "/proc/sys/kernel/domainname";
const HOST: &str = "/proc/sys/kernel/hostname";
const BOTH: [&str; 2] = ["kernel.domainname", "kernel.hostname"];

fn listed(patterns: &[&str]) -> Knobs {
    Knobs::new(&patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// A machine's names that only this thread has, which may be changed.
fn own_names() -> bool {
    if !is_root() || unshare(CloneFlags::CLONE_NEWUTS).is_err() {
        eprintln!("skipped: no name space of its own");
        return false;
    }
    let written = fs::write(DOMAIN, "before\n").is_ok();
    if !written {
        eprintln!("skipped: /proc/sys is read-only");
    }
    written
}

fn value(path: &str) -> String {
    fs::read_to_string(path).unwrap().trim().to_owned()
}

fn worker(patterns: &[&str]) -> Worker {
    Worker::new(&[]).unwrap().with_settings(listed(patterns))
}

fn capture(bench: &Bench, knobs: &Knobs) -> Manifest {
    let machine = Machine { settings: Some(knobs), ..Machine::default() };
    restore::capture(machine, &mut bench.chunks(), 1, "before", Time::default()).unwrap().manifest
}

#[test]
fn settings_come_back_as_they_were() {
    if !own_names() {
        return;
    }
    let (bench, knobs) = (Bench::new(), listed(&BOTH));
    fs::write(HOST, "laptop\n").unwrap();
    let manifest = capture(&bench, &knobs);
    assert_eq!((manifest.version, manifest.parts.len()), (2, 1));
    let encoded = manifest.encode().unwrap();
    assert_eq!(Manifest::decode(&encoded).unwrap(), manifest);
    let statement = manifest.statement().unwrap().to_string();
    assert!(statement.ends_with("component settings 2\n"), "{statement}");

    fs::write(DOMAIN, "elsewhere\n").unwrap();
    let (chunks, mut worker) = (bench.chunks(), worker(&BOTH));
    let now =
        restore::observe(Machine { settings: Some(&knobs), ..Machine::default() }, &chunks, Time::default());
    let found = diff(&manifest, &now.unwrap());
    let [diff::Difference::Setting { path, before, after }] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(path, DOMAIN.as_bytes());
    assert_eq!((before.as_deref(), after.as_deref()), (Some(&b"before\n"[..]), Some(&b"elsewhere\n"[..])));

    let machine = Machine { settings: Some(&knobs), executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
    assert_eq!(restore.plan().summary().settings, 1);
    assert_eq!(restore.plan().settings_before(), [(DOMAIN.into(), b"elsewhere\n".to_vec())]);
    restore.prepare().unwrap();
    assert_eq!(value(DOMAIN), "elsewhere", "nothing changes before it is executed");
    restore.execute().unwrap();
    assert_eq!(value(DOMAIN), "before");
    restore.verify().unwrap();
    restore.undo().unwrap();
    assert_eq!(value(DOMAIN), "elsewhere");
    restore.clean_up().unwrap();
    drop(restore);

    // Left out, if that is asked for; and again all of it.
    let scope = Scope { settings: false, ..Scope::default() };
    let machine = Machine { settings: Some(&knobs), scope, ..Machine::default() };
    assert!(restore::plan(machine, manifest.clone(), &chunks).unwrap().differences.is_empty());
    let machine = Machine { settings: Some(&knobs), executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    fs::write(HOST, "changed meanwhile\n").unwrap();
    restore.clean_up().unwrap();
    drop(restore);
    assert_eq!(value(DOMAIN), "before");
    // A machine that has none of them says so.
    assert!(matches!(restore::plan(Machine::default(), manifest, &chunks), Err(Error::Refused(_))));
}

#[test]
fn after_a_crash_old_values_come_back() {
    if !own_names() {
        return;
    }
    let (knobs, mut worker) = (listed(&BOTH), worker(&BOTH));
    let before = [(DOMAIN.as_bytes().to_vec(), b"old\n".to_vec()), (HOST.into(), value(HOST).into_bytes())];
    put_back(&knobs, &mut worker, &before).unwrap();
    assert_eq!(value(DOMAIN), "old");
    put_back(&knobs, &mut worker, &before).unwrap();
    assert_eq!(value(DOMAIN), "old");
}

#[test]
fn what_does_not_hold_is_told_and_undone() {
    if !own_names() {
        return;
    }
    let bench = Bench::new();
    // The number of this boot takes no value.
    let patterns = ["kernel.domainname", "kernel.random.boot_id"];
    let knobs = listed(&patterns);
    let mut manifest = capture(&bench, &knobs);
    let Part::Settings { values, .. } = &mut manifest.parts[0] else { panic!() };
    values[1].value = b"00000000-0000-0000-0000-000000000000\n".to_vec();
    fs::write(DOMAIN, "elsewhere\n").unwrap();
    let (chunks, mut worker) = (bench.chunks(), worker(&patterns));
    let machine = Machine { settings: Some(&knobs), executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest, &chunks, false).unwrap();
    restore.prepare().unwrap();
    let error = restore.execute().unwrap_err().to_string();
    assert!(error.contains("/proc/sys/kernel/random/boot_id"), "{error}");
    assert_eq!(restore.phase(), restore::Phase::Undone, "{error}");
    assert_eq!(value(DOMAIN), "elsewhere", "what was written before it is taken back");
}

#[test]
fn what_is_no_longer_listed_is_left_if_asked() {
    if !own_names() {
        return;
    }
    let bench = Bench::new();
    let manifest = capture(&bench, &listed(&BOTH));
    fs::write(DOMAIN, "elsewhere\n").unwrap();
    fs::write(HOST, "elsewhere\n").unwrap();
    let (chunks, knobs, mut worker) = (bench.chunks(), listed(&BOTH[..1]), worker(&BOTH[..1]));
    for leave in [false, true] {
        let machine = Machine { settings: Some(&knobs), executor: Some(&mut worker), ..Machine::default() };
        let mut restore = Restore::begin(machine, manifest.clone(), &chunks, leave).unwrap();
        let summary = restore.plan().summary();
        assert_eq!((summary.settings, summary.obstacles), (1, 1));
        if leave {
            restore.prepare().unwrap();
            restore.execute().unwrap();
            restore.verify().unwrap();
            restore.clean_up().unwrap();
        } else {
            assert!(matches!(restore.prepare(), Err(Error::Refused(_))));
        }
    }
    assert_eq!((value(DOMAIN).as_str(), value(HOST).as_str()), ("before", "elsewhere"));
    // Nor does the one who writes take a daemon's word for it.
    let effect = Effect::Set { path: HOST.into(), value: b"taken over".to_vec() };
    assert!(matches!(worker.perform(&effect), Err(Error::Refused(_))));
    assert_eq!(value(HOST), "elsewhere");
}

#[test]
fn hostile_parts_are_refused() {
    let setting = |path: &str, size: usize| Setting { path: path.into(), value: vec![b'x'; size] };
    let decode = |version, values: Vec<Setting>| {
        let parts = vec![Part::Settings { values, unread: Vec::new() }];
        let (name, created) = ("x".to_owned(), Time::default().into());
        let manifest = Manifest { version, number: 1, name, created, machine: Vec::new(), parts };
        Manifest::decode(&minicbor::to_vec(&manifest).unwrap())
    };
    decode(2, vec![setting("/proc/sys/a", 4096), setting("/proc/sys/b", 0)]).unwrap();
    for (version, values) in [
        (2, vec![setting("/proc/sys/b", 1), setting("/proc/sys/a", 1)]),
        (2, vec![setting("/proc/sys/a", 1), setting("/proc/sys/a", 1)]),
        (2, vec![setting("/proc/sys/a", 4097)]),
        (1, vec![setting("/proc/sys/a", 1)]),
    ] {
        assert!(matches!(decode(version, values), Err(Error::Damaged(_))));
    }
    assert!(matches!(decode(5, vec![setting("/proc/sys/a", 1)]), Err(Error::Version { found: 5, known: 4 })));
}

#[test]
fn a_later_version_is_told_whatever_it_holds() {
    // {0: 5, 5: [[99, {}]]}: a part that no reader of today knows.
    let bytes = [0xa2, 0x00, 0x05, 0x05, 0x81, 0x82, 0x18, 0x63, 0xa0];
    assert!(matches!(Manifest::decode(&bytes), Err(Error::Version { found: 5, known: 4 })));
}

#[test]
fn too_many_changes_are_refused_before_anything_happens() {
    let (bench, dir) = (Bench::new(), tempfile::tempdir().unwrap());
    let names: Vec<_> = (10..20).map(|number| format!("knob{number}")).collect();
    let fill = |byte| {
        for name in &names {
            fs::write(dir.path().join(name), vec![byte; 4000]).unwrap();
        }
    };
    fill(b'a');
    assert!(names.len() * 4000 > CHANGES_BYTES_MAX);
    let knobs = Knobs::pretended(dir.path().into(), dir.path().into(), &["knob*".to_owned()]).unwrap();
    let manifest = capture(&bench, &knobs);
    fill(b'b');
    let machine = Machine { settings: Some(&knobs), ..Machine::default() };
    let plan = restore::plan(machine, manifest, &bench.chunks());
    assert!(matches!(plan, Err(Error::Limit { .. })), "{plan:?}");
}
