//! What is counted, as metrics: text in the format of OpenMetrics 1.0, which Prometheus reads.
//!
//! Names follow the conventions of Prometheus: base units in the name, `_total` behind what only grows. A sample that is not
//! known is left out, so that it looks absent and not like zero.

mod text;
mod tpm;

use text::{Kind, Text};

use crate::wire::{Behind, Status, tpm::Report};

/// Everything that is counted, the end of the text included.
pub fn openmetrics(status: &Status, report: &Report, behind: &Behind) -> String {
    let mut text = Text::default();
    machine(&mut text, status, behind);
    log(&mut text, status);
    scheduler(&mut text, status);
    tpm::write(&mut text, report);
    text.done()
}

fn machine(text: &mut Text, status: &Status, behind: &Behind) {
    let labels = [
        ("version", status.version.as_str()),
        ("machine", status.machine.as_str()),
        ("firmware", behind.firmware.as_str()),
    ];
    text.family("dsmil", Kind::Info, "The daemon and its machine.").sample("_info", &labels, 1);
    let mut gauge = |name, help, value| text.family(name, Kind::Gauge, help).sample("", &[], value);
    gauge(
        "dsmil_emulated",
        "1 where the firmware is emulated, as far as is known.",
        u64::from(behind.emulated),
    );
    gauge("dsmil_guarantees_missing", "Guarantees that this start lacks.", count(behind.missing.len()));
    gauge("dsmil_works", "Works under way.", count(status.works.len()));
    gauge("dsmil_checkpoints", "Checkpoints that can be restored.", status.checkpoints);
    if let Some(device) = &status.device {
        gauge("dsmil_device_tokens", "Tokens in the firmware's table.", device.tokens.into());
        gauge("dsmil_device_writable_tokens", "Tokens that may be written.", device.writable.into());
        gauge("dsmil_device_sealed", "1 where the allow-list is sealed.", u64::from(device.sealed));
    }
    text.family("dsmil_denials", Kind::Counter, "Orders denied so far.").sample(
        "_total",
        &[],
        status.denials,
    );
    text.family("dsmil_starts", Kind::Counter, "Starts of the daemon so far.").sample(
        "_total",
        &[],
        status.starts,
    );
    let mut zones =
        text.family("dsmil_zone_temperature_celsius", Kind::Gauge, "Thermal zones; absent while unknown.");
    for zone in &status.zones {
        if let Some(millicelsius) = zone.millicelsius {
            zones.sample("", &[("zone", &zone.name)], f64::from(millicelsius) / 1e3);
        }
    }
}

fn log(text: &mut Text, status: &Status) {
    let entries = [("dsmil_log_entries", "Entries of the log.", status.log.size)];
    let signed = [("dsmil_log_signed_entries", "Entries that a signed head covers.", status.log.signed)];
    for (name, help, value) in entries.into_iter().chain(signed) {
        text.family(name, Kind::Gauge, help).sample("", &[], value);
    }
}

fn scheduler(text: &mut Text, status: &Status) {
    let help = "Waits for a CPU since the start; quantiles are upper bounds.";
    let mut waits = text.family("dsmil_scheduler_wait_seconds", Kind::Summary, help);
    for cpu in &status.scheduler {
        let place = cpu.cpu.to_string();
        for (quantile, value_us) in [("0.5", cpu.p50_us), ("0.99", cpu.p99_us)] {
            if let Some(value_us) = value_us {
                waits.sample("", &[("cpu", &place), ("quantile", quantile)], seconds(value_us));
            }
        }
        waits.sample("_count", &[("cpu", &place)], cpu.count);
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Microseconds as seconds; exact up to 285 years.
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tpm::{Anchor, Operation};
    use crate::wire::{CpuLatency, Zone};

    fn text(status: &Status, report: &Report) -> String {
        openmetrics(status, report, &Behind::default())
    }

    #[test]
    fn each_family_is_declared_once_before_its_samples_and_the_text_ends() {
        let status = Status {
            machine: "a \"b\" \\ c\nd".to_owned(),
            zones: vec![
                Zone { name: "TCPU".to_owned(), millicelsius: Some(41_500), ..Zone::default() },
                Zone { name: "TSKN".to_owned(), ..Zone::default() },
            ],
            scheduler: vec![CpuLatency { cpu: 1, count: 7, p50_us: Some(8), p99_us: None }],
            ..Status::default()
        };
        let operation = |kind: &str| Operation {
            kind: kind.to_owned(),
            count: 3,
            buckets: vec![1, 2],
            ..Operation::default()
        };
        let report = Report {
            operations: vec![operation("sign"), operation("seal")],
            anchor: Some(Anchor::default()),
            ..Report::default()
        };
        let text = text(&status, &report);
        assert!(text.ends_with("\n# EOF\n"));
        assert!(text.contains(r#"dsmil_info{version="",machine="a \"b\" \\ c\nd",firmware=""} 1"#));
        assert!(
            text.contains("dsmil_zone_temperature_celsius{zone=\"TCPU\"} 41.5\n") && !text.contains("TSKN")
        );
        assert!(text.contains("dsmil_scheduler_wait_seconds{cpu=\"1\",quantile=\"0.5\"} 0.000008\n"));
        assert!(!text.contains("0.99"));
        let mut declared = std::collections::HashSet::new();
        let mut family = "";
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
                assert!(declared.insert(family), "{family} twice");
            } else {
                assert!(line.strip_prefix("# HELP ").unwrap_or(line).starts_with(family), "{line}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let text = text(&Status::default(), &Report::default());
        for name in ["anchor", "nv_", "dsmil_device"] {
            assert!(!text.contains(name), "{name}: {text}");
        }
    }
}
