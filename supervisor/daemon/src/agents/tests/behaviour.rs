//! What agents do, and what becomes of them and of the others.

use std::collections::BTreeMap;

use api::agent::protocol::Level;
use sandbox::Exit;
use sandbox::helper::NotStarted;

use super::*;

/// Misses heartbeats sooner than usual, for tests that wait for it.
const QUICK: Patience =
    Patience { hello: Duration::from_secs(3), heartbeat: Duration::from_secs(1), misses: 3 };

/// Who misbehaves: how, within which limits, and the name under which its end is recorded.
const MISBEHAVIOUR: [(&str, &str, &str); 21] = [
    ("silent", "", "silent"),
    ("flood", "limits: {output_second: 64KiB}\n", "flooding"),
    ("long-line", "", "line-too-long"),
    ("bad-utf8", "", "not-utf8"),
    ("fork", "", "killed"),
    ("ignore-cancel", "", "ignored-cancel"),
    ("exit", "", "exited"),
    ("leave-child", "", "exited"),
    ("close-stdout", "", "closed-stdout"),
    ("no-hello", "", "no-hello"),
    ("first-word", "", "not-a-message"),
    ("stranger", "", "not-a-message"),
    ("twice", "", "not-a-message"),
    ("heartbeat-unasked", "", "not-a-message"),
    ("hello-twice", "", "not-a-message"),
    ("call-twice", "", "not-a-message"),
    ("calls-many", "", "not-a-message"),
    ("call-stranger", "", "not-a-message"),
    ("deaf", "", "not-reading"),
    ("exit-at-once", "", "exited"),
    ("ignore-end", "", "killed"),
];

/// What each of them is made to do once it is ready.
fn provoke(lab: &Lab, instance: u64, mode: &str) {
    match mode {
        "deaf" => {
            let mut count = 0;
            while lab.task(instance, &format!("t{count}"), &"x".repeat(60_000)) {
                count += 1;
                assert!(count < 1_000, "there is no bound");
            }
        }
        "ignore-cancel" => {
            assert!(lab.task(instance, "t", &0));
            assert!(lab.fleet().cancel(instance, &id("t"), Duration::from_millis(300), "enough"));
        }
        "ignore-end" => lab.fleet().end(instance, Duration::from_millis(300)),
        "silent" => {}
        _ => assert!(lab.task(instance, "t", &0), "{mode} takes no task"),
    }
}

#[test]
fn whoever_misbehaves_ends_alone_and_a_neighbour_goes_on() {
    let Some(mut lab) = Lab::new(QUICK) else { return };
    let neighbour = lab.define("neighbour", "echo", "limits: {output_second: 64MiB}\n");
    lab.start(1, &neighbour);
    for (instance, (mode, limits, _)) in (10..).zip(MISBEHAVIOUR) {
        let start = lab.define(mode, mode, limits);
        lab.fleet().start(Start { instance, ..start }, permit());
    }
    let mode_of = |instance: u64| MISBEHAVIOUR[usize::try_from(instance - 10).unwrap()].0;
    let (mut whys, mut exits) = (BTreeMap::new(), BTreeMap::new());
    let (begin, mut asked, mut count, mut slowest) = (Instant::now(), Instant::now(), 0, Duration::ZERO);
    let mut forks = None;
    assert!(lab.task(1, "t", &0));
    while whys.len() < MISBEHAVIOUR.len() {
        let modes = whys.keys().map(|instance| mode_of(*instance));
        assert!(begin.elapsed() < SOON, "not all have ended, only {:?}", modes.collect::<Vec<_>>());
        let (instance, happened) = lab.next();
        match happened {
            Happened::Done { .. } if instance == 1 => {
                count += 1;
                slowest = slowest.max(asked.elapsed());
                asked = Instant::now();
                assert!(lab.task(1, "t", &0));
            }
            other if instance == 1 => panic!("the neighbour: {other:?}"),
            Happened::Ready { .. } => {
                provoke(&lab, instance, mode_of(instance));
                if mode_of(instance) == "fork" {
                    forks = Some(instance);
                }
            }
            Happened::Ended { why, exit, stuck, .. } => {
                assert_eq!(stuck, 0);
                assert!(whys.insert(instance, why).is_none(), "{} ended twice", mode_of(instance));
                exits.insert(mode_of(instance), exit);
            }
            _ => {}
        }
        // It forks until it is killed, or its user may have no more processes.
        if let Some(instance) = forks
            && lab.fleet().brake().processes().unwrap().len() > 100
        {
            lab.fleet().kill(instance);
            forks = None;
        }
    }
    for (instance, (mode, _, expected)) in (10..).zip(MISBEHAVIOUR) {
        assert_eq!(whys[&instance].name(), expected, "{mode}: {}", whys[&instance]);
    }
    assert_eq!(exits["exit"], Some(Exit::Code(7)));
    assert_eq!(exits["exit-at-once"], Some(Exit::Code(5)));
    assert_eq!(exits["flood"], Some(Exit::Signal { number: 9, core: false }));
    eprintln!("beside all of them: {count} tasks of the neighbour, the slowest took {slowest:?}");
    assert!(count > 100 && slowest < Duration::from_secs(2), "{count} tasks, the slowest took {slowest:?}");
    until("only the neighbour is left", || lab.fleet().brake().processes().unwrap().len() == 1);
}

#[test]
fn a_call_is_answered_once() {
    let Some(mut lab) = Lab::new(Patience::default()) else { return };
    let start = lab.define("caller", "call", "");
    lab.start(1, &start);
    for (answer, expected) in [
        (Ok(Payload::of(&42).unwrap()), r#"\"type\":\"result\",\"id\":\"c1\",\"output\":42}"#),
        (
            Err(super::super::fleet::Refused {
                code: "denied".parse().unwrap(),
                message: "no\0!".into(),
                retry: false,
            }),
            r#"\"code\":\"denied\",\"message\":\"no!\",\"retry\":false}"#,
        ),
    ] {
        assert!(lab.task(1, "t1", &5));
        let called = lab.of(1);
        let Happened::Called { id: call, task, capability, input } = called else { panic!("{called:?}") };
        assert_eq!((task, capability.to_string().as_str(), input.as_str()), (id("t1"), "token.read", "5"));
        assert!(!lab.fleet().answer(1, &id("c2"), Ok(Payload::of(&0).unwrap())));
        assert!(lab.fleet().answer(1, &call, answer));
        assert!(!lab.fleet().answer(1, &call, Ok(Payload::of(&0).unwrap())));
        let output = lab.done(1);
        assert!(output.contains(expected), "{output}");
    }
}

#[test]
fn a_cancel_that_is_obeyed_ends_the_task_alone() {
    let Some(mut lab) = Lab::new(Patience::default()) else { return };
    let start = lab.define("waits", "wait", "");
    lab.start(1, &start);
    assert!(lab.task(1, "t1", &0));
    let grace = Duration::from_millis(200);
    assert!(lab.fleet().cancel(1, &id("t1"), SOON, "enough"));
    // Asked again it has less time, and has obeyed already.
    lab.fleet().cancel(1, &id("t1"), grace, "enough");
    match lab.of(1) {
        Happened::Failed { task, code, .. } => assert_eq!((task, code.as_str()), (id("t1"), "cancelled")),
        other => panic!("{other:?}"),
    }
    assert!(!lab.fleet().cancel(1, &id("t1"), grace, "enough"));
    // It answers the second cancel, too, which is one answer too many; so this agent is not asked twice in earnest.
    let why = lab.why(1);
    assert!(matches!(why.name(), "not-a-message"), "{why}");
    lab.start(2, &start);
    assert!(lab.task(2, "t1", &0));
    assert!(lab.fleet().cancel(2, &id("t1"), grace, "enough"));
    assert!(matches!(lab.of(2), Happened::Failed { .. }));
    // Another task of that name has nothing to do with it.
    assert!(lab.task(2, "t1", &0));
    std::thread::sleep(grace * 2);
    lab.fleet().usage(2);
    let used = lab.of(2);
    assert!(matches!(&used, Happened::Used(usage) if usage.processes == 1), "{used:?}");
}

#[test]
fn who_is_asked_to_end_ends() {
    let Some(mut lab) = Lab::new(Patience::default()) else { return };
    let start = lab.define("echo", "echo", "");
    lab.start(1, &start);
    lab.fleet().end(1, SOON);
    assert!(!lab.task(1, "t", &0), "it is ending");
    let ended = lab.of(1);
    let Happened::Ended { why, exit, usage, .. } = ended else { panic!("{ended:?}") };
    assert_eq!((why, exit), (Why::Ended, Some(Exit::Code(0))));
    assert!(usage.is_some_and(|usage| usage.cpu_us > 0));
    assert!(!lab.task(1, "t", &0) && !lab.fleet().cancel(1, &id("t"), SOON, ""));
    lab.start(2, &start);
    lab.fleet().kill(2);
    assert_eq!(lab.why(2), Why::Killed);
    // Before it has started.
    lab.fleet().start(Start { instance: 3, ..start.clone() }, permit());
    lab.fleet().kill(3);
    let why = lab.why(3);
    assert!(matches!(why, Why::Killed | Why::NotStarted(NotStarted::Failed(_))), "{why}");
    lab.fleet().start(Start { instance: 4, hash: Hash::default(), ..start.clone() }, permit());
    let why = lab.why(4);
    assert!(
        matches!(&why, Why::NotStarted(NotStarted::Refused(text)) if text.contains("was changed")),
        "{why}"
    );
    // A number that is taken is not given twice.
    lab.start(5, &start);
    lab.fleet().start(Start { instance: 5, ..start }, permit());
    assert!(lab.task(5, "t", &9));
    assert_eq!(lab.done(5), "9");
}

#[test]
fn what_is_said_last_is_told_before_the_end() {
    let Some(mut lab) = Lab::new(Patience::default()) else { return };
    let start = lab.define("last-word", "last-word", "");
    for instance in 1..=40 {
        lab.start(instance, &start);
        assert!(lab.task(instance, "t", &instance));
        assert_eq!(lab.done(instance), instance.to_string());
        assert_eq!(lab.why(instance), Why::Exited);
    }
}

#[test]
fn progress_and_records_are_told_in_moderation() {
    let Some(mut lab) = Lab::new(Patience::default()) else { return };
    let start = lab.define("progress", "progress", "");
    lab.start(1, &start);
    assert!(lab.task(1, "t", &0));
    let begin = Instant::now();
    let (mut told, mut last) = (0, 0);
    loop {
        match lab.of(1) {
            Happened::Progress { done, total: Some(1000), .. } => {
                assert!(done >= last, "progress goes back");
                (told, last) = (told + 1, done);
            }
            Happened::Done { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    let most = 2 + begin.elapsed().as_millis() / 100;
    assert!((1..=most).contains(&told), "{told} in {:?}", begin.elapsed());
    let start = lab.define("log", "log", "");
    lab.start(2, &start);
    let begin = Instant::now();
    assert!(lab.task(2, "t", &0));
    let mut told = 0;
    while let Happened::Log { level: Level::Info, .. } = lab.of(2) {
        told += 1;
    }
    if begin.elapsed() < Duration::from_secs(1) {
        assert_eq!(told, 100);
        std::thread::sleep(Duration::from_millis(1_100));
        assert!(lab.task(2, "t", &0));
        let log = lab.of(2);
        let Happened::Log { task: None, level: Level::Warning, text } = log else { panic!("{log:?}") };
        assert!(text.starts_with("900 records"), "{text}");
    }
}

#[test]
fn stderr_is_kept_within_bounds() {
    let Some(mut lab) = Lab::new(Patience::default()) else { return };
    let start = lab.define("writes", "stderr", "");
    lab.start(1, &start);
    // Some 2 MB.
    assert!(lab.task(1, "t", &20_000));
    assert_eq!(lab.done(1), "20000");
    let log = lab.folder.path().join("logs/writes.log");
    let last = |text: &[u8]| text.trim_ascii_end().ends_with(&[&b"line 19999: "[..], &[b'x'; 90]].concat());
    until("all is there", || last(&lab.fleet().stderr(1).unwrap()));
    // The file may lack what came while the disk was slow; it is bounded in any case.
    until("it is put aside", || log.with_extension("log.1").exists() && log.exists());
    assert_eq!(lab.fleet().stderr(1).unwrap().len(), 64 << 10);
    let old = std::fs::read(log.with_extension("log.1")).unwrap();
    for (what, len) in [("old", old.len()), ("new", std::fs::read(&log).unwrap().len())] {
        assert!((1..=1 << 20).contains(&len), "{what}: {len} bytes");
    }
    lab.fleet().end(1, SOON);
    let ended = lab.of(1);
    let Happened::Ended { stderr, .. } = ended else { panic!("{ended:?}") };
    assert!(last(stderr.as_bytes()) && stderr.len() == 4 << 10, "{stderr}");
    assert_eq!(lab.fleet().stderr(1), None);
}

#[test]
fn time_that_all_stand_still_counts_for_nothing() {
    let Some(mut lab) = Lab::new(QUICK) else { return };
    let start = lab.define("echo", "echo", "");
    lab.start(1, &start);
    lab.start(2, &start);
    lab.fleet().freeze_all().unwrap();
    assert!(lab.fleet().brake().wait_frozen(SOON).unwrap());
    assert!(lab.task(1, "t", &1));
    // Longer than anybody may be silent.
    std::thread::sleep(QUICK.heartbeat * 6);
    lab.fleet().thaw_all().unwrap();
    assert_eq!(lab.done(1), "1");
    std::thread::sleep(QUICK.heartbeat * 5);
    assert!(lab.task(2, "t", &2));
    assert_eq!(lab.done(2), "2");
    // Frozen, all are killed all the same.
    let begin = Instant::now();
    lab.fleet().freeze_all().unwrap();
    lab.fleet().kill_all().unwrap();
    lab.fleet().brake().wait_empty(SOON).unwrap();
    eprintln!("frozen and killed in {:?}", begin.elapsed());
    assert_eq!((lab.why(1), lab.why(2)), (Why::Killed, Why::Killed));
}

#[test]
fn more_than_may_run_are_told_so() {
    let Some(mut lab) = Lab::new(Patience::default()) else { return };
    let start = lab.define("echo", "echo", "");
    for instance in 1..=140 {
        lab.fleet().start(Start { instance, ..start.clone() }, permit());
    }
    let (mut ready, mut full) = (0, 0);
    while ready + full < 140 {
        match lab.next().1 {
            Happened::Ready { .. } => ready += 1,
            Happened::Ended { why: Why::NotStarted(NotStarted::Full), .. } => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((ready, full), (128, 12));
}

#[test]
fn the_end_of_the_helper_is_the_end_of_all() {
    let Some(mut lab) = Lab::new(Patience::default()) else { return };
    let start = lab.define("echo", "echo", "");
    lab.start(1, &start);
    lab.start(2, &start);
    rustix::net::shutdown(&lab.theirs, rustix::net::Shutdown::Both).unwrap();
    let mut lost = 0;
    for _ in 0..3 {
        match lab.next() {
            // Those that it could still kill it has told.
            (1 | 2, Happened::Ended { why: Why::HelperLost | Why::Exited, .. }) => {}
            (_, Happened::HelperLost(_)) => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lost, 1);
    lab.fleet().start(Start { instance: 3, ..start }, permit());
    let why = lab.why(3);
    assert!(matches!(why, Why::NotStarted(NotStarted::Failed(_))), "{why}");
    lab.fleet().brake().wait_empty(SOON).unwrap();
}
