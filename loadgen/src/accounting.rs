//! Where every request and every datagram goes. The sums close exactly.

use crate::mix::Kind;

/// Defines an enum with `ALL`, so that arrays can be indexed by it, and the names in reports.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every one, in the order of the counters.
            pub(crate) const ALL: [Self; [$($text),*].len()] = [$(Self::$variant),*];

            /// Its name in reports.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// Why a datagram is no reply, although replies were expected. Its request stays unanswered.
    Invalid {
        /// Not 48 octets, and no well-formed fields behind them where there may be some.
        Length => "length",
        /// Not the mode that answers the request's.
        Mode => "mode",
        /// Not the request's version.
        Version => "version",
        /// The origin timestamp is of no request.
        Origin => "origin",
        /// Receive or transmit timestamp missing, or transmitted before received.
        Stamps => "stamps",
        /// No message authentication code, or not that of the key, where the request had one.
        Mac => "mac",
        /// A crypto-NAK: the server does not accept the request's code (RFC 5905 §9.2).
        CryptoNak => "crypto_nak",
        /// From another address or port than the target's.
        Sender => "sender",
        /// An answer to a request that no server should answer.
        Unwanted => "unwanted",
    }
}

named! {
    /// Why a request was never sent.
    Unsent {
        /// Its time was over before the generator came to it.
        Behind => "behind",
        /// The kernel did not take it.
        Refused => "refused",
    }
}

named! {
    /// Kiss codes that tell a client to ask less, or not at all (RFC 5905 §7.4).
    Kod {
        /// Access denied.
        Deny => "DENY",
        /// Too many requests.
        Rate => "RATE",
        /// Access restricted.
        Restrict => "RSTR",
    }
}

impl Kod {
    /// The code in a reference identifier.
    pub(crate) fn from_code(code: [u8; 4]) -> Option<Self> {
        Self::ALL.into_iter().find(|kod| kod.name().as_bytes() == code)
    }
}

/// What became of everything.
///
/// scheduled = sent + unsent; sent = answered + late + lost + kod + silent, once all are expired. Every
/// datagram that arrives is exactly one of answered, late, kod, duplicate, invalid, unsolicited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests whose time had come.
    pub(crate) scheduled: u64,
    /// Requests that the kernel took.
    pub(crate) sent: u64,
    /// Requests that were not sent, by [`Unsent`].
    pub(crate) unsent: [u64; Unsent::ALL.len()],
    /// Requests with a valid reply within the timeout.
    pub(crate) answered: u64,
    /// Those of them whose reply says that the server's clock is not synchronised.
    pub(crate) unsynchronised: u64,
    /// Requests with a valid reply after the timeout.
    pub(crate) late: u64,
    /// Requests without a valid reply.
    pub(crate) lost: u64,
    /// Requests that were turned away, by [`Kod`].
    pub(crate) kod: [u64; Kod::ALL.len()],
    /// Requests that rightly got no answer: no server should answer them, or not every server.
    pub(crate) silent: u64,
    /// Answered requests whose reply has the transmit stamp of the reply before (RFC 9769).
    pub(crate) interleaved: u64,
    /// Second and later replies to the same request.
    pub(crate) duplicate: u64,
    /// Datagrams that are no reply, by [`Invalid`].
    pub(crate) invalid: [u64; Invalid::ALL.len()],
    /// Datagrams that came while their socket waited for none.
    pub(crate) unsolicited: u64,
    /// Datagrams that this machine dropped because the generator read too slowly; the server is not to blame
    /// for them.
    pub(crate) local_drops: u64,
    /// ICMP "unreachable" messages about requests.
    pub(crate) unreachable: u64,
    /// Replies whose kernel receive stamp was missing or unusable: their latency ends when they were read.
    pub(crate) unstamped: u64,
    /// What became of each kind of request, by [`Kind`].
    pub(crate) by_kind: [KindCounts; Kind::ALL.len()],
}

/// What became of the requests of one kind: sent is the sum of the others, once all are expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KindCounts {
    /// See the same names in [`Counts`].
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) late: u64,
    pub(crate) lost: u64,
    pub(crate) kod: u64,
    pub(crate) silent: u64,
}

impl Counts {
    /// Adds another thread's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.scheduled, other.scheduled),
            (&mut self.sent, other.sent),
            (&mut self.answered, other.answered),
            (&mut self.unsynchronised, other.unsynchronised),
            (&mut self.late, other.late),
            (&mut self.lost, other.lost),
            (&mut self.silent, other.silent),
            (&mut self.interleaved, other.interleaved),
            (&mut self.duplicate, other.duplicate),
            (&mut self.unsolicited, other.unsolicited),
            (&mut self.local_drops, other.local_drops),
            (&mut self.unreachable, other.unreachable),
            (&mut self.unstamped, other.unstamped),
        ] {
            *mine += theirs;
        }
        add_each(&mut self.unsent, &other.unsent);
        add_each(&mut self.kod, &other.kod);
        add_each(&mut self.invalid, &other.invalid);
        for (mine, theirs) in self.by_kind.iter_mut().zip(&other.by_kind) {
            mine.add(theirs);
        }
    }

    /// Requests that were not sent.
    pub(crate) fn unsent(&self) -> u64 {
        self.unsent.iter().sum()
    }

    /// Requests that the kernel did not take.
    pub(crate) fn send_failed(&self) -> u64 {
        self.unsent[Unsent::Refused as usize]
    }

    /// Requests that were turned away.
    pub(crate) fn kod(&self) -> u64 {
        self.kod.iter().sum()
    }

    /// Datagrams that are no reply.
    pub(crate) fn invalid(&self) -> u64 {
        self.invalid.iter().sum()
    }

    /// Part of the requests sent that got no valid reply in time.
    pub(crate) fn loss_ratio(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { (self.lost + self.late) as f64 / self.sent as f64 }
    }

    /// The same with those that were turned away.
    pub(crate) fn missing_ratio(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { (self.lost + self.late + self.kod()) as f64 / self.sent as f64 }
    }

    /// Whether the sums close, once no request is in flight.
    pub(crate) fn close(&self) -> bool {
        self.scheduled == self.sent + self.unsent()
            && self.sent == self.answered + self.late + self.lost + self.kod() + self.silent
    }
}

impl KindCounts {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.late += other.late;
        self.lost += other.lost;
        self.kod += other.kod;
        self.silent += other.silent;
    }
}

fn add_each(mine: &mut [u64], theirs: &[u64]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += theirs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_counts_doubles_every_field() {
        let one = Counts {
            scheduled: 15,
            sent: 12,
            unsent: [1, 2],
            answered: 2,
            unsynchronised: 1,
            late: 1,
            lost: 2,
            kod: [0, 1, 2],
            silent: 4,
            duplicate: 3,
            invalid: [1, 2, 3, 4, 5, 6, 7, 8, 9],
            unsolicited: 4,
            local_drops: 5,
            unreachable: 6,
            unstamped: 7,
            interleaved: 9,
            by_kind: [KindCounts { sent: 1, answered: 2, late: 3, lost: 4, kod: 5, silent: 6 };
                Kind::ALL.len()],
        };
        let mut sum = one.clone();
        sum.add(&one);
        let twice = Counts {
            scheduled: 30,
            sent: 24,
            unsent: [2, 4],
            answered: 4,
            unsynchronised: 2,
            late: 2,
            lost: 4,
            kod: [0, 2, 4],
            silent: 8,
            duplicate: 6,
            invalid: [2, 4, 6, 8, 10, 12, 14, 16, 18],
            unsolicited: 8,
            local_drops: 10,
            unreachable: 12,
            unstamped: 14,
            interleaved: 18,
            by_kind: [KindCounts { sent: 2, answered: 4, late: 6, lost: 8, kod: 10, silent: 12 };
                Kind::ALL.len()],
        };
        assert_eq!(sum, twice);
        assert!(one.close() && sum.close());
        assert!(!Counts { lost: 3, ..one }.close());
    }

    #[test]
    fn loss_is_what_was_sent_in_vain() {
        assert_eq!(Counts { sent: 200, lost: 1, late: 1, ..Counts::default() }.loss_ratio(), 0.01);
        assert_eq!(Counts::default().loss_ratio(), 0.0);
    }
}
