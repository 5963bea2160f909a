//! What the open chip keeps, and how it is brought back after a reset or a broken connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::code::{self, Code};
use crate::codec::{Reader, Writer};
use crate::counters::Shared;
use crate::fault::Fault;
use crate::key::{self, AuthValue, Resident};
use crate::key_dir::{KeyDir, KeyFile, Role};
use crate::link::{Entity, Link, Response};
use crate::public::{ALG_AES, ALG_CFB, ALG_NULL, ALG_SHA256};
use crate::root::{self, Root};
use crate::session::{Auth, DIGEST, Salt, Session};
use crate::{Config, Error, Identity, PublicKey, capability};

/// How long after a failed attempt the connection is tried again at the earliest; it doubles.
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// The longest such pause: who switches the chip on again does not wait longer.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// TPM_RH_NULL.
pub(crate) const NULL: u32 = 0x4000_0007;

/// Where the signing key came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyOrigin {
    /// It was made at this start: the key folder held none. Who relied on an earlier one should hear of it.
    Created,
    /// It was found in the key folder.
    Loaded,
}

/// What the chip holds; through `/dev/tpmrm0` only what is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resources {
    /// Loaded objects.
    pub transient: usize,
    /// Loaded sessions.
    pub sessions: usize,
    /// Persistent objects.
    pub persistent: usize,
}

/// What every secured command needs.
pub(crate) struct Base {
    pub(crate) link: Link,
    pub(crate) root: Root,
    /// The one session that everything secret goes through, salted to the storage root key.
    session: Session,
}

impl Base {
    fn new(mut link: Link, root: Root) -> Result<Self, Error> {
        let session = start_session(&mut link, &root, Purpose::Hmac)?;
        Ok(Self { link, root, session })
    }

    /// Sends a command in the session; the first handle, if there is one, is authorised with `value`.
    pub(crate) fn secured(
        &mut self,
        code: Code,
        handles: &[&Entity],
        parameters: &Writer,
        value: &[u8],
    ) -> Result<Response, Fault> {
        self.link.command(code, handles, parameters, &mut [Auth::Hmac(&mut self.session, value)])
    }

    /// Sends a command whose second handle needs an authorisation too, an empty one.
    pub(crate) fn secured_twice(
        &mut self,
        code: Code,
        handles: &[&Entity],
        parameters: &Writer,
        value: &[u8],
    ) -> Result<Response, Fault> {
        let auths = &mut [Auth::Hmac(&mut self.session, value), Auth::Password(&[])];
        self.link.command(code, handles, parameters, auths)
    }

    /// Sends a command that a policy authorises; both sessions prove the response, and the lasting one encrypts.
    pub(crate) fn under_policy(
        &mut self,
        code: Code,
        handles: &[&Entity],
        parameters: &Writer,
        policy: &mut Session,
    ) -> Result<Response, Fault> {
        if !code.hides_parameter && !code.hides_response {
            // A session that neither authorises nor encrypts is refused; the policy's own proves the response.
            return self.link.command(code, handles, parameters, &mut [Auth::Policy(policy)]);
        }
        let auths = &mut [Auth::Policy(policy), Auth::Hmac(&mut self.session, &[])];
        self.link.command(code, handles, parameters, auths)
    }

    /// Sends a command about the storage root key.
    pub(crate) fn under_root(&mut self, code: Code, parameters: &Writer) -> Result<Response, Fault> {
        let auths = &mut [Auth::Hmac(&mut self.session, &[])];
        self.link.command(code, &[&self.root.entity], parameters, auths)
    }

    /// Starts a session for a policy; its slot is the caller's to free.
    pub(crate) fn start_policy(&mut self) -> Result<Session, Error> {
        start_session(&mut self.link, &self.root, Purpose::Policy)
    }
}

/// The key files as they were read, to load the keys again.
struct Files {
    dir: PathBuf,
    head: KeyFile,
    general: KeyFile,
    attestation: KeyFile,
}

/// The open chip with everything that is kept in it.
pub(crate) struct Chip {
    pub(crate) base: Base,
    pub(crate) head: Resident,
    pub(crate) general_key: PublicKey,
    pub(crate) attestation_key: PublicKey,
    /// What a policy calls the general key.
    pub(crate) general_name: Vec<u8>,
    pub(crate) seal_auth: AuthValue,
    /// Of keys that callers have made.
    pub(crate) made_auth: AuthValue,
    /// Of the NV indices that we define.
    pub(crate) nv_auth: AuthValue,
    pub(crate) identity: Identity,
    pub(crate) origin: KeyOrigin,
    files: Files,
    srk_handle: u32,
    /// Session and keys are in the chip, as far as is known.
    is_ready: bool,
    /// When the connection may be tried again, and how long the pause after that one would be.
    retry_at: Instant,
    pause: Duration,
}

impl Chip {
    /// Opens the chip and makes sure of everything that it must hold.
    pub(crate) fn open(config: &Config, counters: Arc<Shared>) -> Result<Self, Error> {
        let key_dir = KeyDir::open(&config.key_dir)?;
        let stored = key_dir.read(Role::Head)?;
        let mut link = Link::open(&config.tcti, counters, Instant::now() + config.deadline)?;
        let identity = capability::identity(&mut link)?;
        let root = match root::find(&mut link, config.srk_handle)? {
            Some(root) => root,
            // Where there is a key there was a root: a missing one means that the TPM is another or was cleared.
            // Making it again gives the same key unless that is so, and the comparison below tells.
            None => root::create(&mut link, config.srk_handle)?,
        };
        if stored.as_ref().is_some_and(|file| file.parent_name != root.entity.name) {
            return Err(Error::ForeignKeyDir { path: key_dir.file(Role::Head) });
        }
        let origin = if stored.is_some() { KeyOrigin::Loaded } else { KeyOrigin::Created };
        let mut base = Base::new(link, root)?;
        let (head_file, head) = provide(&mut base, &key_dir, Role::Head, stored)?;
        let stored = key_dir.read(Role::General)?;
        let (general_file, general) = provide(&mut base, &key_dir, Role::General, stored)?;
        // Slots are few: making an object takes two besides what is resident, and swtpm has three.
        base.link.flush(general.entity.handle)?;
        let stored = key_dir.read(Role::Attestation)?;
        let (attestation_file, attestation) = provide(&mut base, &key_dir, Role::Attestation, stored)?;
        base.link.flush(attestation.entity.handle)?;
        Ok(Self {
            base,
            seal_auth: key::auth_value(&head_file.secret, b"dsmil tpm 1: sealed data"),
            made_auth: key::auth_value(&general_file.secret, b"dsmil tpm 1: made key"),
            nv_auth: key::auth_value(&general_file.secret, b"dsmil tpm 1: nv index"),
            general_name: general.entity.name,
            head,
            general_key: general.public,
            attestation_key: attestation.public,
            identity,
            origin,
            files: Files {
                dir: config.key_dir.clone(),
                head: head_file,
                general: general_file,
                attestation: attestation_file,
            },
            srk_handle: config.srk_handle,
            is_ready: true,
            retry_at: Instant::now(),
            pause: RECONNECT_MIN,
        })
    }

    /// Does one operation; brings back first what a reset or a broken connection took away.
    ///
    /// An operation is repeated once if the chip had forgotten what it holds for us: such a command was not executed. Those before
    /// it in the same operation were, so an operation does no harm when it is done twice. It is not repeated if the
    /// connection broke, since then nobody knows.
    pub(crate) fn serve<T>(
        &mut self,
        operation: &mut dyn FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.connect()?;
        self.base.link.forgotten = false;
        let mut result = operation(self);
        if self.base.link.forgotten && !self.base.link.is_lost() {
            self.is_ready = false;
            self.connect()?;
            result = operation(self);
        }
        self.is_ready &= !self.base.link.is_lost() && !self.base.link.forgotten;
        result
    }

    fn connect(&mut self) -> Result<(), Error> {
        if self.is_ready {
            return Ok(());
        }
        let now = Instant::now();
        if now < self.retry_at {
            let pause = self.retry_at - now;
            return Err(self.base.link.unavailable(format!("it is tried again in {} ms", pause.as_millis())));
        }
        match self.establish() {
            Ok(()) => {
                self.is_ready = true;
                Shared::add(&self.base.link.counters.reconnects);
                self.pause = RECONNECT_MIN;
                Ok(())
            }
            Err(error) => {
                self.retry_at = Instant::now() + self.pause;
                self.pause = RECONNECT_MAX.min(self.pause * 2);
                Err(error)
            }
        }
    }

    /// Makes session and keys again, on a new connection if the old one broke.
    fn establish(&mut self) -> Result<(), Error> {
        if self.base.link.is_lost() {
            self.base.link.reopen()?;
        }
        // What is still there is freed; what is not cannot be.
        let _ = self.base.link.flush_all();
        let link = &mut self.base.link;
        let path = KeyDir::file_in(&self.files.dir, Role::Head);
        let root = root::find(link, self.srk_handle)?.filter(|root| root.entity == self.base.root.entity);
        let root = root.ok_or(Error::ForeignKeyDir { path })?;
        self.base.session = start_session(link, &root, Purpose::Hmac)?;
        self.base.root = root;
        self.head = self.load(Role::Head)?;
        self.base.link.forgotten = false;
        Ok(())
    }

    fn load(&mut self, role: Role) -> Result<Resident, Error> {
        let file = match role {
            Role::Head => &self.files.head,
            Role::General => &self.files.general,
            Role::Attestation => &self.files.attestation,
        };
        key::load_file(&mut self.base, &KeyDir::file_in(&self.files.dir, role), role, file)
    }

    /// Does something with one of the keys that are not resident; its slot is freed whatever comes of it.
    pub(crate) fn with_key<T>(
        &mut self,
        role: Role,
        work: impl FnOnce(&mut Base, &Resident) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let key = self.load(role)?;
        let done = work(&mut self.base, &key);
        let flushed = self.base.link.flush(key.entity.handle);
        let done = done?;
        flushed?;
        Ok(done)
    }

    /// Gives back what is kept in the chip, and closes the connection.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        if self.base.link.is_lost() {
            return Err(self.base.link.unavailable("the connection broke before".to_owned()));
        }
        Ok(self.base.link.flush_all()?)
    }
}

/// The machine's key of this role: loaded, or made and then written.
fn provide(
    base: &mut Base,
    dir: &KeyDir,
    role: Role,
    stored: Option<KeyFile>,
) -> Result<(KeyFile, Resident), Error> {
    let is_new = stored.is_none();
    let file = match stored {
        Some(file) if file.parent_name != base.root.entity.name => {
            return Err(Error::ForeignKeyDir { path: dir.file(role) });
        }
        Some(file) => file,
        None => key::create(base, role)?,
    };
    let resident = key::load_file(base, &dir.file(role), role, &file)?;
    if is_new {
        // Only now, when it has proven to work: what is on disk is never a key that cannot be loaded.
        dir.write(role, &file)?;
    }
    Ok((file, resident))
}

/// What a session is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Hmac,
    Policy,
}

fn start_session(link: &mut Link, root: &Root, purpose: Purpose) -> Result<Session, Error> {
    let malformed = |text| Error::malformed("StartAuthSession", text);
    let mut nonce = [0; DIGEST];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| malformed("no random bytes from the system"))?;
    let salt = Salt::new(&root.point);
    let salt = salt.ok_or_else(|| malformed("the storage root key is not on its curve"))?;
    let parameters = Writer::new().sized(&nonce).sized(&salt.point);
    let parameters = match purpose {
        Purpose::Hmac => parameters.u8(0).u16(ALG_AES).u16(128).u16(ALG_CFB),
        Purpose::Policy => parameters.u8(1).u16(ALG_NULL),
    };
    let bind = Entity::bare(NULL);
    let started =
        link.plain(code::START_AUTH_SESSION, &[&root.entity, &bind], &parameters.u16(ALG_SHA256))?;
    let theirs = Reader::new(&started.parameters).sized().ok_or_else(|| malformed("no nonce"))?;
    Ok(Session::new(started.handle, &nonce, theirs, &salt))
}
