//! What a restore would change, for people and for the engine.

use std::fmt;

use engine::reply::PlanReport;
use engine::scope::{FilePath, Held, Others};
use types::token::Change;

use crate::component::Difference;
use crate::files::plan;

/// What a restore would change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Everything that differs.
    pub differences: Vec<Difference>,
    /// Whether the checkpoint is of a machine that calls itself something else.
    pub other_machine: bool,
    /// Folders that come back in place though they were to be exchanged, each with the reason.
    pub in_place: Vec<String>,
    /// How the services were that it may change: by the unit's name, what [`crate::services::put_back`] needs after a crash.
    pub services_before: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A plan in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Files that come back.
    pub created: u64,
    /// Files that go.
    pub removed: u64,
    /// Files that are changed back.
    pub changed: u64,
    /// Files of which only the access time is set back.
    pub accessed: u64,
    /// Tokens that are written back.
    pub tokens: u64,
    /// Tokens and others that differ and cannot be restored.
    pub obstacles: u64,
    /// Settings that are written back.
    pub settings: u64,
    /// Databases that are put back.
    pub databases: u64,
    /// Services that are changed back.
    pub services: u64,
}

impl Plan {
    /// The plan in numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for difference in &self.differences {
            let count = match difference {
                Difference::File { difference, .. } => match difference.change {
                    plan::Change::Create => &mut summary.created,
                    plan::Change::Remove => &mut summary.removed,
                    plan::Change::Alter(aspects) if aspects.is_access_only() => &mut summary.accessed,
                    plan::Change::Alter(_) => &mut summary.changed,
                },
                blocked if blocked.is_blocked() => &mut summary.obstacles,
                Difference::Token(_) => &mut summary.tokens,
                Difference::Setting(_) => &mut summary.settings,
                Difference::Database(_) => &mut summary.databases,
                Difference::Service(_) => &mut summary.services,
            };
            *count += 1;
        }
        summary
    }

    /// The plan in the engine's words, of the checkpoint of this number.
    #[must_use]
    pub fn report(&self, number: u64) -> PlanReport {
        let summary = self.summary();
        let lines = self.differences.iter().take(PlanReport::LINES_MAX).map(ToString::to_string);
        PlanReport {
            number,
            added: summary.created,
            changed: summary.changed + summary.accessed,
            removed: summary.removed,
            tokens: summary.tokens,
            denied: summary.obstacles,
            lines: lines.collect(),
            writes: self.token_changes().into_iter().map(Into::into).collect(),
            in_place: self.in_place.clone(),
            others: Others {
                settings: summary.settings,
                databases: summary.databases,
                services: summary.services,
            },
            settings: self
                .settings_before()
                .into_iter()
                .chain(self.services_before.clone())
                .map(held)
                .collect(),
        }
    }

    /// The writes of tokens that it holds, each with the value that stands there now: what [`crate::tokens::put_back`] needs
    /// after a crash.
    #[must_use]
    pub fn token_changes(&self) -> Vec<Change> {
        let tokens = self.differences.iter().filter_map(|difference| match difference {
            Difference::Token(token) if token.obstacle.is_none() => Some(token),
            _ => None,
        });
        tokens
            .map(|token| Change {
                id: token.id,
                select: token.select,
                value: token.want,
                expected: token.now,
            })
            .collect()
    }

    /// What the settings that it writes hold now, in the order of the writes: what [`crate::settings::put_back`] needs after a
    /// crash.
    #[must_use]
    pub fn settings_before(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let settings = self.differences.iter().filter_map(|difference| match difference {
            Difference::Setting(setting) if setting.obstacle.is_none() => Some(setting),
            _ => None,
        });
        settings.filter_map(|setting| Some((setting.path.clone(), setting.now.clone()?))).collect()
    }
}

fn held((path, value): (Vec<u8>, Vec<u8>)) -> Held {
    Held { path: FilePath(path), value }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} files created, {} removed, {} changed, {} with access times only; {} tokens, {} settings, {} \
             databases, {} services, {} not restorable",
            self.created,
            self.removed,
            self.changed,
            self.accessed,
            self.tokens,
            self.settings,
            self.databases,
            self.services,
            self.obstacles
        )
    }
}
