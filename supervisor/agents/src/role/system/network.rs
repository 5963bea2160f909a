//! Sockets that listen, and what goes over the interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::{file, strange};
use crate::fault::Fault;
use crate::input::Input;
use crate::options::Options;
use crate::task::Task;

/// The state of a TCP socket that listens, and of a UDP socket that is bound (include/net/tcp_states.h).
const LISTEN: &str = "0A";
const CLOSE: &str = "07";

/// An address as `/proc/net` writes it: 32-bit words in the machine's order.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(host.get(at * 8..at * 8 + 8)?, 16).ok();
    let host = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some((host, port))
}

/// A line's socket, where it waits for others.
fn socket(protocol: &str, line: &str) -> Option<Value> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, remote, state, uid) = (words.get(1)?, words.get(2)?, words.get(3)?, words.get(7)?);
    let waits = match protocol.starts_with("tcp") {
        true => *state == LISTEN,
        false => *state == CLOSE && remote.ends_with(":0000"),
    };
    let (host, port) = address(local).filter(|_| waits)?;
    Some(json!({
        "protocol": protocol, "address": host.to_string(), "port": port, "uid": uid.parse::<u32>().ok(),
    }))
}

pub fn sockets(_: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let limit = input.count_or("limit", 100, 1_000)?;
    let mut told = Vec::new();
    let mut count = 0_u64;
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        // A kernel without IPv6 has no such file.
        let Ok(text) = file(options, &format!("net/{protocol}")) else { continue };
        for socket in text.lines().skip(1).filter_map(|line| socket(protocol, line)) {
            count += 1;
            if told.len() < limit {
                told.push(socket);
            }
        }
    }
    Ok(json!({"listening": told, "count": count}))
}

pub fn interfaces(_: &Task, _: &Input, options: &Options) -> Result<Value, Fault> {
    let text = file(options, "net/dev")?;
    let mut told = Vec::new();
    for line in text.lines().skip(2) {
        let (name, counts) = line.split_once(':').ok_or_else(|| strange("net/dev"))?;
        let counts: Vec<u64> = counts.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let at = |index: usize| counts.get(index).copied().ok_or_else(|| strange("net/dev"));
        told.push(json!({
            "name": name.trim(), "received": at(0)?, "sent": at(8)?, "errors": at(2)?.saturating_add(at(10)?),
            "dropped": at(3)?.saturating_add(at(11)?),
        }));
    }
    Ok(json!({"interfaces": told}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        // As seen on a little-endian machine.
        if cfg!(target_endian = "little") {
            let (host, port) = address("0100007F:1F90").unwrap();
            assert_eq!((host.to_string().as_str(), port), ("127.0.0.1", 8080));
            let (host, port) = address("00000000000000000000000001000000:0016").unwrap();
            assert_eq!((host.to_string().as_str(), port), ("::1", 22));
        }
        assert!(address("xyz").is_none() && address("01:02").is_none());
    }

    #[test]
    fn only_what_waits_is_told() {
        let line = "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 1 1";
        assert_eq!(socket("tcp", line).unwrap()["uid"], 1000);
        assert!(socket("tcp", &line.replace(" 0A ", " 01 ")).is_none());
        assert!(socket("udp", line).is_none());
        assert!(socket("udp", &line.replace(" 0A ", " 07 ")).is_some());
    }
}
