//! What can go wrong, by what the caller does about it.

use std::path::{Path, PathBuf};

/// Why the TPM did not do what was asked.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    /// No TPM answers at the configured place, or the connection broke. A request after a pause tries to open it again.
    #[error(
        "the TPM at {tcti} does not answer: {reason}; check that it exists, is enabled in the firmware's set-up, and \
         that this user may open it (group tss), then try again"
    )]
    Unavailable {
        /// The configured place.
        tcti: String,
        /// What was seen.
        reason: String,
    },
    /// The TPM, or the key folder, is in use; the limit of retries or the deadline was reached. Try again.
    #[error("{what} is busy ({reason}); try again later")]
    Busy {
        /// What is busy.
        what: &'static str,
        /// What it answered.
        reason: String,
    },
    /// The TPM's protection against guessing is active.
    #[error(
        "the TPM is locked out after too many wrong authorisations; wait for its recovery time (`tpm2_getcap \
         properties-variable`) or reset it with `tpm2_dictionarylockout --clear-lockout`"
    )]
    LockedOut,
    /// The TPM's owner has set an authorisation value that this program does not know.
    #[error(
        "the TPM refuses the empty authorisation for {what}; clear that authorisation, or let its owner create a \
         P-256 storage key without authorisation and configure its persistent handle"
    )]
    Authorization {
        /// The hierarchy or key.
        what: String,
    },
    /// Something else than a P-256 storage key lies at the configured persistent handle.
    #[error(
        "the TPM's persistent handle {handle:#010x} holds {found}, not an ECC P-256 storage key; configure a free \
         handle between 0x81000000 and 0x817fffff"
    )]
    Srk {
        /// The configured handle.
        handle: u32,
        /// What is there.
        found: String,
    },
    /// The key folder was written with another TPM, or the TPM was cleared since.
    #[error(
        "the key in {path} belongs to another TPM (or this one was cleared, or its commands are intercepted); to give \
         this machine a new identity move the file away and start again, else put back the TPM or the right folder"
    )]
    ForeignKeyDir {
        /// The key file.
        path: PathBuf,
    },
    /// The key file is damaged.
    #[error(
        "the key in {path} cannot be used: {reason}; put back a copy, or move it away to make a new identity"
    )]
    DamagedKey {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key folder cannot be read or written.
    #[error("cannot {action} {path}: {source}; check that it exists, who owns it, and the space left")]
    KeyDir {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Sealed data that another TPM sealed, or this one before it was cleared.
    #[error("this data was sealed by another TPM (or by this one before it was cleared); unseal it there")]
    ForeignBlob,
    /// Sealed data that was changed or cut, or was sealed under another key folder.
    #[error("the sealed data was damaged, or sealed under another key folder: {reason}; take another copy")]
    DamagedBlob {
        /// What is wrong with it.
        reason: String,
    },
    /// The machine was started with other software or settings than the policy names.
    #[error(
        "the TPM's PCRs {registers:?} are not those of the policy: firmware, boot loader, kernel or their settings changed; \
         have the new state signed by the owner of the policy key, or use the recovery key"
    )]
    WrongPcr {
        /// The registers that the policy looks at.
        registers: Vec<u8>,
    },
    /// The revocation counter went on since the policy was signed: it may be a copy of an old one.
    #[error(
        "this policy was revoked: it holds up to revocation counter {counter_max}, and the TPM has counted further; use the \
         newest policy, or have one signed"
    )]
    PolicyRevoked {
        /// What the policy names.
        counter_max: u64,
    },
    /// The policy was not signed by the key that the data is sealed to, or was changed since.
    #[error(
        "this policy is not signed by the key that the data is sealed to, or was changed; take the policy that belongs to \
         this machine's policy key"
    )]
    PolicyKey,
    /// Something is defined at this NV index.
    #[error(
        "the TPM's NV index {index:#010x} is taken; take another one, or remove it (`tpm2_nvundefine {index:#010x}`)"
    )]
    NvDefined {
        /// The index.
        index: u32,
    },
    /// Nothing is defined at this NV index.
    #[error(
        "the TPM has no NV index {index:#010x}: it was never defined, or somebody removed it; define it, or, where it was the \
         log's anchor or the vault's counter, make that anew (`dsmild run --accept-anchor`, `dsmil tpm recover`)"
    )]
    NvMissing {
        /// The index.
        index: u32,
    },
    /// The index was defined, but never written.
    #[error(
        "the TPM's NV index {index:#010x} was never written: its definition was interrupted, or it was defined anew; write or \
         increment it first, or, where it was the log's anchor or the vault's counter, make that anew \
         (`dsmild run --accept-anchor`, `dsmil tpm recover`)"
    )]
    NvUnwritten {
        /// The index.
        index: u32,
    },
    /// The index is somebody else's.
    #[error(
        "the TPM's NV index {index:#010x} is not this key folder's: it was defined by somebody else, or under another \
         key; take another index, or remove it if nobody needs it"
    )]
    NvForeign {
        /// The index.
        index: u32,
    },
    /// The anchor's counter is neither where it was expected nor one before.
    #[error(
        "the TPM has counted {counted} anchorings of the log where {named} were expected; start dsmild anew, which holds the log against it"
    )]
    AnchorCount {
        /// By the chip.
        counted: u64,
        /// By the caller.
        named: u64,
    },
    /// The chip has no room for another NV index.
    #[error("the TPM has no NV space left; see `tpm2_getcap handles-nv-index` for what can be removed")]
    NvSpace,
    /// A length outside the documented range; a mistake of the caller.
    #[error("{what} of {len} bytes; between 1 and {max} are possible")]
    Length {
        /// What has this length.
        what: &'static str,
        /// The length asked for, bytes.
        len: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// The answer did not come in time. What was asked for may still happen.
    #[error("the TPM did not answer within the deadline; it may be slow or hang: try again with more time")]
    DeadlinePassed,
    /// As many requests as are allowed wait already.
    #[error("{len} requests wait for the TPM already, the limit; try again later")]
    QueueFull {
        /// The configured limit.
        len: usize,
    },
    /// This chip, or the software in its place, does not do such a thing.
    #[error(
        "{what} is not done by {by}; do without it, or use a TPM that offers it: `dsmil tpm status` lists what one does"
    )]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// By whom.
        by: &'static str,
    },
    /// [`Handle::shutdown`](crate::Handle::shutdown) was called; the daemon is stopping.
    #[error("the TPM's thread has stopped, as the daemon does; ask again when that is started")]
    Stopped,
    /// The TPM refused a command in a way that no caller can repair, or gave an answer that is none.
    #[error("the TPM's answer to TPM2_{command} is {code:#x}: {text}; see `tpm2_rc_decode {code:#x}`")]
    Chip {
        /// The command, in the specification's words, without `TPM2_`.
        command: &'static str,
        /// The response code; the kernel's resource manager marks its own above bit 15. 0 where there is none.
        code: u32,
        /// The code in words.
        text: String,
    },
    /// The register can be extended from another locality alone.
    #[error(
        "PCR {register} is reserved for a dynamic start of the machine (TPM_RC_LOCALITY); extend one of 0 to 16, or 23"
    )]
    PcrReserved {
        /// The register.
        register: u8,
    },
    /// The index holds something else than what was asked for can be done with.
    #[error("the TPM's NV index {index:#010x} does not hold {wanted}; name one that does, or define another")]
    NvOther {
        /// The index.
        index: u32,
        /// What it would have to hold.
        wanted: &'static str,
    },
}

impl Error {
    /// An answer that is none.
    pub(crate) fn malformed(command: &'static str, text: &str) -> Self {
        Self::Chip { command, code: 0, text: text.to_owned() }
    }

    /// The signing key's file is not what it should be.
    pub(crate) fn damaged_key(path: &Path, reason: &str) -> Self {
        Self::DamagedKey { path: path.to_owned(), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What went wrong, and behind a semicolon what to do.
    #[test]
    fn each_says_what_to_do() {
        let (index, path, reason) = (0x0180_0001, PathBuf::from("key"), || "a reason".to_owned());
        let source = std::io::Error::other("a reason");
        let errors = [
            Error::Unavailable { tcti: "device".to_owned(), reason: reason() },
            Error::Busy { what: "the TPM", reason: reason() },
            Error::LockedOut,
            Error::Authorization { what: "the owner hierarchy".to_owned() },
            Error::Srk { handle: 0x8100_0001, found: "nothing".to_owned() },
            Error::ForeignKeyDir { path: path.clone() },
            Error::damaged_key(&path, "a reason"),
            Error::KeyDir { action: "read", path, source },
            Error::ForeignBlob,
            Error::DamagedBlob { reason: reason() },
            Error::WrongPcr { registers: vec![7] },
            Error::PolicyRevoked { counter_max: 5 },
            Error::PolicyKey,
            Error::NvDefined { index },
            Error::NvMissing { index },
            Error::NvUnwritten { index },
            Error::NvForeign { index },
            Error::AnchorCount { counted: 2, named: 1 },
            Error::NvSpace,
            Error::Length { what: "data", len: 0, max: 1 },
            Error::DeadlinePassed,
            Error::QueueFull { len: 1 },
            Error::Unsupported { what: "a quote", by: "a key in software" },
            Error::Stopped,
            Error::Chip { command: "Sign", code: 0x907, text: reason() },
            Error::PcrReserved { register: 17 },
            Error::NvOther { index, wanted: "a counter" },
        ];
        for error in errors {
            let text = error.to_string();
            let (_, next) = text.split_once("; ").or_else(|| text.split_once(": ")).unwrap_or_default();
            assert!(next.split(' ').count() > 2, "{text}");
        }
    }
}
