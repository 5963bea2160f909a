//! The roles that need nothing but what they are given, or what the kernel tells.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Outcome, code, once};
use crate::conduct::zones;

fn text(act: &str, input: Value) -> Outcome {
    once(&["texts", act], &input)
}

#[test]
fn texts_are_counted_and_searched() {
    let counted = text("count", json!({"text": "one two\nthree ä\n"})).unwrap();
    assert_eq!(counted, json!({"lines": 2, "words": 4, "characters": 16, "bytes": 17}));
    let words = text("words", json!({"text": "To be, or not to be: that's it", "limit": 2})).unwrap();
    assert_eq!(words["words"], json!([{"word": "be", "count": 2}, {"word": "to", "count": 2}]));
    assert_eq!(words["different"], 6);
    let found = text("find", json!({"text": "a\nb a\nc", "sought": "a", "limit": 1})).unwrap();
    assert_eq!(found, json!({"lines": [{"line": 1, "text": "a"}], "count": 2}));
    assert_eq!(text("hash", json!({"text": "hello\n"})).unwrap()["sha256"], crate::files::HELLO);
}

#[test]
fn json_is_checked_and_picked() {
    let valid = text("json", json!({"text": "{\"a\": [1, {\"b\": 2}]}"})).unwrap();
    assert_eq!(valid, json!({"valid": true, "kind": "a map", "entries": 1, "depth": 3}));
    let wrong = text("json", json!({"text": "{\n \"a\" 1}"})).unwrap();
    assert_eq!((&wrong["valid"], &wrong["line"], &wrong["column"]), (&json!(false), &json!(2), &json!(6)));
    let pick = |pointer| text("pick", json!({"text": "{\"a\": [1, {\"b\": 2}]}", "pointer": pointer}));
    assert_eq!(pick("/a/1/b").unwrap()["value"], 2);
    assert_eq!(code(pick("/a/2")), "input");
    assert_eq!(code(pick("a")), "input");
}

#[test]
fn tables_are_checked_and_summed_up() {
    let csv = |table: &str| text("csv", json!({"text": table})).unwrap();
    let table = csv("name,count\r\n\"a \"\"b\"\", c\",1\r\n\"two\nlines\",2.5\r\nlast,\r\n");
    assert_eq!((&table["valid"], &table["rows"]), (&json!(true), &json!(3)));
    assert_eq!(table["columns"][0], json!({"name": "name", "filled": 3, "numbers": 0}));
    let sums = json!({"name": "count", "filled": 2, "numbers": 2, "least": 1.0, "most": 2.5, "sum": 3.5});
    assert_eq!(table["columns"][1], sums);
    for (table, line, why) in [
        ("a,b\n1,2\n3\n", 3, "1 fields where 2 are expected"),
        ("a\n\"open\n", 3, "a quote is never closed"),
        ("a\nb\"c\n", 2, "a quote stands in the middle of a field"),
        ("a\n\"\"b\n", 2, "something stands behind a closing quote"),
    ] {
        assert_eq!(csv(table), json!({"valid": false, "line": line, "why": why}), "{table:?}");
    }
    let plain = text("csv", json!({"text": "1;2\n3;4", "separator": ";", "header": false})).unwrap();
    assert_eq!((&plain["rows"], &plain["columns"][1]["sum"]), (&json!(2), &json!(6.0)));
    assert_eq!(code(text("csv", json!({"text": "a", "separator": "ab"}))), "input");
}

#[test]
fn differences_turn_one_text_into_the_other() {
    let diff = |before: &str, after: &str| {
        text("diff", json!({"before": before, "after": after, "limit": 1_000})).unwrap()
    };
    let small = diff("a\nb\nc\n", "a\nc\nd\n");
    assert_eq!(small["changes"], json!([{"line": 2, "removed": "b"}, {"line": 3, "added": "d"}]));
    assert_eq!(diff("a\nb", "a\nb")["is_equal"], true);
    assert_eq!((&diff("", "x")["added"], &diff("x", "")["removed"]), (&json!(1), &json!(1)));
    // A text of pseudo-random lines and a variant of it: applied, the changes give the variant.
    let mut seed = 7_u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 24
    };
    let before: Vec<String> = (0..200).map(|_| (next() % 8).to_string()).collect();
    let after: Vec<String> =
        before.iter().filter(|_| next() % 4 > 0).cloned().chain(["end".into()]).collect();
    let changes = diff(&before.join("\n"), &after.join("\n"));
    let lines = |kind: &str| -> Vec<usize> {
        let all = changes["changes"].as_array().unwrap().iter().filter(|change| change.get(kind).is_some());
        all.map(|change| usize::try_from(change["line"].as_u64().unwrap()).unwrap()).collect()
    };
    let (removed, added) = (lines("removed"), lines("added"));
    let kept = (1..=before.len()).filter(|line| !removed.contains(line)).map(|line| &before[line - 1]);
    let also_kept = (1..=after.len()).filter(|line| !added.contains(line)).map(|line| &after[line - 1]);
    assert!(kept.eq(also_kept));
    let most = "x\n".repeat(2_001);
    assert_eq!(code(text("diff", json!({"before": most, "after": ""}))), "input");
}

#[test]
fn templates_put_values_in_once() {
    let fill = |text_: &str, values: Value| text("template", json!({"text": text_, "values": values}));
    let filled = fill("{{a}} and {{ b }}!", json!({"a": "{{b}}", "b": [1], "c": 0})).unwrap();
    assert_eq!(filled, json!({"text": "{{b}} and [1]!", "unused": ["c"]}));
    assert_eq!(code(fill("{{x}}", json!({}))), "input");
    assert_eq!(code(fill("{{x", json!({}))), "input");
}

#[test]
fn judges_name_a_place() {
    let judge = |act: &str, list: Value| once(&["judge", act], &list);
    assert_eq!(judge("longest", json!(["a", null, "ccc", "bbb"])), Ok(json!(2)));
    assert_eq!(judge("frequent", json!([{"a": 1, "b": 2}, 3, {"b": 2, "a": 1}])), Ok(json!(0)));
    assert_eq!(judge("largest", json!([{"score": 2}, 7.5, {"value": 9}, "10"])), Ok(json!(2)));
    assert_eq!(judge("first", json!([null, "", [], {"error": "no"}, {"error": null}, 1])), Ok(json!(4)));
    assert_eq!(code(judge("first", json!([null, ""]))), "input");
    assert_eq!(code(judge("longest", json!([null]))), "input");
}

#[test]
fn zones_are_read_and_compared() {
    let folder = zones(&[("cpu", "61500", "90000"), ("board", "40000", "39000"), ("odd", "", "50000")]);
    let root = folder.path().to_str().unwrap();
    let act = |act: &str, input: Value| once(&["thermal", act, "--root", root], &input);
    let all = act("zones", json!({})).unwrap();
    assert_eq!(all["zones"].as_array().unwrap().len(), 2);
    assert_eq!(all["zones"][0]["trips"], json!([{"type": "critical", "celsius": 90.0}]));
    let hottest = act("max", json!({})).unwrap();
    assert_eq!((&hottest["type"], &hottest["celsius"]), (&json!("cpu"), &json!(61.5)));
    assert_eq!(act("above", json!({})).unwrap()["above"][0]["type"], "board");
    assert_eq!(act("above", json!({"celsius": 61.5})).unwrap()["is_hot"], false);
    assert_eq!(act("above", json!({"celsius": 30})).unwrap()["above"].as_array().unwrap().len(), 2);
    assert_eq!(code(act("above", json!({"celsius": "hot"}))), "input");
    let averaged = act("average", json!({"seconds": 1, "every_ms": 100})).unwrap();
    assert_eq!(
        (&averaged["zones"][0]["readings"], &averaged["zones"][0]["average"]),
        (&json!(10), &json!(61.5))
    );
    let none = TempDir::new().unwrap();
    let empty = once(&["thermal", "max", "--root", none.path().to_str().unwrap()], &json!({}));
    assert_eq!(code(empty), "unavailable");
}

#[test]
fn the_machine_is_read_from_the_kernel() {
    let act = |act: &str, input: Value| once(&["system", act, "--root", "/proc"], &input).unwrap();
    let memory = act("memory", json!({}));
    assert!(
        memory["total"].as_u64() >= memory["available"].as_u64() && memory["total"].as_u64() > Some(1 << 20)
    );
    assert!(act("load", json!({}))["processes"].as_u64() > Some(0));
    let uptime = act("uptime", json!({}));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(uptime["kernel"], kernel.trim());
    let disks = act("disks", json!({}));
    for disk in disks["disks"].as_array().unwrap() {
        assert!(disk["free"].as_u64() <= disk["bytes"].as_u64(), "{disk}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sockets = act("sockets", json!({"limit": 1_000}));
    let is_ours =
        |one: &Value| one["port"] == port && one["address"] == "127.0.0.1" && one["protocol"] == "tcp";
    assert!(sockets["listening"].as_array().unwrap().iter().any(is_ours), "{sockets}");
    let interfaces = act("interfaces", json!({}));
    assert!(interfaces["interfaces"].as_array().unwrap().iter().any(|one| one["name"] == "lo"));
    let processes = act("processes", json!({"limit": 1_000}));
    assert!(processes["processes"].as_array().unwrap().iter().any(|one| one["pid"] == std::process::id()));
}

/// What this machine may not have is read from a folder that does.
#[test]
fn the_machine_is_read_as_the_kernel_writes_it() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("modules", "dsmil 90112 1 - Live 0x0000000000000000 (OE)\nhid 160 2 a,b, Live 0x0\n");
    for name in ["cpu", "memory", "io"] {
        write(
            &format!("pressure/{name}"),
            "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
        );
    }
    let root = folder.path().to_str().unwrap();
    let act = |act: &str, input: Value| once(&["system", act, "--root", root], &input);
    let modules = act("modules", json!({"name": "dsmil"})).unwrap();
    assert_eq!(modules["modules"], json!([{"name": "dsmil", "bytes": 90_112, "users": 1, "state": "Live"}]));
    assert_eq!(act("modules", json!({"limit": 1})).unwrap()["count"], 2);
    let pressure = act("pressure", json!({})).unwrap();
    assert_eq!(
        (&pressure["io"]["some"]["avg10"], &pressure["cpu"]["full"]["total"]),
        (&json!(1.5), &json!(5))
    );
    assert_eq!(code(act("memory", json!({}))), "unavailable");
}
