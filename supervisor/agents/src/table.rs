//! The ready agents: one row each.

/// An agent.
pub struct Row {
    /// What it is called.
    pub name: &'static str,
    /// Its role and act, then its options. `FOLDER` stands for the folder that its owner chooses.
    pub arguments: &'static [&'static str],
    /// What it is for.
    pub sentence: &'static str,
    /// An input, as JSON.
    pub example: &'static str,
}

/// Where [`Row::arguments`] leaves the choice of a folder.
pub const FOLDER: &str = "FOLDER";

const fn row(
    name: &'static str,
    arguments: &'static [&'static str],
    sentence: &'static str,
    example: &'static str,
) -> Row {
    Row { name, arguments, sentence, example }
}

const HELLO: &str =
    r#"{"expected": {"hello.txt": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}}"#;

/// All of them, by role.
pub const AGENTS: [Row; 80] = [
    row("echo", &["echo"], "Answers with what it is given.", r#"{"any": ["value", 1]}"#),
    row("token-reader", &["tokens", "read"], "Reads tokens.", r#"{"tokens": ["0x8000", "0x8003"]}"#),
    row(
        "token-reader-ac",
        &["tokens", "read", "--select", "ac"],
        "Reads the values that tokens have on AC power.",
        r#"{"tokens": ["0x8000"]}"#,
    ),
    row(
        "token-reader-battery",
        &["tokens", "read", "--select", "battery"],
        "Reads the values that tokens have on battery.",
        r#"{"tokens": ["0x8000"]}"#,
    ),
    row(
        "token-guard",
        &["tokens", "compare"],
        "Compares tokens with the values that they should have.",
        r#"{"expected": {"0x8000": 1, "0x8003": 0}}"#,
    ),
    row(
        "token-snapshot",
        &["tokens", "snapshot"],
        "Reads all tokens, in the form that token-guard takes.",
        "{}",
    ),
    row("token-list", &["tokens", "list"], "Lists the firmware's tokens.", "{}"),
    row(
        "device-list",
        &["tokens", "devices"],
        "Lists the DSMIL devices among the tokens.",
        r#"{"group": 0}"#,
    ),
    row("writable-tokens", &["tokens", "writable"], "Lists the tokens that may be written.", "{}"),
    row(
        "denied-tokens",
        &["tokens", "denied"],
        "Lists the tokens that are never written, with the reasons.",
        "{}",
    ),
    row("shared-tokens", &["tokens", "shared"], "Finds locations that several tokens share.", "{}"),
    row(
        "token-summary",
        &["tokens", "summary"],
        "Counts tokens by group and by what may be done to them.",
        "{}",
    ),
    row("active-tokens", &["tokens", "active"], "Finds the tokens that are active now.", r#"{"group": 0}"#),
    row("file-list", &["files", "list", "--root", FOLDER], "Lists a folder.", "{}"),
    row("file-count", &["files", "count", "--root", FOLDER], "Counts files, folders and their bytes.", "{}"),
    row(
        "largest-files",
        &["files", "largest", "--root", FOLDER],
        "Finds the largest files.",
        r#"{"limit": 3}"#,
    ),
    row(
        "newest-files",
        &["files", "newest", "--root", FOLDER],
        "Finds the files changed last.",
        r#"{"limit": 3}"#,
    ),
    row(
        "changed-files",
        &["files", "changed", "--root", FOLDER],
        "Finds the files changed since a moment.",
        r#"{"within_s": 3600}"#,
    ),
    row(
        "empty-files",
        &["files", "empty", "--root", FOLDER],
        "Finds files and folders with nothing in them.",
        "{}",
    ),
    row(
        "file-types",
        &["files", "types", "--root", FOLDER],
        "Counts files and bytes by the ending of the name.",
        "{}",
    ),
    row(
        "open-files",
        &["files", "permissions", "--root", FOLDER],
        "Finds files that anybody may write.",
        "{}",
    ),
    row(
        "file-reader",
        &["files", "read", "--root", FOLDER],
        "Reads a text file.",
        r#"{"path": "hello.txt"}"#,
    ),
    row("file-hash", &["files", "hash", "--root", FOLDER], "Hashes files.", "{}"),
    row(
        "file-guard",
        &["files", "verify", "--root", FOLDER],
        "Compares files with the hashes they should have.",
        HELLO,
    ),
    row(
        "file-search",
        &["files", "search", "--root", FOLDER],
        "Searches files for a text.",
        r#"{"text": "hello"}"#,
    ),
    row(
        "duplicate-files",
        &["files", "duplicates", "--root", FOLDER],
        "Finds files with the same content.",
        "{}",
    ),
    row(
        "settings-hash",
        &["files", "hash", "--root", "/etc"],
        "Hashes the machine's settings.",
        r#"{"limit": 10}"#,
    ),
    row(
        "settings-guard",
        &["files", "verify", "--root", "/etc"],
        "Compares the machine's settings with the hashes that they should have.",
        HELLO,
    ),
    row(
        "settings-changed",
        &["files", "changed", "--root", "/etc"],
        "Finds settings of the machine that were changed.",
        r#"{"within_s": 86400}"#,
    ),
    row(
        "settings-search",
        &["files", "search", "--root", "/etc"],
        "Searches the machine's settings for a text.",
        r#"{"text": "hello", "any_case": true, "limit": 10}"#,
    ),
    row(
        "raised-programs",
        &["files", "permissions", "--root", "/usr/bin"],
        "Finds programs that run with the rights of their owner, and those that anybody may write.",
        "{}",
    ),
    row(
        "log-file-search",
        &["files", "search", "--root", "/var/log"],
        "Searches the system's log files for a text.",
        r#"{"text": "hello", "limit": 10}"#,
    ),
    row(
        "text-count",
        &["texts", "count"],
        "Counts lines, words and characters.",
        r#"{"text": "one two\nthree"}"#,
    ),
    row(
        "word-frequency",
        &["texts", "words"],
        "Finds the most frequent words.",
        r#"{"text": "to be or not to be"}"#,
    ),
    row(
        "line-finder",
        &["texts", "find"],
        "Finds the lines in which a text occurs.",
        r#"{"text": "a\nb a\nc", "sought": "a"}"#,
    ),
    row("json-check", &["texts", "json"], "Checks whether a text is JSON.", r#"{"text": "{\"a\": [1, 2]}"}"#),
    row(
        "json-picker",
        &["texts", "pick"],
        "Takes a value out of JSON.",
        r#"{"text": "{\"a\": [1, 2]}", "pointer": "/a/1"}"#,
    ),
    row(
        "csv-check",
        &["texts", "csv"],
        "Checks a table of comma-separated values and sums up its columns.",
        r#"{"text": "name,count\na,1\nb,3\n"}"#,
    ),
    row(
        "text-diff",
        &["texts", "diff"],
        "Compares two texts line by line.",
        r#"{"before": "a\nb\nc", "after": "a\nc\nd"}"#,
    ),
    row(
        "text-template",
        &["texts", "template"],
        "Fills values into a text.",
        r#"{"text": "{{name}} has {{count}}.", "values": {"name": "A", "count": 3}}"#,
    ),
    row("text-hash", &["texts", "hash"], "Hashes a text.", r#"{"text": "hello\n"}"#),
    row("log-denials", &["log", "denials"], "Finds what was denied, and to whom.", "{}"),
    row("log-failures", &["log", "failures"], "Finds works and runs that failed.", "{}"),
    row(
        "log-slowest",
        &["log", "slowest"],
        "Finds the works that took longest.",
        r#"{"last": 5000, "limit": 5}"#,
    ),
    row("log-users", &["log", "users"], "Counts by user what was asked.", "{}"),
    row("log-kinds", &["log", "kinds"], "Counts facts by kind.", "{}"),
    row("log-heat", &["log", "heat"], "Finds when thermal zones changed their level.", "{}"),
    row("log-search", &["log", "search"], "Searches the facts for a text.", r#"{"text": "token"}"#),
    row(
        "thermal-zones",
        &["thermal", "zones", "--root", "/sys/class/thermal"],
        "Reads all thermal zones with their trip points.",
        "{}",
    ),
    row(
        "thermal-max",
        &["thermal", "max", "--root", "/sys/class/thermal"],
        "Finds the hottest thermal zone.",
        "{}",
    ),
    row(
        "thermal-average",
        &["thermal", "average", "--root", "/sys/class/thermal"],
        "Measures thermal zones over a time.",
        r#"{"seconds": 1, "every_ms": 100}"#,
    ),
    row(
        "thermal-watch",
        &["thermal", "above", "--root", "/sys/class/thermal"],
        "Finds thermal zones above a threshold.",
        r#"{"celsius": 60}"#,
    ),
    row("memory-report", &["system", "memory", "--root", "/proc"], "Tells how much memory is free.", "{}"),
    row("load-report", &["system", "load", "--root", "/proc"], "Tells the machine's load.", "{}"),
    row(
        "pressure-report",
        &["system", "pressure", "--root", "/proc"],
        "Tells what the machine waits for.",
        "{}",
    ),
    row("disk-report", &["system", "disks", "--root", "/proc"], "Tells how full the disks are.", "{}"),
    row(
        "uptime-report",
        &["system", "uptime", "--root", "/proc"],
        "Tells how long the machine has been up.",
        "{}",
    ),
    row(
        "module-list",
        &["system", "modules", "--root", "/proc"],
        "Lists the kernel's modules.",
        r#"{"limit": 20}"#,
    ),
    row(
        "listening-sockets",
        &["system", "sockets", "--root", "/proc"],
        "Lists sockets that wait for others.",
        "{}",
    ),
    row(
        "largest-processes",
        &["system", "processes", "--root", "/proc"],
        "Finds the processes that hold most memory.",
        r#"{"limit": 5}"#,
    ),
    row(
        "interface-report",
        &["system", "interfaces", "--root", "/proc"],
        "Tells what went over the network.",
        "{}",
    ),
    row("checkpointer", &["checkpoint", "create"], "Takes a checkpoint.", r#"{"name": "before-update"}"#),
    row("checkpoint-list", &["checkpoint", "list"], "Lists the checkpoints.", r#"{"limit": 10}"#),
    row("newest-checkpoint", &["checkpoint", "newest"], "Finds the newest checkpoint.", "{}"),
    row("daemon-status", &["daemon", "status"], "Tells how the supervisor stands.", "{}"),
    row(
        "log-guard",
        &["daemon", "signed"],
        "Checks that the log is signed up to its end.",
        r#"{"lag": 100}"#,
    ),
    row(
        "latency-report",
        &["daemon", "latency"],
        "Finds the CPU with the longest waits.",
        r#"{"p99_us": 20000}"#,
    ),
    row("run-list", &["daemon", "runs"], "Lists runs of workflows.", r#"{"state": "failed"}"#),
    row("note-writer", &["daemon", "note"], "Writes a note into the log.", r#"{"text": "all is well"}"#),
    row("sort-lines", &["shell", "run", "--", "/usr/bin/sort"], "Sorts lines.", r#"{"text": "b\na\nb\n"}"#),
    row(
        "unique-lines",
        &["shell", "run", "--", "/usr/bin/sort", "-u"],
        "Sorts lines, each once.",
        r#"{"text": "b\na\nb\n"}"#,
    ),
    row(
        "base64-encode",
        &["shell", "run", "--", "/usr/bin/base64", "-w", "0"],
        "Encodes a text in base64.",
        r#"{"text": "hello\n"}"#,
    ),
    row(
        "base64-decode",
        &["shell", "run", "--", "/usr/bin/base64", "-d"],
        "Decodes a text from base64.",
        r#"{"text": "aGVsbG8K"}"#,
    ),
    row("kernel-name", &["shell", "status", "--", "/usr/bin/uname", "-s"], "Tells which kernel runs.", "{}"),
    row(
        "page-fetcher",
        &["http", "get", "--host", "127.0.0.1", "--host", "localhost"],
        "Fetches a page from this machine's own web servers.",
        r#"{"url": "http://127.0.0.1:8080/"}"#,
    ),
    row(
        "page-check",
        &["http", "check", "--host", "127.0.0.1", "--host", "localhost"],
        "Checks whether a web server of this machine answers.",
        r#"{"url": "http://127.0.0.1:8080/"}"#,
    ),
    row(
        "longest-judge",
        &["judge", "longest"],
        "Chooses the longest of several outputs.",
        r#"["a", "bcd", null]"#,
    ),
    row(
        "majority-judge",
        &["judge", "frequent"],
        "Chooses the most frequent of several outputs.",
        "[1, 2, 2]",
    ),
    row(
        "largest-judge",
        &["judge", "largest"],
        "Chooses the largest of several numbers.",
        r#"[3, {"value": 7}, 5]"#,
    ),
    row(
        "first-judge",
        &["judge", "first"],
        "Chooses the first of several outputs that is not empty.",
        r#"[null, "", "x"]"#,
    ),
];
