//! Commands that show a fixed list of variables, one a line: `sysinfo`, `sysstats` and their like.

use std::fmt::Write;

use super::session::{Ask, Failure};
use super::variables;
use crate::control::{PeerStatus, SystemStatus, Variable};

/// A command of this kind.
#[derive(Debug)]
pub(super) struct List {
    pub(super) command: &'static str,
    pub(super) help: &'static str,
    /// Variables in ntpq's order, and what stands in front of their values.
    variables: &'static [(&'static str, &'static str)],
}

/// All of them; each is about the system.
pub(super) const LISTS: [List; 7] = [
    List {
        command: "sysinfo",
        help: "display system summary",
        variables: &[
            ("peeradr", "system peer:       "),
            ("peermode", "system peer mode:  "),
            ("leap", "leap indicator:    "),
            ("stratum", "stratum:           "),
            ("precision", "log2 precision:    "),
            ("rootdelay", "root delay:        "),
            ("rootdisp", "root dispersion:   "),
            ("refid", "reference ID:      "),
            ("reftime", "reference time:    "),
            ("sys_jitter", "system jitter:     "),
            ("clk_jitter", "clock jitter:      "),
            ("clk_wander", "clock wander:      "),
            ("bcastdelay", "broadcast delay:   "),
            ("authdelay", "symm. auth. delay: "),
        ],
    },
    List {
        command: "sysstats",
        help: "display system uptime and packet counts",
        variables: &[
            ("ss_uptime", "uptime:                "),
            ("ss_reset", "sysstats reset:        "),
            ("ss_received", "packets received:      "),
            ("ss_thisver", "current version:       "),
            ("ss_oldver", "older version:         "),
            ("ss_badformat", "bad length or format:  "),
            ("ss_badauth", "authentication failed: "),
            ("ss_declined", "declined:              "),
            ("ss_restricted", "restricted:            "),
            ("ss_limited", "rate limited:          "),
            ("ss_kodsent", "KoD responses:         "),
            ("ss_processed", "processed for time:    "),
        ],
    },
    List {
        command: "monstats",
        help: "display monitor (mrulist) counters and limits",
        variables: &[
            ("mru_enabled", "enabled:            "),
            ("mru_depth", "addresses:          "),
            ("mru_deepest", "peak addresses:     "),
            ("mru_maxdepth", "maximum addresses:  "),
            ("mru_mindepth", "reclaim above count:"),
            ("mru_maxage", "reclaim older than: "),
            ("mru_mem", "kilobytes:          "),
            ("mru_maxmem", "maximum kilobytes:  "),
        ],
    },
    List {
        command: "kerninfo",
        help: "display kernel loop and PPS statistics",
        variables: &[
            ("koffset", "pll offset:          "),
            ("kfreq", "pll frequency:       "),
            ("kmaxerr", "maximum error:       "),
            ("kesterr", "estimated error:     "),
            ("kstflags", "kernel status:       "),
            ("ktimeconst", "pll time constant:   "),
            ("kprecis", "precision:           "),
            ("kfreqtol", "frequency tolerance: "),
            ("kppsfreq", "pps frequency:       "),
            ("kppsstab", "pps stability:       "),
            ("kppsjitter", "pps jitter:          "),
            ("kppscalibdur", "calibration interval "),
            ("kppscalibs", "calibration cycles:  "),
            ("kppsjitexc", "jitter exceeded:     "),
            ("kppsstbexc", "stability exceeded:  "),
            ("kppscaliberrs", "calibration errors:  "),
        ],
    },
    List {
        command: "iostats",
        help: "display network input and output counters",
        variables: &[
            ("iostats_reset", "time since reset:     "),
            ("total_rbuf", "receive buffers:      "),
            ("free_rbuf", "free receive buffers: "),
            ("used_rbuf", "used receive buffers: "),
            ("rbuf_lowater", "low water refills:    "),
            ("io_dropped", "dropped packets:      "),
            ("io_ignored", "ignored packets:      "),
            ("io_received", "received packets:     "),
            ("io_sent", "packets sent:         "),
            ("io_sendfailed", "packet send failures: "),
            ("io_wakeups", "input wakeups:        "),
            ("io_goodwakeups", "useful input wakeups: "),
        ],
    },
    List {
        command: "timerstats",
        help: "display interval timer counters",
        variables: &[
            ("timerstats_reset", "time since reset:  "),
            ("timer_overruns", "timer overruns:    "),
            ("timer_xmts", "calls to transmit: "),
        ],
    },
    List {
        command: "authinfo",
        help: "display symmetric authentication counters",
        variables: &[
            ("authreset", "time since reset:"),
            ("authkeys", "stored keys:     "),
            ("authfreek", "free keys:       "),
            ("authklookups", "key lookups:     "),
            ("authknotfound", "keys not found:  "),
            ("authkuncached", "uncached keys:   "),
            ("authkexpired", "expired keys:    "),
            ("authencrypts", "encryptions:     "),
            ("authdecrypts", "decryptions:     "),
        ],
    },
];

/// `pstats`: the one that is about an association.
pub(super) const PEER: List = List {
    command: "pstats",
    help: "display statistics of an association",
    variables: &[
        ("srcadr", "remote host:         "),
        ("dstadr", "local address:       "),
        ("timerec", "time last received:  "),
        ("timer", "time until next send:"),
        ("timereach", "reachability change: "),
        ("sent", "packets sent:        "),
        ("received", "packets received:    "),
        ("badauth", "bad authentication:  "),
        ("bogusorg", "bogus origin:        "),
        ("oldpkt", "duplicate:           "),
        ("seldisp", "bad dispersion:      "),
        ("selbroken", "bad reference time:  "),
        ("candidate", "candidate order:     "),
    ],
};

impl List {
    /// What the server knows of it.
    pub(super) fn fetch(
        &self,
        server: &mut impl Ask,
        association: u16,
    ) -> Result<(u16, Vec<Variable>), Failure> {
        let names: Vec<&str> = self.variables.iter().map(|(name, _)| *name).collect();
        server.known_variables(association, &names)
    }

    /// One line each, in ntpq's order whatever the server's was.
    pub(super) fn show(&self, association: u16, status: u16, found: &[Variable]) -> String {
        let mut text = head(association, status);
        for (name, label) in self.variables {
            if let Some(variable) = found.iter().find(|variable| variable.name == *name) {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{label} {}", variables::shown(variable));
            }
        }
        text
    }
}

/// The line above every list of variables.
pub(super) fn head(association: u16, status: u16) -> String {
    let words = match association {
        0 => SystemStatus(status).to_string(),
        _ => PeerStatus(status).to_string(),
    };
    format!("associd={association} status={status:04x} {words},\n")
}
