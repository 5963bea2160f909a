//! The ring's records, decoded.

use crate::skeleton::types;

/// What the kernel said about a thermal zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ThermalEvent {
    /// The zone's type, such as `acpitz`; at most 19 bytes.
    pub zone: String,
    /// N of `/sys/class/thermal/thermal_zoneN`.
    pub zone_id: i32,
    /// Thousandths of a degree Celsius, exactly as the driver gave them: not checked for plausibility.
    pub temperature_mc: i32,
    /// The trip point (N of `trip_point_N_temp`) that the zone has reached; none for a plain temperature.
    pub trip: Option<i32>,
}

impl ThermalEvent {
    /// The event in a record; none if the record has not exactly the event's size.
    pub(crate) fn decode(record: &[u8]) -> Option<Self> {
        if record.len() != size_of::<types::thermal_event>() {
            return None;
        }
        // SAFETY: The record has the size of the struct, the read asks for no alignment, and any bytes are
        // a valid value of it: it holds integers only.
        let raw = unsafe { record.as_ptr().cast::<types::thermal_event>().read_unaligned() };
        let name = raw.zone.iter().take_while(|&&c| c != 0).map(|c| c.cast_unsigned()).collect::<Vec<u8>>();
        Some(Self {
            zone: String::from_utf8_lossy(&name).into_owned(),
            zone_id: raw.zone_id,
            temperature_mc: raw.temperature_mc,
            // Negative: TRIP_NONE.
            trip: (raw.trip >= 0).then_some(raw.trip),
        })
    }
}
