//! Status words and error codes (RFC 9327 §3), in both directions.

use std::fmt;

use crate::wire::LeapIndicator;

/// Status word of the system: leap indicator, clock source, and the last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemStatus(pub u16);

/// Status word of an association: flags, selection, and the last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus(pub u16);

/// Status word of a reference clock: event count and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus(pub u16);

/// The characters in front of the rows of ntpq's table, by selection; the last is a source with a pulse per
/// second.
const TALLIES: [char; 8] = [' ', 'x', '.', '-', '+', '#', '*', 'o'];

/// ntpq's words for the same.
const CONDITIONS: [&str; 8] =
    ["reject", "falsetick", "excess", "outlier", "candidate", "backup", "sys.peer", "pps.peer"];

const CLOCK_SOURCES: [&str; 10] = [
    "unspec",
    "pps",
    "lf_radio",
    "hf_radio",
    "uhf_radio",
    "local",
    "ntp",
    "other",
    "wristwatch",
    "telephone",
];

const SYSTEM_EVENTS: [&str; 16] = [
    "unspecified",
    "freq_not_set",
    "freq_set",
    "spike_detect",
    "freq_mode",
    "clock_sync",
    "restart",
    "panic_stop",
    "no_sys_peer",
    "leap_armed",
    "leap_disarmed",
    "leap_event",
    "clock_step",
    "kern",
    "TAI",
    "stale_leapsecond_values",
];

const PEER_EVENTS: [&str; 16] = [
    "",
    "mobilize",
    "demobilize",
    "unreachable",
    "reachable",
    "restart",
    "no_reply",
    "rate_exceeded",
    "access_denied",
    "leap_armed",
    "sys_peer",
    "clock_alarm",
    "bad_auth",
    "popcorn",
    "interleave_mode",
    "interleave_error",
];

const CLOCK_EVENTS: [&str; 7] =
    ["unspec", "no_reply", "bad_format", "fault", "bad_signal", "bad_date", "bad_time"];

const LEAPS: [&str; 4] = ["leap_none", "leap_add_sec", "leap_del_sec", "leap_alarm"];

/// Flags of an association's status word, and ntpq's words for them.
const PEER_FLAGS: [(u16, &str); 5] = [
    (PeerStatus::CONFIGURED, "conf"),
    (PeerStatus::AUTHENTICATION_ENABLED, "authenb"),
    (PeerStatus::AUTHENTIC, "auth"),
    (PeerStatus::REACHABLE, "reach"),
    (PeerStatus::BROADCAST, "bcast"),
];

impl SystemStatus {
    /// The leap indicator.
    pub const fn leap(self) -> LeapIndicator {
        LeapIndicator::from_first_octet((self.0 >> 8) as u8)
    }

    /// How often the last event has happened in a row, up to 15.
    pub const fn events(self) -> u16 {
        (self.0 >> 4) & 15
    }
}

impl PeerStatus {
    /// Set by the configuration.
    pub const CONFIGURED: u16 = 0x8000;
    /// A key is configured.
    pub const AUTHENTICATION_ENABLED: u16 = 0x4000;
    /// The last packet was signed rightly.
    pub const AUTHENTIC: u16 = 0x2000;
    /// Something came in the last eight polls.
    pub const REACHABLE: u16 = 0x1000;
    /// It sends broadcasts.
    pub const BROADCAST: u16 = 0x0800;

    /// Whether a flag is set.
    pub const fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }

    /// What the selection has made of it, as the character in front of its row.
    pub const fn tally(self) -> char {
        TALLIES[(self.0 >> 8 & 7) as usize]
    }

    /// The same as ntpq's word for it.
    pub const fn condition(self) -> &'static str {
        CONDITIONS[(self.0 >> 8 & 7) as usize]
    }

    /// How often the last event has happened in a row, up to 15.
    pub const fn events(self) -> u16 {
        (self.0 >> 4) & 15
    }

    /// ntpq's word for the last event.
    pub const fn last_event(self) -> &'static str {
        PEER_EVENTS[(self.0 & 15) as usize]
    }
}

/// ntpq counts events so.
struct Events(u16);

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no events"),
            1 => f.write_str("1 event"),
            count => write!(f, "{count} events"),
        }
    }
}

impl fmt::Display for SystemStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leap = LEAPS[usize::from(self.0 >> 14)];
        let event = SYSTEM_EVENTS[usize::from(self.0 & 15)];
        let source = usize::from((self.0 >> 8) & 63);
        let source = CLOCK_SOURCES.get(source).copied().unwrap_or("?");
        write!(f, "{leap}, sync_{source}, {}, {event}", Events(self.events()))
    }
}

impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, word) in PEER_FLAGS.iter().filter(|(flag, _)| self.has(*flag)) {
            write!(f, "{word}, ")?;
        }
        write!(f, "sel_{}, {}", self.condition(), Events(self.events()))?;
        match self.last_event() {
            "" => Ok(()),
            event => write!(f, ", {event}"),
        }
    }
}

impl fmt::Display for ClockStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = CLOCK_EVENTS.get(usize::from(self.0 & 15)).copied().unwrap_or("?");
        write!(f, "{}, clk_{event}", Events((self.0 >> 4) & 15))
    }
}

/// Why a server refuses (RFC 9327 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorCode {
    /// It does not say.
    Unspecified = 0,
    /// Not without a key, or not at all.
    Permission = 1,
    /// The request's length or format is wrong.
    BadFormat = 2,
    /// Nobody knows that opcode.
    BadOpcode = 3,
    /// There is no such association.
    BadAssociation = 4,
    /// There is no such variable.
    UnknownVariable = 5,
    /// That value cannot be.
    BadValue = 6,
    /// `restrict` forbids it.
    Restricted = 7,
}

impl ErrorCode {
    /// From the status word of an error response: the code is its upper half.
    pub const fn from_status(status: u16) -> Self {
        match status >> 8 {
            1 => Self::Permission,
            2 => Self::BadFormat,
            3 => Self::BadOpcode,
            4 => Self::BadAssociation,
            5 => Self::UnknownVariable,
            6 => Self::BadValue,
            7 => Self::Restricted,
            _ => Self::Unspecified,
        }
    }

    /// The status word of an error response.
    pub const fn status(self) -> u16 {
        (self as u16) << 8
    }
}

impl fmt::Display for ErrorCode {
    /// As ntpq says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "***Server returned an unspecified error",
            Self::Permission => "***Server disallowed request (authentication?)",
            Self::BadFormat => "***Server reports a bad format request packet",
            Self::BadOpcode => "***Server reports a bad opcode in request",
            Self::BadAssociation => "***Association ID unknown to server",
            Self::UnknownVariable => "***A request variable unknown to the server",
            Self::BadValue => "***Server indicates a request variable was bad",
            Self::Restricted => "***Server disallowed request (restricted)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_ntpqs() {
        for (status, words) in [
            (0xC016, "leap_alarm, sync_unspec, 1 event, restart"),
            (0x0615, "leap_none, sync_ntp, 1 event, clock_sync"),
            (0x0515, "leap_none, sync_local, 1 event, clock_sync"),
            (0x4624, "leap_add_sec, sync_ntp, 2 events, freq_mode"),
            (0x0000, "leap_none, sync_unspec, no events, unspecified"),
            (0x3F00, "leap_none, sync_?, no events, unspecified"),
        ] {
            assert_eq!(SystemStatus(status).to_string(), words);
        }
        for (status, words) in [
            (0x961A, "conf, reach, sel_sys.peer, 1 event, sys_peer"),
            (0x9014, "conf, reach, sel_reject, 1 event, reachable"),
            (0x8011, "conf, sel_reject, 1 event, mobilize"),
            (0xF414, "conf, authenb, auth, reach, sel_candidate, 1 event, reachable"),
        ] {
            assert_eq!(PeerStatus(status).to_string(), words);
        }
        assert_eq!(ClockStatus(0).to_string(), "no events, clk_unspec");
    }

    #[test]
    fn tallies_and_error_codes_survive_the_wire() {
        let tallies: String = (0..8).map(|bits| PeerStatus(bits << 8).tally()).collect();
        assert_eq!(tallies, " x.-+#*o");
        for code in 0..8 {
            assert_eq!(ErrorCode::from_status(code << 8).status(), code << 8);
        }
    }
}
