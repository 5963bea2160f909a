//! State and fact make effects: what is to happen in the world once the fact is durable.

use std::collections::BTreeMap;

use types::hash::Hash;

use crate::command::RequestId;
use crate::fact::{Fact, Grant, Outcome, Progress};
use crate::order::{Item, Order, Valued, VaultChange, Write};
use crate::retention::{self, Going};
use crate::scope::{FilePath, Held, Scope};
use crate::state::{State, Work};

/// One thing to do in the world. Whoever performs it redeems the grant first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effect {
    /// For which work.
    pub work: u64,
    /// For which request: what came beside it is kept under this name.
    pub request: RequestId,
    /// For which order: the permit is bound to it.
    pub order: Order,
    /// On what ground.
    pub grant: Grant,
    /// What.
    pub step: Step,
    /// It waited for a checkpoint, with which its work had begun.
    pub waited: bool,
    /// The checkpoints of which the log tells, where the step reads any: who reads one holds it against this.
    pub told: Option<Told>,
}

/// The manifests of the checkpoints of which the log tells, by number: SHA-256 each.
pub type Told = BTreeMap<u64, Hash>;

impl Effect {
    /// How it stands to the grant.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match self.step.standing() {
            // A first checkpoint may take longer than a grant lives.
            Standing::Beginning if self.waited => Standing::GoingOn,
            standing => standing,
        }
    }
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Read locations; single ones may fail.
    Read(Vec<Item>),
    /// Read what stands in the locations of a write; all must succeed.
    ReadBefore(Vec<Item>),
    /// Write, read back, compare; pending until confirmed.
    Write {
        /// What.
        writes: Vec<Write>,
        /// What stands there now.
        before: Vec<Valued>,
    },
    /// Keep the pending change.
    Confirm,
    /// Bring old values back, where the new ones still stand.
    UndoWrite {
        /// What was written.
        writes: Vec<Write>,
        /// What stood there before.
        before: Vec<Valued>,
    },
    /// Store the content of a checkpoint.
    Capture {
        /// Its number.
        number: u64,
        /// Its name.
        name: String,
        /// Read everything.
        paranoid: bool,
    },
    /// Sign a captured checkpoint and store the signed statement.
    Sign {
        /// Its number.
        number: u64,
    },
    /// Check a checkpoint and all that it refers to.
    Verify {
        /// Its number.
        number: u64,
    },
    /// Find what a restore would change.
    Plan {
        /// The checkpoint's number.
        number: u64,
        /// Read everything.
        paranoid: bool,
        /// Of what the restore would be.
        scope: Option<Scope>,
        /// Exchange no folder.
        in_place: bool,
    },
    /// Compare a checkpoint with another one, or with what is there now.
    Diff {
        /// The first one's number.
        from: u64,
        /// The second one's.
        to: Option<u64>,
        /// Only what is at or below these.
        paths: Vec<FilePath>,
        /// Read everything.
        paranoid: bool,
    },
    /// Remove a checkpoint; that it is gone already is no failure.
    Delete {
        /// Its number.
        number: u64,
        /// It was begun before the daemon stopped.
        resumed: bool,
    },
    /// Find out what checkpoints need on the disk.
    Survey(Going),
    /// Remove checkpoints; that some are gone already is no failure.
    RemoveAll {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// Remove what no checkpoint needs.
    Prune,
    /// Begin a restore: validate the checkpoint and find what changes.
    Validate {
        /// The checkpoint's number.
        number: u64,
        /// Leave tokens that may not be written.
        leave_denied: bool,
        /// Read everything.
        paranoid: bool,
        /// Of what it is.
        scope: Option<Scope>,
        /// Exchange no folder.
        in_place: bool,
    },
    /// Lay what comes back ready.
    Prepare {
        /// The checkpoint's number.
        number: u64,
    },
    /// Put it in place.
    Execute,
    /// Compare what is in place with the checkpoint.
    VerifyRestored,
    /// Remove what was replaced.
    CleanUp,
    /// Bring back what was there before the restore.
    UndoRestore {
        /// What was written to tokens, with what stood there before.
        writes: Vec<Write>,
        /// What the settings held that were written, and how the services were.
        settings: Vec<Held>,
    },
    /// Seal what came beside the request.
    Seal,
    /// Open the sealed data that came beside the request, if it has this hash.
    Unseal {
        /// SHA-256.
        blob: [u8; 32],
    },
    /// Change the vault.
    Vault(VaultChange),
}

/// How a step stands to the grant of its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It begins: `policy::redeem`.
    Beginning,
    /// It goes on with what was begun, however long that took: `policy::redeem_next`.
    GoingOn,
    /// It brings back, keeps or finishes what was changed, and is never denied: `policy::redeem_undo`.
    Ending,
}

impl Step {
    /// Whether checkpoints are read for it.
    const fn reads_checkpoints(&self) -> bool {
        matches!(
            self,
            Self::Capture { .. }
                | Self::Sign { .. }
                | Self::Verify { .. }
                | Self::Plan { .. }
                | Self::Diff { .. }
                | Self::Survey(_)
                | Self::Prune
                | Self::Validate { .. }
        )
    }

    /// How it stands to the grant.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match self {
            Self::Read(_)
            | Self::ReadBefore(_)
            | Self::Write { .. }
            | Self::Capture { .. }
            | Self::Verify { .. }
            | Self::Plan { .. }
            | Self::Diff { .. }
            | Self::Survey(_)
            | Self::Delete { resumed: false, .. }
            | Self::Validate { .. }
            | Self::Seal
            | Self::Unseal { .. }
            | Self::Vault(_) => Standing::Beginning,
            Self::Sign { .. } | Self::Prepare { .. } | Self::Execute => Standing::GoingOn,
            Self::Confirm
            | Self::UndoWrite { .. }
            | Self::UndoRestore { .. }
            | Self::VerifyRestored
            | Self::Delete { resumed: true, .. }
            | Self::RemoveAll { .. }
            | Self::Prune
            | Self::CleanUp => Standing::Ending,
        }
    }
}

/// The effects of a fact, given the state right after it.
#[must_use]
pub fn effects(state: &State, fact: &Fact) -> Option<Effect> {
    let work = match fact {
        Fact::Accepted { work, .. } | Fact::Progressed { work, .. } => state.works.get(work)?,
        // What waited for a checkpoint begins.
        Fact::Finished { work, outcome: Outcome::Signed { .. } } => {
            state.works.values().find(|other| other.after == Some(*work))?
        }
        _ => return None,
    };
    if state.is_waiting(work) {
        return None;
    }
    let step = step(state, work)?;
    Some(Effect {
        work: work.number,
        request: work.request,
        order: work.order.clone(),
        grant: work.grant.clone(),
        told: step.reads_checkpoints().then(|| state.told()),
        step,
        waited: work.after.is_some(),
    })
}

/// The step that follows the point which a work has reached.
fn step(state: &State, work: &Work) -> Option<Step> {
    match &work.order {
        Order::ReadTokens { items } => Some(Step::Read(items.clone())),
        Order::WriteTokens { writes } => write_step(writes, work),
        Order::CreateCheckpoint { number, name, paranoid, .. } => match work.progress {
            None => Some(Step::Capture { number: *number, name: name.clone(), paranoid: *paranoid }),
            Some(Progress::Captured { .. }) => Some(Step::Sign { number: *number }),
            Some(_) => None,
        },
        Order::VerifyCheckpoint { number } => Some(Step::Verify { number: *number }),
        Order::PlanRestore { number, paranoid, scope, in_place } => Some(Step::Plan {
            number: *number,
            paranoid: *paranoid,
            scope: scope.clone(),
            in_place: *in_place,
        }),
        Order::Diff { from, to, paths, paranoid } => {
            Some(Step::Diff { from: *from, to: *to, paths: paths.clone(), paranoid: *paranoid })
        }
        Order::DeleteCheckpoint { number, .. } => match work.progress {
            None => Some(Step::Delete { number: *number, resumed: false }),
            Some(Progress::Resumed) => Some(Step::Delete { number: *number, resumed: true }),
            Some(_) => None,
        },
        Order::Prune { keep, .. } => match &work.progress {
            None => Some(Step::Survey(retention::going(state, keep))),
            Some(Progress::Chosen { numbers }) => Some(Step::RemoveAll { numbers: numbers.clone() }),
            Some(Progress::Removed { .. }) => Some(Step::Prune),
            Some(_) => None,
        },
        Order::Restore { number, leave_denied, paranoid, scope, in_place, .. } => match work.progress {
            None | Some(Progress::Resumed) => Some(Step::Validate {
                number: *number,
                leave_denied: *leave_denied,
                paranoid: *paranoid,
                scope: scope.clone(),
                in_place: *in_place,
            }),
            Some(Progress::Planned { .. }) => Some(Step::Prepare { number: *number }),
            Some(Progress::Prepared) => Some(Step::Execute),
            Some(Progress::Executed) => Some(Step::VerifyRestored),
            Some(Progress::Verified | Progress::Answered { keep: true, .. }) => Some(Step::CleanUp),
            Some(Progress::Undoing { .. }) => {
                let plan = work.plan.clone().unwrap_or_default();
                Some(Step::UndoRestore { writes: plan.writes, settings: plan.settings })
            }
            Some(_) => None,
        },
        Order::Confirm { .. } | Order::Run { .. } | Order::ApproveAgents { .. } => None,
        Order::Seal { .. } => Some(Step::Seal),
        Order::Unseal { blob } => Some(Step::Unseal { blob: *blob }),
        Order::Vault { change } => Some(Step::Vault(*change)),
    }
}

fn write_step(writes: &[Write], work: &Work) -> Option<Step> {
    match work.progress {
        None => Some(Step::ReadBefore(writes.iter().map(|write| write.item).collect())),
        Some(Progress::Before { .. }) => {
            Some(Step::Write { writes: writes.to_vec(), before: work.before.clone() })
        }
        Some(Progress::Written) => Some(Step::Confirm),
        Some(Progress::Undoing { .. }) => {
            Some(Step::UndoWrite { writes: writes.to_vec(), before: work.before.clone() })
        }
        Some(_) => None,
    }
}
