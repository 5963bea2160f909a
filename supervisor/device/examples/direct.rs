//! A privileged tool without the daemon: talks to the kernel device directly.
//!
//! ```text
//! direct [--device PATH] list             every DSMIL device of the firmware's table
//! direct [--device PATH] read ID…         the present values
//! direct [--device PATH] write ID VALUE   writes, shows, and brings the old value back
//! ```

use std::process::ExitCode;
use std::time::Duration;

use device::{Device, Error};
use types::token::{Change, Select, TokenId};

const USAGE: &str = "usage: direct [--device PATH] list | read ID… | write ID VALUE";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mut path = "/dev/dsmil".to_owned();
    if words.first().is_some_and(|word| word == "--device") && words.len() > 2 {
        path = words.remove(1);
        words.remove(0);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["list"] => Device::open(&path).and_then(|device| list(&device)),
        ["read", ids @ ..] if !ids.is_empty() => match parse(ids) {
            Some(ids) => Device::open(&path).map(|device| read(&device, &ids)),
            None => return usage(),
        },
        ["write", id, value] => match (id.parse(), value.parse()) {
            (Ok(id), Ok(value)) => Device::open(&path).and_then(|device| write(&device, id, value)),
            _ => return usage(),
        },
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refused: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn parse(ids: &[&str]) -> Option<Vec<(TokenId, Select)>> {
    ids.iter().map(|id| id.parse().ok().map(|id| (id, Select::Current))).collect()
}

fn list(device: &Device) -> Result<(), Error> {
    let tokens = device.tokens()?;
    let devices = tokens.iter().filter_map(|token| token.id.device().map(|position| (token, position)));
    for (token, position) in devices {
        let access = match (token.denied, token.writable) {
            (Some(rule), _) => format!("never written: {rule}"),
            (None, true) => "writable".to_owned(),
            (None, false) => "read-only".to_owned(),
        };
        println!("{} device {position:<5} location 0x{:04X}  {access}", token.id, token.location);
    }
    Ok(())
}

fn read(device: &Device, ids: &[(TokenId, Select)]) {
    for ((id, _), answer) in ids.iter().zip(device.read(ids)) {
        match answer {
            Ok(reading) => println!("{id} {}", reading.value),
            Err(error) => println!("{id} {error}"),
        }
    }
}

fn write(device: &Device, id: TokenId, value: u32) -> Result<(), Error> {
    let change = Change { id, select: Select::Current, value, expected: None };
    let pending = device.write(&[change], Duration::ZERO)?;
    println!("{id} holds {value}; nobody confirms it, so it goes back");
    drop(pending);
    read(device, &[(id, Select::Current)]);
    Ok(())
}
