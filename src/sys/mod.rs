//! The kernel: sockets, control messages, io_uring, recvmmsg, clocks, threads and privileges, behind safe
//! functions.
//!
//! All unsafe code of the crate lives below this module. It knows no NTP: payloads are bytes, times are the
//! kernel's.

#![expect(unsafe_code, reason = "the one floor that talks to the kernel; every block says why it is sound")]

pub mod adjtime;
pub mod client_socket;
pub mod clock;
pub mod cmsg;
pub mod ethtool;
pub mod exchange;
pub mod files;
pub mod interfaces;
pub mod link;
mod message;
pub mod mmsg;
pub mod netdev;
pub mod random;
pub mod resolve;
pub mod sandbox;
mod send;
pub mod socket;
pub mod stderr;
pub mod thread;
pub mod uring;
pub mod xdp;

pub use message::{IoTally, Received};
pub use send::SendChunks;

use std::io;

/// The error of the last failed system call when `result` is negative.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
