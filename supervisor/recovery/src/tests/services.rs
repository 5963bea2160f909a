//! Services, with a program in systemd's place that keeps what it is told in files: what the real one does is seen in the laptop.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::RwLockWriteGuard;

use store::chunk::Chunks;
use types::time::Time;

use super::tree::*;
use crate::Error;
use crate::diff::diff;
use crate::manifest::{Manifest, Part};
use crate::restore::{self, Before, Machine, Restore};
use crate::services::units::Units;
use crate::services::{CHANGES_BYTES_MAX, Changer, Service, UnitFile, UnitFiles, Witness, put_back};
use crate::worker::Worker;
use crate::worker::effect::{Effect, Executor};

/// Each unit is a folder with what systemd would say of it. A unit whose drop-ins say “broken” does not start; each start is
/// counted.
const SYSTEMCTL: &str = r#"#!/bin/sh
at=${0%/*}
words=
while [ "$1" != -- ]; do
    case $1 in --system | --no-* | --quiet | --plain | --full | --all | --prop*) ;; *) words="$words $1" ;; esac
    [ "$1" != --runtime ] || runtime=-runtime
    shift
done
shift
# As the real one, it tells enablement from memory until it is to read files again.
set_to() {
    [ "$1" != enabled ] || [ -e "$at/units/$unit/known" ] || cp "$at/units/$unit/enabled" "$at/units/$unit/known"
    echo "$2" >"$at/units/$unit/$1"
}
[ "$words" != " daemon-reload" ] || rm -f "$at"/units/*/known
for unit in "$@"; do
    if [ "$words" = " show" ]; then
        load=loaded
        [ -d "$at/units/$unit" ] || load=not-found
        echo "Id=$(cat "$at/units/$unit/id" 2>/dev/null || echo "$unit")"
        echo "Names=$unit"
        echo "LoadState=$load"
        echo "ActiveState=$(cat "$at/units/$unit/active" 2>/dev/null || echo inactive)"
        echo "UnitFileState=$(cat "$at/units/$unit/known" 2>/dev/null || cat "$at/units/$unit/enabled" 2>/dev/null)"
        echo "NeedDaemonReload=no"
        echo
        continue
    fi
    [ "$words" = " list-units" ] || [ "$words" = " list-unit-files" ] || echo "$words $unit" >>"$at/log"
    case $words in
    " list-unit-files")
        # It says by its status alone that no file has such a name.
        [ "$unit" != 'nothing-*.service' ] || exit 1
        (cd "$at/units" && for one in *; do echo "$one $(cat "$one/enabled")"; done) ;;
    " start" | " restart")
        if grep -qs broken "$at/system/$unit.d"/*.conf; then
            echo "Job for $unit failed." >&2
            set_to active failed
            exit 1
        fi
        set_to active active
        ;;
    " stop") set_to active inactive ;;
    " enable"*) set_to enabled "enabled$runtime" ;;
    " disable"* | " unmask"*) set_to enabled disabled ;;
    " mask"*) set_to enabled "masked$runtime" ;;
    esac
done
exit 0
"#;

/// A machine with units.
struct Machinery {
    at: PathBuf,
    witness: Witness,
    /// It is executed again and again, which fails while another child has it open for writing.
    _alone: RwLockWriteGuard<'static, ()>,
}

impl Machinery {
    fn new(bench: &Bench) -> Self {
        let alone = children();
        let at = bench.root.parent().unwrap().join("systemd");
        for folder in ["system", "units", "booted"] {
            fs::create_dir_all(at.join(folder)).unwrap();
        }
        fs::set_permissions(at.join("system"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(at.join("systemctl"), SYSTEMCTL).unwrap();
        fs::set_permissions(at.join("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
        let witness = Witness::Folder(at.join("witness"));
        let machine = Self { at, witness, _alone: alone };
        machine.unit("a.service", "active", "enabled");
        machine.unit("b.timer", "inactive", "disabled");
        machine.drop_in("a.service", "10-limit", "[Service]\nMemoryMax=1G\n");
        machine
    }

    fn unit(&self, unit: &str, active: &str, enabled: &str) {
        fs::create_dir_all(self.at.join("units").join(unit)).unwrap();
        self.set(unit, "active", active);
        self.set(unit, "enabled", enabled);
    }

    fn set(&self, unit: &str, what: &str, value: &str) {
        let folder = self.at.join("units").join(unit);
        drop(fs::remove_file(folder.join("known")));
        fs::write(folder.join(what), format!("{value}\n")).unwrap();
    }

    fn is(&self, unit: &str) -> [String; 2] {
        ["active", "enabled"].map(|what| {
            fs::read_to_string(self.at.join("units").join(unit).join(what)).unwrap().trim().to_owned()
        })
    }

    fn place(&self, unit: &str, name: &str) -> PathBuf {
        self.at.join("system").join(format!("{unit}.d")).join(format!("{name}.conf"))
    }

    fn drop_in(&self, unit: &str, name: &str, text: &str) {
        let path = self.place(unit, name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    }

    fn read(&self, unit: &str, name: &str) -> Option<String> {
        fs::read_to_string(self.place(unit, name)).ok()
    }

    fn units(&self, patterns: &[&str]) -> Units {
        let patterns: Vec<_> = patterns.iter().map(|text| (*text).to_owned()).collect();
        Units::pretended(&self.at, &patterns).unwrap()
    }

    fn worker(&self, patterns: &[&str]) -> Worker {
        let changer = Changer::new(self.units(patterns), self.witness.clone());
        Worker::new(&[]).unwrap().with_services(changer)
    }

    /// What systemd was told since the last question.
    fn told(&self) -> Vec<String> {
        let log = self.at.join("log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        drop(fs::remove_file(log));
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn capture(&self, bench: &Bench, patterns: &[&str]) -> Manifest {
        let (units, mut worker) = (self.units(patterns), self.worker(patterns));
        let machine = Machine { services: Some(&units), executor: Some(&mut worker), ..Machine::default() };
        restore::capture(machine, &mut bench.chunks(), 1, "before", Time::default()).unwrap().manifest
    }
}

fn begin<'a>(
    units: &'a Units,
    worker: &'a mut Worker,
    manifest: &Manifest,
    chunks: &'a Chunks,
) -> Restore<'a> {
    let machine = Machine { services: Some(units), executor: Some(worker), ..Machine::default() };
    Restore::begin(machine, manifest.clone(), chunks, false).unwrap()
}

const ALL: [&str; 2] = ["a.service", "*.timer"];

fn differences(manifest: &Manifest, now: &Manifest) -> Vec<String> {
    diff(manifest, now).iter().map(ToString::to_string).collect()
}

#[test]
fn services_come_back_as_they_were() {
    let bench = Bench::new();
    let machine = Machinery::new(&bench);
    let manifest = machine.capture(&bench, &ALL);
    assert_eq!((manifest.version, manifest.services().0.len()), (3, 2));
    assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
    assert!(manifest.statement().unwrap().to_string().ends_with("component services 2\n"));

    machine.unit("a.service", "inactive", "masked");
    machine.unit("b.timer", "active", "enabled");
    machine.drop_in("a.service", "10-limit", "[Service]\nMemoryMax=2G\n");
    machine.drop_in("a.service", "20-more", "[Service]\nNice=5\n");
    machine.drop_in("b.timer", "x", "[Timer]\n");
    let (units, mut worker, chunks) = (machine.units(&ALL), machine.worker(&ALL), bench.chunks());
    let observed =
        restore::observe(Machine { services: Some(&units), ..Machine::default() }, &chunks, Time::default());
    assert_eq!(
        differences(&manifest, &observed.unwrap()),
        [
            "service a.service: running -> stopped, enabled -> masked, drop-in 10-limit.conf changed, \
             drop-in 20-more.conf added",
            "service b.timer: stopped -> running, disabled -> enabled, drop-in x.conf added"
        ]
    );
    let mut restore = begin(&units, &mut worker, &manifest, &chunks);
    assert_eq!(restore.plan().summary().services, 2);
    let held = restore.plan().report(1).settings;
    assert_eq!(held.len(), 2);
    assert!(Before::of(&held).settings.is_empty());
    restore.prepare().unwrap();
    assert_eq!(machine.told(), [""; 0], "nothing changes before it is executed");
    restore.execute().unwrap();
    restore.verify().unwrap();
    assert_eq!(machine.is("a.service"), ["active", "enabled"]);
    assert_eq!(machine.is("b.timer"), ["inactive", "disabled"]);
    assert_eq!(machine.read("a.service", "10-limit").unwrap(), "[Service]\nMemoryMax=1G\n");
    let mode = fs::metadata(machine.place("a.service", "10-limit")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(machine.read("a.service", "20-more"), None);
    assert!(!machine.at.join("system/b.timer.d").exists());
    assert_eq!(
        machine.told(),
        ["unmask a.service", "enable a.service", "disable b.timer", "stop b.timer", "start a.service"]
    );
    restore.undo().unwrap();
    restore.clean_up().unwrap();
    drop(restore);
    assert_eq!(machine.is("a.service"), ["inactive", "masked"]);
    assert_eq!(machine.is("b.timer"), ["active", "enabled"]);
    assert_eq!(machine.read("a.service", "20-more").unwrap(), "[Service]\nNice=5\n");
    machine.told();

    // From the log alone, as after a crash: from a state half-way, of which systemd has not read all, twice.
    machine.unit("a.service", "active", "disabled");
    fs::write(machine.at.join("units/b.timer/known"), "enabled").unwrap();
    fs::write(machine.at.join("units/b.timer/enabled"), "disabled").unwrap();
    machine.drop_in("a.service", "20-more", "[Service]\nMemoryMax=1G\n");
    let Before { services, .. } = Before::of(&held);
    for _ in 0..2 {
        put_back(&units, &mut worker, &services).unwrap();
        assert_eq!(machine.is("a.service"), ["inactive", "masked"]);
        assert_eq!(machine.is("b.timer"), ["active", "enabled"]);
        assert_eq!(machine.read("a.service", "20-more").unwrap(), "[Service]\nNice=5\n");
    }
    let mut restore = begin(&units, &mut worker, &manifest, &chunks);
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    restore.clean_up().unwrap();
    assert_eq!(machine.is("a.service"), ["active", "enabled"]);
}

#[test]
fn a_pattern_that_no_unit_matches_is_no_error() {
    let bench = Bench::new();
    let machine = Machinery::new(&bench);
    let manifest = machine.capture(&bench, &["a.service", "nothing-*.service"]);
    let (services, unread) = manifest.services();
    assert_eq!((services.len(), unread.len()), (1, 0));
}

#[test]
fn a_running_unit_is_started_anew_also_after_a_crash() {
    let bench = Bench::new();
    let machine = Machinery::new(&bench);
    let manifest = machine.capture(&bench, &ALL);
    machine.drop_in("a.service", "10-limit", "[Service]\nMemoryMax=2G\n");
    let (units, mut worker, chunks) = (machine.units(&ALL), machine.worker(&ALL), bench.chunks());
    // A restore that is cut between its files and its starts.
    let Part::Services { services, .. } = &manifest.parts[0] else { panic!() };
    let service = services[0].clone();
    worker.perform(&Effect::Install { service, only_check: false }).unwrap();
    assert_eq!(machine.told(), [""; 0]);
    let of = Machine { services: Some(&units), executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(of, manifest.clone(), &chunks, false).unwrap();
    let told: Vec<_> = restore.plan().differences.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["service a.service: to be started anew"]);
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    restore.clean_up().unwrap();
    assert_eq!(machine.told(), ["restart a.service"]);
}

#[test]
fn what_does_not_start_is_told_and_undone() {
    let bench = Bench::new();
    let machine = Machinery::new(&bench);
    machine.drop_in("a.service", "20-later", "[Service]\n# broken\n");
    let manifest = machine.capture(&bench, &ALL);
    fs::remove_file(machine.place("a.service", "20-later")).unwrap();
    machine.unit("b.timer", "inactive", "masked");
    let (units, mut worker, chunks) = (machine.units(&ALL), machine.worker(&ALL), bench.chunks());
    let of = Machine { services: Some(&units), executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(of, manifest, &chunks, false).unwrap();
    restore.prepare().unwrap();
    let error = restore.execute().unwrap_err().to_string();
    assert!(error.contains("restart a.service") && error.contains("Job for a.service failed."), "{error}");
    assert_eq!(machine.is("a.service"), ["active", "enabled"]);
    assert_eq!(machine.is("b.timer"), ["inactive", "masked"]);
    assert_eq!(machine.read("a.service", "20-later"), None);
}

#[test]
fn nothing_is_written_that_never_stood_there() {
    let bench = Bench::new();
    let machine = Machinery::new(&bench);
    let manifest = machine.capture(&bench, &ALL);
    let mut worker = machine.worker(&ALL);
    let Part::Services { services, .. } = &manifest.parts[0] else { panic!() };
    let whole = services[0].clone();
    let with = |change: &dyn Fn(&mut UnitFile)| {
        let mut service = whole.clone();
        service.files.iter_mut().flat_map(|files| &mut files.files).for_each(change);
        Effect::Install { service, only_check: false }
    };
    // Another content, another mode, another name, and the unit's own file.
    for forged in [
        with(&|file| file.content = b"[Service]\nExecStartPre=/tmp/mine\n".to_vec()),
        with(&|file| file.mode = 0o666),
        with(&|file| file.name = "99-mine.conf".to_owned()),
        with(&|file| file.name = String::new()),
    ] {
        let error = worker.perform(&forged).unwrap_err();
        assert!(matches!(&error, Error::Refused(why) if why.contains("never stood there")), "{error}");
    }
    // The same bytes in another unit's place.
    let files = Some(UnitFiles { enabled: "disabled".to_owned(), ..whole.files.clone().unwrap() });
    let service = Service { unit: "b.timer".to_owned(), active: "inactive".to_owned(), files };
    assert!(worker.perform(&Effect::Install { service, only_check: false }).is_err());
    assert!(machine.read("b.timer", "10-limit").is_none());
    // What cannot be a drop-in at all.
    for name in ["../x.conf", ".hidden.conf", "x.conf/y", "x.txt"] {
        let refused = worker.perform(&with(&|file| file.name = name.to_owned()));
        assert!(matches!(refused, Err(Error::Damaged(_))), "{name}");
    }
    // What stood there at a capture, and what stands there when it is replaced, comes back.
    machine.drop_in("a.service", "10-limit", "[Service]\nMemoryMax=3G\n");
    worker.perform(&with(&|_| ())).unwrap();
    let third = with(&|file| file.content = b"[Service]\nMemoryMax=3G\n".to_vec());
    worker.perform(&third).unwrap();
    assert_eq!(machine.read("a.service", "10-limit").unwrap(), "[Service]\nMemoryMax=3G\n");
    // A witness that others can write is none.
    let Witness::Folder(folder) = &machine.witness else { panic!() };
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = worker.perform(&with(&|_| ()));
    assert!(matches!(refused, Err(Error::Refused(_))));
}

#[test]
fn units_that_are_not_listed_are_left() {
    let bench = Bench::new();
    let machine = Machinery::new(&bench);
    let manifest = machine.capture(&bench, &ALL);
    let mut worker = machine.worker(&["a.service"]);
    for unit in ["b.timer", "dsmild.service", "-H", "a.service b.timer", "../a.service", "poweroff.target"] {
        let refused = worker.perform(&Effect::Run { unit: unit.to_owned(), up: false });
        assert!(matches!(refused, Err(Error::Refused(_))), "{unit}");
        assert!(worker.perform(&Effect::Witness { unit: unit.to_owned() }).is_err(), "{unit}");
    }
    assert!(matches!(Worker::new(&[]).unwrap().perform(&Effect::Reload), Err(Error::Refused(_))));
    // Another name of what is never changed.
    machine.unit("alias.service", "active", "enabled");
    machine.set("alias.service", "id", "dsmild.service");
    let mut alias = machine.worker(&["alias.service"]);
    let refused = alias.perform(&Effect::Run { unit: "alias.service".to_owned(), up: false });
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.contains("dsmild.service")), "{refused:?}");
    assert_eq!(machine.told(), [""; 0]);

    machine.unit("b.timer", "active", "enabled");
    let (units, chunks) = (machine.units(&["a.service"]), bench.chunks());
    let of = Machine { services: Some(&units), executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(of, manifest.clone(), &chunks, false).unwrap();
    let error = restore.prepare().unwrap_err().to_string();
    assert!(error.contains("b.timer") && error.contains("configuration's list"), "{error}");
    drop(restore);
    assert!(matches!(restore::plan(Machine::default(), manifest, &chunks), Err(Error::Refused(_))));
}

#[test]
fn without_systemd_services_are_unread() {
    let bench = Bench::new();
    let machine = Machinery::new(&bench);
    let manifest = machine.capture(&bench, &ALL);
    fs::remove_dir(machine.at.join("booted")).unwrap();
    let units = machine.units(&ALL);
    let of = || Machine { services: Some(&units), ..Machine::default() };
    let observed = restore::observe(of(), &bench.chunks(), Time::default()).unwrap();
    let unread: Vec<_> = observed.services().1.iter().map(|one| one.why.as_str()).collect();
    assert_eq!(unread, ["systemd does not run here"; 2]);
    assert!(matches!(
        restore::capture(of(), &mut bench.chunks(), 1, "x", Time::default()),
        Err(Error::Empty)
    ));
    let plan = restore::plan(of(), manifest, &bench.chunks()).unwrap();
    assert_eq!((plan.summary().services, plan.summary().obstacles), (0, 2));
    assert!(plan.services_before.is_empty());
}

#[test]
fn a_list_names_units_and_limits_hold() {
    let listed = |text: &str| Units::new(&[text.to_owned()]);
    for text in ["dsmil-*.timer", "a@b.service", "x\\x2dy.path", "a.socket"] {
        assert!(listed(text).is_ok(), "{text}");
    }
    for text in [
        "",
        "a",
        ".service",
        "a@.service",
        "-a.service",
        "x.target",
        "x.mount",
        "a b.service",
        "é.service",
        "dbus.socket",
        "systemd-logind.service",
        "dsmild.service",
        "../x.service",
    ] {
        assert!(matches!(listed(text), Err(Error::Invalid(_))), "{text}");
    }
    let all = listed("*.service").unwrap();
    assert!(all.covers("nginx.service") && !all.covers("systemd-udevd.service") && !all.covers("a.timer"));

    let bench = Bench::new();
    let machine = Machinery::new(&bench);
    for number in 0..3 {
        let unit = format!("{number}.service");
        machine.unit(&unit, "inactive", "disabled");
        machine.drop_in(&unit, "large", &"x".repeat(CHANGES_BYTES_MAX / 2 - 100));
    }
    machine.unit("4.service", "inactive", "disabled");
    machine.drop_in("4.service", "too-large", &"x".repeat(CHANGES_BYTES_MAX));
    let manifest = machine.capture(&bench, &["?.service"]);
    let (services, unread) = manifest.services();
    assert_eq!((services.len(), unread.len()), (4, 1));
    assert!(unread[0].why.contains("over the limit"), "{unread:?}");
    for number in 0..3 {
        fs::write(machine.place(&format!("{number}.service"), "other"), "x").unwrap();
    }
    let units = machine.units(&["?.service"]);
    let plan =
        restore::plan(Machine { services: Some(&units), ..Machine::default() }, manifest, &bench.chunks());
    assert!(matches!(plan, Err(Error::Limit { .. })));
}

#[test]
fn a_manifest_with_other_things_than_units_is_refused() {
    let file = |name: &str| UnitFile { name: name.to_owned(), mode: 0o644, content: Vec::new() };
    let service = |unit: &str, files: Vec<UnitFile>| Service {
        unit: unit.to_owned(),
        active: "active".to_owned(),
        files: Some(UnitFiles { enabled: "enabled".to_owned(), files }),
    };
    let bench = Bench::new();
    let whole = Machinery::new(&bench).capture(&bench, &ALL);
    for services in [
        vec![service("b.service", vec![]), service("a.service", vec![])],
        vec![service("../../x.service", vec![])],
        vec![service("a.service", vec![file("../x.conf")])],
        vec![service("a.service", vec![file("x.conf"), file("x.conf")])],
        vec![Service { files: None, ..service("a.service", vec![]) }],
    ] {
        let manifest =
            Manifest { parts: vec![Part::Services { services, unread: Vec::new() }], ..whole.clone() };
        let bytes = minicbor::to_vec(&manifest).unwrap();
        assert!(matches!(Manifest::decode(&bytes), Err(Error::Damaged(_))));
    }
    let older = Manifest { version: 2, ..whole };
    assert!(matches!(older.encode(), Err(Error::Damaged(_))));
}
