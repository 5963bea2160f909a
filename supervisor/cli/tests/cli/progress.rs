//! What is shown on the way, and the question on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use api::wire::{self, Answer};

use crate::daemon::{Daemon, Say, nothing, plan, reading, whole};

fn restoring(planned: fn() -> wire::Plan) -> Daemon {
    Daemon::start(whole(), move |command| match command {
        wire::Command::Restore { .. } => vec![
            Say::Progress("validated"),
            Say::Progress("prepared"),
            Say::Progress("in \x1b[31mplace"),
            Say::Done(Answer::Restored(planned())),
        ],
        _ => vec![Say::Done(Answer::Plan(planned()))],
    })
}

#[test]
fn phases_are_lines_without_a_terminal_and_nothing_with_json() {
    let daemon = restoring(nothing);
    let output = daemon.dsmil(&["checkpoint", "restore", "before"]);
    let doing = "restore checkpoint before";
    let phases = format!("{doing}: validated\n{doing}: prepared\n{doing}: in \\u{{1b}}[31mplace\n");
    assert_eq!((output.err, output.code), (phases, Some(0)));
    assert_eq!(daemon.dsmil(&["checkpoint", "restore", "before", "--json"]).err, "");
}

#[test]
fn a_work_that_lasts_says_that_it_is_under_way() {
    let slow = Say::Pause;
    let daemon = Daemon::start(whole(), move |_| {
        vec![
            Say::Progress("before"),
            slow(Duration::from_secs(4)),
            Say::Done(Answer::Written { before: vec![reading("0x8003", 1)] }),
        ]
    });
    let output = daemon.dsmil(&["tokens", "set", "0x8003=0"]);
    assert_eq!((output.err.as_str(), output.code), ("write tokens: before\n", Some(0)));
}

/// A run on a terminal of its own: what the terminal shows, the standard output, the exit code.
pub fn on_terminal(socket: &Path, arguments: &[&str], typed: &str) -> (String, String, Option<i32>) {
    let pty = nix::pty::openpty(None, None).unwrap();
    let side = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("dsmil"));
    command.args(arguments).env("DSMIL_SOCKET", socket).env("NO_COLOR", "1");
    command.stdin(side(&pty.slave)).stderr(side(&pty.slave)).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The command holds the terminal's last open end, so that reading ends with it.
    drop((command, pty.slave));
    let mut terminal = File::from(pty.master);
    terminal.write_all(typed.as_bytes()).unwrap();
    let mut shown = Vec::new();
    // The end of a terminal reads as an error.
    let _ = terminal.read_to_end(&mut shown);
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    (String::from_utf8(shown).unwrap(), out, child.wait().unwrap().code())
}

fn restores(daemon: &Daemon) -> usize {
    daemon.asked().iter().filter(|asked| matches!(asked, wire::Command::Restore { .. })).count()
}

#[test]
fn on_a_terminal_it_shows_the_plan_and_asks() {
    let daemon = restoring(plan);
    let run = |typed, more: &[&str]| {
        on_terminal(&daemon.socket(), &[&["checkpoint", "restore", "before"], more].concat(), typed)
    };
    for no in ["n\n", "\n", "\x04", "yep\n"] {
        let (shown, out, code) = run(no, &[]);
        assert!(shown.contains("add    /srv/a\r\nremove /srv/evil\\u{1b}[2Jname\r\n"), "{shown}");
        assert!(shown.contains("Restore checkpoint 3 now? [y/N] "), "{shown}");
        assert!(shown.contains("not confirmed, so nothing was changed"), "{shown}");
        assert_eq!((out.as_str(), code), ("", Some(1)));
    }
    assert_eq!(restores(&daemon), 0);
    let (shown, out, code) = run("y\n", &[]);
    assert!(shown.contains("now? [y/N] ") && out.contains("restored checkpoint 3"), "{shown}{out}");
    assert_eq!((code, restores(&daemon)), (Some(0), 1));
    let (shown, _, code) = run("", &["--yes"]);
    assert!(!shown.contains("now?"), "{shown}");
    assert_eq!((code, restores(&daemon)), (Some(0), 2));
}

#[test]
fn on_a_terminal_phases_take_one_line_and_leave_none() {
    let daemon = restoring(nothing);
    // Nothing differs, so there is nothing to ask.
    let (shown, out, code) =
        on_terminal(&daemon.socket(), &["checkpoint", "restore", "before", "--json"], "");
    assert!(shown.contains("\r\x1b[2Krestore checkpoint before: prepared · 0 s"), "{shown:?}");
    assert!(shown.contains("in \\u{1b}[31mplace"), "{shown:?}");
    assert!(shown.ends_with("\r\x1b[2K") && !shown.contains('\n'), "{shown:?}");
    assert!(out.starts_with("{\"answer\":{\"kind\":\"restored\""), "{out}");
    assert_eq!(code, Some(0));
}
