//! The tokens behind `/dev/dsmil`.

use std::time::Duration;

use types::token::{Change, Select, Token, TokenId};

use super::TokenPort;
use crate::Error;

/// How long a change may wait for its confirmation, which follows at once: long enough for a busy machine, short enough that
/// a daemon that dies in between leaves the old value standing soon.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);

impl TokenPort for &device::Device {
    fn tokens(&mut self) -> Result<Vec<Token>, Error> {
        device::Device::tokens(self).map_err(failed)
    }

    fn read(&mut self, wanted: &[(TokenId, Select)]) -> Result<Vec<Option<u32>>, Error> {
        let answers = device::Device::read(self, wanted).into_iter();
        let values = answers.map(|answer| match answer {
            Ok(reading) => Ok(Some(reading.value)),
            // About this token alone; anything else is about the device.
            Err(
                device::Error::Unknown(_)
                | device::Error::NotReadable(_)
                | device::Error::Firmware { .. }
                | device::Error::Invalid { .. },
            ) => Ok(None),
            Err(error) => Err(failed(error)),
        });
        values.collect()
    }

    fn write_confirmed(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.write(changes, CONFIRM_WITHIN).and_then(device::Pending::confirm).map_err(failed)
    }
}

fn failed(error: device::Error) -> Error {
    Error::Device(error.to_string())
}
