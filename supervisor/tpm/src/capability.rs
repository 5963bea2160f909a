//! What the chip says about itself and what it holds.

use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::TpmHandle;
use tss_esapi::structures::CapabilityData;

use crate::link::Link;
use crate::{Error, Identity};

/// The most handles that one question asks for; chips have far fewer.
const HANDLES_MAX: u32 = 64;

// TPM 2.0 Library Part 2, section 7.2: the first handle of each kind.
pub(crate) const FIRST_LOADED_SESSION: u32 = 0x0200_0000;
pub(crate) const FIRST_TRANSIENT: u32 = 0x8000_0000;
pub(crate) const FIRST_PERSISTENT: u32 = 0x8100_0000;

pub(crate) fn identity(link: &mut Link) -> Result<Identity, Error> {
    let (first, count) = Identity::PROPERTIES;
    let (data, _) = link.command("TPM2_GetCapability", |context| {
        context.execute_without_session(|context| {
            context.get_capability(CapabilityType::TpmProperties, first.into(), count)
        })
    })?;
    match data {
        CapabilityData::TpmProperties(properties) => Ok(Identity::from_properties(&properties)),
        _ => Err(Error::malformed("TPM2_GetCapability", "not the properties")),
    }
}

/// The handles that exist, of the kind that `first` is of.
pub(crate) fn handles(link: &mut Link, first: u32) -> Result<Vec<TpmHandle>, Error> {
    let (data, _) = link.command("TPM2_GetCapability", |context| {
        context.execute_without_session(|context| {
            context.get_capability(CapabilityType::Handles, first, HANDLES_MAX)
        })
    })?;
    match data {
        CapabilityData::Handles(handles) => Ok(handles.into_inner()),
        _ => Err(Error::malformed("TPM2_GetCapability", "not the handles")),
    }
}
