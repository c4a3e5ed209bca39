//! `server`, `pool` and `peer`: whom time is taken from.

use super::error::Position;
use super::host::{Family, Host, host};
use super::lexer::Token;
use super::line::Line;
use super::load::Draft;
use super::local_clock::{self, LocalClock};
use super::restrict::family;
use super::vocabulary::{Vocabulary, Word, accept, honour, reject};

/// How an association is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssociationKind {
    /// `server`, and `peer`, which is treated as one: a single address.
    Server,
    /// `pool`: a template for as many associations as `tos maxclock` asks for, one for each address of the
    /// name.
    Pool,
}

/// One `server`, `pool` or `peer` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// How it is made.
    pub kind: AssociationKind,
    /// Whom it is with.
    pub host: Host,
    /// Which addresses of the host.
    pub family: Family,
    /// Send a burst while the server is unreachable (`iburst`; `burst` is taken for it).
    pub iburst: bool,
    /// The source to follow among those that survive selection.
    pub prefer: bool,
    /// Measured and shown, never selected.
    pub noselect: bool,
    /// Never taken for a falseticker (`true`).
    pub truechimer: bool,
    /// Shortest poll interval, log2 seconds, 0–17.
    pub minpoll: u8,
    /// Longest poll interval, log2 seconds, `minpoll`–17.
    pub maxpoll: u8,
    /// Key id of the requests.
    pub key: Option<u16>,
    /// NTP version of the requests, 1–4.
    pub version: u8,
    /// Network Time Security is asked for: never to be queried without it.
    pub nts: bool,
    /// Where the host stands.
    pub position: Position,
}

#[derive(Debug)]
pub(super) enum AssociationOption {
    Iburst,
    Burst,
    Prefer,
    Noselect,
    True,
    Minpoll,
    Maxpoll,
    Key,
    Version,
    Nts,
}

/// The words after the address.
pub(super) static OPTIONS: Vocabulary<AssociationOption> =
    Vocabulary { what: "association option", words: OPTION_WORDS };

const NO_NTS: &str = "network time security is not supported yet";
const OPTION_WORDS: &[Word<AssociationOption>] = &[
    honour("iburst", AssociationOption::Iburst, "a burst of requests while the server is unreachable"),
    honour(
        "burst",
        AssociationOption::Burst,
        "with one warning, the same as `iburst`: no burst at every poll",
    ),
    honour("prefer", AssociationOption::Prefer, "the source to follow among those that agree"),
    honour("noselect", AssociationOption::Noselect, "measured and shown, never followed"),
    honour("true", AssociationOption::True, "never taken for a falseticker"),
    honour("minpoll", AssociationOption::Minpoll, "shortest poll interval, log2 seconds, 0–17 (default 6)"),
    honour("maxpoll", AssociationOption::Maxpoll, "longest poll interval, log2 seconds, 0–17 (default 10)"),
    honour("key", AssociationOption::Key, "key id of the requests, 1–65535"),
    honour("version", AssociationOption::Version, "NTP version of the requests, 1–4 (default 4)"),
    honour("nts", AssociationOption::Nts, "network time security; never queried without it"),
    reject("autokey", "Autokey is insecure; use `key`"),
    reject("ask", NO_NTS),
    reject("require", NO_NTS),
    reject("noval", NO_NTS),
    reject("cert", NO_NTS),
    reject("ca", NO_NTS),
    reject("aead", NO_NTS),
    accept("dynamic", 0, "addresses that appear later are found anyway"),
    accept("preempt", 0, "an association of the file is never given up"),
    accept("xleave", 0, "the interleaved mode of clients is not supported"),
    accept("xmtnonce", 0, "requests never tell our time anyway"),
    accept("mode", 1, "it is for reference clocks that are not supported"),
    accept("subtype", 1, "it is for reference clocks that are not supported"),
    accept("ttl", 1, "nothing is sent to multicast addresses"),
    accept("ident", 1, "there are no Autokey groups"),
    accept("bias", 1, "offsets are not corrected by hand"),
];

/// `server [-4|-6] HOST [OPTION]...`
pub(super) fn server(draft: &mut Draft, line: &mut Line<'_, '_>) {
    associate(draft, line, "server", AssociationKind::Server);
}

/// `pool [-4|-6] NAME [OPTION]...`
pub(super) fn pool(draft: &mut Draft, line: &mut Line<'_, '_>) {
    associate(draft, line, "pool", AssociationKind::Pool);
}

/// `peer [-4|-6] HOST [OPTION]...`
pub(super) fn peer(draft: &mut Draft, line: &mut Line<'_, '_>) {
    if let Some(token) = line.peek() {
        let text = "\"peer\" is treated as \"server\": symmetric modes are not supported";
        line.warn(("directive", "peer"), token.column, text.to_owned(), None);
    }
    associate(draft, line, "peer", AssociationKind::Server);
}

fn associate(draft: &mut Draft, line: &mut Line<'_, '_>, keyword: &str, kind: AssociationKind) {
    let family = family(line);
    let Some(token) = line.value(keyword, "an address or a host name") else { return };
    let host = match host(token.text, family) {
        Ok(host) => host,
        Err((text, hint)) => {
            line.error(token.column, text, hint);
            // The options are looked at all the same: every finding at once.
            Host::Name(String::new())
        }
    };
    if let Host::Address(address) = host
        && let Some((driver, unit)) = local_clock::clock_address(address)
    {
        return reference_clock(draft, line, keyword, token, (driver, unit));
    }
    let association =
        options(line, Association { kind, host, family, ..Association::new(line.position(token)) });
    if line.is_good() {
        draft.config.associations.push(association);
    }
}

impl Association {
    fn new(position: Position) -> Self {
        Self {
            kind: AssociationKind::Server,
            host: Host::Name(String::new()),
            family: Family::Any,
            iburst: false,
            prefer: false,
            noselect: false,
            truechimer: false,
            // RFC 5905 §7.2 MINPOLL; the longest by default is ntpd's.
            minpoll: 6,
            maxpoll: 10,
            key: None,
            version: 4,
            nts: false,
            position,
        }
    }
}

/// Takes the options that follow the address.
fn options(line: &mut Line<'_, '_>, mut association: Association) -> Association {
    let (mut minpoll, mut maxpoll) = (None, None);
    while let Some((option, token)) = line.option(&OPTIONS) {
        match option {
            AssociationOption::Iburst => association.iburst = true,
            AssociationOption::Burst => {
                association.iburst = true;
                let text = "\"burst\" is taken for \"iburst\": a burst at every poll abuses the server";
                line.warn((OPTIONS.what, "burst"), token.column, text.to_owned(), None);
            }
            AssociationOption::Prefer => association.prefer = true,
            AssociationOption::Noselect => association.noselect = true,
            AssociationOption::True => association.truechimer = true,
            AssociationOption::Minpoll => minpoll = line.number(token.text, &(0..=17)),
            AssociationOption::Maxpoll => maxpoll = line.number(token.text, &(0..=17)),
            AssociationOption::Key => association.key = line.number(token.text, &(1..=u16::MAX)),
            AssociationOption::Version => {
                association.version = line.number(token.text, &(1..=4)).unwrap_or(association.version);
            }
            AssociationOption::Nts => association.nts = true,
        }
    }
    if let (Some(min), Some(max)) = (minpoll, maxpoll)
        && min > max
    {
        line.error(association.position.column, format!("minpoll {min} is above maxpoll {max}"), None);
    }
    // A limit that is not given makes room for the one that is.
    association.minpoll = minpoll.unwrap_or(association.minpoll.min(maxpoll.unwrap_or(u8::MAX)));
    association.maxpoll = maxpoll.unwrap_or(association.maxpoll).max(association.minpoll);
    association
}

/// `server 127.127.t.u`
fn reference_clock(
    draft: &mut Draft,
    line: &mut Line<'_, '_>,
    keyword: &str,
    token: &Token<'_>,
    (driver, unit): (u8, u8),
) {
    if keyword == "pool" {
        line.error(token.column, "a reference clock is no pool".to_owned(), Some("use \"server\"".into()));
    }
    if driver != LocalClock::DRIVER {
        return local_clock::refuse_driver(driver, token, line);
    }
    if let Some(option) = line.peek() {
        let text =
            "options of the local clock have no effect: it is not polled, and any other source goes first";
        line.warn(("local clock", "options"), option.column, text.to_owned(), None);
        options(line, Association::new(line.position(token)));
    }
    local_clock::add(draft, line, token, LocalClock::new(unit));
}
