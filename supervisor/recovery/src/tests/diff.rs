//! Two captures differ in what an independent walk says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use types::token::{Select, TokenId};

use super::property::{act, change_tree, perform, without_pipes};
use super::tree::*;
use crate::diff::{Change, Difference, diff};
use crate::files::plan::Aspects;
use crate::files::scan::{Note, Why};
use crate::manifest::{Manifest, Part, VERSION};
use crate::restore::{self, Machine};
use crate::tokens::Value;

/// What an independent walk before and after says.
fn expected(before: &Picture, after: &Picture) -> BTreeMap<Vec<u8>, Change> {
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    let change = |path: &Vec<u8>| match (before.get(path), after.get(path)) {
        (None, _) => Some(Change::Created),
        (_, None) => Some(Change::Removed),
        (Some(a), Some(b)) => {
            let is_link = |seen: &Seen| seen.first != *path;
            let aspects = if is_link(a) || is_link(b) {
                Aspects { kind: a.first != b.first, ..Aspects::default() }
            } else if a.what != b.what {
                Aspects { kind: true, ..Aspects::default() }
            } else {
                Aspects {
                    kind: false,
                    content: a.content != b.content,
                    mode: a.mode & 0o7777 != b.mode & 0o7777,
                    owner: a.owner != b.owner,
                    mtime: a.mtime != b.mtime,
                    atime: false,
                    xattrs: a.xattrs != b.xattrs,
                }
            };
            (aspects != Aspects::default()).then_some(Change::Altered(aspects))
        }
    };
    paths.iter().filter_map(|path| Some((path.clone(), change(path)?))).collect()
}

fn found(root: &Path, first: &Manifest, second: &Manifest) -> BTreeMap<Vec<u8>, Change> {
    use std::os::unix::ffi::OsStrExt;
    let root = root.as_os_str().as_bytes();
    let differences = diff(first, second).into_iter().map(|difference| match difference {
        Difference::File { path, change } => {
            let below = path.strip_prefix(root).unwrap();
            (below.strip_prefix(b"/").unwrap_or(below).to_vec(), change)
        }
        other => panic!("there is nothing but files: {other}"),
    });
    differences.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_captures_differ_as_an_independent_walk_says_as_root(
        build in prop::collection::vec(act(), 1..40),
        change in prop::collection::vec(act(), 0..25),
    ) {
        if !is_root() {
            return Ok(());
        }
        let bench = Bench::new();
        for act in without_pipes(&build) {
            perform(&bench.root, &act);
        }
        let (mut chunks, before) = (bench.chunks(), picture(&bench.root));
        let first = bench.capture(&mut chunks);
        change_tree(&bench.root, &before, &change);
        let after = picture(&bench.root);
        // What is there now is looked at without storing anything.
        let roots = open(std::slice::from_ref(&bench.root));
        let machine = Machine { roots: &roots, ..Machine::default() };
        let now = restore::observe(machine, &chunks, Default::default()).unwrap();
        let stored = chunks.stats();
        let second = bench.capture(&mut chunks);
        prop_assert_eq!(found(&bench.root, &first, &now), expected(&before, &after));
        prop_assert_eq!(found(&bench.root, &first, &second), expected(&before, &after));
        prop_assert_eq!(found(&bench.root, &second, &first), expected(&after, &before));
        prop_assert!(diff(&second, &now).is_empty());
        prop_assert!(stored.chunks <= chunks.stats().chunks);
    }
}

fn tokens(values: &[(u16, u32)]) -> Manifest {
    let values = values.iter().map(|(id, value)| Value::new(TokenId(*id), Select::Current, *value)).collect();
    Manifest {
        version: VERSION,
        number: 1,
        name: "x".into(),
        created: types::time::Time::default().into(),
        machine: Vec::new(),
        parts: vec![Part::Tokens { values, unread: Vec::new() }],
    }
}

#[test]
fn tokens_differ_by_value_or_by_being_there() {
    let of =
        |id, before, after| Difference::Token { id: TokenId(id), select: Select::Current, before, after };
    let (first, second) = (tokens(&[(1, 5), (2, 6), (3, 7)]), tokens(&[(2, 6), (3, 8), (4, 9)]));
    assert_eq!(diff(&first, &second), [of(1, Some(5), None), of(3, Some(7), Some(8)), of(4, None, Some(9))]);
    assert!(diff(&first, &first).is_empty());
    assert_eq!(of(3, Some(7), None).to_string(), "token 0x0003 current: 7 before, none after");
}

#[test]
fn what_one_of_them_left_out_does_not_count_and_a_root_of_one_is_one_difference() {
    let bench = Bench::new();
    one_of_everything(&bench.root);
    let mut chunks = bench.chunks();
    let first = bench.capture(&mut chunks);
    std::fs::remove_dir_all(bench.root.join("sub")).unwrap();
    let mut second = bench.capture(&mut chunks);
    let removed = |second: &Manifest| {
        diff(&first, second)
            .iter()
            .filter(|one| matches!(one, Difference::File { change: Change::Removed, .. }))
            .count()
    };
    // The folder, five files and links and a pipe in it, "deep" with two entries.
    assert_eq!(removed(&second), 10, "{:#?}", diff(&first, &second));
    for part in &mut second.parts {
        let Part::Files { roots } = part else { continue };
        roots[0].notes.push(Note { path: b"sub/deep".to_vec(), why: Why::MountPoint });
    }
    assert_eq!(removed(&second), 7);
    let Part::Files { roots } = &mut second.parts[0] else { panic!("files") };
    roots[0].path = b"/other".to_vec();
    let found: Vec<_> = diff(&first, &second).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["created /other".to_owned(), format!("removed {}", bench.root.display())]);
}
