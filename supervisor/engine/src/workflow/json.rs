//! Looks into JSON texts without taking them apart.
//!
//! The texts are valid JSON; of one that is not, nothing is found.

/// What a text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Map,
}

/// The kind of a value.
pub fn kind(json: &str) -> Option<Kind> {
    match json.trim_start().bytes().next()? {
        b'n' => Some(Kind::Null),
        b't' | b'f' => Some(Kind::Bool),
        b'-' | b'0'..=b'9' => Some(Kind::Number),
        b'"' => Some(Kind::Text),
        b'[' => Some(Kind::List),
        b'{' => Some(Kind::Map),
        _ => None,
    }
}

/// The kind in words, for messages.
pub fn noun(json: &str) -> &'static str {
    match kind(json) {
        Some(Kind::Null) => "null",
        Some(Kind::Bool) => "true or false",
        Some(Kind::Number) => "a number",
        Some(Kind::Text) => "a text",
        Some(Kind::List) => "a list",
        Some(Kind::Map) => "a map",
        None => "no JSON",
    }
}

/// The entries of a list, each as it stands.
pub fn items(json: &str) -> Items<'_> {
    let rest = json.trim().strip_prefix('[').map(str::trim_start);
    Items { rest: rest.unwrap_or_default() }
}

/// See [`items`].
pub struct Items<'j> {
    rest: &'j str,
}

impl<'j> Iterator for Items<'j> {
    type Item = &'j str;

    fn next(&mut self) -> Option<&'j str> {
        let (item, rest) = value(self.rest)?;
        let rest = rest.trim_start();
        self.rest = rest.strip_prefix(',').map(str::trim_start).unwrap_or_default();
        Some(item)
    }
}

/// The value of a map's key, as it stands; the last, where the key comes twice.
pub fn field<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    let mut rest = json.trim().strip_prefix('{')?.trim_start();
    let mut found = None;
    while rest.starts_with('"') {
        let (key, behind) = value(rest)?;
        let (one, behind) = value(behind.trim_start().strip_prefix(':')?.trim_start())?;
        if is_text(key, name) {
            found = Some(one);
        }
        rest = behind.trim_start().strip_prefix(',').map(str::trim_start).unwrap_or_default();
    }
    found
}

/// Whether a JSON text in quotes says this.
fn is_text(json: &str, text: &str) -> bool {
    if json.contains('\\') {
        return serde_json::from_str::<String>(json).is_ok_and(|said| said == text);
    }
    json.strip_prefix('"').and_then(|said| said.strip_suffix('"')) == Some(text)
}

/// The value that a text begins with, and what follows it.
fn value(json: &str) -> Option<(&str, &str)> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    let mut end = json.len();
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => {
                is_text = !is_text;
                if !is_text && depth == 0 {
                    end = at + 1;
                    break;
                }
            }
            _ if is_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => {
                end = at;
                break;
            }
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    end = at + 1;
                    break;
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let (one, rest) = json.split_at_checked(end)?;
    (!one.is_empty()).then_some((one, rest))
}

/// How deep lists and maps nest.
pub fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn values_are_found_as_they_stand() {
        let json =
            r#" { "a" : 1.0e5 , "b":[ {"c":"]},\"" } , 12345678901234567890123 ],"\u0061b":null,"a":2} "#;
        assert_eq!(field(json, "a"), Some("2"));
        let list = field(json, "b").unwrap();
        assert_eq!(items(list).collect::<Vec<_>>(), [r#"{"c":"]},\"" }"#, "12345678901234567890123"]);
        assert_eq!(field(items(list).next().unwrap(), "c"), Some(r#""]},\"""#));
        assert_eq!(field(json, "ab"), Some("null"));
        assert_eq!((field(json, "c"), field("[]", "a"), field("{}", "a")), (None, None, None));
        assert_eq!((items("[]").count(), items(" [ ] ").count(), items("{}").count()), (0, 0, 0));
    }

    pub fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            "[a\"\\\\\\[\\]{},: ä]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..4).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_in_a_value_is_found(value in values(), is_pretty: bool) {
            let print = if is_pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let json = print(&value).unwrap();
            let read = |json: &str| serde_json::from_str::<Value>(json).unwrap();
            match &value {
                Value::Array(list) => prop_assert_eq!(list, &items(&json).map(read).collect::<Vec<_>>()),
                Value::Object(map) => {
                    for (key, inner) in map {
                        prop_assert_eq!(&read(field(&json, key).unwrap()), inner);
                    }
                }
                _ => {}
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\ a1ä]{0,40}", name in "a?") {
            _ = field(&text, &name);
            prop_assert!(items(&text).count() <= text.len());
            depth(&text);
        }
    }
}
