//! Writes one token by hand: `change TOKEN VALUE confirm|undo|wait`, as root.
//!
//! Seals a list with that token alone if nothing is sealed yet. `wait` neither confirms nor undoes, but looks on
//! for as long as the module has something pending, with a deadline of a second.

use std::env;
use std::error::Error as StdError;
use std::thread::sleep;
use std::time::Duration;

use device::{Device, State};
use types::token::{Change, Select, TokenId};

fn main() -> Result<(), Box<dyn StdError>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [token, value, end] = arguments.as_slice() else {
        return Err("usage: change TOKEN VALUE confirm|undo|wait".into());
    };
    let id: TokenId = token.parse()?;
    let device = Device::open("/dev/dsmil")?;
    if !device.info()?.sealed {
        device.allow(&[id])?;
    }
    let change = Change { id, select: Select::Current, value: value.parse()?, expected: None };
    let written = device.write(&[change], Duration::from_secs(1));
    let pending = match written {
        Ok(pending) => {
            println!("written, was {:?}", pending.old());
            Some(pending)
        }
        Err(why) => {
            println!("refused: {why}");
            None
        }
    };
    match (end.as_str(), pending) {
        ("confirm", Some(pending)) => println!("confirmed: {:?}", pending.confirm()),
        ("undo", Some(pending)) => println!("undone: {:?}", pending.undo()),
        ("wait", pending) => {
            while !matches!(device.info()?.state, State::Idle) {
                println!("{:?}", device.info()?.state);
                sleep(Duration::from_millis(500));
            }
            drop(pending);
        }
        _ => {}
    }
    let info = device.info()?;
    println!(
        "{:?} {:?}, {} left alone, holds {:?}",
        info.state,
        info.outcome,
        info.left,
        device.read(&[(id, change.select)])
    );
    Ok(())
}
