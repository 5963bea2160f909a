//! What a configuration says, and what mistakes in it are called.

use super::*;

fn parse(text: &str) -> anyhow::Result<Config> {
    let config = toml::from_str(text)?;
    check(&config)?;
    Ok(config)
}

#[test]
fn defaults_hold() {
    let config = parse("").unwrap();
    assert_eq!(config.socket, PathBuf::from("/run/dsmil/dsmild.sock"));
    assert!(config.allowed().unwrap().is_empty());
    assert_eq!(config.names().unwrap().len(), 84);
}

#[test]
fn a_schedule_is_what_it_says() {
    let none = parse("").unwrap();
    assert_eq!(none.checkpoint.schedule().unwrap(), Schedule::default());
    assert_eq!(none.rules().unwrap().risky, policy::Risky { writes: true, restores: false });
    let text = "[checkpoint]\ninterval = \"6h\"\nbefore_risky = true\nrisky = [\"restore\"]\n\
                [checkpoint.retention]\nkeep_last = 7\nkeep_daily = 30\nmax_mib = 3\n";
    let config = parse(text).unwrap();
    let keep = Keep { last: 7, daily: 30, max_bytes: Some(3 << 20), ..Keep::default() };
    let schedule = Schedule { interval_ns: Some(21_600_000_000_000), before_risky: true, keep };
    assert_eq!(config.checkpoint.schedule().unwrap(), schedule);
    assert_eq!(config.rules().unwrap().risky, policy::Risky { writes: false, restores: true });
    for (text, expected) in [("90s", 90), ("5m", 300), ("2d", 172_800)] {
        assert_eq!(seconds(text), Some(expected), "{text}");
    }
    for text in ["", "s", "5", "1.5h", "18446744073709551615d", "6ü"] {
        assert_eq!(seconds(text), None, "{text}");
    }
}

#[test]
fn mistakes_are_named() {
    for (text, named) in [
        ("[tokens]\nallow = [\"0x18000\"]", "0x18000"),
        ("[tokens]\nalow = []", "alow"),
        ("without = [\"tmp\"]", "tmp"),
        ("[tokens]\nconfirm_s = 0", "confirm_s"),
        ("[people]\nowners = [\"nobody-of-this-name\"]", "nobody-of-this-name"),
        ("[log]\nnote_bytes = 32769", "note_bytes"),
        ("[checkpoint]\nexclude = [\"[z-a]\"]", "[z-a]"),
        ("[checkpoint]\nroots = [\"srv\"]", "srv"),
        ("[checkpoint]\ndatabases = [\"a.db\"]", "a.db"),
        ("[checkpoint]\ndatabases = [\"/srv/../a.db\"]", "/srv/../a.db"),
        ("[checkpoint]\ndatabases = [\"/srv/a.db\", \"/srv/a.db\"]", "twice"),
        ("[checkpoint]\ndatabases = [\"/var/lib/dsmil/a.db\"]", "/var/lib/dsmil"),
        ("[checkpoint]\nroots = [\"/srv\"]\ndatabases = [\"/srv/a.db\"]", "lies in /srv"),
        ("[checkpoint]\nsettings = [\"/etc/passwd\"]", "/etc/passwd"),
        ("[checkpoint]\nsettings = [\"kernel.core_pattern\"]", "core_pattern"),
        ("[checkpoint]\nroots = [\"/etc\"]\nservices = [\"a.service\"]", "checkpoint.services"),
        ("[checkpoint]\nservices = [\"poweroff.target\"]", "poweroff.target"),
        ("[checkpoint]\nservices = [\"dsmild.service\"]", "never changed"),
        ("[[checkpoint.postgresql]]\nport = 5432", "database's name"),
        ("[[checkpoint.postgresql]]\ndatabase = \"a\"\nhost = \"x\"", "host"),
        ("[[checkpoint.postgresql]]\ndatabase = \"a\"\nsocket = \"localhost\"", "“localhost”"),
        ("[[checkpoint.postgresql]]\ndatabase = \"a\"\nport = 65536", "65536"),
        ("[[checkpoint.postgresql]]\ndatabase = \"a\"\nport = 0", "port 0"),
        ("[[checkpoint.postgresql]]\ndatabase = \"a\"\nuser = \"root\"", "never root"),
        ("[[checkpoint.postgresql]]\ndatabase = \"template1\"", "template1"),
        (
            "[[checkpoint.postgresql]]\ndatabase = \"a\"\n[[checkpoint.postgresql]]\ndatabase = \"a\"\nuser = \"b\"",
            "twice",
        ),
        (
            "[checkpoint]\nroots = [\"/var\"]\n[[checkpoint.postgresql]]\ndatabase = \"a\"",
            "checkpoint.postgresql",
        ),
        ("[checkpoint]\nroots = [\"/var/lib\"]", "/var/lib"),
        ("[checkpoint]\nroots = [\"/srv/a\", \"/srv/a/b\"]", "/srv/a/b"),
        ("[checkpoint]\nroots = [\"/srv\", \"/srv/\"]", "twice"),
        ("[checkpoint]\nphase_s = 9", "phase_s"),
        ("[checkpoint]\ninterval = \"6\"", "“6”"),
        ("[checkpoint]\ninterval = \"59s\"", "60 seconds"),
        ("[checkpoint]\ninterval = \"-6h\"", "interval"),
        ("[checkpoint]\nrisky = [\"tea\"]", "tea"),
        ("[checkpoint.retention]\nkeep_lots = 3", "keep_lots"),
    ] {
        let error = format!("{:#}", parse(text).unwrap_err());
        assert!(error.contains(named), "{text}: {error}");
    }
}
