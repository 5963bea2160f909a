//! An agent for the tests: answers tasks at once, or misbehaves as its first argument says. It needs nothing but the standard library.
//!
//! Whatever it does, it ends by itself after some minutes.

use std::io::{BufRead, Read, Write};
use std::time::Duration;

/// Nothing that a test forgot runs for longer.
const LIFE_MAX: Duration = Duration::from_secs(300);

/// The value of a text field; the supervisor writes no spaces, and no quotes within ids.
fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    let begin = line.find(&format!("\"{key}\":"))? + key.len() + 3;
    let rest = line.get(begin..)?;
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => rest.split([',', '}']).next(),
    }
}

/// The last field, as it stands.
fn input(line: &str) -> &str {
    let begin = line.find("\"input\":").map_or(0, |at| at + 8);
    line.get(begin..line.len().saturating_sub(1)).unwrap_or("null")
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).is_err()
    {
        std::process::exit(3);
    }
}

fn forever() -> ! {
    std::thread::sleep(LIFE_MAX);
    std::process::exit(0)
}

fn call(call: &str, task: &str) {
    say(&format!(
        "{{\"type\":\"call\",\"id\":\"{call}\",\"task\":\"{task}\",\"capability\":\"token.read\",\"input\":5}}"
    ));
}

fn answer(id: &str, line: &str) {
    say(&format!("{{\"type\":\"result\",\"id\":\"{id}\",\"output\":{}}}", input(line)));
}

/// Does what a task's input orders.
fn task(mode: &str, line: &str) {
    let id = field(line, "id").unwrap_or_default();
    match mode {
        "call" => call("c1", id),
        "progress" => {
            for done in 0..1_000 {
                say(&format!("{{\"type\":\"progress\",\"id\":\"{id}\",\"done\":{done},\"total\":1000}}"));
            }
            answer(id, line);
        }
        "log" => {
            for count in 0..1_000 {
                say(&format!("{{\"type\":\"log\",\"id\":\"{id}\",\"level\":\"info\",\"text\":\"{count}\"}}"));
            }
            answer(id, line);
        }
        "stderr" => {
            for count in 0..input(line).parse().unwrap_or(0_u64) {
                eprintln!("line {count}: {}", "x".repeat(90));
            }
            answer(id, line);
        }
        "stranger" => answer("unknown", line),
        "twice" => {
            answer(id, line);
            answer(id, line);
        }
        "exit" => std::process::exit(7),
        "close-stdout" => {
            // Another standard output would keep the pipe open.
            let mut closed = std::process::Command::new("/bin/sh");
            closed.args(["-c", "exec 1>&-; sleep 300"]);
            become_(closed)
        }
        "flood" => loop {
            say("{\"type\":\"log\",\"level\":\"info\",\"text\":\"more\"}");
        },
        "long-line" => {
            let mut out = std::io::stdout().lock();
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..100 {
                if out.write_all(&piece).is_err() {
                    break;
                }
            }
            forever()
        }
        "bad-utf8" => {
            _ = std::io::stdout().write_all(b"{\"type\":\"log\xff\"}\n");
            _ = std::io::stdout().flush();
            forever()
        }
        "fork" => loop {
            // Each goes on in the same way, until the kernel says no.
            let child = std::process::Command::new("/bin/sh").args(["-c", "sleep 300"]).spawn();
            if child.is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        },
        "last-word" => {
            answer(id, line);
            std::process::exit(0);
        }
        "heartbeat-unasked" => say("{\"type\":\"heartbeat\",\"sequence\":99}"),
        "hello-twice" => say("{\"type\":\"hello\",\"protocol\":1}"),
        "call-twice" => (0..2).for_each(|_| call("c1", id)),
        "calls-many" => (0..65).for_each(|count| call(&format!("c{count}"), id)),
        "call-stranger" => call("c1", "unknown"),
        "leave-child" => {
            _ = std::process::Command::new("/bin/sh").args(["-c", "setsid sleep 300 & exit"]).status();
            std::process::exit(0);
        }
        "deaf" | "ignore-cancel" | "wait" => {}
        _ => answer(id, line),
    }
}

fn become_(mut command: std::process::Command) -> ! {
    use std::os::unix::process::CommandExt as _;
    let error = command.exec();
    eprintln!("{error}");
    std::process::exit(1)
}

fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    std::thread::spawn(|| forever());
    match mode.as_str() {
        "no-hello" => forever(),
        "first-word" => say("{\"type\":\"log\",\"level\":\"info\",\"text\":\"before hello\"}"),
        "exit-at-once" => {
            eprintln!("cannot go on");
            std::process::exit(5);
        }
        _ => {}
    }
    let mut lines = std::io::BufReader::with_capacity(64 << 10, std::io::stdin().lock());
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
        let said = line.trim_end();
        match field(said, "type").unwrap_or_default() {
            "hello" => say("{\"type\":\"hello\",\"protocol\":1,\"tasks\":1000}"),
            "heartbeat" if mode == "silent" => {}
            "heartbeat" => {
                let sequence = field(said, "sequence").unwrap_or_default();
                say(&format!("{{\"type\":\"heartbeat\",\"sequence\":{sequence}}}"));
            }
            "task" => task(&mode, said),
            "cancel" if mode == "ignore-cancel" => {}
            "cancel" => {
                let id = field(said, "id").unwrap_or_default();
                say(&format!(
                    "{{\"type\":\"error\",\"id\":\"{id}\",\"code\":\"cancelled\",\"message\":\"as asked\"}}"
                ));
            }
            "result" | "error" if mode == "call" => {
                say(&format!("{{\"type\":\"result\",\"id\":\"t1\",\"output\":{:?}}}", said));
            }
            _ => {}
        }
        line.clear();
        if mode == "deaf" && said_task() {
            // Reads nothing more, but lives.
            let mut none = [0; 0];
            _ = std::io::stdin().read(&mut none);
            forever();
        }
    }
    if mode == "ignore-end" {
        forever();
    }
}

/// For “deaf”: from the second line on.
fn said_task() -> bool {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed) > 0
}
