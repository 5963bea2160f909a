//! The firmware's own code, run on the host by ACPICA's interpreter, which is also the kernel's.

#![cfg(test)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::machine::description::Description;
use tests::machine::fault::Fault;
use tests::machine::password;
use tests::machine::ssdt;
use tests::machine::table::Table;
use tests::machine::vendor::{self, Call};

const READ: u16 = 0;
const WRITE: u16 = 1;
const OK: u32 = 0;
const FAILED: u32 = u32::MAX;
const UNSUPPORTED: u32 = u32::MAX - 1;
/// A location of the laptop that holds 1.
const LOCATION: u32 = 0x15;

/// A call: class, select, inputs.
type Request = (u16, u16, [u32; 4]);

fn read() -> Request {
    (READ, 0, [LOCATION, 0, 0, 0])
}

fn write(value: u32) -> Request {
    (WRITE, 0, [LOCATION, value, 0, 0])
}

fn own(call: Call, inputs: [u32; 4]) -> Request {
    (vendor::CLASS, call.select(), inputs)
}

fn peek() -> Request {
    own(Call::Peek, [LOCATION, 0, 0, 0])
}

fn fault(spec: &str) -> Request {
    own(Call::FaultAdd, spec.parse::<Fault>().unwrap().words())
}

/// Runs calls in a row on a fresh firmware; gives back the bytes of each reply.
fn replies(requests: &[Request]) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("laptop/latitude-5450.toml");
    let table = Table::new(Description::read(&path).unwrap()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ssdt.asl"), ssdt::source(&table, &[]).unwrap()).unwrap();
    ssdt::compile(directory.path(), "ssdt").unwrap();
    let mut script = String::new();
    for (class, select, inputs) in requests {
        let head = [*class, *select].into_iter().flat_map(u16::to_le_bytes);
        let bytes = head.chain(inputs.iter().copied().flat_map(u32::to_le_bytes)).chain([0; 16]);
        let words: Vec<_> = bytes.map(|byte| format!("{byte:02X}")).collect();
        script.push_str(&format!("execute \\_SB.DSFW.WMBB 0 1 ({})\n", words.join(" ")));
    }
    script.push_str("quit\n");
    let mut child = Command::new("acpiexec")
        .arg("ssdt.aml")
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("acpiexec, of the package acpica-tools");
    let mut stdin = child.stdin.take().unwrap();
    // Apart, because either pipe may fill.
    let feeder = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let replies: Vec<_> = text.split("[Buffer] Length").skip(1).map(reply).collect();
    assert_eq!(replies.len(), requests.len(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    replies
}

/// The bytes of one reply, as the interpreter prints them: a length, then lines `OFFSET: BYTES // TEXT`.
fn reply(text: &str) -> Vec<u8> {
    let (length, rest) = text.split_once('=').unwrap();
    let length = usize::from_str_radix(length.trim(), 16).unwrap();
    let lines = rest.lines().filter_map(|line| line.split_once("//"));
    let bytes: Vec<u8> = lines
        .flat_map(|(line, _)| {
            line.split_once(':').map(|(_, bytes)| bytes).unwrap_or_default().split_whitespace()
        })
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    assert_eq!(bytes.len(), length, "{text}");
    bytes
}

/// The outputs of whole replies.
fn outputs(requests: &[Request]) -> Vec<[u32; 4]> {
    replies(requests).iter().map(|bytes| words(bytes)).collect()
}

fn words(bytes: &[u8]) -> [u32; 4] {
    assert_eq!(bytes.len(), 36, "a whole reply");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    [word(20), word(24), word(28), word(32)]
}

fn statuses(requests: &[Request]) -> Vec<u32> {
    outputs(requests).iter().map(|outputs| outputs[0]).collect()
}

#[test]
fn with_a_password_writes_are_refused_and_reads_go_on() {
    let question = (password::CLASS, password::PROPERTIES, [0; 4]);
    let older = (password::CLASS, password::INSTALLED, [1, 0, 0, 0]);
    let given = outputs(&[
        question,
        older,
        write(7),
        own(Call::Password, [1, 0, 0, 0]),
        question,
        older,
        write(8),
        // A key that nobody was given opens nothing, and the other selects are closed too.
        (WRITE, 0, [LOCATION, 8, 0x1234, 0]),
        (WRITE, 1, [LOCATION, 8, 0, 0]),
        (WRITE, 2, [LOCATION, 8, 0, 0]),
        read(),
        own(Call::Peek, [LOCATION, 1, 0, 0]),
        own(Call::Peek, [LOCATION, 2, 0, 0]),
        (password::CLASS, 4, [0; 4]),
        own(Call::Password, [2, 0, 0, 0]),
        own(Call::Password, [0; 4]),
        question,
        write(9),
        read(),
    ]);
    let expected = [
        [OK, 0x0104_2001, 0, 0],
        [1, 0, 0, 0],
        [OK, 0, 0, 0],
        [OK, 0, 0, 0],
        [OK, 0x0104_2000, 0, 0],
        [0, 0, 0, 0],
        [FAILED, 0, 0, 0],
        [FAILED, 0, 0, 0],
        [FAILED, 0, 0, 0],
        [FAILED, 0, 0, 0],
        [OK, 7, 0, 0],
        [OK, 1, 0, 0],
        [OK, 1, 0, 0],
        [UNSUPPORTED, 0, 0, 0],
        [FAILED, 0, 0, 0],
        [OK, 0, 0, 0],
        [OK, 0x0104_2001, 0, 0],
        [OK, 0, 0, 0],
        [OK, 9, 0, 0],
    ];
    assert_eq!(given, expected);
    assert_eq!((password::is_set(given[0]), password::is_set(given[4])), (Some(false), Some(true)));
    assert_eq!(password::is_set(given[13]), None);
}

/// Reads and writes by turns, `calls` of them, with a fault before.
fn with_fault(spec: &str, calls: u32) -> Vec<Request> {
    let turns = (0..calls).map(|call| if call % 2 == 0 { read() } else { write(call) });
    [fault(spec)].into_iter().chain(turns).collect()
}

#[test]
fn a_fault_hits_the_call_that_it_names_and_no_other() {
    for skip in [0u32, 1, 100, 200] {
        let given = statuses(&with_fault(&format!("error,on=any,skip={skip},count=1"), 204));
        let hit: Vec<_> = given.iter().skip(1).enumerate().filter(|(_, status)| **status != OK).collect();
        assert_eq!(hit, [(skip as usize, &FAILED)], "skip={skip}");
    }
}

#[test]
fn each_kind_does_what_it_says_at_a_later_call() {
    // Calls 0, 2, 4 read, 1, 3, 5 write their number; 3 is hit.
    let check = |spec: &str, status: u32, stays: u32| {
        let mut requests = with_fault(&format!("{spec},count=1"), 4);
        requests.push(peek());
        let given = outputs(&requests);
        assert_eq!(given[4][0], status, "{spec}");
        assert_eq!(given[5][1], stays, "{spec}: what is stored");
        assert!(given[1..4].iter().all(|outputs| outputs[0] == OK), "{spec}: {given:?}");
    };
    check("error,skip=3", FAILED, 1);
    check("unsupported,skip=3", UNSUPPORTED, 1);
    check("garbage,skip=3", 0x5A5A_5A5A, 1);
    check("garbage,value=77,skip=3", 77, 1);
    check("write-ignored,on=write,skip=1", OK, 1);
    check("late-error,skip=3", FAILED, 3);
    check("slow,value=1,skip=3", OK, 3);
}

#[test]
fn faults_for_one_class_count_that_class_alone() {
    let requests = with_fault("error,on=write,skip=2,count=2", 12);
    let hit: Vec<_> = statuses(&requests)[1..].iter().map(|status| *status == FAILED).collect();
    // Writes are the calls 1, 3, 5, 7, 9, 11.
    assert_eq!(hit, (0..12).map(|call| call == 5 || call == 7).collect::<Vec<_>>());
}

#[test]
fn a_short_reply_has_the_bytes_that_are_asked_for_and_the_call_is_done() {
    for bytes in [0usize, 1, 19, 20, 24, 28, 35] {
        let spec = format!("short,on=write,value={bytes},count=1");
        let given = replies(&[fault(&spec), write(77), peek()]);
        assert_eq!(given[1].len(), bytes, "{spec}");
        // Class 1, select 0, location, value, no key; status 0.
        let whole = [&[1, 0, 0, 0, 0x15, 0, 0, 0, 77], &[0; 27][..]].concat();
        assert_eq!(given[1], whole[..bytes], "{spec}");
        assert_eq!(words(&given[2])[1], 77, "{spec}");
    }
}

#[test]
fn a_slow_call_of_two_seconds_takes_them_and_is_done() {
    // The interpreter itself sleeps at its end; so the time is compared with that of the same call without a fault.
    let time = |requests: &[Request]| {
        let began = Instant::now();
        let given = outputs(requests);
        assert_eq!(given.last().unwrap()[..2], [OK, 5]);
        began.elapsed()
    };
    let quick = time(&[fault("slow,value=1,count=1"), write(5), read()]);
    let slow = time(&[fault("slow,value=2000,count=1"), write(5), read()]);
    let more = slow.saturating_sub(quick);
    assert!(more > Duration::from_millis(1700), "{quick:?}, then {slow:?}");
}
