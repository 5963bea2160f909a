//! Help, manual pages, completions.

use std::path::Path;

use crate::daemon::{Output, command};

const COMMANDS: &[&[&str]] = &[
    &[],
    &["status"],
    &["tokens"],
    &["tokens", "list"],
    &["tokens", "get"],
    &["tokens", "set"],
    &["checkpoint"],
    &["checkpoint", "create"],
    &["checkpoint", "list"],
    &["checkpoint", "show"],
    &["checkpoint", "verify"],
    &["checkpoint", "plan"],
    &["checkpoint", "restore"],
    &["checkpoint", "confirm"],
    &["checkpoint", "prune"],
    &["checkpoint", "schedule"],
    &["checkpoint", "export"],
    &["checkpoint", "mount"],
    &["checkpoint", "key"],
    &["log"],
    &["log", "note"],
    &["log", "tail"],
    &["log", "search"],
    &["log", "show"],
    &["log", "prove"],
    &["log", "verify-proof"],
    &["log", "verify"],
    &["log", "export"],
    &["log", "salvage"],
    &["log", "archive"],
    &["agent"],
    &["agent", "check"],
    &["run"],
    &["tpm"],
    &["tpm", "status"],
    &["tpm", "provision"],
    &["tpm", "seal"],
    &["tpm", "unseal"],
    &["tpm", "policy"],
    &["tpm", "policy", "show"],
    &["tpm", "policy", "terms"],
    &["tpm", "policy", "sign"],
    &["tpm", "policy", "install"],
    &["tpm", "policy", "renew"],
    &["tpm", "policy", "revoke"],
    &["tpm", "recover"],
    &["tpm", "forget"],
    &["tpm", "quote"],
    &["tpm", "certify"],
    &["metrics"],
    &["completions"],
    &["man"],
];

fn dsmil(arguments: &[&str]) -> String {
    Output::of(command(Path::new("/nonexistent/socket")).args(arguments)).done()
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for words in COMMANDS {
        let text = dsmil(&[words, &["--help"][..]].concat());
        let example = format!("\n  dsmil {}", words.join(" "));
        assert!(text.contains("Example") && text.contains(example.trim_end()), "{words:?}: {text}");
    }
}

#[test]
fn examples_are_understood() {
    for words in COMMANDS {
        let text = dsmil(&[words, &["--help"][..]].concat());
        let examples = text.lines().skip_while(|line| !line.starts_with("Example"));
        for example in examples.filter_map(|line| line.strip_prefix("  dsmil ")) {
            let plain = example.split(['|', '>', '&']).next().unwrap();
            let mut arguments: Vec<_> = plain.split_whitespace().collect();
            // It would write where the example says.
            if arguments[0] == "man" {
                continue;
            }
            // Examples must not touch a log of this machine.
            let is_of_a_log = arguments[0] == "log" && !["note", "verify-proof"].contains(&arguments[1]);
            if is_of_a_log && !arguments.contains(&"--dir") {
                arguments.extend(["--dir", "/nonexistent/log"]);
            }
            let output = Output::of(command(Path::new("/nonexistent/socket")).args(&arguments));
            assert_ne!(output.code, Some(2), "{example}: {}", output.err);
        }
    }
}

#[test]
fn the_help_teaches() {
    for (words, lesson) in [
        (&["status"][..], "Guarantees that this start lacks come first"),
        (&["tokens", "list"], "on this machine's sealed allow-list"),
        (&["tokens", "set"], "all of the changes or none"),
        (&["checkpoint", "create"], "the checkpoint is durable and signed"),
        (&["checkpoint", "restore"], "unless --leave-denied is given"),
        (&["tpm", "status"], "What lies between the two is the window"),
        (&["log", "verify"], "can rewrite the whole log"),
        (&["log", "salvage"], "Exit code 7 says that something is lost"),
        (&["log", "archive"], "where there is nobody to ask it needs --yes"),
    ] {
        let text = dsmil(&[words, &["--help"][..]].concat());
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(lesson), "{words:?}: {text}");
    }
}

#[test]
fn the_exit_codes_are_explained() {
    let text = dsmil(&["--help"]);
    let codes: Vec<_> = text.lines().skip_while(|line| *line != "Exit codes:").skip(1).collect();
    for (line, code) in codes.iter().zip(0..8) {
        assert!(line.starts_with(&format!("  {code}  ")), "{line}");
    }
    assert_eq!(codes.len(), 8);
}

#[test]
fn pages_and_completions_are_made() {
    assert!(dsmil(&["man"]).contains(".TH dsmil 1"));
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    dsmil(&["man", pages.to_str().unwrap()]);
    for page in ["dsmil.1", "dsmil-checkpoint-restore.1", "dsmil-log-verify.1"] {
        assert!(pages.join(page).is_file(), "{page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(dsmil(&["completions", shell]).contains("checkpoint"), "{shell}");
    }
}
