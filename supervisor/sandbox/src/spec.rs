//! What is to run, and as whom.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::Error;

/// Most bytes of words and environment together: far below what the kernel takes.
const BYTES_MAX: usize = 512 << 10;

/// As whom an agent runs. Never as root, nor as a member of root's group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// Its group's.
    pub gid: u32,
    /// All further groups; what we are a member of is not inherited.
    pub groups: Vec<u32>,
    /// Its name, for the environment.
    pub name: String,
    /// Its home, for the environment.
    pub home: PathBuf,
    /// Most processes and threads of this user, all its agents together (RLIMIT_NPROC).
    pub processes_max: u32,
}

/// A program to run as an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// The program's absolute path and its arguments. It is not searched for.
    pub command: Vec<String>,
    /// The environment beyond the least: `PATH`, `LANG`, `HOME`, `USER`, `LOGNAME`. These can be set otherwise.
    pub environment: Vec<(String, String)>,
    /// Where it starts.
    pub folder: PathBuf,
    /// As whom.
    pub user: User,
}

/// A [`Spec`] as the kernel takes it.
#[derive(Debug)]
pub(crate) struct Image {
    pub words: Vec<CString>,
    pub environment: Vec<CString>,
    pub folder: CString,
}

impl Spec {
    pub(crate) fn image(&self) -> Result<Image, Error> {
        let User { uid, gid, groups, name, home, .. } = &self.user;
        if *uid == 0 || *gid == 0 || groups.contains(&0) {
            return Err(Error::Unfit("an agent never runs as root or in root's group"));
        }
        if !self.command.first().is_some_and(|program| program.starts_with('/')) {
            return Err(Error::Unfit("a program is named by its absolute path"));
        }
        let home = home.to_str().ok_or(Error::Unfit("the user's home is not UTF-8"))?;
        let mut variables = vec![
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            ("HOME", home),
            ("USER", name),
            ("LOGNAME", name),
        ];
        for (key, value) in &self.environment {
            if key.is_empty() || key.contains('=') {
                return Err(Error::Unfit("a variable's name is empty or holds a “=”"));
            }
            variables.retain(|(found, _)| found != key);
            variables.push((key, value));
        }
        let environment: Vec<String> =
            variables.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let bytes: usize = self.command.iter().chain(&environment).map(|word| word.len() + 1).sum();
        if bytes > BYTES_MAX {
            return Err(Error::Unfit("command and environment are too long"));
        }
        let nul = |_| Error::Unfit("a word, a variable or a folder holds a NUL");
        Ok(Image {
            words: self
                .command
                .iter()
                .map(|word| CString::new(word.as_str()).map_err(nul))
                .collect::<Result<_, _>>()?,
            environment: environment
                .into_iter()
                .map(|word| CString::new(word).map_err(nul))
                .collect::<Result<_, _>>()?,
            folder: CString::new(self.folder.as_os_str().as_bytes()).map_err(nul)?,
        })
    }
}
