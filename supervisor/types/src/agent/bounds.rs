//! What an agent may use up, how often it is tried, what it may reach.

use std::fmt;
use std::str::FromStr;

use super::amount::{Bytes, Cpu, Milliseconds};

/// What an agent may use up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// Memory of all its processes together, swap included.
    pub memory: Bytes,
    /// Processes and threads at once.
    pub pids: u32,
    /// Processor time, in percent of one core.
    pub cpu: Cpu,
    /// Open files of one process.
    pub open_files: u32,
    /// One line on its stdout, without the line feed.
    pub output_line: Bytes,
    /// Bytes that it may write to its stdout in a second, on average.
    pub output_second: Bytes,
}

impl Default for Limits {
    /// Enough for a small program of any language, and 80 of them fit into a laptop.
    fn default() -> Self {
        Self {
            memory: Bytes(256 << 20),
            pids: 32,
            cpu: Cpu(100),
            open_files: 256,
            output_line: Bytes(64 << 10),
            output_second: Bytes(1 << 20),
        }
    }
}

/// How often a failed task is tried again, and when: `delay`, doubled each time up to `delay_max`, with jitter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Retry {
    /// Attempts after the first.
    pub limit: u32,
    /// Before the second attempt.
    pub delay: Milliseconds,
    /// Before any attempt.
    pub delay_max: Milliseconds,
}

impl Default for Retry {
    /// Three times, 1 s to 30 s.
    fn default() -> Self {
        Self { limit: 3, delay: Milliseconds(1_000), delay_max: Milliseconds(30_000) }
    }
}

/// How long one attempt at a task may take unless the file says otherwise.
pub const TIMEOUT: Milliseconds = Milliseconds(30_000);

/// What an agent asks to reach.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Network {
    /// Nothing, not even this machine.
    #[default]
    None,
    /// A loopback of its own.
    Loopback,
    /// Whatever the machine reaches.
    Full,
}

/// A text that is no [`Network`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotANetwork;

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is none of none, loopback, full")
    }
}

impl std::error::Error for NotANetwork {}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Loopback => "loopback",
            Self::Full => "full",
        })
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        [Self::None, Self::Loopback, Self::Full]
            .into_iter()
            .find(|network| network.to_string() == text)
            .ok_or(NotANetwork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_read_back() {
        for network in [Network::None, Network::Loopback, Network::Full] {
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        assert_eq!("None".parse::<Network>(), Err(NotANetwork));
    }
}
