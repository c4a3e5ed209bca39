//! Numbers and switches: `tinker`, `tos`, `enable`, `disable`, `discard`, `limit`, `mru`, `dscp`,
//! `leapsmearinterval`.

use super::inactive;
use super::line::Line;
use super::load::Draft;
use super::vocabulary::{Vocabulary, Word, accept, honour, later};

/// `tinker`: the clock discipline (RFC 5905 §11.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tinker {
    /// Offsets beyond are stepped, not slewed; 0: never step. 0.128 by default.
    pub step_seconds: f64,
    /// Offsets beyond end the process; 0: never. 1000 by default.
    pub panic_seconds: f64,
    /// How long an offset must exceed the step threshold. 300 by default.
    pub stepout_seconds: f64,
    /// The fastest slew, 1–83333 parts per million; 83333 by default. ntpd has no such word.
    pub max_slew_ppm: f64,
}

impl Default for Tinker {
    fn default() -> Self {
        Self { step_seconds: 0.128, panic_seconds: 1000.0, stepout_seconds: 300.0, max_slew_ppm: 83_333.0 }
    }
}

/// `tos`: selection among sources (RFC 5905 §11.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tos {
    /// How many sources must agree before the clock follows them. 1 by default.
    pub minsane: u16,
    /// Clustering stops when so many survivors are left. 3 by default.
    pub minclock: u16,
    /// How many associations `pool` lines make together, and the most survivors. 10 by default.
    pub maxclock: u16,
    /// Root distance beyond which a source cannot be selected. 1.5 by default.
    pub maxdist_seconds: f64,
    /// Correctness intervals are at least so wide. 0.001 by default.
    pub mindist_seconds: f64,
    /// The stratum served without any source; 16 (the default): unsynchronized.
    pub orphan_stratum: u8,
    /// How long there must be no source before the local clock or orphan mode takes over, if other sources
    /// are configured. 300 by default.
    pub orphanwait_seconds: u32,
}

impl Default for Tos {
    fn default() -> Self {
        Self {
            minsane: 1,
            minclock: 3,
            maxclock: 10,
            maxdist_seconds: 1.5,
            mindist_seconds: 0.001,
            orphan_stratum: 16,
            orphanwait_seconds: 300,
        }
    }
}

/// `enable` and `disable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Whether the clock is disciplined. Without it time is still served.
    pub ntp: bool,
    /// Whether recent clients are recorded; see [`super::Config::monitor`].
    pub monitor: bool,
    /// Whether unconfigured sources must be authenticated.
    pub auth: bool,
    /// Whether statistics files are written.
    pub stats: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { ntp: true, monitor: true, auth: true, stats: true }
    }
}

/// `discard`: ntpd's rate limit for `limited` addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Shortest average headway between requests, log2 seconds, 0–17; 3 (8 s) by default.
    pub average_log2_seconds: u8,
    /// Shortest headway; 2 by default.
    pub minimum_seconds: u16,
}

impl Default for Discard {
    fn default() -> Self {
        Self { average_log2_seconds: 3, minimum_seconds: 2 }
    }
}

/// `limit`: ntpsec's rate limit for `limited` addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Requests per second that are always answered; 1 by default.
    pub average_per_second: f64,
    /// Requests that may come at once; 20 by default.
    pub burst_packets: f64,
    /// Kiss-o'-death packets per second and client; 0.5 by default, 0: none.
    pub kod_per_second: f64,
}

impl Default for Limit {
    fn default() -> Self {
        Self { average_per_second: 1.0, burst_packets: 20.0, kod_per_second: 0.5 }
    }
}

/// `mru`: how much room each worker has for clients that it must remember; of several, the last counts. 1024
/// kilobytes by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mru {
    /// `maxdepth`: entries.
    Entries(u32),
    /// `maxmem`: kilobytes of 1024 bytes.
    Kilobytes(u32),
}

impl Default for Mru {
    fn default() -> Self {
        Self::Kilobytes(1024)
    }
}

/// Takes the number that follows its word, checks it, and stores it.
pub(super) type Setter<T> = fn(&mut T, &mut Line<'_, '_>, &str);

/// Stores a number if it is good; if not, the line is dropped anyway.
fn set<T>(field: &mut T, number: Option<T>) {
    if let Some(number) = number {
        *field = number;
    }
}

/// A day, the most that any threshold in seconds may be.
const DAY: f64 = 86_400.0;

pub(super) static TINKER: Vocabulary<Setter<Tinker>> =
    Vocabulary { what: "tinker option", words: TINKER_WORDS };

const TINKER_WORDS: &[Word<Setter<Tinker>>] = &[
    honour(
        "step",
        |tinker, line, word| set(&mut tinker.step_seconds, line.number(word, &(0.0..=DAY))),
        "offsets beyond are stepped, seconds (default 0.128); 0: never",
    ),
    honour(
        "panic",
        |tinker, line, word| set(&mut tinker.panic_seconds, line.number(word, &(0.0..=1e10))),
        "offsets beyond end the process, seconds (default 1000); 0: never",
    ),
    honour(
        "stepout",
        |tinker, line, word| set(&mut tinker.stepout_seconds, line.number(word, &(0.0..=DAY))),
        "how long an offset must last before it is stepped, seconds (default 300)",
    ),
    honour(
        "maxslew",
        |tinker, line, word| set(&mut tinker.max_slew_ppm, line.number(word, &(1.0..=83_333.0))),
        "fastest slew, parts per million (default 83333); ntpring's own",
    ),
    accept("allan", 1, "there is no such knob"),
    accept("dispersion", 1, "the dispersion rate is 15 ppm, as in RFC 5905"),
    accept("freq", 1, "use the driftfile"),
    accept("huffpuff", 1, "there is no huff-n'-puff filter"),
    accept("stepback", 1, "`step` is for both directions"),
    accept("stepfwd", 1, "`step` is for both directions"),
    accept("tick", 1, "the tick is the kernel's"),
];

/// `tinker [OPTION NUMBER]...`
pub(super) fn tinker(draft: &mut Draft, line: &mut Line<'_, '_>) {
    line.needs("an option");
    let mut tinker = draft.config.tinker;
    while let Some((set, token)) = line.option(&TINKER) {
        set(&mut tinker, line, token.text);
    }
    if line.is_good() {
        draft.config.tinker = tinker;
    }
}

pub(super) static TOS: Vocabulary<Setter<Tos>> = Vocabulary { what: "tos option", words: TOS_WORDS };

const NOT_ORPHAN: &str = "any stratum may be followed";
const TOS_WORDS: &[Word<Setter<Tos>>] = &[
    honour(
        "minsane",
        |tos, line, word| set(&mut tos.minsane, line.number(word, &(1..=1000))),
        "how many sources must agree, 1–1000 (default 1)",
    ),
    honour(
        "minclock",
        |tos, line, word| set(&mut tos.minclock, line.number(word, &(1..=1000))),
        "how many survivors clustering leaves, 1–1000 (default 3)",
    ),
    honour(
        "maxclock",
        |tos, line, word| set(&mut tos.maxclock, line.number(word, &(1..=1000))),
        "how many associations pools make, 1–1000 (default 10)",
    ),
    honour(
        "maxdist",
        |tos, line, word| set(&mut tos.maxdist_seconds, line.number(word, &(0.001..=16.0))),
        "largest root distance, seconds (default 1.5)",
    ),
    honour(
        "mindist",
        |tos, line, word| set(&mut tos.mindist_seconds, line.number(word, &(0.0..=16.0))),
        "narrowest correctness interval, seconds (default 0.001)",
    ),
    honour(
        "orphan",
        |tos, line, word| set(&mut tos.orphan_stratum, line.number(word, &(1..=16))),
        "stratum served without any source, 1–16 (default 16: unsynchronized)",
    ),
    honour(
        "orphanwait",
        |tos, line, word| set(&mut tos.orphanwait_seconds, line.number(word, &(0..=86_400))),
        "how long there must be no source before, seconds (default 300)",
    ),
    accept("floor", 1, NOT_ORPHAN),
    accept("ceiling", 1, NOT_ORPHAN),
    accept("cohort", 1, NOT_ORPHAN),
    accept("joindist", 1, NOT_ORPHAN),
    accept("beacon", 1, "there is no manycast client"),
    accept("bcpollbstep", 1, "there is no broadcast client"),
    accept("basedate", 1, "the era is known from the system's clock"),
];

/// `tos [OPTION NUMBER]...`
pub(super) fn tos(draft: &mut Draft, line: &mut Line<'_, '_>) {
    line.needs("an option");
    let mut tos = draft.config.tos;
    while let Some((set, token)) = line.option(&TOS) {
        set(&mut tos, line, token.text);
    }
    if line.is_good() {
        draft.config.tos = tos;
    }
}

#[derive(Debug)]
pub(super) enum Switch {
    Ntp,
    Monitor,
    Auth,
    Stats,
}

pub(super) static SWITCHES: Vocabulary<Switch> = Vocabulary { what: "switch", words: SWITCH_WORDS };

const SWITCH_WORDS: &[Word<Switch>] = &[
    honour("ntp", Switch::Ntp, "the clock is adjusted; `disable ntp` serves time all the same (default on)"),
    honour(
        "monitor",
        Switch::Monitor,
        "recent clients are recorded; stays on while `limited` is used (default on)",
    ),
    honour("auth", Switch::Auth, "unconfigured sources must be authenticated (default on)"),
    later("stats", Switch::Stats, "statistics files are written (default on)", &inactive::STATISTICS),
    accept("bclient", 0, "there is no broadcast client"),
    accept("calibrate", 0, "no reference clock needs it"),
    accept("kernel", 0, "the discipline is not the kernel's"),
    accept("mode7", 0, "there is no mode 7"),
    accept("pps", 0, "there is no PPS clock"),
    accept("peer_clear_digest_early", 0, "there is no Autokey"),
    accept("unpeer_crypto_early", 0, "there is no Autokey"),
    accept("unpeer_crypto_nak_early", 0, "a crypto-NAK never ends an association"),
    accept("unpeer_digest_early", 0, "a bad digest never ends an association"),
];

/// `enable SWITCH...`
pub(super) fn enable(draft: &mut Draft, line: &mut Line<'_, '_>) {
    switch(draft, line, true);
}

/// `disable SWITCH...`
pub(super) fn disable(draft: &mut Draft, line: &mut Line<'_, '_>) {
    switch(draft, line, false);
}

fn switch(draft: &mut Draft, line: &mut Line<'_, '_>, on: bool) {
    line.needs("a switch");
    let mut switches = draft.config.switches;
    let mut monitor = None;
    while let Some((switch, token)) = line.option(&SWITCHES) {
        match switch {
            Switch::Ntp => switches.ntp = on,
            Switch::Monitor => {
                switches.monitor = on;
                monitor = Some(line.position(token));
            }
            Switch::Auth => switches.auth = on,
            Switch::Stats => switches.stats = on,
        }
    }
    if !on {
        // What is not active yet is off already.
        line.active();
    }
    if line.is_good() {
        draft.config.switches = switches;
        draft.monitor = monitor.or(draft.monitor.take());
    }
}

pub(super) static DISCARD: Vocabulary<Setter<Discard>> =
    Vocabulary { what: "discard option", words: DISCARD_WORDS };

const DISCARD_WORDS: &[Word<Setter<Discard>>] = &[
    honour(
        "average",
        |discard, line, word| set(&mut discard.average_log2_seconds, line.number(word, &(0..=17))),
        "shortest average headway, log2 seconds, 0–17 (default 3)",
    ),
    honour(
        "minimum",
        |discard, line, word| set(&mut discard.minimum_seconds, line.number(word, &(0..=3600))),
        "shortest headway, seconds (default 2)",
    ),
    accept("monitor", 1, "every limited client is remembered"),
];

/// `discard [OPTION NUMBER]...`
pub(super) fn discard(draft: &mut Draft, line: &mut Line<'_, '_>) {
    line.needs("an option");
    let mut discard = draft.config.discard.unwrap_or_default();
    while let Some((set, token)) = line.option(&DISCARD) {
        set(&mut discard, line, token.text);
    }
    if line.is_good() {
        draft.config.discard = Some(discard);
    }
}

pub(super) static LIMIT: Vocabulary<Setter<Limit>> = Vocabulary { what: "limit option", words: LIMIT_WORDS };

const LIMIT_WORDS: &[Word<Setter<Limit>>] = &[
    honour(
        "average",
        |limit, line, word| set(&mut limit.average_per_second, line.number(word, &(0.001..=1e6))),
        "requests per second that are always answered (default 1)",
    ),
    honour(
        "burst",
        |limit, line, word| set(&mut limit.burst_packets, line.number(word, &(1.0..=1e6))),
        "requests that may come at once (default 20)",
    ),
    honour(
        "kod",
        |limit, line, word| set(&mut limit.kod_per_second, line.number(word, &(0.0..=1e6))),
        "kiss-o'-death packets per second (default 0.5); 0: none",
    ),
];

/// `limit [OPTION NUMBER]...`
pub(super) fn limit(draft: &mut Draft, line: &mut Line<'_, '_>) {
    line.needs("an option");
    let mut limit = draft.config.limit.unwrap_or_default();
    while let Some((set, token)) = line.option(&LIMIT) {
        set(&mut limit, line, token.text);
    }
    if line.is_good() {
        draft.config.limit = Some(limit);
    }
}

/// Makes the bound of its number.
pub(super) type Bound = fn(u32) -> Mru;

pub(super) static MRU: Vocabulary<Bound> = Vocabulary { what: "mru option", words: MRU_WORDS };

const NO_MRU: &str = "there is one bound";
const MRU_WORDS: &[Word<Bound>] = &[
    honour("maxdepth", Mru::Entries, "most clients remembered"),
    honour("maxmem", Mru::Kilobytes, "most memory for them, kilobytes, 32 clients in each (default 1024)"),
    accept("mindepth", 1, NO_MRU),
    accept("maxage", 1, NO_MRU),
    accept("minage", 1, NO_MRU),
    accept("initalloc", 1, NO_MRU),
    accept("initmem", 1, NO_MRU),
    accept("incalloc", 1, NO_MRU),
    accept("incmem", 1, NO_MRU),
];

/// `mru [OPTION NUMBER]...`
pub(super) fn mru(draft: &mut Draft, line: &mut Line<'_, '_>) {
    line.needs("an option");
    let mut mru = draft.config.mru;
    while let Some((bound, token)) = line.option(&MRU) {
        set(&mut mru, line.number(token.text, &(1..=u32::MAX)).map(bound));
    }
    if line.is_good() {
        draft.config.mru = mru;
    }
}

/// `dscp NUMBER`
pub(super) fn dscp(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let dscp = line.number("dscp", &(0..=63));
    if line.is_good() {
        draft.config.dscp = dscp;
    }
}

/// `leapsmearinterval SECONDS`
pub(super) fn leap_smear_interval(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let interval = line.number("leapsmearinterval", &(0..=86_400));
    if line.is_good() {
        draft.config.leap_smear_seconds = interval;
    }
}
