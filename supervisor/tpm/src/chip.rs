//! What the open chip keeps, and what is done with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tss_esapi::constants::SessionType;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::{KeyHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Digest, HashcheckTicket, SensitiveData, Signature as ChipSignature, SignatureScheme, SymmetricDefinition,
};
use tss_esapi::traits::Marshall;
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;
use types::hash::Hash;
use zeroize::Zeroizing;

use crate::blob::Blob;
use crate::counters::Shared;
use crate::key::Auths;
use crate::key_dir::KeyDir;
use crate::link::Link;
use crate::root::Root;
use crate::{Config, Error, Identity, PublicKey, Signature, capability, key, root, template};

/// The longest data that can be sealed, bytes: what every TPM 2.0 takes (MAX_SYM_DATA).
pub const SEAL_MAX: usize = 128;

/// The most random bytes that one request can get: some thirty commands.
pub const RANDOM_MAX: usize = 1024;

/// What one command gives on every chip: the length of a SHA-256 digest.
const RANDOM_CHUNK: usize = 32;

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

/// The open chip with everything that is kept in it.
pub(crate) struct Chip {
    pub(crate) link: Link,
    root: Root,
    session: AuthSession,
    signing: KeyHandle,
    auths: Auths,
    /// Where the signing key came from; for messages alone.
    key_file: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) public_key: PublicKey,
    pub(crate) origin: KeyOrigin,
}

impl Chip {
    /// Opens the chip and makes sure of everything that it must hold.
    pub(crate) fn open(config: &Config, counters: Arc<Shared>) -> Result<Self, Error> {
        let key_dir = KeyDir::open(&config.key_dir)?;
        let key_file = key_dir.read()?;
        let mut link = Link::open(&config.tcti, counters, Instant::now() + config.deadline)?;
        let identity = capability::identity(&mut link)?;
        let root = match root::find(&mut link, config.srk_handle)? {
            Some(root) => root,
            // Where there is a key there was a root: a missing one means that the TPM is another or was cleared.
            // Making it again gives the same key unless that is so, and the comparison below tells.
            None => root::create(&mut link, config.srk_handle)?,
        };
        if key_file.as_ref().is_some_and(|file| file.parent_name != root.name) {
            return Err(Error::ForeignKeyDir { path: key_dir.file() });
        }
        let session = start_session(&mut link, root.handle)?;
        let (key_file, origin) = match key_file {
            Some(file) => (file, KeyOrigin::Loaded),
            None => (key::create(&mut link, &root, session, config)?, KeyOrigin::Created),
        };
        let auths = Auths::derive(&key_file.secret)?;
        let (signing, public_key) = key::load(&mut link, &root, session, &key_file, &key_dir)?;
        link.set_auth(signing.into(), &auths.sign)?;
        if origin == KeyOrigin::Created {
            // Only now, when it has proven to work: what is on disk is never a key that cannot be loaded.
            key_dir.write(&key_file)?;
        }
        Ok(Self {
            link,
            root,
            session,
            signing,
            auths,
            key_file: key_dir.file(),
            identity,
            public_key,
            origin,
        })
    }

    /// Signs a SHA-256 digest.
    pub(crate) fn sign(&mut self, digest: Hash) -> Result<Signature, Error> {
        let (session, key) = (self.session, self.signing);
        let digest =
            Digest::try_from(digest.0.as_slice()).map_err(|error| Error::library("a digest", error))?;
        let ticket = no_ticket()?;
        let signed = self.link.secured("TPM2_Sign", session, |context| {
            context.sign(key, digest.clone(), SignatureScheme::Null, ticket.clone())
        });
        let signature = signed.map_err(|fault| match fault.is_authorization() {
            true => Error::damaged_key(&self.key_file, "its secret is another"),
            false => fault.into(),
        })?;
        let parts = match &signature {
            ChipSignature::EcDsa(ecdsa) => {
                Signature::from_parts(ecdsa.signature_r().value(), ecdsa.signature_s().value())
            }
            _ => None,
        };
        parts.ok_or_else(|| Error::malformed("TPM2_Sign", "not an ECDSA signature over P-256"))
    }

    /// Seals 1 to [`SEAL_MAX`] bytes.
    pub(crate) fn seal(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let (session, root) = (self.session, self.root.handle);
        let data = SensitiveData::try_from(data).map_err(|error| Error::library("data to seal", error))?;
        let public = template::sealed().map_err(|error| Error::library("a template", error))?;
        let auth = &self.auths.seal;
        let made = self.link.secured("TPM2_Create", session, |context| {
            context.create(root, public.clone(), Some(auth.clone()), Some(data.clone()), None, None)
        })?;
        let public = made.out_public.marshall().map_err(|error| Error::library("a public area", error))?;
        Blob::new(self.root.name.clone(), public, made.out_private.value().to_vec()).to_bytes()
    }

    /// Opens what [`seal`](Self::seal) made.
    pub(crate) fn unseal(&mut self, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let blob = Blob::from_bytes(blob)?;
        if blob.parent_name != self.root.name {
            return Err(Error::ForeignBlob);
        }
        let damaged = |reason: &str| Error::DamagedBlob { reason: reason.to_owned() };
        let Some((private, public)) = key::areas(&blob.private, &blob.public) else {
            return Err(damaged("its areas are malformed"));
        };
        let handle =
            key::load_areas(&mut self.link, &self.root, self.session, private, public).map_err(|fault| {
                if fault.is_parameter() { damaged("the TPM does not know it") } else { fault.into() }
            })?;
        let session = self.session;
        let unsealed = self.link.set_auth(handle.into(), &self.auths.seal).and_then(|()| {
            self.link.secured("TPM2_Unseal", session, |context| context.unseal(handle.into())).map_err(
                |fault| match fault.is_authorization() {
                    true => damaged("its authorisation is another"),
                    false => fault.into(),
                },
            )
        });
        // Whatever came of it: the slot must be free again.
        let flushed = self.link.flush(handle.into());
        let data = unsealed?;
        flushed?;
        Ok(Zeroizing::new(data.value().to_vec()))
    }

    /// Random bytes of the chip's generator, 1 to [`RANDOM_MAX`].
    pub(crate) fn random(&mut self, len: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let session = self.session;
        let mut random = Zeroizing::new(Vec::with_capacity(len));
        while random.len() < len {
            let wanted = RANDOM_CHUNK.min(len - random.len());
            let bytes = self.link.secured("TPM2_GetRandom", session, |context| context.get_random(wanted))?;
            if bytes.is_empty() || bytes.len() > wanted {
                return Err(Error::malformed("TPM2_GetRandom", "a wrong number of bytes"));
            }
            random.extend_from_slice(bytes.value());
        }
        Ok(random)
    }

    /// Counts what the chip holds.
    pub(crate) fn resources(&mut self) -> Result<Resources, Error> {
        Ok(Resources {
            transient: capability::handles(&mut self.link, capability::FIRST_TRANSIENT)?.len(),
            sessions: capability::handles(&mut self.link, capability::FIRST_LOADED_SESSION)?.len(),
            persistent: capability::handles(&mut self.link, capability::FIRST_PERSISTENT)?.len(),
        })
    }

    /// Gives back what is kept in the chip, and closes the connection.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        let key = self.link.flush(self.signing.into());
        let session = self.link.flush(SessionHandle::from(self.session).into());
        Ok(key.and(session)?)
    }
}

/// The one session that everything secret goes through, salted to the storage root key.
fn start_session(link: &mut Link, root: KeyHandle) -> Result<AuthSession, Error> {
    let session = link.command("TPM2_StartAuthSession", |context| {
        context.execute_without_session(|context| {
            context.start_auth_session(
                Some(root),
                None,
                None,
                SessionType::Hmac,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
        })
    })?;
    session.ok_or_else(|| Error::malformed("TPM2_StartAuthSession", "no session"))
}

/// The ticket of a digest that was made outside the TPM.
fn no_ticket() -> Result<HashcheckTicket, Error> {
    let ticket =
        TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
    ticket.try_into().map_err(|error| Error::library("a ticket", error))
}
