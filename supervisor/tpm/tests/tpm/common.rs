//! A real software TPM of its own for each test: a process, a folder, two ports; and a wire to tap.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tpm::{Config, Handle};

/// Ports below the kernel's ephemeral ones, three for each software TPM.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORTS_EACH: u16 = 3;
/// How long a software TPM may take to listen; it takes milliseconds, so only a failure gets there.
const START_MAX: Duration = Duration::from_secs(30);

/// Calls `take` with the first of two ports that no other test has until it succeeds, and keeps them reserved.
fn with_ports<T>(mut take: impl FnMut(u16) -> Option<T>) -> (T, u16, TcpListener) {
    // Tests run as threads and as processes: each begins somewhere else.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let blocks = PORTS.len() / usize::from(PORTS_EACH);
    let first = usize::try_from(std::process::id()).unwrap() * 97;
    let deadline = Instant::now() + START_MAX;
    while Instant::now() < deadline {
        let block = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % blocks;
        let port = PORTS.start + u16::try_from(block).unwrap() * PORTS_EACH;
        // The third port is the reservation of the first two.
        let Ok(reservation) = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 2)) else { continue };
        if let Some(taken) = take(port) {
            return (taken, port, reservation);
        }
    }
    panic!("no two free ports in {PORTS:?} within {START_MAX:?}");
}

/// A running swtpm. Killed when dropped; its state lives as long as [`Machine`].
pub struct Swtpm {
    child: Child,
    port: u16,
    state: PathBuf,
    /// Bound as long as this software TPM lives, so that no other test takes the two ports before it.
    _reservation: TcpListener,
}

impl Swtpm {
    fn start(state: &Path) -> Self {
        let (child, port, reservation) = with_ports(|port| Self::try_start(state, port));
        Self { child, port, state: state.to_owned(), _reservation: reservation }
    }

    /// Cuts its power.
    pub fn power_off(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Cuts its power if it has any and switches it on again, at the same place.
    pub fn restart(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        self.child = Self::try_start(&self.state, self.port).expect("the ports are reserved");
    }

    /// A suspend as the kernel does it: the chip is told to keep its state (TPM2_Shutdown with TPM_SU_STATE), then it has no power for a
    /// while.
    pub fn sleep(&mut self) {
        let mut chip = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        chip.write_all(&[0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x45, 0, 1]).unwrap();
        assert_eq!(message(&mut chip).unwrap(), [0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0]);
        drop(chip);
        self.restart();
    }

    /// Puts another machine's chip in its place.
    pub fn restart_with(&mut self, other: &Machine) {
        self.state = other.folder.path().join("state");
        self.restart();
    }

    /// None if it ended, which it does when a port is taken.
    fn try_start(state: &Path, port: u16) -> Option<Child> {
        let deadline = Instant::now() + START_MAX;
        let mut child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--server")
            .arg(format!("type=tcp,port={port},bindaddr=127.0.0.1"))
            .arg("--ctrl")
            .arg(format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1))
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "swtpm does not start ({error}): install the package swtpm; these tests are never skipped"
                )
            });
        loop {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            // Without a visit, which would be its one client. It opens one port after the other.
            if listens(port) && listens(port + 1) && child.try_wait().unwrap().is_none() {
                return Some(child);
            }
            assert!(Instant::now() < deadline, "swtpm does not listen within {START_MAX:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it is, in libtss2's notation.
    pub fn tcti(&self) -> String {
        tcti(self.port)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Makes the chip hang.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Ends the hang.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine: a TPM's state and a key folder.
pub struct Machine {
    folder: TempDir,
}

impl Machine {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        Self { folder }
    }

    /// Switches the TPM on.
    pub fn power_on(&self) -> Swtpm {
        Swtpm::start(&self.folder.path().join("state"))
    }

    /// What its TPM keeps.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn key_dir(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    pub fn key_file(&self) -> PathBuf {
        self.key_dir().join("signing.key")
    }

    pub fn config(&self, swtpm: &Swtpm) -> Config {
        let mut config = Config::new(self.key_dir());
        config.tcti = swtpm.tcti();
        // Far more than is needed, also on a busy machine: only what really hangs gets there.
        config.deadline = Duration::from_secs(120);
        config
    }

    /// Opens the TPM as the daemon does.
    pub fn open(&self, swtpm: &Swtpm) -> Handle {
        tpm::start(&self.config(swtpm)).expect("the TPM opens")
    }
}

/// Whether somebody listens at a local port, as proc_net_tcp(5) tells.
fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|address| address.ends_with(&local)) && fields.get(3) == Some(&"0A")
    })
}

fn tcti(port: u16) -> String {
    format!("swtpm:host=127.0.0.1,port={port}")
}

/// What sits on the wire: gets a command and a way to the chip, gives the response.
pub type Tap = dyn FnMut(&[u8], &mut dyn FnMut(&[u8]) -> Vec<u8>) -> Vec<u8> + Send;

/// Somebody on the wire between us and the chip.
pub struct Wire {
    port: u16,
    _reservation: TcpListener,
}

impl Wire {
    /// Taps the wire to `swtpm`.
    pub fn tap(swtpm: &Swtpm, mut tap: Box<Tap>) -> Self {
        let chip = swtpm.port;
        let ((data, control), port, reservation) = with_ports(|port| {
            let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
            Some((bind(port)?, bind(port + 1)?))
        });
        std::thread::spawn(move || {
            for client in control.incoming().map_while(Result::ok) {
                let upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, chip + 1)).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || forward(&mut from, &mut to));
                let (mut from, mut to) = (upstream, client);
                std::thread::spawn(move || forward(&mut from, &mut to));
            }
        });
        std::thread::spawn(move || {
            // libtss2 connects anew for each command.
            for mut client in data.incoming().map_while(Result::ok) {
                let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, chip)).unwrap();
                while let Some(command) = message(&mut client) {
                    let response = tap(&command, &mut |command| {
                        upstream.write_all(command).unwrap();
                        message(&mut upstream).unwrap()
                    });
                    client.write_all(&response).unwrap();
                }
            }
        });
        Self { port, _reservation: reservation }
    }

    pub fn tcti(&self) -> String {
        tcti(self.port)
    }
}

/// Copies until one side closes, and closes the other: swtpm takes one control connection at a time.
fn forward(from: &mut TcpStream, to: &mut TcpStream) {
    let _ = std::io::copy(from, to);
    let _ = to.shutdown(Shutdown::Both);
}

/// One command or response: tag, length of the whole, code, the rest. None at the end.
fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = [0; 10];
    stream.read_exact(&mut header).ok()?;
    let [_, _, length @ .., _, _, _, _] = header;
    let mut message = header.to_vec();
    message.resize(usize::try_from(u32::from_be_bytes(length)).unwrap(), 0);
    stream.read_exact(message.get_mut(header.len()..)?).ok()?;
    Some(message)
}
