//! What is refused before the seal, and the seal.

use device::Error;
use nix::errno::Errno;

use crate::bench::{Bench, holds, same};
use crate::compat;
use crate::events::{listen, records};
use crate::raw::{allow_of, entry, raw, refused, whole};
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    refusals(bench);
    seal(bench);
}

fn refusals(bench: &mut Bench) {
    bench.check("begin-unsealed-eperm", |b| {
        let wanted = whole(Errno::EPERM, DSMIL_REASON_NOT_SEALED);
        let begin = refused(&b.open()?, DSMIL_IOC_BEGIN, dsmil_begin::default(), wanted)?;
        same((begin.transaction, b.info()?.transaction), (0, 0))
    });
    bench.check("allow-unknown-enoent", |b| {
        let (file, good, absent) = (b.open()?, b.token()?.0, b.absent()?);
        for (index, ids) in [(0, vec![absent.0]), (1, vec![good, absent.0])] {
            let wanted = entry(Errno::ENOENT, DSMIL_REASON_UNKNOWN, index, absent);
            refused(&file, DSMIL_IOC_ALLOW, allow_of(&ids), wanted)?;
        }
        Ok(())
    });
    bench.check("allow-twice-the-same-einval", |b| {
        let (id, second) = (b.token()?, b.second()?.0);
        let wanted = entry(Errno::EINVAL, DSMIL_REASON_DUPLICATE, 2, id);
        refused(&b.open()?, DSMIL_IOC_ALLOW, allow_of(&[id.0, second, id.0]), wanted).map(|_| ())
    });
    bench.check("allow-never-written-eperm", |b| {
        let mut rules = Vec::new();
        let file = b.open()?;
        for token in b.tokens.iter().filter(|t| t.denied.is_some()) {
            let ids = [b.token()?.0, token.id.0];
            let mut allow = allow_of(&ids);
            same(raw(&file, DSMIL_IOC_ALLOW, &mut allow), Err(Errno::EPERM))?;
            let rule = allow.failure.rule;
            let wanted = entry(Errno::EPERM, DSMIL_REASON_NEVER_WRITTEN, 1, token.id);
            same(allow.failure, dsmil_failure { rule, ..wanted })?;
            let told = Err(Error::NeverWritten { id: token.id, rule: token.denied.ok_or("not denied")? });
            same(b.device.allow(&[token.id]), told)?;
            rules.push(rule);
        }
        rules.sort_unstable();
        rules.dedup();
        // The laptop has tokens of each rule.
        same(rules, vec![1, 2, 3, 4, 5])
    });
    bench.check("allow-part-of-a-location-einval", |b| {
        let shared = b.shared()?;
        let (one, rest) = shared.split_first().ok_or("no shared location")?;
        let ids = [b.token()?.0, one.id.0];
        let mut allow = allow_of(&ids);
        same(raw(&b.open()?, DSMIL_IOC_ALLOW, &mut allow), Err(Errno::EINVAL))?;
        let missing = types::token::TokenId(allow.failure.id);
        holds(rest.iter().any(|t| t.id == missing), format!("{missing} is not missing"))?;
        same(allow.failure, entry(Errno::EINVAL, DSMIL_REASON_PARTIAL_LOCATION, 1, missing))
    });
    bench.check("nothing-is-sealed-yet", |b| {
        let info = b.info()?;
        same((info.flags & DSMIL_INFO_SEALED, info.writable), (0, 0))?;
        holds(b.device.tokens()?.iter().all(|t| !t.writable), "a token is writable")
    });
}

fn seal(bench: &mut Bench) {
    bench.check("allow", |b| {
        // One shared location as a whole, besides the tokens on their own.
        let ids: Vec<_> = b.own.iter().copied().chain(b.shared()?.iter().map(|t| t.id)).collect();
        let (events, listener) = (b.info()?.events, listen(b)?);
        compat::sealed(b, &ids.iter().map(|id| id.0).collect::<Vec<_>>())?;
        let info = b.info()?;
        same(
            (info.flags & DSMIL_INFO_SEALED, info.writable),
            (DSMIL_INFO_SEALED, u32::try_from(ids.len())?),
        )?;
        let sealed = dsmil_event {
            number: events + 1,
            kind: DSMIL_EVENT_SEALED,
            detail: u32::try_from(ids.len())?,
            command: DSMIL_IOC_ALLOW,
            pid: std::process::id(),
            ..Default::default()
        };
        let told = records(&listener, 4)?;
        same(told.iter().map(|e| dsmil_event { time_ns: 0, ..*e }).collect(), vec![sealed])?;
        let mut writable: Vec<_> =
            b.device.tokens()?.into_iter().filter(|t| t.writable).map(|t| t.id).collect();
        let mut wanted = ids;
        writable.sort_unstable();
        wanted.sort_unstable();
        same(writable, wanted)
    });
    bench.check("allow-second-time-eperm", |b| {
        let (file, wanted) = (b.open()?, whole(Errno::EPERM, DSMIL_REASON_SEALED));
        let before = b.info()?.writable;
        refused(&file, DSMIL_IOC_ALLOW, allow_of(&[b.token()?.0]), wanted)?;
        refused(&file, DSMIL_IOC_ALLOW, allow_of(&[b.other()?.0]), wanted)?;
        refused(&file, DSMIL_IOC_ALLOW, allow_of(&[]), wanted)?;
        same(b.info()?.writable, before)
    });
}
