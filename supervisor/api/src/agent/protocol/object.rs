//! Takes a line apart in one pass: the fields of an object, each in its own words.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::str::FromStr;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::payload::Payload;

/// Most fields of an object: no message has as many.
const FIELDS_MAX: usize = 16;

/// The fields that nobody has taken yet.
pub struct Object<'l>(Vec<(Cow<'l, str>, &'l RawValue)>);

impl<'l> Object<'l> {
    /// The fields of the object that a line is.
    ///
    /// # Errors
    ///
    /// What the JSON parser says: the line is not an object, or one that has a key twice.
    pub fn read(line: &'l str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|error| error.to_string())
    }

    fn raw(&mut self, key: &str) -> Option<&'l RawValue> {
        let index = self.0.iter().position(|(found, _)| found == key)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Takes a field, if it is there.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, String> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| {
            // The parser's own position would be that within the field.
            let said = error.to_string();
            format!("{key}: {}", said.split(" at line ").next().unwrap_or_default())
        })
    }

    /// Takes a field that must be there.
    pub fn need<T: DeserializeOwned>(&mut self, key: &str) -> Result<T, String> {
        self.take(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    /// Takes a text for people, if it is there.
    pub fn take_text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.take::<String>(key)? {
            // However it is written, it ends a text for half of the programs that read it.
            Some(text) if text.contains('\0') => Err(format!("{key} holds a NUL")),
            text => Ok(text),
        }
    }

    /// Takes a text for people that must be there.
    pub fn need_text(&mut self, key: &str) -> Result<String, String> {
        self.take_text(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    /// Takes a field that is a word of ours, if it is there.
    pub fn take_word<T: FromStr<Err: Display>>(&mut self, key: &str) -> Result<Option<T>, String> {
        let Some(text) = self.take::<String>(key)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| format!("{key} {error}"))
    }

    /// Takes a field that is a word of ours and must be there.
    pub fn need_word<T: FromStr<Err: Display>>(&mut self, key: &str) -> Result<T, String> {
        self.take_word(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    /// Takes a field that is carried as it stands.
    pub fn payload(&mut self, key: &str) -> Result<Payload, String> {
        let raw = self.raw(key).ok_or_else(|| format!("{key} is missing"))?;
        Payload::new(raw.to_owned()).map_err(|error| format!("{key} {error}"))
    }

    /// Nothing is left.
    pub fn end(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => {
                Err(format!("{:?} is no field of this type", key.chars().take(60).collect::<String>()))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry()? {
                    if fields.iter().any(|(found, _)| *found == key) {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                    if fields.len() == FIELDS_MAX {
                        return Err(A::Error::custom("too many fields"));
                    }
                    fields.push((key, value));
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// A key, borrowed from the line unless it has escapes.
struct Key<'l>(Cow<'l, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}
