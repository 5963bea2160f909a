//! What somebody on the wire to the chip sees and can do; and a chip that is busy or was set up by others.

use std::sync::{Arc, Mutex};

use crate::common::{Machine, Swtpm, Tap, Wire};
use crate::policy::{Owner, REVOCATION, terms};
use tpm::{Error, Handle, KeyKind, NvKind, NvWriter, verify};
use tss_esapi::Context;
use tss_esapi::handles::{AuthHandle, PersistentTpmHandle};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, RsaExponent, SymmetricDefinitionObject};
use tss_esapi::utils::create_restricted_decryption_rsa_public;
use types::hash::Hash;

// TPM 2.0 Library Part 2, section 6.5.2.
const SIGN: [u8; 4] = [0, 0, 0x01, 0x5d];
const GET_RANDOM: [u8; 4] = [0, 0, 0x01, 0x7b];
const READ_PUBLIC: [u8; 4] = [0, 0, 0x01, 0x73];
/// A response without parameters: TPM_RC_FAILURE.
const FAILURE: [u8; 10] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01];
/// The same with TPM_RC_RETRY.
const RETRY: [u8; 10] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x09, 0x22];

fn is(command: &[u8], code: [u8; 4]) -> bool {
    command[6..10] == code
}

/// Opens the machine's TPM through a wire that `tap` sits on.
fn open(machine: &Machine, swtpm: &Swtpm, tap: Box<Tap>) -> (Wire, Result<Handle, Error>) {
    let wire = Wire::tap(swtpm, tap);
    let mut config = machine.config(swtpm);
    config.tcti = wire.tcti();
    (wire, tpm::start(&config))
}

fn refused<T>(result: Result<T, Error>) -> Error {
    result.err().expect("an error")
}

#[tokio::test]
async fn nothing_secret_passes_in_the_clear() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tape = seen.clone();
    let (_wire, tpm) = open(
        &machine,
        &swtpm,
        Box::new(move |command, chip| {
            let response = if is(command, SIGN) { FAILURE.to_vec() } else { chip(command) };
            let mut tape = tape.lock().unwrap();
            tape.push(command.to_vec());
            tape.push(response.clone());
            response
        }),
    );
    let tpm = tpm.unwrap();
    let secret = b"the repository's key, 32 bytes..";
    // A command that is refused, by the chip or by somebody on the wire, must not weaken the ones after it.
    let mut spoiled = tpm.seal(b"spoiled").await.unwrap();
    *spoiled.last_mut().unwrap() ^= 1;
    refused(tpm.unseal(&spoiled).await);
    let blob = tpm.seal(secret).await.unwrap();
    refused(tpm.sign(Hash([7; 32])).await);
    assert_eq!(**tpm.unseal(&blob).await.unwrap(), *secret);
    refused(tpm.sign(Hash([7; 32])).await);
    let random = tpm.random(32).await.unwrap();
    refused(tpm.sign(Hash([7; 32])).await);
    tpm.seal(secret).await.unwrap();
    let bound = b"what a policy guards, 32 bytes..";
    // Its value authorises it, since on this wire nothing is signed.
    tpm.nv_define(REVOCATION, NvKind::Counter, NvWriter::Value).await.unwrap();
    let value = tpm.nv_increment(REVOCATION).await.unwrap();
    let policy = Owner::new().sign(terms(&tpm, value).await);
    let blob = tpm.seal_policy(bound, &policy.key).await.unwrap();
    assert_eq!(**tpm.unseal_policy(&blob, &policy).await.unwrap(), *bound);
    let plain = b"what the chip encrypts, 32 bytes";
    let key = tpm.make_key(KeyKind::Aes128).await.unwrap();
    let encrypted = tpm.encrypt(&key, [9; 16], plain).await.unwrap();
    assert_eq!(**tpm.decrypt(&key, [9; 16], &encrypted).await.unwrap(), *plain);
    tpm.shutdown().await.unwrap();

    let key_file = std::fs::read(machine.key_file()).unwrap();
    let tape = seen.lock().unwrap();
    let on_wire =
        |bytes: &[u8]| tape.iter().any(|message| message.windows(bytes.len()).any(|part| part == bytes));
    // Each run of 16 bytes of the secrets; the key file's secret lies before its sum.
    let key_secret = &key_file[key_file.len() - 64..key_file.len() - 32];
    let secrets = [("sealed", secret.as_slice()), ("random", &random), ("the keys'", key_secret)];
    for (name, secret) in secrets.into_iter().chain([("under a policy", &bound[..]), ("encrypted", plain)]) {
        assert!(!secret.windows(16).any(on_wire), "{name}");
    }
    // The tape works: what is public is on it.
    assert!(on_wire(&tpm.general_key().sec1()[1..33]));
    // And the counter counts what passed.
    assert_eq!(u64::try_from(tape.len() / 2).unwrap(), tpm.counters().commands);
}

#[tokio::test]
async fn a_swapped_storage_root_key_is_noticed() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    machine.open(&swtpm).shutdown().await.unwrap();
    // The name stays right; only the key that the session's salt is encrypted to changes, in its last byte.
    let (_wire, tpm) = open(
        &machine,
        &swtpm,
        Box::new(|command, chip| {
            let mut response = chip(command);
            if is(command, READ_PUBLIC) {
                let public_len = usize::from(u16::from_be_bytes([response[10], response[11]]));
                response[12 + public_len - 1] ^= 1;
            }
            response
        }),
    );
    let error = refused(tpm);
    assert!(matches!(error, Error::ForeignKeyDir { .. }), "{error}");
}

#[tokio::test]
async fn a_response_that_was_changed_is_refused() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let mut signatures = 0;
    let (wire, tpm) = open(
        &machine,
        &swtpm,
        Box::new(move |command, chip| {
            let mut response = chip(command);
            if is(command, SIGN) {
                signatures += 1;
                if signatures == 2 {
                    // A byte of r: header 10, length of parameters 4, scheme and hash 4, length of r 2.
                    response[22] ^= 1;
                }
            }
            response
        }),
    );
    let tpm = tpm.unwrap();
    assert!(tpm.sign(Hash([1; 32])).await.is_ok());
    let error = refused(tpm.sign(Hash([2; 32])).await);
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    // Nobody knows what was done, so it is not repeated; but the next request gets a new session, and is served.
    let signature = tpm.sign(Hash([3; 32])).await.unwrap();
    assert!(verify(tpm.general_key(), Hash([3; 32]), signature.der()));
    assert_eq!(tpm.counters().reconnects, 1);
    tpm.shutdown().await.unwrap();
    drop(wire);
}

/// Who answers in the chip's place leaves out what proves an answer, or makes it up.
#[tokio::test]
async fn an_answer_without_its_proof_is_refused() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let mut round = 0;
    let (_wire, tpm) = open(
        &machine,
        &swtpm,
        Box::new(move |command, chip| {
            if !is(command, GET_RANDOM) {
                return chip(command);
            }
            round += 1;
            let random = [&[0u8, 8][..], &[7; 8]].concat();
            let sized = [&[0, 0, 0, 10][..], &random].concat();
            let (tag, body) = match round {
                // As one is answered who asked without a session.
                1 => (1, random),
                // No proof at all; an empty one; one of zeros; one cut short.
                2 => (2, sized),
                3 => (2, [&sized[..], &[0, 0, 1, 0, 0]].concat()),
                4 => (2, [&sized[..], &[0, 32], &[0; 32], &[1, 0, 32], &[0; 32]].concat()),
                5 => (2, [&sized[..], &[0, 32], &[0; 32], &[1, 0, 32], &[0; 31]].concat()),
                _ => return chip(command),
            };
            let len = u32::try_from(10 + body.len()).unwrap().to_be_bytes();
            [&[0x80, tag][..], &len, &[0; 4], &body].concat()
        }),
    );
    let tpm = tpm.unwrap();
    for round in 1..6 {
        let error = refused(tpm.random(8).await);
        assert!(matches!(error, Error::Unavailable { .. }), "{round}: {error}");
    }
    assert_ne!(**tpm.random(8).await.unwrap(), [7; 8]);
    assert_eq!(tpm.counters().reconnects, 5);
}

#[tokio::test]
async fn an_answer_of_before_is_refused() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let mut before = None;
    let (_wire, tpm) = open(
        &machine,
        &swtpm,
        Box::new(move |command, chip| {
            let response = chip(command);
            if !is(command, GET_RANDOM) {
                return response;
            }
            before.get_or_insert(response).clone()
        }),
    );
    let tpm = tpm.unwrap();
    assert_eq!(tpm.random(8).await.unwrap().len(), 8);
    let error = refused(tpm.random(8).await);
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_busy_chip_is_asked_again_but_not_for_ever() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let mut busy = 0;
    let (_wire, tpm) = open(
        &machine,
        &swtpm,
        Box::new(move |command, chip| {
            // The first signature meets a chip that is busy for a while, the second one that is busy for good.
            busy += u32::from(is(command, SIGN));
            if is(command, SIGN) && busy != 5 { RETRY.to_vec() } else { chip(command) }
        }),
    );
    let tpm = tpm.unwrap();
    let signature = tpm.sign(Hash([1; 32])).await.unwrap();
    assert!(verify(tpm.general_key(), Hash([1; 32]), signature.der()));
    assert!(tpm.counters().retries > 0);
    let error = refused(tpm.sign(Hash([2; 32])).await);
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    tpm.random(8).await.unwrap();
}

#[tokio::test]
async fn an_owner_with_an_authorisation_is_told() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    {
        let mut context = Context::new(swtpm.tcti().parse().unwrap()).unwrap();
        context.set_sessions((Some(AuthSession::Password), None, None));
        let auth = Auth::try_from(b"owner".to_vec()).unwrap();
        context.hierarchy_change_auth(AuthHandle::Owner, auth).unwrap();
    }
    let error = refused(tpm::start(&machine.config(&swtpm)));
    assert!(matches!(error, Error::Authorization { .. }), "{error}");
    assert!(error.to_string().contains("owner hierarchy"), "{error}");
    assert!(!machine.key_file().exists());
}

#[tokio::test]
async fn another_key_at_the_handle_is_left_alone_and_another_handle_works() {
    let machine = Machine::new();
    let swtpm = machine.power_on();
    {
        let mut context = Context::new(swtpm.tcti().parse().unwrap()).unwrap();
        context.set_sessions((Some(AuthSession::Password), None, None));
        let public = create_restricted_decryption_rsa_public(
            SymmetricDefinitionObject::AES_128_CFB,
            RsaKeyBits::Rsa2048,
            RsaExponent::default(),
        );
        let primary =
            context.create_primary(Hierarchy::Owner, public.unwrap(), None, None, None, None).unwrap();
        let handle = Persistent::Persistent(PersistentTpmHandle::new(tpm::SRK_HANDLE).unwrap());
        context.evict_control(Provision::Owner, primary.key_handle.into(), handle).unwrap();
    }
    let mut config = machine.config(&swtpm);
    let error = refused(tpm::start(&config));
    assert!(matches!(error, Error::Srk { .. }), "{error}");
    assert!(error.to_string().contains("RSA storage key"), "{error}");
    config.srk_handle = 0x8100_0010;
    let tpm = tpm::start(&config).unwrap();
    assert!(tpm.sign(Hash([1; 32])).await.is_ok());
    assert_eq!(tpm.resources().await.unwrap().persistent, 2);
    tpm.shutdown().await.unwrap();
    config.srk_handle = 0x4000_0001;
    assert!(matches!(tpm::start(&config), Err(Error::Srk { .. })));
}
