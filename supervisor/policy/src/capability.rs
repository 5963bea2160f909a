//! What the kinds of capabilities mean for repeating and holding back.

/// What a kind of capability lets an agent do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// It changes nothing.
    Reads,
    /// It asks through the gate, under a key: asked again it is not done again.
    Asks,
    /// It changes files, which can be kept apart until it is known whether they count.
    Writes,
    /// It acts on the world by itself: what it did cannot be asked about and not be held back.
    Acts,
}

/// The class of a kind; one that is not known acts.
#[must_use]
pub fn class(kind: &str) -> Class {
    match kind {
        "file.write" => Class::Writes,
        "token.write" | "checkpoint.create" | "note.write" => Class::Asks,
        _ if kind.ends_with(".read") || kind.ends_with(".list") => Class::Reads,
        _ => Class::Acts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_acts() {
        let classes =
            ["token.read", "service.list", "token.write", "file.write", "http.post", "read", ""].map(class);
        use Class::{Acts, Asks, Reads, Writes};
        assert_eq!(classes, [Reads, Reads, Asks, Writes, Acts, Acts, Acts]);
    }
}
