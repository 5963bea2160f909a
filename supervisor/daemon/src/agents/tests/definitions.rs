//! Folders of definitions: what is found in them, and how soon.

use std::os::unix::fs::{MetadataExt as _, chown};

use super::super::folders::{FILES_MAX, Found, scan, watch};
use super::*;

/// Two folders: root's, and a user's own.
struct Tree {
    root: tempfile::TempDir,
    folders: Folders,
    owner: u32,
}

impl Tree {
    /// Nothing where the owner of a file cannot be changed.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: this takes root");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (ours, owner) = (user(), user());
        let uid = owner.uid;
        let list = vec![
            Folder { path: root.path().join("system"), owner: None },
            Folder { path: root.path().join("own"), owner: Some(owner) },
        ];
        for folder in &list {
            std::fs::create_dir(&folder.path).unwrap();
        }
        chown(root.path().join("own"), Some(uid), Some(uid)).unwrap();
        Some(Self { folders: Folders::new(list, ours).unwrap(), root, owner: uid })
    }

    fn path(&self, place: &str) -> PathBuf {
        self.root.path().join(place)
    }

    fn define(&self, place: &str, name: &str) {
        let text = format!("---\nname: {name}\ndescription: For a test.\ncommand: [/bin/true]\n---\n");
        std::fs::write(self.path(place), text).unwrap();
    }
}

/// What is wrong with it; empty where nothing is.
fn wrong(found: &Found) -> String {
    match &found.definition {
        Ok(_) => String::new(),
        Err(mistakes) => mistakes.iter().map(|mistake| format!("{mistake}\n")).collect(),
    }
}

#[test]
fn all_that_is_there_is_told_with_what_is_wrong() {
    let Some(tree) = Tree::new() else { return };
    tree.define("system/b.md", "second");
    tree.define("system/a.md", "first");
    tree.define("own/c.md", "first");
    tree.define("own/d.md", "third");
    chown(tree.path("own/d.md"), Some(tree.owner), None).unwrap();
    tree.define("own/e.md", "fourth");
    std::fs::set_permissions(tree.path("own/e.md"), std::fs::Permissions::from_mode(0o664)).unwrap();
    std::fs::write(tree.path("own/f.md"), "---\nname: F\n---\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tree.path("own/g.md")).unwrap();
    std::fs::write(tree.path("own/README"), "no definition").unwrap();
    let found = scan(&tree.folders);
    let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "first", "third", "e", "f", "g"]);
    assert_eq!((wrong(&found[0]), wrong(&found[1]), wrong(&found[3])), Default::default());
    assert_eq!((found[0].uid, found[3].uid), (0, tree.owner));
    assert_eq!(found[3].path, tree.path("own/d.md"));
    assert_eq!(found[3].definition.as_ref().unwrap().hash, found[3].hash);
    for (place, expected) in [
        (2, "the agent “first” is already defined in "),
        (4, "can be written by others"),
        (5, "description"),
        (6, "links are not followed"),
    ] {
        let wrong = wrong(&found[place]);
        assert!(wrong.contains(expected), "{place}: {wrong}");
    }
}

#[test]
fn there_are_only_so_many_files() {
    let Some(tree) = Tree::new() else { return };
    for count in 0..=FILES_MAX {
        tree.define(&format!("system/{count:05}.md"), &format!("a{count}"));
    }
    tree.define("own/a.md", "more");
    let found = scan(&tree.folders);
    assert_eq!(found.len(), FILES_MAX + 1);
    assert!(found[..FILES_MAX].iter().all(|found| found.definition.is_ok()));
    let last = wrong(&found[FILES_MAX]);
    assert!(last.contains("more than 1024 files"), "{last}");
}

#[test]
fn what_changes_is_told_soon() {
    let Some(tree) = Tree::new() else { return };
    let (tell, mut told) = mpsc::channel(4);
    let watch = watch(tree.folders.clone(), tell).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut next = |expected: &[&str]| {
        let begin = Instant::now();
        loop {
            let list = runtime.block_on(async { tokio::time::timeout(SOON, told.recv()).await });
            let list = list.expect("nothing is told").unwrap();
            let names: Vec<String> = list.iter().map(|found| found.name.clone()).collect();
            if names == expected {
                return (list, begin.elapsed());
            }
        }
    };
    next(&[]);
    tree.define("system/a.md", "first");
    let (_, time) = next(&["first"]);
    eprintln!("told after {time:?}");
    let (before, _) = {
        tree.define("own/b.md", "second");
        next(&["first", "second"])
    };
    // The same name with another content is another definition.
    std::fs::write(
        tree.path("own/b.md"),
        "---\nname: second\ndescription: Changed.\ncommand: [/bin/true]\n---\n",
    )
    .unwrap();
    let (after, _) = next(&["first", "second"]);
    assert_ne!(before[1].hash, after[1].hash);
    // As editors save: another file takes the name. And what is wrong with a file can be its mode.
    tree.define("system/new", "third");
    std::fs::rename(tree.path("system/new"), tree.path("system/a.md")).unwrap();
    next(&["third", "second"]);
    std::fs::set_permissions(tree.path("own/b.md"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let (list, _) = next(&["third", "b"]);
    assert!(wrong(&list[1]).contains("can be written by others"));
    std::fs::remove_file(tree.path("own/b.md")).unwrap();
    next(&["third"]);
    // A folder goes and comes; nothing tells of that, so it is looked.
    std::fs::rename(tree.path("system"), tree.path("gone")).unwrap();
    next(&[]);
    let node = std::fs::metadata(tree.path("gone")).unwrap().ino();
    std::fs::create_dir(tree.path("system")).unwrap();
    assert_ne!(std::fs::metadata(tree.path("system")).unwrap().ino(), node);
    tree.define("system/z.md", "last");
    next(&["last"]);
    tree.define("system/y.md", "again");
    next(&["again", "last"]);
    drop(watch);
}
