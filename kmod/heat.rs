// SPDX-License-Identifier: GPL-2.0-only

//! What a temperature means.
//!
//! Pure like `token`. A temperature that is missing or cannot be true is unknown, never safe.

use crate::uapi;

/// Lowest and highest temperature that a processor can have, in thousandths of a degree Celsius: a sensor
/// that gives another is broken or not one.
const PLAUSIBLE_MC: core::ops::RangeInclusive<i32> = -40_000..=125_000;
/// From where on each level counts, in thousandths of a degree, highest first.
const LEVELS_MC: [(i32, u32); 3] = [
    (100_000, uapi::DSMIL_HEAT_EMERGENCY),
    (95_000, uapi::DSMIL_HEAT_CRITICAL),
    (85_000, uapi::DSMIL_HEAT_WARNING),
];
/// How far below its threshold a level ends, so that a value that sways about it is told once.
const HYSTERESIS_MC: i32 = 2_000;

/// `DSMIL_HEAT_*` of a temperature in thousandths of a degree Celsius, after the level `before`.
pub(crate) fn level(before: u32, temperature_mc: Option<i32>) -> u32 {
    let Some(temperature) = temperature_mc.filter(|t| PLAUSIBLE_MC.contains(t)) else {
        return uapi::DSMIL_HEAT_UNKNOWN;
    };
    LEVELS_MC
        .iter()
        .find(|(from, level)| {
            let lag = if before >= *level { HYSTERESIS_MC } else { 0 };
            temperature >= from - lag
        })
        .map_or(uapi::DSMIL_HEAT_NORMAL, |(_, level)| *level)
}
