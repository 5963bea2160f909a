//! What an agent's file says behind its role: where it may look, and what it runs.

use std::path::PathBuf;

/// The arguments of a role.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The folder that it reads, and nothing outside of it.
    pub root: Option<PathBuf>,
    /// Hosts, each perhaps with a port, that it may ask.
    pub hosts: Vec<String>,
    /// Which value of a token: `current`, `ac` or `battery`.
    pub select: Option<String>,
    /// What it runs: a program and its arguments.
    pub command: Vec<String>,
}

impl Options {
    /// Reads `--root DIR`, `--host HOST`, `--select WHICH`, and `-- PROGRAM ARGUMENT…`.
    ///
    /// # Errors
    ///
    /// What is wrong, for people.
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(word) = words.next() {
            if word == "--" {
                options.command = words.by_ref().collect();
                break;
            }
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--root" => {
                    let root = PathBuf::from(value()?);
                    if !root.is_absolute() {
                        return Err("--root needs an absolute path".to_owned());
                    }
                    options.root = Some(root);
                }
                "--host" => options.hosts.push(value()?.to_ascii_lowercase()),
                "--select" => {
                    let select = value()?;
                    if !["current", "ac", "battery"].contains(&select.as_str()) {
                        return Err("--select needs current, ac or battery".to_owned());
                    }
                    options.select = Some(select);
                }
                _ => return Err(format!("“{word}” is unknown: --root, --host, --select, -- are known")),
            }
        }
        Ok(options)
    }
}
