//! `dsmil log export`.

use std::fs;

use serde_json::json;

use crate::folder::{Folder, files, flip, leaf, record};

#[test]
fn others_find_the_tree_where_the_specification_has_it() {
    let mut folder = Folder::new();
    folder.sign();
    folder.log().append(&[record(5)]).unwrap();
    let out = folder.beside("out");
    let answer = folder.answer(&["log", "export", out.to_str().unwrap()]);
    assert_eq!((&answer["kind"], &answer["out"]), (&json!("log_exported"), &json!(out.to_str())));
    assert_eq!((&answer["entries"], &answer["first"]), (&json!(5), &json!(0)));
    assert_eq!(answer["origin"], "dsmil.test/log");
    let leaves: Vec<u8> = (0..5).flat_map(|second| leaf(&record(second))).collect();
    let bundle: Vec<u8> = (0..5).flat_map(|second| [vec![0, 37], record(second)].concat()).collect();
    let checkpoint = fs::read(folder.path().join("checkpoint")).unwrap();
    let expected = [("checkpoint", checkpoint), ("tile/0/000.p/5", leaves), ("tile/entries/000.p/5", bundle)];
    let expected: Vec<_> = expected.into_iter().map(|(path, bytes)| (path.into(), bytes)).collect();
    assert_eq!(files(&out), expected);

    let into = folder.beside("empty");
    fs::create_dir(&into).unwrap();
    let text = folder.dsmil(&["log", "export", into.to_str().unwrap()]).done();
    assert!(text.contains("\nentries   5, root ") && !text.contains("left out"), "{text}");
    assert_eq!(files(&into), expected);
}

#[test]
fn nothing_is_overwritten() {
    let mut folder = Folder::new();
    folder.sign();
    let out = folder.beside("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), "mine").unwrap();
    let output = folder.dsmil(&["log", "export", out.to_str().unwrap()]);
    assert_eq!((output.code, output.out.as_str()), (Some(1), ""));
    assert!(output.err.contains("out is not empty"), "{}", output.err);
    assert_eq!(files(&out), [("mine".into(), b"mine".to_vec())]);
}

#[test]
fn what_is_no_sound_log_with_a_head_is_not_exported() {
    let mut folder = Folder::new();
    let out = folder.beside("out");
    let out = out.to_str().unwrap();
    let output = folder.dsmil(&["log", "export", out]);
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains("no head is stored yet"), "{}", output.err);
    folder.sign();
    flip(&folder.path(), 3);
    let output = folder.dsmil(&["log", "export", out]);
    assert_eq!((output.code, output.out.as_str()), (Some(7), ""));
    assert!(output.err.contains("entry 3 is damaged"), "{}", output.err);
    assert!(!folder.beside("out/checkpoint").exists());
}
