//! A command becomes an order, granted or not.

use policy::{Action, Denial, Request, Role};
use types::peer::Peer;
use types::token::TokenId;

use super::{Decision, again, confirm, denied, note, risky};
use crate::command::{CONFIRM_S_MAX, Command, ITEMS_MAX, RequestId, SEAL_MAX, Which, name_fault};
use crate::fact::{Error, Fact};
use crate::input::{Input, Room};
use crate::order::{Item, Kind, Order, VaultChange};
use crate::reply::{Answer, Body, Refusal, Reply};
use crate::scope::{Scope, paths_fault, scope_fault};
use crate::state::{State, WORKS_MAX, WORKS_OF_USER_MAX, WORKS_RESERVED};
use crate::{fleet, run};

pub(super) fn ask(
    state: &State,
    input: &Input,
    request: RequestId,
    peer: Peer,
    command: &Command,
) -> Result<Decision, Error> {
    let refuse = |refusal| Decision::reply(Reply { request, body: Body::Refused(refusal) });
    // Asked again, for instance after the connection broke: the work that is under way will answer.
    if let Some(work) = state.work_of(request) {
        return Ok(confirm::told_again(work, input, request));
    }
    // Asked again after it had ended, because its answer got lost: it is told again and not done again.
    if let Some(ended) = state.ended_of(request) {
        return Ok(Decision::reply(Reply { request, body: again::again(state, ended, request) }));
    }
    if let Some(index) = state.notes.places.get(&request) {
        return Ok(Decision::reply(Reply { request, body: Body::Done(Answer::Noted { index: *index }) }));
    }
    if let Some(again) = run::decide::again(state, request) {
        return Ok(again);
    }
    let asker = (request, peer);
    match command {
        Command::Note { kind, content } => return Ok(note::note(state, input, asker, kind, content)),
        Command::Confirm { undo } => return confirm::confirm(state, input, asker, *undo),
        Command::Run { workflow, params } => {
            return run::decide::accept(state, input, asker, workflow, params);
        }
        Command::ControlRun { run, control } => {
            return Ok(run::decide::control(state, input, asker, *run, *control));
        }
        Command::ApproveAgents(files) => return fleet::decide::approve(state, input, asker, files),
        // Whoever may is stopped for before anything is decided.
        Command::EmergencyStop => {
            return Ok(refuse(Refusal::Denied(Denial::Role { needed: Role::Operator })));
        }
        Command::RestartAgent(name) => return Ok(fleet::decide::restart(state, asker, name)),
        _ => {}
    }
    let order = match order(state, command) {
        Ok(order) => order,
        Err(refusal) => return Ok(refuse(refusal)),
    };
    if let Err(refusal) = admit(state, input, &peer, &order) {
        return Ok(refuse(refusal));
    }
    let written = written(&order);
    let asked = Request {
        peer,
        action: action(&order, &written),
        order: order.hash()?,
        now_ns: input.time.wall_ns,
        thermal_unsafe: state.is_thermally_unsafe(),
    };
    match policy::decide(&state.rules, &asked) {
        Err(denial) => Ok(denied(state, input, (request, peer), order, denial)),
        Ok(_) if state.schedule.before_risky && state.rules.is_risky(&asked.action) => {
            risky::after_a_checkpoint(state, request, &asked, order)
        }
        Ok(grant) => Ok(Decision::fact(Fact::Accepted {
            work: state.next_work,
            request: request.0,
            asker: peer.into(),
            order,
            grant: (&grant).into(),
            after: None,
        })),
    }
}

/// What does not depend on the rules.
fn admit(state: &State, input: &Input, peer: &Peer, order: &Order) -> Result<(), Refusal> {
    if input.room < Room::Orders {
        return Err(Refusal::NoRoom);
    }
    let most = if order.is_exclusive() { WORKS_MAX } else { WORKS_MAX - WORKS_RESERVED };
    if state.works.len() >= most {
        return Err(Refusal::Busy(format!("the most that runs at once ({most} works)")));
    }
    let own = state.works.values().filter(|work| work.asker.uid == peer.uid).count();
    if peer.uid != 0 && own >= WORKS_OF_USER_MAX {
        return Err(Refusal::Busy(format!(
            "the most that runs at once for one user ({WORKS_OF_USER_MAX} works)"
        )));
    }
    match state.exclusive() {
        Some(other) if order.is_exclusive() && other.is_awaiting() => {
            Err(Refusal::Busy("a restore that waits to be confirmed (“dsmil checkpoint confirm”)".to_owned()))
        }
        Some(other) if order.is_exclusive() => {
            Err(Refusal::Busy(format!("“{}” (work {})", other.order.title(), other.number)))
        }
        _ => Ok(()),
    }
}

fn order(state: &State, command: &Command) -> Result<Order, Refusal> {
    match command {
        Command::Query(_) => Err(Refusal::Invalid("a query is not an order".to_owned())),
        Command::Note { .. }
        | Command::Confirm { .. }
        | Command::Run { .. }
        | Command::ControlRun { .. }
        | Command::EmergencyStop
        | Command::RestartAgent(_)
        | Command::ApproveAgents(_) => Err(Refusal::Invalid("this is not an order".to_owned())),
        Command::ReadTokens(items) => {
            if items.is_empty() || items.len() > ITEMS_MAX {
                return Err(Refusal::Invalid(format!("a read names 1 to {ITEMS_MAX} tokens")));
            }
            Ok(Order::ReadTokens {
                items: items.iter().map(|(id, select)| Item::new(*id, *select)).collect(),
            })
        }
        Command::WriteTokens(changes) => {
            // The rules allow fewer; but what they deny is recorded as well and has to fit into a record.
            if changes.len() > ITEMS_MAX {
                return Err(Refusal::Invalid(format!("a write names at most {ITEMS_MAX} tokens")));
            }
            let mut items: Vec<_> =
                changes.iter().map(|change| Item::new(change.id, change.select)).collect();
            items.sort_unstable();
            if let Some([twice, _]) = items.array_windows().find(|[a, b]| a == b) {
                return Err(Refusal::Invalid(format!("token {} is to be written twice", twice.token())));
            }
            Ok(Order::WriteTokens { writes: changes.iter().map(|change| (*change).into()).collect() })
        }
        Command::CreateCheckpoint { name, paranoid } => {
            if let Some(fault) = name_fault(name) {
                return Err(Refusal::Invalid(fault.to_owned()));
            }
            if state.checkpoint(&Which::Name(name.clone())).is_some() {
                return Err(Refusal::Invalid(format!(
                    "there is a checkpoint “{name}” already: take another name"
                )));
            }
            Ok(Order::CreateCheckpoint {
                number: state.next_checkpoint,
                name: name.clone(),
                paranoid: *paranoid,
                kind: Kind::Manual,
            })
        }
        Command::VerifyCheckpoint(which) => Ok(Order::VerifyCheckpoint { number: number(state, which)? }),
        Command::PlanRestore { which, paranoid, scope, in_place } => Ok(Order::PlanRestore {
            number: number(state, which)?,
            paranoid: *paranoid,
            scope: checked(scope.as_ref())?,
            in_place: *in_place,
        }),
        Command::Restore { which, leave_denied, paranoid, scope, in_place, confirm_s } => {
            if confirm_s.is_some_and(|confirm_s| !(1..=CONFIRM_S_MAX).contains(&confirm_s)) {
                return Err(Refusal::Invalid(format!(
                    "a restore is to be confirmed within 1 to {CONFIRM_S_MAX} seconds"
                )));
            }
            Ok(Order::Restore {
                number: number(state, which)?,
                leave_denied: *leave_denied,
                paranoid: *paranoid,
                scope: checked(scope.as_ref())?,
                in_place: *in_place,
                confirm_s: *confirm_s,
            })
        }
        Command::Diff { from, to, paths, paranoid } => {
            if let Some(fault) = paths_fault(paths) {
                return Err(Refusal::Invalid(fault.to_owned()));
            }
            Ok(Order::Diff {
                from: number(state, from)?,
                to: to.as_ref().map(|to| number(state, to)).transpose()?,
                paths: paths.clone(),
                paranoid: *paranoid,
            })
        }
        Command::DeleteCheckpoint { which, force } => delete(state, which, *force),
        Command::Prune { keep, dry_run } => {
            Ok(Order::Prune { keep: keep.unwrap_or(state.schedule.keep), dry_run: *dry_run })
        }
        Command::Seal { bytes } if (1..=SEAL_MAX).contains(bytes) => Ok(Order::Seal { bytes: *bytes }),
        Command::Seal { bytes } => Err(Refusal::Invalid(format!(
            "1 to {SEAL_MAX} bytes are sealed at once, not {bytes}: seal a key, and encrypt with that"
        ))),
        Command::Unseal { blob } => Ok(Order::Unseal { blob: blob.0 }),
        Command::Vault(change) => vault(*change),
    }
}

fn checked(scope: Option<&Scope>) -> Result<Option<Scope>, Refusal> {
    match scope.and_then(scope_fault) {
        Some(fault) => Err(Refusal::Invalid(fault.to_owned())),
        None => Ok(scope.cloned()),
    }
}

/// The newest checkpoint is the way back from a mistake that was just made, and what the next one recognises unchanged files by.
fn delete(state: &State, which: &Which, force: bool) -> Result<Order, Refusal> {
    let number = number(state, which)?;
    let newest = state.checkpoints.last_key_value().is_some_and(|(newest, _)| *newest == number);
    if newest && !force {
        return Err(Refusal::Invalid(format!(
            "checkpoint {number} is the newest one: take another one first, or ask again with force (“--force”)"
        )));
    }
    let name = state.checkpoints.get(&number).map(|checkpoint| checkpoint.name.clone()).unwrap_or_default();
    Ok(Order::DeleteCheckpoint { number, name })
}

/// Registers of a TPM.
const REGISTERS: u32 = 24;

fn vault(change: VaultChange) -> Result<Order, Refusal> {
    match change {
        VaultChange::Prepare { registers, .. } if registers == 0 || registers >> REGISTERS != 0 => {
            Err(Refusal::Invalid("a policy names one or more PCRs, 0 to 23".to_owned()))
        }
        change => Ok(Order::Vault { change }),
    }
}

fn number(state: &State, which: &Which) -> Result<u64, Refusal> {
    state.checkpoint(which).map(|checkpoint| checkpoint.number).ok_or_else(|| {
        Refusal::NotFound(format!("checkpoint {which}: “dsmil checkpoint list” shows what there is"))
    })
}

fn written(order: &Order) -> Vec<TokenId> {
    match order {
        Order::WriteTokens { writes } => writes.iter().map(|write| write.item.token()).collect(),
        _ => Vec::new(),
    }
}

fn action<'a>(order: &Order, written: &'a [TokenId]) -> Action<'a> {
    match order {
        Order::ReadTokens { .. } => Action::ReadTokens,
        Order::WriteTokens { .. } => Action::WriteTokens(written),
        Order::CreateCheckpoint { .. } => Action::Checkpoint,
        Order::VerifyCheckpoint { .. }
        | Order::PlanRestore { .. }
        | Order::Diff { .. }
        | Order::Prune { dry_run: true, .. } => Action::Inspect,
        Order::Restore { .. } | Order::Confirm { .. } => Action::Restore,
        Order::Run { .. } => Action::Run,
        Order::ApproveAgents { .. } => Action::Approve,
        Order::DeleteCheckpoint { .. } | Order::Prune { .. } => Action::Delete,
        Order::Seal { .. } | Order::Unseal { .. } => Action::Seal,
        Order::Vault { .. } => Action::Vault,
    }
}
