//! What is refused before the seal, and the seal.

use std::fs::File;
use std::time::Duration;

use device::Error;
use nix::errno::Errno;

use crate::bench::{Bench, same};
use crate::memory::Page;
use crate::process::open_without_capabilities;
use crate::raw::{BAD_ADDRESS, allow_of, commit_of, dirty, raw_at, refuses, stage_of};
use crate::uapi::*;

/// While nothing is sealed, and whether or not anything is.
pub(crate) fn before(bench: &mut Bench) {
    bench.check("write-unsealed-refused", |b| {
        let (change, old) = b.flip(b.token()?)?;
        same(b.device.write(&[change], Duration::ZERO).err(), Some(Error::NotSealed))?;
        same(b.value(change.id)?, old)
    });
    bench.check("begin-reserved-einval", |b| {
        let (file, good) = (b.open()?, dsmil_begin::default());
        refuses(&file, DSMIL_IOC_BEGIN, dsmil_begin { flags: 2, ..good }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_BEGIN, dsmil_begin { transaction: 1, ..good }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_BEGIN, dsmil_begin { failure: dirty(), ..good }, Errno::EINVAL)
    });
    bench.check("stage-reserved-einval", |b| {
        let (file, entry) = (b.open()?, [dsmil_stage_entry { id: b.token()?.0, ..Default::default() }]);
        let good = stage_of(1, &entry);
        refuses(&file, DSMIL_IOC_STAGE, dsmil_stage { flags: 1, ..good }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_STAGE, dsmil_stage { staged: 1, ..good }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_STAGE, dsmil_stage { reserved: 1, ..good }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_STAGE, dsmil_stage { failure: dirty(), ..good }, Errno::EINVAL)
    });
    bench.check("stage-count-out-of-range", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_STAGE, stage_of(1, &[]), Errno::EINVAL)?;
        let many = vec![dsmil_stage_entry::default(); usize::try_from(DSMIL_STAGE_MAX)? + 1];
        refuses(&file, DSMIL_IOC_STAGE, stage_of(1, &many), Errno::E2BIG)
    });
    bench.check("stage-bad-array-efault", |b| {
        let stage = dsmil_stage { count: 1, entries: BAD_ADDRESS, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_STAGE, stage, Errno::EFAULT)
    });
    bench.check("commit-reserved-einval", |b| {
        let (file, good) = (b.open()?, commit_of(1));
        refuses(&file, DSMIL_IOC_COMMIT, dsmil_commit { flags: 1, ..good }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_COMMIT, dsmil_commit { undo: 1, ..good }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_COMMIT, dsmil_commit { reserved: 1, ..good }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_COMMIT, dsmil_commit { failure: dirty(), ..good }, Errno::EINVAL)
    });
    bench.check("read-only-file-ebadf", |b| {
        let file = File::open(&b.node)?;
        refuses(&file, DSMIL_IOC_BEGIN, dsmil_begin::default(), Errno::EBADF)?;
        refuses(&file, DSMIL_IOC_COMMIT, commit_of(1), Errno::EBADF)?;
        refuses(&file, DSMIL_IOC_ALLOW, dsmil_allow::default(), Errno::EBADF)
    });
    bench.check("opener-without-capability-eperm", |b| {
        // Our own capabilities count for nothing: what counts is who opened.
        let file = open_without_capabilities(&b.node)?;
        refuses(&file, DSMIL_IOC_ALLOW, dsmil_allow::default(), Errno::EPERM)?;
        refuses(&file, DSMIL_IOC_BEGIN, dsmil_begin::default(), Errno::EPERM)?;
        refuses(&file, DSMIL_IOC_COMMIT, commit_of(1), Errno::EPERM)
    });
}

/// The seal.
pub(crate) fn check(bench: &mut Bench) {
    bench.check("allow-reserved-einval", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_ALLOW, dsmil_allow { flags: 1, ..Default::default() }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_ALLOW, dsmil_allow { failure: dirty(), ..Default::default() }, Errno::EINVAL)
    });
    bench.check("allow-count-e2big", |b| {
        let allow = dsmil_allow { count: DSMIL_ALLOW_MAX + 1, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow, Errno::E2BIG)
    });
    bench.check("allow-bad-array-efault", |b| {
        let allow = dsmil_allow { count: 1, ids: BAD_ADDRESS, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow, Errno::EFAULT)
    });
    bench.check("allow-result-unwritable-efault-unsealed", |b| {
        let page = Page::read_only(dsmil_allow::default())?;
        same(raw_at(&b.open()?, DSMIL_IOC_ALLOW, page.address()), Err(Errno::EFAULT))?;
        same(b.device.info()?.sealed, false)
    });
    bench.check("allow-unknown-enoent", |b| {
        let absent = b.absent()?;
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow_of(&[absent.0]), Errno::ENOENT)?;
        same(b.device.allow(&[b.token()?, absent]), Err(Error::Unknown(absent)))
    });
    bench.check("allow-twice-the-same-einval", |b| {
        let id = b.token()?.0;
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow_of(&[id, id]), Errno::EINVAL)
    });
    bench.check("allow-never-written-refused", |b| {
        for token in b.tokens.iter().filter(|t| t.denied.is_some()) {
            let rule = token.denied.ok_or("not denied")?;
            let refused = Err(Error::NeverWritten { id: token.id, rule });
            same(b.device.allow(&[b.token()?, token.id]), refused)?;
        }
        same(b.device.info()?.sealed, false)
    });
    bench.check("allow-part-of-a-location-refused", |b| {
        let Some(shared) = b.tokens.iter().find(|t| t.shares_location && t.denied.is_none()) else {
            return Err("no free token shares a location on this machine".into());
        };
        match b.device.allow(&[shared.id]) {
            Err(Error::PartialLocation { missing }) if missing != shared.id => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    });
    bench.check("allow", |b| {
        // One shared location as a whole, besides the tokens on their own.
        let shared = b.tokens.iter().find(|t| t.shares_location && t.denied.is_none());
        let together = b.tokens.iter().filter(|t| shared.is_some_and(|s| s.location == t.location));
        let ids: Vec<_> = b.own.iter().copied().chain(together.map(|t| t.id)).collect();
        b.device.allow(&ids)?;
        let info = b.device.info()?;
        same((info.sealed, info.writable), (true, u32::try_from(ids.len())?))?;
        let writable = b.device.tokens()?.into_iter().filter(|t| t.writable).count();
        same(writable, ids.len())
    });
    bench.check("allow-second-time-eperm", |b| {
        refuses(&b.open()?, DSMIL_IOC_ALLOW, allow_of(&[b.token()?.0]), Errno::EPERM)?;
        same(b.device.allow(&[]), Err(Error::Sealed))
    });
}
