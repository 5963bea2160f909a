//! The programs that ours is held against: with their defaults, compression at zstd's usual level.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::ensure;
use tests::bench::output;

use crate::Keeper;

/// A program with the words that it wants.
pub trait Words {
    fn name(&self) -> &'static str;
    fn program(&self) -> &str;
    fn version(&self) -> anyhow::Result<String>;
    fn restore(&self, to: &Path, tree: &Path) -> Vec<String>;
    fn restore_over(&self, tree: &Path, over: Over) -> Vec<String>;
}

pub struct Peer<W>(pub W);

/// How a restore over existing data finds what has changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Over {
    /// By size and mtime.
    Trusting,
    /// By reading.
    Verifying,
}

impl<W: Words> Peer<W> {
    /// Brings the newest state back over what is there.
    pub fn restore_over(&self, repository: &Path, tree: &Path, over: Over) -> anyhow::Result<()> {
        self.run(repository, &self.0.restore_over(tree, over))
    }

    fn run(&self, repository: &Path, words: &[String]) -> anyhow::Result<()> {
        let done = Command::new(self.0.program())
            .arg("--repo")
            .arg(repository)
            .args(words)
            .env("RESTIC_PASSWORD", "bench")
            .env("RUSTIC_PASSWORD", "bench")
            .env("XDG_CACHE_HOME", repository.with_extension("cache"))
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{} {}: {said}", self.0.name(), words.join(" "));
        Ok(())
    }
}

fn words(words: &[&str], paths: &[&Path]) -> Vec<String> {
    let words = words.iter().map(|word| (*word).to_owned());
    words.chain(paths.iter().map(|path| path.display().to_string())).collect()
}

impl<W: Words> Keeper for Peer<W> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn version(&self) -> anyhow::Result<String> {
        self.0.version()
    }

    fn create(&self, repository: &Path) -> anyhow::Result<()> {
        crate::fresh(&repository.with_extension("cache"))?;
        self.run(repository, &words(&["init"], &[]))
    }

    fn store(&self, repository: &Path, tree: &Path) -> anyhow::Result<()> {
        self.run(repository, &words(&["backup"], &[tree]))
    }

    fn restore(&self, repository: &Path, tree: &Path, to: &Path) -> anyhow::Result<()> {
        self.run(repository, &self.0.restore(to, tree))
    }
}

/// Where a restore puts a tree below a folder, by its whole path.
pub fn below(to: &Path, tree: &Path) -> PathBuf {
    to.join(tree.strip_prefix("/").unwrap_or(tree))
}

pub struct Restic(String);

impl Restic {
    /// The program that `RESTIC` names.
    pub fn found() -> Option<Self> {
        std::env::var("RESTIC").ok().map(Self)
    }
}

impl Words for Restic {
    fn name(&self) -> &'static str {
        "restic"
    }

    fn program(&self) -> &str {
        &self.0
    }

    fn version(&self) -> anyhow::Result<String> {
        output(&self.0, &["version"])
    }

    fn restore(&self, to: &Path, _: &Path) -> Vec<String> {
        words(&["restore", "latest", "--target"], &[to])
    }

    fn restore_over(&self, tree: &Path, over: Over) -> Vec<String> {
        let overwrite = match over {
            Over::Trusting => "if-changed",
            Over::Verifying => "always",
        };
        let what = format!("latest:{}", tree.display());
        words(&["restore", &what, "--delete", "--overwrite", overwrite, "--target"], &[tree])
    }
}

pub struct Rustic(String);

impl Rustic {
    /// The program that `RUSTIC` names.
    pub fn found() -> Option<Self> {
        std::env::var("RUSTIC").ok().map(Self)
    }
}

impl Words for Rustic {
    fn name(&self) -> &'static str {
        "rustic"
    }

    fn program(&self) -> &str {
        &self.0
    }

    fn version(&self) -> anyhow::Result<String> {
        output(&self.0, &["--version"])
    }

    fn restore(&self, to: &Path, tree: &Path) -> Vec<String> {
        let mut words = words(&["restore"], &[]);
        words.push(format!("latest:{}", tree.display()));
        words.push(to.display().to_string());
        words
    }

    fn restore_over(&self, tree: &Path, over: Over) -> Vec<String> {
        let mut words = words(&["restore", "--delete"], &[]);
        words.extend((over == Over::Verifying).then(|| "--verify-existing".to_owned()));
        words.push(format!("latest:{}", tree.display()));
        words.push(tree.display().to_string());
        words
    }
}

/// A limit: no encryption, no index, no flush.
pub struct Tar(PathBuf);

impl Tar {
    pub fn new(path: &Path) -> Self {
        Self(path.with_extension("tar.zst"))
    }

    pub fn version(&self) -> String {
        output("tar", &["--version"]).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
            + ", zstd -3 -T0"
    }

    pub fn store(&self, tree: &Path) -> anyhow::Result<()> {
        let done = Command::new("tar")
            .args(["-I", "zstd -3 -T0", "-cf"])
            .arg(&self.0)
            .arg("-C")
            .arg(tree)
            .arg(".")
            .status()?;
        ensure!(done.success(), "tar failed");
        Ok(())
    }

    pub fn bytes(&self) -> anyhow::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
