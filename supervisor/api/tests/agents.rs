//! The agents that docs/agents.md shows, run against the codec.

#![cfg(test)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use api::agent::lines::{Bounds, Lines};
use api::agent::protocol::{FromAgent, Id, Payload, ToAgent};
use serde_json::json;

/// An agent that runs, and what it says.
struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<FromAgent>,
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/agents")
}

impl Agent {
    fn start(program: &Path) -> Self {
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("an agent");
        let (stdin, mut stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (sender, said) = channel();
        std::thread::spawn(move || {
            let mut lines = Lines::new(Bounds { line_max: 65_536, second_max: 1 << 20 });
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut chunk) {
                let bytes = &chunk[..count];
                lines
                    .feed(bytes, 0, |number, line| {
                        let _ = sender.send(FromAgent::read(number, line)?);
                        Ok(())
                    })
                    .unwrap();
            }
            lines.finish().unwrap();
        });
        let mut agent = Self { child, stdin, said };
        let hello = ToAgent::Hello {
            protocol: 1,
            agent: "an-agent".parse().unwrap(),
            line_max: 65_536,
            heartbeat_ms: 5_000,
        };
        agent.tell(&hello);
        assert_eq!(agent.hear(), FromAgent::Hello { protocol: 1, tasks: 1 });
        agent.tell(&ToAgent::Heartbeat { sequence: 42 });
        assert_eq!(agent.hear(), FromAgent::Heartbeat { sequence: 42 });
        agent
    }

    fn tell(&mut self, message: &ToAgent) {
        let line = message.line(1 << 20).unwrap();
        self.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    fn task(&mut self, name: &str, input: &serde_json::Value) {
        let input = Payload::of(input).unwrap();
        let (id, key) = (id(name), id("k"));
        self.tell(&ToAgent::Task { id, key, attempt: 1, timeout_ms: 30_000, input });
    }

    fn hear(&self) -> FromAgent {
        self.said.recv_timeout(Duration::from_secs(20)).expect("a message of the agent")
    }

    /// The output of a task's result.
    fn result(&self, task: &str) -> serde_json::Value {
        match self.hear() {
            FromAgent::Result { id, output } if id.as_str() == task => {
                serde_json::from_str(output.as_str()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Its input ends, so it ends too, and well.
    fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
        assert!(self.said.recv().is_err(), "it said something at its end");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_agent_in_shell_tells_the_load() {
    let mut agent = Agent::start(&docs().join("load.sh"));
    agent.task("t.1", &json!({"id": "another", "quote": "\"id\":\"x\""}));
    let load = agent.result("t.1");
    assert!(load["1min"].as_f64().is_some_and(|load| load >= 0.0), "{load}");
    agent.end();
}

#[test]
fn the_agent_in_python_counts_and_can_be_cancelled() {
    let mut agent = Agent::start(&docs().join("word-counter.py"));
    agent.task("t1", &json!({"text": "one two\nthree ä\n"}));
    assert!(matches!(agent.hear(), FromAgent::Log { text, .. } if text == "counted 2 lines"));
    assert_eq!(agent.result("t1"), json!({"lines": 2, "words": 4}));
    agent.task("t2", &json!({"text": 5}));
    assert!(matches!(agent.hear(), FromAgent::Error { code, .. } if code.as_str() == "input"));
    // Long enough that the cancel comes in the middle: it follows at once, and the first progress is at line 1,000.
    agent.task("t3", &json!({"text": "a\n".repeat(200_000)}));
    agent.tell(&ToAgent::Cancel { id: id("t3"), grace_ms: 2_000, reason: "asked".into() });
    let end = loop {
        match agent.hear() {
            FromAgent::Progress { total, .. } => assert_eq!(total, Some(200_000)),
            other => break other,
        }
    };
    assert!(matches!(&end, FromAgent::Error { code, .. } if code.as_str() == "cancelled"), "{end:?}");
    agent.end();
}

#[test]
fn the_agent_in_rust_calls_and_takes_no_for_an_answer() {
    // Cargo puts examples beside the folder of the tests.
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples/token-reader");
    let mut agent = Agent::start(&program);
    agent.task("t1", &json!({"tokens": ["0x8000", "0x8001"]}));
    for (token, value) in [("0x8000", 1), ("0x8001", 7)] {
        let FromAgent::Call { id, task, capability, input } = agent.hear() else { panic!("no call") };
        assert_eq!((task.as_str(), capability.kind()), ("t1", "token.read"));
        assert_eq!(input, Payload::of(&json!({"token": token})).unwrap());
        // It answers while it waits for another answer.
        agent.tell(&ToAgent::Heartbeat { sequence: 1 });
        assert_eq!(agent.hear(), FromAgent::Heartbeat { sequence: 1 });
        agent.tell(&ToAgent::Result { id, output: Payload::of(&json!({"value": value})).unwrap() });
    }
    assert_eq!(agent.result("t1"), json!({"0x8000": 1, "0x8001": 7}));
    agent.task("t2", &json!({"tokens": ["0x8009"]}));
    let FromAgent::Call { id, .. } = agent.hear() else { panic!("no call") };
    let code = "denied".parse().unwrap();
    agent.tell(&ToAgent::Error { id, code, message: "never".into(), retry: false });
    let end = agent.hear();
    assert!(
        matches!(&end, FromAgent::Error { code, message, .. } if code.as_str() == "denied" && message == "0x8009: never"),
        "{end:?}"
    );
    agent.end();
}
