//! A stand-in for the supervisor: a small machine, asked through the product's own words and answered in the product's own types.

use std::collections::BTreeMap;

use api::agent::call;
use api::agent::protocol::word::Known;
use api::agent::protocol::{Id, Payload, ToAgent};
use api::wire::record::{Asker, Entry};
use api::wire::{
    Answer, Checkpoint, Command, CpuLatency, DeviceStatus, LogStatus, Reading, Status, Token, agents::Run,
};
use types::agent::Capability;

/// What the machine has, and what an agent may ask for.
pub struct Supervisor {
    /// What the agent's file asks for; none: anything.
    pub allowed: Option<Vec<Capability>>,
    /// Values by id and by which one is asked for.
    pub values: BTreeMap<(String, String), u32>,
    pub tokens: Vec<Token>,
    pub facts: Vec<Entry>,
    pub checkpoints: Vec<Checkpoint>,
    /// Most facts that fit into one answer.
    pub page_max: u32,
    /// What was asked, by capability.
    pub asked: Vec<String>,
}

fn token(id: &str, location: u16, table_value: u16, device: Option<&str>) -> Token {
    Token {
        id: id.to_owned(),
        location,
        table_value,
        device: device.map(str::to_owned),
        writable: device.is_some(),
        ..Token::default()
    }
}

pub fn fact(index: u64, kind: &str, second: u32, work: Option<u64>, uid: Option<u32>, text: &str) -> Entry {
    Entry {
        index,
        time: format!("2026-11-22T08:00:{second:02}.500Z"),
        fact: kind.to_owned(),
        work,
        asker: uid.map(|uid| Asker { uid, pid: 7 }),
        text: text.to_owned(),
        base64: None,
    }
}

impl Supervisor {
    pub fn new() -> Self {
        let mut denied = token("0x8009", 9, 1, Some("0.9"));
        (denied.writable, denied.denied) = (false, Some("it wipes the disk".to_owned()));
        let mut shared = token("0x0480", 3, 2, None);
        shared.shared = true;
        let named = Token { name: Some("guard".to_owned()), ..token("0x8000", 0, 1, Some("0.0")) };
        let tokens = vec![
            named,
            token("0x8003", 3, 1, Some("0.3")),
            denied,
            token("0x8010", 16, 1, Some("1.0")),
            shared,
        ];
        let mut values = BTreeMap::new();
        for (id, current) in [("0x8000", 1), ("0x8003", 2), ("0x8009", 0), ("0x8010", 0), ("0x0480", 2)] {
            for (select, value) in [("current", current), ("ac", current + 10), ("battery", current + 20)] {
                values.insert((id.to_owned(), select.to_owned()), value);
            }
        }
        let facts = vec![
            fact(0, "started", 0, None, None, "dsmild 0.1.0"),
            fact(1, "accepted", 1, Some(1), Some(1000), "read token 0x8000"),
            fact(2, "accepted", 2, Some(2), Some(1000), "create checkpoint 1 “a”"),
            fact(3, "finished", 3, Some(1), None, "done"),
            fact(4, "denied", 4, None, Some(1001), "write tokens 0x8009 = 1: it wipes the disk"),
            fact(5, "heat", 5, None, None, "cpu is warning: 91.0 °C"),
            fact(6, "finished", 12, Some(2), None, "failed: no room"),
            fact(7, "noted", 13, None, Some(1000), "note: hello"),
            fact(8, "accepted", 14, Some(3), Some(0), "read 2 tokens"),
        ];
        let checkpoint = |number, name: &str, kind: &str| Checkpoint {
            number,
            name: name.to_owned(),
            kind: kind.to_owned(),
            ..Checkpoint::default()
        };
        let checkpoints = vec![checkpoint(1, "first", "manual"), checkpoint(2, "night", "automatic")];
        Self { allowed: None, values, tokens, facts, checkpoints, page_max: 10_000, asked: Vec::new() }
    }

    /// What it says to a call.
    pub fn answer(&mut self, id: Id, capability: &Capability, input: &str) -> ToAgent {
        self.asked.push(capability.to_string());
        let command =
            call::command(capability, input).unwrap_or_else(|why| panic!("{capability} {input}: {why}"));
        let may =
            |allowed: &Vec<Capability>| allowed.iter().any(|has| call::covers(has, capability, &command));
        if !self.allowed.as_ref().is_none_or(may) {
            let message = "the agent's file does not ask for it".to_owned();
            return ToAgent::Error { id, code: Known::Denied.into(), message, retry: false };
        }
        match self.done(command) {
            Ok(answer) => ToAgent::Result { id, output: Payload::of(&answer).unwrap() },
            Err(message) => ToAgent::Error { id, code: Known::Failed.into(), message, retry: false },
        }
    }

    fn done(&mut self, command: Command) -> Result<Answer, String> {
        Ok(match command {
            Command::Status => Answer::Status(Box::new(status(self.facts.len()))),
            Command::Tokens => Answer::Tokens { tokens: self.tokens.clone() },
            Command::ReadTokens { items } => {
                assert!(items.len() <= 512, "the engine refuses more");
                let values = items.into_iter().map(|item| {
                    let value = self.values.get(&(item.id.clone(), item.select.clone())).copied();
                    let error = value.is_none().then(|| "there is no such token".to_owned());
                    Reading { id: item.id, select: item.select, value, error }
                });
                Answer::Read { values: values.collect() }
            }
            Command::CreateCheckpoint { name, .. } => {
                let number = self.checkpoints.len() as u64 + 1;
                let checkpoint =
                    Checkpoint { number, name, kind: "manual".into(), files: 7, ..Checkpoint::default() };
                self.checkpoints.push(checkpoint.clone());
                Answer::Created { checkpoint }
            }
            Command::Checkpoints => Answer::Checkpoints { checkpoints: self.checkpoints.clone() },
            Command::Facts { from, limit } if from.is_some() && limit > self.page_max => {
                return Err(format!("the answer has {limit} facts, more than a line may"));
            }
            Command::Facts { from, limit } => {
                let size = self.facts.len() as u64;
                let from = from.unwrap_or(size.saturating_sub(limit.into()));
                let wanted = self.facts.iter().skip(usize::try_from(from).unwrap());
                Answer::Facts { records: wanted.take(limit as usize).cloned().collect(), size }
            }
            Command::Note { kind, text, .. } => {
                let index = self.facts.len() as u64;
                let text = format!("{kind}: {}", text.unwrap());
                self.facts.push(fact(index, "noted", 30, None, Some(1000), &text));
                Answer::Noted { index }
            }
            Command::Runs => Answer::Runs {
                runs: vec![
                    Run { number: 1, workflow: "report".into(), state: "done".into(), ..Run::default() },
                    Run {
                        number: 2,
                        workflow: "nightly".into(),
                        state: "failed".into(),
                        reason: Some("step read failed".into()),
                        ..Run::default()
                    },
                ],
            },
            other => panic!("no agent asks for {other:?}"),
        })
    }
}

fn status(facts: usize) -> Status {
    let cpu = |cpu, p99| CpuLatency { cpu, count: 100, p50_us: Some(3), p99_us: p99 };
    Status {
        version: "0.1.0".to_owned(),
        machine: "Dell Inc. Latitude".to_owned(),
        device: Some(DeviceStatus { tokens: 5, devices: 4, writable: 3, sealed: true }),
        log: LogStatus { size: facts as u64, signed: facts as u64 - 2, root: "ab".to_owned() },
        scheduler: vec![cpu(0, Some(900)), cpu(1, Some(4_000)), cpu(2, None)],
        checkpoints: 2,
        denials: 1,
        ..Status::default()
    }
}
