//! Sets and seals the tokens that may be written; the unit that loads the module does it, before dsmild starts.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use device::Device;
use types::token::{Token, TokenId};

use crate::config::Config;

/// Seals the configuration's list; a list that is sealed already must be the same.
pub fn seal(config: &Config) -> anyhow::Result<()> {
    let device = Device::open(&config.device)?;
    let wanted = config.allowed()?;
    let ids: Vec<_> = wanted.iter().copied().collect();
    match device.allow(&ids) {
        Ok(()) => tracing::info!("sealed: {} tokens may be written", ids.len()),
        Err(device::Error::Sealed) => {
            check(&device, &wanted)?;
        }
        Err(error) => return Err(error).context("sealing tokens.allow of the configuration"),
    }
    Ok(())
}

/// The sealed list is the configuration's, or the daemon does not work with it.
pub fn check(device: &Device, wanted: &BTreeSet<TokenId>) -> anyhow::Result<Vec<Token>> {
    if !device.info()?.sealed {
        bail!("the module's allow-list is not sealed: run “dsmild seal” after loading the module");
    }
    let tokens = device.tokens()?;
    let sealed: BTreeSet<_> = tokens.iter().filter(|token| token.writable).map(|token| token.id).collect();
    if sealed != *wanted {
        let strange: Vec<_> = sealed.symmetric_difference(wanted).map(TokenId::to_string).collect();
        bail!(
            "the module's sealed allow-list is not that of the configuration (they differ in {}): \
             reload the module, run “dsmild seal”, and find out who sealed the other list",
            strange.join(", ")
        );
    }
    Ok(tokens)
}
