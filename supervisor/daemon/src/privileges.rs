//! The drop: from root to a user of the daemon's own, with two capabilities left.

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

/// What is left: a checkpoint reads files of every owner, and asks of each whether somebody is writing it (`store::writers`). Writing
/// them is the restore helper's.
const KEPT: [Capability; 2] = [Capability::CAP_DAC_READ_SEARCH, Capability::CAP_LEASE];

/// Limits what this process can ever gain again, through exec as well: bounding set, inheritable set, root's groups.
///
/// All this is kept by thread and inherited, so it is done before the first thread starts; what is held now stays.
pub fn limit() -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        // A developer's own daemon has nothing to give up.
        return Ok(());
    }
    bound(&KEPT)?;
    setgroups(&[]).context("leaving root's groups")?;
    prctl::set_no_new_privs().context("giving up new privileges")
}

/// Takes all capabilities but these out of what exec could give, to this thread and those that it starts.
pub fn bound(kept: &[Capability]) -> anyhow::Result<()> {
    let kept: CapsHashSet = kept.iter().copied().collect();
    for capability in caps::all().difference(&kept) {
        // The kernel may know fewer than the library.
        if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false) {
            caps::drop(None, CapSet::Bounding, *capability)
                .with_context(|| format!("dropping {capability} from the bounding set"))?;
        }
    }
    caps::clear(None, CapSet::Inheritable).context("dropping inheritable capabilities")
}

/// Becomes the user for good, with two capabilities left.
///
/// Threads that exist already lose all capabilities with the change of user; those that start later inherit ours.
pub fn drop_to(user: &User) -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let kept: CapsHashSet = KEPT.into_iter().collect();
    prctl::set_keepcaps(true).context("keeping capabilities over the change of user")?;
    become_user(user.uid, user.gid)?;
    caps::set(None, CapSet::Permitted, &kept).context("dropping capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("taking the kept capabilities into effect")?;
    prctl::set_keepcaps(false).context("ending the keeping of capabilities")?;
    anyhow::ensure!(
        setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_err(),
        "root could be had again"
    );
    Ok(())
}

fn become_user(uid: Uid, gid: Gid) -> anyhow::Result<()> {
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
