//! What is kept and recorded is bounded, whatever comes in.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use engine::command::{ITEMS_MAX, RequestId};
use engine::reply::{Body, Refusal};
use engine::state::{ENDED_MAX, WORKS_MAX};
use engine::{Command, Decision, Event, Fact, Input, State, StepResult, decide, evolve};
use policy::Rules;
use types::peer::Peer;
use types::time::Time;
use types::token::{Change, Select, TokenId};

fn take(state: &mut State, event: Event) -> Decision {
    let input = Input { time: Time::default(), room: true, event };
    let decision = decide(state, &input).unwrap();
    decision.records(&input).iter().for_each(|record| evolve(state, record));
    decision
}

fn ask(state: &mut State, request: u128, command: Command) -> Decision {
    let peer = Peer { pid: 1, uid: 0, gid: 0 };
    take(state, Event::Asked { request: RequestId(request.to_be_bytes()), peer, command })
}

fn fail(state: &mut State, work: u64, reason: &str) -> Decision {
    take(state, Event::Stepped { work, result: StepResult::Failed(reason.to_owned()) })
}

fn checkpoint(name: &str) -> Command {
    Command::CreateCheckpoint { name: name.to_owned() }
}

#[test]
fn the_oldest_ended_work_is_forgotten_first() {
    let mut state = State::new(Rules::default());
    for number in 1..=u64::try_from(ENDED_MAX).unwrap() + 1 {
        let accepted = ask(&mut state, number.into(), checkpoint("a"));
        assert!(matches!(accepted.facts[..], [Fact::Accepted { work, .. }] if work == number));
        fail(&mut state, number, "no room");
    }
    assert_eq!(state.ended.len(), ENDED_MAX);
    let remembered = ask(&mut state, 2, checkpoint("a"));
    assert!(remembered.facts.is_empty());
    let told = Body::Refused(Refusal::Failed("no room".to_owned()));
    assert!(remembered.replies.iter().any(|reply| reply.body == told));
    assert!(matches!(ask(&mut state, 1, checkpoint("a")).facts[..], [Fact::Accepted { .. }]));
}

#[test]
fn a_reason_is_cut_between_characters() {
    let mut state = State::new(Rules::default());
    ask(&mut state, 1, checkpoint("a"));
    let ended = fail(&mut state, 1, &"ü".repeat(100_000));
    assert!(ended.facts[0].work().is_some());
    let record = engine::Record::new(Time::default(), ended.facts[0].clone());
    assert!(record.encode().unwrap().len() < 4096);
}

/// Also what is denied is recorded, and has to fit.
#[test]
fn more_changes_than_a_record_holds_are_refused_without_a_fact() {
    let mut state = State::new(Rules::default());
    let change =
        |id| Change { id: TokenId(id), select: Select::Current, value: u32::MAX, expected: Some(u32::MAX) };
    let max = u16::try_from(ITEMS_MAX).unwrap();
    let refused = ask(&mut state, 1, Command::WriteTokens((0..=max).map(change).collect()));
    assert!(refused.facts.is_empty());
    assert!(matches!(refused.replies[0].body, Body::Refused(Refusal::Invalid(_))));
    let denied = ask(&mut state, 2, Command::WriteTokens((0..max).map(change).collect()));
    let record = engine::Record::new(Time::default(), denied.facts[0].clone());
    assert!(matches!(denied.facts[0], Fact::Denied { .. }));
    assert!(record.encode().unwrap().len() < usize::from(u16::MAX), "an entry of the log");
}

#[test]
fn works_at_once_are_bounded() {
    let mut state = State::new(Rules::default());
    let read = || Command::ReadTokens(vec![(TokenId(0x8030), Select::Current)]);
    for request in 0..WORKS_MAX {
        assert_eq!(ask(&mut state, u128::try_from(request).unwrap(), read()).facts.len(), 1);
    }
    let refused = ask(&mut state, u128::MAX, read());
    assert!(refused.facts.is_empty());
    assert!(matches!(refused.replies[0].body, Body::Refused(Refusal::Busy(_))));
}
