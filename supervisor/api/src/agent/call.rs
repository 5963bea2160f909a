//! What an agent may ask for in the middle of a task: commands of the daemon, under the names of capabilities.

use serde_json::Value;
use types::agent::Capability;
use types::token::TokenId;

use crate::wire;

/// Capabilities, and the commands that they stand for. The input of a call holds the command's other fields.
pub const CALLS: [(&str, &str); 9] = [
    ("status.read", "status"),
    ("token.list", "tokens"),
    ("token.read", "read_tokens"),
    ("token.write", "write_tokens"),
    ("checkpoint.list", "checkpoints"),
    ("checkpoint.create", "create_checkpoint"),
    ("log.read", "facts"),
    ("note.write", "note"),
    ("run.read", "runs"),
];

/// The command that a call stands for. `{"token": "0x8000"}` is a short form of what `token.read` takes.
///
/// # Errors
///
/// No command stands behind the capability, or the input is not what it takes: what is wrong, for people.
pub fn command(capability: &Capability, input: &str) -> Result<wire::Command, String> {
    let kind = capability.kind();
    let Some((_, word)) = CALLS.iter().find(|(name, _)| *name == kind) else {
        let all: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
        return Err(format!("“{kind}” cannot be called; these can: {}", all.join(", ")));
    };
    let mut fields = match serde_json::from_str(input) {
        Ok(Value::Object(fields)) => fields,
        Ok(Value::Null) => serde_json::Map::new(),
        _ => return Err("the input of a call is an object".to_owned()),
    };
    if kind == "token.read"
        && let Some(token) = fields.remove("token")
    {
        let item = Value::Object([("id".to_owned(), token)].into_iter().collect());
        fields.insert("items".to_owned(), Value::Array(vec![item]));
    }
    if fields.insert("command".to_owned(), Value::String((*word).to_owned())).is_some() {
        return Err("“command” is not a field of a call: its capability says what it is".to_owned());
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| format!("the input of “{kind}”: {error}"))
}

/// Whether a capability that an agent's file asks for covers a call. A place on tokens is one token: all that the call names must be
/// that one. Other calls have no places, so a capability that names one covers none.
#[must_use]
pub fn covers(has: &Capability, called: &Capability, command: &wire::Command) -> bool {
    if has.kind() != called.kind() {
        return false;
    }
    let Some(place) = has.scope() else { return true };
    let Ok(token) = place.parse::<TokenId>() else { return false };
    let is_it = |id: &String| id.parse() == Ok(token);
    match command {
        wire::Command::ReadTokens { items } => items.iter().all(|item| is_it(&item.id)),
        wire::Command::WriteTokens { changes } => changes.iter().all(|change| is_it(&change.id)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(capability: &str, input: &str) -> Result<wire::Command, String> {
        command(&capability.parse().unwrap(), input)
    }

    #[test]
    fn calls_are_commands_and_nothing_else_is() {
        for (capability, word) in CALLS {
            let input = match word {
                "read_tokens" => r#"{"token":"0x8000"}"#,
                "write_tokens" => r#"{"changes":[{"id":"0x8030","value":1}]}"#,
                "create_checkpoint" => r#"{"name":"a"}"#,
                "facts" => r#"{"limit":3}"#,
                "note" => r#"{"kind":"k","text":"t"}"#,
                _ => "null",
            };
            let made = serde_json::to_value(call(capability, input).unwrap()).unwrap();
            assert_eq!(made["command"], word);
        }
        assert!(call("run.start", "{}").unwrap_err().contains("these can: status.read"));
        assert!(call("token.read", "[]").unwrap_err().contains("an object"));
        assert!(call("token.read", r#"{"token":"0x8000","more":1}"#).unwrap_err().contains("more"));
        assert!(call("status.read", r#"{"command":"prune"}"#).unwrap_err().contains("“command”"));
    }

    #[test]
    fn a_place_is_one_token() {
        let covers = |has: &str, capability: &str, input: &str| {
            covers(&has.parse().unwrap(), &capability.parse().unwrap(), &call(capability, input).unwrap())
        };
        let two = r#"{"items":[{"id":"0x8000"},{"id":"0x8001"}]}"#;
        assert!(covers("token.read", "token.read", two));
        assert!(covers("token.read:0x8000", "token.read", r#"{"token":"32768"}"#));
        assert!(!covers("token.read:0x8000", "token.read", two));
        assert!(!covers("token.read:all", "token.read", two));
        assert!(!covers("token.read", "token.write", r#"{"changes":[]}"#));
        assert!(!covers("log.read:/var", "log.read", r#"{"limit":1}"#));
    }
}
