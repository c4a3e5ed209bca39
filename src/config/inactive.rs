//! What is read and checked, but not obeyed yet. Each is reported once, at its first use. Whoever makes a feature work deletes
//! its constant here, and the compiler shows the lines that reported it.

/// Something that ntp.conf can ask for and that is not active yet.
pub(super) struct Feature {
    /// Tells features apart.
    pub(super) name: &'static str,
    /// What happens as long as it is not active.
    pub(super) meanwhile: &'static str,
}

const fn feature(name: &'static str, meanwhile: &'static str) -> Feature {
    Feature { name, meanwhile }
}

pub(super) const ASSOCIATIONS: Feature =
    feature("associations", "no time is taken from other servers, only the local clock is served");
pub(super) const DISCIPLINE: Feature = feature("discipline", "the clock is not adjusted");
pub(super) const KEYS: Feature = feature("keys", "requests authenticated with a key get no answer");
pub(super) const CONTROL: Feature = feature("control", "control messages (ntpq) get no answer");
pub(super) const RATE_LIMIT: Feature = feature("rate limit", "no request is refused for coming too often");
pub(super) const MONITOR: Feature = feature("monitor", "clients are not recorded");
pub(super) const LEAP_FILE: Feature = feature("leap file", "leap seconds are not announced");
pub(super) const LEAP_SMEAR: Feature = feature("leap smear", "leap seconds are not smeared");
pub(super) const STATISTICS: Feature = feature("statistics", "statistics files are not written");
pub(super) const LOG_FILE: Feature = feature("log file", "the log goes to standard error");
pub(super) const PID_FILE: Feature = feature("pid file", "no such file is written");
pub(super) const DSCP: Feature = feature("dscp", "packets leave with DSCP 0");
