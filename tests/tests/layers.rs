//! Who may know whom: the edges between our crates are those of the architecture and no others.

#![cfg(test)]

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Every allowed edge. A crate that is not listed on the left knows nobody.
const ALLOWED: &[(&str, &[&str])] = &[
    ("ebpf", &[]),
    ("types", &[]),
    // Leaves: one foreign thing each.
    ("device", &["types"]),
    ("telemetry", &["ebpf", "types"]),
    ("tpm", &["types"]),
    ("store", &["types"]),
    ("sandbox", &["types"]),
    ("policy", &["types"]),
    // Decision.
    ("engine", &["policy", "types"]),
    // Faces, and recovery beside them.
    ("recovery", &["engine", "store", "device", "tpm", "types"]),
    ("api", &["engine", "types"]),
    ("view", &[]),
    // Programs.
    (
        "daemon",
        &[
            "api",
            "device",
            "ebpf",
            "engine",
            "policy",
            "recovery",
            "sandbox",
            "store",
            "telemetry",
            "tpm",
            "types",
        ],
    ),
    ("cli", &["api", "recovery", "store", "types", "view"]),
    ("agents", &["api", "types"]),
    // Tests look at everything.
    (
        "tests",
        &["api", "device", "ebpf", "engine", "policy", "recovery", "store", "telemetry", "tpm", "types"],
    ),
];

#[test]
fn crates_know_only_whom_they_may() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = ALLOWED.iter().find(|(from, _)| *from == name) else {
            wrong.push(format!("{name} has no place in the architecture"));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            // A crate's own tests may look further, as long as the product does not.
            let is_product = dependency.kind != DependencyKind::Development;
            if ours.contains(to) && is_product && !allowed.contains(&to) {
                wrong.push(format!("{name} must not know {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(ours.len(), ALLOWED.len(), "a crate of the list is gone");
}

/// Each heavy or unsafe foreign thing has one address.
#[test]
fn foreign_things_have_one_address() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    for (foreign, address) in [
        ("tss-esapi", "tpm"),
        ("libbpf-rs", "ebpf"),
        ("caps", "daemon"),
        ("clap_mangen", "cli"),
        ("fuser", "view"),
        ("granit-parser", "api"),
    ] {
        let users: Vec<_> = metadata
            .packages
            .iter()
            .filter(|package| {
                package
                    .dependencies
                    .iter()
                    .any(|dependency| dependency.name == foreign && dependency.kind == DependencyKind::Normal)
            })
            .map(|package| package.name.as_str())
            .collect();
        assert!(
            users.iter().all(|user| *user == address),
            "{foreign} is used by {users:?}, not by {address} alone"
        );
    }
}

/// The pure crates cannot do what they must not.
#[test]
fn pure_crates_stay_pure() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    for name in ["types", "policy", "engine"] {
        let package = metadata.packages.iter().find(|package| package.name.as_str() == name).expect(name);
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal)
        {
            assert!(
                // All of them compute, and do nothing else.
                ["types", "policy", "minicbor", "serde_json", "sha2", "thiserror"]
                    .contains(&dependency.name.as_str()),
                "{name} must not know {}",
                dependency.name
            );
        }
    }
}
