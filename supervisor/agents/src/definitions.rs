//! Writes the files of the ready agents: what [`crate::table`] says of each, with the least capabilities and limits that its role needs.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use api::agent::print::print;
use types::agent::{Bytes, Capability, Cpu, Definition, Limits, Milliseconds, Network, Retry};
use types::hash::Hash;

use crate::role::ROLES;
use crate::table::{AGENTS, FOLDER, Row};

/// Which folder the agents for files look at unless their owner says otherwise.
const FOLDER_DEFAULT: &str = "/srv";
/// Whatever the umask says: dsmild starts nothing that a group may write.
const MODE: u32 = 0o644;

/// Reads `DIR [--program PATH] [--folder PATH] [--replace]`, and writes the files.
///
/// # Errors
///
/// What is wrong, for people.
pub fn write(mut words: impl Iterator<Item = String>) -> Result<(), String> {
    let mut into = None;
    let (mut program, mut folder, mut replace) = (None, FOLDER_DEFAULT.to_owned(), false);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--program" => program = Some(value()?),
            "--folder" => folder = value()?,
            "--replace" => replace = true,
            _ if word.starts_with('-') || into.is_some() => return Err(format!("“{word}” is unknown")),
            _ => into = Some(PathBuf::from(&word)),
        }
    }
    let into = into.ok_or("say where: dsmil-agent definitions DIR")?;
    let program = match program {
        Some(program) => program,
        None => {
            let own = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
            own.into_os_string()
                .into_string()
                .map_err(|_| "this program's path is no UTF-8; give --program")?
        }
    };
    if !program.starts_with('/') || !folder.starts_with('/') {
        return Err("--program and --folder need absolute paths".to_owned());
    }
    for agent in &AGENTS {
        place(&into, agent.name, &print(&definition(agent, &program, &folder)?), replace)?;
    }
    println!("{} definitions are in {}", AGENTS.len(), into.display());
    Ok(())
}

/// Puts a file into place, whole or not at all. One that is there and says the same stays untouched.
fn place(into: &Path, name: &str, text: &str, replace: bool) -> Result<(), String> {
    let path = into.join(format!("{name}.md"));
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    match fs::read(&path) {
        Ok(found) if found == text.as_bytes() => return Ok(()),
        Ok(_) if !replace => {
            return Err(format!("{} says something else; --replace writes it anew", path.display()));
        }
        _ => {}
    }
    let new = into.join(format!(".{name}.new"));
    // What an interrupted call left behind.
    _ = fs::remove_file(&new);
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new).map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(MODE)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, &path))
        .map_err(failed)
}

/// What the file of an agent says.
fn definition(agent: &Row, program: &str, folder: &str) -> Result<Definition, String> {
    let place = |word: &&'static str| if *word == FOLDER { folder } else { *word }.to_owned();
    let arguments: Vec<String> = agent.arguments.iter().map(place).collect();
    let capabilities = capabilities(&arguments)?;
    let role = arguments.first().map_or("", String::as_str);
    let needs = needs(role);
    Ok(Definition {
        name: agent.name.parse().map_err(|bad| format!("{}: {bad}", agent.name))?,
        description: agent.sentence.to_owned(),
        tools: None,
        model: None,
        foreign: Vec::new(),
        capabilities,
        limits: needs.limits,
        retry: Retry { limit: 2, delay: Milliseconds(1_000), delay_max: Milliseconds(10_000) },
        timeout: Milliseconds(needs.timeout_s * 1_000),
        network: if role == "http" { Network::Loopback } else { Network::None },
        body: body(agent),
        command: std::iter::once(program.to_owned()).chain(arguments).collect(),
        // That of the file is worked out where it is read.
        hash: Hash([0; 32]),
    })
}

/// What an agent with these arguments asks to be allowed.
fn capabilities(arguments: &[String]) -> Result<Vec<Capability>, String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let asked: Vec<String> = match words.as_slice() {
        ["tokens", "snapshot" | "active", ..] => vec!["token.list".into(), "token.read".into()],
        ["tokens", "read" | "compare", ..] => vec!["token.read".into()],
        ["tokens", ..] => vec!["token.list".into()],
        ["files" | "thermal" | "system", _, "--root", root] => vec![format!("file.read:{root}")],
        ["log", ..] => vec!["log.read".into()],
        ["checkpoint", "create"] => vec!["checkpoint.create".into()],
        ["checkpoint", ..] => vec!["checkpoint.list".into()],
        ["daemon", "runs"] => vec!["run.read".into()],
        ["daemon", "note"] => vec!["note.write".into()],
        ["daemon", ..] => vec!["status.read".into()],
        ["shell", _, "--", program, ..] => vec![format!("process.execute:{program}")],
        ["http", _, hosts @ ..] => {
            hosts.iter().filter(|word| **word != "--host").map(|host| format!("http.get:{host}")).collect()
        }
        _ => Vec::new(),
    };
    asked.iter().map(|one| one.parse().map_err(|bad| format!("{one}: {bad}"))).collect()
}

/// What a role uses up at most.
struct Needs {
    limits: Limits,
    timeout_s: u64,
}

/// Each role with four tasks at once, each of them as large as it can be.
fn needs(role: &str) -> Needs {
    let (memory_mib, pids, timeout_s) = match role {
        "echo" => (16, 4, 5),
        "texts" => (96, 8, 30),
        "tokens" => (64, 8, 120),
        "log" => (96, 8, 300),
        "files" => (192, 8, 900),
        // A checkpoint of a whole disk.
        "checkpoint" => (48, 8, 3_600),
        "thermal" => (32, 8, 660),
        "http" => (32, 8, 330),
        // Its command, what that starts, and three threads for each.
        "shell" => (256, 64, 60),
        _ => (48, 8, 30),
    };
    let limits = Limits {
        memory: Bytes(memory_mib << 20),
        pids,
        cpu: Cpu(100),
        open_files: 64,
        output_line: Bytes(256 << 10),
        output_second: Bytes(1 << 20),
    };
    // The no-op is there to be fast.
    let limits = if role == "echo" {
        Limits { output_line: Bytes(1 << 20), output_second: Bytes(256 << 20), ..limits }
    } else {
        limits
    };
    Needs { limits, timeout_s }
}

/// For people: what it is given, what comes out, and an example.
fn body(agent: &Row) -> String {
    let act = agent.arguments.first().zip(agent.arguments.get(1)).and_then(|(role, act)| {
        let role = ROLES.into_iter().find(|one| one.name == *role)?;
        role.acts.iter().find(|one| one.name == *act)
    });
    let said = match act {
        None => "Input: any.\n\nOutput: the input.\n".to_owned(),
        Some(act) => {
            let fields: Vec<String> =
                act.input.iter().map(|(name, what)| format!("- `{name}`: {what}\n")).collect();
            let input =
                if fields.is_empty() { " nothing.\n".to_owned() } else { format!("\n\n{}", fields.concat()) };
            format!("Input:{input}\nOutput: {}.\n", act.output)
        }
    };
    format!("\n{}\n\n{said}\nFor example:\n\n```json\n{}\n```\n", agent.sentence, agent.example)
}
