//! What is told of the TPM. Fields are only added.

use serde::{Deserialize, Serialize};

use super::LogStatus;
use super::vault::Standing;

/// The TPM: who it is, what it offers, what it has cost, and how the log is anchored in it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Manufacturer, vendor, firmware and revision of the specification, in one line.
    pub chip: String,
    /// It is software, as far as its own words tell.
    pub software: bool,
    /// Short ids of its keys.
    pub keys: Keys,
    /// What it offers; none where it did not answer.
    pub features: Option<Features>,
    /// Why it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// How the log is anchored in it; none: this daemon goes without (`without = ["anchor"]`).
    pub anchor: Option<Anchor>,
    /// How the vault stands; none where no daemon told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<Standing>,
    /// The log.
    pub log: LogStatus,
    /// What waits for it, and what went wrong since the start.
    pub queue: Queue,
    /// Each kind of operation, as counted since the start.
    pub operations: Vec<Operation>,
}

/// Short ids, 8 hexadecimal digits each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Keys {
    /// Signs heads of the log, nothing else.
    pub head: String,
    /// Signs everything else.
    pub general: String,
    /// Signs what the TPM itself states.
    pub attestation: Option<String>,
}

/// What the chip offers, and how much of it is left.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Features {
    /// In the words of tpm2-tools; unknown ones as `0x…`.
    pub algorithms: Vec<String>,
    /// PCR banks that have registers.
    pub banks: Vec<String>,
    /// It encrypts data for callers.
    pub encrypts: bool,
    /// NV indices defined, whoever did.
    pub nv_indices: u64,
    /// Bytes of NV memory that they take, counted generously.
    pub nv_used: u64,
    /// Bytes left of `nv_budget`.
    pub nv_left: u64,
    /// Bytes that a chip has at least; no chip tells how many it has.
    pub nv_budget: u64,
    /// NV counters that can still be defined; none where the chip does not say.
    pub counters_left: Option<u32>,
    /// Wrong authorisations counted.
    pub failures: u32,
    /// How many of them lead to a lockout.
    pub failures_max: u32,
    /// It is locked out now.
    pub locked_out: bool,
}

/// How the log is anchored.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Anchor {
    /// The chip's counter of anchorings.
    pub counter: u64,
    /// Heads that the chip has counted since the last one.
    pub heads: u64,
    /// Writes of the record since it was made.
    pub writes: u64,
    /// Writes that chips are at least made for.
    pub writes_max: u64,
    /// When this start has anchored the log last, RFC 3339, UTC; empty: it has not yet.
    pub anchored: String,
    /// The log is anchored with the first head after this time, seconds; earlier with a checkpoint or the end.
    pub next_s: u64,
    /// A head is stored that the chip has not counted yet.
    pub owed: bool,
    /// What this start found.
    pub found: Found,
    /// A log that is put back is noticed now if it lacks one of this many first entries.
    pub noticed: u64,
    /// The same after the chip has lost power.
    pub noticed_unpowered: u64,
    /// SHA-256 over the names of its counter and record, hexadecimal, as `tpm certify` has it; empty where it is not known.
    #[serde(default)]
    pub name: String,
}

/// What a start found of the anchor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// There was none, or one that the owner had replaced: it was made at this start.
    pub made: bool,
    /// The chip had lost power since the newest head: that heads after the last anchoring were missing would not have been seen.
    pub window_open: bool,
    /// How far the chip's count of heads was ahead of the newest head; it jumps when the power fails.
    pub heads_ahead: u64,
}

/// The queue in front of the chip, and what went wrong since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Queue {
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests refused because the queue was full.
    pub full: u64,
    /// Requests whose deadline passed.
    pub deadlines_passed: u64,
    /// Requests taken back before the chip began with them.
    pub cancelled: u64,
    /// Commands sent to the chip.
    pub commands: u64,
    /// Commands sent once more because the chip asked for it.
    pub retries: u64,
    /// Times that session and keys were made again after a reset or a broken connection.
    pub reconnects: u64,
}

/// One kind of operation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Operation {
    /// Its name, as in metrics.
    pub kind: String,
    /// How many were done, failed ones included.
    pub count: u64,
    /// How many failed.
    pub failed: u64,
    /// How many wait now.
    pub waiting: u64,
    /// Half took less than this, microseconds; none where none was done, or above the last bound.
    pub p50_us: Option<u64>,
    /// 99 of 100 took less than this, likewise.
    pub p99_us: Option<u64>,
    /// The longest one, microseconds.
    pub max_us: u64,
    /// All together, microseconds.
    pub sum_us: u64,
    /// How many took how long: the first less than 2 µs, each next one up to twice as long, the last all above.
    pub buckets: Vec<u64>,
}

/// What the TPM states of its registers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Quote {
    /// TPMS_ATTEST as it came from the TPM, hexadecimal; it holds the nonce.
    pub statement: String,
    /// ECDSA over its SHA-256 in DER, hexadecimal.
    pub signature: String,
    /// The attestation key, PEM. Who checks compares it with what the owner told.
    pub key: String,
    /// What the registers hold: the statement has the hash over all of them.
    pub pcrs: Vec<Pcr>,
}

/// One register of the SHA-256 bank.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pcr {
    /// 0 to 23.
    pub register: u8,
    /// Hexadecimal.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use engine::{Command, Query};
    use serde_json::json;

    use super::*;
    use crate::wire::{self, Answer, convert};

    #[test]
    fn the_tpm_is_asked_for_by_its_name() {
        let command: wire::Command = serde_json::from_value(json!({"command": "tpm"})).unwrap();
        assert_eq!(serde_json::to_value(&command).unwrap(), json!({"command": "tpm"}));
        assert_eq!(convert::command(command), Ok(Command::Query(Query::Tpm)));
    }

    #[test]
    fn a_report_reads_back_and_says_which_parts_are_not_there() {
        let whole = Report {
            chip: "c".to_owned(),
            features: Some(Features { counters_left: Some(1), ..Features::default() }),
            anchor: Some(Anchor { noticed: 3, noticed_unpowered: 2, ..Anchor::default() }),
            operations: vec![Operation { p50_us: Some(2), buckets: vec![1, 0], ..Operation::default() }],
            ..Report::default()
        };
        let failed = Report { failure: Some("gone".to_owned()), ..Report::default() };
        for report in [whole, failed] {
            let answer = Answer::Tpm(Box::new(report));
            let text = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer);
        }
        let empty = serde_json::to_value(Answer::Tpm(Box::default())).unwrap();
        assert_eq!((&empty["kind"], empty.get("failure")), (&json!("tpm"), None));
        // There is no anchor, which a program must not take for one that it is not told of.
        assert!(empty.get("anchor").is_some_and(serde_json::Value::is_null));
    }
}
