//! What checkpoints differ in, and of what a restore is.

use engine::reply::{DiffReport, Differing, FileChange};
use engine::scope::{FilePath, Others, Scope as EngineScope};
use serde::{Deserialize, Serialize};

/// Of what a restore is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Files.
    pub files: bool,
    /// Tokens.
    pub tokens: bool,
    /// Of files only what is at or below these absolute paths; all where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Settings of the kernel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settings: bool,
    /// Databases.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub databases: bool,
    /// Services.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub services: bool,
}

impl From<Scope> for EngineScope {
    fn from(scope: Scope) -> Self {
        let Scope { files, tokens, settings, databases, services, .. } = scope;
        Self { files, tokens, paths: paths(scope.paths), settings, databases, services }
    }
}

/// Paths of text.
pub(super) fn paths(paths: Vec<String>) -> Vec<FilePath> {
    paths.into_iter().map(|path| FilePath(path.into_bytes())).collect()
}

/// What two checkpoints differ in, or one and what is there now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Diff {
    /// The first one's number.
    pub from: u64,
    /// The second one's; null: what is there now.
    pub to: Option<u64>,
    /// Files that only the second has.
    pub created: u64,
    /// Files that only the first has.
    pub removed: u64,
    /// Files that differ.
    pub changed: u64,
    /// Tokens that differ.
    pub tokens: u64,
    /// Settings of the kernel that differ.
    #[serde(default)]
    pub settings: u64,
    /// Databases that differ.
    #[serde(default)]
    pub databases: u64,
    /// Services that differ.
    #[serde(default)]
    pub services: u64,
    /// Each difference, as many as an answer holds.
    pub differences: Vec<Difference>,
    /// Differences that are not shown.
    pub more: u64,
}

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Difference {
    /// Only the second has it.
    Created {
        /// A file's absolute path.
        path: String,
    },
    /// Only the first has it.
    Removed {
        /// A file's absolute path.
        path: String,
    },
    /// Both have it.
    Changed {
        /// A file's absolute path.
        path: String,
        /// In what: `kind`, `content`, `mode`, `owner`, `mtime`, `attributes`.
        aspects: Vec<String>,
    },
    /// A token.
    Token {
        /// The token.
        id: String,
        /// Which value.
        select: String,
        /// In the first; null where it has none.
        before: Option<u32>,
        /// In the second.
        after: Option<u32>,
    },
    /// A setting of the kernel.
    Setting {
        /// Its path.
        path: String,
        /// In the first; null where it has none.
        before: Option<String>,
        /// In the second.
        after: Option<String>,
    },
    /// A database.
    Database {
        /// Its absolute path.
        path: String,
        /// How: `created`, `removed` or `changed`.
        how: String,
    },
    /// A service.
    Service {
        /// Its unit's name.
        unit: String,
        /// How, in words: from the first to the second.
        details: Vec<String>,
    },
}

impl From<Differing> for Difference {
    fn from(one: Differing) -> Self {
        match one {
            Differing::File { path, change: FileChange::Created } => Self::Created { path },
            Differing::File { path, change: FileChange::Removed } => Self::Removed { path },
            Differing::File { path, change: FileChange::Changed(aspects) } => {
                Self::Changed { path, aspects: aspects.into_iter().map(str::to_owned).collect() }
            }
            Differing::Token { item, before, after } => {
                Self::Token { id: item.token().to_string(), select: item.select().to_string(), before, after }
            }
            Differing::Setting { path, before, after } => Self::Setting { path, before, after },
            Differing::Database { path, change } => {
                let how = match change {
                    FileChange::Created => "created",
                    FileChange::Removed => "removed",
                    FileChange::Changed(_) => "changed",
                };
                Self::Database { path, how: how.to_owned() }
            }
            Differing::Service { unit, how } => Self::Service { unit, details: how },
        }
    }
}

impl From<DiffReport> for Diff {
    fn from(report: DiffReport) -> Self {
        let DiffReport { from, to, created, removed, changed, tokens, differences, others } = report;
        let all = [created, removed, changed, tokens, others.total()];
        let all = all.into_iter().fold(0, u64::saturating_add);
        let more = all.saturating_sub(u64::try_from(differences.len()).unwrap_or(u64::MAX));
        let differences = differences.into_iter().map(Into::into).collect();
        let Others { settings, databases, services } = others;
        Self { from, to, created, removed, changed, tokens, settings, databases, services, differences, more }
    }
}
