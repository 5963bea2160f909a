//! What the committed records of each version hold.

use super::*;

/// Every variant of version 1 once, with values that differ from each other and from zero.
pub(super) fn facts_1() -> Vec<Fact> {
    let asker = Asker { pid: 4711, uid: 1000, gid: 1001 };
    let item = Item { id: 0x8030, select: 0 };
    let battery = Item { id: 0x8031, select: 2 };
    let writes = vec![
        Write { item, value: 1, expected: Some(0) },
        Write { item: battery, value: 0x1234_5678, expected: None },
    ];
    let grant = |order: &Order| -> Grant {
        let order = order.hash().unwrap();
        (&policy::Grant { order, rules: Hash([0x22; 32]), expires_ns: 1_795_248_060_000_000_000 }).into()
    };
    let accepted = |work: u64, order: Order| Fact::Accepted {
        work,
        request: [0x33; 16],
        asker,
        grant: grant(&order),
        order,
        after: None,
    };
    let progressed = |work: u64, progress: Progress| Fact::Progressed { work, progress };
    let none = Others::default();
    let finished = |work: u64, outcome: Outcome| Fact::Finished { work, outcome };
    vec![
        Fact::Started {
            version: "0.1.0".to_owned(),
            config: [0x11; 32],
            missing: vec!["no TPM: the log is not signed".to_owned()],
        },
        Fact::Heat { zone: "acpitz".to_owned(), level: Level::Normal, millicelsius: Some(45_160) },
        Fact::Heat { zone: "acpitz".to_owned(), level: Level::Warning, millicelsius: Some(90_000) },
        Fact::Heat { zone: "acpitz".to_owned(), level: Level::Critical, millicelsius: Some(96_000) },
        Fact::Heat { zone: "acpitz".to_owned(), level: Level::Unknown, millicelsius: None },
        Fact::Denied {
            asker,
            order: Order::WriteTokens { writes: writes.clone() },
            reason: "only root and the configured owners may do this".to_owned(),
        },
        accepted(1, Order::ReadTokens { items: vec![item, battery] }),
        finished(1, Outcome::Done),
        accepted(2, Order::WriteTokens { writes: writes.clone() }),
        progressed(
            2,
            Progress::Before {
                values: vec![Valued { item, value: 0 }, Valued { item: battery, value: u32::MAX }],
            },
        ),
        progressed(2, Progress::Written),
        progressed(2, Progress::Undoing { reason: "confirming failed".to_owned() }),
        finished(2, Outcome::Undone { reason: "confirming failed".to_owned() }),
        accepted(
            3,
            Order::CreateCheckpoint {
                number: 7,
                name: "before".to_owned(),
                paranoid: false,
                kind: Kind::Manual,
            },
        ),
        progressed(
            3,
            Progress::Captured {
                manifest: [0x44; 32],
                files: 5,
                tokens: 164,
                bytes: 1 << 40,
                read: None,
                others: none,
            },
        ),
        finished(3, Outcome::Signed { key: "9f8e7d6c".to_owned() }),
        accepted(4, Order::VerifyCheckpoint { number: 7 }),
        finished(4, Outcome::Failed { reason: "chunk 3 is missing".to_owned() }),
        accepted(5, Order::PlanRestore { number: 7, paranoid: false, scope: None, in_place: false }),
        finished(5, Outcome::Interrupted),
        accepted(
            6,
            Order::Restore {
                number: 7,
                leave_denied: true,
                paranoid: false,
                scope: None,
                in_place: false,
                confirm_s: None,
            },
        ),
        progressed(6, Progress::Resumed),
        progressed(
            6,
            Progress::Planned {
                added: 1,
                changed: 2,
                removed: 3,
                tokens: 2,
                writes: writes.clone(),
                others: none,
                settings: Vec::new(),
            },
        ),
        progressed(6, Progress::Prepared),
        progressed(6, Progress::Executed),
        progressed(6, Progress::Verified),
        finished(6, Outcome::Done),
        Fact::Stopped,
    ]
}

/// Every variant of version 2 once.
pub(super) fn facts_2() -> Vec<Fact> {
    let noted = Fact::Noted {
        request: [0x66; 16],
        asker: Asker { pid: 4712, uid: 1002, gid: 1003 },
        kind: "build.end".to_owned(),
        content: "grün, 7 warnings".as_bytes().to_vec(),
    };
    let others = [
        Fact::Snapshotted { facts: 1 << 33, hash: [0x77; 32] },
        Fact::Anchored { reason: "for the first time".to_owned() },
        Fact::PowerLost { named: 70_001, counted: 70_255 },
    ];
    facts_1().into_iter().chain([noted]).chain(others).collect()
}

/// Every variant of version 3 once.
pub(super) fn facts_3() -> Vec<Fact> {
    let asker = Asker { pid: 4713, uid: 1004, gid: 1005 };
    let accepted = |work: u64, order: Order| {
        let hash = order.hash().unwrap();
        let grant =
            policy::Grant { order: hash, rules: Hash([0x22; 32]), expires_ns: 1_795_248_070_000_000_000 };
        Fact::Accepted { work, request: [0x34; 16], asker, grant: (&grant).into(), order, after: None }
    };
    let finished = |work: u64, outcome: Outcome| Fact::Finished { work, outcome };
    let vault = |work: u64, change: VaultChange| accepted(work, Order::Vault { change });
    let new = vec![
        accepted(7, Order::Seal { bytes: 128 }),
        finished(7, Outcome::Sealed { blob: [0x81; 32] }),
        accepted(8, Order::Unseal { blob: [0x81; 32] }),
        finished(8, Outcome::Done),
        vault(9, VaultChange::Prepare { key: [0x82; 32], registers: 0x95, anew: true }),
        finished(9, Outcome::Counted { counter: [0x83; 34], value: 1 << 35 }),
        vault(10, VaultChange::Install { vault: [0x84; 32] }),
        vault(11, VaultChange::InstallPolicy { policy: [0x85; 32] }),
        vault(12, VaultChange::Revoke),
        vault(13, VaultChange::Forget { anchor: true }),
        Fact::Moved {
            from: vec![0x86; 91],
            general: vec![0x87; 91],
            to: vec![0x88; 91],
            reason: "a new mainboard".to_owned(),
        },
    ];
    facts_2().into_iter().chain(new).collect()
}

/// Every variant of version 4, and every key that it added, once.
pub(super) fn facts_4() -> Vec<Fact> {
    let asker = Asker { pid: 4714, uid: 1006, gid: 1007 };
    let accepted = |work: u64, order: Order| {
        let hash = order.hash().unwrap();
        let grant =
            policy::Grant { order: hash, rules: Hash([0x22; 32]), expires_ns: 1_795_248_080_000_000_000 };
        Fact::Accepted { work, request: [0x35; 16], asker, grant: (&grant).into(), order, after: None }
    };
    let finished = |work: u64, outcome: Outcome| Fact::Finished { work, outcome };
    let path = |path: &[u8]| FilePath(path.to_vec());
    let scope = Scope {
        files: true,
        tokens: false,
        paths: vec![path(b"/srv/a"), path(b"/srv/\xFF")],
        settings: false,
        databases: false,
        services: false,
    };
    let captured = Progress::Captured {
        manifest: [0x91; 32],
        files: 1203,
        tokens: 164,
        bytes: 1 << 30,
        read: Some(12),
        others: Others::default(),
    };
    let confirmed = Order::Restore {
        number: 8,
        leave_denied: false,
        paranoid: false,
        scope: None,
        in_place: false,
        confirm_s: Some(300),
    };
    let mut waiting = accepted(24, Order::WriteTokens { writes: Vec::new() });
    if let Fact::Accepted { after, .. } = &mut waiting {
        *after = Some(23);
    }
    let keep = Keep { last: 7, hourly: 24, daily: 30, weekly: 8, max_bytes: Some(20 << 30), manual: true };
    let new = vec![
        accepted(
            14,
            Order::CreateCheckpoint {
                number: 8,
                name: "after".to_owned(),
                paranoid: true,
                kind: Kind::Automatic,
            },
        ),
        Fact::Progressed { work: 14, progress: captured },
        finished(14, Outcome::Signed { key: "9f8e7d6c".to_owned() }),
        accepted(
            15,
            Order::PlanRestore { number: 7, paranoid: true, scope: Some(scope.clone()), in_place: false },
        ),
        finished(15, Outcome::Done),
        accepted(
            16,
            Order::Restore {
                number: 7,
                leave_denied: false,
                paranoid: true,
                scope: Some(scope),
                in_place: false,
                confirm_s: None,
            },
        ),
        finished(16, Outcome::Done),
        accepted(17, Order::Diff { from: 7, to: Some(8), paths: vec![path(b"/srv")], paranoid: false }),
        finished(17, Outcome::Done),
        accepted(18, Order::Diff { from: 7, to: None, paths: Vec::new(), paranoid: true }),
        finished(18, Outcome::Done),
        accepted(19, Order::DeleteCheckpoint { number: 7, name: "before".to_owned() }),
        Fact::Progressed { work: 19, progress: Progress::Resumed },
        finished(19, Outcome::Done),
        accepted(
            20,
            Order::CreateCheckpoint {
                number: 9,
                name: "last".to_owned(),
                paranoid: false,
                kind: Kind::Emergency,
            },
        ),
        finished(20, Outcome::Interrupted),
        accepted(21, Order::Prune { keep: Keep::default(), dry_run: true }),
        finished(21, Outcome::Done),
        accepted(22, Order::Prune { keep, dry_run: false }),
        Fact::Progressed { work: 22, progress: Progress::Chosen { numbers: vec![6, 1 << 40] } },
        Fact::Progressed {
            work: 22,
            progress: Progress::Removed { numbers: vec![6], reason: Some("it is in the way".to_owned()) },
        },
        finished(22, Outcome::Pruned { packs: 3, chunks: 1 << 20, bytes: 1 << 36 }),
        waiting,
        finished(24, Outcome::Interrupted),
        accepted(25, confirmed),
        Fact::Progressed {
            work: 25,
            progress: Progress::Awaiting { boot: [0x55; 16], deadline_ns: 305_000_000_000 },
        },
        Fact::Denied {
            asker,
            order: Order::Confirm { work: 25, undo: true },
            reason: "only root and the configured owners may do this".to_owned(),
        },
        Fact::Progressed {
            work: 25,
            progress: Progress::Answered { request: [0x36; 16], asker, keep: true },
        },
        finished(25, Outcome::Done),
    ];
    facts_3().into_iter().chain(new).collect()
}
