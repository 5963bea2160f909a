//! What recovery found, in the engine's words.

use engine::order::Item;
use engine::reply::{Captured, DiffReport, Differing, FileChange, VerifyReport};
use engine::scope::{FilePath, Others};
use recovery::diff::{Change, Difference, Presence};
use recovery::files::entry::{Entry, Kind};
use recovery::files::scan::Why;
use recovery::manifest::stored::Unsigned;
use recovery::manifest::{Manifest, Part};
use recovery::settings::told;
use recovery::shown;

/// What a capture stored.
pub(super) fn captured(manifest: &Manifest, recognised: u64, unsigned: &Unsigned) -> Captured {
    let count =
        |name: &str| manifest.parts.iter().filter(|part| part.component() == name).map(Part::entries).sum();
    let notes = manifest.roots().iter().flat_map(|tree| {
        let root = shown(&tree.path);
        // Those that the rules leave out are as many as there are, and nobody is to look after them.
        let notes = tree.notes.iter().filter(|note| note.why != Why::Rules);
        notes.map(move |note| format!("{root}/{}: {}", shown(&note.path), note.why))
    });
    let damaged = manifest.databases().0.iter().filter_map(|one| {
        one.damage.as_ref().map(|damage| format!("{}: SQLite finds it damaged: {damage}", shown(&one.path)))
    });
    Captured {
        manifest: unsigned.statement.manifest,
        files: count("files"),
        tokens: count("tokens"),
        bytes: regular(manifest).map(|(_, size)| size).sum(),
        read: u64::try_from(regular(manifest).count()).ok().and_then(|all| all.checked_sub(recognised)),
        skipped: notes.chain(unread(manifest)).chain(damaged).collect(),
        others: Others {
            settings: count("settings"),
            databases: count("databases"),
            services: count("services"),
        },
    }
}

/// What was not read though it is listed, and why.
fn unread(manifest: &Manifest) -> impl Iterator<Item = String> {
    let unread = manifest.settings().1.iter().chain(manifest.databases().1).chain(manifest.services().1);
    unread.map(|unread| format!("{}: {}", shown(&unread.path), unread.why))
}

/// Most differences in one answer.
const DIFFERENCES_MAX: usize = 10_000;
/// Most bytes of them, as they are counted here: far below a frame.
const DIFFERENCES_BYTES_MAX: usize = 2 << 20;
/// What one takes besides its path, bytes.
const DIFFERENCE_BYTES: usize = 100;

/// What differs, as far as it is asked for.
pub(super) fn diff((from, to): (u64, Option<u64>), paths: &[FilePath], all: &[Difference]) -> DiffReport {
    let mut report = DiffReport { from, to, ..DiffReport::default() };
    let mut room = DIFFERENCES_BYTES_MAX;
    for difference in all.iter().filter(|one| is_asked_for(one, paths)) {
        let count = match difference {
            Difference::File { change: Change::Created, .. } => &mut report.created,
            Difference::File { change: Change::Removed, .. } => &mut report.removed,
            Difference::File { change: Change::Altered(_), .. } => &mut report.changed,
            Difference::Token { .. } => &mut report.tokens,
            Difference::Setting { .. } => &mut report.others.settings,
            Difference::Database { .. } => &mut report.others.databases,
            Difference::Service { .. } => &mut report.others.services,
        };
        *count += 1;
        let one = differing(difference);
        let bytes = match &one {
            Differing::File { path, .. }
            | Differing::Setting { path, .. }
            | Differing::Database { path, .. } => path.len(),
            Differing::Service { unit, how } => unit.len() + how.iter().map(String::len).sum::<usize>(),
            Differing::Token { .. } => 0,
        };
        match room.checked_sub(bytes + DIFFERENCE_BYTES) {
            Some(left) if report.differences.len() < DIFFERENCES_MAX => {
                room = left;
                report.differences.push(one);
            }
            _ => room = 0,
        }
    }
    report
}

fn is_asked_for(difference: &Difference, paths: &[FilePath]) -> bool {
    let below = |path: &[u8], top: &[u8]| {
        let rest = path.strip_prefix(top.strip_suffix(b"/").unwrap_or(top));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    match difference {
        // A root that only one of them has stands for all that is in it.
        Difference::File { path, .. } => {
            paths.is_empty() || paths.iter().any(|FilePath(top)| below(path, top))
        }
        Difference::Token { .. }
        | Difference::Setting { .. }
        | Difference::Database { .. }
        | Difference::Service { .. } => paths.is_empty(),
    }
}

fn differing(difference: &Difference) -> Differing {
    match difference {
        Difference::File { path, change } => Differing::File {
            path: shown(path),
            change: match change {
                Change::Created => FileChange::Created,
                Change::Removed => FileChange::Removed,
                Change::Altered(aspects) => FileChange::Changed(aspects.words()),
            },
        },
        Difference::Token { id, select, before, after } => {
            Differing::Token { item: Item::new(*id, *select), before: *before, after: *after }
        }
        Difference::Setting { path, before, after } => {
            let told = |value: &Option<Vec<u8>>| value.as_ref().map(|value| told(value));
            Differing::Setting { path: shown(path), before: told(before), after: told(after) }
        }
        Difference::Database { path, change } => {
            let change = match change {
                Presence::Created => FileChange::Created,
                Presence::Removed => FileChange::Removed,
                Presence::Changed => FileChange::Changed(vec!["content"]),
            };
            Differing::Database { path: shown(path), change }
        }
        Difference::Service { unit, how } => Differing::Service { unit: unit.clone(), how: how.clone() },
    }
}

/// What was found of a checkpoint that is whole.
pub(super) fn verified(number: u64, manifest: &Manifest, key: &[u8]) -> VerifyReport {
    let databases = manifest.databases().0.iter().map(|one| one.size);
    VerifyReport {
        number,
        entries: manifest.parts.iter().map(Part::entries).sum(),
        bytes: regular(manifest).map(|(_, size)| size).chain(databases).sum(),
        key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn regular(manifest: &Manifest) -> impl Iterator<Item = (&Entry, u64)> {
    manifest.roots().iter().flat_map(|tree| &tree.entries).filter_map(|entry| match &entry.kind {
        Kind::Regular { size, .. } => Some((entry, *size)),
        _ => None,
    })
}

/// One line for each entry.
pub(super) fn entries(manifest: &Manifest) -> Vec<String> {
    let files = manifest.roots().iter().flat_map(|tree| {
        let root = shown(&tree.path);
        tree.entries.iter().map(move |entry| file(&root, entry))
    });
    let tokens =
        manifest.tokens().unwrap_or_default().iter().map(|held| {
            format!("token {} {} = {}", held.id(), held.select().unwrap_or_default(), held.value)
        });
    let settings = manifest.settings().0.iter();
    let settings =
        settings.map(|setting| format!("setting {} = {}", shown(&setting.path), told(&setting.value)));
    let databases = manifest.databases().0.iter();
    let databases = databases.map(|one| format!("database {} {} bytes", shown(&one.path), one.size));
    let services = manifest.services().0.iter();
    let services = services.map(|service| format!("service {} {}", service.unit, service.summary()));
    let unread = unread(manifest).map(|told| format!("unread {told}"));
    files.chain(databases).chain(settings).chain(services).chain(tokens).chain(unread).collect()
}

fn file(root: &str, entry: &Entry) -> String {
    let size = match &entry.kind {
        Kind::Regular { size, .. } => format!(" {size} bytes"),
        _ => String::new(),
    };
    let meta = &entry.meta;
    let slash = if entry.path.is_empty() { "" } else { "/" };
    format!(
        "{} {:04o} {}:{} {root}{slash}{}{size}",
        entry.kind,
        meta.mode,
        meta.uid,
        meta.gid,
        shown(&entry.path)
    )
}
