//! One program once more, operation by operation.

use anyhow::{Context as _, bail, ensure};

use super::Driver;
use crate::fuzz::actor::Done;
use crate::fuzz::arms;
use crate::fuzz::dice::Dice;
use crate::fuzz::generate::Generator;
use crate::fuzz::laptop::Phase;
use crate::fuzz::program::Op;

impl Driver {
    /// Reruns one program and prints what each operation gave. A line `# phase NAME` in the file picks the phase.
    pub(super) fn replay(&mut self, what: &str) -> anyhow::Result<()> {
        let (program, phase) = match what.split_once(':').map(|(seed, index)| (seed.parse(), index.parse())) {
            Some((Ok(seed), Ok(index))) => {
                let known = self.conductor.common.known;
                let program = Generator { dice: Dice::of_sequence(seed, index), known }.program();
                (program, Phase::of(index))
            }
            _ => {
                let text = std::fs::read_to_string(what).with_context(|| format!("the sequence {what}"))?;
                let phases = [Phase::Unsealed, Phase::Sealed, Phase::Limited, Phase::Password];
                let phase =
                    phases.into_iter().find(|phase| text.contains(&format!("in phase Some({phase:?})")));
                let text: String = text
                    .lines()
                    .filter(|line| !line.starts_with("---"))
                    .map(|line| format!("{line}\n"))
                    .collect();
                (text.parse()?, phase.unwrap_or(Phase::Sealed))
            }
        };
        self.enter(phase)?;
        self.remember();
        let fates = self.conductor.run(&program, &mut |_, _| {})?;
        for (op, fate) in program.0.iter().zip(&fates) {
            match fate.done {
                Some(done) => println!("{}", line(op, &done)),
                None => println!("(killed)  {}", serde_json::to_string(op)?),
            }
        }
        if let Some(report) = self.reports.look() {
            bail!("the kernel reports:\n{report}");
        }
        let known = self.conductor.common.known;
        self.model.learn(&program, &fates, known);
        let permitted = self.model.permitted(&program, &fates, known);
        let wrong = fates.iter().any(|fate| fate.done.is_some_and(|done| done.flags & Done::WRONG != 0));
        self.judge(&program, &permitted)?;
        ensure!(!wrong, "what was written back contradicts a result");
        println!("everything as it must be");
        Ok(())
    }
}

/// An operation and what it gave, on one line.
pub(super) fn line(op: &Op, done: &Done) -> String {
    let text = serde_json::to_string(op).unwrap_or_default();
    if done.flags & Done::SKIPPED != 0 {
        return format!("{:<28}  {text}", "(not tried)");
    }
    let end = i32::try_from(done.answer.min(0)).unwrap_or_default();
    format!("{:<28}  {text}", arms::text(arms::name(&op.call), end, done.reason))
}
