//! A command that failed, and what its code means (TPM 2.0 Library Part 2, section 6.6).

use crate::Error;

/// A command that failed, before it is known what that means to the caller.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Without `TPM2_`.
    pub(crate) command: &'static str,
    pub(crate) tcti: String,
    pub(crate) cause: Cause,
}

/// Why.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The connection broke, or what answered is not who it should be.
    Lost(String),
    /// The TPM, or the kernel's resource manager, answered with this code.
    Tpm(u32),
    /// It could not be sent.
    Own(String),
}

// The kernel's resource manager marks its own codes with a layer above these bits.
const LAYER: u32 = 0xffff_0000;

// Codes of format one, without the bits that say which handle, session or parameter.
const FORMAT_ONE: u32 = 0x80;
const PARAMETER: u32 = 0x40;
const AUTH_FAIL: u32 = 0x8e;
const BAD_AUTH: u32 = 0xa2;
const VALUE: u32 = 0x84;
const HANDLE: u32 = 0x8b;

pub(crate) const POLICY: u32 = 0x126;
pub(crate) const COMMAND_CODE: u32 = 0x143;
pub(crate) const NV_SPACE: u32 = 0x14b;
pub(crate) const NV_DEFINED: u32 = 0x14c;
pub(crate) const NV_UNINITIALIZED: u32 = 0x14a;
pub(crate) const LOCALITY: u32 = 0x907;
const POLICY_FAIL: u32 = 0x9d;

impl Fault {
    fn code(&self) -> Option<u32> {
        match self.cause {
            Cause::Tpm(code) => Some(code & !LAYER),
            _ => None,
        }
    }

    /// The code without what it is about; `None` unless the TPM itself refused.
    pub(crate) fn kind(&self) -> Option<u32> {
        self.code().map(|code| if code & FORMAT_ONE == 0 { code } else { code & 0xbf })
    }

    /// Whether an authorisation value was wrong.
    pub(crate) fn is_authorization(&self) -> bool {
        matches!(self.kind(), Some(AUTH_FAIL | BAD_AUTH))
    }

    /// Whether the TPM refused one of the parameters: when an object is loaded they are its two areas.
    pub(crate) fn is_parameter(&self) -> bool {
        self.code().is_some_and(|code| code & (FORMAT_ONE | PARAMETER) == FORMAT_ONE | PARAMETER)
    }

    /// Whether a value was not the expected one.
    pub(crate) fn is_value(&self) -> bool {
        self.kind() == Some(VALUE)
    }

    /// Whether a handle names nothing.
    pub(crate) fn is_handle(&self) -> bool {
        self.kind() == Some(HANDLE)
    }

    /// Whether the policy that was satisfied is not the object's.
    pub(crate) fn is_policy(&self) -> bool {
        matches!(self.kind(), Some(POLICY_FAIL))
    }

    /// Whether the chip does not know an object or a session that it held for us.
    pub(crate) fn is_forgotten(&self) -> bool {
        // TPM_RC_REFERENCE_H0 to H6 and S0 to S6.
        matches!(self.code(), Some(0x910..=0x916 | 0x918..=0x91e))
    }

    /// Whether the TPM asks for the same command again, or is short of something that others may give back.
    pub(crate) fn is_busy(&self) -> bool {
        // CONTEXT_GAP is none of them. OBJECT_MEMORY, SESSION_MEMORY, MEMORY, SESSION_HANDLES, OBJECT_HANDLES;
        // YIELDED, CANCELED, TESTING; NV_RATE, RETRY.
        matches!(self.code(), Some(0x902..=0x906 | 0x908..=0x90a | 0x920 | 0x922))
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        if fault.is_busy() {
            let code = fault.code().unwrap_or_default();
            let reason = format!("TPM2_{}: {code:#x}, {}", fault.command, words(code));
            return Self::Busy { what: "the TPM", reason };
        }
        match fault.cause {
            Cause::Lost(reason) => Self::Unavailable { tcti: fault.tcti, reason },
            Cause::Tpm(code) if code & !LAYER == 0x921 => Self::LockedOut,
            Cause::Tpm(code) => Self::Chip { command: fault.command, code, text: words(code).to_owned() },
            Cause::Own(text) => Self::Chip { command: fault.command, code: 0, text },
        }
    }
}

/// A code in words, for the ones that we have seen or can expect.
fn words(code: u32) -> &'static str {
    let code = code & !LAYER;
    let kind = if code & FORMAT_ONE == 0 { code } else { code & 0xbf };
    match kind {
        0x81 => "asymmetric algorithm not supported or not correct",
        0x82 => "inconsistent attributes",
        0x83 => "hash algorithm not supported",
        VALUE => "value out of range or not correct for the context",
        0x85 => "hierarchy not enabled or not correct",
        0x87 => "key size not supported",
        HANDLE => "the handle names nothing",
        AUTH_FAIL => "authorisation failed",
        0x92 => "scheme not supported or not appropriate",
        0x95 => "structure of a wrong size",
        0x96 => "symmetric algorithm or key size not supported",
        0x99 => "policy: a digest does not match",
        0x9a => "insufficient data",
        0x9b => "signature not valid",
        POLICY_FAIL => "a policy check failed",
        0x9f => "integrity check failed",
        0xa0 => "ticket not valid",
        0xa1 => "reserved bits are not zero",
        BAD_AUTH => "wrong authorisation",
        0x100 => "not initialised: TPM2_Startup is missing",
        0x101 => "the TPM is in failure mode: switch the machine off and on",
        0x120 => "the command is disabled",
        0x125 => "no authorisation where one is needed",
        POLICY => "a condition of the policy does not hold",
        0x128 => "the PCRs have changed since they were checked",
        COMMAND_CODE => "command code not supported",
        0x146 => "NV offset or length outside of the index",
        0x148 => "NV index locked",
        0x149 => "NV access refused by the index's attributes",
        NV_UNINITIALIZED => "NV index never written",
        NV_SPACE => "no NV space left",
        NV_DEFINED => "NV index defined already",
        0x902 => "no memory for objects",
        0x903 => "no memory for sessions",
        0x904 => "out of memory",
        0x905 => "no session handles",
        0x906 => "no object handles",
        LOCALITY => "not from this locality: what it is about is reserved for others",
        0x908 => "suspended",
        0x909 => "cancelled",
        0x90a => "testing itself",
        0x910..=0x91e => "a loaded object or session is not there any more",
        0x920 => "NV writes too frequent",
        0x921 => "locked out",
        0x922 => "not ready, again later",
        0x923 => "NV not available",
        _ => "a code that this program has no words for",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(cause: Cause) -> Fault {
        Fault { command: "Sign", tcti: "device:/dev/tpmrm0".to_owned(), cause }
    }

    fn error(code: u32) -> Error {
        fault(Cause::Tpm(code)).into()
    }

    #[test]
    fn errors_are_sorted_by_what_the_caller_does() {
        // The last two as the kernel's resource manager marks them.
        for busy in [0x922, 0x908, 0x90a, 0x920, 0x902, 0xc_0902, 0xb_0903] {
            assert!(matches!(error(busy), Error::Busy { .. }), "{busy:#x}");
        }
        assert!(matches!(error(0x921), Error::LockedOut));
        for chip in [0x101, 0x084] {
            assert!(matches!(error(chip), Error::Chip { code, .. } if code == chip), "{chip:#x}");
        }
        assert!(matches!(fault(Cause::Lost(String::new())).into(), Error::Unavailable { .. }));
    }

    #[test]
    fn a_locality_has_words() {
        let Error::Chip { code, text, .. } = error(LOCALITY) else { panic!("no answer of the chip") };
        assert!(code == 0x907 && text.contains("locality"), "{text}");
    }

    #[test]
    fn authorisations_and_parameters_are_told_apart() {
        let fault = |code| fault(Cause::Tpm(code));
        // TPM_RC_BAD_AUTH and TPM_RC_AUTH_FAIL of the first session.
        assert!(fault(0x9a2).is_authorization() && !fault(0x9a2).is_parameter());
        assert!(fault(0x98e).is_authorization() && !fault(0x98e).is_parameter());
        // TPM_RC_INTEGRITY of the first parameter, TPM_RC_HANDLE of the first handle.
        assert!(fault(0x1df).is_parameter() && !fault(0x1df).is_authorization());
        assert!(!fault(0x18b).is_parameter() && fault(0x18b).is_handle());
        assert!(fault(0x910).is_forgotten() && fault(0x918).is_forgotten() && !fault(0x922).is_forgotten());
    }
}
