//! What version 5 added: agents, and runs of workflows.

use engine::fleet::fact::{AgentFact, Approval};
use engine::run::encoding;
use engine::run::fact::{
    Advance, Released, RunAccepted, RunEnd, StepEnd, StepOpen, StepStatus, TaskBegin, TaskEnd, TaskRef,
    TaskResult,
};
use types::agent::{Milliseconds, Retry};
use types::workflow::{
    Compare, Expression, Key, Kind, Mode, OnFailure, Param, Piece, Priority, Step, Template, Who, Workflow,
};

use super::*;

fn workflow() -> Workflow {
    let step = |id: &str, needs: Vec<usize>, who: Who, mode: Mode, input: Template| Step {
        id: id.parse().unwrap(),
        needs,
        who,
        mode,
        input,
        when: None,
        retry: Some(Retry { limit: 2, delay: Milliseconds(500), delay_max: Milliseconds(4_000) }),
        timeout: Some(Milliseconds(9_000)),
        checkpoint_before: false,
        on_failure: Some(OnFailure::Continue),
    };
    let reader = || Who::Agents(vec!["reader".parse().unwrap()]);
    let output = Expression::Output { step: 0, path: vec![Key::Field("files".to_owned())] };
    let text = Template::Text(vec![
        Piece::Plain("of ".to_owned()),
        Piece::Value(Expression::Param { param: 0, path: Vec::new() }),
    ]);
    let consensus = Mode::Consensus { copies: 3, quorum: 2, compare: Compare::Tolerance { millionths: 10 } };
    let able = Who::Capability("file.read:/srv".parse().unwrap());
    let item = Template::Value(Expression::Item { path: Vec::new() });
    Workflow {
        name: "nightly".parse().unwrap(),
        description: Some("looks at everything".to_owned()),
        params: vec![Param {
            name: "root".parse().unwrap(),
            kind: Kind::Text,
            default: Some("\"/srv\"".to_owned()),
            description: None,
        }],
        steps: vec![
            step("list", Vec::new(), reader(), Mode::Sequential, text),
            step("each", vec![0], able, Mode::Parallel { each: output, at_once: 4 }, item),
            step("agree", vec![0, 1], reader(), consensus, Template::Null),
        ],
        timeout: Milliseconds(300_000),
        priority: Priority::High,
        on_failure: OnFailure::Stop,
        hash: Hash([0x61; 32]),
    }
}

/// Everything of versions 1 to 5.
pub(super) fn facts_5() -> Vec<Fact> {
    facts_4().into_iter().chain(new()).collect()
}

/// What version 5 added.
pub(super) fn new() -> Vec<Fact> {
    let asker = Asker { pid: 4711, uid: 1000, gid: 1001 };
    let files = || vec![Approval { name: "reader".to_owned(), hash: [0x62; 32] }];
    let grant = |order: [u8; 32]| -> Grant {
        let grant = policy::Grant {
            order: Hash(order),
            rules: Hash([0x22; 32]),
            expires_ns: 1_795_248_060_000_000_000,
        };
        (&grant).into()
    };
    let task = |step, index, attempt| TaskRef { run: 7, step, index, attempt };
    let ended = |task, result| TaskEnd { task, instance: Some(3), goes_on: true, result };
    let failed = |again_ns| TaskResult::Failed {
        code: "failed".to_owned(),
        message: "no such file".to_owned(),
        again_ns,
    };
    let agents = vec![
        AgentFact::Defined {
            name: "reader".to_owned(),
            path: "/etc/dsmil/agents/reader.md".to_owned(),
            uid: 0,
            hash: [0x62; 32],
            capabilities: vec!["file.read:/srv".to_owned(), "token.read".to_owned()],
            retry_limit: 3,
            retry_delay_ms: 1_000,
            retry_delay_max_ms: 30_000,
            timeout_ms: 30_000,
        },
        AgentFact::Approved { request: [0x37; 16], asker, files: files(), grant: grant([0x63; 32]) },
        AgentFact::Started { instance: 3, name: "reader".to_owned(), hash: [0x62; 32], run: 7 },
        AgentFact::Ready { instance: 3, pid: 4712, tasks: 2 },
        AgentFact::Breaker { name: "reader".to_owned(), open_ns: Some(60_000_000_000) },
        AgentFact::Breaker { name: "reader".to_owned(), open_ns: None },
        AgentFact::Leaving { instance: 3, reason: "it had nothing to do".to_owned() },
        AgentFact::Ended {
            instance: 3,
            reason: "it ended when it was asked to".to_owned(),
            is_failure: true,
        },
        AgentFact::Gone { name: "reader".to_owned() },
        AgentFact::EmergencyStop {
            asker,
            request: [0x38; 16],
            frozen_ns: Some(12_000_000),
            killed_ns: None,
            left: vec![4712],
        },
    ];
    let encoded = encoding::encode(&workflow()).unwrap();
    let accepted = RunAccepted {
        run: 7,
        request: [0x39; 16],
        asker,
        grant: grant([0x64; 32]),
        name: "nightly".to_owned(),
        workflow_hash: engine::order::digest(&encoded).0,
        workflow: Some(encoded.into()),
        params: "[\"/srv\"]".to_owned(),
    };
    let whole = Advance {
        run: 7,
        ended: vec![
            ended(task(0, 0, 1), TaskResult::Done { output: "{\"files\":[1]}".to_owned() }),
            TaskEnd { goes_on: false, instance: None, ..ended(task(1, 0, 1), failed(Some(250_000_000))) },
            ended(task(1, 1, 2), failed(None)),
            ended(task(1, 2, 1), TaskResult::Cancelled),
            ended(task(1, 3, 1), TaskResult::Unknown),
        ],
        steps: vec![StepEnd {
            step: 2,
            status: StepStatus::Failed,
            output: Some("1".to_owned()),
            dissent: vec![1],
            reason: Some("no agreement".to_owned()),
        }],
        opened: vec![StepOpen { step: 1, tasks: 4, items: vec!["1".to_owned(), "\"a\"".to_owned()] }],
        queued: vec![task(1, 0, 2)],
        begun: vec![TaskBegin {
            task: task(1, 1, 1),
            instance: 3,
            timeout_ns: 9_000_000_000,
            input: "1".to_owned(),
        }],
        end: Some(RunEnd::Failed { reason: "step “agree”: no agreement".to_owned() }),
        paused: Some(true),
        released: vec![Released { task: task(0, 0, 1), instance: 3 }],
    };
    let cancelled = Advance {
        run: 8,
        steps: vec![
            StepEnd { step: 0, status: StepStatus::Skipped, output: None, dissent: Vec::new(), reason: None },
            StepEnd { step: 1, status: StepStatus::Done, output: None, dissent: Vec::new(), reason: None },
        ],
        end: Some(RunEnd::Cancelled { reason: "as user 1000 asked".to_owned() }),
        ..Advance::default()
    };
    let denied = |order| Fact::Denied {
        asker,
        order,
        reason: "only root and the configured owners may do this".to_owned(),
    };
    let mut facts: Vec<Fact> = agents.into_iter().map(Fact::Agent).collect();
    facts.extend([
        denied(Order::ApproveAgents { files: files() }),
        denied(accepted.order()),
        Fact::RunAccepted(Box::new(accepted)),
        Fact::Advanced(Box::new(whole)),
        Fact::Advanced(Box::new(cancelled)),
        Fact::Advanced(Box::new(Advance { run: 9, end: Some(RunEnd::Done), ..Advance::default() })),
    ]);
    facts
}
