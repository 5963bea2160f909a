//! The BIOS administrator password, as a Dell firmware knows it.
//!
//! Class 10 of the calling interface asks about it. Select 3 answers status 0 and one word: bits 0–7 the state, 8–15 the
//! longest and 16–23 the shortest password, 24–31 its form (bit 0: ASCII, not scan codes). Select 0, the older form, has the
//! state in the status itself. State 0 is *set*, 1 is not; 2 and 3 say the same where only the administrator may
//! change it (libsmbios, `smi_password.c`; fwupd, plugin `dell-esrt`). Select 3 is on the kernel's white list.
//!
//! While one is set, a write needs the security key that verifying the password gives. Without it a write is refused and
//! reads go on. No source names a status of its own for that, so it is −1, as for any other failure: only the question
//! tells them apart.

/// The class of calls.
pub const CLASS: u16 = 10;
/// The select of the newer question: properties.
pub const PROPERTIES: u16 = 3;
/// The select of the older question: installed?
pub const INSTALLED: u16 = 0;
/// The state where a password is set.
pub const SET: u32 = 0;
/// The state where none is.
pub const NONE: u32 = 1;
/// What stands above the state in the word of [`PROPERTIES`]: 4 to 32 characters of ASCII, as a Latitude takes them.
pub const FORM: u32 = 0x0104_2000;

/// Whether a password is set, by the outputs of the newer question; none where the firmware does not know it.
#[must_use]
pub fn is_set(outputs: [u32; 4]) -> Option<bool> {
    match outputs {
        [0, word, ..] => Some(matches!(word & 0xF, 0 | 2)),
        _ => None,
    }
}
