//! One agent's cgroup: limits before there is a process, freezing, killing and accounting while there is one.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use types::agent::{Bytes, Limits};

use crate::error::Error;
use crate::folder::Folder;
use crate::process::{Process, Starting};
use crate::spawn::Entry;
use crate::spec::Spec;
use crate::subtree::{Capabilities, kill_each, processes, wait_empty};

/// The period of `cpu.max`, microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// How long whoever drops a cgroup waits for the death of what is in it.
const DROP_MAX: Duration = Duration::from_secs(1);

/// Where an agent stands among the others.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its share of the processors while there are not enough, 1 to 10,000; 100 unless given.
    pub weight: Option<u16>,
    /// The processors on which it may run; all unless given.
    pub processors: Vec<u16>,
}

/// What an agent has used, all its processes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Processor time, microseconds.
    pub cpu_us: u64,
    /// Memory now; `None` without the controller.
    pub memory: Option<Bytes>,
    /// Most memory so far; `None` without the controller (or before Linux 5.19).
    pub memory_peak: Option<Bytes>,
    /// How often the kernel killed for want of memory; `None` without the controller.
    pub memory_kills: Option<u64>,
    /// Processes now.
    pub processes: usize,
}

/// An agent's cgroup. Dropped, it kills what is in it and is removed.
#[derive(Debug)]
pub struct Leaf {
    above: Arc<Folder>,
    folder: Folder,
    name: String,
    capabilities: Capabilities,
    limits: Limits,
    place: Place,
}

impl Leaf {
    pub(crate) fn make(
        above: &Arc<Folder>,
        name: &str,
        capabilities: &Capabilities,
        limits: &Limits,
        place: &Place,
    ) -> Result<Self, Error> {
        if above.child(name).is_ok() {
            return Err(Error::Unfit("there is an agent's cgroup of that name"));
        }
        let folder = above.make(name)?;
        let leaf = Self {
            above: Arc::clone(above),
            folder,
            name: name.to_owned(),
            capabilities: capabilities.clone(),
            limits: *limits,
            place: place.clone(),
        };
        // If a limit fails, what was made is dropped and so removed.
        leaf.limit()?;
        Ok(leaf)
    }

    fn limit(&self) -> Result<(), Error> {
        let Limits { memory, pids, cpu, .. } = self.limits;
        if self.capabilities.memory {
            self.folder.write("memory.max", &memory.0.to_string())?;
            // Swap would make the limit a matter of the disk's patience. Not every kernel counts it.
            if self.folder.read_if_there("memory.swap.max")?.is_some() {
                self.folder.write("memory.swap.max", "0")?;
            }
            // Half an agent is worse than none.
            self.folder.write("memory.oom.group", "1")?;
        }
        if self.capabilities.pids {
            self.folder.write("pids.max", &pids.to_string())?;
        }
        if self.capabilities.cpu {
            let quota = u64::from(cpu.0) * CPU_PERIOD_US / 100;
            self.folder.write("cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
            if let Some(weight) = self.place.weight {
                self.folder.write("cpu.weight", &weight.to_string())?;
            }
        }
        if self.capabilities.cpuset && !self.place.processors.is_empty() {
            let list: Vec<String> = self.place.processors.iter().map(u16::to_string).collect();
            self.folder.write("cpuset.cpus", &list.join(","))?;
        }
        Ok(())
    }

    /// Starts a program in it.
    ///
    /// The thread that calls this must live as long as the agent: the kernel takes its end for the parent's, and kills.
    ///
    /// # Errors
    ///
    /// [`Error::Unfit`], [`Error::Prepare`], [`Error::Spawn`], [`Error::Late`]; no process is left then.
    pub fn spawn(self, spec: &Spec) -> Result<Process, Error> {
        Process::spawn(self, spec, Entry::Born)
    }

    /// Begins to start a program in it, as [`spawn`](Self::spawn) does, without waiting until it has started.
    ///
    /// # Errors
    ///
    /// [`Error::Unfit`], [`Error::Prepare`]; no process is left then.
    pub fn begin(self, spec: &Spec) -> Result<Starting, Error> {
        Starting::begin(self, spec, Entry::Born)
    }

    /// A descriptor that kills all its processes at a write of “1”, for who may not signal them; none on kernels before Linux 5.14.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn killer(&self) -> Result<Option<OwnedFd>, Error> {
        self.folder.writable("cgroup.kill")
    }

    /// What was set.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    pub(crate) const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Stops or continues all its processes; waits until they stand still, if `within` says for how long.
    ///
    /// # Errors
    ///
    /// The kernel refused, or they do not stand still in time ([`Error::Stuck`]).
    pub fn freeze(&self, is_frozen: bool, within: Option<Duration>) -> Result<(), Error> {
        self.folder.write("cgroup.freeze", if is_frozen { "1" } else { "0" })?;
        match within {
            Some(within) if !self.folder.wait_event("frozen", is_frozen, within)? => {
                Err(Error::Stuck(processes(&self.folder)?))
            }
            _ => Ok(()),
        }
    }

    /// Kills all its processes and waits until there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`]; the kernel refused.
    pub fn kill(&self, within: Duration) -> Result<(), Error> {
        if self.capabilities.kill {
            self.folder.write("cgroup.kill", "1")?;
        } else {
            kill_each(&self.folder)?;
        }
        wait_empty(&self.folder, within)
    }

    /// What it has used.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn usage(&self) -> Result<Usage, Error> {
        let count = |name: &str| -> Result<Option<u64>, Error> {
            Ok(self.folder.read_if_there(name)?.and_then(|text| text.trim().parse().ok()))
        };
        let keyed = |name: &str, key: &str| -> Result<Option<u64>, Error> {
            let text = self.folder.read_if_there(name)?.unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok());
            Ok(line)
        };
        Ok(Usage {
            cpu_us: keyed("cpu.stat", "usage_usec")?.unwrap_or_default(),
            memory: count("memory.current")?.map(Bytes),
            memory_peak: count("memory.peak")?.map(Bytes),
            memory_kills: keyed("memory.events", "oom_kill")?,
            processes: processes(&self.folder)?.len(),
        })
    }

    /// Removes it. No process may be in it.
    ///
    /// # Errors
    ///
    /// There is one.
    fn remove(&self) -> Result<(), Error> {
        self.above.remove(&self.name)
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // Nobody is left to be told; what remains is found by the next `Subtree::clear`.
        if self.remove().is_err() {
            _ = self.kill(DROP_MAX);
            _ = self.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::spec::User;
    use crate::subtree::Subtree;

    /// A subtree to try in; nothing where we may not.
    fn subtree(name: &str) -> Option<(PathBuf, Subtree)> {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let place = words.nth(1)?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(place))
        });
        let delegated = root?.join(format!("sandbox-{name}-{}", std::process::id()));
        if !nix::unistd::geteuid().is_root() || std::fs::create_dir(&delegated).is_err() {
            eprintln!("skipped: this takes root and a writable cgroup v2 tree");
            return None;
        }
        Some((delegated.clone(), Subtree::prepare(&delegated, "agents").unwrap()))
    }

    #[test]
    fn older_kernels_ways_in_and_out_work_too() {
        let Some((delegated, subtree)) = subtree("older") else { return };
        let mut leaf = subtree.leaf("old", &Limits::default(), &Place::default()).unwrap();
        // As before Linux 5.14; and the process enters by itself, as before 5.7.
        leaf.capabilities.kill = false;
        let script = "cat /proc/self/cgroup; for n in 1 2 3 4 5 6 7 8; do setsid sleep 600 & done; wait";
        let spec = Spec {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            folder: "/".into(),
            user: User {
                uid: 64_900,
                gid: 64_900,
                groups: Vec::new(),
                name: "agent".into(),
                home: "/".into(),
                processes_max: 64,
            },
        };
        let mut process = Process::spawn(leaf, &spec, Entry::Enters).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while process.usage().unwrap().processes < 9 && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(process.usage().unwrap().processes, 9);
        let mut said = [0; 256];
        let count = rustix::io::read(process.stdio.stdout.take().unwrap(), &mut said).unwrap();
        let said = String::from_utf8_lossy(&said[..count]);
        assert!(said.contains("/agents/old\n"), "{said}");
        process.kill(Duration::from_secs(2)).unwrap();
        assert_eq!(process.usage().unwrap().processes, 0);
        process.finish(Duration::from_secs(1)).unwrap();
        subtree.clear(Duration::from_secs(1)).unwrap();
        drop(subtree);
        std::fs::remove_dir(delegated.join("agents")).unwrap();
        std::fs::remove_dir(delegated).unwrap();
    }
}
