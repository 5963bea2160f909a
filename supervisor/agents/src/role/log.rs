//! The log's facts, read by calls page by page: what was denied, what failed, what took long, who asked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use api::agent::protocol::Code;
use api::agent::protocol::word::Known;
use serde_json::{Value, json};

use super::{Act, Role, nothing};
use crate::fault::Fault;
use crate::input::{Field, Input};
use crate::options::Options;
use crate::task::Task;

/// Facts asked for at once.
const PAGE: u64 = 500;
/// Most facts of one task.
const LAST_MAX: u64 = 100_000;
/// Works that may be open at once while durations are worked out; more than the supervisor allows.
const OPEN_MAX: usize = 4_096;

const LAST: Field = ("last", "how many facts back, at most 100000; 1000 unless given");
const LIMIT: Field = ("limit", "how many are told, the newest, at most 1000; 20 unless given");

/// The log.
pub const ROLE: Role = Role {
    name: "log",
    options: "",
    acts: &[
        Act {
            name: "denials",
            input: &[LAST, LIMIT],
            output: "`denials`: `index`, `time`, `uid`, `text`; `count`; `by_user`",
            run: denials,
        },
        Act {
            name: "failures",
            input: &[LAST, LIMIT],
            output: "`failures`: `index`, `time`, `work`, `text`; `count`; works and runs that failed or were undone",
            run: failures,
        },
        Act {
            name: "slowest",
            input: &[LAST, LIMIT],
            output: "`slowest`: `work`, `took_ms`, `text`; `count` of works that began and ended; `open`",
            run: slowest,
        },
        Act {
            name: "users",
            input: &[LAST],
            output: "`users`: of each uid `accepted`, `denied`, `noted`, `other`",
            run: users,
        },
        Act {
            name: "kinds",
            input: &[LAST],
            output: "`kinds`: of each kind of fact how many; `count`",
            run: kinds,
        },
        Act {
            name: "heat",
            input: &[LAST, LIMIT],
            output: "`changes`: `index`, `time`, `text`; `count`",
            run: heat,
        },
        Act {
            name: "search",
            input: &[LAST, LIMIT, ("text", "what is looked for"), ("kind", "only facts of this kind")],
            output: "`facts`: `index`, `time`, `fact`, `text`; `count`",
            run: search,
        },
    ],
    check: nothing,
};

/// One answer to `log.read`; what does not fit into a line is asked for in smaller parts.
fn page(task: &Task, from: u64, limit: &mut u64) -> Result<Value, Fault> {
    loop {
        match task.call("log.read", &json!({"from": from, "limit": *limit})) {
            Err(fault) if fault.code == Code::from(Known::Failed) && *limit > 1 => *limit /= 2,
            other => return other,
        }
    }
}

/// Sees the last facts in their order, without those that are recorded meanwhile.
fn scan(task: &Task, input: &Input, mut see: impl FnMut(&Value)) -> Result<(), Fault> {
    let last = input.number_or("last", 1_000, LAST_MAX)?;
    let size = task.call("log.read", &json!({"limit": 1}))?.get("size").and_then(Value::as_u64);
    let size = size.ok_or_else(|| Fault::failed("the answer does not say how long the log is"))?;
    let begin = size.saturating_sub(last);
    let mut next = begin;
    let mut limit = PAGE;
    while next < size {
        task.at(next - begin, Some(size - begin), || format!("reads fact {next}"))?;
        let wanted = &mut limit.min(size - next);
        let answer = page(task, next, wanted)?;
        limit = limit.min((*wanted).max(1));
        let records = answer.get("records").and_then(Value::as_array);
        let records = records.ok_or_else(|| Fault::failed("the supervisor's answer has no list"))?;
        let indexed = records.iter().filter_map(|record| Some((record.get("index")?.as_u64()?, record)));
        let mut after = next;
        for (index, record) in indexed.filter(|(index, _)| (next..size).contains(index)) {
            see(record);
            after = index + 1;
        }
        if after == next {
            return Err(Fault::failed(format!("the log does not tell fact {next}")));
        }
        next = after;
    }
    Ok(())
}

fn text<'r>(record: &'r Value, field: &str) -> &'r str {
    record.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn uid(record: &Value) -> Option<u64> {
    record.get("asker")?.get("uid")?.as_u64()
}

/// The newest facts that are told, and how many there are.
struct Newest {
    limit: usize,
    told: std::collections::VecDeque<Value>,
    count: u64,
}

impl Newest {
    fn new(input: &Input) -> Result<Self, Fault> {
        let limit = input.count_or("limit", 20, 1_000)?;
        Ok(Self { limit, told: std::collections::VecDeque::new(), count: 0 })
    }

    fn add(&mut self, told: Value) {
        self.count += 1;
        self.told.push_back(told);
        if self.told.len() > self.limit {
            self.told.pop_front();
        }
    }
}

fn denials(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let mut newest = Newest::new(input)?;
    let mut by_user: BTreeMap<u64, u64> = BTreeMap::new();
    scan(task, input, |record| {
        if text(record, "fact") == "denied" {
            let uid = uid(record);
            if let Some(uid) = uid {
                *by_user.entry(uid).or_default() += 1;
            }
            newest.add(json!({
                "index": record.get("index"), "time": text(record, "time"), "uid": uid, "text": text(record, "text"),
            }));
        }
    })?;
    Ok(json!({"denials": newest.told, "count": newest.count, "by_user": by_user}))
}

/// A work's or a run's end that is none that was wanted.
fn is_failure(record: &Value) -> bool {
    let said = text(record, "text");
    match text(record, "fact") {
        "finished" => ["failed:", "undone:", "interrupted"].iter().any(|word| said.starts_with(word)),
        "run" => said.contains(" failed"),
        _ => false,
    }
}

fn failures(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let mut newest = Newest::new(input)?;
    scan(task, input, |record| {
        if is_failure(record) {
            newest.add(json!({
                "index": record.get("index"), "time": text(record, "time"), "work": record.get("work"),
                "text": text(record, "text"),
            }));
        }
    })?;
    Ok(json!({"failures": newest.told, "count": newest.count}))
}

/// Milliseconds since 1970 of a time as the log writes it: `2026-11-22T08:00:00.000Z`.
fn milliseconds(time: &str) -> Option<i64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut clock = clock.split([':', '.']).map(str::parse::<i64>);
    let (hour, minute) = (clock.next()?.ok()?, clock.next()?.ok()?);
    let (second, milli) = (clock.next()?.ok()?, clock.next()?.ok()?);
    // Days in years that begin with March, so that a leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leap + of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + milli)
}

fn slowest(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let limit = input.count_or("limit", 20, 1_000)?;
    let mut open: HashMap<u64, (i64, String)> = HashMap::new();
    let mut ended: Vec<(i64, u64, String)> = Vec::new();
    let mut count = 0_u64;
    scan(task, input, |record| {
        let Some(work) = record.get("work").and_then(Value::as_u64) else { return };
        let Some(at) = milliseconds(text(record, "time")) else { return };
        match text(record, "fact") {
            "accepted" if open.len() < OPEN_MAX => {
                open.insert(work, (at, text(record, "text").to_owned()));
            }
            "finished" => {
                let Some((began, what)) = open.remove(&work) else { return };
                count += 1;
                // The wall clock may have been set back meanwhile.
                ended.push(((at - began).max(0), work, what));
                if ended.len() > limit.saturating_mul(2) + 64 {
                    ended.sort_by_key(|(took, _, _)| Reverse(*took));
                    ended.truncate(limit);
                }
            }
            _ => {}
        }
    })?;
    ended.sort_by_key(|(took, _, _)| Reverse(*took));
    let told: Vec<Value> = ended
        .iter()
        .take(limit)
        .map(|(took, work, what)| json!({"work": work, "took_ms": took, "text": what}))
        .collect();
    Ok(json!({"slowest": told, "count": count, "open": open.len()}))
}

fn users(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let mut users: BTreeMap<u64, BTreeMap<&str, u64>> = BTreeMap::new();
    scan(task, input, |record| {
        let Some(uid) = uid(record) else { return };
        let kind = ["accepted", "denied", "noted"].into_iter().find(|kind| *kind == text(record, "fact"));
        *users.entry(uid).or_default().entry(kind.unwrap_or("other")).or_default() += 1;
    })?;
    Ok(json!({"users": users}))
}

fn kinds(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    scan(task, input, |record| *kinds.entry(text(record, "fact").to_owned()).or_default() += 1)?;
    Ok(json!({"count": kinds.values().sum::<u64>(), "kinds": kinds}))
}

fn heat(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let mut newest = Newest::new(input)?;
    scan(task, input, |record| {
        if text(record, "fact") == "heat" {
            newest.add(json!({
                "index": record.get("index"), "time": text(record, "time"), "text": text(record, "text"),
            }));
        }
    })?;
    Ok(json!({"changes": newest.told, "count": newest.count}))
}

fn search(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let mut newest = Newest::new(input)?;
    let sought = input.text("text")?;
    let kind = input.text_or("kind", "")?;
    scan(task, input, |record| {
        let said = text(record, "text");
        if said.contains(sought) && (kind.is_empty() || text(record, "fact") == kind) {
            newest.add(json!({
                "index": record.get("index"), "time": text(record, "time"), "fact": text(record, "fact"), "text": said,
            }));
        }
    })?;
    Ok(json!({"facts": newest.told, "count": newest.count}))
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn times_are_those_that_the_log_writes() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-28T23:59:59.000Z", 951_782_399),
            ("2000-02-29T00:00:00.000Z", 951_782_400),
            ("2026-11-21T08:00:00.000Z", 1_795_248_000),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400),
        ] {
            assert_eq!(milliseconds(text), Some(seconds * 1_000), "{text}");
        }
        assert_eq!(milliseconds("2026-11-21T08:00:00.007Z"), Some(1_795_248_000_007));
        assert_eq!(milliseconds("yesterday"), None);
    }
}
