//! `ntpring serve`, and `ntpring` alone.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::EXIT_USAGE;
use crate::daemon::{self, CoreChoice, DatapathChoice, Failure, Options};
use crate::datapath::Backend;
use crate::limits;
use crate::xdp::{Mode, Wanted};

const DEFAULT_CONFIG: &str = "/etc/ntp.conf";
const NTP_PORT: u16 = 123;

/// Options of `ntpring serve`; where ntpd has the same letter it means the same.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file [default: /etc/ntp.conf if it exists, else this machine's own clock]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve this address instead of those of the configuration; may be repeated [default port: 123]
    #[arg(short, long, value_name = "ADDR[:PORT]", value_parser = parse_listen)]
    listen: Vec<SocketAddr>,
    /// Number of worker threads, each pinned to a core of its own; 0 serves nobody [default: one per core]
    #[arg(long, value_name = "N", conflicts_with = "cpus")]
    workers: Option<usize>,
    /// Cores to pin a worker to, such as 0,2-5
    #[arg(long, value_name = "LIST", value_parser = parse_cores)]
    cpus: Option<Cores>,
    /// How datagrams are moved
    #[arg(long, value_enum, default_value_t)]
    datapath: DatapathArg,
    /// Answer plain requests in the network driver, unseen by firewall rules, rp_filter and captures
    #[arg(long, value_enum, value_name = "MODE", default_value_t, requires_ifs = [
        ("auto", "interface"), ("native", "interface"), ("generic", "interface"),
    ])]
    xdp: XdpArg,
    /// Interface to answer on in the driver; may be repeated
    #[arg(short, long, value_name = "IFACE")]
    interface: Vec<String>,
    /// Become this user once the sockets are open
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Serve Prometheus metrics on this TCP address
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    /// As ntpd: the first correction may be of any size
    #[arg(short = 'g')]
    panic_gate: bool,
    /// Never adjust the machine's clock: what is served is corrected instead
    #[arg(short = 'x')]
    never_adjust: bool,
    /// As ntpd: stay in the foreground, which is always so
    #[arg(short = 'n')]
    no_fork: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum DatapathArg {
    /// io_uring, or recvmmsg and sendmmsg where it is not allowed
    #[default]
    Auto,
    /// io_uring or nothing
    #[value(name = "io_uring")]
    IoUring,
    /// recvmmsg and sendmmsg
    Mmsg,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
enum XdpArg {
    /// every request goes through the kernel to the sockets
    #[default]
    Off,
    /// in the driver where that works, else as with off
    Auto,
    /// in the driver or not at all
    Native,
    /// behind the driver, which works everywhere and gains less
    Generic,
}

#[derive(Clone, Debug)]
struct Cores(Vec<usize>);

/// Serves as the arguments say.
pub(super) fn run(args: Args) -> ExitCode {
    let cores = match (args.workers, args.cpus) {
        (_, Some(Cores(cores))) => CoreChoice::These(cores),
        (Some(workers), None) => CoreChoice::First(workers),
        (None, None) => CoreChoice::All,
    };
    let datapath = match args.datapath {
        DatapathArg::Auto => DatapathChoice::Auto,
        DatapathArg::IoUring => DatapathChoice::Only(Backend::IoUring),
        DatapathArg::Mmsg => DatapathChoice::Only(Backend::Mmsg),
    };
    let interfaces = args.interface;
    if args.xdp == XdpArg::Off && !interfaces.is_empty() {
        return fail(&Failure::Usage(format!(
            "--interface {} says where to answer in the driver: add --xdp auto",
            interfaces.join(" --interface ")
        )));
    }
    let wanted = |mode, required| Some(Wanted { mode, interfaces, required });
    let xdp = match args.xdp {
        XdpArg::Off => None,
        XdpArg::Auto => wanted(Mode::Native, false),
        XdpArg::Native => wanted(Mode::Native, true),
        XdpArg::Generic => wanted(Mode::Generic, true),
    };
    serve(&Options {
        config: args.config.or_else(default_config),
        listen: args.listen,
        cores,
        datapath,
        xdp,
        user: args.user,
        metrics: args.metrics,
        panic_gate: args.panic_gate,
        never_adjust: args.never_adjust,
        ..Options::default()
    })
}

/// The file that is read if none is named.
pub(super) fn default_config() -> Option<PathBuf> {
    Path::new(DEFAULT_CONFIG).exists().then(|| DEFAULT_CONFIG.into())
}

/// `ntpring` alone: no file is read, and the reader is told what to try next.
pub(super) fn run_embedded_default() -> ExitCode {
    // Whoever reads this may have gone; the time is served all the same.
    let _ = io::stdout().write_all(next_steps().as_bytes());
    serve(&Options::default())
}

fn next_steps() -> String {
    format!(
        "ntpring {version}: no command given, serving this machine's own clock (ntpring --help shows more)
next, from another terminal (use port 11123 if the line \"ready:\" names it):
  ask it for the time      chronyd -Q -t 3 'server 127.0.0.1 iburst maxsamples 1'   or   ntpdig 127.0.0.1
  see its counters         kill -USR1 {pid}
  serve by your own file   ntpring check -c /etc/ntp.conf && ntpring serve -c /etc/ntp.conf
  measure it               ntpload demo
",
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
    )
}

/// Runs the daemon; its end is the exit code.
pub(super) fn serve(options: &Options) -> ExitCode {
    match daemon::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    super::complain(format_args!("ntpring: {failure}"));
    match failure {
        Failure::Usage(_) => ExitCode::from(EXIT_USAGE),
        Failure::Listen(_) | Failure::RunTime(_) => ExitCode::FAILURE,
    }
}

/// ADDR, ADDR:PORT, [V6] or [V6]:PORT; a link-local V6 with its interface, as in fe80::1%eth0.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text.parse()
        .or_else(|_| bare.parse::<IpAddr>().map(|address| SocketAddr::new(address, NTP_PORT)))
        .or_else(|_| parse_scoped(text))
        .map_err(|_| {
            "expected an address such as 0.0.0.0, 192.0.2.1:11123, ::, [2001:db8::1]:123 or [fe80::1%eth0]:123"
                .to_owned()
        })
}

/// An address whose scope is an interface of this machine, by name or number.
fn parse_scoped(text: &str) -> io::Result<SocketAddr> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (host, port) = match text.strip_prefix('[') {
        None => (text, None),
        Some(rest) => rest.split_once(']').map(|(host, port)| (host, Some(port))).ok_or_else(invalid)?,
    };
    let port = match port {
        None | Some("") => NTP_PORT,
        Some(port) => port.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(invalid)?,
    };
    // Only numbers go to the resolver, which knows the interfaces: no name is ever looked up.
    let (address, _interface) = host.split_once('%').ok_or_else(invalid)?;
    address.parse::<Ipv6Addr>().map_err(|_| invalid())?;
    (host, port).to_socket_addrs()?.next().ok_or_else(invalid)
}

/// Numbers and ranges, separated by commas; each core once.
fn parse_cores(text: &str) -> Result<Cores, String> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let parse = |number: &str| {
            number.trim().parse::<usize>().map_err(|_| format!("\"{part}\" is no cpu number or range"))
        };
        let (first, last) = (parse(first)?, parse(last)?);
        if first > last || last - first >= limits::WORKERS_MAX || cores.len() >= limits::WORKERS_MAX {
            return Err(format!("\"{part}\" is no range of at most {} cpus", limits::WORKERS_MAX));
        }
        cores.extend((first..=last).filter(|core| !cores.contains(core)).collect::<Vec<_>>());
    }
    Ok(Cores(cores))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_and_without_port_and_brackets() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:123"),
            ("192.0.2.1:11123", "192.0.2.1:11123"),
            ("::1", "[::1]:123"),
            ("[::1]", "[::1]:123"),
            ("[::1]:99", "[::1]:99"),
        ] {
            assert_eq!(parse_listen(text), Ok(expected.parse().unwrap()), "{text}");
        }
        // The loopback interface is the first there is.
        for (text, port) in
            [("fe80::1%lo", 123), ("[fe80::1%lo]", 123), ("[fe80::1%lo]:99", 99), ("[fe80::1%1]:99", 99)]
        {
            assert_eq!(parse_listen(text), Ok(format!("[fe80::1%1]:{port}").parse().unwrap()), "{text}");
        }
        for text in
            ["", "host", "host%lo", "192.0.2.1:", "192.0.2.1:70000", "[::1", "[fe80::1%lo", "fe80::1%nosuch"]
        {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn core_lists_have_numbers_and_ranges_and_no_core_twice() {
        assert_eq!(parse_cores("0,2-4,3").unwrap().0, [0, 2, 3, 4]);
        for text in ["", "a", "3-1", "0-100000", "1,,2", "-1"] {
            assert!(parse_cores(text).is_err(), "{text}");
        }
    }
}
