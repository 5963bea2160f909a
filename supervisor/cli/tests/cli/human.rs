//! What people read.

use std::sync::atomic::{AtomicU32, Ordering};

use api::wire::checkpoint::{Diff, Difference, Scope};
use api::wire::record::{Asker, Entry};
use api::wire::retention::{Awaiting, Fate, Keep, Pruned, Pruning, Schedule};
use api::wire::{Answer, Change, Checkpoint, Code, Command, Item};

use crate::daemon::{
    Daemon, Output, Say, checkpoint, lacking, nothing, plan, reading, status, tokens, whole,
};

#[test]
fn status_says_how_it_stands() {
    let root = "ab".repeat(32);
    let expected = format!(
        "\
machine      Dell Inc. Latitude 5450
firmware     wmi, not known to be emulated
device       84 DSMIL devices among 164 tokens, 12 writable, allow-list sealed
TPM          STM ST33KTPM2X 9.257, key 1a2b3c4d, 3 signatures since the start
log          10 entries, 9 signed, root {root}
checkpoints  2
under way    nothing
daemon       dsmild 0.1.0, user 998, capabilities CAP_BPF CAP_PERFMON; 4 starts, 1 denial
zones        acpitz 90.0 °C, warning
             gone no reading, unknown
scheduler    CPU 0: p50 < 4 µs, p99 < 64 µs, 100 waits
             CPU 1: p50 unknown, p99 unknown, 0 waits
"
    );
    assert_eq!(Daemon::answering(status()).dsmil(&["status"]).done(), expected);
}

#[test]
fn what_is_missing_is_said_first_and_with_every_answer() {
    let daemon = Daemon::start(lacking(), |command| {
        vec![Say::Done(match command {
            Command::Status => status(),
            _ => tokens(),
        })]
    });
    let output = daemon.dsmil(&["status"]);
    assert!(output.out.starts_with("MISSING      tpm\nMISSING      bpf\nmachine"), "{}", output.out);
    assert!(output.out.contains("\nfirmware     smm, emulated\n"));
    let warning = "dsmil: warning: this machine is emulated (firmware smm); missing guarantees: tpm, bpf\n";
    assert_eq!(output.err, warning);
    assert_eq!(daemon.dsmil(&["tokens", "list"]).err, warning);
    assert_eq!(daemon.dsmil(&["tokens", "list", "--json"]).err, "");
    let quiet = daemon.dsmil(&["status", "--quiet"]);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str(), quiet.code), ("", "", Some(0)));
}

#[test]
fn tokens_are_listed_and_filtered() {
    let daemon = Daemon::answering(tokens());
    let all = "\
ID      DEVICE  LOCATION  ACTIVE AT  ACCESS              NAME
0x0481  -       0x0100    1          writable
0x8001  0.1     0x0100    1          writable            Crypto
0x8002  0.2     0x0100    1          read only           Crypto
0x8009  0.9     0x0100+   1          never (quarantine)  Crypto
";
    assert_eq!(daemon.dsmil(&["tokens", "list"]).done(), all);
    let ids = |arguments: &[&str]| -> Vec<String> {
        let text = daemon.dsmil(&[&["tokens", "list"], arguments].concat()).done();
        text.lines().skip(1).map(|line| line[..6].to_owned()).collect()
    };
    assert_eq!(ids(&["--devices"]), ["0x8001", "0x8002", "0x8009"]);
    assert_eq!(ids(&["--writable"]), ["0x0481", "0x8001"]);
    assert_eq!(ids(&["--writable", "--devices"]), ["0x8001"]);
}

#[test]
fn tokens_are_read_as_asked() {
    let daemon = Daemon::answering(Answer::Read { values: vec![reading("0x8000", 26)] });
    let text = daemon.dsmil(&["tokens", "get", "0x8000", "32769", "--select", "battery"]).done();
    assert_eq!(text, "ID      SELECT   VALUE  HEX\n0x8000  current  26     0x0000001A\n");
    let item = |id: &str| Item { id: id.to_owned(), select: "battery".to_owned() };
    assert_eq!(daemon.asked(), [Command::ReadTokens { items: vec![item("0x8000"), item("0x8001")] }]);
}

#[test]
fn tokens_are_set_as_asked() {
    // Phases of what is done in a moment are not worth a line.
    let daemon = Daemon::start(whole(), |_| {
        let before = vec![reading("0x8003", 1)];
        vec![Say::Progress("before"), Say::Progress("written"), Say::Done(Answer::Written { before })]
    });
    let text = daemon.dsmil(&["tokens", "set", "0x8003=0"]).done();
    assert_eq!(text, "ID      SELECT   BEFORE  NOW\n0x8003  current  1       0\n");
    daemon.dsmil(&["tokens", "set", "0x8003", "0x10", "--select", "ac"]).done();
    daemon.dsmil(&["tokens", "set", "0x8003=0", "0x8004=5", "--expect", "1,0x2"]).done();
    daemon.dsmil(&["tokens", "set", "0x8003=0", "0x8004=5", "--expect", "1", "--expect", "2"]).done();
    let change = |id: &str, select: &str, value, expected| Change {
        id: id.to_owned(),
        select: select.to_owned(),
        value,
        expected,
    };
    let both = vec![change("0x8003", "current", 0, Some(1)), change("0x8004", "current", 5, Some(2))];
    let asked = [
        vec![change("0x8003", "current", 0, None)],
        vec![change("0x8003", "ac", 16, None)],
        both.clone(),
        both,
    ];
    assert_eq!(daemon.asked(), asked.map(|changes| Command::WriteTokens { changes }));
}

#[test]
fn checkpoints_are_shown() {
    let table = "\
NUMBER  NAME    CREATED                   FILES  TOKENS  SIZE     KIND    KEY
3       before  2026-11-21T08:00:00.000Z  12     84      1.5 MiB  manual  1a2b3c4d
";
    let created = Daemon::answering(Answer::Created { checkpoint: checkpoint() });
    assert_eq!(created.dsmil(&["checkpoint", "create", "before"]).done(), table);
    let create = |paranoid| Command::CreateCheckpoint { name: "before".to_owned(), paranoid };
    assert_eq!(created.asked(), [create(false)]);
    let read = Checkpoint { read: Some(2), ..checkpoint() };
    let created = Daemon::answering(Answer::Created { checkpoint: read });
    let text = created.dsmil(&["checkpoint", "create", "before", "--paranoid"]).done();
    assert_eq!(text, format!("{table}12 files, contents of 2 read\n"));
    assert_eq!(created.asked(), [create(true)]);
    let list = Daemon::answering(Answer::Checkpoints { checkpoints: vec![checkpoint()] });
    assert_eq!(list.dsmil(&["checkpoint", "list"]).done(), table);
    let show = Daemon::answering(Answer::Checkpoint {
        checkpoint: Box::new(checkpoint()),
        statement: "dsmil checkpoint\nnumber 3".to_owned(),
        entries: vec!["file /srv/\x1b]0;title".to_owned()],
        more: 7,
    });
    let text = show.dsmil(&["checkpoint", "show", "before"]).done();
    assert!(text.ends_with(
        "\nsigned statement\n  dsmil checkpoint\n  number 3\n\nentries\n  file /srv/\\u{1b}]0;title\n  … and 7 more\n"
    ), "{text}");
    let verified = Answer::Verified { number: 3, entries: 96, bytes: 1024, key: "1a2b3c4d".to_owned() };
    assert_eq!(
        Daemon::answering(verified).dsmil(&["checkpoint", "verify", "3"]).done(),
        "checkpoint 3 holds: 96 entries, 1.0 KiB of content, signed with key 1a2b3c4d\n"
    );
}

#[test]
fn a_plan_shows_each_difference_and_a_restore_what_was_done() {
    let daemon = Daemon::start(whole(), |command| {
        vec![Say::Done(match command {
            Command::Restore { .. } => Answer::Restored(plan()),
            _ => Answer::Plan(plan()),
        })]
    });
    let lines = "add    /srv/a\nremove /srv/evil\\u{1b}[2Jname\n… and 2 more\n";
    let planned = format!("{lines}1 file to add, 0 files to change, 2 files to remove, 1 token to write\n");
    assert_eq!(daemon.dsmil(&["checkpoint", "plan", "before"]).done(), planned);
    assert_eq!(daemon.dsmil(&["checkpoint", "restore", "before", "--dry-run"]).done(), planned);
    assert!(daemon.asked().iter().all(|asked| matches!(asked, Command::PlanRestore { .. })));
    // Without a terminal it acts at once.
    assert_eq!(
        daemon.dsmil(&["checkpoint", "restore", "before", "--leave-denied"]).done(),
        format!(
            "{lines}restored checkpoint 3: 1 file added, 0 files changed, 2 files removed, 1 token written\n"
        )
    );
    let scope = |files, tokens, paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Some(Scope { files, tokens, paths, settings: false, databases: false, services: false })
    };
    let restore = |leave_denied, paranoid, scope| Command::Restore {
        which: "before".to_owned(),
        leave_denied,
        paranoid,
        scope,
        in_place: false,
        confirm_s: None,
    };
    assert_eq!(daemon.asked()[2..], [restore(true, false, None)]);
    let part = ["checkpoint", "restore", "before", "--path", "/etc/a/", "--path", "/b", "--paranoid"];
    daemon.dsmil(&part).done();
    daemon.dsmil(&["checkpoint", "restore", "before", "--tokens"]).done();
    assert_eq!(
        daemon.asked()[3..],
        [
            restore(false, true, scope(true, false, &["/etc/a", "/b"])),
            restore(false, false, scope(false, true, &[]))
        ]
    );
    daemon.dsmil(&["checkpoint", "plan", "before", "--path", "/b", "--tokens"]).done();
    let plan = Command::PlanRestore {
        which: "before".to_owned(),
        paranoid: false,
        scope: scope(true, true, &["/b"]),
        in_place: false,
    };
    assert_eq!(daemon.asked()[5..], [plan]);
    daemon.dsmil(&["checkpoint", "plan", "before", "--files", "--settings"]).done();
    let settings = scope(true, false, &[]).map(|scope| Scope { settings: true, ..scope });
    let plan = Command::PlanRestore {
        which: "before".to_owned(),
        paranoid: false,
        scope: settings,
        in_place: false,
    };
    assert_eq!(daemon.asked()[6..], [plan]);
}

#[test]
fn a_diff_shows_each_difference_and_its_exit_code_is_that_of_diff() {
    let diff = Diff {
        from: 3,
        to: Some(7),
        created: 1,
        removed: 9,
        changed: 1,
        tokens: 1,
        settings: 1,
        databases: 0,
        services: 1,
        differences: vec![
            Difference::Created { path: "/srv/evil\x1b[2Jname".to_owned() },
            Difference::Removed { path: "/srv/a".to_owned() },
            Difference::Changed {
                path: "/srv/b".to_owned(),
                aspects: vec!["content".to_owned(), "mtime".to_owned()],
            },
            Difference::Token {
                id: "0x8030".to_owned(),
                select: "ac".to_owned(),
                before: Some(1),
                after: None,
            },
            Difference::Setting {
                path: "/proc/sys/vm/swappiness".to_owned(),
                before: Some("60".to_owned()),
                after: Some("10".to_owned()),
            },
            Difference::Service {
                unit: "nginx.service".to_owned(),
                details: vec!["running -> stopped".to_owned(), "enabled -> masked".to_owned()],
            },
        ],
        more: 8,
    };
    let daemon = Daemon::answering(Answer::Diff(diff));
    let output = daemon.dsmil(&["checkpoint", "diff", "before", "7", "--path", "/srv/"]);
    assert_eq!((output.code, output.err.as_str()), (Some(1), ""));
    assert_eq!(
        output.out,
        "created  /srv/evil\\u{1b}[2Jname
removed  /srv/a
changed  /srv/b: content, mtime
token    0x8030 (ac): 1 -> -
setting  /proc/sys/vm/swappiness: 60 -> 10
service  nginx.service: running -> stopped, enabled -> masked
… and 8 more
1 file created, 9 removed, 1 changed; 1 token differs; 1 setting differs; 1 service differs
"
    );
    let json = daemon.dsmil(&["checkpoint", "diff", "before", "--paranoid", "--json"]);
    assert_eq!((json.code, json.err.as_str()), (Some(1), ""));
    assert!(json.out.contains(r#"{"change":"removed","path":"/srv/a"}"#), "{}", json.out);
    let asked = |to: Option<&str>, paths: &[&str], paranoid| Command::Diff {
        from: "before".to_owned(),
        to: to.map(str::to_owned),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        paranoid,
    };
    assert_eq!(daemon.asked(), [asked(Some("7"), &["/srv"], false), asked(None, &[], true)]);
    let same = Daemon::answering(Answer::Diff(Diff { from: 3, ..Diff::default() }));
    assert_eq!(same.dsmil(&["checkpoint", "diff", "before"]).done(), "");
    // 1 would say that something differs.
    for (code, exit) in [(Code::Failed, 2), (Code::NotFound, 6), (Code::Denied, 4)] {
        let output = Daemon::refusing(code, "for a reason").dsmil(&["checkpoint", "diff", "before"]);
        assert_eq!((output.code, output.err.as_str()), (Some(exit), "dsmil: error: for a reason\n"));
    }
}

#[test]
fn a_checkpoint_is_deleted_if_somebody_says_so() {
    let daemon = Daemon::answering(Answer::Deleted { number: 3, name: "before".to_owned() });
    let refused = daemon.dsmil(&["checkpoint", "delete", "before"]);
    assert_eq!((refused.code, daemon.asked().len()), (Some(2), 0));
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    let text = daemon.dsmil(&["checkpoint", "delete", "before", "--yes"]).done();
    assert_eq!(text, "deleted checkpoint 3 “before”\n");
    daemon.dsmil(&["checkpoint", "delete", "3", "-y", "--force"]).done();
    let delete = |which: &str, force| Command::DeleteCheckpoint { which: which.to_owned(), force };
    assert_eq!(daemon.asked(), [delete("before", false), delete("3", true)]);
}

#[test]
fn what_pruning_lets_go_is_asked_for_first() {
    let fate = |number, goes| Fate {
        checkpoint: Checkpoint { number, kind: "automatic".to_owned(), ..checkpoint() },
        goes,
        reasons: if goes { Vec::new() } else { vec!["newest".to_owned(), "daily".to_owned()] },
    };
    let daemon = |goes| {
        Daemon::start(whole(), move |command| {
            vec![Say::Done(match command {
                Command::Prune { dry_run: true, .. } => Answer::Pruning(Pruning {
                    checkpoints: vec![fate(2, goes), fate(3, false)],
                    stored_bytes: 3 << 20,
                    needed_bytes: 1 << 20,
                    unknown: vec![9],
                }),
                _ => Answer::Pruned(Pruned {
                    checkpoints: vec![2],
                    packs: 4,
                    chunks: 1,
                    bytes: 2 << 20,
                    ..Pruned::default()
                }),
            })]
        })
    };
    let done = "1 checkpoint is gone; 1 chunk and 4 packs gone, 2.0 MiB freed\n";
    let going = daemon(true);
    let refused = going.dsmil(&["checkpoint", "prune"]);
    assert!(refused.code == Some(2) && refused.err.contains("give --yes"), "{}", refused.err);
    assert_eq!(
        going.dsmil(&["checkpoint", "prune", "--yes", "--keep-last", "7", "--max-size", "1k"]).done(),
        done
    );
    let keep = Keep { last: 7, max_bytes: Some(1024), ..Keep::default() };
    let prune = |keep, dry_run| Command::Prune { keep, dry_run };
    assert_eq!(going.asked(), [prune(None, true), prune(Some(keep), false)]);
    assert_eq!(
        going.dsmil(&["checkpoint", "prune", "--dry-run"]).done(),
        "\
NUMBER  NAME    CREATED                   KIND       STAYS
2       before  2026-11-21T08:00:00.000Z  automatic  goes
3       before  2026-11-21T08:00:00.000Z  automatic  newest, daily
checkpoint 9 lies in the daemon's folder, and the log knows nothing of it: it stays
2.0 MiB of 3.0 MiB can be freed, less where rewriting does not pay
"
    );
    // What no checkpoint needs is no loss, so nobody is asked.
    assert_eq!(daemon(false).dsmil(&["checkpoint", "prune"]).done(), done);
}

#[test]
fn the_schedule_says_what_is_due_and_what_stays() {
    let fate = Fate { checkpoint: checkpoint(), goes: false, reasons: vec!["manual".to_owned()] };
    let schedule = Schedule {
        interval_s: Some(21_600),
        due_in_s: Some(90),
        due: Some("2026-11-21T08:01:30.000Z".to_owned()),
        before_risky: true,
        awaiting: Some(Awaiting { number: 3, left_s: 61 }),
        keep: Keep { last: 7, daily: 30, ..Keep::default() },
        checkpoints: vec![fate],
    };
    let daemon = Daemon::answering(Answer::Schedule(Box::new(schedule)));
    assert_eq!(
        daemon.dsmil(&["checkpoint", "schedule"]).done(),
        "\
interval       6h
next one       2026-11-21T08:01:30.000Z, in 1m 30s
to confirm     the restore of checkpoint 3: it goes back in 1m 1s
risky actions  after a checkpoint
keeps          7 last, 30 daily of automatic ones; the others stay

NUMBER  NAME    CREATED                   KIND    STAYS
3       before  2026-11-21T08:00:00.000Z  manual  manual
"
    );
    let none = Daemon::answering(Answer::Schedule(Box::default()));
    assert!(none.dsmil(&["checkpoint", "schedule"]).done().starts_with("interval       never by time\n"));
}

#[test]
fn a_restore_to_be_confirmed_says_so_and_how() {
    let daemon = Daemon::start(whole(), |command| {
        vec![Say::Done(match command {
            Command::Restore { .. } => Answer::Awaiting { plan: plan(), left_s: 300 },
            Command::Confirm { undo: true } => Answer::TakenBack { number: 3 },
            _ => Answer::Restored(plan()),
        })]
    });
    let said = daemon.dsmil(&["checkpoint", "restore", "3", "--confirm-within", "5m"]).done();
    let last = said.lines().last();
    assert_eq!(last, Some("it goes back in 5m unless it is confirmed: dsmil checkpoint confirm"), "{said}");
    let kept = daemon.dsmil(&["checkpoint", "confirm"]).done();
    assert_eq!(kept, "checkpoint 3 stays restored\n");
    let back = daemon.dsmil(&["checkpoint", "confirm", "--undo"]).done();
    assert_eq!(back, "the restore of checkpoint 3 is taken back: everything is as it was before\n");
    let asked = daemon.asked();
    assert!(matches!(&asked[0], Command::Restore { confirm_s: Some(300), .. }), "{asked:?}");
    assert_eq!(asked[1..], [false, true].map(|undo| Command::Confirm { undo }));
    assert_eq!(daemon.dsmil(&["checkpoint", "restore", "3", "--confirm-within", "2d"]).code, Some(2));
}

#[test]
fn equal_is_said_in_words() {
    let daemon = Daemon::start(whole(), |command| {
        vec![Say::Done(match command {
            Command::Restore { .. } => Answer::Restored(nothing()),
            _ => Answer::Plan(nothing()),
        })]
    });
    let plan = daemon.dsmil(&["checkpoint", "plan", "3"]).done();
    assert_eq!(plan, "nothing differs from checkpoint 3\n");
    let plan = daemon.dsmil(&["checkpoint", "plan", "3", "--path", "/a", "--tokens"]).done();
    assert_eq!(plan, "nothing differs from checkpoint 3 in /a, tokens\n");
    let restored = daemon.dsmil(&["checkpoint", "restore", "3"]).done();
    assert_eq!(restored, "nothing differed from checkpoint 3\n");
}

pub fn entry(index: u64) -> Entry {
    Entry {
        index,
        time: "2026-11-21T08:00:00.000Z".to_owned(),
        fact: "accepted".to_owned(),
        work: Some(5),
        asker: Some(Asker { uid: 0, pid: 77 }),
        text: "write tokens 0x8003 = 0".to_owned(),
        base64: None,
    }
}

#[test]
fn entries_of_the_log_are_lines() {
    let daemon = Daemon::answering(Answer::Facts { records: vec![entry(41)], size: 42 });
    assert_eq!(
        daemon.dsmil(&["log", "tail", "-n", "1"]).done(),
        "    41  2026-11-21T08:00:00.000Z  accepted    work 5: write tokens 0x8003 = 0 (asked by user 0, process 77)\n"
    );
    assert_eq!(daemon.asked(), [Command::Facts { from: None, limit: 1 }]);
}

#[test]
fn a_followed_log_goes_on_where_it_was_and_ends_with_the_daemon() {
    let polls = AtomicU32::new(0);
    let daemon = Daemon::start(whole(), move |_| {
        let records = match polls.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => vec![],
            1 => vec![entry(2), entry(3)],
            _ => return vec![Say::HangUp],
        };
        vec![Say::Done(Answer::Facts { records, size: 2 })]
    });
    let output = daemon.dsmil(&["log", "tail", "-n", "0", "-f", "--json"]);
    let lines: Vec<Entry> = output.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [entry(2), entry(3)]);
    assert_eq!(output.code, Some(3));
    let from = |asked: &Command| match asked {
        Command::Facts { from, .. } => *from,
        other => panic!("{other:?}"),
    };
    let froms: Vec<_> = daemon.asked().iter().map(from).collect();
    assert_eq!(froms, [None, Some(2), Some(4), Some(4)]);
}

#[test]
fn a_followed_log_warns_once() {
    let polls = AtomicU32::new(0);
    let daemon = Daemon::start(lacking(), move |_| match polls.fetch_add(1, Ordering::SeqCst) {
        0..3 => vec![Say::Done(Answer::Facts { records: vec![], size: 0 })],
        _ => vec![Say::HangUp],
    });
    let output = daemon.dsmil(&["log", "tail", "-f"]);
    assert_eq!(output.err.matches("warning").count(), 1, "{}", output.err);
}

#[test]
fn a_note_is_words_or_the_standard_input() {
    let daemon = Daemon::answering(Answer::Noted { index: 7 });
    assert_eq!(daemon.dsmil(&["log", "note", "all", "is  well"]).done(), "noted as entry 7\n");
    let piped = |bytes: &[u8]| {
        let mut command = crate::daemon::command(&daemon.socket());
        Output::of(command.args(["log", "note", "--kind", "end", "-"]).write_stdin(bytes))
    };
    piped("grün\n".as_bytes()).done();
    piped(&[0xFF, 0]).done();
    let note = |kind: &str, text: Option<&str>, base64: Option<&str>| Command::Note {
        kind: kind.to_owned(),
        text: text.map(str::to_owned),
        base64: base64.map(str::to_owned),
    };
    let asked = [
        note("note", Some("all is  well"), None),
        note("end", Some("grün\n"), None),
        note("end", None, Some("/wA=")),
    ];
    assert_eq!(daemon.asked(), asked);
    let refused = piped(&vec![b'x'; api::wire::NOTE_BYTES_MAX + 1]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert_eq!(daemon.asked().len(), asked.len(), "nothing is asked that is refused anyway");
}
