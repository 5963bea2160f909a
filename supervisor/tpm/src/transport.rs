//! Bytes to the chip and back: a character device, or swtpm's socket.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The longest response, bytes: what the kernel's driver gives at most.
const RESPONSE_MAX: usize = 4096;
/// Tag, length of the whole, code.
pub(crate) const HEADER: usize = 10;
/// How long a software TPM may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A chip that says nothing for so long is gone. Making an RSA key takes a chip up to a minute.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Where the chip is, and the way to it.
pub(crate) enum Transport {
    /// `/dev/tpmrm0`: one write, one read. Keeps the rights of who opened it.
    Device(File),
    /// swtpm's data port. It serves one connection at a time, so each command has one of its own.
    Swtpm(String),
}

impl Transport {
    /// Opens what `tcti` names, in libtss2's notation.
    pub(crate) fn open(tcti: &str) -> Result<Self, String> {
        if let Some(path) = tcti.strip_prefix("device:") {
            let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| e.to_string())?;
            return Ok(Self::Device(file));
        }
        let address = tcti.strip_prefix("swtpm:").and_then(swtpm_address).ok_or_else(|| {
            "the configuration is neither device:PATH nor swtpm:host=ADDRESS,port=N".to_owned()
        })?;
        connect(&address)?;
        Ok(Self::Swtpm(address))
    }

    /// Sends one command and waits for its response.
    pub(crate) fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, String> {
        let response = match self {
            Self::Device(file) => {
                file.write_all(command).map_err(|e| format!("writing failed: {e}"))?;
                let mut response = vec![0; RESPONSE_MAX];
                let len = file.read(&mut response).map_err(|e| format!("reading failed: {e}"))?;
                response.truncate(len);
                response
            }
            Self::Swtpm(address) => {
                let mut stream = connect(address)?;
                stream.write_all(command).map_err(|e| format!("sending failed: {e}"))?;
                receive(&mut stream)?
            }
        };
        match response.get(2..6).and_then(|len| len.try_into().ok()).map(u32::from_be_bytes) {
            Some(len) if usize::try_from(len) == Ok(response.len()) && response.len() >= HEADER => {
                Ok(response)
            }
            _ => Err(format!("what answered is no TPM: {} bytes", response.len())),
        }
    }
}

fn swtpm_address(configuration: &str) -> Option<String> {
    let (mut host, mut port) = ("127.0.0.1", None);
    for part in configuration.split(',') {
        match part.split_once('=')? {
            ("host", value) => host = value,
            ("port", value) => port = value.parse::<u16>().ok(),
            _ => return None,
        }
    }
    Some(format!("{host}:{}", port?))
}

fn connect(address: &str) -> Result<TcpStream, String> {
    let mut reason = "the address has no meaning".to_owned();
    for address in address.to_socket_addrs().map_err(|e| e.to_string())? {
        match TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(stream) => {
                // Without them it would only be slower, or wait longer.
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(SILENCE_MAX));
                return Ok(stream);
            }
            Err(error) => reason = format!("connecting failed: {error}"),
        }
    }
    Err(reason)
}

fn receive(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("receiving failed: {e}");
    let mut response = vec![0; HEADER];
    stream.read_exact(&mut response).map_err(failed)?;
    let len = response.get(2..6).and_then(|len| len.try_into().ok()).map_or(0, u32::from_be_bytes);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if !(HEADER..=RESPONSE_MAX).contains(&len) {
        return Err(format!("a response of {len} bytes"));
    }
    response.resize(len, 0);
    stream.read_exact(response.get_mut(HEADER..).unwrap_or_default()).map_err(failed)?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(swtpm_address("host=::1,port=2321").as_deref(), Some("::1:2321"));
        assert_eq!(swtpm_address("port=2321").as_deref(), Some("127.0.0.1:2321"));
        for wrong in ["", "host=x", "port=70000", "port=1,path=/x"] {
            assert_eq!(swtpm_address(wrong), None, "{wrong}");
        }
    }
}
