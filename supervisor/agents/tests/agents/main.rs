//! The ready agents over real pipes: how they keep to the protocol, what each role does, and all 80 with a task of their own.
//!
//! - `agent`: one that runs; `supervisor`: a stand-in that answers its calls
//! - `conduct`, `files`, `shell`, `http`, `calls`, `texts`: role by role; `fleet`: all 80, and their description

#![cfg(test)]

mod agent;

mod calls;

mod conduct;

mod files;

mod fleet;

mod http;

mod shell;

mod supervisor;

mod texts;
