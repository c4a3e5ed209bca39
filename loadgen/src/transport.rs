//! What moves the datagrams: io_uring, or recvmmsg and sendmmsg; or a program in the kernel.

use clap::ValueEnum;
use ntpring::sys::uring;

use crate::failure::Failure;

/// What the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// io_uring, or the other where it is not allowed
    #[default]
    Auto,
    /// Replies and send stamps through an io_uring per thread, requests by sendmmsg
    #[value(name = "io_uring")]
    IoUring,
    /// epoll, recvmmsg and sendmmsg
    Mmsg,
    /// Frames made in the kernel, replies taken in by the network driver: several times the rate, needs root
    /// and a driver that runs XDP programs, such as veth's
    Xdp,
}

/// What all threads use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    IoUring,
    Mmsg,
    Xdp,
}

impl Choice {
    /// What it comes to on this machine; that it is not what was hoped for is said, once.
    ///
    /// # Errors
    /// io_uring is wanted and cannot be had.
    pub(crate) fn settle(self) -> Result<Transport, Failure> {
        match self {
            Self::Mmsg => return Ok(Transport::Mmsg),
            Self::Xdp => return Ok(Transport::Xdp),
            Self::Auto | Self::IoUring => {}
        }
        match uring::probe() {
            Ok(()) => Ok(Transport::IoUring),
            Err(error) if self == Self::Auto => {
                eprintln!("ntpload: {error}; using recvmmsg and sendmmsg");
                Ok(Transport::Mmsg)
            }
            Err(error) => Err(Failure::RunTime(error.to_string())),
        }
    }
}

impl Transport {
    /// Counts of what it cannot see: where it takes replies in, before a socket could be too full for them,
    /// there are neither sockets nor ICMP.
    pub(crate) fn unseen(self) -> &'static [&'static str] {
        match self {
            Self::IoUring | Self::Mmsg => &[],
            Self::Xdp => &["unsolicited", "local_drops", "unreachable"],
        }
    }

    /// Its name for users and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Mmsg => "mmsg",
            Self::Xdp => "xdp",
        }
    }
}
