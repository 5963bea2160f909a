//! The bare limit: the same program as children over pipes, one thread, no engine and no disk.

use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Round;

const TASK: &[u8] =
    br#"{"type":"task","id":"r1.s0.i0.a1","key":"r1.s0.i0","attempt":1,"timeout_ms":30000,"input":null}
"#;

/// Children, each with one task under way.
pub struct Children(Vec<(Child, ChildStdin, ChildStdout)>);

impl Children {
    pub fn start(program: &Path, count: usize) -> anyhow::Result<Self> {
        let child = |_| {
            let mut child = Command::new(program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .context("starting an agent")?;
            let mut stdin = child.stdin.take().context("no stdin")?;
            let mut stdout = child.stdout.take().context("no stdout")?;
            stdin.write_all(b"{\"type\":\"hello\",\"protocol\":1,\"agent\":\"bench\",\"line_max\":65536,\"heartbeat_ms\":5000}\n")?;
            line(&mut stdout)?;
            Ok((child, stdin, stdout))
        };
        (0..count).map(child).collect::<anyhow::Result<_>>().map(Self)
    }

    pub fn run(&mut self, time: Duration) -> anyhow::Result<Round> {
        let (began, mut trips) = (Instant::now(), 0_u64);
        for (_, stdin, _) in &mut self.0 {
            stdin.write_all(TASK)?;
        }
        let (end, mut waiting) = (began + time, self.0.len());
        let mut waits = vec![true; self.0.len()];
        while waiting > 0 {
            let mut ready: Vec<PollFd<'_>> =
                self.0.iter().map(|(_, _, stdout)| PollFd::new(stdout.as_fd(), PollFlags::POLLIN)).collect();
            ensure!(poll(&mut ready, PollTimeout::from(30_000_u16))? > 0, "the children are silent");
            let ready: Vec<bool> = ready.iter().map(|ready| ready.any().unwrap_or_default()).collect();
            let now = Instant::now();
            for ((waits, is_ready), (_, stdin, stdout)) in waits.iter_mut().zip(ready).zip(&mut self.0) {
                if !(is_ready && *waits) {
                    continue;
                }
                line(stdout)?;
                trips += 1;
                if now < end {
                    stdin.write_all(TASK)?;
                } else {
                    *waits = false;
                    waiting -= 1;
                }
            }
        }
        Ok(Round { rate: trips as f64 / began.elapsed().as_secs_f64(), p99_ms: f64::NAN })
    }
}

/// One line; each is shorter than a pipe takes at once.
fn line(stdout: &mut ChildStdout) -> anyhow::Result<()> {
    let mut buffer = [0; 4096];
    let mut last = 0;
    while last != b'\n' {
        let count = stdout.read(&mut buffer)?;
        ensure!(count > 0, "a child has ended");
        last = buffer.get(count - 1).copied().unwrap_or_default();
    }
    Ok(())
}

impl Drop for Children {
    fn drop(&mut self) {
        for (child, ..) in &mut self.0 {
            // It may have ended already.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
