use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use super::*;

fn raw() -> dsmil_event {
    dsmil_event { number: 9, time_ns: 5, kind: uapi::DSMIL_EVENT_BEGUN, ..Default::default() }
}

#[test]
fn records_say_who_and_when() {
    let event =
        dsmil_event { transaction: 3, pid: 7, uid: 8, command: uapi::DSMIL_IOC_BEGIN, lost: 2, ..raw() };
    let record = Record {
        number: 9,
        time_ns: 5,
        lost: 2,
        transaction: Some(3),
        who: Some(Who { pid: 7, uid: 8 }),
        command: Some(Command::Begin),
        event: Event::Begun,
    };
    assert_eq!(Record::from(&event), record);
    let nobody = Record { lost: 0, transaction: None, who: None, command: None, ..record };
    assert_eq!(Record::from(&raw()), nobody);
}

#[test]
fn kinds_take_what_is_theirs() {
    let about = dsmil_event { id: 0x8000, select: 2, old: 4, new_value: 5, ..raw() };
    let (id, select) = (TokenId(0x8000), Select::Ac);
    let kind = |kind, detail| what(&dsmil_event { kind, detail, ..about });
    let token = |cause| Event::Token { id, select, old: 4, new: 5, cause };
    assert_eq!(kind(uapi::DSMIL_EVENT_TOKEN, 3), token(Cause::Elsewhere));
    assert_eq!(kind(uapi::DSMIL_EVENT_TOKEN, 77), token(Cause::Other(77)));
    assert_eq!(kind(uapi::DSMIL_EVENT_LEFT, 0), Event::Left { id, select, old: 4 });
    assert_eq!(kind(uapi::DSMIL_EVENT_SEALED, 6), Event::Sealed { ids: 6 });
    assert_eq!(kind(uapi::DSMIL_EVENT_COMMITTED, 6), Event::Committed { entries: 6 });
    assert_eq!(kind(uapi::DSMIL_EVENT_ENDED, 7), Event::Ended { outcome: Outcome::Suspended });
    assert_eq!(kind(uapi::DSMIL_EVENT_RETRYING, 6), Event::Retrying { attempts: 6 });
    let failed = dsmil_event { kind: uapi::DSMIL_EVENT_FIRMWARE, error: 5, status: -2, ..about };
    assert_eq!(what(&failed), Event::Firmware { id, select, error: Errno::EIO, status: -2 });
    let refused = dsmil_event { kind: uapi::DSMIL_EVENT_REFUSED, reason: 17, error: 16, id: 0, ..about };
    let busy = Event::Refused { reason: Reason(uapi::DSMIL_REASON_BUSY), error: Errno::EBUSY, id: None };
    assert_eq!(what(&refused), busy);
    let cold =
        dsmil_event { kind: uapi::DSMIL_EVENT_HEAT, detail: 1, new_value: (-5_i32).cast_unsigned(), ..raw() };
    let normal = Event::Heat { heat: Heat::Normal, temperature: Some(MilliCelsius(-5)) };
    assert_eq!(what(&cold), normal);
    let unknown = Event::Heat { heat: Heat::Unknown, temperature: None };
    assert_eq!(what(&dsmil_event { detail: 0, ..cold }), unknown);
}

#[test]
fn newer_kinds_and_selects_are_not_taken_for_known_ones() {
    let newer = dsmil_event { kind: 99, detail: 1, ..raw() };
    assert_eq!(what(&newer), Event::Other { kind: 99, detail: 1 });
    let select = dsmil_event { kind: uapi::DSMIL_EVENT_LEFT, select: 3, ..raw() };
    assert_eq!(what(&select), Event::Other { kind: uapi::DSMIL_EVENT_LEFT, detail: 0 });
    assert_eq!(Reason(uapi::DSMIL_REASON_RATE).to_string(), "rate");
    assert_eq!(Reason(1000).to_string(), "reason 1000");
}

/// A pipe gives whole records as the node does.
fn piped() -> (Events, std::fs::File) {
    let (read, write) = nix::unistd::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    (Events::open(path).unwrap(), std::fs::File::from(write))
}

fn bytes(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<dsmil_event>()];
    bytes[..8].copy_from_slice(&number.to_ne_bytes());
    bytes
}

#[test]
fn batches_do_not_wait_and_waiting_ends_with_the_first() {
    let (mut events, mut writer) = piped();
    let mut records = Vec::new();
    assert_eq!(events.try_read(&mut records), Ok(0));
    for number in 1..=70 {
        writer.write_all(&bytes(number)).unwrap();
    }
    assert_eq!(events.next().map(|record| record.unwrap().number), Some(1));
    assert_eq!(events.read(&mut records), Ok(64));
    assert_eq!(events.try_read(&mut records), Ok(5));
    let numbers: Vec<_> = records.iter().map(|record| record.number).collect();
    assert_eq!(numbers, (2..=70).collect::<Vec<_>>());

    let pause = Duration::from_millis(50);
    let later = std::thread::spawn(move || {
        std::thread::sleep(pause);
        writer.write_all(&bytes(71)).unwrap();
        writer
    });
    let start = Instant::now();
    assert_eq!(events.read(&mut records), Ok(1));
    assert!(start.elapsed() >= pause / 2);
    assert_eq!(records.last().map(|record| record.number), Some(71));
    drop(later.join().unwrap());
    // No node of the module ends. One that does must not be asked for ever.
    assert_eq!(events.read(&mut records), Err(Error::System { call: "events", source: Errno::ENODATA }));
}
