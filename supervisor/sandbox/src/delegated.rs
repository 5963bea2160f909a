//! Finds the cgroup that is ours to divide.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::folder::Folder;
use crate::subtree::{step_aside, turn_on};

/// Where the supervisor itself goes in a cgroup that was delegated to it: beside the agents, not above them.
pub const ASIDE: &str = "supervisor";
/// What is made at the top of the tree where nobody divides it.
const OURS: &str = "dsmil";

/// The cgroup below which agents may have theirs.
///
/// That is the configured one, made if need be; else our own, if whoever divides the tree has delegated it (systemd's `Delegate=`); else,
/// where nobody has put us anywhere, one at the top.
///
/// # Errors
///
/// There is no cgroup v2 tree, or nothing in it is ours.
pub fn find(configured: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = configured {
        make(path)?;
        return Ok(path.to_owned());
    }
    let root = root()?;
    let own = own()?;
    let own = Path::new(&own);
    let here = if own.ends_with(ASIDE) { own.parent().unwrap_or(own) } else { own };
    let Ok(relative) = here.strip_prefix("/") else {
        return Err(Error::Unfit("our cgroup is not in the tree that we see"));
    };
    if relative.as_os_str().is_empty() {
        // The topmost folder may hold processes and divide what there is all the same. What it has not is missing below, and told there.
        turn_on(&Folder::open(&root)?)?;
        let path = root.join(OURS);
        make(&path)?;
        return Ok(path);
    }
    let path = root.join(relative);
    if is_delegated(&path) {
        Ok(path)
    } else {
        Err(Error::Unfit(
            "our cgroup was not delegated to us: let systemd start dsmild (Delegate=yes), or name one in agents.cgroup",
        ))
    }
}

/// Finds it, and moves this process out of the way if it is in the cgroup itself, where it would keep controllers from being turned on.
///
/// # Errors
///
/// As [`find`]; the kernel refused.
pub fn take(configured: Option<&Path>) -> Result<PathBuf, Error> {
    let path = find(configured)?;
    if path == root()?.join(own()?.trim_start_matches('/')) {
        step_aside(&path, ASIDE)?;
    }
    Ok(path)
}

fn make(path: &Path) -> Result<(), Error> {
    match std::fs::create_dir(path) {
        Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::Tree { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// systemd marks what it has given away.
fn is_delegated(path: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].into_iter().any(|name| {
        let mut value = [0; 8];
        matches!(rustix::fs::getxattr(path, name, &mut value), Ok(1) if value.starts_with(b"1"))
    })
}

fn read(path: &str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Tree { path: path.into(), source })
}

/// Where the tree is mounted.
///
/// # Errors
///
/// It is not.
pub fn root() -> Result<PathBuf, Error> {
    let mounts = read("/proc/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let place = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(place))
    });
    found.ok_or(Error::Unfit("no cgroup v2 tree is mounted"))
}

/// Our own cgroup's path in the tree.
fn own() -> Result<String, Error> {
    let text = read("/proc/self/cgroup")?;
    let found = text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned);
    found.filter(|path| !path.contains("/..")).ok_or(Error::Unfit("we are in no cgroup of the v2 tree"))
}
