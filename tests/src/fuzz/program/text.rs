//! Programs as text.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;

use super::Program;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for op in &self.0 {
            writeln!(f, "{}", serde_json::to_string(op).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

impl FromStr for Program {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut ops = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            ops.push(serde_json::from_str(line).with_context(|| format!("line {}: {line}", number + 1))?);
        }
        let program = Self(ops);
        program.check()?;
        Ok(program)
    }
}
