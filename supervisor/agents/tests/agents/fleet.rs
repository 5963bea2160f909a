//! All 80: their files are read as the product reads them, each is started as its file says and does the task of its own example.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use api::agent::definition;
use serde_json::{Value, json};
use tempfile::TempDir;
use types::agent::{Definition, Network};

use crate::agent::{Agent, PROGRAM};
use crate::conduct::zones;
use crate::files::tree;
use crate::http::server;
use crate::supervisor::Supervisor;

/// What an example must bring: a place in the output, and what stands there.
fn expected() -> BTreeMap<&'static str, (&'static str, Value)> {
    BTreeMap::from([
        ("echo", ("/any/1", json!(1))),
        ("token-reader", ("/values/0x8003", json!(2))),
        ("token-reader-ac", ("/values/0x8000", json!(11))),
        ("token-reader-battery", ("/values/0x8000", json!(21))),
        ("token-guard", ("/different/0/found", json!(2))),
        ("token-snapshot", ("/values/0x0480", json!(2))),
        ("token-list", ("/count", json!(5))),
        ("device-list", ("/count", json!(3))),
        ("writable-tokens", ("/count", json!(3))),
        ("denied-tokens", ("/tokens/0/id", json!("0x8009"))),
        ("shared-tokens", ("/locations/0/location", json!(3))),
        ("token-summary", ("/groups/1/tokens", json!(1))),
        ("active-tokens", ("/active", json!(["0x8000"]))),
        ("file-list", ("/count", json!(7))),
        ("file-count", ("/files", json!(5))),
        ("largest-files", ("/largest/0/path", json!("sub/deep/big.bin"))),
        ("newest-files", ("/newest/2/kind", json!("file"))),
        ("changed-files", ("/count", json!(4))),
        ("empty-files", ("/count", json!(2))),
        ("file-types", ("/types/0/ending", json!("bin"))),
        ("open-files", ("/counts/open", json!(1))),
        ("file-reader", ("/text", json!("hello\n"))),
        ("file-hash", ("/count", json!(5))),
        ("file-guard", ("/is_equal", json!(true))),
        ("file-search", ("/count", json!(3))),
        ("duplicate-files", ("/wasted_bytes", json!(6))),
        ("settings-hash", ("/hashes/hello.txt", json!(crate::files::HELLO))),
        ("settings-guard", ("/equal", json!(1))),
        ("settings-changed", ("/count", json!(4))),
        ("settings-search", ("/count", json!(4))),
        ("raised-programs", ("/raised/0/mode", json!("4755"))),
        ("log-file-search", ("/matches/0/line", json!(1))),
        ("text-count", ("/words", json!(3))),
        ("word-frequency", ("/words/0/count", json!(2))),
        ("line-finder", ("/count", json!(2))),
        ("json-check", ("/valid", json!(true))),
        ("json-picker", ("/value", json!(2))),
        ("csv-check", ("/columns/1/sum", json!(4.0))),
        ("text-diff", ("/changes/0/removed", json!("b"))),
        ("text-template", ("/text", json!("A has 3."))),
        ("text-hash", ("/sha256", json!(crate::files::HELLO))),
        ("log-denials", ("/denials/0/uid", json!(1001))),
        ("log-failures", ("/count", json!(1))),
        ("log-slowest", ("/slowest/0/work", json!(2))),
        ("log-users", ("/users/1001/denied", json!(1))),
        ("log-kinds", ("/kinds/finished", json!(2))),
        ("log-heat", ("/count", json!(1))),
        ("log-search", ("/facts/0/index", json!(1))),
        ("thermal-zones", ("/zones/0/type", json!("cpu"))),
        ("thermal-max", ("/celsius", json!(61.5))),
        ("thermal-average", ("/zones/0/readings", json!(10))),
        ("thermal-watch", ("/above/0/threshold", json!(60.0))),
        ("memory-report", ("/swap_total", json!(1024))),
        ("load-report", ("/load_5", json!(0.5))),
        ("pressure-report", ("/io/full/total", json!(5))),
        ("disk-report", ("/disks/0/device", json!("/dev/vda"))),
        ("uptime-report", ("/kernel", json!("7.2.12"))),
        ("module-list", ("/modules/0/name", json!("dsmil"))),
        ("listening-sockets", ("/listening/0/port", json!(8080))),
        ("largest-processes", ("/processes/0/name", json!("dsmild"))),
        ("interface-report", ("/interfaces/0/sent", json!(9))),
        ("checkpointer", ("/name", json!("before-update"))),
        ("checkpoint-list", ("/checkpoints/1/name", json!("night"))),
        ("newest-checkpoint", ("/number", json!(2))),
        ("daemon-status", ("/version", json!("0.1.0"))),
        ("log-guard", ("/is_signed", json!(true))),
        ("latency-report", ("/worst_cpu", json!(1))),
        ("run-list", ("/runs/0/number", json!(2))),
        ("note-writer", ("/index", json!(9))),
        ("sort-lines", ("/text", json!("a\nb\nb\n"))),
        ("unique-lines", ("/text", json!("a\nb\n"))),
        ("base64-encode", ("/text", json!("aGVsbG8K"))),
        ("base64-decode", ("/text", json!("hello\n"))),
        ("kernel-name", ("/text", json!("Linux\n"))),
        ("page-fetcher", ("/text", json!("hello"))),
        ("page-check", ("/is_up", json!(true))),
        ("longest-judge", ("", json!(1))),
        ("majority-judge", ("", json!(1))),
        ("largest-judge", ("", json!(1))),
        ("first-judge", ("", json!(2))),
    ])
}

/// What `/proc` holds, as far as it is read.
fn proc() -> TempDir {
    let folder = TempDir::new().unwrap();
    let pressure =
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
    for (name, text) in [
        ("meminfo", "MemTotal: 4 kB\nMemFree: 1 kB\nMemAvailable: 2 kB\nSwapTotal: 1 kB\n"),
        ("loadavg", "0.25 0.50 1.00 1/80 9\n"),
        ("pressure/cpu", pressure),
        ("pressure/memory", pressure),
        ("pressure/io", pressure),
        ("self/mounts", "proc /proc proc rw 0 0\n/dev/vda / ext4 rw,relatime 0 0\n"),
        ("uptime", "12.50 3.00\n"),
        ("sys/kernel/osrelease", "7.2.12\n"),
        ("modules", "dsmil 90112 1 - Live 0x0\n"),
        ("net/tcp", "sl\n 0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 1000 0 1 1\n"),
        ("net/dev", "a\nb\n eth0: 1 2 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n"),
        ("1/status", "Name:\tinit\nState:\tS (sleeping)\nVmRSS:\t 10 kB\nThreads:\t1\n"),
        ("77/status", "Name:\tdsmild\nState:\tS (sleeping)\nVmRSS:\t 90 kB\nThreads:\t4\n"),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn write(into: &Path, more: &[&str]) -> (bool, String) {
    let written = Command::new(PROGRAM).arg("definitions").arg(into).args(more).output().unwrap();
    let told = [written.stdout, written.stderr].concat();
    (written.status.success(), String::from_utf8(told).unwrap())
}

fn read_all(folder: &Path) -> Vec<Definition> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<Definition> = files
        .map(|path| {
            let read = definition::read(&fs::read(&path).unwrap())
                .unwrap_or_else(|mistakes| panic!("{path:?}: {mistakes:?}"));
            assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{}.md", read.name));
            read
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The example in the description of an agent.
fn example(definition: &Definition) -> Value {
    let (_, behind) = definition.body.split_once("```json\n").expect("an example");
    serde_json::from_str(behind.split_once("\n```").unwrap().0).unwrap()
}

#[test]
fn all_80_do_their_work() {
    let folder = TempDir::new().unwrap();
    let tree = tree();
    let files = tree.path().join("root");
    let (done, told) = write(folder.path(), &["--folder", files.to_str().unwrap()]);
    assert!(done && told.starts_with("80 definitions"), "{told}");
    let all = read_all(folder.path());
    let expected = expected();
    assert_eq!(
        all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        expected.keys().copied().collect::<Vec<_>>()
    );
    assert_eq!(all.len(), 80);
    let (zones, proc) = (zones(&[("cpu", "61500", "90000")]), proc());
    let page = format!("127.0.0.1:{}", server());
    for definition in &all {
        // What the machine has is replaced by what is known; everything else is as the file says.
        let words: Vec<&str> = definition.command[1..]
            .iter()
            .map(|word| match word.as_str() {
                "/etc" | "/usr/bin" | "/var/log" => files.to_str().unwrap(),
                "/sys/class/thermal" => zones.path().to_str().unwrap(),
                "/proc" => proc.path().to_str().unwrap(),
                other => other,
            })
            .collect();
        assert_eq!(definition.command[0], PROGRAM);
        // The limits that hold without cgroups; the shell becomes the agent.
        let mut command = Command::new("/bin/sh");
        let limits = &definition.limits;
        let script =
            format!("ulimit -d {}; ulimit -n {}; exec \"$@\"", limits.memory.0 >> 10, limits.open_files);
        command.args(["-c", &script, "sh", &definition.command[0]]).args(&words);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
        let mut agent = Agent::begin(command, definition.limits.output_line.0);
        let mut supervisor = Supervisor::new();
        supervisor.allowed = Some(definition.capabilities.clone());
        let input = example(definition).to_string().replace("127.0.0.1:8080", &page);
        let input = serde_json::from_str(&input).unwrap();
        let output = agent
            .work(&mut supervisor, "t1", &input)
            .unwrap_or_else(|why| panic!("{}: {why:?}", definition.name));
        let (pointer, value) = &expected[definition.name.as_str()];
        assert_eq!(output.pointer(pointer), Some(value), "{}: {output}", definition.name);
        agent.beats(1);
        // It asks for no more than it needs.
        let called: BTreeSet<&str> = supervisor.asked.iter().map(String::as_str).collect();
        let callable = |kind: &str| api::agent::call::CALLS.iter().any(|(name, _)| *name == kind);
        let asks: BTreeSet<&str> =
            definition.capabilities.iter().map(|one| one.kind()).filter(|kind| callable(kind)).collect();
        assert_eq!(called, asks, "{}", definition.name);
        agent.end();
    }
}

#[test]
fn definitions_are_written_once_and_the_same_each_time() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for folder in [&first, &second] {
        assert!(write(folder.path(), &["--program", "/usr/lib/dsmil/dsmil-agent"]).0);
    }
    let all = read_all(first.path());
    assert_eq!(all, read_all(second.path()));
    for one in &all {
        let is_page = one.name.as_str().starts_with("page-");
        assert_eq!(one.network, if is_page { Network::Loopback } else { Network::None }, "{}", one.name);
        assert!(one.description.ends_with('.') && one.description.len() < 120, "{}", one.name);
        assert_eq!(one.command[0], "/usr/lib/dsmil/dsmil-agent");
    }
    let echo = first.path().join("echo.md");
    assert_eq!(fs::metadata(&echo).unwrap().permissions().mode() & 0o7777, 0o644);
    // What is there and says the same stays; what its owner has changed is not lost.
    let before = fs::metadata(&echo).unwrap().modified().unwrap();
    assert!(write(first.path(), &["--program", "/usr/lib/dsmil/dsmil-agent"]).0);
    assert_eq!(fs::metadata(&echo).unwrap().modified().unwrap(), before);
    fs::write(&echo, "mine").unwrap();
    let (done, told) = write(first.path(), &["--program", "/usr/lib/dsmil/dsmil-agent"]);
    assert!(!done && told.contains("--replace"), "{told}");
    assert_eq!(fs::read(&echo).unwrap(), b"mine");
    assert!(write(first.path(), &["--program", "/usr/lib/dsmil/dsmil-agent", "--replace"]).0);
    assert_eq!(read_all(first.path()), all);
    assert!(!write(first.path(), &["--program", "here"]).0);
    assert!(!write(&first.path().join("none"), &[]).0);
}

#[test]
fn the_description_says_what_the_program_says() {
    let printed = Command::new(PROGRAM).arg("manual").output().unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ready-agents.md");
    let written = fs::read_to_string(&page).unwrap();
    let tables = String::from_utf8(printed.stdout).unwrap();
    let place = written.find("## The agents").expect("the tables");
    assert_eq!(
        written[place..],
        tables,
        "put what “dsmil-agent manual” prints at the end of docs/ready-agents.md"
    );
}
