//! dsmild as it ships, with a software TPM, and without what a machine without DSMIL lacks.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::bench::Scratch;

/// How long a start or a stop may take; only a failure gets there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Below the kernel's ephemeral ports, and not among those of the tests.
const TPM_PORT: u16 = 19_640;

/// A running daemon and its TPM.
pub struct Daemon {
    dsmild: Child,
    swtpm: Child,
    folder: PathBuf,
    socket: PathBuf,
}

impl Daemon {
    /// Starts it with its log in the scratch folder; `DSMILD` names the program. `without` is what it may lack besides what such a machine
    /// lacks, `more` what else its configuration says.
    ///
    /// # Errors
    ///
    /// A program is missing, or the daemon does not serve: its output is told.
    pub fn start(scratch: &Scratch, without: &str, more: &str) -> anyhow::Result<Self> {
        let program = std::env::var_os("DSMILD").context("DSMILD names no dsmild: use “make bench”")?;
        let folder = scratch.path().join("daemon");
        fs::create_dir_all(folder.join("tpm"))?;
        let folder = folder.canonicalize()?;
        // A socket's path has at most 107 bytes.
        let socket = std::env::temp_dir().join(format!("dsmil-bench-{}.sock", std::process::id()));
        let config = folder.join("dsmild.toml");
        let user = std::env::var("BENCH_USER").unwrap_or_else(|_| "nobody".into());
        let text = format!(
            "state = {:?}\nsocket = {:?}\nuser = {user:?}\nwithout = [{without}\"device\", \"probes\", \"zones\"]\n\n\
             [tpm]\ntcti = \"swtpm:host=127.0.0.1,port={TPM_PORT}\"\n{more}",
            folder.join("state"),
            socket
        );
        fs::write(&config, text)?;
        let swtpm = swtpm(&folder.join("tpm"))?;
        let said = fs::File::create(folder.join("dsmild.log"))?;
        let dsmild = Command::new(&program)
            .arg("--config")
            .arg(&config)
            .env("TSS2_LOG", "all+NONE")
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("starting {}", program.to_string_lossy()))?;
        let mut daemon = Self { dsmild, swtpm, folder, socket };
        daemon.wait()?;
        Ok(daemon)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let said = fs::read_to_string(self.folder.join("dsmild.log")).unwrap_or_default();
            if said.contains("serving") && UnixStream::connect(&self.socket).is_ok() {
                return Ok(());
            }
            if self.dsmild.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                bail!("dsmild does not serve; it said: {said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Stops it in order, opens its log and gives the number of entries.
    ///
    /// # Errors
    ///
    /// It does not stop, stopped for another reason, or its log is damaged.
    pub fn stop(mut self) -> anyhow::Result<u64> {
        kill(Pid::from_raw(self.dsmild.id().try_into()?), Signal::SIGTERM)?;
        let status = self.dsmild.wait()?;
        ensure!(status.success(), "dsmild ended with {status}");
        let mut size = 0;
        store::log::Log::open(
            &self.folder.join("state/log"),
            &store::log::Config::default(),
            &mut |_, _| size += 1,
        )?;
        Ok(size)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for child in [&mut self.dsmild, &mut self.swtpm] {
            // It may have ended already.
            child.kill().ok();
            child.wait().ok();
        }
        fs::remove_file(&self.socket).ok();
    }
}

fn swtpm(state: &Path) -> anyhow::Result<Child> {
    let mut child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--server"])
        .arg(format!("type=tcp,port={TPM_PORT},bindaddr=127.0.0.1"))
        .arg("--ctrl")
        .arg(format!("type=tcp,port={},bindaddr=127.0.0.1", TPM_PORT + 1))
        .arg("--tpmstate")
        .arg(format!("dir={}", state.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting swtpm")?;
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", TPM_PORT + 1)).is_err() {
        if child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
            child.kill().ok();
            bail!("swtpm does not listen at port {TPM_PORT}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}
