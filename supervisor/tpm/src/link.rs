//! One command to the chip: counted, retried while the chip asks for it, its errors sorted.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::response_code::{Tss2ResponseCode, Tss2ResponseCodeKind as Kind};
use tss_esapi::handles::ObjectHandle;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::Auth;
use tss_esapi::{Context, TctiNameConf};

use crate::Error;
use crate::counters::Shared;

/// How often a command is sent again when the chip asks for it. libtss2 has tried five times before each.
const RETRIES_MAX: u32 = 10;
/// The first pause before sending again; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause. All together are 3 s, more than a self-test or a key generation takes.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A command that failed, before it is known what that means to the caller.
#[derive(Debug)]
pub(crate) struct Fault {
    command: &'static str,
    tcti: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// The connection is broken.
    Lost(String),
    /// The TPM answered with this code; `None` where it is none that the specification knows.
    Tpm(Option<Kind>, u32, String),
    /// The wrapper of libtss2 did not like its input.
    Wrapper(String),
}

impl Fault {
    /// The TPM's own answer, if it was the TPM that refused.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.cause {
            Cause::Tpm(kind, ..) => kind,
            _ => None,
        }
    }

    /// Whether an authorisation value was wrong.
    pub(crate) fn is_authorization(&self) -> bool {
        matches!(self.kind(), Some(Kind::BadAuth | Kind::AuthFail))
    }

    /// Whether the TPM refused one of the parameters: when an object is loaded they are its two areas.
    pub(crate) fn is_parameter(&self) -> bool {
        // TPM 2.0 Library Part 2, section 6.6.2: format one, bit P.
        matches!(self.cause, Cause::Tpm(_, code, _) if code & 0xc0 == 0xc0)
    }

    /// Whether the TPM asks for the same command again, or is short of something that others may give back.
    fn is_busy(&self) -> bool {
        matches!(
            self.kind(),
            Some(
                Kind::Retry
                    | Kind::Yielded
                    | Kind::Testing
                    | Kind::NvRate
                    | Kind::Canceled
                    | Kind::Memory
                    | Kind::ObjectMemory
                    | Kind::ObjectHandles
                    | Kind::SessionMemory
                    | Kind::SessionHandles
            )
        )
    }

    fn new(command: &'static str, tcti: &str, error: tss_esapi::Error) -> Self {
        let cause = match error {
            tss_esapi::Error::WrapperError(_) => Cause::Wrapper(error.to_string()),
            tss_esapi::Error::Tss2Error(response) => {
                let code = raw_code(response);
                match code >> LAYER_SHIFT {
                    LAYER_TPM | LAYER_RESMGR | LAYER_RESMGR_TPM => {
                        Cause::Tpm(response.kind(), code, error.to_string())
                    }
                    LAYER_TCTI => Cause::Lost(format!("the connection failed with {code:#x}")),
                    // A response that is malformed, or was changed on its way: libtss2 takes no further command.
                    layer => Cause::Lost(format!(
                        "libtss2 could not accept its response to {command}, layer {layer}, code {code:#x}"
                    )),
                }
            }
        };
        Self { command, tcti: tcti.to_owned(), cause }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        if fault.is_busy() {
            let reason = match fault.cause {
                Cause::Tpm(_, code, text) => format!("{}: {code:#x}, {text}", fault.command),
                _ => fault.command.to_owned(),
            };
            return Self::Busy { what: "the TPM", reason };
        }
        match fault.cause {
            Cause::Lost(reason) => Self::Unavailable { tcti: fault.tcti, reason },
            Cause::Tpm(Some(Kind::Lockout), ..) => Self::LockedOut,
            Cause::Tpm(_, code, text) => Self::Chip { command: fault.command, code, text },
            Cause::Wrapper(text) => Self::Chip { command: fault.command, code: 0, text },
        }
    }
}

// TCG TSS 2.0 Overview and Common Structures, section 3: the layer that a response code comes from.
const LAYER_SHIFT: u32 = 16;
const LAYER_TPM: u32 = 0;
const LAYER_TCTI: u32 = 10;
const LAYER_RESMGR: u32 = 11;
const LAYER_RESMGR_TPM: u32 = 12;

/// The whole response code. tss-esapi keeps it private and shows it only in this text.
fn raw_code(response: Tss2ResponseCode) -> u32 {
    let text = match response {
        Tss2ResponseCode::Success => return 0,
        Tss2ResponseCode::FormatZero(code) => code.to_string(),
        Tss2ResponseCode::FormatOne(code) => code.to_string(),
    };
    text.rsplit_once("0x").and_then(|(_, digits)| u32::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// The open connection to the chip.
pub(crate) struct Link {
    context: Context,
    tcti: String,
    counters: Arc<Shared>,
    /// Nothing is sent again after this moment.
    pub(crate) deadline: Instant,
    /// Why the connection is broken, once it is: libtss2 refuses every further command then.
    lost: Option<String>,
}

impl Link {
    /// Opens the connection; needs the rights to do so, now and never again.
    pub(crate) fn open(tcti: &str, counters: Arc<Shared>, deadline: Instant) -> Result<Self, Error> {
        let unavailable = |reason: String| Error::Unavailable { tcti: tcti.to_owned(), reason };
        let name: TctiNameConf = tcti.parse().map_err(|_| {
            unavailable("the configuration is neither device:PATH nor swtpm:host=ADDRESS,port=N".into())
        })?;
        // libtss2 gives one code for all that can be wrong with a device; the system says which it is.
        if let Some(path) = tcti.strip_prefix("device:")
            && let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open(path)
        {
            return Err(unavailable(error.to_string()));
        }
        let context = Context::new(name).map_err(|error| match error {
            tss_esapi::Error::Tss2Error(code) => {
                unavailable(format!("libtss2 cannot open it, code {:#x}", raw_code(code)))
            }
            tss_esapi::Error::WrapperError(_) => unavailable(error.to_string()),
        })?;
        Ok(Self { context, tcti: tcti.to_owned(), counters, deadline, lost: None })
    }

    /// Sends one command, again while the chip asks for it, and counts.
    pub(crate) fn command<T>(
        &mut self,
        command: &'static str,
        mut send: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, Fault> {
        let mut pause = PAUSE_MIN;
        let mut retries = 0;
        loop {
            if let Some(reason) = self.lost.clone() {
                return Err(Fault { command, tcti: self.tcti.clone(), cause: Cause::Lost(reason) });
            }
            Shared::add(&self.counters.commands);
            let fault = match send(&mut self.context) {
                Ok(answer) => return Ok(answer),
                Err(error) => Fault::new(command, &self.tcti, error),
            };
            if let Cause::Lost(reason) = &fault.cause {
                self.lost = Some(reason.clone());
            }
            let late = Instant::now() + pause >= self.deadline;
            if !fault.is_busy() || retries == RETRIES_MAX || late {
                return Err(fault);
            }
            Shared::add(&self.counters.retries);
            retries += 1;
            sleep(pause);
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    /// Sends one command in a session that authorises and encrypts.
    ///
    /// The session's attributes are set each time: for a command without anything to encrypt libtss2 takes them away,
    /// and where that command is refused it does not put them back, so the next secret would pass in the clear.
    pub(crate) fn secured<T>(
        &mut self,
        command: &'static str,
        session: AuthSession,
        mut send: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, Fault> {
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_continue_session(true)
            .with_decrypt(true)
            .with_encrypt(true)
            .build();
        self.command(command, |context| {
            context.tr_sess_set_attributes(session, attributes, mask)?;
            context.execute_with_session(Some(session), &mut send)
        })
    }

    /// Tells libtss2 an object's authorisation value.
    pub(crate) fn set_auth(&mut self, object: ObjectHandle, auth: &Auth) -> Result<(), Error> {
        Ok(self.local("an authorisation value", |context| context.tr_set_auth(object, auth.clone()))?)
    }

    /// Frees the slot of an object or a session.
    pub(crate) fn flush(&mut self, object: ObjectHandle) -> Result<(), Fault> {
        self.command("TPM2_FlushContext", |context| context.flush_context(object))
    }

    /// Asks libtss2 for something that needs no command.
    pub(crate) fn local<T>(
        &mut self,
        what: &'static str,
        ask: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, Fault> {
        ask(&mut self.context).map_err(|error| Fault::new(what, &self.tcti, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u32) -> Error {
        Fault::new("TPM2_Sign", "device:/dev/tpmrm0", tss_esapi::Error::Tss2Error(code.into())).into()
    }

    #[test]
    fn the_code_is_read_whole() {
        for code in [0x922, 0xa000a, 0xb0922, 0x98e, 0x7001b, 0xffff_ffff] {
            assert_eq!(raw_code(code.into()), code);
        }
    }

    #[test]
    fn errors_are_sorted_by_what_the_caller_does() {
        for busy in [0x922, 0x908, 0x90a, 0x920, 0x902, 0xc_0902, 0xb_0903] {
            assert!(matches!(error(busy), Error::Busy { .. }), "{busy:#x}");
        }
        // TPM_RC_LOCKOUT.
        assert!(matches!(error(0x921), Error::LockedOut));
        // TCTI: I/O error, no connection, and a general failure, whose low bits are TPM_RC_FAILURE's.
        // ESYS: wrong HMAC of a response, bad sequence; SYS: malformed response.
        for lost in [0xa_000a, 0xa_0008, 0xa_0001, 0x7_001b, 0x7_0007, 0x8_0016] {
            assert!(matches!(error(lost), Error::Unavailable { .. }), "{lost:#x}");
        }
        // TPM_RC_FAILURE, TPM_RC_VALUE.
        for chip in [0x101, 0x084] {
            assert!(matches!(error(chip), Error::Chip { code, .. } if code == chip), "{chip:#x}");
        }
    }

    #[test]
    fn authorisations_and_parameters_are_told_apart() {
        let fault = |code: u32| Fault::new("TPM2_Load", "", tss_esapi::Error::Tss2Error(code.into()));
        // TPM_RC_BAD_AUTH and TPM_RC_AUTH_FAIL of the first session.
        assert!(fault(0x9a2).is_authorization() && !fault(0x9a2).is_parameter());
        assert!(fault(0x98e).is_authorization() && !fault(0x98e).is_parameter());
        // TPM_RC_INTEGRITY of the first parameter, TPM_RC_HANDLE of the first handle.
        assert!(fault(0x1df).is_parameter() && !fault(0x1df).is_authorization());
        assert!(!fault(0x18b).is_parameter());
        // The same low bits from the transport are neither.
        assert!(!fault(0xa_01df).is_parameter());
    }
}
