//! Lists that need the server's control key: `ifstats` and `reslist`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::session::{Ask, Failure};
use super::variables;
use crate::control::{Opcode, Variable, parse};

/// One of the two.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ordered {
    /// The addresses that are served.
    Interfaces,
    /// Whom `restrict` is about.
    Restrictions,
}

/// The fields of one entry, by name.
pub(super) type Entry = Vec<Variable>;

/// Entries by number, which begin with 0; what is named otherwise is passed over.
const ENTRIES_MAX: usize = 10_000;

impl Ordered {
    /// The server's list. Each question must be signed by then.
    pub(super) fn fetch(self, server: &mut impl Ask) -> Result<Vec<Entry>, Failure> {
        let name = match self {
            Self::Interfaces => "ifstats",
            Self::Restrictions => "addr_restrictions",
        };
        let response = server.ask(Opcode::ReadOrderedList, 0, name.as_bytes())?;
        Ok(entries(parse(&response.data)))
    }

    /// As the classic ntpq prints it.
    pub(super) fn table(self, entries: &[Entry]) -> String {
        let mut text = match self {
            Self::Interfaces => "    interface name                                        send\n \
                #  address/broadcast     drop flag ttl mc received sent failed peers   uptime\n"
                .to_owned(),
            Self::Restrictions => "   hits    addr/prefix or addr mask\n           restrictions\n".to_owned(),
        };
        text.push_str(&"=".repeat(78));
        text.push('\n');
        for (number, entry) in entries.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = match self {
                Self::Interfaces => interface(&mut text, number, entry),
                Self::Restrictions => restriction(&mut text, entry),
            };
        }
        text
    }
}

/// The same for programs: every value a string, as the server wrote it.
pub(super) fn json(entries: &[Entry]) -> Value {
    let object = |entry: &Entry| {
        let fields: Map<String, Value> =
            entry.iter().map(|field| (field.name.clone(), json!(field.value))).collect();
        Value::Object(fields)
    };
    entries.iter().map(object).collect()
}

/// `name.0`, `addr.0` and so on, in any order. Entries have an address; servers mix in names that mean
/// nothing.
fn entries(list: Vec<Variable>) -> Vec<Entry> {
    let mut found: BTreeMap<usize, Entry> = BTreeMap::new();
    for variable in list {
        let Some((field, number)) = variable.name.rsplit_once('.') else { continue };
        let Ok(number @ ..ENTRIES_MAX) = number.parse::<usize>() else { continue };
        let known = KNOWN.contains(&field);
        let field = field.to_owned();
        if known {
            found.entry(number).or_default().push(Variable { name: field, ..variable });
        }
    }
    found.into_values().filter(|entry| !value(entry, "addr").is_empty()).collect()
}

const KNOWN: [&str; 14] =
    ["addr", "bcast", "en", "name", "flags", "tl", "mc", "rx", "tx", "txerr", "pc", "up", "mask", "hits"];

fn value<'a>(entry: &'a Entry, name: &str) -> &'a str {
    variables::value(entry, name)
}

/// ntpsec has neither ttl nor multicasts.
fn interface(text: &mut String, number: usize, entry: &Entry) -> std::fmt::Result {
    let or_dash = |name| if value(entry, name).is_empty() { "-" } else { value(entry, name) };
    let drops = if value(entry, "en") == "0" { 'D' } else { '.' };
    let flags = variables::hexadecimal(value(entry, "flags")).unwrap_or_default();
    writeln!(
        text,
        "{number:>3} {:<24} {drops} {flags:>4x} {:>3} {:>2} {:>6} {:>6} {:>6} {:>5} {:>8}\n    {}",
        variables::clip(value(entry, "name"), 24),
        or_dash("tl"),
        or_dash("mc"),
        or_dash("rx"),
        or_dash("tx"),
        or_dash("txerr"),
        or_dash("pc"),
        or_dash("up"),
        value(entry, "addr"),
    )?;
    match value(entry, "bcast") {
        "" => Ok(()),
        broadcast => writeln!(text, "    {broadcast}"),
    }
}

fn restriction(text: &mut String, entry: &Entry) -> std::fmt::Result {
    let (address, mask) = (value(entry, "addr"), value(entry, "mask"));
    let shown = match prefix_length(mask) {
        Some(length) => format!("{address}/{length}"),
        None => format!("{address} {mask}"),
    };
    writeln!(text, "{:>10} {shown}\n           {}", value(entry, "hits"), value(entry, "flags"))
}

/// The bits of a mask, if they are its first.
fn prefix_length(mask: &str) -> Option<u32> {
    let (ones, total) = match mask.parse().ok()? {
        IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
        IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
    };
    (ones == total).then_some(ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_of_the_classic() {
        // m6-auth-cl-ifstats and m6-auth-se-ifstats, m6-auth-cl-reslist.
        let list = b"txerr.0=0, rx.0=0, mc.0=0, bcast.0=, tx.0=0, flags.0=0x81, en.0=0,\r\n\
            name.0=\"v6wildcard\", up.0=17, tl.0=0, pc.0=0, addr.0=[::]:123,\r\nXWU.0=18446744073709503912,\r\n\
            rx.1=18,\r\nbcast.1=192.168.0.255:123, name.1=\"asrvv\", addr.1=192.168.0.1:123, en.1=1, flags.1=0x9,\r\n\
            tx.1=18, txerr.1=0, pc.1=0, up.1=680, zrl.1=45048, pc.77777777=5\r\n";
        assert_eq!(
            Ordered::Interfaces.table(&entries(parse(list))),
            "    interface name                                        send\n \
             #  address/broadcast     drop flag ttl mc received sent failed peers   uptime\n\
             ==============================================================================\n  \
             0 v6wildcard               D   81   0  0      0      0      0     0       17\n    [::]:123\n  \
             1 asrvv                    .    9   -  -     18     18      0     0      680\n    \
             192.168.0.1:123\n    192.168.0.255:123\n"
        );
        let list = b"flags.0=serve trust peer epeer query trap, mask.0=255.255.255.0,\r\naddr.0=127.0.0.0, hits.0=10,\r\n\
            hrl.0=47405, mask.1=255.0.255.0, addr.1=10.0.1.0, hits.1=0, flags.1=, mask.2=::, addr.2=::, hits.2=6\r\n";
        assert_eq!(
            Ordered::Restrictions.table(&entries(parse(list))),
            "   hits    addr/prefix or addr mask\n           restrictions\n\
             ==============================================================================\n        \
             10 127.0.0.0/24\n           serve trust peer epeer query trap\n         \
             0 10.0.1.0 255.0.255.0\n           \n         6 ::/0\n           \n"
        );
        let json = json(&entries(parse(b"addr.0=::, hits.0=6, x.0=1, addr.2=")));
        assert_eq!(json, serde_json::json!([{ "addr": "::", "hits": "6" }]));
    }
}
