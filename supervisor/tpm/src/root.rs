//! The storage root key: found, or made.

use crate::code;
use crate::codec::{Reader, Writer};
use crate::fault::Fault;
use crate::key::creation;
use crate::link::{Entity, Link};
use crate::public::{self, Public};
use crate::session::Auth;
use crate::{Error, PublicKey, capability};

/// The owner's persistent handles, TPM 2.0 Library Part 2, section 7.5.
const OWNERS: std::ops::Range<u32> = 0x8100_0000..0x8180_0000;

/// The storage root key.
pub(crate) struct Root {
    pub(crate) entity: Entity,
    /// What sessions' salts are encrypted to. The name above is computed from it, not told by the TPM.
    pub(crate) point: PublicKey,
}

/// The storage root key if there is one and it is right.
pub(crate) fn find(link: &mut Link, handle: u32) -> Result<Option<Root>, Error> {
    if !OWNERS.contains(&handle) {
        return Err(Error::Srk {
            handle,
            found: "nothing: it is not a persistent handle of the owner".to_owned(),
        });
    }
    if !capability::handles(link, handle)?.contains(&handle) {
        return Ok(None);
    }
    let response = link.plain(code::READ_PUBLIC, &[&Entity::bare(handle)], &Writer::new())?;
    let public = Reader::new(&response.parameters).sized().and_then(Public::from_bytes);
    let found = public.as_ref().map_or_else(|| "an object of another kind".to_owned(), Public::describe);
    let wrong = || Error::Srk { handle, found };
    let public = public.filter(|public| public.matches(&public::storage_root_key())).ok_or_else(wrong)?;
    Ok(Some(of(handle, &public)?))
}

/// Makes the storage root key and keeps it in the chip for good.
pub(crate) fn create(link: &mut Link, handle: u32) -> Result<Root, Error> {
    let denied = |fault: Fault| match fault.is_authorization() {
        true => Error::Authorization { what: "the owner hierarchy".to_owned() },
        false => fault.into(),
    };
    let owner = Entity::owner();
    // There is no key yet to salt a session to, and the owner's authorisation is empty: nothing to protect.
    let parameters = creation(&[], &[], &public::storage_root_key());
    let made = link
        .command(code::CREATE_PRIMARY, &[&owner], &parameters, &mut [Auth::Password(&[])])
        .map_err(denied)?;
    let public = Reader::new(&made.parameters).sized().and_then(Public::from_bytes);
    let kept = match &public {
        Some(public) => {
            let primary = Entity { handle: made.handle, name: public.name() };
            let parameters = Writer::new().u32(handle);
            link.command(code::EVICT_CONTROL, &[&owner, &primary], &parameters, &mut [Auth::Password(&[])])
                .map(drop)
                .map_err(denied)
        }
        None => Err(Error::malformed("CreatePrimary", "not the storage root key")),
    };
    link.flush(made.handle)?;
    kept?;
    let public = public.ok_or_else(|| Error::malformed("CreatePrimary", "not the storage root key"))?;
    of(handle, &public)
}

fn of(handle: u32, public: &Public) -> Result<Root, Error> {
    let point = public.point().ok_or_else(|| Error::malformed("ReadPublic", "no point"))?;
    Ok(Root { entity: Entity { handle, name: public.name() }, point })
}
