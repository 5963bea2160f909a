//! The format: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::fmt::{Display, Write as _};

/// What a family is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Grows only, but for a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many took how long.
    Histogram,
    /// Quantiles.
    Summary,
    /// Words, as labels.
    Info,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Info => "info",
        }
    }
}

/// A text that grows by families.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Declares a family; its samples follow at once.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let mut escaped = String::new();
        escape(help, &mut escaped);
        // Writing to a string does not fail.
        let _ = write!(self.0, "# TYPE {name} {}\n# HELP {name} {escaped}\n", kind.name());
        Family { text: &mut self.0, name }
    }

    /// The whole text, with its end.
    pub fn done(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

/// A family to which samples are added.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Family<'_> {
    /// One sample; `suffix` stands behind the family's name.
    pub fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (place, (name, value)) in labels.iter().enumerate() {
            self.text.push_str(if place == 0 { "{" } else { "," });
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(value, self.text);
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{end} {value}");
    }
}

/// Backslash, quotation mark and line feed would end a value.
fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}
