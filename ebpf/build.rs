//! Compiles the probes with clang, links them into one object and generates its skeleton.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libbpf_cargo::SkeletonBuilder;
use libbpf_rs::Linker;

const HEADERS: [&str; 2] = ["events.h", "compat.bpf.h"];
const PROBES: [&str; 2] = ["sched", "thermal"];

/// Versions that a distribution may offer under a numbered name alone, the newest first.
const CLANG_VERSIONS: std::ops::RangeInclusive<u32> = 14..=24;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    for header in HEADERS {
        println!("cargo::rerun-if-changed={header}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");

    let clang = find_clang()?;
    let includes = system_includes(&clang)?;
    // libbpf takes the names of maps and programs from this file's name.
    let object = out.join("probes.o");
    let mut linker = Linker::new(&object)?;
    for probe in PROBES {
        let source = root.join(format!("{probe}.bpf.c"));
        println!("cargo::rerun-if-changed={probe}.bpf.c");
        linker.add_file(compile(&clang, &includes, &source, &out.join(format!("{probe}.o")))?)?;
    }
    linker.link()?;
    SkeletonBuilder::new().obj(&object).generate(out.join("probes.skel.rs"))?;

    // The tests' own object; small enough to be built always.
    println!("cargo::rerun-if-changed=src/tests/drive.bpf.c");
    let object = compile(&clang, &includes, &root.join("src/tests/drive.bpf.c"), &out.join("drive.o"))?;
    SkeletonBuilder::new().obj(&object).generate(out.join("drive.skel.rs"))?;
    Ok(())
}

fn compile(
    clang: &str,
    includes: &[String],
    source: &Path,
    object: &Path,
) -> Result<PathBuf, Box<dyn Error>> {
    let warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"];
    let mut args: Vec<String> = warnings.map(String::from).to_vec();
    for include in includes {
        args.extend(["-idirafter".to_owned(), include.clone()]);
    }
    SkeletonBuilder::new()
        .source(source)
        .obj(object)
        .clang(clang)
        .clang_args(args)
        .build()
        // The chain behind this error holds the compiler's own words.
        .map_err(|error| format!("{error:#}"))?;
    Ok(object.to_path_buf())
}

/// The first clang that can compile for BPF: `$CLANG`, else the plain name, else the newest numbered one.
fn find_clang() -> Result<String, Box<dyn Error>> {
    if let Ok(clang) = env::var("CLANG") {
        return if targets_bpf(&clang) {
            Ok(clang)
        } else {
            Err(format!("CLANG={clang} does not run or cannot compile for BPF").into())
        };
    }
    std::iter::once("clang".to_owned())
        .chain(CLANG_VERSIONS.rev().map(|version| format!("clang-{version}")))
        .find(|clang| targets_bpf(clang))
        .ok_or_else(|| {
            "no clang that can compile for BPF: install the package clang (14 or newer), or name it in CLANG"
                .into()
        })
}

fn targets_bpf(clang: &str) -> bool {
    Command::new(clang).arg("--print-targets").stderr(Stdio::null()).output().is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("bpf")
    })
}

/// Where this machine keeps the kernel's user-space headers: with `-target bpf` clang no longer looks
/// into the folder of the machine's own architecture.
fn system_includes(clang: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let output = Command::new(clang).args(["-v", "-E", "-x", "c", "/dev/null"]).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    Ok(text
        .lines()
        .skip_while(|line| !line.starts_with("#include <...>"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(|line| line.trim().to_owned())
        .collect())
}
