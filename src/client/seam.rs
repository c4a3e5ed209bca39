//! What goes into the client and what comes out of it. The daemon turns kernel events into [`Event`]s and
//! [`Action`]s into system calls; the simulator of the tests does the same with a clock of its own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::settings::{Family, Settings};
use crate::snapshot::Selection;
use crate::wire::{HEADER_LEN, LeapIndicator, NtpTimestamp, ReferenceId};

/// One instant, on both clocks, read one right after the other. Their difference changes only when somebody
/// steps the clock, or when the machine was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// CLOCK_MONOTONIC: slewed with the other, never stepped.
    pub monotonic: Duration,
    /// CLOCK_REALTIME.
    pub realtime: NtpTimestamp,
}

/// Names an association; never zero, and not used again while 65 534 others are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssociationId(pub u16);

/// What the client is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// [`Client::wake_at`](super::Client::wake_at) has come, or nothing has happened for a while.
    Timer,
    /// A datagram arrived on an association's socket.
    Received(Received<'a>),
    /// A request could not be sent, or the kernel reported that it came back (ICMP).
    Unreachable(AssociationId),
    /// A name was looked up. No addresses: it does not exist, or the resolver failed.
    Resolved {
        /// Of the [`Action::Resolve`] that asked.
        query: u32,
        /// What was found.
        addresses: &'a [IpAddr],
    },
    /// The kernel refused to adjust its clock: from now on there is a virtual one.
    ClockRefused,
    /// The configuration was read again. Associations that did not change go on.
    Reload(Box<Settings>),
}

/// A datagram that may be the reply to an association's last request.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Whose socket it arrived on.
    pub association: AssociationId,
    /// Who sent it.
    pub source: SocketAddr,
    /// The address of ours that it was sent to; unspecified if unknown.
    pub local: IpAddr,
    /// When the association's last request left, by CLOCK_REALTIME: RFC 5905's T1.
    pub sent: NtpTimestamp,
    /// When this arrived, by CLOCK_REALTIME: RFC 5905's T4.
    pub received: NtpTimestamp,
    /// Who took the worse of the two stamps.
    pub stamps: StampKind,
    /// The id of the key that its MAC was made with, if the MAC is right.
    pub authentic: Option<u32>,
    /// The whole payload.
    pub bytes: &'a [u8],
}

/// Who took a stamp: how far it may be from the packet's passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StampKind {
    /// The network interface.
    Hardware,
    /// The kernel.
    Kernel,
    /// This process, before or after the system call.
    Process,
}

/// What the client wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send a request, from a port that the kernel chooses anew, and close the association's socket
    /// before it.
    Send(Request),
    /// The association is gone: close its socket.
    Close(AssociationId),
    /// Look a name up, away from this thread, and tell the result with [`Event::Resolved`].
    Resolve {
        /// Goes back with the result.
        query: u32,
        /// The name.
        host: Arc<str>,
        /// Which addresses.
        family: Family,
    },
    /// Move the machine's clock at once by so many seconds (ADJ_SETOFFSET).
    Step(f64),
    /// Let the machine's clock run at this rate from now on.
    Rate(ClockRate),
    /// What the kernel is to tell other programs about its clock.
    KernelStatus(KernelStatus),
    /// [`Client::system`](super::Client::system) is another: publish it.
    PublishSystem,
    /// [`Client::associations`](super::Client::associations) or
    /// [`Client::discipline`](super::Client::discipline) are others: publish them.
    PublishAssociations,
    /// Write the drift file: frequency in parts per million.
    SaveDrift(f64),
    /// Tell the operator.
    Log(Notice),
    /// The clock is too far off to be believed: restore the rate, log and end the process with an error.
    Panic(f64),
}

/// A request, complete but for the MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of which association.
    pub association: AssociationId,
    /// To whom.
    pub to: SocketAddr,
    /// Append a MAC made with this key.
    pub key: Option<u32>,
    /// The header.
    pub bytes: [u8; HEADER_LEN],
}

/// How fast the machine's clock is to run: the kernel's `tick` and `freq`.
///
/// On every way out of the process, and first thing at its start, the clock must be given
/// [`ClockRate::at_rest`] of the last one: a process killed in mid-slew leaves a clock that is up to 8 %
/// fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockRate {
    /// Microseconds per tick of 10 ms (ADJ_TICK): 9000 to 11 000.
    pub tick: i32,
    /// On top of it, in parts per million (ADJ_FREQUENCY): −500 to 500.
    pub frequency_ppm: f64,
    /// The part of it that is no slew: the frequency correction.
    pub base_ppm: f64,
}

impl ClockRate {
    /// The nominal length of a tick in microseconds.
    pub const NOMINAL_TICK: i32 = 10_000;

    /// No slew, only the correction of the frequency.
    pub const fn steady(base_ppm: f64) -> Self {
        Self { tick: Self::NOMINAL_TICK, frequency_ppm: base_ppm, base_ppm }
    }

    /// This rate without its slew.
    pub const fn at_rest(self) -> Self {
        Self::steady(self.base_ppm)
    }

    /// Seconds that the clock gains per second by it.
    pub fn gain(self) -> f64 {
        f64::from(self.tick - Self::NOMINAL_TICK) / f64::from(Self::NOMINAL_TICK) + self.frequency_ppm * 1e-6
    }
}

/// STA_UNSYNC, STA_INS or STA_DEL, maxerror and esterror.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelStatus {
    /// Whether the clock is right; if not, STA_UNSYNC is set.
    pub synchronised: bool,
    /// What the kernel does at the end of this UTC day.
    pub leap: LeapIndicator,
    /// Error bound in seconds.
    pub maximum_error: f64,
    /// Probable error in seconds.
    pub estimated_error: f64,
}

/// Something that the operator wants to know. Each is said when something changed, never per packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A source answers.
    Reachable(SocketAddr),
    /// A source stopped answering, or has not begun to after a few polls.
    Unreachable(SocketAddr),
    /// A source asks for fewer requests: the new poll interval, log2 seconds.
    RateExceeded(SocketAddr, u8),
    /// A source refuses to serve us: the kiss code.
    Denied(SocketAddr, ReferenceId),
    /// A pool's server did not answer for long, or was wrong for long, as the flag says: it is left alone.
    PassedOver(SocketAddr, bool),
    /// A name has no address. It is looked up again after so many seconds.
    NotResolved(Arc<str>, u64),
    /// The clock follows another source.
    SystemPeer(SocketAddr, Selection),
    /// No source can be followed any more.
    NoSource,
    /// The clock was stepped by so many seconds.
    Stepped(f64),
    /// Somebody else stepped the clock by so many seconds, or the machine was suspended for as long.
    SteppedByOthers(f64),
    /// The process did not run for so many seconds.
    Overslept(f64),
    /// The offset in seconds exceeds the step threshold, and is stepped if it stays so.
    StepPending(f64),
    /// The kernel's clock is not ours to adjust: a virtual one is served.
    VirtualClock,
    /// The local clock, or orphan mode, is served at this stratum.
    OnOurOwn(u8),
    /// A leap second comes at the end of the day, or does not come after all.
    Leap(LeapIndicator),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reachable(source) => write!(f, "{source} answers"),
            Self::Unreachable(source) => write!(f, "{source} gives no usable answer"),
            Self::RateExceeded(source, poll) => {
                write!(f, "{source} asks for fewer requests: one in {} s from now on", 1_u32 << poll)
            }
            Self::Denied(source, code) => {
                let code = code.octets();
                let code = String::from_utf8_lossy(&code);
                write!(f, "{source} refuses to serve us ({}): not asked again", code.trim_end_matches('\0'))
            }
            Self::PassedOver(source, is_wrong) => {
                let why =
                    if *is_wrong { "disagrees with the others or is too far from a clock: it " } else { "" };
                write!(f, "{source} {why}is given up: its pool is looked up for another server")
            }
            Self::NotResolved(host, seconds) => {
                write!(f, "{host}: no address found; looked up again in {seconds} s")
            }
            Self::SystemPeer(source, _) => write!(f, "the clock follows {source}"),
            Self::NoSource => f.write_str("no source can be followed: the clock runs on as it is"),
            Self::Stepped(seconds) => write!(f, "the clock is stepped by {seconds:+.6} s"),
            Self::SteppedByOthers(seconds) => write!(
                f,
                "the clock jumped by {seconds:+.3} s: somebody set it, or the machine was suspended; measuring anew"
            ),
            Self::Overslept(seconds) => {
                write!(f, "this process did not run for {seconds:.0} s; the clock is measured anew")
            }
            Self::StepPending(seconds) => {
                write!(f, "the clock is off by {seconds:+.3} s: stepped if it stays so")
            }
            Self::VirtualClock => f.write_str(
                "the machine's clock is left alone: what is served is corrected by what the sources say",
            ),
            Self::OnOurOwn(stratum) => {
                write!(f, "without a source, this machine's own clock is served at stratum {stratum}")
            }
            Self::Leap(LeapIndicator::Insert) => {
                f.write_str("a leap second is inserted at the end of the day")
            }
            Self::Leap(LeapIndicator::Delete) => {
                f.write_str("a leap second is left out at the end of the day")
            }
            Self::Leap(_) => f.write_str("no leap second is due"),
        }
    }
}
