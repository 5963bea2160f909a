//! The objects under the storage root key: made and loaded; their authorisation values.

use std::path::{Path, PathBuf};

use aws_lc_rs::{hmac, rand};
use zeroize::Zeroizing;

use crate::chip::Base;
use crate::codec::{Reader, Writer};
use crate::fault::Fault;
use crate::key_dir::{KeyFile, Role, SECRET_LEN};
use crate::link::Entity;
use crate::public::Public;
use crate::{Error, PublicKey, code};

/// The authorisation value of an object, bytes.
pub(crate) type AuthValue = Zeroizing<Vec<u8>>;

/// Derives an authorisation value from a key file's secret.
pub(crate) fn auth_value(secret: &[u8], label: &[u8]) -> AuthValue {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut value = Zeroizing::new(hmac::sign(&key, label).as_ref().to_vec());
    // The TPM drops zeros at the end of an authorisation value.
    if let Some(last) = value.last_mut() {
        *last |= 1;
    }
    value
}

/// A key of ours that is loaded.
pub(crate) struct Resident {
    pub(crate) entity: Entity,
    pub(crate) auth: AuthValue,
    pub(crate) public: PublicKey,
    /// Where it came from; for messages alone.
    pub(crate) file: PathBuf,
}

/// The parameters of TPM2_Create: authorisation value, data, template; no outside info, no PCRs.
pub(crate) fn creation(auth: &[u8], data: &[u8], template: &Public) -> Writer {
    let sensitive = Writer::new().sized(auth).sized(data).done();
    Writer::new().sized(&sensitive).sized(&template.to_bytes()).sized(&[]).u32(0)
}

/// An object that was made: TPM2B_PRIVATE without its length, and its public area.
pub(crate) struct Made {
    pub(crate) private: Vec<u8>,
    pub(crate) public: Public,
}

/// Makes an object under the storage root key.
pub(crate) fn make(base: &mut Base, auth: &[u8], data: &[u8], template: &Public) -> Result<Made, Error> {
    let made = base.under_root(code::CREATE, &creation(auth, data, template));
    let made = made.map_err(|fault| match fault.is_authorization() {
        true => {
            Error::Authorization { what: format!("the storage root key {:#010x}", base.root.entity.handle) }
        }
        false => fault.into(),
    })?;
    let mut reader = Reader::new(&made.parameters);
    let private = reader.sized().map(<[u8]>::to_vec);
    let public = reader.sized().and_then(Public::from_bytes);
    private
        .zip(public)
        .map(|(private, public)| Made { private, public })
        .ok_or_else(|| Error::malformed("Create", "not an object"))
}

/// Loads an object; its slot is the caller's to free.
pub(crate) fn load(base: &mut Base, private: &[u8], public: &Public) -> Result<Entity, Fault> {
    let parameters = Writer::new().sized(private).sized(&public.to_bytes());
    let loaded = base.under_root(code::LOAD, &parameters)?;
    Ok(Entity { handle: loaded.handle, name: public.name() })
}

/// Makes a key of the machine's, with a secret of its own.
pub(crate) fn create(base: &mut Base, role: Role) -> Result<KeyFile, Error> {
    let mut secret = Zeroizing::new(vec![0; SECRET_LEN]);
    rand::fill(&mut secret).map_err(|_| Error::malformed("getrandom", "no random bytes from the system"))?;
    let auth = auth_value(&secret, role.label());
    let made = make(base, &auth, &[], &role.template())?;
    Ok(KeyFile::new(base.root.entity.name.clone(), made.public.to_bytes(), made.private, secret.to_vec()))
}

/// Loads a key of the machine's.
pub(crate) fn load_file(base: &mut Base, path: &Path, role: Role, file: &KeyFile) -> Result<Resident, Error> {
    let damaged = |reason| Error::damaged_key(path, reason);
    let public = Public::from_bytes(&file.public).ok_or_else(|| damaged("its public area is malformed"))?;
    // Its attributes prove that it was born in this TPM and cannot leave it; the load below proves the attributes.
    let point = public.point().filter(|_| public.matches(&role.template()));
    let point = point.ok_or_else(|| damaged("it is not such a key of this program"))?;
    let entity = load(base, &file.private, &public).map_err(|fault| {
        if fault.is_parameter() { damaged("the TPM does not know it") } else { fault.into() }
    })?;
    Ok(Resident {
        entity,
        auth: auth_value(&file.secret, role.label()),
        public: point,
        file: path.to_owned(),
    })
}
