//! The storage root key: found, or made.

use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;

use crate::link::{Fault, Link};
use crate::{Error, capability, template};

/// The storage root key.
pub(crate) struct Root {
    pub(crate) handle: KeyHandle,
    /// Computed by libtss2 from the very public area that it encrypts the session's salt to.
    pub(crate) name: Vec<u8>,
}

fn persistent(handle: u32) -> Result<PersistentTpmHandle, Error> {
    PersistentTpmHandle::new(handle)
        .map_err(|_| Error::Srk { handle, found: "nothing: it is not a persistent handle".to_owned() })
}

/// The storage root key if there is one and it is right.
///
/// Its existence is asked for first: using a handle that does not exist makes libtss2 complain on standard error.
pub(crate) fn find(link: &mut Link, handle: u32) -> Result<Option<Root>, Error> {
    let tpm_handle = TpmHandle::Persistent(persistent(handle)?);
    if !capability::handles(link, handle)?.contains(&tpm_handle) {
        return Ok(None);
    }
    let object = link.command("TPM2_ReadPublic", |context| {
        context.execute_without_session(|context| context.tr_from_tpm_public(tpm_handle))
    })?;
    let (public, ..) = link.command("TPM2_ReadPublic", |context| {
        context.execute_without_session(|context| context.read_public(object.into()))
    })?;
    let template = template::storage_root_key().map_err(|error| Error::library("a template", error))?;
    if !template::matches(&public, &template) {
        return Err(Error::Srk { handle, found: template::describe(&public) });
    }
    Ok(Some(Root { handle: object.into(), name: name_of(link, object)? }))
}

/// Makes the storage root key and keeps it in the chip for good.
pub(crate) fn create(link: &mut Link, handle: u32) -> Result<Root, Error> {
    let persistent = Persistent::Persistent(persistent(handle)?);
    let template = template::storage_root_key().map_err(|error| Error::library("a template", error))?;
    let denied = |fault: Fault| match fault.is_authorization() {
        true => Error::Authorization { what: "the owner hierarchy".to_owned() },
        false => fault.into(),
    };
    // There is no key yet to salt a session to, and the owner's authorisation is empty: nothing to protect.
    let password = Some(AuthSession::Password);
    let primary = link
        .command("TPM2_CreatePrimary", |context| {
            context.execute_with_session(password, |context| {
                context.create_primary(Hierarchy::Owner, template.clone(), None, None, None, None)
            })
        })
        .map_err(denied)?;
    let kept = link
        .command("TPM2_EvictControl", |context| {
            context.execute_with_session(password, |context| {
                context.evict_control(Provision::Owner, primary.key_handle.into(), persistent)
            })
        })
        .map_err(denied);
    link.flush(primary.key_handle.into())?;
    let object = kept?;
    Ok(Root { handle: object.into(), name: name_of(link, object)? })
}

fn name_of(link: &mut Link, object: ObjectHandle) -> Result<Vec<u8>, Error> {
    let name = link.local("the name of the storage root key", |context| context.tr_get_name(object))?;
    Ok(name.value().to_vec())
}
