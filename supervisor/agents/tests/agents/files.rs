//! The role of files: what it finds, and that it never leaves its folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::agent::{Agent, Outcome, code, once};

pub const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

/// A folder with files of all kinds, and a secret beside it.
pub fn tree() -> TempDir {
    let whole = TempDir::new().unwrap();
    let root = whole.path().join("root");
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    fs::create_dir(root.join("hollow")).unwrap();
    fs::write(whole.path().join("secret"), "a secret\n").unwrap();
    fs::write(root.join("hello.txt"), "hello\n").unwrap();
    fs::write(root.join("sub/copy.txt"), "hello\n").unwrap();
    fs::write(root.join("sub/other.txt"), "HELLO\nworld ä\nhello again\n").unwrap();
    fs::write(root.join("sub/deep/big.bin"), vec![0; 70_000]).unwrap();
    fs::write(root.join("nothing"), "").unwrap();
    let old = SystemTime::now() - Duration::from_secs(1_000_000);
    fs::File::options().append(true).open(root.join("sub/copy.txt")).unwrap().set_modified(old).unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("hello.txt", root.join("within")).unwrap();
    fs::set_permissions(root.join("sub/other.txt"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(root.join("nothing"), fs::Permissions::from_mode(0o4755)).unwrap();
    whole
}

fn act(tree: &TempDir, act: &str, input: &Value) -> Outcome {
    let root = tree.path().join("root");
    once(&["files", act, "--root", root.to_str().unwrap()], input)
}

fn paths(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect()
}

#[test]
fn folders_are_listed_counted_and_sorted() {
    let tree = tree();
    let act = |name, input| act(&tree, name, &input).unwrap();
    let listed = act("list", json!({}));
    assert_eq!(paths(&listed["entries"]), ["hello.txt", "hollow", "nothing", "out", "sub", "up", "within"]);
    assert_eq!(listed["entries"][0]["bytes"], 6);
    assert_eq!((&listed["entries"][3]["kind"], &listed["is_cut"]), (&json!("link"), &json!(false)));
    let deep = act("list", json!({"deep": true, "limit": 2}));
    assert_eq!((deep["entries"].as_array().unwrap().len(), &deep["count"]), (2, &json!(11)));
    let counted = act("count", json!({}));
    assert_eq!(
        (&counted["files"], &counted["folders"], &counted["links"]),
        (&json!(5), &json!(3), &json!(3))
    );
    assert_eq!(counted["bytes"], 70_000 + 6 + 6 + 26 + 1);
    assert_eq!(paths(&act("largest", json!({"limit": 2}))["largest"]), ["sub/deep/big.bin", "sub/other.txt"]);
    assert!(!paths(&act("newest", json!({"limit": 4}))["newest"]).contains(&"sub/copy.txt"));
    assert_eq!(act("changed", json!({"within_s": 3_600}))["count"], 4);
    assert_eq!(act("changed", json!({"since_s": 0, "path": "sub"}))["count"], 3);
    assert_eq!(paths(&act("empty", json!({}))["empty"]), ["hollow", "nothing"]);
    let types = act("types", json!({}));
    assert_eq!(types["types"][1], json!({"ending": "txt", "count": 3, "bytes": 39}));
    let permissions = act("permissions", json!({}));
    assert_eq!(paths(&permissions["open"]), ["sub/other.txt"]);
    assert_eq!(paths(&permissions["raised"]), ["nothing"]);
}

#[test]
fn files_are_read_hashed_searched_and_compared() {
    let tree = tree();
    let act = |name, input| act(&tree, name, &input).unwrap();
    assert_eq!(
        act("read", json!({"path": "hello.txt"})),
        json!({"text": "hello\n", "bytes": 6, "next": null})
    );
    // A character is not cut in two.
    let part = act("read", json!({"path": "sub/other.txt", "offset": 6, "bytes": 7}));
    assert_eq!((&part["text"], &part["next"]), (&json!("world "), &json!(12)));
    let hashes = act("hash", json!({}));
    assert_eq!(hashes["hashes"]["hello.txt"], HELLO);
    assert_eq!((&hashes["count"], hashes["hashes"].as_object().unwrap().len()), (&json!(5), 5));
    let mut total = Sha256::new();
    for path in ["hello.txt", "nothing", "sub/copy.txt", "sub/other.txt", "sub/deep/big.bin"] {
        total.update(Sha256::digest(fs::read(tree.path().join("root").join(path)).unwrap()));
        total.update(path.as_bytes());
        total.update([0]);
    }
    assert_eq!(
        hashes["total"],
        total.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    );
    let verified = act("verify", json!({"expected": hashes["hashes"]}));
    assert_eq!(verified, json!({"equal": 5, "different": [], "missing": [], "is_equal": true}));
    let wrong =
        json!({"expected": {"sub/other.txt": HELLO, "gone": HELLO, "hello.txt": HELLO, "out": HELLO}});
    let verified = act("verify", wrong);
    let (different, missing) = (json!(["sub/other.txt"]), json!(["gone", "out"]));
    assert_eq!((&verified["different"], &verified["missing"]), (&different, &missing));
    let found = act("search", json!({"text": "hello"}));
    assert_eq!(paths(&found["matches"]), ["hello.txt", "sub/copy.txt", "sub/other.txt"]);
    assert_eq!((&found["matches"][2]["line"], &found["binary"]), (&json!(3), &json!(1)));
    assert_eq!(act("search", json!({"text": "hello", "any_case": true}))["count"], 4);
    let same = act("duplicates", json!({}));
    assert_eq!(
        same["groups"],
        json!([{"sha256": HELLO, "bytes": 6, "count": 2, "paths": ["hello.txt", "sub/copy.txt"]}])
    );
    assert_eq!(same["wasted_bytes"], 6);
}

#[test]
fn nothing_leads_out_of_the_folder() {
    let tree = tree();
    let secret = tree.path().join("secret");
    for path in [
        "out",
        "up/secret",
        "../secret",
        "sub/../../secret",
        "/etc/passwd",
        secret.to_str().unwrap(),
        "within",
    ] {
        assert_eq!(code(act(&tree, "read", &json!({"path": path}))), "denied", "{path}");
        assert_ne!(code(act(&tree, "list", &json!({"path": path}))), "cancelled", "{path}");
    }
    assert_eq!(code(act(&tree, "verify", &json!({"expected": {"../secret": HELLO}}))), "denied");
    let found = act(&tree, "search", &json!({"text": "secret"})).unwrap();
    assert_eq!(found["count"], 0);
    // An absolute path that lies within is the same file.
    let inside = tree.path().join("root/hello.txt");
    assert_eq!(act(&tree, "read", &json!({"path": inside})).unwrap()["text"], "hello\n");
}

#[test]
fn odd_files_hold_nobody_up() {
    let tree = tree();
    let root = tree.path().join("root");
    let pipe = root.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(code(act(&tree, "read", &json!({"path": "pipe"}))), "input");
    assert_eq!(code(act(&tree, "read", &json!({"path": "sub"}))), "input");
    assert_eq!(code(act(&tree, "read", &json!({"path": "gone"}))), "input");
    let (code, message) = act(&tree, "list", &json!({"path": "hello.txt/x"})).unwrap_err();
    assert!(code == "input" && message.contains("not a folder"), "{message}");
    fs::write(root.join("latin"), b"a\xe4b").unwrap();
    let (_, message) = act(&tree, "read", &json!({"path": "latin"})).unwrap_err();
    assert!(message.contains("not UTF-8 from byte 1"), "{message}");
    assert_eq!(act(&tree, "hash", &json!({})).unwrap()["count"], 6);
}

/// A folder is exchanged for a link to the outside again and again while it is searched: what lies there is never told.
#[test]
fn a_folder_that_becomes_a_link_is_not_followed() {
    let tree = tree();
    let root = tree.path().join("root");
    let outside = tree.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("prize"), "a prize\n").unwrap();
    let (trap, link) = (root.join("trap"), tree.path().join("link"));
    fs::create_dir(&trap).unwrap();
    symlink(&outside, &link).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let exchanging = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            while !is_over.load(Ordering::Relaxed) {
                renameat_with(CWD, &trap, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        }
    });
    let mut agent = Agent::start(&["files", "search", "--root", root.to_str().unwrap()]);
    for round in 0..3_000 {
        agent.task(&format!("t{round}"), &json!({"text": "prize"}));
        let found = agent.end_of(&format!("t{round}")).unwrap();
        assert_eq!(found["count"], 0, "{found}");
    }
    is_over.store(true, Ordering::Relaxed);
    exchanging.join().unwrap();
    agent.end();
}

#[test]
fn a_large_file_is_hashed_with_heartbeats_and_can_be_cancelled() {
    let tree = tree();
    let root = tree.path().join("root");
    // Nothing is written, and hashing 16 GiB takes long.
    fs::File::create(root.join("hole")).unwrap().set_len(16 << 30).unwrap();
    let mut agent = Agent::start(&["files", "hash", "--root", root.to_str().unwrap()]);
    agent.task("t1", &json!({"path": "hole"}));
    agent.beats(1);
    agent.hear();
    agent.cancel("t1");
    assert_eq!(code(agent.end_of("t1")), "cancelled");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let peak: u64 = peak.split(' ').next().unwrap().parse().unwrap();
    assert!(peak < 32 << 10, "{peak} KiB");
    agent.end();
}

/// Thousands of equal files are one group with some of its names, so that the result still fits into a line.
#[test]
fn many_duplicates_are_told_in_short() {
    let tree = TempDir::new().unwrap();
    let root = tree.path().join("root");
    fs::create_dir(&root).unwrap();
    for number in 0..3_000 {
        fs::write(root.join(format!("a-file-with-a-long-name-{number}")), "the same").unwrap();
    }
    let found = act(&tree, "duplicates", &json!({})).unwrap();
    assert_eq!((&found["groups"][0]["count"], &found["wasted_bytes"]), (&json!(3_000), &json!(2_999 * 8)));
    assert_eq!(found["groups"][0]["paths"].as_array().unwrap().len(), 10);
}
