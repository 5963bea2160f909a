//! What is counted, as metrics.

use api::wire::{Answer, Command};

use crate::daemon::{Daemon, Say, status, whole};
use crate::tpm::report;

fn daemon() -> Daemon {
    Daemon::start(whole(), |command| {
        vec![Say::Done(match command {
            Command::Tpm => Answer::Tpm(Box::new(report())),
            _ => status(),
        })]
    })
}

#[test]
fn the_text_goes_out_and_a_file_is_replaced_by_it() {
    let daemon = daemon();
    let text = daemon.dsmil(&["metrics"]).done();
    assert!(text.starts_with("# TYPE dsmil info\n") && text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("\ndsmil_tpm_operation_seconds_count{kind=\"sign_head\"} 12\n"), "{text}");
    assert!(text.contains("\ndsmil_tpm_anchorings_total 17\n"), "{text}");
    assert_eq!(daemon.asked(), [Command::Status, Command::Tpm]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dsmil.prom");
    std::fs::write(&path, "of yesterday").unwrap();
    assert_eq!(daemon.dsmil(&["metrics", "--out", path.to_str().unwrap()]).done(), "");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_written_is_told_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("folder");
    std::fs::create_dir(&into).unwrap();
    let output = daemon().dsmil(&["metrics", "--out", into.to_str().unwrap()]);
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains("cannot write"), "{}", output.err);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
