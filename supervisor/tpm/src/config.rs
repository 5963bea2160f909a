//! Where the chip and its key folder are, and the limits.

use std::path::PathBuf;
use std::time::Duration;

use crate::key_dir::Role;

/// The TPM through the kernel's resource manager.
pub const TCTI_DEVICE: &str = "device:/dev/tpmrm0";

/// The persistent handle where the TCG's provisioning guidance puts the storage root key.
pub const SRK_HANDLE: u32 = 0x8100_0001;

/// What [`start`](crate::start) needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the chip is, in libtss2's notation: `device:PATH` or `swtpm:host=ADDRESS,port=NUMBER`.
    pub tcti: String,
    /// The folder of the signing key's blobs; made with mode 0700 if it is missing. It belongs to one TPM.
    pub key_dir: PathBuf,
    /// The persistent handle of the storage root key, 0x81000000 to 0x817FFFFF (the owner's range).
    pub srk_handle: u32,
    /// How many requests may wait; one more is refused with [`Error::QueueFull`](crate::Error::QueueFull). At least 1.
    pub queue_len: usize,
    /// How long a caller waits for an answer unless [`Handle::within`](crate::Handle::within) says otherwise.
    pub deadline: Duration,
}

impl Config {
    /// The machine's own TPM, with the limits that suit it.
    pub fn new(key_dir: impl Into<PathBuf>) -> Self {
        Self {
            tcti: TCTI_DEVICE.to_owned(),
            key_dir: key_dir.into(),
            srk_handle: SRK_HANDLE,
            // At 40 ms a signature this is the work of about ten seconds: who would wait longer should be told.
            queue_len: 256,
            // A chip may spend 2 s on one command, and a few can be ahead in the queue.
            deadline: Duration::from_secs(10),
        }
    }

    /// Whether keys were made there before.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.key_dir.join(Role::Head.file()).exists()
    }
}
