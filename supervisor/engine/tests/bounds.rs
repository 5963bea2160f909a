//! What is kept and recorded is bounded, whatever comes in.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use engine::command::{ITEMS_MAX, KIND_MAX, NOTE_BYTES_MAX, RequestId};
use engine::order::VaultChange;
use engine::reply::{Body, Refusal};
use engine::state::{
    DENIALS_MAX, DENIALS_WINDOW_NS, DENIED_USERS_MAX, ENDED_MAX, NOTES_MAX, NOTES_WINDOW_NS, RETIRED_MAX,
    WORKS_MAX, WORKS_OF_USER_MAX, WORKS_RESERVED,
};
use engine::{
    Answer, Command, Decision, Event, Fact, Input, Outcome, Room, State, StepResult, decide, evolve,
};
use policy::{Notes, Rules};
use types::peer::Peer;
use types::time::Time;
use types::token::{Change, Select, TokenId};

fn take(state: &mut State, event: Event) -> Decision {
    let input = Input { time: Time::default(), room: Room::Notes, event };
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
    Command::CreateCheckpoint { name: name.to_owned(), paranoid: false }
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

/// A state in which notes of 1,000 bytes, and 10,000 bytes an hour, are allowed.
fn notebook() -> State {
    State::new(Rules { notes: Notes { bytes_max: 1000, hour_bytes_max: 10_000 }, ..Rules::default() })
}

/// Notes as a user, with this much room, at this time.
fn tell(
    state: &mut State,
    (request, uid): (u128, u32),
    room: Room,
    wall_ns: i64,
    content: &[u8],
) -> Decision {
    let (request, peer) = (RequestId(request.to_be_bytes()), Peer { pid: 1, uid, gid: uid });
    let command = Command::Note { kind: "test".to_owned(), content: content.to_vec() };
    let time = Time { wall_ns, ..Time::default() };
    let input = Input { time, room, event: Event::Asked { request, peer, command } };
    let decision = decide(state, &input).unwrap();
    decision.records(&input).iter().for_each(|record| evolve(state, record));
    decision
}

fn place(decision: &Decision) -> Option<u64> {
    match decision.replies[..] {
        [engine::Reply { body: Body::Done(Answer::Noted { index }), .. }] => Some(index),
        _ => None,
    }
}

fn is_refused(decision: &Decision, refusal: fn(&Refusal) -> bool) -> bool {
    let refused = |reply: &engine::Reply| matches!(&reply.body, Body::Refused(why) if refusal(why));
    decision.facts.is_empty() && decision.replies.len() == 1 && decision.replies.iter().all(refused)
}

#[test]
fn a_note_is_told_its_place_and_told_it_again() {
    let mut state = notebook();
    take(&mut state, Event::Stopping);
    let told = tell(&mut state, (7, 1000), Room::Notes, 0, b"one");
    assert!(matches!(&told.facts[..], [Fact::Noted { content, .. }] if content == b"one"));
    assert_eq!(place(&told), Some(1));
    assert_eq!(place(&tell(&mut state, (8, 0), Room::Notes, 0, b"two")), Some(2));
    let again = tell(&mut state, (7, 1000), Room::Reserve, 0, b"one");
    assert!(again.facts.is_empty());
    assert_eq!(place(&again), Some(1));
}

#[test]
fn notes_that_are_remembered_are_bounded() {
    let mut state = notebook();
    for request in 0..=u128::try_from(NOTES_MAX).unwrap() {
        assert_eq!(tell(&mut state, (request, 0), Room::Notes, 0, b"").facts.len(), 1);
    }
    assert_eq!((state.notes.places.len(), state.notes.order.len()), (NOTES_MAX, NOTES_MAX));
    assert!(tell(&mut state, (1, 0), Room::Notes, 0, b"").facts.is_empty(), "remembered");
    assert_eq!(tell(&mut state, (0, 0), Room::Notes, 0, b"").facts.len(), 1, "forgotten");
    for uid in 0..=u32::try_from(DENIED_USERS_MAX).unwrap() {
        tell(&mut state, (1 << 64 | u128::from(uid), uid), Room::Notes, 0, b"");
    }
    assert_eq!(state.notes.users.len(), DENIED_USERS_MAX);
}

#[test]
fn no_user_fills_the_log_with_notes() {
    let mut state = notebook();
    let mut request = 0u128;
    let mut told = |state: &mut State, uid, wall_ns| {
        request += 1;
        tell(state, (request, uid), Room::Notes, wall_ns, &[b'x'; 1000])
    };
    let noted = (0..20).filter(|_| !told(&mut state, 1000, 5).facts.is_empty()).count();
    assert_eq!(noted, 10_000 / (1000 + "test".len() + 128));
    assert!(is_busy(&told(&mut state, 1000, NOTES_WINDOW_NS + 4)));
    assert_eq!(told(&mut state, 1001, 5).facts.len(), 1, "another user");
    assert_eq!(told(&mut state, 1000, NOTES_WINDOW_NS + 5).facts.len(), 1, "an hour later");
    for _ in 0..20 {
        assert_eq!(told(&mut state, 0, 5).facts.len(), 1, "root may");
    }
}

#[test]
fn notes_leave_room_for_orders_and_orders_for_undoing() {
    let mut state = notebook();
    for (room, notes, orders) in [(Room::Reserve, 0, 0), (Room::Orders, 0, 1), (Room::Notes, 1, 1)] {
        let id = room as u128;
        let noted = tell(&mut state, (id, 0), room, 0, b"x");
        assert_eq!(noted.facts.len(), notes);
        assert!(notes == 1 || is_refused(&noted, |why| *why == Refusal::NoRoom));
        let (request, peer) = (RequestId((100 + id).to_be_bytes()), Peer { pid: 1, uid: 0, gid: 0 });
        let event = Event::Asked { request, peer, command: read() };
        let asked = decide(&state, &Input { time: Time::default(), room, event }).unwrap();
        assert_eq!(asked.facts.len(), orders);
    }
}

#[test]
fn notes_that_make_no_sense_are_refused_without_a_fact() {
    let invalid = |why: &Refusal| matches!(why, Refusal::Invalid(_));
    let mut state = notebook();
    assert!(is_refused(&tell(&mut state, (1, 0), Room::Notes, 0, &[0; 1001]), invalid));
    let kinds = ["", "A", "a b", "ä", "a/b", "a\n", &"k".repeat(KIND_MAX + 1)];
    for (kind, request) in kinds.into_iter().zip(2..) {
        let command = Command::Note { kind: kind.to_owned(), content: Vec::new() };
        assert!(is_refused(&ask(&mut state, request, command), invalid), "{kind:?}");
    }
    // What the rules may allow at most fits into an entry of the log.
    state.rules.notes.bytes_max = usize::MAX;
    let longest = tell(&mut state, (1, 0), Room::Notes, 0, &[0xFF; NOTE_BYTES_MAX]);
    let record = engine::Record::new(Time::default(), longest.facts[0].clone());
    assert!(record.encode().unwrap().len() < usize::from(u16::MAX));
    assert!(is_refused(&tell(&mut state, (50, 0), Room::Notes, 0, &[0; NOTE_BYTES_MAX + 1]), invalid));
}

/// What is sealed goes beside the engine; only what can be sealed is an order.
#[test]
fn what_is_sealed_is_recorded_by_length_and_hash() {
    let mut state = State::new(Rules::default());
    for bytes in [0, 129, u32::MAX] {
        let refused = ask(&mut state, bytes.into(), Command::Seal { bytes });
        assert!(refused.facts.is_empty(), "{bytes}");
    }
    ask(&mut state, 1000, Command::Seal { bytes: 128 });
    let work = *state.works.keys().next().unwrap();
    let sealed = take(&mut state, Event::Stepped { work, result: StepResult::Sealed(vec![7; 400]) });
    let blob = engine::order::digest(&[7; 400]).0;
    assert!(
        matches!(&sealed.facts[..], [Fact::Finished { outcome: Outcome::Sealed { blob: told }, .. }] if *told == blob)
    );
    assert!(matches!(&sealed.replies[..], [reply] if reply.body == Body::Done(Answer::Sealed(vec![7; 400]))));
}

#[test]
fn one_change_of_the_vault_at_a_time_and_none_without_pcrs() {
    let mut state = State::new(Rules::default());
    let prepare = |registers| VaultChange::Prepare { key: [1; 32], registers, anew: false };
    for registers in [0, 1 << 24] {
        assert!(ask(&mut state, registers.into(), Command::Vault(prepare(registers))).facts.is_empty());
    }
    assert_eq!(ask(&mut state, 100, Command::Vault(prepare(1))).facts.len(), 1);
    assert!(is_busy(&ask(&mut state, 101, Command::Vault(VaultChange::Revoke))));
    assert!(is_busy(&ask(&mut state, 102, checkpoint("a"))));
    // What was handed over is gone with the daemon, so it is not taken up again.
    let started =
        Event::Started { version: String::new(), config: types::hash::Hash([0; 32]), missing: vec![] };
    let started = take(&mut state, started);
    assert!(matches!(&started.facts[1..], [Fact::Finished { outcome: Outcome::Failed { .. }, .. }]));
    assert!(state.works.is_empty());
}

#[test]
fn keys_of_earlier_tpms_are_remembered_up_to_a_limit() {
    let mut state = State::new(Rules::default());
    for number in 0..=u8::try_from(RETIRED_MAX).unwrap() {
        let moved = Event::Moved {
            from: vec![number; 91],
            general: vec![number; 91],
            to: vec![number + 1; 91],
            reason: String::new(),
        };
        take(&mut state, moved);
    }
    assert_eq!((state.retired.len(), state.retired[0].head[0]), (RETIRED_MAX, 1));
    let read =
        engine::snapshot::decode(&engine::snapshot::encode(&state).unwrap(), Rules::default()).unwrap();
    assert_eq!(read, state);
}
