//! `restrict`: who may ask what.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::BitOr;

use super::error::Position;
use super::host::{Family, Host, HostFault, Prefix, host, mask_length};
use super::lexer::Token;
use super::line::{Line, show};
use super::load::Draft;
use super::vocabulary::{Policy, Vocabulary, Word, accept, honour};

/// What a `restrict` line takes away. No flags: everything is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RestrictFlags(u16);

impl RestrictFlags {
    /// Everything is allowed.
    pub const NONE: Self = Self(0);
    /// `ignore`: no answer to anything.
    pub const IGNORE: Self = Self(1);
    /// `noserve`: no time; control messages are answered.
    pub const NOSERVE: Self = Self(1 << 1);
    /// `noquery`: no answer to control messages (mode 6); time is served.
    pub const NOQUERY: Self = Self(1 << 2);
    /// `nomodify`: no control messages that change anything.
    pub const NOMODIFY: Self = Self(1 << 3);
    /// `kod`: who exceeds the rate limit is told so by a kiss-o'-death packet. Nothing without
    /// [`Self::LIMITED`].
    pub const KOD: Self = Self(1 << 4);
    /// `limited`: requests are rate limited (`discard`, `limit`).
    pub const LIMITED: Self = Self(1 << 5);
    /// `notrust`: no time for requests without authentication.
    pub const NOTRUST: Self = Self(1 << 6);
    /// `nomrulist`: no list of recent clients.
    pub const NOMRULIST: Self = Self(1 << 7);
    /// `version`: no time for requests of other versions than ours.
    pub const VERSION: Self = Self(1 << 8);

    /// Whether every flag of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of `self` that `other` has not.
    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for RestrictFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for RestrictFlags {
    /// The words of ntp.conf, with blanks between them.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for word in FLAGS.words {
            if let Policy::Honour(RestrictOption::Flag(flag)) = &word.policy
                && self.contains(*flag)
            {
                write!(out, "{gap}{}", word.name)?;
                gap = " ";
            }
        }
        Ok(())
    }
}

/// Whom a `restrict` line is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RestrictTarget {
    /// `default`: everybody of a family.
    Default(Family),
    /// An address or network.
    Prefix(Prefix),
    /// A host name: every address it resolves to.
    Name {
        /// The DNS name.
        name: String,
        /// Which of its addresses.
        family: Family,
    },
    /// `source`: the servers of associations, as long as these exist; see
    /// [`super::Config::source_restriction`].
    Source(Family),
}

/// One `restrict` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restrict {
    /// Whom it is about.
    pub target: RestrictTarget,
    /// What they may not do.
    pub flags: RestrictFlags,
    /// `ntpport`: it is only about requests from port 123, and more specific than a line for the same
    /// addresses without it.
    pub ntpport: bool,
    /// Where the target stands.
    pub position: Position,
}

/// One entry of the access list: all `restrict` lines for the same addresses, united.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// Whom it is about.
    pub prefix: Prefix,
    /// What they may not do.
    pub flags: RestrictFlags,
    /// Whether it is only about requests from port 123.
    pub ntpport: bool,
}

/// What may follow the target.
#[derive(Debug)]
pub(super) enum RestrictOption {
    Flag(RestrictFlags),
    NtpPort,
    Mask,
}

/// The words after a `restrict` target.
pub(super) static FLAGS: Vocabulary<RestrictOption> = Vocabulary { what: "restrict flag", words: FLAG_WORDS };

const FLAG_WORDS: &[Word<RestrictOption>] = &[
    flag("ignore", RestrictFlags::IGNORE, "no answer to anything"),
    flag("noserve", RestrictFlags::NOSERVE, "no time; control messages (ntpq) are answered"),
    flag("noquery", RestrictFlags::NOQUERY, "no answer to control messages (ntpq); time is served"),
    flag("nomodify", RestrictFlags::NOMODIFY, "no control messages that change anything"),
    flag("kod", RestrictFlags::KOD, "a kiss-o'-death packet for who exceeds the rate limit; needs `limited`"),
    flag("limited", RestrictFlags::LIMITED, "requests for time are rate limited (`discard`, `limit`)"),
    flag("notrust", RestrictFlags::NOTRUST, "no time for requests without authentication"),
    flag("nomrulist", RestrictFlags::NOMRULIST, "no list of recent clients"),
    flag("version", RestrictFlags::VERSION, "no time for requests of another NTP version"),
    honour("ntpport", RestrictOption::NtpPort, "the line is only about requests from port 123"),
    honour("mask", RestrictOption::Mask, "network mask, IPv4 or IPv6; its one bits stand together"),
    accept("notrap", 0, "there are no traps to refuse"),
    accept("nopeer", 0, "no packet makes an association here"),
    accept("noepeer", 0, "no packet makes an association here"),
    accept("lowpriotrap", 0, "there are no traps"),
    accept("mssntp", 0, "signing for Windows domains is not supported"),
    accept("flake", 0, "no packet is dropped for a test"),
    accept("ippeerlimit", 1, "no packet makes an association here"),
    accept("serverresponse", 1, "responses are never falsified"),
];

const fn flag(name: &'static str, flag: RestrictFlags, meaning: &'static str) -> Word<RestrictOption> {
    honour(name, RestrictOption::Flag(flag), meaning)
}

/// `restrict [-4|-6] default|source|ADDRESS[/BITS]|NAME [mask MASK] [FLAG]...`
pub(super) fn restrict(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let family = family(line);
    let Some(token) = line.value("restrict", "an address, a host name, \"default\" or \"source\"") else {
        return;
    };
    let mut restrict = Restrict {
        target: RestrictTarget::Default(family),
        flags: RestrictFlags::NONE,
        ntpport: false,
        position: line.position(token),
    };
    let mut mask = None;
    let mut kod = None;
    while let Some((option, word)) = line.option(&FLAGS) {
        match option {
            RestrictOption::Flag(flag) => {
                restrict.flags = restrict.flags | *flag;
                if *flag == RestrictFlags::KOD {
                    kod = Some(line.position(word));
                }
            }
            RestrictOption::NtpPort => restrict.ntpport = true,
            RestrictOption::Mask => mask = line.value("mask", "a network mask"),
        }
    }
    match target(token, family, mask, line) {
        Ok(target) => restrict.target = target,
        Err((at, (text, hint))) => line.error(at.column, text, hint),
    }
    if line.is_good() {
        if let Some(kod) = kod {
            draft.kod.push((draft.config.restrict.len(), kod));
        }
        draft.config.restrict.push(restrict);
    }
}

/// `-4` or `-6`, if there.
pub(super) fn family(line: &mut Line<'_, '_>) -> Family {
    match line.next_of(&["-4", "-6"]) {
        None => Family::Any,
        Some(token) if token.text == "-4" => Family::V4,
        Some(_) => Family::V6,
    }
}

type TargetFault<'t> = (&'t Token<'t>, HostFault);

fn target<'t>(
    token: &'t Token<'t>,
    family: Family,
    mask: Option<&'t Token<'t>>,
    line: &mut Line<'_, '_>,
) -> Result<RestrictTarget, TargetFault<'t>> {
    let named = match token.text {
        "default" if !token.quoted => Some(RestrictTarget::Default(family)),
        "source" if !token.quoted => Some(RestrictTarget::Source(family)),
        _ => None,
    };
    if let Some(named) = named {
        return match mask {
            Some(mask) => Err((mask, (format!("\"{}\" takes no mask", token.text), None))),
            None => Ok(named),
        };
    }
    let (text, bits) =
        token.text.split_once('/').map_or((token.text, None), |(text, bits)| (text, Some(bits)));
    let address = match (host(text, family).map_err(|fault| (token, fault))?, mask, bits) {
        (Host::Address(address), ..) => address,
        (Host::Name(name), None, None) if !name.contains('%') => {
            return Ok(RestrictTarget::Name { name, family });
        }
        (Host::Name(name), ..) => {
            let text = format!("{} is a name: a mask or an interface (\"%\") needs an address", show(&name));
            return Err((token, (text, None)));
        }
    };
    let length = length(address, token, bits, mask)?;
    let Some(prefix) = Prefix::new(address, length) else {
        return Err((token, (format!("{length} bits are more than the address has"), None)));
    };
    if prefix.address() != address {
        let text =
            format!("{} has bits outside its mask: it means {}/{length}", show(token.text), prefix.address());
        line.warn(("restrict", "host bits"), token.column, text, None);
    }
    Ok(RestrictTarget::Prefix(prefix))
}

/// How many bits of `address` count.
fn length<'t>(
    address: IpAddr,
    token: &'t Token<'t>,
    bits: Option<&str>,
    mask: Option<&'t Token<'t>>,
) -> Result<u8, TargetFault<'t>> {
    let all = Prefix::host(address).length();
    let (mask, text) = match (bits, mask) {
        (None, None) => return Ok(all),
        (Some(_), Some(mask)) => {
            let fault = (format!("{} has a length already", show(token.text)), None);
            return Err((mask, fault));
        }
        (Some(bits), None) => {
            let is_number = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
            return bits.parse().ok().filter(|&bits| is_number && bits <= all).ok_or_else(|| {
                (token, (format!("{} needs a length from 0 to {all} after \"/\"", show(token.text)), None))
            });
        }
        (None, Some(mask)) => (mask, mask.text.trim_start_matches('[').trim_end_matches(']')),
    };
    let value: IpAddr =
        text.parse().map_err(|_| (mask, (format!("{} is no network mask", show(mask.text)), None)))?;
    if value.is_ipv4() != address.is_ipv4() {
        return Err((mask, (format!("{} is no mask for {address}", show(mask.text)), None)));
    }
    mask_length(value).ok_or_else(|| {
        let hint = "its one bits must come first, or it would be unclear which entry is more specific";
        (mask, (format!("the mask {} is not contiguous", show(mask.text)), Some(hint.into())))
    })
}

/// The access list while it is united: address and `ntpport` → flags.
type Entries = BTreeMap<(Prefix, bool), RestrictFlags>;

/// See [`super::Config::restrictions`].
pub(super) fn unite(
    lines: &[Restrict],
    mut resolve: impl FnMut(&str, Family) -> Vec<IpAddr>,
) -> Vec<Restriction> {
    let mut entries = Entries::new();
    for line in lines {
        let mut add = |prefix| {
            let flags = entries.entry((prefix, line.ntpport)).or_default();
            *flags = *flags | line.flags;
        };
        match &line.target {
            RestrictTarget::Default(family) => defaults(*family).for_each(add),
            RestrictTarget::Prefix(prefix) => add(*prefix),
            RestrictTarget::Name { name, family } => {
                let addresses =
                    resolve(name, *family).into_iter().filter(|&address| family.contains(address));
                addresses.map(Prefix::host).for_each(add);
            }
            RestrictTarget::Source(_) => {}
        }
    }
    add_builtin(&mut entries, Prefix::ALL_V4, Ipv4Addr::LOCALHOST.into());
    add_builtin(&mut entries, Prefix::ALL_V6, Ipv6Addr::LOCALHOST.into());
    entries.into_iter().map(|((prefix, ntpport), flags)| Restriction { prefix, flags, ntpport }).collect()
}

/// What holds without being written: this host gets what the file's own lines give it, everybody else no
/// control messages but by a more specific line.
fn add_builtin(entries: &mut Entries, everybody: Prefix, this_host: IpAddr) {
    let [any, from_ntp_port] =
        [false, true].map(|ntpport| match most_specific(entries, this_host, ntpport) {
            // Whoever limits everybody means everybody else.
            (flags, 0) => flags.without(RestrictFlags::LIMITED | RestrictFlags::KOD),
            (flags, _) => flags,
        });
    entries.entry((Prefix::host(this_host), false)).or_insert(any);
    if from_ntp_port != any {
        entries.entry((Prefix::host(this_host), true)).or_insert(from_ntp_port);
    }
    let default = entries.entry((everybody, false)).or_default();
    *default = *default | RestrictFlags::NOQUERY;
    if let Some(default) = entries.get_mut(&(everybody, true)) {
        *default = *default | RestrictFlags::NOQUERY;
    }
}

/// The flags of the most specific entry for `address`, none without an entry, and the length of its prefix.
fn most_specific(entries: &Entries, address: IpAddr, ntpport: bool) -> (RestrictFlags, u8) {
    (0..=Prefix::host(address).length())
        .rev()
        .filter_map(|length| Prefix::new(address, length))
        .find_map(|prefix| {
            let special = if ntpport { entries.get(&(prefix, true)) } else { None };
            let flags = special.or_else(|| entries.get(&(prefix, false)))?;
            Some((*flags, prefix.length()))
        })
        .unwrap_or_default()
}

/// The entries that `default` stands for.
pub(super) fn defaults(family: Family) -> impl Iterator<Item = Prefix> {
    [Prefix::ALL_V4, Prefix::ALL_V6].into_iter().filter(move |prefix| family.contains(prefix.address()))
}
