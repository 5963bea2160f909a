//! One command to the chip: built, counted, sent again while the chip asks for it, its response checked and sorted.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::Error;
use crate::code::{self, Code};
use crate::codec::{Reader, Writer};
use crate::counters::Shared;
use crate::fault::{Cause, Fault};
use crate::session::{AUDIT, Auth, DECRYPT, ENCRYPT, Ongoing, sha256};
use crate::transport::{HEADER, Transport};

/// How often a command is sent again when the chip asks for it.
const RETRIES_MAX: u32 = 15;
/// The first pause before sending again; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause. All together are 6 s, more than a self-test or a key generation takes.
const PAUSE_MAX: Duration = Duration::from_millis(500);

// TPM_ST, TPM 2.0 Library Part 2, section 6.9.
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;

/// Something that a command's handle can name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entity {
    pub(crate) handle: u32,
    /// What stands for it in the HMAC: a digest of its public area, or the handle where it has none.
    pub(crate) name: Vec<u8>,
}

impl Entity {
    /// A hierarchy, a session or a PCR.
    pub(crate) fn bare(handle: u32) -> Self {
        Self { handle, name: handle.to_be_bytes().to_vec() }
    }

    /// The owner hierarchy.
    pub(crate) fn owner() -> Self {
        Self::bare(0x4000_0001)
    }
}

/// What the chip answered.
pub(crate) struct Response {
    /// The handle of what was made; 0 where there is none.
    pub(crate) handle: u32,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
}

/// The open connection to the chip.
pub(crate) struct Link {
    transport: Option<Transport>,
    tcti: String,
    pub(crate) counters: Arc<Shared>,
    /// Nothing is sent again after this moment.
    pub(crate) deadline: Instant,
    /// The chip no longer knows something that it held for us: it was reset.
    pub(crate) forgotten: bool,
    /// Handles of the objects and sessions that were made and not freed.
    held: Vec<u32>,
}

impl Link {
    /// Opens the connection, with the rights of now.
    pub(crate) fn open(tcti: &str, counters: Arc<Shared>, deadline: Instant) -> Result<Self, Error> {
        let tcti = tcti.to_owned();
        let mut link = Self { transport: None, tcti, counters, deadline, forgotten: false, held: Vec::new() };
        link.reopen()?;
        Ok(link)
    }

    /// Opens it once more, with the rights of now.
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        // The device can be opened once at a time: the old one goes first.
        self.transport = None;
        self.forgotten = false;
        let opened = Transport::open(&self.tcti);
        self.transport = Some(opened.map_err(|reason| self.unavailable(reason))?);
        Ok(())
    }

    /// Whether the connection broke.
    pub(crate) const fn is_lost(&self) -> bool {
        self.transport.is_none()
    }

    pub(crate) fn unavailable(&self, reason: String) -> Error {
        Error::Unavailable { tcti: self.tcti.clone(), reason }
    }

    /// Sends one command that no session protects.
    pub(crate) fn plain(
        &mut self,
        code: Code,
        handles: &[&Entity],
        parameters: &Writer,
    ) -> Result<Response, Fault> {
        self.command(code, handles, parameters, &mut [])
    }

    /// Sends one command, again while the chip asks for it. The first authorisations are those of the handles.
    pub(crate) fn command(
        &mut self,
        code: Code,
        handles: &[&Entity],
        parameters: &Writer,
        auths: &mut [Auth<'_>],
    ) -> Result<Response, Fault> {
        let mut pause = PAUSE_MIN;
        let mut retries = 0;
        loop {
            let cause = match self.attempt(code, handles, parameters, auths) {
                Ok(response) => {
                    self.held.extend((response.handle != 0).then_some(response.handle));
                    return Ok(response);
                }
                Err(cause) => cause,
            };
            if matches!(cause, Cause::Lost(_)) {
                self.transport = None;
            }
            let fault = Fault { command: code.name, tcti: self.tcti.clone(), cause };
            self.forgotten |= fault.is_forgotten();
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

    /// Frees the slot of an object or a session.
    pub(crate) fn flush(&mut self, handle: u32) -> Result<(), Fault> {
        let flushed = self.plain(code::FLUSH_CONTEXT, &[], &Writer::new().u32(handle)).map(drop);
        // Where the connection broke, or the chip was too busy, it may still be there.
        if !self.is_lost() && !flushed.as_ref().is_err_and(Fault::is_busy) {
            self.held.retain(|held| *held != handle);
        }
        flushed
    }

    /// Frees everything that is still held, as far as it is there; the kernel does it too when the device is closed.
    pub(crate) fn flush_all(&mut self) -> Result<(), Fault> {
        let held = std::mem::take(&mut self.held);
        let results: Vec<_> = held.into_iter().map(|handle| self.flush(handle)).collect();
        results.into_iter().collect()
    }

    fn attempt(
        &mut self,
        code: Code,
        handles: &[&Entity],
        parameters: &Writer,
        auths: &mut [Auth<'_>],
    ) -> Result<Response, Cause> {
        let prepared = Prepared::new(code, handles, parameters, auths)
            .ok_or_else(|| Cause::Own("the command cannot be encrypted".to_owned()))?;
        let transport =
            self.transport.as_mut().ok_or_else(|| Cause::Lost("the connection broke before".to_owned()))?;
        Shared::add(&self.counters.commands);
        let response = Zeroizing::new(transport.exchange(&prepared.bytes).map_err(Cause::Lost)?);
        prepared.accept(code, &response, auths)
    }
}

/// A command as it is sent.
struct Prepared {
    bytes: Zeroizing<Vec<u8>>,
    ongoing: Vec<Ongoing>,
    /// Which authorisation encrypts.
    cipher: Option<usize>,
}

impl Prepared {
    fn new(code: Code, handles: &[&Entity], parameters: &Writer, auths: &[Auth<'_>]) -> Option<Self> {
        let cipher = auths.iter().position(Auth::can_encrypt);
        let hide = [(code.hides_parameter, DECRYPT), (code.hides_response, ENCRYPT)];
        let hide = hide.iter().filter(|(hides, _)| *hides).fold(0, |all, (_, attribute)| all | attribute);
        // A session must do something: where it neither authorises nor encrypts it proves the response.
        let hide = if hide == 0 && handles.is_empty() { AUDIT } else { hide };
        let ongoing: Option<Vec<_>> = auths
            .iter()
            .enumerate()
            .map(|(i, auth)| auth.begin(if cipher == Some(i) { hide } else { 0 }))
            .collect();
        let ongoing = ongoing?;
        let mut parameters = Zeroizing::new(parameters.to_vec());
        if code.hides_parameter
            && let Some(cipher) = cipher
        {
            let first = first_mut(&mut parameters)?;
            auths.get(cipher)?.encrypt(ongoing.get(cipher)?, first)?;
        }
        let number = code.number.to_be_bytes();
        let names: Vec<u8> = handles.iter().flat_map(|entity| &entity.name).copied().collect();
        let cp_hash = sha256(&[&number, &names, &parameters]);
        let mut areas = Vec::new();
        for (i, (auth, ongoing)) in auths.iter().zip(&ongoing).enumerate() {
            // Part 1, section 19.6.5: the first session vouches for the nonce of another one that encrypts.
            let other = match cipher {
                Some(cipher) if i == 0 && cipher != 0 && hide != 0 => auths.get(cipher)?.nonce(),
                _ => &[],
            };
            areas.extend(auth.command(ongoing, &cp_hash, other));
        }
        let mut bytes = Writer::new().bytes(&number);
        for entity in handles {
            bytes = bytes.u32(entity.handle);
        }
        if !auths.is_empty() {
            bytes = bytes.u32(u32::try_from(areas.len()).ok()?).bytes(&areas);
        }
        let body = bytes.bytes(&parameters).done();
        let tag = if auths.is_empty() { NO_SESSIONS } else { SESSIONS };
        let len = u32::try_from(body.len() + HEADER - number.len()).ok()?;
        let bytes = Writer::new().u16(tag).u32(len).bytes(&body).done();
        Some(Self { bytes, ongoing, cipher })
    }

    fn accept(&self, code: Code, response: &[u8], auths: &mut [Auth<'_>]) -> Result<Response, Cause> {
        let malformed = || Cause::Lost(format!("its response to TPM2_{} is malformed", code.name));
        let mut reader = Reader::new(response);
        let header = (reader.u16(), reader.u32(), reader.u32());
        let (Some(tag), Some(_), Some(status)) = header else { return Err(malformed()) };
        if status != 0 {
            return Err(Cause::Tpm(status));
        }
        let handle = if code.gives_handle { reader.u32().ok_or_else(malformed)? } else { 0 };
        if auths.is_empty() {
            return Ok(Response { handle, parameters: Zeroizing::new(reader.rest().to_vec()) });
        }
        // Without this a response without sessions would pass for one that was checked.
        if tag != SESSIONS {
            return Err(malformed());
        }
        let len = reader.u32().and_then(|len| usize::try_from(len).ok()).ok_or_else(malformed)?;
        let parameters = reader.take(len).ok_or_else(malformed)?;
        let rp_hash = sha256(&[&[0; 4], &code.number.to_be_bytes(), parameters]);
        for (auth, ongoing) in auths.iter_mut().zip(&self.ongoing) {
            let area = (reader.sized(), reader.u8(), reader.sized());
            let (Some(nonce), Some(attributes), Some(mac)) = area else { return Err(malformed()) };
            if !auth.accept(ongoing, &rp_hash, nonce, attributes, mac) {
                return Err(Cause::Lost(format!(
                    "its response to TPM2_{} was changed on its way",
                    code.name
                )));
            }
        }
        let mut parameters = Zeroizing::new(parameters.to_vec());
        if code.hides_response
            && let Some(cipher) = self.cipher
            && let (Some(auth), Some(ongoing)) = (auths.get(cipher), self.ongoing.get(cipher))
        {
            let first = first_mut(&mut parameters).ok_or_else(malformed)?;
            auth.decrypt(ongoing, first).ok_or_else(malformed)?;
        }
        Ok(Response { handle, parameters })
    }
}

/// The bytes of the first parameter, a sized buffer.
fn first_mut(parameters: &mut [u8]) -> Option<&mut [u8]> {
    let (len, rest) = parameters.split_first_chunk_mut::<2>()?;
    rest.get_mut(..usize::from(u16::from_be_bytes(*len)))
}
