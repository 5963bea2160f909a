//! Information, the list, values.

use std::collections::BTreeMap;

use device::{Error, State};
use nix::errno::Errno;
use types::token::{Select, Token, TokenId};

use crate::bench::{Bench, same};
use crate::raw::{address, raw};
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    table(bench);
    values(bench);
}

fn table(bench: &mut Bench) {
    bench.check("info", |b| {
        let info = b.device.info()?;
        same(info.tokens, u32::try_from(b.tokens.len())?)?;
        same(info.sealed, false)?;
        same(info.state, State::Idle)?;
        println!("   {info:?}");
        Ok(())
    });
    bench.check("list-84-devices", |b| {
        let devices = b.tokens.iter().filter(|t| t.id.device().is_some()).count();
        same(u32::try_from(devices)?, b.device.info()?.devices)?;
        same(devices, 84)
    });
    bench.check("list-in-small-steps", |b| {
        let (file, mut ids, mut cursor) = (b.open()?, Vec::new(), 0);
        loop {
            let room = [dsmil_token::default(); 5];
            let mut list = dsmil_list { cursor, count: 5, tokens: address(&room), ..Default::default() };
            raw(&file, DSMIL_IOC_LIST, &mut list)?;
            ids.extend(room.iter().take(usize::try_from(list.count)?).map(|t| TokenId(t.id)));
            if list.count == 0 {
                break;
            }
            cursor = list.cursor;
        }
        same(ids, b.tokens.iter().map(|t| t.id).collect())
    });
    bench.check("list-shared-locations", |b| {
        let mut locations: BTreeMap<u16, Vec<&Token>> = BTreeMap::new();
        for token in &b.tokens {
            locations.entry(token.location).or_default().push(token);
        }
        for tokens in locations.values() {
            let denied = tokens.iter().any(|t| t.denied.is_some());
            for token in tokens {
                same((token.id, token.shares_location), (token.id, tokens.len() > 1))?;
                same((token.id, token.denied.is_some()), (token.id, denied))?;
            }
        }
        Ok(())
    });
}

fn values(bench: &mut Bench) {
    bench.check("read-all", |b| {
        let wanted: Vec<_> = b.tokens.iter().map(|t| (t.id, Select::Current)).collect();
        for answer in b.device.read(&wanted) {
            match answer {
                Ok(_) | Err(Error::NotReadable(_)) => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(())
    });
    bench.check("read-every-select", |b| {
        let id = b.token()?;
        let answers = b.device.read(&[(id, Select::Current), (id, Select::Ac), (id, Select::Battery)]);
        answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    });
    bench.check("read-unknown-enoent", |b| {
        let (absent, own) = (b.absent()?, b.token()?);
        let answers = b.device.read(&[(absent, Select::Current), (own, Select::Current)]);
        same(answers.first(), Some(&Err(Error::Unknown(absent))))?;
        same(answers.get(1).map(Result::is_ok), Some(true))
    });
    bench.check("read-entry-form-einval", |b| {
        let good = dsmil_read_entry { id: b.token()?.0, ..Default::default() };
        let mut entries = [
            dsmil_read_entry { select: 3, ..good },
            dsmil_read_entry { reserved: 1, ..good },
            dsmil_read_entry { value: 1, ..good },
            dsmil_read_entry { status: 1, ..good },
            good,
        ];
        let array = entries.as_mut_ptr().expose_provenance().try_into()?;
        let mut read = dsmil_read { count: 5, entries: array, ..Default::default() };
        raw(&b.open()?, DSMIL_IOC_READ, &mut read)?;
        let einval = i32::from(Errno::EINVAL as u16);
        same(entries.map(|e| e.error), [einval, einval, einval, einval, 0])?;
        same(read.failed, 4)
    });
}
