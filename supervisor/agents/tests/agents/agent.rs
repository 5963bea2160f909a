//! An agent that runs, and what it says. Whatever no agent may say fails the test.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use api::agent::lines::{Bounds, Lines};
use api::agent::protocol::{FromAgent, Id, Payload, ToAgent};
use serde_json::Value;

use crate::supervisor::Supervisor;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dsmil-agent");
/// Nothing here takes so long, also where the machine is busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Agent {
    pub child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<FromAgent>,
    open: HashSet<Id>,
    line_max: u64,
    /// Progress that was told of tasks that have ended since.
    pub progress: Vec<FromAgent>,
}

pub fn id(text: &str) -> Id {
    text.parse().unwrap()
}

/// What came of a task: its output, or code and message.
pub type Outcome = Result<Value, (String, String)>;

impl Agent {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(arguments);
        Self::begin(command, 65_536)
    }

    pub fn begin(mut command: Command, line_max: u64) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("an agent");
        let (stdin, mut stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (sender, said) = channel();
        let line_most = usize::try_from(line_max).unwrap();
        std::thread::spawn(move || {
            let mut lines = Lines::new(Bounds { line_max: line_most, second_max: 1 << 30 });
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut chunk) {
                lines
                    .feed(&chunk[..count], 0, |number, line| {
                        let _ = sender.send(FromAgent::read(number, line)?);
                        Ok(())
                    })
                    .unwrap();
            }
            lines.finish().unwrap();
        });
        let open = HashSet::new();
        let mut agent = Self { child, stdin, said, open, line_max, progress: Vec::new() };
        agent.hello();
        agent
    }

    fn hello(&mut self) {
        let hello = ToAgent::Hello {
            protocol: 1,
            agent: "an-agent".parse().unwrap(),
            line_max: self.line_max,
            heartbeat_ms: 5_000,
        };
        self.tell(&hello);
        assert!(matches!(self.hear(), FromAgent::Hello { protocol: 1, tasks: 1.. }));
    }

    pub fn tell(&mut self, message: &ToAgent) {
        let line = message.line(1 << 20).unwrap();
        self.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    pub fn task(&mut self, name: &str, input: &Value) {
        self.task_of(name, "r1.s0.i0", input);
    }

    /// A task with the key of its work.
    pub fn task_of(&mut self, name: &str, key: &str, input: &Value) {
        let input = Payload::of(input).unwrap();
        assert!(self.open.insert(id(name)));
        self.tell(&ToAgent::Task { id: id(name), key: id(key), attempt: 1, timeout_ms: 30_000, input });
    }

    pub fn cancel(&mut self, name: &str) {
        self.tell(&ToAgent::Cancel { id: id(name), grace_ms: 2_000, reason: "asked".to_owned() });
    }

    /// The next message; nothing may be said of a task that is not open.
    pub fn hear(&mut self) -> FromAgent {
        let message = self.said.recv_timeout(PATIENCE).expect("a message of the agent");
        match &message {
            FromAgent::Result { id, .. } | FromAgent::Error { id, .. } => {
                assert!(self.open.remove(id), "{message:?}")
            }
            FromAgent::Progress { id, .. } | FromAgent::Call { task: id, .. } => {
                assert!(self.open.contains(id), "{message:?}");
            }
            FromAgent::Hello { .. } | FromAgent::Heartbeat { .. } | FromAgent::Log { .. } => {}
        }
        message
    }

    /// The next message that is no progress.
    pub fn hear_more(&mut self) -> FromAgent {
        loop {
            match self.hear() {
                progress @ FromAgent::Progress { .. } => self.progress.push(progress),
                other => return other,
            }
        }
    }

    /// The next end of a task, without calls.
    pub fn end_of(&mut self, task: &str) -> Outcome {
        match self.hear_more() {
            FromAgent::Result { id, output } if id.as_str() == task => {
                Ok(serde_json::from_str(output.as_str()).unwrap())
            }
            FromAgent::Error { id, code, message, .. } if id.as_str() == task => {
                Err((code.as_str().to_owned(), message))
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next message is the result of this task, in these very words; it was not begun by [`task`](Self::task).
    pub fn end_raw(&mut self, task: &str, json: &str) {
        self.open.insert(id(task));
        let FromAgent::Result { id, output } = self.hear() else { panic!("no result") };
        assert_eq!((id.as_str(), output.as_str()), (task, json));
    }

    /// Does a task; its calls are answered.
    pub fn work(&mut self, supervisor: &mut Supervisor, name: &str, input: &Value) -> Outcome {
        self.task(name, input);
        loop {
            match self.hear_more() {
                FromAgent::Call { id, capability, input, .. } => {
                    let answer = supervisor.answer(id, &capability, input.as_str());
                    self.tell(&answer);
                }
                FromAgent::Result { id, output } if id.as_str() == name => {
                    return Ok(serde_json::from_str(output.as_str()).unwrap());
                }
                FromAgent::Error { id, code, message, .. } if id.as_str() == name => {
                    return Err((code.as_str().to_owned(), message));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Its answer to a heartbeat comes at once, whatever else it does.
    pub fn beats(&mut self, sequence: u64) {
        let asked = Instant::now();
        self.tell(&ToAgent::Heartbeat { sequence });
        assert_eq!(self.hear_more(), FromAgent::Heartbeat { sequence });
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }

    /// Its input ends, so it ends too.
    pub fn close(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it goes on without a supervisor");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The same, where it says nothing more and is well.
    pub fn end(mut self) {
        assert!(self.close().success());
        assert!(self.said.recv_timeout(PATIENCE).is_err(), "it said something at its end");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One task of one agent, without calls.
pub fn once(arguments: &[&str], input: &Value) -> Outcome {
    let mut agent = Agent::start(arguments);
    agent.task("t1", input);
    let outcome = agent.end_of("t1");
    agent.end();
    outcome
}

/// Why a task failed: its code.
pub fn code(outcome: Outcome) -> String {
    outcome.unwrap_err().0
}
