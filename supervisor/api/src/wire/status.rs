//! How machine, daemon and guarantees stand. Fields are only added.

use serde::{Deserialize, Serialize};

/// How machine, daemon and guarantees stand.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Manufacturer and model by DMI.
    pub machine: String,
    /// The device, where there is one.
    pub device: Option<DeviceStatus>,
    /// The TPM, where there is one.
    pub tpm: Option<TpmStatus>,
    /// The log.
    pub log: LogStatus,
    /// Scheduler latency for each CPU, where the probes run.
    pub scheduler: Vec<CpuLatency>,
    /// Thermal zones.
    pub zones: Vec<Zone>,
    /// Works under way.
    pub works: Vec<String>,
    /// Checkpoints that can be restored.
    pub checkpoints: u64,
    /// Orders denied so far.
    pub denials: u64,
    /// Starts of the daemon so far.
    pub starts: u64,
    /// Capabilities that the daemon holds.
    pub capabilities: Vec<String>,
    /// The user that the daemon runs as.
    pub user: u32,
}

/// The kernel device.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Tokens in the firmware's table.
    pub tokens: u32,
    /// DSMIL devices among them.
    pub devices: u32,
    /// Tokens that may be written.
    pub writable: u32,
    /// The allow-list is sealed.
    pub sealed: bool,
}

/// The TPM.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TpmStatus {
    /// Manufacturer.
    pub manufacturer: String,
    /// Vendor string.
    pub vendor: String,
    /// Firmware version.
    pub firmware: String,
    /// Short id of the signing key.
    pub key: String,
    /// Signatures made since the start.
    pub signatures: u64,
}

/// The log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogStatus {
    /// Entries.
    pub size: u64,
    /// Entries covered by a signed head.
    pub signed: u64,
    /// Merkle root, hexadecimal.
    pub root: String,
}

/// One CPU's scheduler latency since the start, microseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CpuLatency {
    /// The CPU.
    pub cpu: u32,
    /// Waits counted.
    pub count: u64,
    /// Half waited less than this.
    pub p50_us: Option<u64>,
    /// 99 of 100 waited less than this.
    pub p99_us: Option<u64>,
}

/// One thermal zone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Zone {
    /// Its type.
    pub name: String,
    /// `normal`, `warning`, `critical` or `unknown`.
    pub level: String,
    /// The last reading, thousandths of a degree Celsius.
    pub millicelsius: Option<i32>,
}
