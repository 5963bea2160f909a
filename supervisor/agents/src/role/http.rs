//! Fetches a page over plain HTTP/1.1 from the hosts that its file lists. It follows no redirection, and knows no TLS: `https` is refused.
//!
//! - [`answer`]: takes a server's answer apart

mod answer;

use std::io::{ErrorKind, Read, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Act, Role};
use crate::fault::Fault;
use crate::input::{Field, Input};
use crate::options::Options;
use crate::task::Task;

/// Most bytes of a body.
const BODY_MAX: u64 = 32 << 10;
/// How long one read or one attempt to connect may take before it is looked whether the task is still wanted.
const LOOK: Duration = Duration::from_millis(200);
/// How long all of it may take unless given, seconds.
const SECONDS: u64 = 20;
/// What an address is at most, bytes.
const ADDRESS_MAX: usize = 2_048;

const URL: Field = ("url", "`http://HOST[:PORT]/PATH` of a host that is listed");
const TIMEOUT: Field = ("seconds", "how long it may take, at most 300; 20 unless given");
const BYTES: Field = ("bytes", "how long the body may be, at most 32768; the same unless given");

/// Pages.
pub const ROLE: Role = Role {
    name: "http",
    options: "`--host HOST[:PORT]` …",
    acts: &[
        Act {
            name: "get",
            input: &[URL, TIMEOUT, BYTES],
            output: "`status`, `headers` by name in lower case, `text` of the body, `took_ms`; any status is a result",
            run: get,
        },
        Act {
            name: "check",
            input: &[URL, TIMEOUT, ("status", "what is expected; 200 unless given")],
            output: "`is_up`, `status`, `took_ms`, or `why`; a server that does not answer is a result too",
            run: check,
        },
    ],
    check: |options| match (Options { hosts: Vec::new(), ..options.clone() }) == Options::default() {
        true if !options.hosts.is_empty() => Ok(()),
        true => Err("say whom it may ask: --host HOST".to_owned()),
        false => Err("this role takes --host alone".to_owned()),
    },
};

/// An address, taken apart.
#[derive(PartialEq, Eq, Debug)]
struct Url<'u> {
    host: &'u str,
    port: u16,
    path: String,
}

fn url(text: &str) -> Result<Url<'_>, Fault> {
    let wrong = |why: &str| Fault::input(format!("“url” {why}"));
    if text.len() > ADDRESS_MAX {
        return Err(wrong("is longer than 2048 bytes"));
    }
    // Whatever could end a line of the request, or hide a host, is refused.
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        return Err(wrong("has a character that must be written as %XX"));
    }
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => {
            return Err(wrong("is https, which this agent does not speak: it knows plain http alone"));
        }
        _ => return Err(wrong("does not begin with http://")),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains(['@', '[', ']']) {
        return Err(wrong("may not hold a user, nor an address in brackets"));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong("has a port that is none"))?),
        None => (authority, 80),
    };
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
        return Err(wrong("names no host"));
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Url { host, port, path })
}

/// Whether the agent's file lists the host: a name alone means each of its ports.
fn is_listed(hosts: &[String], url: &Url<'_>) -> bool {
    let host = url.host.to_ascii_lowercase();
    hosts.iter().any(|listed| *listed == host || *listed == format!("{host}:{}", url.port))
}

/// One request: how long it may take, and who wants it.
struct Fetch<'t> {
    task: &'t Task,
    stream: TcpStream,
    until: Instant,
    total: u64,
}

fn late() -> Fault {
    Fault::unavailable("the server took too long")
}

impl Read for Fetch<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if self.task.at(self.total, None, || "waits for the server".to_owned()).is_err() {
                return Err(std::io::Error::other("cancelled"));
            }
            if Instant::now() >= self.until {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.stream.read(buffer) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Ok(count) => {
                    self.total = self.total.saturating_add(u64::try_from(count).unwrap_or(0));
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn connect(task: &Task, url: &Url<'_>, until: Instant) -> Result<TcpStream, Fault> {
    let gone = |error: &dyn std::fmt::Display| Fault::unavailable(format!("{}: {error}", url.host));
    let mut last = gone(&"the name has no address");
    for address in (url.host, url.port).to_socket_addrs().map_err(|error| gone(&error))?.take(8) {
        task.at(0, None, || format!("connects to {address}"))?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        match TcpStream::connect_timeout(&address, left.min(Duration::from_secs(5))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = gone(&error),
        }
    }
    Err(last)
}

fn fetch(task: &Task, input: &Input, options: &Options) -> Result<(answer::Answer, u64), Fault> {
    let url = url(input.text("url")?)?;
    if !is_listed(&options.hosts, &url) {
        let listed = options.hosts.join(", ");
        return Err(Fault::denied(format!("this agent may not ask {}: it may ask {listed}", url.host)));
    }
    let seconds = input.number_or("seconds", SECONDS, 300)?;
    let body_max = input.count_or("bytes", BODY_MAX, BODY_MAX)?;
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let mut stream = connect(task, &url, until)?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: dsmil-agent\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n",
        url.path, url.host, url.port
    );
    stream
        .set_read_timeout(Some(LOOK))
        .and_then(|()| stream.set_write_timeout(Some(Duration::from_secs(5))))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .map_err(|error| Fault::unavailable(format!("{}: {error}", url.host)))?;
    let fetch = Fetch { task, stream, until, total: 0 };
    let answer = answer::read(fetch, body_max).map_err(|why| match why {
        answer::Wrong::Io(error) if error.kind() == ErrorKind::TimedOut => late(),
        answer::Wrong::Io(error) => {
            task.at(0, None, String::new).err().unwrap_or_else(|| Fault::unavailable(error.to_string()))
        }
        answer::Wrong::Answer(why) => Fault::failed(format!("the server's answer {why}")),
    })?;
    Ok((answer, u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

fn get(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let (answer, took_ms) = fetch(task, input, options)?;
    let text = String::from_utf8(answer.body).map_err(|_| Fault::failed("the server's answer is no text"))?;
    Ok(json!({"status": answer.status, "headers": answer.headers, "text": text, "took_ms": took_ms}))
}

fn check(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let expected = input.number_or("status", 200, 999)?;
    match fetch(task, input, options) {
        Ok((answer, took_ms)) => {
            let is_up = u64::from(answer.status) == expected;
            Ok(json!({"is_up": is_up, "status": answer.status, "took_ms": took_ms}))
        }
        // What makes no sense, is not allowed or not wanted any more is no statement about a server.
        Err(fault) if ["input", "denied", "cancelled"].contains(&fault.code.as_str()) => Err(fault),
        Err(fault) => Ok(json!({"is_up": false, "why": fault.message})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_one_host() {
        let good = url("http://a.example:81?q=1#x").unwrap();
        assert_eq!(good, Url { host: "a.example", port: 81, path: "/?q=1".to_owned() });
        assert!(
            is_listed(&["a.example".to_owned()], &good) && is_listed(&["a.example:81".to_owned()], &good)
        );
        assert!(!is_listed(&["a.example:80".to_owned(), "example".to_owned()], &good));
        for bad in [
            "https://a.example/",
            "ftp://a.example/",
            "http:///x",
            "http://listed@other/",
            "http://a.example/\r\nHost: b",
            "http://a.example/ b",
            "http://a.example:99999/",
            "http://a.example\\@b/",
            "http://[::1]/",
        ] {
            assert_eq!(url(bad).unwrap_err().code.as_str(), "input", "{bad}");
        }
    }
}
