//! Runs the one command that its file names; the input is only ever what that command reads.
//!
//! The command has a process group of its own, which is killed whole before its number could be anybody else's: when it ends, when
//! the task is cancelled, when it writes too much, and when the supervisor is gone.

use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::{Value, json};

use super::{Act, Role};
use crate::fault::Fault;
use crate::input::Input;
use crate::options::Options;
use crate::task::Task;

/// Most bytes of its output, and of its error output.
const OUTPUT_MAX: usize = 32 << 10;
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long, once it has ended, what it left in its pipes may take.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Commands.
pub const ROLE: Role = Role {
    name: "shell",
    options: "`-- PROGRAM ARGUMENT…`",
    acts: &[
        Act {
            name: "run",
            input: &[("text", "what the command reads on its stdin; nothing unless given")],
            output: "`text`: what it wrote, at most 32 KiB; `errors`: to stderr. It fails where the command's status is not 0",
            run,
        },
        Act {
            name: "status",
            input: &[("text", "what the command reads on its stdin; nothing unless given")],
            output: "`status`, or `signal`; `text`, `errors`. A status other than 0 is a result too",
            run: status,
        },
    ],
    check: |options| match options.command.first() {
        Some(program) if program.starts_with('/') => {
            match (Options { command: Vec::new(), ..options.clone() }) == Options::default() {
                true => Ok(()),
                false => Err("this role takes a command alone".to_owned()),
            }
        }
        _ => Err("say what to run: -- /path/of/program ARGUMENT…".to_owned()),
    },
};

/// Which of its pipes something came from, or that one has ended.
enum Heard {
    Output(Vec<u8>),
    Errors(Vec<u8>),
    Ended,
}

/// A command with its process group. Dropped, it and all that it began are gone.
struct Group {
    child: Child,
    is_reaped: bool,
}

impl Group {
    fn kill(&self) {
        // Until it is reaped, nobody else can have its number.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && !self.is_reaped
        {
            _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Whether it has ended; it is not reaped, so that its group keeps its number.
    fn has_ended(&self) -> bool {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
    }

    /// Kills what is left, and takes the status.
    fn end(&mut self) -> Result<ExitStatus, Fault> {
        self.kill();
        let status = self.child.wait().map_err(|error| Fault::system("the command", &error));
        self.is_reaped = true;
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_reaped {
            _ = self.end();
        }
    }
}

/// Passes on what a pipe brings, until it ends or nobody wants more.
fn listen(mut pipe: impl Read + Send + 'static, to: SyncSender<Heard>, as_: fn(Vec<u8>) -> Heard) {
    let listening = move || {
        let mut chunk = [0; 8 << 10];
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            if to.send(as_(chunk.get(..count).unwrap_or_default().to_vec())).is_err() {
                return;
            }
        }
        // Nobody listens any more: then nobody needs to know.
        _ = to.send(Heard::Ended);
    };
    spawn(listening);
}

/// A thread that only moves bytes. Where none can be started, the pipe is closed, which the command sees.
fn spawn(moving: impl FnOnce() + Send + 'static) {
    _ = std::thread::Builder::new().stack_size(128 << 10).spawn(moving);
}

fn start(options: &Options, input: String) -> Result<(Group, Receiver<Heard>), Fault> {
    let (program, arguments) =
        options.command.split_first().ok_or_else(|| Fault::failed("no command is given"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| Fault::failed(format!("{program} cannot be run: {error}")))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let group = Group { child, is_reaped: false };
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Fault::failed("the command has no pipes"));
    };
    let (sender, heard) = sync_channel(4);
    listen(stdout, sender.clone(), Heard::Output);
    listen(stderr, sender, Heard::Errors);
    // A command that does not read its input is none that failed.
    spawn(move || _ = stdin.write_all(input.as_bytes()));
    Ok((group, heard))
}

/// What came of a command.
struct Ended {
    status: ExitStatus,
    text: String,
    errors: String,
}

fn perform(task: &Task, input: &Input, options: &Options) -> Result<Ended, Fault> {
    let (mut group, heard) = start(options, input.text_or("text", "")?.to_owned())?;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut pipes = 2;
    let mut ended_at: Option<Instant> = None;
    while pipes > 0 && ended_at.is_none_or(|at| at.elapsed() < DRAIN_MAX) {
        let bytes = u64::try_from(output.len()).unwrap_or(u64::MAX);
        task.at(bytes, None, || "runs the command".to_owned())?;
        match heard.recv_timeout(LOOK) {
            Ok(Heard::Output(mut bytes)) => output.append(&mut bytes),
            Ok(Heard::Errors(mut bytes)) => errors.append(&mut bytes),
            Ok(Heard::Ended) => pipes -= 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => pipes = 0,
        }
        if output.len() > OUTPUT_MAX || errors.len() > OUTPUT_MAX {
            return Err(Fault::failed(format!(
                "the command wrote more than {OUTPUT_MAX} bytes, and was killed"
            )));
        }
        if ended_at.is_none() && group.has_ended() {
            // What it left behind would keep the pipes open.
            group.kill();
            ended_at = Some(Instant::now());
        }
    }
    while !group.has_ended() {
        task.pause(LOOK, "runs the command")?;
    }
    let status = group.end()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { status, text: text(&output), errors: text(&errors) })
}

fn run(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let Ended { status, text, errors } = perform(task, input, options)?;
    if !status.success() {
        let said: String = errors.trim().chars().take(500).collect();
        return Err(Fault::failed(format!("the command ended with {status}: {said}")));
    }
    Ok(json!({"text": text, "errors": errors}))
}

fn status(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let Ended { status, text, errors } = perform(task, input, options)?;
    Ok(json!({"status": status.code(), "signal": status.signal(), "text": text, "errors": errors}))
}
