//! Definitions from which no agent is started, and those that look like them.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use sandbox::folders::{FILE_MAX, Unusable};

use super::*;

#[test]
fn paths_elsewhere_are_refused() {
    let Some(mut helped) = Helped::new() else { return };
    let good = helped.define("system/good.md", "echo");
    fs::create_dir(helped.at("system/sub")).unwrap();
    helped.define("system/sub/a.md", "echo");
    helped.define("system/a.txt", "echo");
    helped.define("system/.hidden.md", "echo");
    helped.define("other/a.md", "echo");
    let folder = helped.at("").display().to_string();
    for path in [
        "system/sub/a.md",
        "system/a.txt",
        "system/.hidden.md",
        "other/a.md",
        "system/../other/a.md",
        "system/../system/good.md",
        "system//good.md",
        "system/./good.md",
        "system/good.md/",
        "system",
        "own/../system/good.md",
        "",
    ] {
        helped.refused(path, &(format!("{folder}{path}").into(), good.1), "is no file “*.md” in a folder");
    }
    for path in ["good.md", "/", "", "/good.md", "../good.md"] {
        helped.refused(path, &(path.into(), good.1), "is no file “*.md” in a folder");
    }
    // All that can differ is where it is.
    helped.start(1, &good).unwrap();
    helped.end().1.unwrap();
}

#[test]
fn links_are_not_followed() {
    let Some(mut helped) = Helped::new() else { return };
    let good = helped.define("other/good.md", "echo");
    symlink(&good.0, helped.at("system/link.md")).unwrap();
    symlink("../other/good.md", helped.at("own/link.md")).unwrap();
    symlink(helped.at("other"), helped.at("link")).unwrap();
    fs::create_dir(helped.at("real")).unwrap();
    fs::create_dir(helped.at("real/below")).unwrap();
    helped.define("real/below/good.md", "echo");
    symlink("real", helped.at("above")).unwrap();
    for place in ["system/link.md", "own/link.md", "link/good.md", "above/below/good.md"] {
        helped.refused(place, &(helped.at(place), good.1), "cannot be opened (links are not followed)");
    }
    helped.end().1.unwrap();
}

#[test]
fn only_regular_files_of_a_sensible_size_are_read() {
    let Some(mut helped) = Helped::new() else { return };
    nix::unistd::mkfifo(&helped.at("system/fifo.md"), nix::sys::stat::Mode::from_bits_truncate(0o644))
        .unwrap();
    fs::create_dir(helped.at("system/folder.md")).unwrap();
    let any = Hash([0; 32]);
    let begin = Instant::now();
    helped.refused("a pipe", &(helped.at("system/fifo.md"), any), "is not a regular file");
    helped.refused("a folder", &(helped.at("system/folder.md"), any), "is not a regular file");
    helped.refused("nothing", &(helped.at("system/nothing.md"), any), "cannot be opened");
    helped.refused("no folder", &(helped.at("missing/a.md"), any), "cannot be opened");
    assert!(begin.elapsed() < SOON, "the helper was held up");
    let long = helped.at("system/long.md");
    let mut text = helped.text("echo").into_bytes();
    text.resize(usize::try_from(FILE_MAX).unwrap(), b'x');
    fs::write(&long, &text).unwrap();
    mode(&long, 0o644);
    let _runs = helped.start(1, &(long.clone(), hash(&text))).unwrap();
    text.push(b'x');
    fs::write(&long, &text).unwrap();
    helped.kill(1);
    helped.refused("too long", &(long, hash(&text)), "is longer than");
    helped.end().1.unwrap();
}

#[test]
fn only_what_was_approved_is_read() {
    let Some(mut helped) = Helped::new() else { return };
    let asked = helped.define("system/a.md", "echo");
    helped.refused("another hash", &(asked.0.clone(), Hash([0; 32])), "was changed after it was approved");
    helped.define("system/a.md", "echo ");
    helped.refused("a changed file", &asked, "was changed after it was approved");
    fs::write(&asked.0, "not a program\n").unwrap();
    helped.refused("no definition", &(asked.0, hash(b"not a program\n")), "no program in line 1");
    helped.end().1.unwrap();
}

#[test]
fn files_of_others_or_that_others_write_are_refused() {
    let Some(mut helped) = Helped::new() else { return };
    let (ours, owner) = (helped.ours.uid, helped.owner.uid);
    for (place, uid, is_refused) in [
        ("system/a.md", 0, false),
        ("system/a.md", owner, true),
        ("system/a.md", ours, true),
        ("system/a.md", 12_345, true),
        ("own/a.md", 0, false),
        ("own/a.md", owner, false),
        ("own/a.md", ours, true),
        ("own/a.md", 12_345, true),
    ] {
        let asked = helped.define(place, "echo");
        give(&asked.0, uid);
        let what = format!("{place} of {uid}");
        if is_refused {
            helped.refused(&what, &asked, &format!("belongs to user {uid}"));
        } else {
            // Its stdin is held open, or it would end by itself.
            let _runs = helped.start(1, &asked).expect(&what);
            helped.kill(1);
        }
        for bits in [0o664, 0o646, 0o620, 0o602, 0o666] {
            mode(&asked.0, bits);
            let expected = if is_refused { "belongs to user" } else { "can be written by others" };
            helped.refused(&format!("{what}, mode {bits:o}"), &asked, expected);
        }
    }
    helped.end().1.unwrap();
}

#[test]
fn folders_that_an_agent_could_write_are_refused() {
    let Some(mut helped) = Helped::new() else { return };
    let (ours, owner) = (helped.ours.uid, helped.owner.uid);
    for name in ["above", "above/below"] {
        fs::create_dir(helped.at(name)).unwrap();
        mode(&helped.at(name), 0o755);
    }
    let asked = helped.define("above/below/a.md", "echo");
    for name in ["above", "above/below"] {
        for uid in [ours, owner, 12_345] {
            give(&helped.at(name), uid);
            helped.refused(&format!("{name} of {uid}"), &asked, &format!("belongs to user {uid}"));
        }
        give(&helped.at(name), 0);
        for bits in [0o775, 0o757, 0o777] {
            mode(&helped.at(name), bits);
            helped.refused(&format!("{name}, mode {bits:o}"), &asked, "can be written by others");
        }
        mode(&helped.at(name), 0o755);
    }
    // Above, nobody but its owner touches what lies in a folder with the sticky bit; in the folder itself, all would be new definitions.
    mode(&helped.at("above"), 0o1777);
    let _runs = helped.start(1, &asked).unwrap();
    helped.kill(1);
    mode(&helped.at("above/below"), 0o1777);
    helped.refused("the folder itself, sticky", &asked, "can be written by others");
    // A user's own folder is that user's, and no other's.
    let own = helped.define("own/a.md", "echo");
    mode(&helped.at("own"), 0o775);
    helped.refused("own, for the group", &own, "can be written by others");
    mode(&helped.at("own"), 0o755);
    give(&helped.at("own"), ours);
    helped.refused("own, of another", &own, &format!("belongs to user {ours}"));
    helped.end().1.unwrap();
}

#[test]
fn nobody_is_configured_as_root_and_the_shared_user_has_no_folder() {
    let user = |uid, gid, groups: &[u32]| User {
        uid,
        gid,
        groups: groups.to_vec(),
        name: format!("u{uid}"),
        home: "/".into(),
        processes_max: 64,
    };
    let folder = |path: &str, owner| Folder { path: path.into(), owner };
    let good = user(1_000, 1_000, &[]);
    for bad in [user(0, 1, &[]), user(1, 0, &[]), user(1, 1, &[5, 0])] {
        let expected = Err(Unusable::Root(bad.name.clone()));
        assert_eq!(Folders::new(Vec::new(), bad.clone()), expected);
        assert_eq!(Folders::new(vec![folder("/a", Some(bad))], good.clone()), expected);
    }
    let shared = vec![folder("/a", Some(good.clone()))];
    assert_eq!(Folders::new(shared, good.clone()), Err(Unusable::Shared("u1000".into())));
    for path in ["a", "/a/../b", "/a//b", "/a/./b", "/a/", ""] {
        let expected = Err(Unusable::Path(path.into()));
        assert_eq!(Folders::new(vec![folder(path, None)], good.clone()), expected, "{path:?}");
    }
    let twice = vec![folder("/a", None), folder("/a", None)];
    assert_eq!(Folders::new(twice, good), Err(Unusable::Twice("/a".into())));
}

#[test]
fn a_path_that_is_no_text_is_a_path_all_the_same() {
    let Some(mut helped) = Helped::new() else { return };
    let name = std::ffi::OsStr::from_bytes(b"odd \xff.md");
    let path = helped.at("system").join(name);
    let text = helped.text("exit 4");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    drop(file);
    helped.start(1, &(path, hash(text.as_bytes()))).unwrap();
    assert_eq!(helped.ended(1), Exit::Code(4));
    helped.end().1.unwrap();
}
