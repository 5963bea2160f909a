//! The kernel's own reports: what its sanitizers and checks say in the log.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use nix::libc;

/// What a line of a report contains.
const SIGNS: &[&str] = &[
    "BUG:",
    "WARNING:",
    "KASAN:",
    "UBSAN:",
    "KFENCE:",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "suspicious RCU",
    "held lock",
    "bad unlock balance",
    "Voluntary context switch within RCU",
    "blocked for more than",
    "soft lockup",
    "rcu_sched self-detected",
    "rcu: INFO:",
    "general protection fault",
    "Oops",
    "unable to handle",
    "panicked at",
    "refcount_t:",
    "ODEBUG:",
    "kmemleak: ",
    "list_add corruption",
    "list_del corruption",
    "Bad page state",
];
/// Lines with such a sign that are no report.
const HARMLESS: &[&str] = &[
    // The kernel says so once when it starts with kmemleak or with hashed addresses turned off.
    "kmemleak: Kernel memory leak detector initialized",
    "kmemleak: Automatic memory scanning thread",
];
const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// The kernel's log from now on.
#[derive(Debug)]
pub(crate) struct Reports {
    log: File,
}

/// True if a line of the kernel's log is a report.
fn is_report(line: &str) -> bool {
    SIGNS.iter().any(|sign| line.contains(sign)) && !HARMLESS.iter().any(|text| line.contains(text))
}

impl Reports {
    /// Listens from now on.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut log = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("the kernel's log: /dev/kmsg")?;
        log.seek(SeekFrom::End(0)).context("the kernel's log")?;
        Ok(Self { log })
    }

    /// What the log says since the last time, from the first line of a report on; none if there is no report.
    pub(crate) fn look(&mut self) -> Option<String> {
        let mut buffer = vec![0; 8192];
        let mut report: Option<String> = None;
        loop {
            let line = match self.log.read(&mut buffer) {
                Ok(count) => String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned(),
                // Lines were overwritten before they could be read: go on with what there is.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => continue,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return report,
            };
            let text = line.split_once(';').map_or(line.as_str(), |(_, text)| text);
            match &mut report {
                Some(report) => report.push_str(text),
                None if is_report(text) => report = Some(text.to_owned()),
                None => {}
            }
        }
    }

    /// Lets kmemleak look for memory that nobody points to any more; what it found, if it can and did.
    pub(crate) fn leaks() -> Option<String> {
        std::fs::write(KMEMLEAK, "scan").ok()?;
        std::fs::read_to_string(KMEMLEAK).ok().filter(|text| !text.trim().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::is_report;

    #[test]
    fn reports_are_told_from_ordinary_lines() {
        assert!(is_report("BUG: KASAN: slab-use-after-free in dsmil_ioctl+0x10/0x20 [dsmil]"));
        assert!(is_report("WARNING: possible circular locking dependency detected"));
        assert!(is_report("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"));
        assert!(!is_report("dsmil: loaded 178 tokens"));
        assert!(!is_report("FAULT_INJECTION: forcing a failure."));
        assert!(!is_report("kmemleak: Automatic memory scanning thread started"));
    }
}
