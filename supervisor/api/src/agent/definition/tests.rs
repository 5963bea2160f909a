use proptest::prelude::*;
use types::agent::{Bytes, Capability, Cpu, Value};

use super::*;
use crate::agent::print::print;

/// A file that has every key.
const WHOLE: &str = "---
name: token-reader
description: Reads tokens
tools: Read, Bash(git log:*, git diff:*)
model: sonnet
color: blue
hooks:
  PreToolUse:
    - matcher: \"Bash\"
      count: 3
x-ours: [~, true, 0x10]
command: [/usr/bin/env, python3, \"\", read.py]
capabilities: [token.read, \"file.read:/srv/data\"]
limits:
  memory: 64MiB
  pids: 8
  cpu: 50%
  open_files: 64
  output_line: 4KiB
  output_second: 1MiB
retry: {limit: 1, delay: 500ms, delay_max: 10s}
timeout: 2min
network: loopback
---

# You read tokens

--- and tell of them.
";

fn mistakes(file: &str) -> Vec<String> {
    read(file.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_whole_file_is_understood() {
    let read = read(WHOLE.as_bytes()).unwrap();
    assert_eq!(read.name.as_str(), "token-reader");
    assert_eq!(read.tools.unwrap(), ["Read", "Bash(git log:*, git diff:*)"]);
    assert_eq!(read.model.unwrap(), "sonnet");
    let text = |text: &str| Value::Text(text.into());
    let hook =
        Value::Map(vec![("matcher".into(), text("Bash")), ("count".into(), Value::Number("3".into()))]);
    assert_eq!(
        read.foreign,
        [
            ("color".into(), text("blue")),
            ("hooks".into(), Value::Map(vec![("PreToolUse".into(), Value::List(vec![hook]))])),
            (
                "x-ours".into(),
                Value::List(vec![Value::Null, Value::Bool(true), Value::Number("0x10".into())])
            ),
        ]
    );
    assert_eq!(read.command, ["/usr/bin/env", "python3", "", "read.py"]);
    assert_eq!(read.capabilities[1].scope(), Some("/srv/data"));
    assert_eq!(read.limits.memory, Bytes(64 << 20));
    assert_eq!((read.limits.pids, read.limits.cpu, read.limits.open_files), (8, Cpu(50), 64));
    assert_eq!(read.retry, Retry { limit: 1, delay: Milliseconds(500), delay_max: Milliseconds(10_000) });
    assert_eq!((read.timeout, read.network), (Milliseconds(120_000), Network::Loopback));
    assert_eq!(read.body, "\n# You read tokens\n\n--- and tell of them.\n");
    assert_eq!(read.hash, Hash(Sha256::digest(WHOLE).into()));
}

#[test]
fn what_is_left_out_has_defaults() {
    let least = "---\r\nname: a\r\ndescription: b\r\ncommand: [/bin/true]\r\n---\r\n";
    let read = read(least.as_bytes()).unwrap();
    assert_eq!((read.limits, read.retry), (Limits::default(), Retry::default()));
    assert_eq!((read.timeout, read.network), (bounds::TIMEOUT, Network::None));
    assert_eq!((read.tools, read.model, read.foreign.len()), (None, None, 0));
    assert_eq!((read.body.as_str(), read.capabilities.len()), ("", 0));
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let file = "---
name: Token Reader
description:
comand: [/bin/true]
limits:
  memory: 64MB
  cpus: 2
  pids: 0
timeout: 30
retry:
  delay: 40s
  delay_max: 1s
capabilities:
  - token.read
  - file.read:
  - token.read
network: everything
---
";
    let expected = [
        "2:1: command: is missing; write “command: [/path/of/program, argument]”",
        "2:7: name: “Token Reader” holds 'T', which a name cannot; write a name of a–z, 0–9 and hyphens, such as “name: token-reader”",
        "3:12: description: has no value; say in a sentence what the agent is for",
        "4:1: comand: is unknown; write “command”, if that is meant",
        "6:11: limits.memory: “64MB” has the unknown unit “MB”: a whole number is followed by one of B, KiB, MiB, GiB, TiB; write a size such as 64MiB",
        "7:3: limits.cpus: is unknown; write “cpu”, if that is meant",
        "8:9: limits.pids: 0 is out of range; write 1 to 4096",
        "9:10: timeout: “30” has no unit: one of ms, s, min, h; write a time such as 30s",
        "11:3: retry: delay 40s is longer than delay_max 1s; make delay_max the longer one",
        "15:5: capabilities[1]: is a map, not a single value; leave no space behind the colon: file.read:/srv/data",
        "16:5: capabilities[2]: “token.read” stands here a second time; keep one of them",
        "17:10: network: “everything” is none of none, loopback, full; write none, loopback or full",
    ];
    let found = mistakes(file);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "\n{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn what_is_no_such_file_is_said_in_one_mistake() {
    for (file, expected) in [
        (b"".as_slice(), "1:1: the front matter does not begin here"),
        (b"# Title\n", "1:1: the front matter does not begin here"),
        (b"---\nname: a\n", "1:1: the front matter does not end"),
        (b"---\nname: \xff\n---\n", "2:7: bytes that are not UTF-8"),
        (b"---\nname: a\n---\n\nab\0", "5:3: a NUL byte"),
        (b"---\n- a\n---\n", "2:1: is a list, not a map"),
        (b"---\nname: [a\n---\n", "2:7: unclosed bracket"),
        (b"---\nname: a: b\n---\n", "2:8"),
        (b"---\nlimits:\n\tpids: 1\n---\n", "3:"),
    ] {
        let found = read(file).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().starts_with(expected), "{} {expected}", found[0]);
    }
    assert!(mistakes(&format!("---\n#{}", "x".repeat(FILE_MAX)))[0].contains("keep it within"));
    let many: String = (0..200).map(|n| format!("unknown{n}: 1\n")).collect();
    assert_eq!(mistakes(&format!("---\n{many}---\n")).len(), 64);
}

#[test]
fn commands_name_their_program_in_full() {
    let with = |command: &str| mistakes(&format!("---\nname: a\ndescription: b\ncommand: {command}\n---\n"));
    for (command, expected) in [
        ("python3", "4:10: command: is a single value, not a list"),
        ("[]", "4:10: command: is empty"),
        ("[python3]", "4:11: command[0]: “python3” is not an absolute path"),
        ("[/bin/a, [b]]", "4:19: command[1]: is a list, not a single value"),
        ("[/bin/a, \"b\\0c\"]", "4:19: command[1]: holds a NUL character"),
    ] {
        let found = with(command);
        assert!(found[0].starts_with(expected), "{found:?} {expected}");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Number(number.to_string())),
        "[+-]?[0-9]{1,4}\\.[0-9]{1,3}(e[+-]?[0-9]{1,2})?".prop_map(Value::Number),
        any::<String>().prop_map(Value::Text),
        "true|null|~||0x1f|- a|a: b|# c".prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map("\\PC{0,12}", inner, 0..4)
                .prop_map(|map| Value::Map(map.into_iter().collect())),
        ]
    })
}

fn texts() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{0,40}[a-zäλ\u{1F600}][\n\t]?"
}

fn definitions() -> impl Strategy<Value = Definition> {
    let name = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?".prop_map(|text| text.parse().unwrap());
    let tools = prop::option::of(prop::collection::vec("[A-Za-z(]{1,8}(, )?[a-z*:)]{1,4}", 0..4));
    let command = ("/[^\0]{0,20}", prop::collection::vec("[^\0]{0,20}", 0..4))
        .prop_map(|(first, rest)| std::iter::once(first).chain(rest).collect::<Vec<_>>());
    let capabilities = prop::collection::btree_set("[a-z]{1,4}\\.[a-z][a-z_]{0,3}(:[^\\p{Cc}]{1,20})?", 0..4)
        .prop_map(|set| set.iter().map(|text| text.parse::<Capability>().unwrap()).collect::<Vec<_>>());
    let limits = (1_u64 << 20..1 << 40, 1_u32..4097, 1_u32..100_001, 8_u32..65_537, 256_u64..1 << 20)
        .prop_map(|(memory, pids, cpu, open_files, line)| Limits {
            memory: Bytes(memory),
            pids,
            cpu: Cpu(cpu),
            open_files,
            output_line: Bytes(line),
            output_second: Bytes(line * 2),
        });
    let retry = (0_u32..101, 1_u64..3_600_001, 0_u64..3_600_000).prop_map(|(limit, delay, more)| Retry {
        limit,
        delay: Milliseconds(delay),
        delay_max: Milliseconds((delay + more).min(3_600_000)),
    });
    let foreign = prop::collection::btree_map("x-[a-z: #]{0,8}|color|hooks|mcpServers", values(), 0..4)
        .prop_map(|map| map.into_iter().collect::<Vec<_>>());
    let network = prop_oneof![Just(Network::None), Just(Network::Loopback), Just(Network::Full)];
    let ours = (command, capabilities, limits, retry, 1_u64..86_400_001, network, "[^\0]{0,80}");
    (name, texts(), tools, prop::option::of(texts()), foreign, ours).prop_map(
        |(name, description, tools, model, foreign, ours)| {
            let (command, capabilities, limits, retry, timeout, network, body) = ours;
            let timeout = Milliseconds(timeout);
            let hash = Hash::default();
            Definition {
                name,
                description,
                tools,
                model,
                foreign,
                command,
                capabilities,
                limits,
                retry,
                timeout,
                network,
                body,
                hash,
            }
        },
    )
}

/// A byte or few of a good file are replaced: nearly right is the hardest.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let at = 0..WHOLE.len();
    prop::collection::vec(
        (
            at,
            prop_oneof![
                Just(b"\n".to_vec()),
                "[-:{}#&*!|>'\"%@`, \t\\[\\]]{0,3}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..3)
            ],
        ),
        1..4,
    )
    .prop_map(|places| {
        let mut bytes = WHOLE.as_bytes().to_vec();
        for (at, new) in places {
            let at = at.min(bytes.len().saturating_sub(1));
            bytes.splice(at..=at, new);
        }
        bytes
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(definition in definitions()) {
        let printed = print(&definition);
        let expected = Definition { hash: Hash(Sha256::digest(&printed).into()), ..definition };
        prop_assert_eq!(read(printed.as_bytes()), Ok(expected), "{}", printed);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = read(&bytes);
        _ = read(&[b"---\n", bytes.as_slice(), b"\n---\n"].concat());
    }

    #[test]
    fn no_damage_makes_it_panic_and_each_mistake_has_a_place_in_the_file(bytes in damaged()) {
        if let Err(mistakes) = read(&bytes) {
            prop_assert!(!mistakes.is_empty());
            let lines = bytes.split(|byte| *byte == b'\n').count();
            for mistake in mistakes {
                let line = usize::try_from(mistake.place.line).unwrap();
                prop_assert!((1..=lines).contains(&line), "{mistake} of {lines} lines");
                prop_assert!(!mistake.advice.is_empty());
            }
        }
    }

    /// Any line of a good file whose key is spoilt is where the mistake is said to be.
    #[test]
    fn a_mistake_points_at_its_key(line in 1_usize..23, letter in "[A-Z]") {
        let mut lines: Vec<String> = WHOLE.lines().map(str::to_owned).collect();
        let text = lines[line].clone();
        let key = text.trim_start();
        let indent = text.len() - key.len();
        // Inside of what is foreign everything is allowed.
        prop_assume!(key.starts_with(|c: char| c.is_ascii_lowercase()) && key != "count: 3" && !key.starts_with("x-"));
        lines[line] = format!("{}{letter}{letter}{letter}{key}", " ".repeat(indent));
        let found = read((lines.join("\n") + "\n").as_bytes()).unwrap_err();
        let place = Place { line: u32::try_from(line + 1).unwrap(), column: u32::try_from(indent + 1).unwrap() };
        prop_assert!(found.iter().any(|mistake| mistake.place == place && mistake.what == "is unknown"), "{found:?}");
    }
}
