use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use store::chunk::Chunks;

use super::*;
use crate::Error;
use crate::files::entry::{Meta, Stamp};
use crate::worker::Worker;
use crate::worker::effect::{Body, Effect, Executor, Progress, Step, Way};

struct Scene {
    _dir: tempfile::TempDir,
    root: PathBuf,
    outside: PathBuf,
    store: PathBuf,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (root, outside, store) = (path("root"), path("outside"), path("store"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    Scene { _dir: dir, root, outside, store }
}

fn start(root: &Path) -> (UnixStream, JoinHandle<Result<(), Error>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let roots = vec![root.to_path_buf()];
    (ours, std::thread::spawn(move || serve(&theirs, Worker::new(&roots)?)))
}

fn meta(mode: u32) -> Meta {
    let stat = |secs| Stamp { secs, nanos: 7 };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Meta { mode, uid, gid, mtime: stat(1_000), atime: stat(2_000), xattrs: Vec::new() }
}

#[test]
fn a_restore_through_the_helper_is_the_same() {
    let scene = scene();
    fs::create_dir(scene.root.join("d")).unwrap();
    fs::write(scene.root.join("d/large"), vec![0xA5; 5 << 20]).unwrap();
    fs::write(scene.root.join("d/small"), "one").unwrap();
    let mut chunks = Chunks::open(&scene.store, &[3; 32]).unwrap();
    let roots = [crate::files::root::Root::open(&scene.root).unwrap()];
    let machine = crate::restore::Machine { roots: &roots, ..Default::default() };
    let manifest =
        crate::restore::capture(machine, &mut chunks, 1, "x", Default::default()).unwrap().manifest;
    fs::remove_file(scene.root.join("d/large")).unwrap();
    fs::write(scene.root.join("d/small"), "two").unwrap();
    let (stream, served) = start(&scene.root);
    let mut client = Client::new(stream);
    let machine =
        crate::restore::Machine { roots: &roots, executor: Some(&mut client), ..Default::default() };
    let mut restore = crate::restore::Restore::begin(machine, manifest, &chunks, false).unwrap();
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    restore.clean_up().unwrap();
    drop(restore);
    assert_eq!(client.perform(&Effect::Look { root: 0 }).unwrap(), Progress::None);
    drop(client);
    served.join().unwrap().unwrap();
    assert_eq!(fs::read(scene.root.join("d/large")).unwrap(), vec![0xA5; 5 << 20]);
    assert_eq!(fs::read_to_string(scene.root.join("d/small")).unwrap(), "one");
}

#[test]
fn paths_that_leave_the_root_are_refused() {
    let scene = scene();
    symlink(&scene.outside, scene.root.join("link")).unwrap();
    fs::write(scene.root.join("file"), "x").unwrap();
    let (stream, served) = start(&scene.root);
    let mut client = Client::new(stream);
    client.perform(&Effect::Open { root: 0, way: Way::InPlace }).unwrap();
    client.perform(&Effect::Stage { root: 0, number: 1, meta: meta(0o644), body: Body::Fifo }).unwrap();
    let absolute = scene.outside.join("file");
    let absolute = std::os::unix::ffi::OsStrExt::as_bytes(absolute.as_os_str());
    let paths: [&[u8]; 8] = [
        b"../outside/file",
        b"d/../../outside/file",
        absolute,
        b".dsmil-restore/new/1",
        b".dsmil-restore",
        b"",
        b"./file",
        b"fi\0le",
    ];
    for path in paths {
        let path = path.to_vec();
        let place =
            client.perform(&Effect::Add { root: 0, step: Step::Place { path: path.clone(), number: 1 } });
        assert!(matches!(place, Err(Error::Refused(_))), "{place:?}");
        let remove = client.perform(&Effect::Add { root: 0, step: Step::Remove { path: path.clone() } });
        assert!(matches!(remove, Err(Error::Refused(_))), "{remove:?}");
        let body = Body::LinkPresent { path: path.clone() };
        let link = client.perform(&Effect::Stage { root: 0, number: 2, meta: meta(0o644), body });
        assert!(matches!(link, Err(Error::Refused(_))), "{link:?}");
        if !path.is_empty() {
            let step = Step::Meta { path, meta: meta(0o777) };
            let set = client.perform(&Effect::Add { root: 0, step });
            assert!(matches!(set, Err(Error::Refused(_))), "{set:?}");
        }
    }
    // Through a link: looked up, and not found below the root.
    for step in [
        Step::Remove { path: b"link/file".to_vec() },
        Step::Meta { path: b"link/file".to_vec(), meta: meta(0o777) },
        Step::Meta { path: b"link".to_vec(), meta: meta(0o777) },
    ] {
        client.perform(&Effect::Add { root: 0, step }).unwrap_err();
    }
    let body = Body::LinkPresent { path: b"link/file".to_vec() };
    client.perform(&Effect::Stage { root: 0, number: 2, meta: meta(0o644), body }).unwrap_err();
    let error = client.perform(&Effect::Open { root: 1, way: Way::InPlace }).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    drop(client);
    served.join().unwrap().unwrap();
    assert_eq!(fs::read_to_string(scene.outside.join("file")).unwrap(), "untouched");
}

#[test]
fn a_link_to_the_outside_is_placed_but_never_followed() {
    let scene = scene();
    fs::create_dir(scene.root.join("d")).unwrap();
    fs::write(scene.root.join("d/file"), "inside").unwrap();
    let (stream, served) = start(&scene.root);
    let mut client = Client::new(stream);
    let target = std::os::unix::ffi::OsStrExt::as_bytes(scene.outside.as_os_str()).to_vec();
    let place =
        |path: &[u8], number| Effect::Add { root: 0, step: Step::Place { path: path.to_vec(), number } };
    let stage = |number, body| Effect::Stage { root: 0, number, meta: meta(0o644), body };
    client.perform(&Effect::Open { root: 0, way: Way::InPlace }).unwrap();
    client.perform(&stage(1, Body::Symlink { target })).unwrap();
    client.perform(&stage(2, Body::Fifo)).unwrap();
    // First a link in place of the folder, then something behind it.
    client.perform(&place(b"d", 1)).unwrap();
    client.perform(&place(b"d/file", 2)).unwrap();
    client.perform(&Effect::Commit { root: 0 }).unwrap();
    let error = client.perform(&Effect::Execute { root: 0 }).unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error}");
    client.perform(&Effect::Undo { root: 0 }).unwrap();
    client.perform(&Effect::Clean { root: 0 }).unwrap();
    drop(client);
    served.join().unwrap().unwrap();
    assert_eq!(fs::read_to_string(scene.outside.join("file")).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(scene.root.join("d/file")).unwrap(), "inside");
}

#[test]
fn phases_have_an_order_and_sizes_a_limit() {
    let scene = scene();
    fs::write(scene.root.join("file"), "x").unwrap();
    fs::hard_link(scene.root.join("file"), scene.root.join("twin")).unwrap();
    let (stream, served) = start(&scene.root);
    let mut client = Client::new(stream);
    let mut refused = |effect: Effect| {
        let result = client.perform(&effect);
        assert!(matches!(result, Err(Error::Refused(_))), "{effect:?}: {result:?}");
    };
    refused(Effect::Execute { root: 0 });
    refused(Effect::Commit { root: 0 });
    refused(Effect::Data { root: 0, bytes: vec![1] });
    client.perform(&Effect::Open { root: 0, way: Way::InPlace }).unwrap();
    assert!(matches!(
        client.perform(&Effect::Open { root: 0, way: Way::InPlace }),
        Err(Error::Unfinished(_))
    ));
    let mut refused = |effect: Effect| {
        let result = client.perform(&effect);
        assert!(matches!(result, Err(Error::Refused(_))), "{effect:?}: {result:?}");
    };
    let stage = |number, meta, size| Effect::Stage { root: 0, number, meta, body: Body::Regular { size } };
    refused(Effect::Execute { root: 0 });
    refused(stage(1, meta(0o170_644), 1));
    let mut strange = meta(0o644);
    strange
        .xattrs
        .push(crate::files::entry::Xattr { name: b"trusted.overlay.opaque".to_vec(), value: b"y".to_vec() });
    refused(stage(1, strange, 1));
    // Metadata of a file with two names, one of which could be anywhere.
    refused(Effect::Add { root: 0, step: Step::Meta { path: b"file".to_vec(), meta: meta(0o4755) } });
    refused(Effect::Add { root: 0, step: Step::Place { path: b"new".to_vec(), number: 9 } });
    client.perform(&stage(1, meta(0o4755), 3)).unwrap();
    let mut refused = |effect: Effect| {
        let result = client.perform(&effect);
        assert!(matches!(result, Err(Error::Refused(_))), "{effect:?}: {result:?}");
    };
    refused(Effect::Data { root: 0, bytes: vec![1; 4] });
    refused(Effect::Commit { root: 0 });
    client.perform(&Effect::Data { root: 0, bytes: b"abc".to_vec() }).unwrap();
    client.perform(&Effect::Seal { root: 0 }).unwrap();
    // Not even set-user-id shows before it is in place, and then exactly what was said.
    let staging = scene.root.join(".dsmil-restore");
    assert_eq!(staging.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    client.perform(&Effect::Add { root: 0, step: Step::Place { path: b"new".to_vec(), number: 1 } }).unwrap();
    client.perform(&Effect::Commit { root: 0 }).unwrap();
    client.perform(&Effect::Clean { root: 0 }).unwrap_err();
    client.perform(&stage(2, meta(0o644), 0)).unwrap_err();
    client.perform(&Effect::Execute { root: 0 }).unwrap();
    client.perform(&Effect::Clean { root: 0 }).unwrap_err();
    client.perform(&Effect::Finish { root: 0 }).unwrap();
    client.perform(&Effect::Undo { root: 0 }).unwrap_err();
    client.perform(&Effect::Clean { root: 0 }).unwrap();
    assert_eq!(scene.root.join("new").metadata().unwrap().permissions().mode() & 0o7777, 0o4755);
    drop(client);
    served.join().unwrap().unwrap();
}

#[test]
fn what_is_no_message_ends_the_helper() {
    let scene = scene();
    let frames: [Vec<u8>; 6] = [
        u32::MAX.to_le_bytes().to_vec(),
        u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes().to_vec(),
        [&5u32.to_le_bytes()[..], &[0xFF; 5]].concat(),
        [&0u32.to_le_bytes()[..]].concat(),
        [&100u32.to_le_bytes()[..], b"cut short"].concat(),
        vec![1, 0],
    ];
    for frame in frames {
        let (mut stream, served) = start(&scene.root);
        stream.write_all(&frame).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let error = served.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Helper(_) | Error::Limit { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(&scene.root).unwrap().count(), 0);
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = frame::decode::<Effect>(&bytes);
        let _ = frame::decode::<crate::worker::effect::Reply>(&bytes);
        let _ = crate::manifest::Manifest::decode(&bytes);
        let _ = crate::manifest::stored::Stored::decode(1, &bytes);
        let _ = frame::receive(bytes.as_slice());
    }
}

#[test]
fn roots_must_be_real_folders() {
    let scene = scene();
    symlink(&scene.outside, scene.root.join("link")).unwrap();
    for bad in [scene.root.join("link"), scene.root.join("missing"), PathBuf::from("relative")] {
        Worker::new(&[bad]).unwrap_err();
    }
}
