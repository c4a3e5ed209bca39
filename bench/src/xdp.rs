//! Programs for the network driver that the server's is measured with and against (xdp/programs.bpf.c).

use std::io;

use ntpring::sys::link;
use ntpring::sys::xdp::{self, Attachment, with_causes};

/// The programs as src/xdp/build.sh makes them of their sources, the server's among them.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("xdp/programs.bpf.o");

/// A program that can be put on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachable {
    /// Passes everything: what the other end of a veth needs to receive what a driver sends.
    Pass,
    /// Sends requests back: what the server's program costs more is its own.
    Echo,
}

impl Attachable {
    /// Puts it on an interface of the calling thread's network namespace, until the result is dropped.
    ///
    /// # Errors
    /// There is no such interface, or it has a program, or this process may not.
    pub fn attach(self, interface: &str) -> io::Result<Attachment> {
        let name = match self {
            Self::Pass => "pass_all",
            Self::Echo => "echo",
        };
        let ifindex = link::state(interface)?.index;
        xdp::load_and_attach(OBJECT, name, ifindex).map_err(|error| {
            io::Error::other(format!("an XDP program on {interface}: {}", with_causes(&error)))
        })
    }
}
