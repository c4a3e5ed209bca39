//! The control beside every figure of the server: it sends each datagram back as it came, on the same
//! datapath and the same sockets. What the server costs more than this is its own; the rest is the kernel's.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ntpring::datapath::Datapath;
use ntpring::limits;
use ntpring::server::{Counters, Datagram, Tally, Verdict};
use ntpring::wire::HEADER_LEN;

/// Looks at nothing and writes nothing.
#[inline]
pub fn echo(_datagram: Datagram<'_>) -> Verdict {
    Verdict::Reply(HEADER_LEN)
}

/// The loop of an echoing thread; it counts and publishes as a server's does.
///
/// # Errors
/// What the datapath says when it is beyond repair.
pub fn run(mut path: impl Datapath, counters: &Counters, stop: &AtomicBool) -> io::Result<()> {
    let mut tally = Tally::default();
    while !stop.load(Relaxed) {
        path.wait(limits::TICK)?;
        let path_tally = path.drain(|datagram| {
            tally.received += 1;
            tally.answered[0] += 1;
            echo(datagram)
        })?;
        counters.publish(&tally, &path_tally, path.by_socket());
    }
    Ok(())
}
