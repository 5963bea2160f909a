//! Compares what the kernel module finds in the firmware's table with what the table comes to, in the virtual laptop.
//!
//! ```text
//! laptop-tables refused   prints the error with which the module must refuse to load, or nothing
//! laptop-tables check     compares the loaded module's list with the table, and reads every token
//! ```

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ::tests::machine::expected::{Expected, Token};
use anyhow::{Context as _, bail, ensure};
use device::{Backend, Device, Error, Flags, Invalid};
use types::token::{self, Change, Select, TokenId};

const EXPECTED: &str = "/usr/lib/laptop/expected.json";
const NODE: &str = "/dev/dsmil";
/// What the firmware answers for a location that it does not have.
const STATUS_FAILED: i32 = -1;
/// What a transaction takes at most: `DSMIL_TRANSACTION_MAX`.
const TRANSACTION_MAX: usize = 512;

fn main() -> ExitCode {
    match run() {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAIL {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let expected = Expected::read(Path::new(EXPECTED))?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["refused"] => Ok(expected.refused.unwrap_or_default()),
        ["check"] => check(&expected),
        _ => bail!("usage: laptop-tables refused|check"),
    }
}

fn check(expected: &Expected) -> anyhow::Result<String> {
    let device = Device::open(NODE)?;
    let info = device.info()?;
    ensure!(info.backend == Backend::Wmi, "the back end is {:?}, so no answer counts", info.backend);
    let wanted: BTreeMap<u16, &Token> = expected.tokens.iter().map(|token| (token.id, token)).collect();
    let listed = device.tokens()?;
    ensure!(
        listed.windows(2).all(|pair| matches!(pair, [a, b] if a.id < b.id)),
        "the list is not ascending: an id is there twice or out of order"
    );
    compare(&wanted, &listed)?;
    let devices = wanted.values().filter(|token| token.device.is_some()).count();
    let counted = (usize::try_from(info.tokens)?, usize::try_from(info.devices)?);
    ensure!(counted == (wanted.len(), devices), "it counts {counted:?}, not {:?}", (wanted.len(), devices));
    let failing = read(&device, &wanted)?;
    unknown(&device, &wanted)?;
    let room = full(&device, &listed, &wanted)?;
    let denied = wanted.values().filter(|token| token.denied.is_some()).count();
    let shared = wanted.values().filter(|token| token.shares_location).count();
    Ok(format!(
        "{} tokens, {denied} denied, {shared} share a location, {failing} have no storage; all read{room}",
        wanted.len()
    ))
}

/// The list is the table: the same ids, and of each the same location, value, sharing and denial.
fn compare(wanted: &BTreeMap<u16, &Token>, listed: &[token::Token]) -> anyhow::Result<()> {
    let ids: BTreeSet<u16> = listed.iter().map(|token| token.id.0).collect();
    let missing: Vec<_> =
        wanted.keys().filter(|id| !ids.contains(id)).map(|id| TokenId(*id).to_string()).collect();
    ensure!(missing.is_empty(), "not in the list: {}", missing.join(", "));
    for token in listed {
        let id = token.id;
        let Some(wanted) = wanted.get(&id.0) else { bail!("{id} is in the list and not in the table") };
        let denied = token.denied.map(|denied| denied.to_string());
        let says =
            (token.location, token.table_value, token.shares_location, denied.as_deref(), token.writable);
        let means = (wanted.location, wanted.value, wanted.shares_location, wanted.denied.as_deref(), false);
        ensure!(says == means, "{id}: location, value, shared, denied, writable are {says:?}, not {means:?}");
    }
    Ok(())
}

/// Every token in every select has its value, or fails as it must. Gives back how many have no storage.
fn read(device: &Device, wanted: &BTreeMap<u16, &Token>) -> anyhow::Result<usize> {
    let mut failing = 0;
    for token in wanted.values() {
        let id = TokenId(token.id);
        let selects =
            [(Select::Current, token.current), (Select::Battery, token.battery), (Select::Ac, token.ac)];
        let answers = device.read(&selects.map(|(select, _)| (id, select)));
        ensure!(answers.len() == selects.len(), "{id}: {} answers", answers.len());
        for (answer, (select, value)) in answers.into_iter().zip(selects) {
            let is_right = match &answer {
                Err(Error::NotReadable(_)) => !token.readable,
                Err(Error::Firmware { status, .. }) => {
                    token.readable && !token.stored && *status == STATUS_FAILED
                }
                Ok(reading) => token.readable && token.stored && reading.value == value,
                Err(_) => false,
            };
            ensure!(is_right, "{id} ({select}) of value {value}, stored {}: {answer:?}", token.stored);
        }
        failing += usize::from(!token.stored);
    }
    Ok(failing)
}

/// A table with more locations than a transaction takes: it fills up, says so, and changes nothing.
fn full(
    device: &Device,
    listed: &[token::Token],
    wanted: &BTreeMap<u16, &Token>,
) -> anyhow::Result<&'static str> {
    let is_plain = |token: &&token::Token| token.denied.is_none() && !token.shares_location;
    let stored =
        |token: &&token::Token| wanted.get(&token.id.0).is_some_and(|token| token.stored && token.readable);
    let ids: Vec<TokenId> = listed.iter().filter(is_plain).filter(stored).map(|token| token.id).collect();
    let change = |(id, select)| Change { id, select, value: 1, expected: None };
    let selects = [Select::Current, Select::Ac, Select::Battery];
    let all = selects.into_iter().flat_map(|select| ids.iter().map(move |id| (*id, select)));
    let changes: Vec<Change> = all.map(change).take(TRANSACTION_MAX + 1).collect();
    let Some((last, most)) = changes.split_last().filter(|(_, most)| most.len() == TRANSACTION_MAX) else {
        return Ok("");
    };
    device.allow(&ids)?;
    let mut transaction = device.begin(Duration::ZERO, Flags::default())?;
    transaction.stage(most)?;
    match transaction.stage(std::slice::from_ref(last)) {
        Err(Error::Invalid { what: Invalid::Full, .. }) => {}
        other => bail!("entry {} of a transaction: {other:?}", TRANSACTION_MAX + 1),
    }
    drop(transaction);
    ensure!(device.info()?.state == device::State::Idle, "the transaction is still there");
    let few = wanted.iter().filter(|(id, _)| ids.contains(&TokenId(**id))).take(16);
    read(device, &few.map(|(id, token)| (*id, *token)).collect())?;
    Ok("; a transaction was filled up")
}

/// No other id has a token: not even behind the list.
fn unknown(device: &Device, wanted: &BTreeMap<u16, &Token>) -> anyhow::Result<()> {
    let others: Vec<_> = (0..=u16::MAX).filter(|id| !wanted.contains_key(id)).collect();
    let asked: Vec<_> = others.iter().map(|id| (TokenId(*id), Select::Current)).collect();
    for (id, answer) in others.iter().zip(device.read(&asked)) {
        let id = TokenId(*id);
        match answer {
            Err(Error::Unknown(_)) => {}
            Ok(reading) => bail!("{id} is in no list and reads as {}", reading.value),
            Err(error) => return Err(error).with_context(|| format!("{id} is not unknown")),
        }
    }
    Ok(())
}
