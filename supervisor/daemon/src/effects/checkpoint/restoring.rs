//! A restore under way: it borrows the repository from its beginning to its end.

use std::sync::mpsc::Receiver;

use engine::StepResult;
use engine::order::Write;
use engine::reply::PlanReport;
use engine::scope::Held;
use recovery::restore::{self, Before, Machine, Outcome, Restore};
use recovery::tokens::{TokenPort, put_back};
use recovery::{services, settings};
use tokio::sync::oneshot;
use types::token::Change;

use super::repository::{Owner, Parts, Reader, text};
use super::{Done, Job, Look, Part, Phase, Task};

type Answer = oneshot::Sender<Result<Done, String>>;

/// Begins a restore and serves its phases until it is cleaned up or undone. Questions are answered meanwhile.
pub(super) fn restore(
    owner: &mut Owner,
    (number, leave_denied): (u64, bool),
    (look, part): (Look, Part),
    answer: Answer,
    jobs: &Receiver<Job>,
) {
    let manifest = match end_earlier(owner).and_then(|()| owner.reader().load_wanted(number)) {
        Ok(manifest) => manifest,
        Err(reason) => return drop(answer.send(Err(reason))),
    };
    let (before, wanted) = (owner.reader().newest(), manifest.clone());
    let remembered = owner.reader().remembered();
    let Owner { chunks, parts, told, .. } = owner;
    let Parts {
        dir,
        roots,
        knobs,
        databases,
        units,
        postgresql,
        device,
        client,
        keys,
        identity,
        phase_limit,
    } = parts;
    let mut port = device.as_deref();
    let machine = Machine {
        roots,
        tokens: port.as_mut().map(|port| port as &mut dyn TokenPort),
        executor: Some(client),
        identity,
        known: look.known(before.iter().chain([&wanted]), &remembered),
        scope: part.scope,
        way: part.way,
        checks_late: true,
        phase_limit: Some(*phase_limit),
        settings: Some(knobs),
        databases: Some(databases),
        services: Some(units),
        postgresql,
    };
    let reader = Reader::new(chunks, dir, keys, told);
    let mut restore = match Restore::begin(machine, manifest, chunks, leave_denied) {
        Ok(restore) => restore,
        Err(error) => return drop(answer.send(Err(reader.damaged(number, error)))),
    };
    let report = restore.plan().report(number);
    drop(answer.send(Ok(Done::Step(StepResult::Planned(report.clone())))));
    match serve(&mut restore, number, &report, reader, jobs) {
        End::Done => remember(&mut restore, look, reader),
        End::Gone => {}
        End::Undo { answer, result, writes, settings } => {
            drop(restore);
            // After a crash this restore was planned anew, and knows nothing of what the attempt before it has written.
            let rest = undo_after_crash(owner, &writes, &settings);
            drop(answer.send(result.and(rest)));
        }
    }
}

/// How a restore ended.
enum End {
    /// All of it is in place, and what it replaced is gone.
    Done,
    /// Nobody asks any more, or the clean-up failed.
    Gone,
    /// What this attempt has changed is back; the answer waits for what earlier ones have.
    Undo { answer: Answer, result: Result<(), String>, writes: Vec<Write>, settings: Vec<Held> },
}

/// Spares the next capture reading what was just compared. Nobody waits for it, and without it all is read.
fn remember(restore: &mut Restore<'_>, look: Look, reader: Reader<'_>) {
    let kept = restore.remember(look.time).and_then(|remembered| reader.remember(&remembered));
    if let Err(error) = kept {
        tracing::warn!("the next capture reads every file: {}", text(error));
    }
}

fn serve(
    restore: &mut Restore<'_>,
    number: u64,
    report: &PlanReport,
    reader: Reader<'_>,
    jobs: &Receiver<Job>,
) -> End {
    while let Ok(Job { task, told, answer }) = jobs.recv() {
        let reader = reader.held_against(&told);
        if let Task::Undo { writes, settings } = task {
            let result = restore.undo().and_then(|()| restore.clean_up()).map_err(text);
            return End::Undo { answer, result, writes, settings };
        }
        let (result, is_over) = match &task {
            Task::Phase(Phase::Prepare) => {
                let result = restore.prepare().map_err(|error| reader.damaged(number, error));
                (result.map(|()| Done::Step(StepResult::Done)), false)
            }
            Task::Phase(Phase::Execute) => (done(restore.execute()), false),
            Task::Phase(Phase::Verify) => {
                let result = restore.verify().map_err(text);
                (result.map(|()| Done::Step(StepResult::Planned(report.clone()))), false)
            }
            Task::Phase(Phase::CleanUp) => {
                let result = restore.clean_up().map_err(text);
                (result.map(|()| Done::Step(StepResult::Planned(report.clone()))), true)
            }
            other => {
                let busy = || Err("a restore is under way; try again when it has ended".to_owned());
                (reader.answer(other).unwrap_or_else(busy), false)
            }
        };
        let end = if result.is_ok() { End::Done } else { End::Gone };
        drop(answer.send(result));
        if is_over {
            return end;
        }
    }
    End::Gone
}

fn done(result: Result<(), recovery::Error>) -> Result<Done, String> {
    result.map(|()| Done::Step(StepResult::Done)).map_err(text)
}

/// Ends what a crash left of an earlier restore, so that this one can begin.
fn end_earlier(owner: &mut Owner) -> Result<(), String> {
    let roots = count(owner)?;
    let outcome = restore::resume(&mut owner.parts.client, roots).map_err(text)?;
    if outcome != Outcome::Nothing {
        tracing::info!("an interrupted restore was ended: {outcome:?}");
    }
    Ok(())
}

/// Folders and, behind them, databases: what the helper has numbers for.
fn count(owner: &Owner) -> Result<u16, String> {
    u16::try_from(owner.parts.roots.len() + owner.parts.databases.len() + owner.parts.postgresql.len())
        .map_err(|_| "there are more than 65535 folders and databases in the configuration".to_owned())
}

/// Ends a restore that had been verified when the daemon died.
pub(super) fn clean_up_after_crash(owner: &mut Owner) -> Result<Done, String> {
    end_earlier(owner)?;
    Ok(Done::Step(StepResult::Planned(PlanReport::default())))
}

/// Brings everything back that a restore changed before the daemon died: files from what it kept, all else from the log.
pub(super) fn undo_after_crash(
    owner: &mut Owner,
    writes: &[Write],
    settings: &[Held],
) -> Result<Done, String> {
    let roots = count(owner)?;
    let Before { settings, services } = Before::of(settings);
    // Whatever of it fails, the rest goes back: nobody tries it again. Services come last, for they may need all of it.
    let files = restore::abandon(&mut owner.parts.client, roots).map(drop);
    let settings = settings::put_back(&owner.parts.knobs, &mut owner.parts.client, &settings);
    let tokens = match owner.parts.device.as_deref() {
        Some(mut device) => put_back(&mut device, &writes.iter().map(change).collect::<Vec<_>>()).map(drop),
        None => Ok(()),
    };
    let services = services::put_back(&owner.parts.units, &mut owner.parts.client, &services);
    files.and(settings).and(tokens).and(services).map_err(text)?;
    Ok(Done::Step(StepResult::Done))
}

fn change(write: &Write) -> Change {
    Change {
        id: write.item.token(),
        select: write.item.select(),
        value: write.value,
        expected: write.expected,
    }
}
