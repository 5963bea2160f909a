//! The TPM's word on the log's anchor, as a point that `dsmil log verify` trusts.

use std::path::PathBuf;

use api::wire::vault::Certification;
use clap::Args;
use recovery::vault::offline::{self, Certification as Word};
use store::head::Head;
use types::hash::Hash;

use crate::fault::Fault;
use crate::secret;

/// The longest certification, bytes: it has some 1,500.
const CERTIFICATION_MAX: usize = 16 << 10;

/// A certification and what it is believed by.
#[derive(Debug, Args)]
pub struct Certified {
    /// A fresh certification of the log's anchor, from “dsmil tpm certify”; the log must reach what the TPM says in it.
    #[arg(
        long,
        value_name = "FILE",
        requires = "nonce",
        requires = "attestation_key",
        conflicts_with = "head"
    )]
    certification: Option<PathBuf>,
    /// The nonce that you chose for it, hexadecimal.
    #[arg(long, value_name = "HEX", requires = "certification")]
    nonce: Option<String>,
    /// The machine's attestation key, PEM, from a place that the machine cannot write.
    #[arg(long, value_name = "FILE", requires = "certification")]
    attestation_key: Option<PathBuf>,
    /// The name of the anchor that its owner told (“dsmil tpm status”); without it any anchor of this TPM is taken.
    #[arg(long, value_name = "NAME", requires = "certification")]
    anchor: Option<String>,
}

/// How far the log reached when it was anchored last.
pub struct Point {
    size: u64,
    root: Hash,
    log_id: [u8; 16],
    /// The anchor's name.
    pub anchor: String,
}

impl Point {
    /// As a head that is trusted.
    pub fn head(&self) -> Head {
        Head { origin: "anchor".to_owned(), size: self.size, root: self.root, extensions: Vec::new() }
    }

    /// Whether it speaks of this log.
    pub fn is_of(&self, id: [u8; 16]) -> Result<(), Fault> {
        if self.log_id == id { Ok(()) } else { Err(doubt("the TPM's anchor is that of another log")) }
    }
}

impl Certified {
    /// The point, if one was given, once it is believed.
    pub fn believe(&self) -> Result<Option<Point>, Fault> {
        let (Some(path), Some(nonce), Some(key)) = (&self.certification, &self.nonce, &self.attestation_key)
        else {
            return Ok(None);
        };
        let nonce = bytes(nonce)
            .ok_or_else(|| Fault::Usage("a nonce is hexadecimal, two digits for each byte".to_owned()))?;
        let text = secret::read(key, "the attestation key", secret::READ_MAX)?;
        let key = offline::public_key(std::str::from_utf8(&text).unwrap_or_default())
            .map_err(|error| Fault::Failed(format!("{}: {error}", key.display())))?;
        let text = secret::read(path, "the certification", CERTIFICATION_MAX)?;
        let word: Certification = serde_json::from_slice(&text)
            .map_err(|error| Fault::Failed(format!("{} is no certification: {error}", path.display())))?;
        let part = |text: &str| bytes(text).ok_or_else(|| doubt("the certification is not hexadecimal"));
        let (counter, record) = (part(&word.counter)?, part(&word.record)?);
        let signatures = (part(&word.counter_signature)?, part(&word.record_signature)?);
        let word = Word { counter: (&counter, &signatures.0), record: (&record, &signatures.1) };
        let claim =
            offline::verify_certification(&key, &nonce, &word).map_err(|why| doubt(&why.to_string()))?;
        let anchor = offline::anchor_name(&claim.counter_name, &claim.record_name).to_string();
        if self.anchor.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&anchor)) {
            return Err(doubt(&format!(
                "the TPM speaks of the anchor {anchor}, not of the one that was told: it was defined anew, or is another"
            )));
        }
        let point = claim.record.point;
        Ok(Some(Point { size: point.size, root: point.root, log_id: point.log_id, anchor }))
    }
}

fn doubt(why: &str) -> Fault {
    Fault::Damaged { message: format!("the certification is not believed: {why}"), damage: None }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .map(|digit| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| if let [high, low] = pair { Some(high << 4 | low) } else { None }).collect()
}
