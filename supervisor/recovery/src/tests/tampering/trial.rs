//! What verifying and restoring say of a repository, held against what its checkpoints are of.

use std::collections::BTreeMap;
use std::path::Path;

use store::chunk::Chunks;

use super::super::tree::*;
use super::Random;
use super::victim::Victim;
use crate::Error;
use crate::manifest::Manifest;
use crate::restore::{Machine, Restore, Scope};
use crate::shelf::{Looked, Shelf};
use crate::worker::Worker;
use crate::worker::effect::Way;

/// What came of all trials.
#[derive(Default)]
pub(super) struct Count {
    attacks: u32,
    /// Of these, how many changed no byte.
    idle: u32,
    /// Repositories that did not open at all.
    shut: u32,
    sound: u32,
    /// Checkpoints that were held to be whole, damaged in part, and refused.
    whole: u32,
    part: u32,
    refused: u32,
    restores: u32,
    undetected: Vec<String>,
    alarms: Vec<String>,
    changed: Vec<String>,
    unkept: Vec<String>,
}

impl Count {
    pub(super) fn wrong(&self) -> Vec<&String> {
        [&self.undetected, &self.alarms, &self.changed, &self.unkept].into_iter().flatten().collect()
    }

    /// Lines of figures, which `scripts/survive.sh` reads.
    pub(super) fn tell(&self, seed: u64) {
        let Self { attacks, idle, shut, sound, whole, part, refused, restores, .. } = self;
        let more = format!(
            "\"without_effect\":{idle},\"not_opened\":{shut},\"whole\":{whole},\"in_part\":{part},\"refused\":{refused},\"restores\":{restores},\"seed\":{seed}"
        );
        let told = |metric: &str, wrong: &[String], tried: u32| {
            println!(
                "figure {{\"variant\":\"tampering\",\"metric\":\"{metric}\",\"samples\":[{}],\"goal\":0,\"notes\":[],\"more\":{{\"tried\":{tried},{more}}}}}",
                wrong.len()
            );
        };
        told(
            "tampering after which a checkpoint was called whole, or restored, and was another",
            &self.undetected,
            *attacks,
        );
        told("sound repositories of which something was called damaged", &self.alarms, *sound);
        told("restores that were refused and had changed something", &self.changed, *attacks);
        told(
            "what was said to be restorable and was not, or damage that was not named",
            &self.unkept,
            *attacks,
        );
    }
}

/// One repository, looked at.
pub(super) struct Hands<'a> {
    pub(super) victim: &'a mut Victim,
    pub(super) random: &'a mut Random,
    pub(super) count: &'a mut Count,
    /// Which attack.
    pub(super) what: (&'static str, usize),
}

impl Hands<'_> {
    /// Verifies and restores all of it.
    pub(super) fn judge(mut self, dir: &Path, is_changed: bool) {
        match (self.what.0, is_changed) {
            ("nothing", _) => self.count.sound += 1,
            (_, changed) => {
                self.count.attacks += 1;
                self.count.idle += u32::from(!changed);
            }
        }
        let chunks = match Chunks::open(&dir.join("chunks"), &KEY) {
            Ok(chunks) => chunks,
            Err(error) => {
                self.count.shut += 1;
                self.named(&error.to_string(), "config");
                if !is_changed {
                    let why = self.say("it is not opened", &error.to_string());
                    self.count.alarms.push(why);
                }
                return;
            }
        };
        let told = self.victim.told.clone();
        let signer = self.victim.signer.public;
        let dir = dir.join("checkpoints");
        let shelf = Shelf { dir: &dir, chunks: &chunks, told: &told, signers: vec![&signer] };
        let mut looked = Looked::default();
        let found: BTreeMap<u64, Result<Manifest, Error>> =
            told.keys().map(|number| (*number, shelf.manifest(*number))).collect();
        for (number, one) in &found {
            let remains = shelf.remains(*number);
            let text = remains.to_string();
            match one {
                Err(error) => {
                    self.count.refused += 1;
                    if remains.of_it.is_ok() {
                        let why = self.say("what is refused is called whole in part", &text);
                        self.count.unkept.push(why);
                    }
                    let name = format!("{error} {}", self.chunk_or_file(error, *number));
                    self.named(&name, &number.to_string());
                }
                Ok(manifest) if *manifest != self.victim.states[number].manifest => {
                    let why = self.say("another manifest is taken for checkpoint", &number.to_string());
                    self.count.undetected.push(why);
                }
                Ok(manifest) => {
                    let damaged = shelf.damage(manifest, &mut looked);
                    if remains.of_it.as_ref() != Ok(&damaged) {
                        let why = self.say("two looks differ", &text);
                        self.count.unkept.push(why);
                    }
                    if damaged.is_empty() {
                        self.count.whole += 1;
                        self.restore_whole(*number, manifest, &chunks);
                    } else {
                        self.count.part += 1;
                        damaged.iter().take(1).for_each(|one| self.named(&text, &crate::shown(&one.path)));
                        let damaged: Vec<_> = damaged.into_iter().map(|one| one.path).collect();
                        self.restore_damaged(*number, (manifest, &damaged), &chunks);
                    }
                }
            }
            self.remains_are_whole(&remains.whole, &found, &shelf, &mut looked);
        }
        let is_whole = |found: &Result<Manifest, Error>| {
            found.as_ref().is_ok_and(|manifest| shelf.damage(manifest, &mut Looked::default()).is_empty())
        };
        if !is_changed && !found.values().all(is_whole) {
            let why = self.say("damage is seen where there is none", "");
            self.count.alarms.push(why);
        }
    }

    fn say(&self, what: &str, more: &str) -> String {
        let (attack, round) = self.what;
        format!("{attack}, round {round}: {what} {more}")
    }

    /// A message names what is damaged.
    fn named(&mut self, text: &str, name: &str) {
        if !text.contains(name) {
            let why = self.say(&format!("{name} is not named in"), text);
            self.count.unkept.push(why);
        }
    }

    /// The checkpoint, where a message names a file of it or a chunk instead.
    fn chunk_or_file(&self, error: &Error, number: u64) -> String {
        match error {
            Error::Store(_)
            | Error::Damaged(_)
            | Error::Refused(_)
            | Error::Version { .. }
            | Error::Limit { .. } => {
                format!("checkpoint {number}")
            }
            _ => String::new(),
        }
    }

    fn remains_are_whole(
        &mut self,
        whole: &[u64],
        found: &BTreeMap<u64, Result<Manifest, Error>>,
        shelf: &Shelf<'_>,
        looked: &mut Looked,
    ) {
        for number in whole {
            let is_whole =
                found[number].as_ref().is_ok_and(|manifest| shelf.damage(manifest, looked).is_empty());
            if !is_whole {
                let why = self.say("a damaged one is called whole:", &number.to_string());
                self.count.unkept.push(why);
            }
        }
    }

    /// It comes back exactly.
    fn restore_whole(&mut self, number: u64, manifest: &Manifest, chunks: &Chunks) {
        let before = self.victim.pictures();
        match self.restore(manifest, chunks, Scope::default()) {
            Ok(()) => self.is_exactly(number),
            Err(error) => {
                let why = self.say("what is whole is not restored:", &error.to_string());
                self.count.unkept.push(why);
                self.is_still(&before);
            }
        }
    }

    /// It is refused without a change, unless what is damaged is not needed; then the rest is restored by its paths.
    fn restore_damaged(
        &mut self,
        number: u64,
        (manifest, damaged): (&Manifest, &[Vec<u8>]),
        chunks: &Chunks,
    ) {
        let before = self.victim.pictures();
        match self.restore(manifest, chunks, Scope::default()) {
            Ok(()) => self.is_exactly(number),
            Err(_) => self.is_still(&before),
        }
        let paths = manifest.roots().iter().flat_map(|tree| {
            let files = tree.entries.iter().filter(|entry| !entry.pieces().is_empty());
            files.map(|entry| [&tree.path, b"/".as_slice(), &entry.path].concat())
        });
        let mut paths: Vec<_> = paths.filter(|path| !damaged.contains(path)).collect();
        while paths.len() > 3 {
            paths.swap_remove(self.random.below(paths.len()));
        }
        if paths.is_empty() {
            return;
        }
        let scope = Scope { paths: paths.clone(), tokens: false, ..Scope::default() };
        if let Err(error) = self.restore(manifest, chunks, scope) {
            let why =
                self.say(&format!("the rest of checkpoint {number} is not restored:"), &error.to_string());
            return self.count.unkept.push(why);
        }
        let now = self.victim.pictures();
        let want = &self.victim.states[&number].pictures;
        for (root, (now, want)) in self.victim.roots.iter().zip(now.iter().zip(want)) {
            let root = root.as_os_str().as_encoded_bytes();
            for path in paths.iter().filter_map(|path| path.strip_prefix(root)) {
                let path = path.strip_prefix(b"/").unwrap_or(path);
                if now.get(path) != want.get(path) {
                    let why = format!(
                        "{}, round {}: {} of checkpoint {number} came back as {:?}",
                        self.what.0,
                        self.what.1,
                        crate::shown(path),
                        now.get(path)
                    );
                    self.count.undetected.push(why);
                }
            }
        }
    }

    fn restore(&mut self, manifest: &Manifest, chunks: &Chunks, scope: Scope) -> Result<(), Error> {
        self.count.restores += 1;
        let way = if self.random.below(2) == 0 { Way::InPlace } else { Way::Exchange };
        let roots = super::super::tree::open(&self.victim.roots);
        let mut worker = Worker::new(&self.victim.roots).unwrap();
        let machine = Machine {
            roots: &roots,
            tokens: Some(&mut self.victim.bank),
            executor: Some(&mut worker),
            scope,
            way,
            ..Machine::default()
        };
        let mut restore = Restore::begin(machine, manifest.clone(), chunks, false)?;
        restore.prepare()?;
        restore.execute()?;
        restore.verify()?;
        restore.clean_up()
    }

    fn is_exactly(&mut self, number: u64) {
        let (now, want) = (self.victim.pictures(), &self.victim.states[&number]);
        let differing: Vec<_> =
            now.iter().zip(&want.pictures).flat_map(|(now, want)| unlike(now, want)).collect();
        if !differing.is_empty() || self.victim.bank.held != want.tokens {
            let why =
                self.say(&format!("checkpoint {number} came back as another:"), &format!("{differing:?}"));
            self.count.undetected.push(why);
        }
    }

    fn is_still(&mut self, before: &[Picture; 2]) {
        let now = self.victim.pictures();
        let differing: Vec<_> =
            now.iter().zip(before).flat_map(|(now, before)| unlike(now, before)).collect();
        if !differing.is_empty() {
            let why = self.say("it was refused, and changed", &format!("{differing:?}"));
            self.count.changed.push(why);
        }
    }
}
