//! The roles, and what each can do.
//!
//! - [`tokens`], [`log`], [`checkpoint`], [`daemon`]: by calls to the supervisor
//! - [`files`], [`thermal`], [`system`]: by reading below a folder
//! - [`texts`], [`judge`]: with what they are given
//! - [`shell`], [`http`]: with what their file allows

pub mod checkpoint;

pub mod daemon;

pub mod files;

pub mod http;

pub mod judge;

pub mod log;

pub mod shell;

pub mod system;

pub mod texts;

pub mod thermal;

pub mod tokens;

use api::agent::protocol::Payload;
use serde_json::{Value, json};

use crate::desk::Work;
use crate::fault::Fault;
use crate::input::{Field, Input};
use crate::options::Options;
use crate::task::Task;

/// Tasks that an agent takes at once, but for `echo`.
const TASKS: u32 = 4;
/// The same of `echo`, which is never at two.
const ECHO_TASKS: u32 = 64;

/// One thing that a role can do.
pub struct Act {
    /// What it is called.
    pub name: &'static str,
    /// What it is given.
    pub input: &'static [Field],
    /// What comes out.
    pub output: &'static str,
    /// Does it.
    pub run: fn(&Task, &Input, &Options) -> Result<Value, Fault>,
}

/// A role.
pub struct Role {
    /// What it is called.
    pub name: &'static str,
    /// Its arguments.
    pub options: &'static str,
    /// What it can do.
    pub acts: &'static [Act],
    /// Whether these arguments make sense.
    pub check: fn(&Options) -> Result<(), String>,
}

/// All roles but `echo`, which has no acts.
pub const ROLES: [&Role; 11] = [
    &tokens::ROLE,
    &files::ROLE,
    &texts::ROLE,
    &log::ROLE,
    &thermal::ROLE,
    &system::ROLE,
    &checkpoint::ROLE,
    &daemon::ROLE,
    &shell::ROLE,
    &http::ROLE,
    &judge::ROLE,
];

/// What an agent with these arguments does, and how many tasks at once.
///
/// # Errors
///
/// What is wrong with them, for people.
pub fn work(mut words: impl Iterator<Item = String>) -> Result<(Work, u32), String> {
    let name = words.next().unwrap_or_default();
    if name == "echo" {
        return match words.next() {
            None => Ok((Work::Echo, ECHO_TASKS)),
            Some(_) => Err("echo takes no arguments".to_owned()),
        };
    }
    let role = ROLES.into_iter().find(|role| role.name == name).ok_or_else(|| {
        let names: Vec<_> = ROLES.iter().map(|role| role.name).collect();
        format!("there is no role {name:?}: there are echo, {}", names.join(", "))
    })?;
    let word = words.next().unwrap_or_default();
    let act = role.acts.iter().find(|act| act.name == word).ok_or_else(|| {
        let names: Vec<_> = role.acts.iter().map(|act| act.name).collect();
        format!("{name} cannot {word:?}: it can {}", names.join(", "))
    })?;
    let options = Options::read(words)?;
    (role.check)(&options)?;
    let work = move |task: &Task| {
        let input = Input::new(task.input()?, act.input)?;
        let output = (act.run)(task, &input, &options)?;
        Payload::of(&output).map_err(|unfit| Fault::failed(format!("the result {unfit}")))
    };
    Ok((Work::Thread(Box::new(work)), TASKS))
}

/// For roles without arguments.
fn nothing(options: &Options) -> Result<(), String> {
    if *options == Options::default() { Ok(()) } else { Err("this role takes no arguments".to_owned()) }
}

/// For roles that read below a folder, and need nothing else.
fn rooted(options: &Options) -> Result<(), String> {
    match (Options { root: None, ..options.clone() }) == Options::default() {
        true if options.root.is_some() => Ok(()),
        true => Err("say where: --root DIR".to_owned()),
        false => Err("this role takes --root alone".to_owned()),
    }
}

/// A number with `digits` digits behind the point.
fn rounded(number: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    json!((number * scale).round() / scale)
}
