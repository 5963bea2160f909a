//! What is kept and recorded is bounded, whatever comes in.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use engine::command::{ITEMS_MAX, RequestId};
use engine::reply::{Body, Refusal};
use engine::state::{
    DENIALS_MAX, DENIALS_WINDOW_NS, ENDED_MAX, WORKS_MAX, WORKS_OF_USER_MAX, WORKS_RESERVED,
};
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

fn read() -> Command {
    Command::ReadTokens(vec![(TokenId(0x8030), Select::Current)])
}

fn is_busy(decision: &Decision) -> bool {
    let is_busy = |reply: &engine::Reply| matches!(reply.body, Body::Refused(Refusal::Busy(_)));
    decision.facts.is_empty() && decision.replies.iter().all(is_busy) && !decision.replies.is_empty()
}

#[test]
fn works_at_once_are_bounded_and_an_owner_still_acts() {
    let mut state = State::new(Rules::default());
    for request in 0..WORKS_MAX - WORKS_RESERVED {
        assert_eq!(ask(&mut state, u128::try_from(request).unwrap(), read()).facts.len(), 1);
    }
    assert!(is_busy(&ask(&mut state, u128::MAX, read())));
    assert_eq!(ask(&mut state, u128::MAX - 1, checkpoint("a")).facts.len(), 1);
}

#[test]
fn one_user_cannot_take_all_works() {
    let mut state = State::new(Rules::default());
    let mut asked = 0u128;
    let mut ask_as = |state: &mut State, uid| {
        asked += 1;
        let peer = Peer { pid: 1, uid, gid: uid };
        take(state, Event::Asked { request: RequestId(asked.to_be_bytes()), peer, command: read() })
    };
    for _ in 0..WORKS_OF_USER_MAX {
        assert_eq!(ask_as(&mut state, 1000).facts.len(), 1);
    }
    assert!(is_busy(&ask_as(&mut state, 1000)));
    assert_eq!(ask_as(&mut state, 1001).facts.len(), 1);
}

/// Who may do nothing must not be able to fill the log.
#[test]
fn denials_of_one_user_are_recorded_up_to_a_limit() {
    let mut state = State::new(Rules::default());
    let mut asked = 0u128;
    let mut denied = |state: &mut State, uid| {
        asked += 1;
        let peer = Peer { pid: 1, uid, gid: uid };
        take(state, Event::Asked { request: RequestId(asked.to_be_bytes()), peer, command: checkpoint("a") })
    };
    for _ in 0..DENIALS_MAX {
        assert!(matches!(denied(&mut state, 1000).facts[..], [Fact::Denied { .. }]));
    }
    assert!(is_busy(&denied(&mut state, 1000)));
    assert!(matches!(denied(&mut state, 1001).facts[..], [Fact::Denied { .. }]));
    // A minute later they are recorded again.
    assert!(state.is_denied_too_often(1000, DENIALS_WINDOW_NS - 1));
    assert!(!state.is_denied_too_often(1000, DENIALS_WINDOW_NS));
}
