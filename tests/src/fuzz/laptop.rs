//! The laptop around the module: loading it in one way or another, its password, the kernel's failures.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// In which state of the laptop sequences run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// No limits, and no allow-list is sealed unless a program does so.
    Unsealed,
    /// No limits, the fuzzer's allow-list is sealed.
    Sealed,
    /// Low limits on the firmware's calls.
    Limited,
    /// A BIOS administrator password forbids every write.
    Password,
    /// The kernel is locked down; there is no way back before the next boot.
    LockedDown,
}

/// Sequences from one phase to its return.
const ROUND: u64 = 80;

impl Phase {
    /// The phase of a sequence, by its number alone.
    pub(crate) fn of(index: u64) -> Self {
        match index % ROUND {
            0..10 => Self::Unsealed,
            10..60 => Self::Sealed,
            60..70 => Self::Limited,
            _ => Self::Password,
        }
    }

    /// The module's parameters.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Limited => &["read_rate=40", "read_burst=8", "write_rate=40", "write_burst=4"],
            _ => &["read_rate=0", "write_rate=0"],
        }
    }
}

/// The laptop around the module.
#[derive(Debug)]
pub(crate) struct Laptop {
    /// The module's file.
    pub(crate) module: PathBuf,
    pub(crate) has_password: bool,
}

fn quiet(program: &str, words: &[&str]) -> anyhow::Result<bool> {
    let status = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Ok(status.with_context(|| format!("starting {program}"))?.success())
}

impl Laptop {
    /// Tries what this laptop can do; the firmware is as after its start.
    pub(crate) fn new(module: PathBuf) -> anyhow::Result<Self> {
        ensure!(module.exists(), "there is no module {}", module.display());
        let has_password = quiet("laptop-ctl", &["password", "off"])?;
        // What fails by our own doing shall not fill the kernel's log; sleeping allocations are to fail as well.
        for attribute in ["failslab", "fail_page_alloc", "fail_usercopy"] {
            for (name, value) in [("verbose", "0"), ("ignore-gfp-wait", "N"), ("ignore-gfp-highmem", "N")] {
                drop(fs::write(format!("/sys/kernel/debug/{attribute}/{name}"), value));
            }
        }
        Ok(Self { module, has_password })
    }

    /// Loads the module anew for a phase; nobody may have it open.
    ///
    /// # Errors
    ///
    /// It cannot be unloaded or loaded.
    pub(crate) fn load(&self, phase: Phase) -> anyhow::Result<()> {
        if text().is_some() {
            ensure!(quiet("rmmod", &["dsmil"])?, "the module cannot be unloaded although nobody has it open");
        }
        let module = self.module.to_string_lossy().into_owned();
        let mut words = vec![module.as_str()];
        words.extend(phase.parameters());
        let output = Command::new("insmod").args(&words).output().context("insmod")?;
        ensure!(output.status.success(), "insmod: {}", String::from_utf8_lossy(&output.stderr).trim());
        if self.has_password {
            let state = if phase == Phase::Password { "on" } else { "off" };
            ensure!(quiet("laptop-ctl", &["password", state])?, "the password cannot be turned {state}");
        }
        Ok(())
    }

    /// Locks the kernel down.
    ///
    /// # Errors
    ///
    /// It cannot be.
    pub(crate) fn lock_down() -> anyhow::Result<()> {
        let path = "/sys/kernel/security/lockdown";
        fs::write(path, "integrity").with_context(|| path.to_owned())
    }
}

/// The module's text: address and bytes. None if it is not loaded.
pub(crate) fn text() -> Option<(u64, u64)> {
    let modules = fs::read_to_string("/proc/modules").ok()?;
    let line = modules.lines().find(|line| line.starts_with("dsmil "))?;
    let mut words = line.split(' ').skip(1);
    let bytes = words.next()?.parse().ok()?;
    let address = words.find_map(|word| word.strip_prefix("0x"))?;
    Some((u64::from_str_radix(address, 16).ok()?, bytes))
}

/// Prepares failing allocations; false where the kernel cannot have them, or not where they are wanted.
///
/// The interpreter of the firmware's language is spared: when it runs out of memory in the middle of a method it keeps
/// a lock for ever (seen in 7.2: "walk still has a scope list", then everybody waits), which is not this module's doing.
pub(crate) fn may_fail() -> bool {
    let Some((from, to)) = interpreter() else { return false };
    // All three: whatever the kernel has of them must spare it.
    ["failslab", "fail_page_alloc", "fail_usercopy"].iter().all(|attribute| {
        let write = |name: &str, value: &str| {
            let path = format!("/sys/kernel/debug/{attribute}/{name}");
            fs::write(&path, value).is_ok()
        };
        let range = write("reject-start", &format!("{from:#x}")) && write("reject-end", &format!("{to:#x}"));
        range && write("stacktrace-depth", "32")
    })
}

/// Where the interpreter's code lies in the kernel: in one piece, as it is linked.
fn interpreter() -> Option<(u64, u64)> {
    /// More than this is not the interpreter alone.
    const BYTES_MAX: u64 = 4 << 20;
    let symbols = fs::read_to_string("/proc/kallsyms").ok()?;
    let parts = ["acpi_ds_", "acpi_ex_", "acpi_ns_", "acpi_ps_", "acpi_ut_"];
    let places = symbols.lines().filter_map(|line| {
        let (place, rest) = line.split_once(' ')?;
        let name = rest.strip_prefix("t ").or_else(|| rest.strip_prefix("T "))?;
        let is_part = parts.iter().any(|part| name.starts_with(part));
        is_part.then(|| u64::from_str_radix(place, 16).ok())?
    });
    let (from, to) = places.fold((u64::MAX, 0), |(from, to), place| (from.min(place), to.max(place)));
    // The last function has an end too.
    (from < to && to - from < BYTES_MAX).then_some((from, to + 4096))
}
