//! NV indices against a real software TPM, and somebody with the owner's authorisation beside us.

use tpm::{Error, NV_SIZE_MAX, NvKind, NvWriter};

use crate::common::Machine;
use crate::rival::Rival;

const INDEX: u32 = 0x0180_1234;

fn refused<T>(result: Result<T, Error>) -> Error {
    result.err().expect("an error")
}

#[tokio::test]
async fn bytes_are_kept_over_power_off_and_removed_for_good() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    for (offset, writer) in [(0, NvWriter::Value), (1, NvWriter::Key)] {
        let index = INDEX + offset;
        assert!(matches!(tpm.nv_read(index).await, Err(Error::NvMissing { .. })));
        tpm.nv_define(index, NvKind::Bytes(300), writer).await.unwrap();
        assert!(matches!(tpm.nv_read(index).await, Err(Error::NvUnwritten { .. })));
        let defined = tpm.nv_define(index, NvKind::Bytes(300), writer).await;
        assert!(matches!(defined, Err(Error::NvDefined { .. })));
        let data: Vec<u8> = (0..300u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        tpm.nv_write(index, &data).await.unwrap();
        assert_eq!(tpm.nv_read(index).await.unwrap(), data);
        tpm.nv_write(index, b"begin").await.unwrap();
        assert_eq!(tpm.nv_read(index).await.unwrap()[..6], [b'b', b'e', b'g', b'i', b'n', data[5]]);
    }
    assert_eq!(tpm.resources().await.unwrap().transient, 1);
    assert_eq!(tpm.resources().await.unwrap().sessions, 1);
    tpm.shutdown().await.unwrap();
    drop(swtpm);
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    assert_eq!(tpm.nv_read(INDEX).await.unwrap()[..5], *b"begin");
    tpm.nv_undefine(INDEX).await.unwrap();
    assert!(matches!(tpm.nv_undefine(INDEX).await, Err(Error::NvMissing { .. })));
    assert_eq!(tpm.nv_name(INDEX).await.unwrap(), None);
}

#[tokio::test]
async fn wrong_sizes_and_places_are_refused() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    for size in [0, NV_SIZE_MAX + 1] {
        let size = u16::try_from(size).unwrap();
        let defined = tpm.nv_define(INDEX, NvKind::Bytes(size), NvWriter::Value).await;
        assert!(matches!(defined, Err(Error::Length { .. })));
    }
    let defined = tpm.nv_define(0x0150_0000, NvKind::Counter, NvWriter::Value).await;
    assert!(matches!(defined, Err(Error::NvForeign { .. })));
    tpm.nv_define(INDEX, NvKind::Bytes(8), NvWriter::Value).await.unwrap();
    assert!(matches!(tpm.nv_write(INDEX, &[0; 9]).await, Err(Error::Length { len: 9, max: 8, .. })));
    let error = refused(tpm.nv_increment(INDEX).await);
    assert!(matches!(error, Error::NvOther { wanted: "a counter", .. }), "{error}");
    assert!(matches!(tpm.nv_write(INDEX, &[]).await, Err(Error::Length { .. })));
    // The chip's room ends some time, and that is said.
    let mut last = Ok(());
    for index in INDEX + 1..INDEX + 300 {
        last = tpm.nv_define(index, NvKind::Bytes(512), NvWriter::Value).await;
        if last.is_err() {
            break;
        }
    }
    let error = refused(last);
    assert!(matches!(error, Error::NvSpace), "{error}");
}

#[tokio::test]
async fn a_counter_never_goes_back() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    let mut highest = 0;
    for (kind, writer) in [
        (NvKind::Counter, NvWriter::Key),
        (NvKind::Counter, NvWriter::Value),
        (NvKind::OrderlyCounter, NvWriter::Value),
        (NvKind::Counter, NvWriter::Key),
    ] {
        // Each is defined where the one before was, and begins above it.
        tpm.nv_define(INDEX, kind, writer).await.unwrap();
        let first = tpm.nv_increment(INDEX).await.unwrap();
        assert!(first > highest, "{kind:?} begins at {first}, below {highest}");
        for n in 1..4 {
            assert_eq!(tpm.nv_increment(INDEX).await.unwrap(), first + n);
        }
        assert_eq!(tpm.nv_read(INDEX).await.unwrap(), (first + 3).to_be_bytes());
        // A counter cannot be written.
        let error = refused(tpm.nv_write(INDEX, &[0; 8]).await);
        assert!(matches!(error, Error::NvOther { wanted: "bytes", .. }), "{error}");
        highest = first + 3;
        tpm.nv_undefine(INDEX).await.unwrap();
    }
}

#[tokio::test]
async fn who_knows_the_owners_value_cannot_write_and_what_he_defines_is_noticed() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    for (offset, writer) in [(0, NvWriter::Value), (1, NvWriter::Key)] {
        let index = INDEX + offset;
        tpm.nv_define(index, NvKind::Bytes(4), writer).await.unwrap();
        tpm.nv_write(index, b"ours").await.unwrap();
        let name = tpm.nv_name(index).await.unwrap();
        let mut rival = Rival::new(&swtpm);
        assert!(rival.write(index, b"evil").is_err());
        assert_eq!(tpm.nv_read(index).await.unwrap(), b"ours");
        // The very same public area, with an authorisation value that he knows.
        let mut rival = Rival::new(&swtpm);
        rival.define_the_same_again(index);
        assert_ne!(tpm.nv_name(index).await.unwrap(), name, "unwritten");
        assert!(matches!(tpm.nv_read(index).await, Err(Error::NvUnwritten { .. })));
        let written = Rival::new(&swtpm).write(index, b"evil");
        match writer {
            // An authorisation value is no protection against that: we can no longer write, he can.
            NvWriter::Value => {
                written.unwrap();
                assert!(matches!(tpm.nv_write(index, b"ours").await, Err(Error::NvForeign { .. })));
            }
            // The policy asks for our key, whoever defined the index: he still cannot, we still can.
            NvWriter::Key => {
                written.unwrap_err();
                tpm.nv_write(index, b"ours").await.unwrap();
                assert_eq!(tpm.nv_name(index).await.unwrap(), name);
            }
        }
    }
    assert_eq!(tpm.resources().await.unwrap().transient, 1);
}

#[tokio::test]
async fn an_index_that_is_named_with_another_hash_is_none_of_ours() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    Rival::new(&swtpm).define_with_another_hash(INDEX);
    for error in [refused(tpm.nv_read(INDEX).await), refused(tpm.nv_undefine(INDEX).await)] {
        assert!(matches!(error, Error::NvForeign { .. }), "{error}");
        assert!(error.to_string().contains("take another index"), "{error}");
    }
}

#[tokio::test]
async fn another_key_folder_of_the_same_chip_cannot_write() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let tpm = machine.open(&swtpm);
    for (offset, writer) in [(0, NvWriter::Value), (1, NvWriter::Key)] {
        tpm.nv_define(INDEX + offset, NvKind::Counter, writer).await.unwrap();
        tpm.nv_increment(INDEX + offset).await.unwrap();
    }
    tpm.shutdown().await.unwrap();
    std::fs::remove_dir_all(machine.key_dir()).unwrap();
    let tpm = machine.open(&swtpm);
    for offset in [0, 1] {
        let error = refused(tpm.nv_increment(INDEX + offset).await);
        assert!(matches!(error, Error::NvForeign { .. }), "{error}");
    }
}
