//! Exit codes, and what goes wrong.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use api::wire::{Answer, Code, Reading};

use crate::daemon::{Daemon, Output, Say, command, reading, status, tokens, whole};

#[test]
fn each_refusal_has_its_code() {
    for (code, exit) in [
        (Code::Denied, 4),
        (Code::Busy, 5),
        (Code::NotFound, 6),
        (Code::Invalid, 2),
        (Code::NoRoom, 1),
        (Code::Failed, 1),
    ] {
        let daemon = Daemon::refusing(code, "for a reason");
        let output = daemon.dsmil(&["checkpoint", "restore", "before"]);
        assert_eq!((output.code, output.out.as_str()), (Some(exit), ""), "{code:?}");
        assert_eq!(output.err, "dsmil: error: for a reason\n");
    }
}

#[test]
fn a_checkpoint_that_does_not_hold_is_damage() {
    let daemon = Daemon::refusing(Code::Failed, "chunk ab is changed");
    assert_eq!(daemon.dsmil(&["checkpoint", "verify", "before"]).code, Some(7));
    let daemon = Daemon::refusing(Code::NotFound, "there is none");
    assert_eq!(daemon.dsmil(&["checkpoint", "verify", "before"]).code, Some(6));
}

#[test]
fn nobody_listens() {
    let output = Output::of(command(Path::new("/nonexistent/socket")).arg("status"));
    assert_eq!(output.code, Some(3));
    assert!(output.err.contains("/nonexistent/socket") && output.err.contains("is dsmild running"));
    let quiet = Output::of(command(Path::new("/nonexistent/socket")).args(["status", "--quiet"]));
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.err.as_str()), (Some(3), "", ""));
}

#[test]
fn the_option_goes_before_the_environment() {
    let daemon = Daemon::answering(tokens());
    let socket = daemon.socket();
    let mut command = command(Path::new("/nonexistent/socket"));
    command.args(["tokens", "list", "--socket", socket.to_str().unwrap()]);
    assert_eq!(Output::of(&mut command).code, Some(0));
}

#[test]
fn the_daemon_dies_in_the_middle() {
    let scripts: [fn() -> Vec<Say>; 3] = [
        || vec![Say::HangUp],
        || vec![Say::Progress("prepared"), Say::HangUp],
        || vec![Say::Raw("{\"id\""), Say::HangUp],
    ];
    for script in scripts {
        let daemon = Daemon::start(whole(), move |_| script());
        let output = daemon.dsmil(&["checkpoint", "restore", "before"]);
        assert_ne!(output.code, Some(0));
        assert!(output.err.contains("dsmil: error: the "), "{}", output.err);
    }
    let daemon = Daemon::start(whole(), |_| vec![Say::HangUp]);
    let output = daemon.dsmil(&["tokens", "set", "0x8003=1"]);
    assert_eq!(output.code, Some(3));
    assert!(output.err.contains("shows whether it was done"), "{}", output.err);
}

#[test]
fn an_answer_that_is_none_of_ours_fails() {
    const FOREIGN: &str = r#"{"id":"ID","behind":{"firmware":"wmi","emulated":false},"reply":"postponed"}"#;
    let says: [fn() -> Say; 3] = [|| Say::Raw(FOREIGN), || Say::Raw("no json"), || Say::Done(tokens())];
    for say in says {
        let daemon = Daemon::start(whole(), move |_| vec![say()]);
        let output = daemon.dsmil(&["status"]);
        assert_eq!((output.code, output.out.as_str()), (Some(1), ""));
        assert!(output.err.contains("are both of the same version?"), "{}", output.err);
    }
}

#[test]
fn replies_to_other_requests_are_passed_over() {
    let other = r#"{"id":"00","behind":{"firmware":"","emulated":true},"reply":"refused","code":"failed","message":""}"#;
    let daemon = Daemon::start(whole(), move |_| vec![Say::Raw(other), Say::Done(status())]);
    assert!(daemon.dsmil(&["status"]).done().starts_with("machine"));
}

#[test]
fn what_cannot_be_read_is_shown_beside_what_can() {
    let unread =
        Reading { value: None, error: Some("firmware: no access".to_owned()), ..reading("0x8001", 0) };
    let daemon = Daemon::answering(Answer::Read { values: vec![reading("0x8000", 1), unread] });
    let output = daemon.dsmil(&["tokens", "get", "0x8000", "0x8001"]);
    assert!(output.out.contains("0x8000  current  1      0x00000001\n"), "{}", output.out);
    assert!(output.out.contains("0x8001  current  -      firmware: no access\n"), "{}", output.out);
    assert_eq!(
        (output.code, output.err.as_str()),
        (Some(1), "dsmil: error: 1 of 2 tokens could not be read\n")
    );
}

#[test]
fn command_lines_that_make_no_sense_ask_nothing() {
    let daemon = Daemon::answering(status());
    for arguments in [
        &["tokens", "set", "0x8003"][..],
        &["tokens", "set", "0x8003=1", "0x8004"],
        &["tokens", "set", "0x8003=x"],
        &["tokens", "set", "0x18003=1"],
        &["tokens", "set", "0x8003=1", "0x8004=1", "--expect", "0"],
        &["tokens", "set", "0x8003=1", "--expect", "y"],
        &["tokens", "get"],
        &["tokens", "get", "0x8000", "--select", "mains"],
        &["log", "tail", "-n", "10001"],
        &["checkpoint", "restore"],
        &["frobnicate"],
        &[],
    ] {
        let output = daemon.dsmil(arguments);
        assert_eq!((output.code, output.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(!output.err.is_empty());
    }
    assert_eq!(daemon.asked(), []);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let Answer::Tokens { tokens: few } = tokens() else { unreachable!() };
    // More than a pipe holds.
    let many = Answer::Tokens { tokens: few.iter().cycle().take(20_000).cloned().collect() };
    let daemon = Daemon::answering(many);
    for json in [false, true] {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("dsmil"));
        command.arg("--socket").arg(daemon.socket()).args(["tokens", "list"]);
        command.args(json.then_some("--json"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 8];
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_exact(&mut first).unwrap();
        drop(out);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    }
}

#[test]
fn help_that_nobody_reads_is_no_error() {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("dsmil"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.args(["tokens", "set", "--help"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.lines().count()), (Some(0), 0));
}
