//! Who is at the other end of a socket.

/// A peer's credentials as the kernel attests them (SO_PEERCRED) at connect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    /// Process id in the daemon's namespace.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}
