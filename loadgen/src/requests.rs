//! What a run asks, and as whom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

use crate::compose::{Captured, Supply};
use crate::failure::Failure;
use crate::keys::{Key, KeyName};
use crate::mix::{Expect, Kind, Mix};
use crate::{pcap, sources};

/// Options that choose the requests.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RequestArgs {
    /// What is asked: kinds with weights, such as v4=80,v3=20, or a profile. Kinds: v1 v2 v3 v4 ntpd (all
    /// fields filled) minimised mode1 mode6 mode7 truncated oversized garbage ef (unknown extension fields)
    /// mac (needs --key) interleaved. Profiles: sntp, ntpd, public (an assumption: nobody has published what
    /// public servers are asked), hostile. Silence counts as silent where it is the right answer
    #[arg(long, value_name = "KIND=WEIGHT,..", default_value = "v4")]
    mix: Mix,
    /// The key of requests of kind mac, from a file as ntpd and chrony have it (MD5, SHA1, AES128CMAC)
    #[arg(long, value_name = "FILE:ID", value_parser = KeyName::parse)]
    key: Option<KeyName>,
    /// Send the payloads of a capture's datagrams to port 123 (pcap), in their order, again and again, each
    /// with a new transmit timestamp
    #[arg(long, value_name = "FILE.pcap", conflicts_with = "mix")]
    replay: Option<PathBuf>,
    /// Source addresses, one per request, all of a prefix such as 10.9.0.0/16 or fd00:9::/48, which must be
    /// routed to this machine: that they are is found out before the load, or the commands are named
    #[arg(long, value_name = "PREFIX")]
    sources: Option<IpNet>,
    /// Clients ask by Zipf's law with this exponent, not in turn: 1 gives the first of 64 clients a fifth of
    /// all requests. Each generator thread draws among its own
    #[arg(long, value_name = "S", value_parser = parse_zipf)]
    zipf: Option<f64>,
}

impl RequestArgs {
    /// Reads the files that they name.
    pub(crate) fn read(&self) -> Result<Requests, Failure> {
        Ok(Requests {
            mix: self.mix.clone(),
            key: self.key.as_ref().map(KeyName::load).transpose()?,
            replay: self.replay.as_deref().map(Replay::read).transpose()?,
            sources: self.sources.map(|prefix| prefix.trunc()),
            zipf: self.zipf,
        })
    }
}

fn parse_zipf(text: &str) -> Result<f64, String> {
    let exponent = text.parse().unwrap_or(f64::NAN);
    if exponent > 0.0 && exponent <= 10.0 {
        Ok(exponent)
    } else {
        Err("expected a number up to 10, such as 1".to_owned())
    }
}

/// The requests of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    /// Their kinds, if nothing is replayed.
    pub(crate) mix: Mix,
    /// What signed ones are signed with.
    pub(crate) key: Option<Key>,
    /// Captured ones to send instead.
    pub(crate) replay: Option<Replay>,
    /// Each request has a source address of its own out of these.
    pub(crate) sources: Option<IpNet>,
    /// The exponent of Zipf's law, by which some clients ask more often than others; all alike if `None`.
    pub(crate) zipf: Option<f64>,
}

/// Requests out of a capture file.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// The file's name.
    pub(crate) name: String,
    requests: Arc<[Captured]>,
    incomplete: u64,
}

impl Replay {
    /// Reads a capture file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let capture = pcap::read(path)?;
        Ok(Self {
            name: path.display().to_string(),
            requests: capture.payloads.into_iter().map(Captured::new).collect(),
            incomplete: capture.incomplete,
        })
    }
}

impl Requests {
    /// What requests are made of.
    pub(crate) fn supply(&self) -> Supply {
        match &self.replay {
            Some(replay) => Supply::Replay(Arc::clone(&replay.requests)),
            None => Supply::Mix(self.mix.clone()),
        }
    }

    /// Refuses what cannot be sent; `closed` is a load that waits for answers.
    pub(crate) fn check(&self, target: SocketAddr, closed: bool) -> Result<(), Failure> {
        let supply = self.supply();
        let refuse = |text: &str| Err(Failure::Usage(text.to_owned()));
        if self.replay.is_none() && supply.has(|kind| kind == Kind::Mac) && self.key.is_none() {
            return refuse("requests of kind mac need a key: --key FILE:ID");
        }
        if closed && !supply.has(|kind| kind.expects() == Expect::Answer) {
            return refuse("--max waits for answers, and no server must answer these requests: use --rate");
        }
        self.sources.map_or(Ok(()), |prefix| sources::probe(prefix, target))
    }

    /// One line about them, unless they are the usual ones.
    pub(crate) fn describe(&self) -> Option<String> {
        let what = match &self.replay {
            Some(Replay { name, requests, incomplete: 0 }) => {
                format!("{} requests of {name}, again and again", requests.len())
            }
            Some(Replay { name, requests, incomplete }) => format!(
                "{} requests of {name}, again and again; {incomplete} were not captured whole",
                requests.len()
            ),
            None if self.mix == Mix::default() && self.zipf.is_none() && self.sources.is_none() => {
                return None;
            }
            None => self.mix.to_string(),
        };
        let from = self.sources.map_or_else(String::new, |prefix| {
            format!("; from {} addresses of {prefix}, one per request", sources::members(prefix))
        });
        let who =
            self.zipf.map_or_else(String::new, |zipf| format!("; clients by Zipf's law, exponent {zipf}"));
        Some(format!("{what}{from}{who}"))
    }
}
