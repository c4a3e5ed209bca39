//! What makes a result mean less than it seems, each with what to do about it.

use std::fmt;

use crate::accounting::Invalid;
use crate::mix::Kind;
use crate::run::{Load, Outcome, Plan};
use crate::target;

/// The generator has kept up if it sent at least this part of what was scheduled.
pub(crate) const KEPT_UP: f64 = 0.99;
/// Its lag does not spoil the figures while the 99th percentile is below this, in microseconds, or below this
/// part of that of the latency. Single spikes are in the report, and no warning.
const LAG_US: f64 = 1_000.0;
const LAG_PART: f64 = 0.01;

/// One thing the reader should know before believing the figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Warning {
    /// The target's host refused.
    Refused,
    /// Nothing came back, or nothing that is a reply.
    NoAnswer { invalid: bool },
    /// The generator could not keep its schedule.
    Behind { achieved: f64 },
    /// The generator sent everything, but a part too late.
    Lag { p99_us: f64 },
    /// The kernel did not take all requests.
    SendFailed { count: u64 },
    /// This machine lost replies.
    LocalDrops { count: u64 },
    /// The interface went away during the run.
    LinkLost,
    /// Requests were lost, and all came from one address.
    OneSource,
    /// What came back was no reply.
    Invalid { count: u64 },
    /// The server answered what no server should answer.
    Unwanted { count: u64 },
    /// The server answered control queries.
    ControlAnswered { count: u64 },
    /// The server turns requests away.
    KissOfDeath { count: u64 },
    /// The server's clock is not synchronised.
    Unsynchronised { count: u64 },
    /// Kernel stamps were missing or not usable.
    Unstamped { count: u64 },
}

/// All that applies, the gravest first.
pub(crate) fn all(outcome: &Outcome, plan: &Plan) -> Vec<Warning> {
    let counts = &outcome.counts;
    let p99_us = outcome.measures.lag.summary().map_or(0.0, |lag| lag.p99);
    let latency_us = outcome.measures.intended.summary().map_or(0.0, |latency| latency.p99);
    let lagging = p99_us > LAG_US.max(LAG_PART * latency_us);
    let achieved = outcome.achieved(plan);
    let open_loop = matches!(plan.load, Load::Rate(_));
    // Then losses are what was asked for.
    let flood = plan.load == Load::Flood;
    // Where no request wants an answer, none is what was hoped for.
    let all_silent = counts.sent > 0 && counts.silent == counts.sent;
    let unwanted = counts.invalid[Invalid::Unwanted as usize];
    let invalid = counts.invalid() - unwanted;
    let control = counts.by_kind[Kind::Mode6 as usize].answered;
    let candidates = [
        (outcome.lost_link.is_some(), Warning::LinkLost),
        (outcome.refused(), Warning::Refused),
        (
            counts.answered == 0 && !all_silent && !outcome.refused(),
            Warning::NoAnswer { invalid: invalid > 0 },
        ),
        (achieved < KEPT_UP && open_loop && counts.scheduled > 0, Warning::Behind { achieved }),
        (lagging && achieved >= KEPT_UP && open_loop, Warning::Lag { p99_us }),
        (counts.send_failed() > 0, Warning::SendFailed { count: counts.send_failed() }),
        (counts.local_drops > 0, Warning::LocalDrops { count: counts.local_drops }),
        (
            counts.loss_ratio() > 0.0 && counts.answered > 0 && has_one_source(plan) && !flood,
            Warning::OneSource,
        ),
        (invalid > 0, Warning::Invalid { count: invalid }),
        (unwanted > 0, Warning::Unwanted { count: unwanted }),
        (control > 0, Warning::ControlAnswered { count: control }),
        (counts.kod() > 0, Warning::KissOfDeath { count: counts.kod() }),
        (counts.unsynchronised > 0, Warning::Unsynchronised { count: counts.unsynchronised }),
        (counts.unstamped > 0, Warning::Unstamped { count: counts.unstamped }),
    ];
    candidates.into_iter().filter_map(|(applies, warning)| applies.then_some(warning)).collect()
}

/// Whether nothing but their ports tells the clients apart.
fn has_one_source(plan: &Plan) -> bool {
    // A result of several hosts names no cores of its own.
    let one_host = !plan.cores.is_empty();
    one_host && plan.requests.sources.is_none() && !target::has_own_addresses(plan.target)
}

impl Warning {
    /// Whether the figures say nothing about the server at the rate that was asked for: exit code 1.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::LinkLost | Self::Refused | Self::NoAnswer { .. }) || self.is_lag()
    }

    /// Whether that is the generator's fault.
    pub(crate) fn is_lag(self) -> bool {
        matches!(self, Self::Behind { .. } | Self::Lag { .. })
    }

    /// Its name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LinkLost => "link_lost",
            Self::Refused => "refused",
            Self::NoAnswer { .. } => "no_answer",
            Self::Behind { .. } => "behind",
            Self::Lag { .. } => "lag",
            Self::SendFailed { .. } => "send_failed",
            Self::LocalDrops { .. } => "local_drops",
            Self::OneSource => "one_source",
            Self::Invalid { .. } => "invalid",
            Self::Unwanted { .. } => "unwanted",
            Self::ControlAnswered { .. } => "control_answered",
            Self::KissOfDeath { .. } => "kiss_of_death",
            Self::Unsynchronised { .. } => "unsynchronised",
            Self::Unstamped { .. } => "unstamped",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkLost => f.write_str(
                "the interface went away, and ended the run: what was under way is lost. These are the figures until then.",
            ),
            Self::Refused => f.write_str(
                "nothing listens there: all that came back was ICMP \"unreachable\". Start the server, or name its address and port \
                 (TARGET:PORT).",
            ),
            Self::NoAnswer { invalid: true } => f.write_str(
                "no request was answered: what came back is no reply to any of them. Is that an NTP server, and the right port?",
            ),
            Self::NoAnswer { invalid: false } => f.write_str(
                "no request was answered. Is the address right, does a firewall drop UDP on the way, may this client ask (restrict, \
                 allow)?",
            ),
            Self::Behind { achieved } => write!(
                f,
                "the generator fell behind: it sent {:.1} % of what was scheduled, so this says nothing about the server at that \
                 rate. Use a lower --rate, more --threads, or another machine.",
                100.0 * achieved
            ),
            Self::Lag { p99_us } => write!(
                f,
                "one request in a hundred left more than {p99_us:.0} µs late, and that is in the latency. Give the generator a \
                 core of its own (--cpus), or take the result as it is (--allow-lag)."
            ),
            Self::SendFailed { count } => write!(
                f,
                "the kernel refused to send {count} requests. Is there a route, does a local firewall drop them?"
            ),
            Self::LocalDrops { count } => write!(
                f,
                "this machine dropped {count} replies before they were read; the server is not to blame for them. Use more \
                 --threads or --clients, or raise net.core.rmem_max."
            ),
            Self::OneSource => f.write_str(
                "all requests came from one address: a server, or its network card, that spreads clients by address had one worker \
                 or queue for all of them. Use --sources, or several hosts and merge.",
            ),
            Self::Invalid { count } => write!(
                f,
                "{count} datagrams came back that are no replies to what was asked; \"invalid\" above says why."
            ),
            Self::Unwanted { count } => write!(
                f,
                "{count} datagrams answer what no server should answer: whoever forges a source address can use that."
            ),
            Self::ControlAnswered { count } => write!(
                f,
                "the server answered {count} control queries. If strangers may ask as well, forged queries make it a \
                 reflector: restrict noquery."
            ),
            Self::KissOfDeath { count } => write!(
                f,
                "the server turned {count} requests away. Lift its rate limit for these addresses before you measure it."
            ),
            Self::Unsynchronised { count } => write!(
                f,
                "{count} replies say that the server's clock is not synchronised: no client would use them."
            ),
            Self::Unstamped { count } => write!(
                f,
                "{count} replies had no usable kernel receive stamp (was the clock set during the run?); their latency includes \
                 the time until they were read."
            ),
        }
    }
}
