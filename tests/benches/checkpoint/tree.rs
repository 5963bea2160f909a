//! The folder that is stored: the same from the same seed.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use sha2::{Digest as _, Sha256};

/// Files in one folder.
const FOLDER: u64 = 100;
/// Of how many files one changes between checkpoints.
const CHANGED: u64 = 100;
/// What is changed shortly before a checkpoint is read by the next one again; users wait longer than this between two.
const SETTLE: Duration = Duration::from_millis(3_100);
/// The spread of the sizes' logarithm.
const SIGMA: f64 = 1.5;

/// How large a tree is.
#[derive(Clone, Copy)]
pub struct Shape {
    files: u64,
    bytes: u64,
}

impl Shape {
    /// By its name in the environment.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "" | "2g" => Self { files: 20_000, bytes: 2_000_000_000 },
            "10g" => Self { files: 100_000, bytes: 10_000_000_000 },
            "small" => Self { files: 200, bytes: 20_000_000 },
            other => bail!("there is no tree “{other}”: TREE is 2g, 10g or small"),
        })
    }
}

/// A tree on the disk.
pub struct Tree {
    path: PathBuf,
    sizes: Vec<u64>,
    random: Random,
    changed: Instant,
}

impl Tree {
    /// Writes it.
    pub fn make(path: &Path, shape: Shape) -> anyhow::Result<Self> {
        let mut random = Random(0x5eed);
        let drawn: Vec<f64> = (0..shape.files).map(|_| (random.normal() * SIGMA).exp()).collect();
        let sum: f64 = drawn.iter().sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of the positive sum"
        )]
        let sizes: Vec<u64> = drawn.iter().map(|part| (part / sum * shape.bytes as f64) as u64).collect();
        let tree = Self { path: path.to_owned(), sizes, random, changed: Instant::now() };
        for (number, size) in (0..).zip(&tree.sizes) {
            let file = tree.file(number);
            fs::create_dir_all(file.parent().unwrap_or(path))?;
            content(&file, number, *size)?;
        }
        Ok(tree)
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{:03}/{number:06}", number / FOLDER))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn files(&self) -> usize {
        self.sizes.len()
    }

    pub fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// Changes one file in a hundred: a third of them in the middle, a third at the end, a third wholly.
    pub fn change(&mut self) -> anyhow::Result<()> {
        let files = self.sizes.len() as u64;
        for _ in 0..files / CHANGED {
            let number = self.random.next() % files;
            let (path, size) = (self.file(number), fs::metadata(self.file(number))?.len());
            let mut file = fs::File::options().write(true).open(&path)?;
            match self.random.next() % 3 {
                0 => std::os::unix::fs::FileExt::write_all_at(&file, b"changed", size / 2)?,
                1 => {
                    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
                    file.write_all(b"one more line\n")?;
                }
                _ => content(&path, self.random.next(), size)?,
            }
        }
        self.changed = Instant::now();
        self.settle();
        Ok(())
    }

    /// Waits until what was written counts as old.
    pub fn settle(&self) {
        std::thread::sleep(SETTLE.saturating_sub(self.changed.elapsed()));
    }

    /// Of names, contents, modes and times.
    pub fn hash(&self) -> anyhow::Result<[u8; 32]> {
        hash(&self.path)
    }
}

/// Half of the files are text, half cannot be compressed.
fn content(path: &Path, seed: u64, size: u64) -> anyhow::Result<()> {
    const WORDS: [&str; 8] =
        ["thermal ", "token ", "agent ", "0x8000 ", "checkpoint\n", "restore ", "ok ", "firmware "];
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let size = usize::try_from(size)?;
    let mut bytes = Vec::with_capacity(size + 16);
    let is_text = seed.is_multiple_of(2);
    while bytes.len() < size {
        let next = random.next();
        if is_text {
            bytes.extend(WORDS.get(usize::try_from(next % 8)?).unwrap_or(&"").as_bytes());
        } else {
            bytes.extend(next.to_le_bytes());
        }
    }
    bytes.truncate(size);
    Ok(fs::write(path, bytes)?)
}

/// As [`Tree::hash`], of any folder.
pub fn hash(path: &Path) -> anyhow::Result<[u8; 32]> {
    let mut sum = Sha256::new();
    add(path, &mut sum)?;
    Ok(sum.finalize().into())
}

fn add(path: &Path, sum: &mut Sha256) -> anyhow::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<anyhow::Result<_>>()?;
    names.sort_unstable();
    for name in names {
        let path = path.join(&name);
        let meta = path.symlink_metadata()?;
        sum.update(name.as_bytes());
        sum.update(meta.mode().to_be_bytes());
        if meta.is_dir() {
            add(&path, sum)?;
        } else {
            sum.update(meta.mtime().to_be_bytes());
            sum.update(meta.mtime_nsec().to_be_bytes());
            sum.update(fs::read(&path)?);
        }
    }
    Ok(())
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Between 0 and 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// By Box and Muller.
    fn normal(&mut self) -> f64 {
        let (a, b) = (self.unit().max(f64::MIN_POSITIVE), self.unit());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}
