//! ntp.conf: text → [`Config`] and [`Findings`].
//!
//! [`load`] reads a file and those it includes through a function that the caller gives it, so nothing here
//! makes a system call. One command per line; `#` begins a comment; words are separated by blanks and `=`;
//! quotes keep a value together; words are case-sensitive. A line that is wrong is dropped as a whole and
//! reported, and reading goes on.
//!
//! Where a rule lives: `directive` has one table of all directives, and each option set has its own table of
//! words in the file that understands it. `docs/ntp.conf.md` is these tables for the operator, and a test
//! keeps it so.
//!
//! | file | understands |
//! |---|---|
//! | `lexer` | lines and words |
//! | `line` | one line: takes its words one by one, collects what is wrong |
//! | `vocabulary` | the words that may stand in one place, similar words |
//! | `directive` | the first word of a line |
//! | `restrict` | `restrict`, and the access list that all of them make |
//! | `association` | `server`, `pool`, `peer` |
//! | `local_clock` | `server 127.127.1.u`, `refclock`, `fudge` |
//! | `interface` | `interface`, `nic` |
//! | `options` | numbers and switches |
//! | `files`, `statistics` | files and keys |
//! | `leap_seconds` | the table that `leapfile` names |
//! | `inactive` | what is understood but not active yet |
//! | `load` | files, and what can be judged only at their end |

mod association;
mod directive;
#[cfg(test)]
mod document;
mod error;
mod files;
mod host;
mod inactive;
mod interface;
mod leap_seconds;
mod lexer;
mod line;
mod load;
mod local_clock;
mod options;
mod restrict;
mod statistics;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use association::{Association, AssociationKind};
pub use error::{Finding, Findings, Hint, Position, Severity};
pub use files::{LeapFile, TrustedKeys};
pub use host::{Family, Host, Prefix};
pub use interface::{InterfaceAction, InterfaceMatch, InterfaceRule};
pub use leap_seconds::{LeapChange, LeapTable, LeapTableError};
pub use load::Unreadable;
pub use local_clock::LocalClock;
pub use options::{Discard, Limit, Mru, Switches, Tinker, Tos};
pub use restrict::{Restrict, RestrictFlags, RestrictTarget, Restriction};
pub use statistics::{Filegen, FilegenPeriod, Statistics};

/// A value and the place where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// What was given.
    pub value: T,
    /// Where.
    pub position: Position,
}

/// Everything that a configuration says, in the order in which it says it. `Config::default()` is what an
/// empty file says.
///
/// Of a directive that takes one value, the last line counts, as in ntpd.
///
/// A server needs four questions:
///
/// - what to serve: [`Config::local_clock`], with its [`LocalClock::served_stratum`] and
///   [`LocalClock::served_refid`];
/// - to whom: [`Config::restrictions`], which map one to one to the entries of the server's access list;
/// - where: [`Config::interface_action`];
/// - whether to take a file that is read again: only if [`Findings::errors`] is 0.
///
/// ```
/// use std::path::Path;
/// use ntpring::config::{self, Prefix, RestrictFlags};
///
/// let text = "server 127.127.1.0\nfudge 127.127.1.0 stratum 3\nrestrict default noquery ibrust";
/// let (config, findings) = config::load(Path::new("ntp.conf"), &mut |_| Ok(text.into()))?;
/// let clock = config.local_clock().expect("a local clock");
/// assert_eq!((clock.served_stratum(), clock.served_refid()), (4, [127, 127, 1, 0]));
/// // The bad line is dropped, so the builtin default holds.
/// let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
/// assert_eq!(lines, [r#"ntp.conf:3:26: error: unknown restrict flag "ibrust""#]);
/// let default = config.restrictions(|_, _| Vec::new()).remove(0);
/// assert_eq!(default.prefix, Prefix::ALL_V4);
/// assert_eq!(default.flags, RestrictFlags::NOQUERY);
/// # Ok::<(), config::Unreadable>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The local clocks: `server 127.127.1.u` or `refclock local`, with their `fudge` lines. See
    /// [`Config::local_clock`].
    pub local_clocks: Vec<LocalClock>,
    /// `server`, `pool` and `peer` lines, but for reference clocks.
    pub associations: Vec<Association>,
    /// `restrict` lines. For the access list they make, see [`Config::restrictions`] and
    /// [`Config::source_restriction`].
    pub restrict: Vec<Restrict>,
    /// `interface` lines. For what they mean, see [`Config::interface_action`].
    pub interfaces: Vec<InterfaceRule>,
    /// `driftfile`: one number, the frequency error in parts per million.
    pub drift_file: Option<Located<PathBuf>>,
    /// `leapfile`.
    pub leap_file: Option<LeapFile>,
    /// `logfile`.
    pub log_file: Option<Located<PathBuf>>,
    /// `pidfile`.
    pub pid_file: Option<Located<PathBuf>>,
    /// `keys`. Whether the file is there is for the reader of this to find out; if not, that is no reason not
    /// to serve.
    pub keys_file: Option<Located<PathBuf>>,
    /// `trustedkey`: keys that are not among them are treated as unknown.
    pub trusted_keys: TrustedKeys,
    /// `controlkey`: the key id of control messages that are told more than others, 1–65535.
    pub control_key: Option<Located<u16>>,
    /// `statsdir`, `statistics`, `filegen`.
    pub statistics: Statistics,
    /// `tinker`.
    pub tinker: Tinker,
    /// `tos`.
    pub tos: Tos,
    /// `enable`, `disable`.
    pub switches: Switches,
    /// `discard`, if there.
    pub discard: Option<Discard>,
    /// `limit`, if there; where both are, ntpd's `discard` and ntpsec's `limit` bound the same requests, and
    /// the stricter of their numbers hold.
    pub limit: Option<Limit>,
    /// `mru`.
    pub mru: Mru,
    /// `dscp`: the Differentiated Services code point of sent packets, 0–63.
    pub dscp: Option<u8>,
    /// `leapsmearinterval`: the seconds over which a leap second is spread; 0: not at all.
    pub leap_smear_seconds: Option<u32>,
}

/// Reads the configuration at `path` and the files it includes. `read` gives the content of a file; the bytes
/// need not be text. It should refuse what is longer than [`crate::limits::CONFIG_BYTES`], which is refused
/// here, too, once it is read.
///
/// Whatever is found is in [`Findings`], in reading order; [`Findings::errors`] tells whether lines were
/// dropped.
///
/// # Errors
/// [`Unreadable`] if the file at `path` cannot be read. An included file that cannot be read is a warning
/// only, as in ntpd.
pub fn load(
    path: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<(Config, Findings), Unreadable> {
    load::load(path, "", read)
}

/// As [`load`], with lines behind those of the file: what a command line says in the words of ntp.conf.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    path: &Path,
    added: &str,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<(Config, Findings), Unreadable> {
    load::load(path, added, read)
}

impl Config {
    /// The local clock that is served if no other source is: the one of the lowest stratum, of equal ones the
    /// first.
    pub fn local_clock(&self) -> Option<&LocalClock> {
        self.local_clocks.iter().min_by_key(|clock| clock.stratum)
    }

    /// The access list: one entry for each set of addresses, outer prefixes before inner ones, and `ntpport`
    /// entries after those without. The most specific entry for a client's address holds, and no other; of
    /// two equal ones, that with `ntpport` if the request comes from port 123. Every address has an entry.
    ///
    /// `restrict` lines for the same addresses are united: their flags add up, in whatever order they stand.
    /// `default` is 0.0.0.0/0 and ::/0, or one of them with `-4` or `-6`.
    ///
    /// What holds without being written:
    ///
    /// - `default` always has `noquery`, be there a line or not: control messages could be abused to flood a
    ///   third party, so they are for the hosts that a more specific line names.
    /// - Nobody is `limited` but by a line, as in ntp.org's ntpd and unlike in ntpsec: many clients may share
    ///   one address.
    /// - Neither is for this host: 127.0.0.1 and ::1 have what the file's own lines give them, which is
    ///   everything if there are none. `restrict default ignore` shuts them out, as in ntpd; but they are
    ///   `limited` only by a line that is not about everybody.
    ///
    /// `resolve` gives the addresses of a host name; those of another family are left out. Lines whose name
    /// has no address (yet) make no entry.
    pub fn restrictions(&self, resolve: impl FnMut(&str, Family) -> Vec<IpAddr>) -> Vec<Restriction> {
        restrict::unite(&self.restrict, resolve)
    }

    /// The flags of `restrict source` lines for a server that time is taken from: an entry for its address
    /// that is added to the access list, unless one for just this address is there, and removed together with
    /// the association.
    pub fn source_restriction(&self, address: IpAddr) -> Option<RestrictFlags> {
        let flags = self.restrict.iter().filter_map(|line| match line.target {
            RestrictTarget::Source(family) if family.contains(address) => Some(line.flags),
            _ => None,
        });
        flags.reduce(|flags, more| flags | more)
    }

    /// What is done with an address of this host, or with a wildcard address (whose `interface_name` is "").
    /// The last `interface` line that is about it decides; without any such line it is listened on.
    ///
    /// Wildcard addresses are special, as in ntpd: `all` is not about them (nor about loopback addresses),
    /// and as soon as there are `interface` lines but none about them, they are [`InterfaceAction::Drop`].
    /// So: if [`Config::interfaces`] is empty, listen on the wildcard addresses; if not, ask for every
    /// address of the host.
    pub fn interface_action(&self, address: IpAddr, interface_name: &str) -> InterfaceAction {
        interface::action(&self.interfaces, address, interface_name)
    }

    /// Whether clients must be remembered: `disable monitor` has no effect as long as anybody is `limited`.
    pub fn monitor(&self) -> bool {
        let limited = |flags: RestrictFlags| flags.contains(RestrictFlags::LIMITED);
        self.switches.monitor || self.restrict.iter().any(|line| limited(line.flags))
    }
}
