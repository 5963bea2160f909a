use std::os::unix::fs::symlink;

use super::*;

fn listed(patterns: &[&str]) -> Result<Knobs, Error> {
    Knobs::new(&patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
}

#[test]
fn names_fit_patterns() {
    for (pattern, name, fits) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("*", "abc", true),
        ("policy*", "policy12", true),
        ("policy*", "polic", false),
        ("*_max*", "scaling_max_freq", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("*a*b*", "xxaxxbxx", true),
        ("*a*b*", "xxbxxaxx", false),
        ("", "", true),
    ] {
        assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
    }
}

#[test]
fn only_what_is_listed_is_covered() {
    let knobs = listed(&[
        "vm.swappiness",
        "net.ipv4.conf.*.rp_filter",
        "net.ipv4.conf.eth0/1.forwarding",
        "/sys/class/thermal/thermal_zone*/policy",
        "kernel.*",
    ])
    .unwrap();
    for (path, covered) in [
        ("/proc/sys/vm/swappiness", true),
        ("/proc/sys/vm/dirty_ratio", false),
        ("/proc/sys/net/ipv4/conf/all/rp_filter", true),
        ("/proc/sys/net/ipv4/conf/a/b/rp_filter", false),
        ("/proc/sys/net/ipv4/conf/../rp_filter", false),
        ("/proc/sys/net/ipv4/conf/eth0.1/forwarding", true),
        ("/sys/class/thermal/thermal_zone0/policy", true),
        ("/sys/class/thermal/thermal_zone0/mode", false),
        ("/sys/class/thermal/../thermal/thermal_zone0/policy", false),
        ("/proc/sys/kernel/printk", true),
        // Whose value the kernel runs as root.
        ("/proc/sys/kernel/core_pattern", false),
        ("/proc/sys/kernel/modprobe", false),
        ("/etc/passwd", false),
        ("vm/swappiness", false),
    ] {
        assert_eq!(knobs.covers(path.as_bytes()), covered, "{path}");
    }
    for bad in ["", ".", "kernel.modprobe", "/etc/passwd", "/sys/../etc/passwd", "/proc/sys/", "a..b", "/sys"]
    {
        assert!(listed(&[bad]).is_err(), "{bad:?}");
    }
    assert!(Knobs::new(&vec!["a.b".to_owned(); PATTERNS_MAX + 1]).is_err());
}

#[test]
fn a_checkpoint_names_its_own() {
    let setting = |path: &str| crate::settings::Setting { path: path.into(), value: Vec::new() };
    let paths = ["/proc/sys/vm/swappiness", "/proc/sys/kernel/modprobe", "/etc/passwd"];
    let knobs = Knobs::of(&paths.map(setting));
    assert_eq!(paths.map(|path| knobs.covers(path.as_bytes())), [true, false, false]);
    assert!(!knobs.covers(b"/proc/sys/vm/dirty_ratio"));
}

#[test]
fn values_say_what_counts() {
    for (value, counts) in [
        ("performance\n", "performance"),
        ("4\t4\t1\t7\n", "4\t4\t1\t7"),
        ("\n", ""),
        ("always [madvise] never\n", "madvise"),
        ("[none]", "none"),
        ("[a] [b]", "[a] [b]"),
        ("[]", "[]"),
        ("a[1] b", "a[1] b"),
    ] {
        assert_eq!(meaning(value.as_bytes()), counts.as_bytes(), "{value:?}");
    }
}

#[test]
fn links_lead_to_devices_and_never_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for folder in ["proc/vm", "sys/devices/zone0", "sys/class/thermal", "outside"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    fs::write(path("sys/devices/zone0/policy"), "step_wise\n").unwrap();
    fs::write(path("outside/policy"), "secret\n").unwrap();
    fs::write(path("proc/vm/real"), "1\n").unwrap();
    symlink("../../devices/zone0", path("sys/class/thermal/zone0")).unwrap();
    symlink("../../../outside", path("sys/class/thermal/zone1")).unwrap();
    symlink(path("outside"), path("sys/class/thermal/zone2")).unwrap();
    symlink("real", path("proc/vm/link")).unwrap();
    let patterns = ["/sys/class/thermal/zone*/policy", "vm.*", "vm.missing"].map(str::to_owned);
    let knobs = Knobs::pretended(path("proc"), path("sys"), &patterns).unwrap();
    let listed = knobs.list().unwrap();
    let listed: Vec<_> = listed.iter().map(|path| std::str::from_utf8(path).unwrap()).collect();
    assert_eq!(
        listed,
        ["/proc/sys/vm/missing", "/proc/sys/vm/real", "/sys/class/thermal/zone0/policy"],
        "what a pattern of one setting names is there, so that a slip of the pen shows"
    );
    assert_eq!(knobs.read(b"/sys/class/thermal/zone0/policy").unwrap(), b"step_wise\n");
    for out in ["/sys/class/thermal/zone1/policy", "/sys/class/thermal/zone2/policy", "/proc/sys/vm/link"] {
        knobs.read(out.as_bytes()).unwrap_err();
        knobs.write(out.as_bytes(), b"x").unwrap_err();
    }
    assert!(matches!(knobs.write(b"/sys/devices/zone0/policy", b"x"), Err(Error::Refused(_))));
    assert_eq!(fs::read(path("outside/policy")).unwrap(), b"secret\n");
    // Under its real name a folder that is none of the kernel's is refused.
    let mut knobs = knobs;
    knobs.tops[1].magic = Some(SYS_MAGIC);
    assert!(matches!(knobs.read(b"/sys/class/thermal/zone0/policy"), Err(Error::Refused(_))));
}

#[test]
fn what_is_too_long_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("long"), vec![b'x'; VALUE_BYTES_MAX + 1]).unwrap();
    fs::write(dir.path().join("most"), vec![b'x'; VALUE_BYTES_MAX]).unwrap();
    let patterns = ["long".to_owned(), "most".to_owned()];
    let knobs = Knobs::pretended(dir.path().into(), dir.path().into(), &patterns).unwrap();
    assert!(matches!(knobs.read(b"/proc/sys/long"), Err(Error::Limit { .. })));
    assert_eq!(knobs.read(b"/proc/sys/most").unwrap().len(), VALUE_BYTES_MAX);
    assert!(matches!(knobs.write(b"/proc/sys/most", &[b'x'; VALUE_BYTES_MAX + 1]), Err(Error::Refused(_))));
}
