//! The drop: from root to a user of the daemon's own, with one capability left.

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

/// What is left: a checkpoint reads files of every owner. Writing them is the restore helper's.
const KEPT: [Capability; 1] = [Capability::CAP_DAC_READ_SEARCH];

/// Becomes the user for good: groups, ids, capabilities, bounding set, and no new privileges through exec.
///
/// Threads that exist already lose all capabilities with the change of user; those that start later inherit ours.
pub fn drop_to(user: &User) -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        // A developer's own daemon has nothing to drop.
        return Ok(());
    }
    let kept: CapsHashSet = KEPT.into_iter().collect();
    for capability in caps::all().difference(&kept) {
        // The kernel may know fewer than the library.
        if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false) {
            caps::drop(None, CapSet::Bounding, *capability)
                .with_context(|| format!("dropping {capability} from the bounding set"))?;
        }
    }
    prctl::set_keepcaps(true).context("keeping capabilities over the change of user")?;
    become_user(user.uid, user.gid)?;
    caps::set(None, CapSet::Permitted, &kept).context("dropping capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("taking the kept capability into effect")?;
    prctl::set_keepcaps(false).context("ending the keeping of capabilities")?;
    prctl::set_no_new_privs().context("giving up new privileges")?;
    anyhow::ensure!(
        setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_err(),
        "root could be had again"
    );
    Ok(())
}

fn become_user(uid: Uid, gid: Gid) -> anyhow::Result<()> {
    setgroups(&[gid]).context("leaving root's groups")?;
    setresgid(gid, gid, gid).context("changing the group")?;
    setresuid(uid, uid, uid).context("changing the user")
}

/// The capabilities in effect, for people.
pub fn held() -> Vec<String> {
    let mut held: Vec<_> = caps::read(None, CapSet::Effective)
        .map(|set| set.iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    held.sort();
    held
}
