//! Lists of variables as ntpq prints them.

use crate::control::Variable;
use crate::wire::NtpTimestamp;

use super::dates;

/// A line is broken before it would be longer.
const LINE: usize = 72;

/// Names of the bits of `flash`, the tests that a packet or an association has failed.
const TESTS: [&str; 13] = [
    "pkt_dup",
    "pkt_bogus",
    "pkt_unsync",
    "pkt_denied",
    "pkt_auth",
    "pkt_stratum",
    "pkt_header",
    "pkt_autokey",
    "pkt_crypto",
    "peer_stratum",
    "peer_dist",
    "peer_loop",
    "peer_unreach",
];

/// The value of a variable, empty if it is not there.
pub(super) fn value<'a>(variables: &'a [Variable], name: &str) -> &'a str {
    variables.iter().find(|variable| variable.name == name).map_or("", |variable| &variable.value)
}

/// The whole list, `name=value, name=value`, in lines of about 72 columns.
pub(super) fn list(variables: &[Variable]) -> String {
    let mut text = String::new();
    let mut column = 0;
    for variable in variables {
        let item = format!("{}={}", variable.name, cooked(variable));
        if !text.is_empty() {
            let breaks = column + item.len() + 3 > LINE;
            text.push_str(if breaks { ",\n" } else { ", " });
            column = if breaks { 0 } else { column + 2 };
        }
        column += item.len();
        text.push_str(&item);
    }
    text.push('\n');
    text
}

/// A value where its name does not stand beside it.
pub(super) fn shown(variable: &Variable) -> String {
    if variable.quoted { variable.value.clone() } else { cooked(variable) }
}

/// A value as people read it; what is not understood stays as it came.
fn cooked(variable: &Variable) -> String {
    let value = variable.value.as_str();
    if variable.quoted {
        return format!("\"{value}\"");
    }
    let understood = match variable.name.as_str() {
        "reftime" | "clock" | "org" | "rec" | "xmt" | "dst" => time(value),
        "leap" => value.parse::<u8>().ok().filter(|leap| *leap < 4).map(|leap| format!("{leap:02b}")),
        "reach" => hexadecimal(value).map(|reach| format!("{reach:03o}")),
        "flash" => hexadecimal(value).map(flash),
        name @ ("filtdelay" | "filtoffset" | "filtdisp") => Some(filter(name, value)),
        _ => None,
    };
    understood.unwrap_or_else(|| value.to_owned())
}

fn time(value: &str) -> Option<String> {
    dates::stamp(value).map(|stamp| match stamp {
        NtpTimestamp::UNKNOWN => "(no time)".to_owned(),
        known => dates::date(known),
    })
}

/// A number with or without 0x; without, it is decimal.
pub(super) fn hexadecimal(value: &str) -> Option<u32> {
    match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

fn flash(bits: u32) -> String {
    let names: Vec<&str> =
        (0..).zip(TESTS).filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name).collect();
    if names.is_empty() { format!("{bits:02x} ok") } else { format!("{bits:02x} {}", names.join(", ")) }
}

/// Eight values in columns that stand below each other, whatever the name's length.
fn filter(name: &str, value: &str) -> String {
    let columns: Vec<String> =
        value.split_ascii_whitespace().map(|value| format!("{:>7}", clip(value, 7))).collect();
    format!("{:1$}{2}", "", 11_usize.saturating_sub(name.len()), columns.join(" "))
}

/// At most so many characters.
pub(super) fn clip(text: &str, columns: usize) -> &str {
    text.char_indices().nth(columns).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::parse;

    #[test]
    fn lists_are_cooked_and_broken_as_ntpq_does() {
        let data = b"version=\"ntpd 4.2.8p15\", leap=3, stratum=4, reach=0x1, flash=0x1400,\r\n\
            keyid=0, filtdelay= 0.05 16000.00, filtoffset= -0.01 0.02, filtdisp= 0.00 0.99, x=5\r\n";
        assert_eq!(
            list(&parse(data)),
            "version=\"ntpd 4.2.8p15\", leap=11, stratum=4, reach=001,\n\
             flash=1400 peer_dist, peer_unreach, keyid=0,\n\
             filtdelay=     0.05 16000.0, filtoffset=   -0.01    0.02,\n\
             filtdisp=      0.00    0.99, x=5\n"
        );
    }

    #[test]
    fn what_is_not_understood_stays_as_it_came() {
        let data = b"leap=9, reach=none, flash=?, reftime=now, filtdelay=\x10, clock=0x0.0";
        assert_eq!(
            list(&parse(data)),
            "leap=9, reach=none, flash=?, reftime=now, filtdelay=        ?,\nclock=(no time)\n"
        );
        assert_eq!(list(&[]), "\n");
    }
}
