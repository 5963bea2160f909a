//! The objects under the storage root key: the signing key made and loaded, their authorisation values.

use aws_lc_rs::{hmac, rand};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, Private, Public};
use tss_esapi::traits::{Marshall, UnMarshall};
use zeroize::Zeroizing;

use crate::key_dir::{KeyDir, KeyFile, SECRET_LEN};
use crate::link::{Fault, Link};
use crate::root::Root;
use crate::{Config, Error, PublicKey, template};

/// The authorisation values of our objects.
pub(crate) struct Auths {
    pub(crate) sign: Auth,
    pub(crate) seal: Auth,
}

impl Auths {
    pub(crate) fn derive(secret: &[u8]) -> Result<Self, Error> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let auth = |label: &[u8]| {
            let mut value = Zeroizing::new(hmac::sign(&key, label).as_ref().to_vec());
            // The TPM drops zeros at the end of an authorisation value; libtss2 does not everywhere.
            if let Some(last) = value.last_mut() {
                *last |= 1;
            }
            Auth::try_from(value.as_slice()).map_err(|error| Error::library("an authorisation value", error))
        };
        Ok(Self { sign: auth(b"dsmil tpm 1: signing key")?, seal: auth(b"dsmil tpm 1: sealed data")? })
    }
}

pub(crate) fn create(
    link: &mut Link,
    root: &Root,
    session: AuthSession,
    config: &Config,
) -> Result<KeyFile, Error> {
    let mut secret = Zeroizing::new(vec![0; SECRET_LEN]);
    rand::fill(&mut secret).map_err(|_| Error::malformed("getrandom", "no random bytes from the system"))?;
    let auths = Auths::derive(&secret)?;
    let template = template::signing_key().map_err(|error| Error::library("a template", error))?;
    let made = link
        .secured("TPM2_Create", session, |context| {
            context.create(root.handle, template.clone(), Some(auths.sign.clone()), None, None, None)
        })
        .map_err(|fault| match fault.is_authorization() {
            true => {
                Error::Authorization { what: format!("the storage root key {:#010x}", config.srk_handle) }
            }
            false => fault.into(),
        })?;
    let public = made.out_public.marshall().map_err(|error| Error::library("a public area", error))?;
    Ok(KeyFile::new(root.name.clone(), public, made.out_private.value().to_vec(), secret.to_vec()))
}

pub(crate) fn load(
    link: &mut Link,
    root: &Root,
    session: AuthSession,
    file: &KeyFile,
    key_dir: &KeyDir,
) -> Result<(KeyHandle, PublicKey), Error> {
    let damaged = |reason| Error::damaged_key(&key_dir.file(), reason);
    let (private, public) =
        areas(&file.private, &file.public).ok_or_else(|| damaged("its areas are malformed"))?;
    // Its attributes prove that it was born in this TPM and cannot leave it; the load below proves the attributes.
    let template = template::signing_key().map_err(|error| Error::library("a template", error))?;
    let key = match &public {
        Public::Ecc { unique, .. } if template::matches(&public, &template) => {
            PublicKey::from_coordinates(unique.x().value(), unique.y().value())
        }
        _ => None,
    };
    let key = key.ok_or_else(|| damaged("it is not a signing key of this program"))?;
    let handle = load_areas(link, root, session, private, public).map_err(|fault| {
        if fault.is_parameter() { damaged("the TPM does not know it") } else { fault.into() }
    })?;
    Ok((handle, key))
}

/// An object's two areas from bytes that may be anything.
pub(crate) fn areas(private: &[u8], public: &[u8]) -> Option<(Private, Public)> {
    Some((Private::try_from(private).ok()?, Public::unmarshall(public).ok()?))
}

pub(crate) fn load_areas(
    link: &mut Link,
    root: &Root,
    session: AuthSession,
    private: Private,
    public: Public,
) -> Result<KeyHandle, Fault> {
    link.secured("TPM2_Load", session, |context| context.load(root.handle, private.clone(), public.clone()))
}
