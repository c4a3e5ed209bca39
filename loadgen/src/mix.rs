//! Which kinds of request are sent, in which proportion, and what is the right answer to each.

use std::fmt;
use std::str::FromStr;

use crate::accounting::named;

named! {
    /// A kind of request.
    Kind {
        /// Version 1, mode 3, all fields zero but the transmit timestamp, as simple clients send it.
        V1 => "v1",
        /// The same as version 2.
        V2 => "v2",
        /// The same as version 3.
        V3 => "v3",
        /// The same as version 4.
        V4 => "v4",
        /// All fields filled, as ntpd does.
        Ntpd => "ntpd",
        /// Poll and precision 32, the rest zero: draft-ietf-ntp-data-minimization.
        Minimised => "minimised",
        /// Symmetric active, from a stranger.
        Mode1 => "mode1",
        /// A control query for the system variables.
        Mode6 => "mode6",
        /// A private query for the clients seen last (monlist).
        Mode7 => "mode7",
        /// The first 0 to 47 octets of a request.
        Truncated => "truncated",
        /// A request with up to 1184 octets behind it that are neither extension field nor MAC.
        Oversized => "oversized",
        /// 1 to 512 random octets whose version and mode no client has.
        Garbage => "garbage",
        /// Version 4 with extension fields of unknown types.
        Ef => "ef",
        /// Version 4 with a message authentication code.
        Mac => "mac",
        /// Interleaved mode (RFC 9769): asks for the transmit stamp of the reply before.
        Interleaved => "interleaved",
        /// A replayed request that is none of these.
        Other => "other",
    }
}

/// What a server should do with a kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Answer it.
    Answer,
    /// Answer it or not: that is the operator's choice.
    Either,
    /// Be silent.
    Silence,
}

impl Kind {
    /// What is right.
    pub(crate) const fn expects(self) -> Expect {
        match self {
            Self::Mode7 | Self::Truncated | Self::Garbage => Expect::Silence,
            // RFC 5905 §9.2 lets a server answer strangers of mode 1 without an association; RFC 9327 leaves
            // mode 6 to its access list; RFC 7822 has no word for octets that are no extension field.
            Self::Mode1 | Self::Mode6 | Self::Oversized | Self::Other => Expect::Either,
            _ => Expect::Answer,
        }
    }

    /// The version it speaks; `None` if that is not known.
    pub(crate) const fn version(self) -> Option<u8> {
        match self {
            Self::V1 => Some(1),
            Self::V2 => Some(2),
            Self::V3 => Some(3),
            Self::Other => None,
            _ => Some(4),
        }
    }

    /// Whether an answer may not tell which request it is for.
    pub(crate) const fn is_anonymous(self) -> bool {
        matches!(self, Self::Mode6) || matches!(self.expects(), Expect::Silence)
    }
}

/// Kinds with their weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mix {
    name: String,
    /// Ascending: each kind and the sum of the weights up to it, as a part of 2^32.
    upto: Vec<(Kind, u64)>,
}

const WHOLE: f64 = 4_294_967_296.0;

/// What the names of profiles stand for. How public traffic divides among versions has never been published:
/// `public` is an assumption, made from single observations.
const PROFILES: [(&str, &str); 4] = [
    ("sntp", "v4=80,v3=20"),
    ("ntpd", "ntpd=100"),
    (
        "public",
        "v4=55,v3=20,ntpd=12,minimised=8,v1=0.5,v2=0.5,mode6=0.5,mode7=0.5,truncated=0.1,oversized=0.05,garbage=0.1,ef=2.75",
    ),
    ("hostile", "v4=20,garbage=25,truncated=20,mode7=15,mode6=10,oversized=9,mode1=1"),
];

impl Mix {
    /// One kind only.
    pub(crate) fn only(kind: Kind) -> Self {
        Self { name: kind.name().to_owned(), upto: vec![(kind, 1 << 32)] }
    }

    /// The kind of the next request.
    #[inline]
    pub(crate) fn pick(&self, random: &mut fastrand::Rng) -> Kind {
        if let [(kind, _)] = self.upto[..] {
            return kind;
        }
        let draw = u64::from(random.u32(..));
        self.upto.iter().find(|&&(_, upto)| draw < upto).map_or(Kind::V4, |&(kind, _)| kind)
    }

    /// The kinds in it.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.upto.iter().map(|&(kind, _)| kind)
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self::only(Kind::V4)
    }
}

impl FromStr for Mix {
    type Err = String;

    /// A profile's name, or kinds with weights: `v4=80,v3=20`. A kind without a weight has weight 1.
    fn from_str(text: &str) -> Result<Self, String> {
        let profile = PROFILES.iter().find(|(name, _)| *name == text);
        let mut weights = Vec::new();
        for item in profile.map_or(text, |(_, weights)| weights).split(',') {
            let (kind, weight) = read_item(item.trim())?;
            if weights.iter().any(|&(other, _)| other == kind) {
                return Err(format!("{} is named twice", kind.name()));
            }
            weights.push((kind, weight));
        }
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let mut upto: Vec<(Kind, u64)> = weights
            .into_iter()
            .map(|(kind, weight)| {
                sum += weight;
                (kind, (sum / total * WHOLE) as u64)
            })
            .collect();
        if let Some((_, last)) = upto.last_mut() {
            *last = 1 << 32;
        }
        Ok(Self { name: text.to_owned(), upto })
    }
}

fn read_item(item: &str) -> Result<(Kind, f64), String> {
    let (name, weight) = item.split_once('=').unwrap_or((item, "1"));
    let kind =
        Kind::ALL.into_iter().find(|kind| kind.name() == name && *kind != Kind::Other).ok_or_else(|| {
            let kinds: Vec<&str> = Kind::ALL[..Kind::Other as usize].iter().map(|kind| kind.name()).collect();
            let profiles = PROFILES.map(|(name, _)| name);
            format!(
                "\"{name}\" is no kind of request ({}) and no profile ({})",
                kinds.join(" "),
                profiles.join(" ")
            )
        })?;
    let weight: f64 = weight.parse().unwrap_or(f64::NAN);
    if weight > 0.0 && weight <= 1e9 {
        Ok((kind, weight))
    } else {
        Err(format!("the weight of {name} must be a positive number, as in v4=80,v3=20"))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.name == "public" { f.write_str(" (an assumption, not a measurement)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept() {
        let mix: Mix = "v4=80, v3=15,mode7=5".parse().unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = [0_u32; Kind::ALL.len()];
        for _ in 0..100_000 {
            counts[mix.pick(&mut random) as usize] += 1;
        }
        for (kind, expected) in [(Kind::V4, 80_000), (Kind::V3, 15_000), (Kind::Mode7, 5_000)] {
            assert!(counts[kind as usize].abs_diff(expected) < 600, "{kind:?}: {counts:?}");
        }
        assert_eq!(counts.iter().sum::<u32>(), 100_000);
    }

    #[test]
    fn profiles_are_mixes_whose_weights_are_per_cent() {
        for (name, weights) in PROFILES {
            let mix: Mix = name.parse().unwrap();
            assert_eq!(mix.upto, weights.parse::<Mix>().unwrap().upto);
            let sum: f64 = weights.split(',').map(|item| read_item(item).unwrap().1).sum();
            assert!((sum - 100.0).abs() < 1e-9, "{name}: {sum}");
        }
        let public: Mix = "public".parse().unwrap();
        assert_eq!(public.to_string(), "public (an assumption, not a measurement)");
    }

    #[test]
    fn what_is_no_mix_is_refused_with_the_reason() {
        for (text, said) in [
            ("", "no kind of request"),
            ("v5", "mode6"),
            ("other", "hostile"),
            ("v4=0", "positive"),
            ("v4=-1", "positive"),
            ("v4=x", "positive"),
            ("v4=nan", "positive"),
            ("v4,v4", "twice"),
            ("v4,,v3", "no kind"),
        ] {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
