//! Opens, loads and attaches the object, whole or in part.

use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{Link, MapHandle, MapType, PrintLevel, ProgramMut};

use crate::skeleton::{OpenProbesSkel, ProbesSkel, ProbesSkelBuilder};

/// Threads that can wait for a CPU at once when their marks lie in a hash (see `sched.bpf.c`): many times
/// what a laptop ever has runnable. With 64 bytes for an entry and 16 for a bucket the hash takes 5 MB.
const WAITING_THREADS_MAX: u32 = 65_536;

/// Of libbpf's messages about one attempt, the last ones are kept: they name the cause.
const MESSAGES_MAX: usize = 4;

/// The two forms of the scheduler's programs, see `sched.bpf.c`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchedulerForm {
    /// With pointers that the verifier trusts, marks in the task.
    Typed,
    /// For kernels that refuse the other.
    Raw,
}

/// What to load of the object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selection {
    pub scheduler: Option<SchedulerForm>,
    pub thermal: bool,
}

/// What remains of the object once it runs. The links keep the programs alive and these the maps, so the
/// object itself, which would borrow from its own storage, is not kept.
#[derive(Debug)]
pub struct Attached {
    pub links: Vec<Link>,
    pub latency: MapHandle,
    pub thermal_events: MapHandle,
    pub counters: MapHandle,
}

/// Loads the selected programs and attaches them.
///
/// # Errors
///
/// Why not, in one line.
pub fn attach(selection: Selection) -> Result<Attached, String> {
    let _only = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
    drop(messages());
    let previous = libbpf_rs::set_print(Some((PrintLevel::Warn, keep_message)));
    let result = try_attach(selection);
    libbpf_rs::set_print(previous);
    result.map_err(|error| {
        let mut reason = format!("{error:#}");
        for message in messages() {
            reason.push_str("; ");
            reason.push_str(&message);
        }
        reason
    })
}

fn try_attach(selection: Selection) -> libbpf_rs::Result<Attached> {
    let mut storage = MaybeUninit::uninit();
    let mut open = ProbesSkelBuilder::default().open(&mut storage)?;
    select(&mut open, selection)?;
    let skeleton = open.load()?;
    let links =
        programs(&skeleton, selection).iter().map(|program| program.attach()).collect::<Result<_, _>>()?;
    Ok(Attached {
        links,
        latency: MapHandle::try_from(&skeleton.maps.latency)?,
        thermal_events: MapHandle::try_from(&skeleton.maps.thermal_events)?,
        counters: MapHandle::try_from(&skeleton.maps.bss)?,
    })
}

fn select(open: &mut OpenProbesSkel<'_>, selection: Selection) -> libbpf_rs::Result<()> {
    let typed = selection.scheduler == Some(SchedulerForm::Typed);
    let raw = selection.scheduler == Some(SchedulerForm::Raw);
    let programs = &mut open.progs;
    for program in [&mut programs.wakeup_typed, &mut programs.create_typed, &mut programs.switch_typed] {
        program.set_autoload(typed);
    }
    for program in [&mut programs.wakeup_raw, &mut programs.create_raw, &mut programs.switch_raw] {
        program.set_autoload(raw);
    }
    for program in [&mut programs.temperature, &mut programs.zone_trip] {
        program.set_autoload(selection.thermal);
    }
    if !typed {
        // Also where no scheduler program runs: a kernel without task storage would refuse the map.
        open.maps.runnable_since.set_type(MapType::Hash)?;
        open.maps.runnable_since.set_map_flags(0)?;
        open.maps.runnable_since.set_max_entries(if raw { WAITING_THREADS_MAX } else { 1 })?;
    }
    Ok(())
}

fn programs<'skel, 'obj>(
    skeleton: &'skel ProbesSkel<'obj>,
    selection: Selection,
) -> Vec<&'skel ProgramMut<'obj>> {
    let all = &skeleton.progs;
    let mut selected = match selection.scheduler {
        Some(SchedulerForm::Typed) => vec![&all.wakeup_typed, &all.create_typed, &all.switch_typed],
        Some(SchedulerForm::Raw) => vec![&all.wakeup_raw, &all.create_raw, &all.switch_raw],
        None => vec![],
    };
    if selection.thermal {
        selected.extend([&all.temperature, &all.zone_trip]);
    }
    selected
}

/// libbpf has one place for its messages per process, so one load at a time uses it.
static QUIET: Mutex<()> = Mutex::new(());
static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn keep_message(_level: PrintLevel, message: String) {
    // Says again what the error itself says.
    if message.contains("failed to load BPF skeleton") {
        return;
    }
    let mut kept = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() == MESSAGES_MAX {
        kept.remove(0);
    }
    // The verifier's log comes as one message of many lines; its last ones say what it refused.
    let mut tail: Vec<&str> =
        message.lines().rev().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
    tail.reverse();
    let tail = tail.join(" / ");
    kept.push(tail.strip_prefix("libbpf: ").unwrap_or(&tail).to_owned());
}

fn messages() -> Vec<String> {
    std::mem::take(&mut MESSAGES.lock().unwrap_or_else(PoisonError::into_inner))
}
