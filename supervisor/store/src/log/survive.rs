//! Runs of survival: the log on a disk that crashes anywhere, and in the hands of somebody who can write the disk.
//!
//! `cargo test` runs a sample of each; `make survive WHAT=log` runs them whole. Each run ends with one line that
//! `scripts/survive.sh` reads.

mod beside;
mod crashes;
mod disks;
mod tampering;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use super::tests::Signer;
use super::*;
use crate::disk::sim::Sim;

/// Small files, so that a short run crosses from one to the next.
const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };
const ID: [u8; 16] = [7; 16];
const ORIGIN: &str = "dsmil.test/survive";

fn dir() -> &'static Path {
    Path::new("/log")
}

/// How much of a whole run is done: `SURVIVE_LOG` is the number of trials.
fn times(sample: usize) -> usize {
    std::env::var("SURVIVE_LOG").ok().and_then(|text| text.parse().ok()).unwrap_or(sample)
}

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// One line of a figure.
fn tell(metric: &str, violations: usize, tried: usize, more: &str) {
    println!(
        "figure {{\"variant\":\"log\",\"metric\":\"{metric}\",\"samples\":[{violations}],\"goal\":0,\"notes\":[],\"more\":{{\"tried\":{tried}{more}}}}}"
    );
}

/// The machine's key and another's. A head is signed once: two runs that come to the same head come to the same bytes.
struct Keys {
    ours: Signer,
    other: Signer,
    signed: Mutex<HashMap<Hash, SignedHead>>,
}

static KEYS: LazyLock<Keys> =
    LazyLock::new(|| Keys { ours: Signer::new(), other: Signer::new(), signed: Mutex::default() });

impl Keys {
    fn sign(&self, head: Head) -> SignedHead {
        let mut signed = self.signed.lock().unwrap();
        signed.entry(head.digest().unwrap()).or_insert_with(|| self.ours.sign(head)).clone()
    }

    /// Signs the log as it is now, and stores that.
    fn store(&self, log: &mut Log) -> Result<Head, Error> {
        let head = log.head(ORIGIN, Vec::new());
        log.store_head(&self.sign(head.clone())).map(|()| head)
    }
}

/// The offline check with the machine's key.
fn check(disk: &Sim, trusted: Option<&Head>) -> Result<crate::verify::Report, Error> {
    let key = KEYS.ours.public();
    crate::verify::verify_on(Arc::new(disk.clone()), dir(), (Some(&key), trusted), false)
}
