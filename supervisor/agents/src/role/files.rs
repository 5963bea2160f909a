//! Files below a folder: listed, hashed, searched, compared. Nothing here writes.
//!
//! - [`root`]: opens what lies below a folder, and walks it
//! - [`listing`]: by what the folders say; [`content`]: by what the files hold

mod content;

mod listing;

mod root;

use serde_json::Value;

use super::{Act, Role, rooted};
use crate::fault::Fault;
use crate::input::{Field, Input};
use crate::options::Options;
use crate::task::Task;

const PATH: Field = ("path", "below the folder; the folder itself unless given");
const LIMIT: Field = ("limit", "how many are told, at most 1000; 100 unless given");
/// Most entries that are told.
const LIMIT_MAX: u64 = 1_000;

/// Files.
pub const ROLE: Role = Role {
    name: "files",
    options: "`--root DIR`",
    acts: &[
        Act {
            name: "list",
            input: &[PATH, LIMIT, ("deep", "also what lies in folders below; false unless given")],
            output: "`entries`: `path`, `kind`, `bytes`, `modified_s`, `mode`",
            run: listing::list,
        },
        Act { name: "count", input: &[PATH], output: "`bytes` of all files", run: listing::count },
        Act { name: "largest", input: &[PATH, LIMIT], output: "`largest`: entries", run: listing::largest },
        Act { name: "newest", input: &[PATH, LIMIT], output: "`newest`: entries", run: listing::newest },
        Act {
            name: "changed",
            input: &[
                PATH,
                LIMIT,
                ("since_s", "seconds since 1970"),
                ("within_s", "instead: how many seconds back; a day unless given"),
            ],
            output: "`changed`: entries, the newest first; `count`; `since_s`",
            run: listing::changed,
        },
        Act {
            name: "empty",
            input: &[PATH, LIMIT],
            output: "`empty`: files and folders with nothing in them; `count`",
            run: listing::empty,
        },
        Act {
            name: "types",
            input: &[PATH, LIMIT],
            output: "`types`: `ending`, `count`, `bytes`, the largest first",
            run: listing::types,
        },
        Act {
            name: "permissions",
            input: &[PATH, LIMIT],
            output: "`open`: what anybody may write; `raised`: what runs as its owner or group; `counts`",
            run: listing::permissions,
        },
        Act {
            name: "read",
            input: &[
                ("path", "a file below the folder"),
                ("offset", "from which byte; 0 unless given"),
                ("bytes", "how many, at most 32768; 16384 unless given"),
            ],
            output: "`text`, `bytes` of the whole file, `next`: where to go on, or null",
            run: content::read,
        },
        Act {
            name: "hash",
            input: &[PATH, LIMIT],
            output: "`hashes`: a map of paths and SHA-256, as `verify` takes it; `bytes`; `total`: SHA-256 of all, in order",
            run: content::hash,
        },
        Act {
            name: "verify",
            input: &[("expected", "a map of paths and SHA-256")],
            output: "`equal`: how many; `different`, `missing`: paths; `is_equal`",
            run: content::verify,
        },
        Act {
            name: "search",
            input: &[
                PATH,
                LIMIT,
                ("text", "what is looked for, within a line"),
                ("any_case", "a–z and A–Z are the same; false unless given"),
            ],
            output: "`matches`: `path`, `line`, `text`; `count`; `searched` files; `binary` ones passed over",
            run: content::search,
        },
        Act {
            name: "duplicates",
            input: &[PATH, LIMIT, ("min_bytes", "smaller files are passed over; 1 unless given")],
            output: "`groups`: `sha256`, `bytes`, `count` of files, `paths` of the first 10; `count`; `wasted_bytes`",
            run: content::duplicates,
        },
    ],
    check: rooted,
};

/// Opens the folder of the arguments.
fn open(options: &Options) -> Result<root::Root, Fault> {
    let path = options.root.as_deref().ok_or_else(|| Fault::failed("no folder is given"))?;
    root::Root::open(path)
}

/// Walks from the input's `path` on.
fn walk(
    task: &Task,
    input: &Input,
    options: &Options,
    see: impl FnMut(&root::Root, root::Entry) -> Result<(), Fault>,
) -> Result<root::Walked, Fault> {
    let root = open(options)?;
    root.walk(task, input.text_or("path", "")?, root::DEPTH_MAX, see)
}

/// A result with what the walk came to.
fn with_walk(mut output: Value, walked: &root::Walked) -> Value {
    if let Value::Object(fields) = &mut output {
        fields.extend(walked.told());
    }
    output
}

/// The best `limit` of many, by a key: never holds more than twice as many.
struct Best<K, T> {
    limit: usize,
    all: Vec<(K, T)>,
}

impl<K: Ord, T> Best<K, T> {
    const fn new(limit: usize) -> Self {
        Self { limit, all: Vec::new() }
    }

    fn add(&mut self, key: K, one: T) {
        self.all.push((key, one));
        if self.all.len() > self.limit.saturating_mul(2).saturating_add(64) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        // Stable, so that of equals the first ones stay.
        self.all.sort_by(|(a, _), (b, _)| b.cmp(a));
        self.all.truncate(self.limit);
    }

    fn end(mut self) -> Vec<T> {
        self.cut();
        self.all.into_iter().map(|(_, one)| one).collect()
    }
}
