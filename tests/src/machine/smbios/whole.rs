//! The structures that QEMU writes by itself otherwise: with them as files, ours can be the last of the table.

use crate::machine::description::Identity;

/// Types that QEMU adds unless a file has them; none is needed here, so each is only a head.
const BARE: [u8; 6] = [4, 16, 17, 19, 32, 127];

/// Name and bytes of the structures of types 0, 1, 2 and 11, and bare ones of the rest.
pub(super) fn structures(identity: &Identity) -> Vec<(String, Vec<u8>)> {
    let full = [
        (0, bios(identity)),
        (1, system(identity)),
        (2, board(identity)),
        (11, structure(11, &[1], &[&identity.oem_string])),
    ];
    let bare = BARE.map(|kind| (kind, structure(kind, &[], &[])));
    let named = full.into_iter().chain(bare);
    named.map(|(kind, bytes)| (format!("smbios-type-{kind}.bin"), bytes)).collect()
}

/// A structure: head with a handle after its type, the rest of the formatted area, its strings.
fn structure(kind: u8, body: &[u8], texts: &[&str]) -> Vec<u8> {
    let length = u8::try_from(4 + body.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![kind, length, kind, 0x0A];
    bytes.extend(body);
    for text in texts {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    // Without strings two NULs end it, behind strings one more.
    bytes.extend(if texts.is_empty() { &[0, 0][..] } else { &[0] });
    bytes
}

fn bios(identity: &Identity) -> Vec<u8> {
    // Strings 1, 2, 3; no legacy segment; 64 KiB; characteristics: not supported (bit 3); UEFI (bit 3 of the second
    // extension byte); releases unknown.
    let body = [1, 2, 0, 0, 3, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0xFF, 0xFF, 0xFF, 0xFF];
    structure(0, &body, &[&identity.vendor, &identity.bios_version, &identity.bios_date])
}

fn system(identity: &Identity) -> Vec<u8> {
    // Manufacturer, product, no version, serial; UUID not set; woken by the power switch; SKU, family.
    let mut body = vec![1, 2, 0, 3];
    body.extend([0; 16]);
    body.extend([6, 4, 5]);
    structure(
        1,
        &body,
        &[&identity.vendor, &identity.product, &identity.serial, &identity.sku, &identity.family],
    )
}

fn board(identity: &Identity) -> Vec<u8> {
    // Manufacturer, product, no version, serial, no asset tag; hosting board; chassis 0x0300; a motherboard.
    let body = [1, 2, 0, 3, 0, 1, 0, 0x00, 0x03, 0x0A, 0];
    structure(2, &body, &[&identity.vendor, &identity.board, &identity.serial])
}
