//! A program that does what agents must not, one thing for each first word: the tests of this crate run it.

#![expect(unsafe_code, reason = "forking without exec is what is tried")]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{ForkResult, fork, setsid};

/// Most processes of a bomb: more than any limit that is tried, fewer than hurt a machine.
const BOMB_MAX: u64 = 400;
/// Most processor time of each process, seconds: more than any test takes.
const CPU_MAX_S: u64 = 120;

/// Bounds this program by itself, too. What is tried may be broken: then a test is to fail, not the machine.
fn bound(resource: Resource, value: u64) {
    let hard = getrlimit(resource).map_or(value, |(_, hard)| hard.min(value));
    if setrlimit(resource, hard, hard).is_err() {
        std::process::exit(4);
    }
}

/// A child that goes on here; nothing if there cannot be one.
fn forked() -> Option<ForkResult> {
    // SAFETY: there is one thread.
    unsafe { fork() }.ok()
}

/// Forks as fast as it can, and each child does the same.
fn bomb() -> ! {
    bound(Resource::RLIMIT_NPROC, BOMB_MAX);
    // The kernel does not count root's processes against the limit.
    if nix::unistd::geteuid().is_root() {
        std::process::exit(4);
    }
    loop {
        _ = forked();
    }
}

/// Leaves group and session twice over; what remains would outlive a kill of its group.
fn escape() -> ExitCode {
    match forked() {
        Some(ForkResult::Child) => {
            _ = setsid();
            if let Some(ForkResult::Parent { .. }) = forked() {
                return ExitCode::SUCCESS;
            }
            _ = setsid();
            println!("{}", std::process::id());
            std::thread::sleep(Duration::from_secs(600));
            ExitCode::SUCCESS
        }
        Some(ForkResult::Parent { child }) => {
            _ = nix::sys::wait::waitpid(child, None);
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// Takes processor time for ever.
fn spin() -> ! {
    let hasher = RandomState::new();
    let mut number = 1_u64;
    loop {
        number = hasher.hash_one(std::hint::black_box(number));
    }
}

/// Takes memory until there is no more; says when.
fn eat(mebibytes: usize) -> ExitCode {
    let mut eaten = Vec::new();
    for _ in 0..mebibytes {
        let mut block = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            println!("no more after {} MiB", eaten.len());
            return ExitCode::from(3);
        }
        block.resize(1 << 20, 1_u8);
        eaten.push(std::hint::black_box(block));
    }
    println!("ate {} MiB", eaten.len());
    ExitCode::SUCCESS
}

/// Says all that it could have inherited.
fn tell() -> ExitCode {
    let mut told: Vec<String> = std::env::vars().map(|(key, value)| format!("env {key}={value}")).collect();
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        // Reading this list takes a descriptor, too.
        if !target.starts_with("/proc") {
            told.push(format!("fd {name} {}", target.display()));
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    told.extend(status.lines().map(|line| format!("status {}", line.replace('\t', " "))));
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    told.extend(limits.lines().map(|line| format!("limit {}", words(line))));
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    told.extend(cgroups.lines().map(|line| format!("cgroup {line}")));
    told.push(format!("cwd {}", std::env::current_dir().unwrap_or_default().display()));
    // SAFETY: take nothing, or a process's number.
    let (session, group) = unsafe { (libc::getsid(0), libc::getpgid(0)) };
    told.push(format!("session {} group {}", session.unsigned_abs() == std::process::id(), group == session));
    told.sort();
    println!("{}", told.join("\n"));
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    bound(Resource::RLIMIT_CPU, CPU_MAX_S);
    let words: Vec<String> = std::env::args().collect();
    let number = words.get(2).and_then(|word| word.parse().ok());
    match words.get(1).map(String::as_str) {
        Some("bomb") => bomb(),
        Some("escape") => escape(),
        Some("spin") => spin(),
        Some("eat") => eat(number.unwrap_or(1)),
        Some("tell") => tell(),
        Some("exit") => ExitCode::from(number.and_then(|number| u8::try_from(number).ok()).unwrap_or(0)),
        Some("abort") => std::process::abort(),
        Some("pipe") => {
            // Writes to a stdout that nobody reads: SIGPIPE, if it is not ignored.
            // SAFETY: takes numbers only. Rust's start-up ignores the signal, so what was inherited is undone here first.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            loop {
                _ = std::io::stdout().write_all(b"x\n");
            }
        }
        Some("echo") => {
            let mut text = String::new();
            _ = std::io::stdin().read_to_string(&mut text);
            print!("{text}");
            eprint!("heard");
            ExitCode::SUCCESS
        }
        Some("ignore") => {
            // SAFETY: takes numbers only.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            println!("ready");
            loop {
                std::thread::sleep(Duration::from_secs(600));
            }
        }
        _ => ExitCode::from(2),
    }
}
