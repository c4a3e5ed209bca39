//! Reference clocks: `server 127.127.1.u`, `refclock local`, `fudge`. The only one here is the local clock;
//! every other driver is refused by its name.

use std::net::{IpAddr, Ipv4Addr};

use super::error::Position;
use super::inactive;
use super::lexer::Token;
use super::line::{Line, show};
use super::load::Draft;
use super::vocabulary::{Vocabulary, Word, accept, honour, later};

/// The local clock, driver 1: this machine's own clock, served as it is (ntpd's "undisciplined local clock").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalClock {
    /// The `u` of 127.127.1.u.
    pub unit: u8,
    /// The stratum of the clock itself, 0–15; 5 unless a `fudge` line says otherwise. Clients see
    /// [`Self::served_stratum`].
    pub stratum: u8,
    /// What `ntpq` shows as the clock's reference id: 1–4 ASCII characters, zero padded; `LOCL` by default.
    pub refid: [u8; 4],
    /// Seconds added to the clock's time (`fudge … time1`).
    pub time1_seconds: f64,
}

impl LocalClock {
    /// The `t` of 127.127.t.u.
    pub const DRIVER: u8 = 1;

    /// Unit `unit`, with nothing fudged.
    pub const fn new(unit: u8) -> Self {
        Self { unit, stratum: 5, refid: *b"LOCL", time1_seconds: 0.0 }
    }

    /// The pseudo address, 127.127.1.u.
    pub const fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 127, Self::DRIVER, self.unit)
    }

    /// The stratum that clients see: one more than the clock's own (RFC 5905 §11.2.3). 16 is
    /// "unsynchronized", which a packet carries as 0.
    pub const fn served_stratum(&self) -> u8 {
        self.stratum.saturating_add(1)
    }

    /// The reference id that clients see (RFC 5905 §7.3): at stratum 1 the clock's own, else the address of
    /// the source, which for the local clock is 127.127.1.u.
    pub const fn served_refid(&self) -> [u8; 4] {
        if self.served_stratum() == 1 { self.refid } else { self.address().octets() }
    }
}

impl Default for LocalClock {
    /// 127.127.1.0, with nothing fudged.
    fn default() -> Self {
        Self::new(0)
    }
}

/// A `fudge` line, which may stand before the line of its clock.
#[derive(Clone, Debug)]
pub(super) struct Fudge {
    unit: u8,
    settings: Settings,
    position: Position,
}

/// What `fudge` and `refclock` set.
#[derive(Clone, Debug, Default)]
struct Settings {
    unit: Option<u8>,
    stratum: Option<u8>,
    refid: Option<[u8; 4]>,
    time1_seconds: Option<f64>,
}

#[derive(Debug)]
pub(super) enum ClockOption {
    Stratum,
    RefId,
    Time1,
    Unit,
}

/// The words after `fudge 127.127.1.u`.
pub(super) static FUDGE: Vocabulary<ClockOption> = Vocabulary { what: "fudge option", words: FUDGE_WORDS };

const NO_DRIVER_FLAG: &str = "the local clock has no such setting";
const STRATUM: Word<ClockOption> = honour(
    "stratum",
    ClockOption::Stratum,
    "the clock's own stratum, 0–15 (default 5); clients see one more, and 16 is unsynchronized",
);
const REFID: Word<ClockOption> =
    honour("refid", ClockOption::RefId, "1–4 ASCII characters (default LOCL); clients see it at stratum 1");
const TIME1: Word<ClockOption> = later(
    "time1",
    ClockOption::Time1,
    "seconds added to the clock's time, −3600 to 3600 (default 0)",
    &inactive::TIME1,
);

const FUDGE_WORDS: &[Word<ClockOption>] = &[
    STRATUM,
    REFID,
    TIME1,
    accept("time2", 1, NO_DRIVER_FLAG),
    accept("flag1", 1, NO_DRIVER_FLAG),
    accept("flag2", 1, NO_DRIVER_FLAG),
    accept("flag3", 1, NO_DRIVER_FLAG),
    accept("flag4", 1, NO_DRIVER_FLAG),
    accept("minjitter", 1, NO_DRIVER_FLAG),
];

/// The words after `refclock local`.
pub(super) static REFCLOCK: Vocabulary<ClockOption> =
    Vocabulary { what: "refclock option", words: REFCLOCK_WORDS };

const REFCLOCK_WORDS: &[Word<ClockOption>] = &[
    honour("unit", ClockOption::Unit, "0–255 (default 0)"),
    STRATUM,
    REFID,
    TIME1,
    accept("time2", 1, NO_DRIVER_FLAG),
    accept("flag1", 1, NO_DRIVER_FLAG),
    accept("flag2", 1, NO_DRIVER_FLAG),
    accept("flag3", 1, NO_DRIVER_FLAG),
    accept("flag4", 1, NO_DRIVER_FLAG),
    accept("subtype", 1, NO_DRIVER_FLAG),
    accept("mode", 1, NO_DRIVER_FLAG),
    accept("path", 1, NO_DRIVER_FLAG),
    accept("ppspath", 1, NO_DRIVER_FLAG),
    accept("baud", 1, NO_DRIVER_FLAG),
    accept("holdover", 1, NO_DRIVER_FLAG),
    accept("minpoll", 1, "the local clock is never polled"),
    accept("maxpoll", 1, "the local clock is never polled"),
    accept("prefer", 0, "any other usable source is preferred to the local clock"),
    accept("noselect", 0, "leave the line out instead"),
    accept("true", 0, "the local clock is served only without other sources"),
];

/// The other drivers of ntpd: type, name in `refclock` lines, what it is.
const DRIVERS: [(u8, &str, &str); 37] = [
    (3, "pst", "PST/Traconex WWV receiver"),
    (4, "spectracom", "Spectracom receiver"),
    (5, "truetime", "TrueTime receiver"),
    (6, "irig", "IRIG audio decoder"),
    (7, "chu", "CHU audio demodulator"),
    (8, "generic", "generic serial receiver"),
    (9, "magnavox", "Magnavox MX4200 GPS receiver"),
    (10, "as2201", "Austron 2200A/2201A GPS receiver"),
    (11, "arbiter", "Arbiter 1088A/B GPS receiver"),
    (12, "tpro", "KSI/Odetics TPRO/S IRIG interface"),
    (13, "leitch", "Leitch CSD 5300 controller"),
    (16, "bancomm", "Bancomm GPS/IRIG receiver"),
    (17, "datum", "Datum precision time system"),
    (18, "modem", "modem time service"),
    (19, "heath", "Heath WWV/WWVH receiver"),
    (20, "nmea", "NMEA GPS receiver"),
    (22, "pps", "pulse per second"),
    (26, "hpgps", "HP 58503A GPS receiver"),
    (27, "arc", "Arcron MSF receiver"),
    (28, "shm", "shared memory"),
    (29, "trimble", "Trimble Palisade GPS receiver"),
    (30, "oncore", "Motorola Oncore GPS receiver"),
    (31, "jupiter", "Rockwell Jupiter GPS receiver"),
    (32, "chronolog", "Chrono-log K-series receiver"),
    (33, "dumbclock", "dumb clock"),
    (34, "ultralink", "Ultralink receiver"),
    (35, "pcf", "Conrad parallel port clock"),
    (36, "wwv", "WWV/H audio demodulator"),
    (37, "fg", "Forum Graphic GPS receiver"),
    (38, "hopf", "hopf serial receiver"),
    (39, "hopfpci", "hopf PCI receiver"),
    (40, "jjy", "JJY receiver"),
    (42, "zyfer", "Zyfer GPStarplus receiver"),
    (43, "ripencc", "RIPE NCC Trimble interface"),
    (44, "neoclock", "NeoClock4X receiver"),
    (45, "tsyncpci", "Spectracom TSYNC PCI card"),
    (46, "gpsd", "GPSD client"),
];

/// Whether an address is 127.127.t.u: a reference clock, not a host. The type and the unit.
pub(super) fn clock_address(address: IpAddr) -> Option<(u8, u8)> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [127, 127, kind, unit] => Some((kind, unit)),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

/// Reports a driver that is not there.
pub(super) fn refuse_driver(kind: u8, token: &Token<'_>, line: &mut Line<'_, '_>) {
    let text = match DRIVERS.iter().find(|&&(driver, ..)| driver == kind) {
        Some((_, name, what)) => format!("{} is driver {kind}, {name} ({what})", show(token.text)),
        None => format!("{} is driver {kind}, which is unknown here", show(token.text)),
    };
    no_driver(text, token, line);
}

fn no_driver(text: String, token: &Token<'_>, line: &mut Line<'_, '_>) {
    let hint = "the only reference clock here is the local clock, 127.127.1.0";
    line.error(token.column, text + ": not supported", Some(hint.into()));
    line.skip_rest();
}

/// Adds the local clock of a `server` line, whose options were understood already.
pub(super) fn add(draft: &mut Draft, line: &mut Line<'_, '_>, token: &Token<'_>, clock: LocalClock) {
    let exists = draft.config.local_clocks.iter().any(|other| other.unit == clock.unit);
    if exists {
        let text = format!("{} is there already: the line changes nothing", clock.address());
        line.warn(("local clock", "twice"), token.column, text, None);
    }
    if line.is_good() && !exists {
        draft.config.local_clocks.push(clock);
    }
}

/// `refclock DRIVER [OPTION]...`
pub(super) fn refclock(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let Some(token) = line.value("refclock", "a driver") else { return };
    if token.text != "local" {
        let driver = DRIVERS.iter().find(|&&(_, name, _)| name == token.text);
        let what = driver.map_or("which is unknown here", |&(_, _, what)| what);
        return no_driver(format!("reference clock {}, {what}", show(token.text)), token, line);
    }
    let settings = settings(line, &REFCLOCK, token);
    let mut clock = LocalClock::new(settings.unit.unwrap_or_default());
    settings.apply(&mut clock);
    add(draft, line, token, clock);
}

/// `fudge 127.127.1.u [OPTION]...`
pub(super) fn fudge(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let Some(token) = line.value("fudge", "the address of a reference clock, as 127.127.1.0") else { return };
    let unit = match token.text.parse().ok().and_then(clock_address) {
        Some((LocalClock::DRIVER, unit)) => unit,
        Some((kind, _)) => return refuse_driver(kind, token, line),
        None => {
            let text = format!("{} is no reference clock, which are 127.127.TYPE.UNIT", show(token.text));
            line.error(token.column, text, None);
            return;
        }
    };
    let fudge = Fudge { unit, settings: settings(line, &FUDGE, token), position: line.position(token) };
    if line.is_good() {
        draft.fudges.push(fudge);
    }
}

fn settings(
    line: &mut Line<'_, '_>,
    vocabulary: &'static Vocabulary<ClockOption>,
    clock: &Token<'_>,
) -> Settings {
    let mut settings = Settings::default();
    while let Some((option, token)) = line.option(vocabulary) {
        match option {
            ClockOption::Unit => settings.unit = line.number(token.text, &(0..=u8::MAX)),
            ClockOption::Stratum => settings.stratum = line.number(token.text, &(0..=15)),
            ClockOption::RefId => settings.refid = refid(line),
            ClockOption::Time1 => {
                settings.time1_seconds = line.number(token.text, &(-3600.0..=3600.0));
            }
        }
    }
    if settings.stratum == Some(15) {
        let text = "stratum 15 is served as stratum 16: clients will find the server unsynchronized";
        line.warn(("local clock", "stratum 15"), clock.column, text.to_owned(), None);
    }
    settings
}

fn refid(line: &mut Line<'_, '_>) -> Option<[u8; 4]> {
    let token = line.value("refid", "1 to 4 ASCII characters")?;
    let mut refid = [0; 4];
    let fits = (1..=4).contains(&token.text.len()) && token.text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        let text = format!("\"refid\" needs 1 to 4 ASCII characters, not {}", show(token.text));
        line.error(token.column, text, None);
        return None;
    }
    for (to, from) in refid.iter_mut().zip(token.text.bytes()) {
        *to = from;
    }
    Some(refid)
}

impl Settings {
    fn apply(&self, clock: &mut LocalClock) {
        clock.stratum = self.stratum.unwrap_or(clock.stratum);
        clock.refid = self.refid.unwrap_or(clock.refid);
        clock.time1_seconds = self.time1_seconds.unwrap_or(clock.time1_seconds);
    }
}

/// Applies the `fudge` lines, in their order, now that every clock is known. Returns the places of those
/// without a clock.
pub(super) fn apply_fudges(clocks: &mut [LocalClock], fudges: &[Fudge]) -> Vec<(Position, Ipv4Addr)> {
    let mut without_clock = Vec::new();
    for fudge in fudges {
        match clocks.iter_mut().find(|clock| clock.unit == fudge.unit) {
            Some(clock) => fudge.settings.apply(clock),
            None => without_clock.push((fudge.position.clone(), LocalClock::new(fudge.unit).address())),
        }
    }
    without_clock
}
