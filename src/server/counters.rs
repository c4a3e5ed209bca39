//! Every request is counted exactly once: received = answered + forwarded + Σ dropped.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;

/// Defines [`Reason`] with [`Reason::ALL`] and the names for metrics from one list.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Why a request got no answer; each reason has its own counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of the counters.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name in metrics and counters.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// A MAC that its key does not make of this request.
    BadMac => "bad_mac",
    /// The clock was set while the request waited, so receive and transmit stamps are of different
    /// timescales.
    ClockStepped => "clock_stepped",
    /// A crypto-NAK: no time request has one.
    CryptoNak => "crypto_nak",
    /// What follows the header is neither well-formed extension fields nor a MAC.
    Extension => "extension",
    /// `restrict … ignore`.
    Ignored => "ignored",
    /// `restrict … limited`: the source asks too often.
    Limited => "limited",
    /// A control message (mode 6) that is too short, or no request.
    MalformedControl => "malformed_control",
    /// The source is no address that can be answered, or is the socket that the request arrived at.
    MartianSource => "martian_source",
    /// The length is no multiple of four.
    Misaligned => "misaligned",
    /// A mode that is not answered: symmetric, server, broadcast, and the reserved one but for NTPv1 clients.
    Mode => "mode",
    /// `restrict … noquery`.
    NoQuery => "noquery",
    /// `restrict … noserve`.
    NoServe => "noserve",
    /// `restrict … notrust`: the request is not authenticated.
    NoTrust => "notrust",
    /// `restrict … version`: the request is of an older version.
    OldVersion => "old_version",
    /// Mode 7, what monlist was abused by.
    Private => "private",
    /// Sent to a multicast or broadcast address.
    SharedDestination => "shared_destination",
    /// Fewer than 48 octets.
    Short => "short",
    /// A MAC whose key is not known here, not trusted, or not for the source.
    UnknownKey => "unknown_key",
    /// A version other than 1 to 4.
    Version => "version",
}

/// NTP versions that are answered, 1 to this.
pub(super) const VERSIONS: usize = 4;

/// What became of the requests that one responder saw, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests seen.
    pub received: u64,
    /// Time replies, by version: the first is version 1.
    pub answered: [u64; VERSIONS],
    /// Kiss-o'-death packets, to requests beyond the rate limit.
    pub kod: u64,
    /// Control messages handed to the daemon.
    pub forwarded: u64,
    /// Requests whose MAC was right, answered or not.
    pub authentic: u64,
    /// Replies that were signed.
    pub signed: u64,
    /// Requests without an answer, by [`Reason`].
    pub dropped: [u64; Reason::ALL.len()],
}

/// What one socket has moved, since its datapath began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketTally {
    /// Datagrams that the responder saw.
    pub received: u64,
    /// Replies written.
    pub answered: u64,
    /// Replies that the kernel refused to send.
    pub send_failed: u64,
}

/// What a datapath counts itself, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathTally {
    /// Datagrams longer than a request may be; dropped before the responder saw them.
    pub truncated: u64,
    /// Control messages that the daemon's full channel did not take; the responder counted them as forwarded.
    pub forward_full: u64,
    /// Replies that the kernel refused to send.
    pub send_failed: u64,
    /// Datagrams that the kernel dropped because the socket's queue was full (SO_RXQ_OVFL).
    pub rxq_ovfl: u64,
    /// Requests without a kernel receive stamp, stamped when they were drained.
    pub missing_stamp: u64,
    /// Completions that did not fit the ring.
    pub cq_overflow: u64,
    /// Times that a multishot receive had to be armed again.
    pub rearmed: u64,
    /// System calls made.
    pub kernel_entries: u64,
    /// Waits that ended.
    pub wakeups: u64,
    /// Waits that ended with a request.
    pub useful_wakeups: u64,
}

const WORDS: usize = 1 + VERSIONS + 4 + Reason::ALL.len() + PathTally::WORDS;

/// One worker's numbers as the daemon may read them at any time, on cache lines of their own.
///
/// The words of one batch are stored one by one: a reader between them sees some of the batch. At rest they
/// are exact.
#[derive(Debug)]
pub struct Counters {
    words: CachePadded<[AtomicU64; WORDS]>,
    sockets: CachePadded<Box<[[AtomicU64; SocketTally::WORDS]]>>,
}

impl Counters {
    /// All zero, without a place for what each socket has moved.
    pub fn new() -> Self {
        Self::for_sockets(0)
    }

    /// All zero, for a worker with so many sockets.
    pub fn for_sockets(sockets: usize) -> Self {
        Self {
            words: CachePadded::new(array::from_fn(|_| AtomicU64::new(0))),
            sockets: CachePadded::new((0..sockets).map(|_| Default::default()).collect()),
        }
    }

    /// Shows the worker's numbers, once per batch; only that worker calls it.
    pub fn publish(&self, tally: &Tally, path: &PathTally, by_socket: &[SocketTally]) {
        for (word, value) in self.words.iter().zip(tally.words().chain(path.words())) {
            word.store(value, Relaxed);
        }
        for (words, tally) in self.sockets.iter().zip(by_socket) {
            for (word, value) in words.iter().zip(tally.words()) {
                word.store(value, Relaxed);
            }
        }
    }

    /// What the worker's socket of this number has moved.
    pub fn socket(&self, number: usize) -> SocketTally {
        let words = self.sockets.get(number).map(|words| words.each_ref().map(|word| word.load(Relaxed)));
        words.map(SocketTally::from_words).unwrap_or_default()
    }

    /// The worker's numbers.
    pub fn read(&self) -> Totals {
        let mut words = self.words.iter().map(|word| word.load(Relaxed));
        Totals { tally: Tally::from_words(&mut words), path: PathTally::from_words(&mut words) }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// The numbers of one worker, or of all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What the responders counted.
    pub tally: Tally,
    /// What the datapaths counted.
    pub path: PathTally,
}

impl Totals {
    /// The sum over workers.
    pub fn sum<'a>(workers: impl IntoIterator<Item = &'a Counters>) -> Self {
        let mut sum = [0; WORDS];
        for counters in workers {
            for (total, word) in sum.iter_mut().zip(counters.words.iter()) {
                *total += word.load(Relaxed);
            }
        }
        let mut words = sum.into_iter();
        Self { tally: Tally::from_words(&mut words), path: PathTally::from_words(&mut words) }
    }

    /// Every datagram that a socket handed over.
    pub fn received(&self) -> u64 {
        self.tally.received + self.path.truncated
    }

    /// Replies that the kernel took: time of all versions, and kiss-o'-death packets. What it refused it says
    /// later, so this may fall for a moment.
    pub fn answered(&self) -> u64 {
        (self.tally.answered.iter().sum::<u64>() + self.tally.kod).saturating_sub(self.path.send_failed)
    }

    /// Control messages that the daemon has got.
    pub fn forwarded(&self) -> u64 {
        self.tally.forwarded.saturating_sub(self.path.forward_full)
    }

    /// Every datagram without an answer, by name of the reason.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = Reason::ALL.map(Reason::name).into_iter().zip(self.tally.dropped);
        reasons.chain([
            ("forward_full", self.path.forward_full),
            ("send_failed", self.path.send_failed),
            ("truncated", self.path.truncated),
        ])
    }
}

impl Tally {
    /// One request that was answered with time, in the client's version (1 to 4).
    pub(super) fn count_answer(&mut self, version: u8) {
        self.received += 1;
        if let Some(count) = self.answered.get_mut(usize::from(version).wrapping_sub(1)) {
            *count += 1;
        }
    }

    /// One request that was answered with a kiss-o'-death packet.
    pub(super) fn count_kod(&mut self) {
        self.received += 1;
        self.kod += 1;
    }

    /// One control message for the daemon.
    pub(super) fn count_forward(&mut self) {
        self.received += 1;
        self.forwarded += 1;
    }

    /// One request that was met with silence.
    pub(super) fn count_drop(&mut self, reason: Reason) {
        self.received += 1;
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        let replies = self.answered.into_iter().chain([self.kod]);
        let others = [self.forwarded, self.authentic, self.signed];
        [self.received].into_iter().chain(replies).chain(others).chain(self.dropped)
    }

    fn from_words(words: &mut impl Iterator<Item = u64>) -> Self {
        let mut next = || words.next().unwrap_or_default();
        Self {
            received: next(),
            answered: array::from_fn(|_| next()),
            kod: next(),
            forwarded: next(),
            authentic: next(),
            signed: next(),
            dropped: array::from_fn(|_| next()),
        }
    }
}

impl SocketTally {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            answered: self.answered + other.answered,
            send_failed: self.send_failed + other.send_failed,
        }
    }

    const WORDS: usize = 3;

    fn words(self) -> [u64; Self::WORDS] {
        [self.received, self.answered, self.send_failed]
    }

    fn from_words([received, answered, send_failed]: [u64; Self::WORDS]) -> Self {
        Self { received, answered, send_failed }
    }
}

impl PathTally {
    const WORDS: usize = 10;

    fn words(&self) -> [u64; Self::WORDS] {
        let Self {
            truncated,
            forward_full,
            send_failed,
            rxq_ovfl,
            missing_stamp,
            cq_overflow,
            rearmed,
            kernel_entries,
            wakeups,
            useful_wakeups,
        } = *self;
        [
            truncated,
            forward_full,
            send_failed,
            rxq_ovfl,
            missing_stamp,
            cq_overflow,
            rearmed,
            kernel_entries,
            wakeups,
            useful_wakeups,
        ]
    }

    fn from_words(words: &mut impl Iterator<Item = u64>) -> Self {
        let [
            truncated,
            forward_full,
            send_failed,
            rxq_ovfl,
            missing_stamp,
            cq_overflow,
            rearmed,
            kernel_entries,
            wakeups,
            useful_wakeups,
        ] = array::from_fn(|_| words.next().unwrap_or_default());
        Self {
            truncated,
            forward_full,
            send_failed,
            rxq_ovfl,
            missing_stamp,
            cq_overflow,
            rearmed,
            kernel_entries,
            wakeups,
            useful_wakeups,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_alphabetical_and_index_their_counters() {
        assert!(Reason::ALL.is_sorted_by_key(|reason| format!("{reason:?}")));
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn what_is_published_is_read_and_summed() {
        let mut tally = Tally::default();
        tally.count_answer(4);
        tally.count_answer(1);
        tally.count_kod();
        tally.count_forward();
        tally.count_drop(Reason::Version);
        (tally.authentic, tally.signed) = (4, 3);
        let path = PathTally { truncated: 1, kernel_entries: 7, ..PathTally::default() };
        let socket = SocketTally { received: 5, answered: 3, send_failed: 1 };
        let workers = [Counters::new(), Counters::for_sockets(2)];
        workers[0].publish(&tally, &path, &[]);
        workers[1].publish(&tally, &path, &[SocketTally::default(), socket]);
        assert_eq!([0, 1, 2].map(|number| workers[1].socket(number).received), [0, 5, 0]);
        assert_eq!(workers[1].socket(1), socket);
        assert_eq!(workers[0].read(), Totals { tally, path });

        let sum = Totals::sum(&workers);
        assert_eq!((sum.received(), sum.answered(), sum.tally.forwarded), (12, 6, 2));
        assert_eq!((sum.tally.answered, sum.tally.kod), ([2, 0, 0, 2], 2));
        assert_eq!(sum.path.kernel_entries, 14);
        let dropped: Vec<_> = sum.dropped().filter(|(_, count)| *count > 0).collect();
        assert_eq!(dropped, [("version", 2), ("truncated", 2)]);
    }
}
