//! Who the chip is.

use std::fmt;

use crate::capability::property;

/// What the chip says about itself: the fixed properties of TPM 2.0 Library Part 2, section 6.13.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// The manufacturer's four characters in the TCG's vendor registry, such as `STM` or `IBM`.
    pub manufacturer: String,
    /// What the manufacturer calls it.
    pub vendor: String,
    /// The firmware's version, 64 bits whose meaning is the manufacturer's.
    pub firmware: u64,
    /// The revision of the specification times 100: 138 is 1.38.
    pub revision: u32,
}

impl Identity {
    /// From the fixed properties, tags and values.
    pub(crate) fn from_properties(properties: &[(u32, u32)]) -> Self {
        let value = |tag| properties.iter().find(|(found, _)| *found == tag).map_or(0, |(_, value)| *value);
        Self {
            manufacturer: text(&[value(property::MANUFACTURER)]),
            vendor: text(&property::VENDOR_STRINGS.map(value)),
            firmware: u64::from(value(property::FIRMWARE_1)) << 32 | u64::from(value(property::FIRMWARE_2)),
            revision: value(property::REVISION),
        }
    }

    /// Whether it is a software TPM, as far as its own words tell: the reference code and swtpm say `SW   TPM`.
    pub fn is_software(&self) -> bool {
        self.vendor.split_whitespace().next() == Some("SW")
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = [48, 32, 16, 0].map(|shift| self.firmware >> shift & 0xffff);
        let (major, minor) = (self.revision / 100, self.revision % 100);
        write!(
            f,
            "{} {}, firmware {a}.{b}.{c}.{d}, TPM 2.0 revision {major}.{minor:02}",
            self.manufacturer, self.vendor
        )
    }
}

/// Four characters a word, padded with NULs or blanks. The chip is not trusted to send printable ones.
fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_be_bytes()).filter(|byte| *byte != 0);
    let text: String = bytes
        .map(|byte| if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { '?' })
        .collect();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_text() {
        assert_eq!(text(&[0x4942_4d00]), "IBM");
        assert_eq!(text(&[0x5357_2020, 0x2054_504d, 0, 0]), "SW   TPM");
        assert_eq!(text(&[0x1b5b_3041]), "?[0A");
    }

    #[test]
    fn it_introduces_itself() {
        let identity = Identity {
            manufacturer: "STM".to_owned(),
            vendor: "ST33".to_owned(),
            firmware: 0x0001_0102_0000_0000,
            revision: 138,
        };
        assert_eq!(identity.to_string(), "STM ST33, firmware 1.258.0.0, TPM 2.0 revision 1.38");
        assert!(!identity.is_software());
    }
}
