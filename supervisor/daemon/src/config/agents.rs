//! Agents: where their definitions lie, as whom they run, how many there may be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use nix::unistd::User;
use sandbox::folders::{Folder, Folders};
use serde::Deserialize;

/// Agents.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// Folders of definitions that are root's.
    pub folders: Vec<PathBuf>,
    /// Folders of definitions that are users' own: agents run as that user.
    pub users: BTreeMap<String, PathBuf>,
    /// The user that runs what root defines.
    pub user: String,
    /// Most agents at once (1 to 1024).
    pub instances_max: usize,
    /// Most processes and threads of one user who runs agents (64 to 1000000).
    pub processes_max: u32,
    /// The cgroup below which agents have theirs; empty: our own, where it was delegated.
    pub cgroup: PathBuf,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            folders: vec!["/etc/dsmil/agents".into()],
            users: BTreeMap::new(),
            user: "dsmil-agent".to_owned(),
            instances_max: 128,
            processes_max: 4096,
            cgroup: PathBuf::new(),
        }
    }
}

impl Agents {
    /// What can be told wrong without asking the machine who is there.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!((1..=1024).contains(&self.instances_max), "agents.instances_max is 1 to 1024");
        ensure!((64..=1_000_000).contains(&self.processes_max), "agents.processes_max is 64 to 1000000");
        let folders = self.folders.iter().chain(self.users.values());
        for path in folders.map(PathBuf::as_path).chain(self.cgroup()) {
            ensure!(path.is_absolute(), "agents: {} is not an absolute path", path.display());
        }
        Ok(())
    }

    /// The cgroup, where one is named.
    pub fn cgroup(&self) -> Option<&Path> {
        Some(self.cgroup.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// The folders, root's first, and as whom their agents run. `daemon` is the daemon's own user, as whom none does.
    pub fn places(&self, daemon: &str) -> anyhow::Result<Folders> {
        let daemon = user(daemon).with_context(|| format!("looking up “{daemon}”"))?;
        let named = |field: &str, name: &str| {
            let found = user(name).with_context(|| format!("{field}: looking up “{name}”"))?;
            let Some(found) = found else {
                bail!("{field}: there is no user “{name}”: “useradd --system {name}” makes one")
            };
            // Agents of its own user could do to the daemon what it can do itself.
            ensure!(
                daemon.as_ref().is_none_or(|daemon| daemon.uid != found.uid),
                "{field}: agents never run as “{name}”, which is dsmild's own user"
            );
            Ok((found, daemon.as_ref().map(|daemon| daemon.gid)))
        };
        let (ours, daemon_group) = named("agents.user", &self.user)?;
        ensure!(
            daemon_group != Some(ours.gid),
            "agents.user: “{}” is in dsmild's group, which may connect to its socket: give it a group of its own",
            self.user
        );
        let mut list: Vec<Folder> =
            self.folders.iter().map(|path| Folder { path: path.clone(), owner: None }).collect();
        for (name, path) in &self.users {
            let (owner, _) = named("agents.users", name)?;
            list.push(Folder { path: path.clone(), owner: Some(self.runs(owner)) });
        }
        Folders::new(list, self.runs(ours)).context("agents.folders, agents.users and agents.user")
    }

    /// As an agent's user: with that user's own group and no other.
    fn runs(&self, user: User) -> sandbox::User {
        sandbox::User {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: Vec::new(),
            name: user.name,
            home: user.dir,
            processes_max: self.processes_max,
        }
    }
}

fn user(name: &str) -> nix::Result<Option<User>> {
    User::from_name(name)
}
