//! Variables of the system, by ntpd's names, in its units and formats.

use super::format::{boolean, milliseconds, milliseconds6, quoted, refid, seconds16, stamp};
use super::view::{KernelClock, View};
use crate::snapshot::AssociationKind;
use crate::wire::NtpShort;

/// Reads one variable; `None` where this system has nothing of that name just now.
type Read = fn(&View<'_>) -> Option<String>;

/// What is told when nothing is asked for, in ntpd's order.
const DEFAULT: &[&str] = &[
    "version",
    "processor",
    "system",
    "leap",
    "stratum",
    "precision",
    "rootdelay",
    "rootdisp",
    "refid",
    "reftime",
    "clock",
    "peer",
    "tc",
    "mintc",
    "offset",
    "frequency",
    "sys_jitter",
    "clk_jitter",
    "clk_wander",
    "tai",
    "leapsec",
    "expire",
];

/// All there are, in ntpd's order, which is also that of an answer; what ntpsec has more stands where ntpsec
/// tells it.
const VARIABLES: &[(&str, Read)] = &[
    ("leap", |view| Some((view.system.leap as u8).to_string())),
    ("stratum", |view| Some(view.system.stratum.to_string())),
    ("precision", |view| Some(view.system.precision.log2().to_string())),
    ("rootdelay", |view| Some(seconds16(view.system.root_delay))),
    ("rootdisp", |view| Some(seconds16(view.system.root_dispersion_at(view.now)))),
    ("refid", |view| Some(refid(view.system.reference_id, view.system.stratum))),
    ("reftime", |view| Some(stamp(view.system.reference_time))),
    ("tc", |view| Some(view.discipline.time_constant.to_string())),
    ("peer", |view| Some(view.discipline.system_peer.to_string())),
    ("offset", |view| Some(milliseconds6(view.discipline.offset))),
    ("frequency", |view| Some(format!("{:.3}", view.discipline.frequency_ppm))),
    ("sys_jitter", |view| Some(milliseconds6(view.discipline.system_jitter))),
    ("clk_jitter", |view| Some(milliseconds(view.discipline.clock_jitter))),
    ("clock", |view| Some(stamp(view.now))),
    ("processor", |view| Some(quoted(&view.identity.processor))),
    ("system", |view| Some(quoted(&view.identity.system))),
    ("version", |view| Some(quoted(&view.identity.version))),
    ("clk_wander", |view| Some(format!("{:.3}", view.discipline.clock_wander_ppm))),
    ("sys_var_list", |_| Some(quoted(&names()))),
    // Without a leap second file there is nothing to tell.
    ("tai", |_| None),
    ("leapsec", |_| None),
    ("expire", |_| None),
    ("mintc", |_| Some(MIN_TIME_CONSTANT.to_string())),
    ("mru_enabled", |view| Some(format!("0x{}", boolean(view.monitor.enabled)))),
    ("mru_depth", |view| Some(view.monitor.clients.len().to_string())),
    ("mru_deepest", |view| Some(view.monitor.deepest.to_string())),
    // Clients are kept until there is no room: however few there are, however old they get.
    ("mru_mindepth", |view| Some(view.monitor.maximum_depth.to_string())),
    ("mru_maxage", |_| Some(MRU_MAX_AGE.to_string())),
    ("mru_maxdepth", |view| Some(view.monitor.maximum_depth.to_string())),
    ("mru_mem", |view| Some(kilobytes(view.monitor.clients.len() as u64 * view.monitor.entry_bytes))),
    ("mru_maxmem", |view| Some(kilobytes(view.monitor.maximum_depth * view.monitor.entry_bytes))),
    ("ss_uptime", |view| Some(view.statistics.uptime.to_string())),
    ("ss_reset", |view| Some(view.statistics.uptime.to_string())),
    ("ss_received", |view| Some(view.statistics.received.to_string())),
    ("ss_thisver", |view| Some(view.statistics.this_version.to_string())),
    ("ss_oldver", |view| Some(view.statistics.old_version.to_string())),
    ("ss_badformat", |view| Some(view.statistics.bad_format.to_string())),
    ("ss_badauth", |view| Some(view.statistics.bad_authentication.to_string())),
    ("ss_declined", |view| Some(view.statistics.declined.to_string())),
    ("ss_restricted", |view| Some(view.statistics.restricted.to_string())),
    ("ss_limited", |view| Some(view.statistics.limited.to_string())),
    ("ss_kodsent", |view| Some(view.statistics.kod_sent.to_string())),
    ("ss_processed", |view| Some(view.statistics.processed.to_string())),
    ("ss_numctlreq", |view| Some(view.statistics.control.to_string())),
    // Without a reset, a count since the last one is the count since the start.
    ("ss_reset_r", |view| Some(view.statistics.uptime.to_string())),
    ("ss_received_r", |view| Some(view.statistics.received.to_string())),
    ("ss_thisver_r", |view| Some(view.statistics.this_version.to_string())),
    ("ss_oldver_r", |view| Some(view.statistics.old_version.to_string())),
    ("ss_badformat_r", |view| Some(view.statistics.bad_format.to_string())),
    ("ss_badauth_r", |view| Some(view.statistics.bad_authentication.to_string())),
    ("ss_declined_r", |view| Some(view.statistics.declined.to_string())),
    ("ss_restricted_r", |view| Some(view.statistics.restricted.to_string())),
    ("ss_limited_r", |view| Some(view.statistics.limited.to_string())),
    ("ss_kodsent_r", |view| Some(view.statistics.kod_sent.to_string())),
    ("ss_processed_r", |view| Some(view.statistics.processed.to_string())),
    ("ss_ver1", |view| Some(view.statistics.version_1.to_string())),
    ("ss_ver1_r", |view| Some(view.statistics.version_1.to_string())),
    ("ss_ver1client", |view| Some(view.statistics.version_1.to_string())),
    ("ss_ver1client_r", |view| Some(view.statistics.version_1.to_string())),
    ("ss_ver1zero", |_| Some("0".to_owned())),
    ("ss_ver1zero_r", |_| Some("0".to_owned())),
    ("ss_ver1symm", |_| Some("0".to_owned())),
    ("ss_ver1symm_r", |_| Some("0".to_owned())),
    ("rootdist", |view| Some(milliseconds(root_distance(view)))),
    ("peeradr", |view| {
        Some(view.system_peer().map_or("0.0.0.0:0".to_owned(), |peer| peer.source.to_string()))
    }),
    ("peermode", |view| Some(if view.system_peer().is_some() { "3" } else { "0" }.to_owned())),
    // There are no broadcasts to be compensated, and authentication takes no time worth telling.
    ("bcastdelay", |_| Some("0.000".to_owned())),
    ("authdelay", |_| Some("0.000".to_owned())),
    ("authkeys", |view| Some(view.statistics.keys.to_string())),
    // Keys are neither kept for later use nor cached, and do not expire.
    ("authfreek", |_| Some("0".to_owned())),
    ("authklookups", |view| Some(view.statistics.key_lookups.to_string())),
    ("authknotfound", |view| Some(view.statistics.keys_not_found.to_string())),
    ("authkuncached", |_| Some("0".to_owned())),
    ("authkexpired", |_| Some("0".to_owned())),
    ("authencrypts", |view| Some(view.statistics.encryptions.to_string())),
    ("authdecrypts", |view| Some(view.statistics.decryptions.to_string())),
    ("authreset", |view| Some(view.statistics.uptime.to_string())),
    ("koffset", |view| kernel(view, |kernel| number(kernel.offset * 1e3))),
    ("kfreq", |view| kernel(view, |kernel| number(kernel.frequency_ppm))),
    ("kmaxerr", |view| kernel(view, |kernel| number(kernel.maximum_error * 1e3))),
    ("kesterr", |view| kernel(view, |kernel| number(kernel.estimated_error * 1e3))),
    ("kstflags", |view| kernel(view, |kernel| quoted(&flags(kernel.status)))),
    ("ktimeconst", |view| kernel(view, |kernel| kernel.time_constant.to_string())),
    ("kprecis", |view| kernel(view, |kernel| number(kernel.precision * 1e3))),
    ("kfreqtol", |view| kernel(view, |kernel| number(kernel.tolerance_ppm))),
    ("kppsfreq", |view| kernel(view, |_| "0".to_owned())),
    ("kppsstab", |view| kernel(view, |_| "0".to_owned())),
    ("kppsjitter", |view| kernel(view, |_| "0".to_owned())),
    ("kppscalibdur", |view| kernel(view, |_| "0".to_owned())),
    ("kppscalibs", |view| kernel(view, |_| "0".to_owned())),
    ("kppscaliberrs", |view| kernel(view, |_| "0".to_owned())),
    ("kppsjitexc", |view| kernel(view, |_| "0".to_owned())),
    ("kppsstbexc", |view| kernel(view, |_| "0".to_owned())),
    ("iostats_reset", |view| Some(view.statistics.uptime.to_string())),
    ("total_rbuf", |view| Some(view.statistics.buffers.to_string())),
    ("free_rbuf", |view| {
        Some(view.statistics.buffers.saturating_sub(view.statistics.buffers_in_use).to_string())
    }),
    ("used_rbuf", |view| Some(view.statistics.buffers_in_use.to_string())),
    ("rbuf_lowater", |view| Some(view.statistics.buffers_short.to_string())),
    ("io_dropped", |view| Some(view.statistics.dropped.to_string())),
    ("io_ignored", |view| Some(view.statistics.ignored.to_string())),
    ("io_received", |view| Some(view.statistics.received.to_string())),
    ("io_sent", |view| Some(view.statistics.sent.to_string())),
    ("io_sendfailed", |view| Some(view.statistics.send_failed.to_string())),
    ("io_wakeups", |view| Some(view.statistics.wakeups.to_string())),
    ("io_goodwakeups", |view| Some(view.statistics.useful_wakeups.to_string())),
    ("timerstats_reset", |view| Some(view.statistics.uptime.to_string())),
    ("timer_overruns", |view| Some(view.statistics.timer_overruns.to_string())),
    ("timer_xmts", |view| Some(view.statistics.polls.to_string())),
];

/// log2 of the shortest time constant, ntpd's.
const MIN_TIME_CONSTANT: u8 = 3;
/// An age that no client in the list reaches, in seconds: the largest that ntpd can be given.
const MRU_MAX_AGE: u32 = i32::MAX as u32;

/// The variables of a name list, in our order, those that have a value; `None` if any name is unknown. An
/// empty list stands for the usual ones.
pub(super) fn read(view: &View<'_>, wanted: &[&str]) -> Option<Vec<(&'static str, String)>> {
    let value = |(name, read): &(&'static str, Read)| read(view).map(|value| (*name, value));
    if wanted.is_empty() {
        let find = |name: &&str| VARIABLES.iter().find(|(known, _)| known == name);
        return Some(DEFAULT.iter().filter_map(find).filter_map(value).collect());
    }
    let is_known = |name: &&str| VARIABLES.iter().any(|(known, _)| known == name);
    let is_wanted = |(name, _): &&(&'static str, Read)| wanted.contains(name);
    wanted.iter().all(is_known).then(|| VARIABLES.iter().filter(is_wanted).filter_map(value).collect())
}

/// RFC 5905 §11.2: the error bound of what is served.
fn root_distance(view: &View<'_>) -> f64 {
    let seconds = |short: NtpShort| f64::from(short.to_bits()) / 65_536.0;
    seconds(view.system.root_delay) / 2.0 + seconds(view.system.root_dispersion_at(view.now))
}

fn names() -> String {
    VARIABLES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",")
}

fn kernel(view: &View<'_>, text: impl Fn(&KernelClock) -> String) -> Option<String> {
    view.kernel.as_ref().map(text)
}

/// As C's %g would.
fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded == 0.0 { "0".to_owned() } else { rounded.to_string() }
}

fn kilobytes(bytes: u64) -> String {
    bytes.div_ceil(1024).to_string()
}

/// The bits of `timex.status` by ntpd's names.
fn flags(status: u32) -> String {
    const NAMES: [(u32, &str); 14] = [
        (0x0001, "pll"),
        (0x0002, "ppsfreq"),
        (0x0004, "ppstime"),
        (0x0008, "fll"),
        (0x0010, "ins"),
        (0x0020, "del"),
        (0x0040, "unsync"),
        (0x0080, "freqhold"),
        (0x0100, "ppssignal"),
        (0x0200, "ppsjitter"),
        (0x0400, "ppswander"),
        (0x0800, "ppserror"),
        (0x1000, "clockerr"),
        (0x2000, "nano"),
    ];
    let set: Vec<&str> = NAMES.iter().filter(|(bit, _)| status & bit != 0).map(|(_, name)| *name).collect();
    set.join(" ")
}

/// The status word of the system.
pub(super) fn status(view: &View<'_>) -> u16 {
    /// RFC 9327 §4.1: codes of clock sources.
    const UNSPECIFIED: u16 = 0;
    const LOCAL: u16 = 5;
    const NTP: u16 = 6;
    let source = match view.system_peer().map(|peer| peer.kind) {
        None => UNSPECIFIED,
        Some(AssociationKind::LocalClock) => LOCAL,
        Some(_) => NTP,
    };
    let discipline = view.discipline;
    (u16::from(view.system.leap as u8) << 14)
        | (source << 8)
        | (u16::from(discipline.events.min(15)) << 4)
        | u16::from(discipline.event & 15)
}
