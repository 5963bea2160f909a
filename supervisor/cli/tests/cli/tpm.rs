//! What is told of the TPM.

use api::wire::tpm::{Anchor, Features, Found, Keys, Operation, Pcr, Queue, Quote, Report};
use api::wire::vault::Standing;
use api::wire::{Answer, Command, LogStatus};

use crate::daemon::{Daemon, Say, lacking};

pub fn answer(report: Report) -> Answer {
    Answer::Tpm(Box::new(report))
}

fn operation(kind: &str, count: u64, bounds: (Option<u64>, Option<u64>)) -> Operation {
    let (p50_us, p99_us) = bounds;
    Operation { kind: kind.to_owned(), count, p50_us, p99_us, max_us: 41_000, ..Operation::default() }
}

pub fn report() -> Report {
    let words = |words: &str| words.split(' ').map(str::to_owned).collect();
    Report {
        chip: "STM ST33KTPM2X, firmware 9.257.0.0, TPM 2.0 revision 1.59".to_owned(),
        software: false,
        keys: Keys {
            head: "1a2b3c4d".to_owned(),
            general: "2b3c4d5e".to_owned(),
            attestation: Some("3c4d5e6f".to_owned()),
        },
        features: Some(Features {
            algorithms: words("rsa sha256 sha384 0x00ff"),
            banks: words("sha256 sha384"),
            encrypts: true,
            nv_indices: 3,
            nv_used: 388,
            nv_left: 6780,
            nv_budget: 7168,
            counters_left: Some(14),
            failures: 1,
            failures_max: 32,
            locked_out: false,
        }),
        failure: None,
        anchor: Some(Anchor {
            counter: 17,
            heads: 4,
            writes: 9,
            writes_max: 100_000,
            anchored: "2026-11-21T08:00:00.000Z".to_owned(),
            next_s: 7199,
            owed: false,
            found: Found::default(),
            noticed: 57,
            noticed_unpowered: 40,
            name: String::new(),
        }),
        vault: None,
        log: LogStatus { size: 59, signed: 57, root: "ab".repeat(32) },
        queue: Queue { waiting: 2, deadlines_passed: 1, commands: 311, retries: 5, ..Queue::default() },
        operations: vec![
            operation("sign_head", 12, (Some(32_768), Some(65_536))),
            operation("seal", 0, (None, None)),
            Operation { failed: 3, waiting: 2, ..operation("anchor", 3, (Some(1024), None)) },
            operation("pcr", 0, (None, None)),
        ],
    }
}

#[test]
fn the_tpm_is_shown_and_the_window_told_last() {
    let expected = "\
chip          STM ST33KTPM2X, firmware 9.257.0.0, TPM 2.0 revision 1.59
keys          head 1a2b3c4d, general 2b3c4d5e, attestation 3c4d5e6f
algorithms    rsa sha256 sha384 0x00ff
PCR banks     sha256 sha384
encrypts      for callers too
NV memory     3 indices, 388 B used, 6.6 KiB left of 7.0 KiB
NV counters   14 left
lockout       not locked out, 1 of 32 wrong authorisations
anchor        counter 17, 4 heads since
              anchored 2026-11-21T08:00:00.000Z, again at latest with the first head after 1 h 59 min
              9 writes of the record; chips are made for 100000
at the start  the log was the newest that the chip knew of
queue         2 waiting; 0 refused as it was full, 1 deadline passed, 0 taken back
commands      311 sent, 5 of them again as the chip asked; 0 reconnections

OPERATION  DONE  FAILED  WAITING  P50       P99      LONGEST
sign_head  12    0       0        < 33 ms   < 66 ms  41 ms
anchor     3     3       2        < 1.1 ms  unknown  41 ms
not asked for: seal, pcr

Window: of the log's 59 entries, one that is put back lacking any of the first 57 is noticed now; after a power loss, any of the first 40.
";
    let daemon = Daemon::answering(answer(report()));
    assert_eq!(daemon.dsmil(&["tpm", "status"]).done(), expected);
    assert_eq!(daemon.asked(), [Command::Tpm]);
}

#[test]
fn each_state_of_the_anchor_is_told() {
    let text = |change: fn(&mut Report)| {
        let mut report = report();
        change(&mut report);
        Daemon::answering(answer(report)).dsmil(&["tpm", "status"]).done()
    };
    let anchored = |change: fn(&mut Anchor)| {
        let mut report = report();
        report.anchor.iter_mut().for_each(change);
        Daemon::answering(answer(report)).dsmil(&["tpm", "status"]).done()
    };
    let open = anchored(|anchor| anchor.found = Found { window_open: true, heads_ahead: 254, made: false });
    assert!(open.contains("the window was open; its count was 254 heads ahead"), "{open}");
    let made = anchored(|anchor| anchor.found.made = true);
    assert!(made.contains("at the start  the anchor was made\n"), "{made}");
    let late = anchored(|anchor| (anchor.next_s, anchor.owed) = (0, true));
    assert!(late.contains("4 heads since, and the newest not counted yet\n"), "{late}");
    assert!(late.contains("again with the next head\n"), "{late}");
    let without = text(|report| report.anchor = None);
    assert!(without.contains("anchor       none: this daemon goes without\n"), "{without}");
    assert!(without.ends_with("one that is put back is not noticed.\n"), "{without}");
}

#[test]
fn the_vault_is_told() {
    let text = |standing: Standing| {
        let report = Report { vault: Some(standing), ..report() };
        Daemon::answering(answer(report)).dsmil(&["tpm", "status"]).done()
    };
    let none = text(Standing::default());
    assert!(none.contains("vault         none: “dsmil tpm provision” makes one\n"), "{none}");
    let whole = Standing {
        provisioned: true,
        open: true,
        policy_holds: true,
        policy_key: Some("4d5e6f70".to_owned()),
        wrapped: true,
        pcrs: vec![0, 7],
        counter: Some(5),
        counter_max: Some(5),
        ..Standing::default()
    };
    let told = text(whole.clone());
    let expected = "\
vault         the repository is open
policy key    4d5e6f70, in the vault, wrapped
policy        PCRs 0,7; it opens now
revocation    counter 5, the policy holds up to 5
";
    assert!(told.contains(expected), "{told}");
    let why = Some("other PCRs".to_owned());
    let locked = Standing {
        open: false,
        policy_holds: false,
        locked: why.clone(),
        failure: why,
        wrapped: false,
        counter: None,
        ..whole
    };
    let told = text(locked);
    for part in ["LOCKED: other PCRs", "with its owner", "does NOT open now: other PCRs", "counter missing"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_chip_that_does_not_answer_is_told_too() {
    let mut report = report();
    report.features = None;
    report.failure = Some("the TPM is\x1b[2J gone".to_owned());
    let daemon = Daemon::start(lacking(), move |_| vec![Say::Done(answer(report.clone()))]);
    let output = daemon.dsmil(&["tpm", "status"]);
    assert!(output.out.starts_with("MISSING      tpm\n"), "{}", output.out);
    assert!(output.out.contains("offers        unknown: the TPM is\\u{1b}[2J gone\n"), "{}", output.out);
    assert!(!output.out.contains("algorithms"), "{}", output.out);
}

pub fn quote() -> Quote {
    Quote {
        statement: "ff544347".to_owned(),
        signature: "3045".to_owned(),
        key: "-----BEGIN PUBLIC KEY-----\n".to_owned(),
        pcrs: vec![Pcr { register: 7, value: "00".repeat(32) }],
    }
}

#[test]
fn a_quote_is_asked_for_with_the_nonce_and_kept_as_it_came() {
    let daemon = Daemon::answering(Answer::Quote(Box::new(quote())));
    let read = |text: &str| serde_json::from_str::<Quote>(text).unwrap();
    assert_eq!(read(&daemon.dsmil(&["tpm", "quote", "--nonce", "0aff"]).done()), quote());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quote.json");
    let out = path.to_str().unwrap();
    let arguments = ["tpm", "quote", "--nonce", "0aff", "--pcr", "0,7", "--out", out];
    assert_eq!(daemon.dsmil(&arguments).done(), "");
    assert_eq!(read(&std::fs::read_to_string(&path).unwrap()), quote());
    let asked = |pcrs: &[u8]| Command::Quote { nonce: "0aff".to_owned(), pcrs: pcrs.to_vec() };
    assert_eq!(daemon.asked(), [asked(&[0, 1, 2, 3, 7]), asked(&[0, 7])]);
    // What is there is not written over.
    assert_eq!(daemon.dsmil(&arguments).code, Some(1));
    assert_eq!(daemon.dsmil(&["tpm", "quote"]).code, Some(2));
    // Programs get it in any case.
    let other = dir.path().join("other.json");
    let out = other.to_str().unwrap();
    let text = daemon.dsmil(&["tpm", "quote", "--nonce", "0aff", "--out", out, "--json"]).done();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((text.lines().count(), &document["answer"]["kind"]), (1, &"quote".into()));
    assert_eq!(read(&std::fs::read_to_string(&other).unwrap()), quote());
}

#[test]
fn a_certification_in_a_file_is_told_to_programs_too() {
    let word = api::wire::vault::Certification {
        counter: "01".to_owned(),
        counter_signature: "02".to_owned(),
        record: "03".to_owned(),
        record_signature: "04".to_owned(),
        key: "-----BEGIN PUBLIC KEY-----\n".to_owned(),
        anchor: "05".to_owned(),
    };
    let daemon = Daemon::answering(Answer::Certification(Box::new(word)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("anchor.json");
    let out = path.to_str().unwrap();
    let text = daemon.dsmil(&["tpm", "certify", "--nonce", "0aff", "--out", out, "--json"]).done();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((text.lines().count(), &document["answer"]["kind"]), (1, &"certification".into()));
    assert_eq!(document["answer"]["record"], "03");
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"record\":\"03\""));
}
