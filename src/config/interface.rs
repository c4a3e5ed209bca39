//! `interface` (or `nic`): which addresses are listened on.

use std::net::IpAddr;

use super::host::{Family, Host, Prefix, host};
use super::lexer::Token;
use super::line::{Line, show};
use super::load::Draft;

/// What is done with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceAction {
    /// A socket is opened, requests are answered.
    Listen,
    /// No socket is opened.
    Ignore,
    /// A socket is opened, so that nobody else takes the port; what arrives there is dropped unseen.
    Drop,
}

/// The addresses that an `interface` line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceMatch {
    /// `all`: every address but the wildcard addresses and this host's loopback addresses.
    All,
    /// `ipv4` or `ipv6`: every address of the family, loopback and wildcard included.
    Family(Family),
    /// `wildcard`: 0.0.0.0 and ::.
    Wildcard,
    /// An address or network.
    Prefix(Prefix),
    /// The addresses of an interface; `*` and `?` stand for any characters and any one, and letter case does
    /// not matter.
    Name(String),
}

/// One `interface` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceRule {
    /// What is done with the addresses.
    pub action: InterfaceAction,
    /// Which.
    pub addresses: InterfaceMatch,
}

impl InterfaceRule {
    fn matches(&self, address: IpAddr, interface_name: &str) -> bool {
        match &self.addresses {
            InterfaceMatch::All => !address.is_unspecified() && !address.is_loopback(),
            InterfaceMatch::Family(family) => family.contains(address),
            InterfaceMatch::Wildcard => address.is_unspecified(),
            InterfaceMatch::Prefix(prefix) => prefix.contains(address),
            InterfaceMatch::Name(pattern) => glob(pattern.as_bytes(), interface_name.as_bytes()),
        }
    }
}

/// See [`super::Config::interface_action`].
pub(super) fn action(rules: &[InterfaceRule], address: IpAddr, interface_name: &str) -> InterfaceAction {
    match rules.iter().rev().find(|rule| rule.matches(address, interface_name)) {
        Some(rule) => rule.action,
        // A wildcard socket would answer for every address, also for those that a rule shuts.
        None if address.is_unspecified() && !rules.is_empty() => InterfaceAction::Drop,
        None => InterfaceAction::Listen,
    }
}

/// Whether `name` is what `pattern` describes.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at_pattern, mut at_name) = (0, 0);
    // Where to go on if the text after the last `*` does not fit: one character later.
    let mut retry = None;
    loop {
        match (pattern.get(at_pattern), name.get(at_name)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                at_pattern += 1;
                retry = Some((at_pattern, at_name + 1));
            }
            (Some(wanted), Some(found)) if *wanted == b'?' || wanted.eq_ignore_ascii_case(found) => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => match retry {
                Some((after_star, next)) if next <= name.len() => {
                    (at_pattern, at_name) = (after_star, next);
                    retry = Some((after_star, next + 1));
                }
                _ => return false,
            },
        }
    }
}

/// `interface listen|ignore|drop all|ipv4|ipv6|wildcard|ADDRESS[/BITS]|NAME`
pub(super) fn interface(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let Some(token) = line.value("interface", "\"listen\", \"ignore\" or \"drop\"") else { return };
    let action = match token.text {
        "listen" => InterfaceAction::Listen,
        "ignore" => InterfaceAction::Ignore,
        "drop" => InterfaceAction::Drop,
        other => {
            let text = format!("unknown interface action {}", show(other));
            line.error(token.column, text, Some("use \"listen\", \"ignore\" or \"drop\"".into()));
            InterfaceAction::Listen
        }
    };
    let Some(token) =
        line.value(token.text, "\"all\", \"ipv4\", \"ipv6\", \"wildcard\", an address or an interface")
    else {
        return;
    };
    let Some(addresses) = addresses(token, line) else { return };
    if line.is_good() {
        draft.config.interfaces.push(InterfaceRule { action, addresses });
    }
}

fn addresses(token: &Token<'_>, line: &mut Line<'_, '_>) -> Option<InterfaceMatch> {
    match token.text {
        "all" => return Some(InterfaceMatch::All),
        "ipv4" => return Some(InterfaceMatch::Family(Family::V4)),
        "ipv6" => return Some(InterfaceMatch::Family(Family::V6)),
        "wildcard" => return Some(InterfaceMatch::Wildcard),
        _ => {}
    }
    let (text, bits) =
        token.text.split_once('/').map_or((token.text, None), |(text, bits)| (text, Some(bits)));
    let address = match host(text, Family::Any) {
        Ok(Host::Address(address)) => address,
        _ if bits.is_none() && !text.is_empty() => return Some(InterfaceMatch::Name(text.to_owned())),
        _ => {
            line.error(token.column, format!("{} is neither network nor interface", show(token.text)), None);
            return None;
        }
    };
    let all = Prefix::host(address).length();
    let prefix = bits.map_or(Some(all), |bits| bits.parse().ok()).and_then(|bits| Prefix::new(address, bits));
    if prefix.is_none() {
        let text = format!("{} needs a length from 0 to {all} after \"/\"", show(token.text));
        line.error(token.column, text, None);
    }
    prefix.map(InterfaceMatch::Prefix)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn interface_names_match_as_file_names_do() {
        let matches = |pattern: &str, name: &str| glob(pattern.as_bytes(), name.as_bytes());
        assert!(matches("eth0", "ETH0"));
        assert!(matches("eth*", "eth0.17"));
        assert!(matches("*", ""));
        assert!(matches("e*h?", "eh-eth0"));
        assert!(!matches("eth?", "eth"));
        assert!(!matches("eth0", "eth01"));
        assert!(!matches("*1", "eth0"));
        // Each star takes at most one pass over the name: no pattern is slow.
        assert!(!matches(&"*a".repeat(500), &"a".repeat(400)));
    }
}
