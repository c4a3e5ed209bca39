//! The table of associations: `ntpq -p`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use serde_json::{Value, json};

use super::session::{Ask, Failure};
use super::{Names, dates, interrupt, variables};
use crate::control::{ErrorCode, PeerStatus, Variable};
use crate::wire::NtpTimestamp;

/// RFC 5905 figure 6: the bounds of the poll exponent.
const POLL: std::ops::RangeInclusive<u32> = 3..=17;

/// Columns of an address.
const COLUMN: usize = 15;

/// What the columns `remote` and `refid` hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Columns {
    /// The server and its reference id.
    #[default]
    Peers,
    /// The server, its reference id and its association id.
    Associations,
    /// The server and the local address it is spoken to from.
    Addresses,
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    association: u16,
    tally: char,
    remote: String,
    refid: String,
    local: String,
    stratum: String,
    kind: char,
    when: i64,
    poll: i64,
    reach: u32,
    delay: String,
    offset: String,
    jitter: String,
}

/// Asks for all associations and their variables, one after the other as ntpq does.
pub(super) fn rows(server: &mut impl Ask, names: Names, family: Option<u8>) -> Result<Vec<Row>, Failure> {
    let (_, associations) = server.associations()?;
    let mut rows = Vec::with_capacity(associations.len());
    for (association, status) in associations {
        match server.variables(association, &[]) {
            Ok((_, variables)) => {
                let is_v6 = variables::value(&variables, "srcadr").contains(':');
                if family.is_none_or(|family| is_v6 == (family == 6)) {
                    rows.push(row(association, PeerStatus(status), &variables, names));
                }
            }
            // It has gone meanwhile.
            Err(Failure::Refused(ErrorCode::BadAssociation)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(rows)
}

fn row(association: u16, status: PeerStatus, variables: &[Variable], names: Names) -> Row {
    let value = |name| variables::value(variables, name);
    let number = |name| variables::hexadecimal(value(name));
    let source = value("srcadr").parse::<IpAddr>().ok();
    let heard = [value("rec"), value("reftime")]
        .into_iter()
        .filter_map(dates::stamp)
        .find(|stamp| *stamp != NtpTimestamp::UNKNOWN);
    let poll = [number("hpoll"), number("ppoll")].into_iter().flatten().min().unwrap_or(*POLL.start());
    let jitter = if value("jitter").is_empty() { value("dispersion") } else { value("jitter") };
    Row {
        association,
        tally: status.tally(),
        remote: remote(value("srcadr"), value("srchost"), source, names),
        refid: reference(value("refid")),
        local: value("dstadr").to_owned(),
        stratum: value("stratum").to_owned(),
        kind: kind(number("hmode"), source),
        when: heard.map_or(0, |heard| dates::seconds_between(heard, dates::now())),
        poll: 1 << poll.clamp(*POLL.start(), *POLL.end()),
        reach: number("reach").unwrap_or(0),
        delay: milliseconds(value("delay")),
        offset: milliseconds(value("offset")),
        jitter: milliseconds(jitter),
    }
}

/// The server's name, or its address where names are not wanted or not known.
fn remote(address: &str, host: &str, source: Option<IpAddr>, names: Names) -> String {
    let Some(source) = source else { return address.to_owned() };
    if names == Names::Numbers {
        return address.to_owned();
    }
    if !host.is_empty() {
        return host.to_owned();
    }
    reference_clock(source).unwrap_or_else(|| names.of(source))
}

/// 127.127.t.u is no address but a clock driver and its unit.
fn reference_clock(address: IpAddr) -> Option<String> {
    let IpAddr::V4(v4) = address else { return None };
    let [127, 127, driver, unit] = v4.octets() else { return None };
    let name = match driver {
        1 => "LOCAL",
        4 => "SPECTRACOM",
        8 => "GENERIC",
        18 => "ACTS",
        20 => "GPS_NMEA",
        22 => "PPS",
        26 => "GPS_HP",
        28 => "SHM",
        29 => "GPS_PALISADE",
        30 => "GPS_ONCORE",
        31 => "GPS_JUPITER",
        40 => "JJY",
        44 => "GPS_NEOCLOCK",
        45 => "PCI_TSYNC",
        46 => "GPSD_JSON",
        _ => return Some(format!("REFCLK({driver},{unit})")),
    };
    Some(format!("{name}({unit})"))
}

/// A name between dots, an address as it is, a clock driver by its name.
fn reference(refid: &str) -> String {
    match refid.parse::<Ipv4Addr>() {
        Ok(address) => reference_clock(address.into()).unwrap_or_else(|| refid.to_owned()),
        Err(_) if refid.is_empty() => String::new(),
        Err(_) => format!(".{}.", variables::clip(refid, 4)),
    }
}

/// What kind of source it is, in one letter.
fn kind(mode: Option<u32>, source: Option<IpAddr>) -> char {
    let shared = source.is_some_and(|address| address.is_multicast());
    match mode {
        Some(1) => 's',
        Some(2) => 'S',
        Some(3) if source.is_some_and(|address| reference_clock(address).is_some()) => 'l',
        Some(3) if source.is_none_or(|address| address.is_unspecified()) => 'p',
        Some(3) if shared => 'a',
        Some(3) => 'u',
        Some(5) if shared => 'M',
        Some(5) => 'B',
        Some(6) => 'b',
        _ => '-',
    }
}

/// With three decimals, whatever the server sends.
fn milliseconds(text: &str) -> String {
    text.parse::<f64>().map_or_else(|_| text.to_owned(), |value| format!("{value:.3}"))
}

/// The table as the classic ntpq prints it; names may be as long as they like where the output is wide.
pub(super) fn table(rows: &[Row], columns: Columns, wide: bool) -> String {
    let (second, rule) = match columns {
        Columns::Peers => ("refid      ", 78),
        Columns::Associations => ("refid      assid ", 84),
        Columns::Addresses => ("local      ", 78),
    };
    let mut text = format!(
        "     remote           {second}st t when poll reach   delay   offset  jitter\n{}\n",
        "=".repeat(rule),
    );
    for row in rows {
        let remote = if wide { row.remote.as_str() } else { variables::clip(&row.remote, COLUMN) };
        let second = match columns {
            Columns::Peers => format!("{:<15.15}", row.refid),
            Columns::Associations => format!("{:<15.15} {:>5}", row.refid, row.association),
            Columns::Addresses => format!("{:<15.15}", row.local),
        };
        let begin = if remote.chars().count() > COLUMN {
            format!("{}{remote}\n{:17}", row.tally, "")
        } else {
            format!("{}{remote:<15} ", row.tally)
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{begin}{second} {:>2} {} {:>4.4} {:>4.4}  {:>3o}  {:>7.7} {:>8.7} {:>7.7}",
            row.stratum,
            row.kind,
            dates::interval(row.when),
            dates::interval(row.poll),
            row.reach,
            row.delay,
            row.offset,
            row.jitter,
        );
    }
    text
}

/// The same for programs; times in milliseconds, `when` and `poll` in seconds.
pub(super) fn json(rows: &[Row]) -> Value {
    let number = |text: &str| text.parse::<f64>().ok();
    rows.iter()
        .map(|row| {
            json!({
                "association": row.association,
                "tally": row.tally.to_string().trim(),
                "remote": row.remote,
                "local": row.local,
                "refid": row.refid,
                "stratum": row.stratum.parse::<u8>().ok(),
                "type": row.kind.to_string(),
                "when_s": (row.when > 0).then_some(row.when),
                "poll_s": row.poll,
                "reach": row.reach,
                "delay_ms": number(&row.delay),
                "offset_ms": number(&row.offset),
                "jitter_ms": number(&row.jitter),
            })
        })
        .collect()
}

/// The addresses of a host, of the family that is wanted.
pub(super) fn resolve(host: &str, port: u16, family: Option<u8>) -> Result<SocketAddr, String> {
    let fits = |address: &SocketAddr| match family {
        Some(4) => address.is_ipv4(),
        Some(6) => address.is_ipv6(),
        _ => true,
    };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let asked = (bare.to_owned(), port);
    interrupt::unless_pressed(move || asked.to_socket_addrs())
        .ok_or("***Interrupted")?
        .map_err(|error| format!("cannot resolve {host}: {error}"))?
        .find(fits)
        .ok_or_else(|| format!("{host} has no IPv{} address", family.unwrap_or(4)))
}
