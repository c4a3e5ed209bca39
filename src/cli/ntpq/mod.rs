//! `ntpring ntpq`, or `ntpq` by its name: asks a server about its state, in the control protocol (mode 6).

mod chosen;
mod commands;
mod credentials;
mod dates;
mod interrupt;
mod mru;
mod ordered;
mod peers;
mod session;
mod statistics;
#[cfg(test)]
mod tests;
mod variables;
mod vocabulary;
mod writing;

use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};

use self::commands::{Shell, Trouble};
use super::complain;

/// Erases the terminal from its first line on.
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";

/// Options of `ntpring ntpq`; where ntpq has the same letter it means the same.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "ntpq", version, about = "Asks NTP servers about their state, as ntpq does")]
pub(super) struct Args {
    #[command(flatten)]
    commands: Commands,
    /// Print addresses instead of names
    #[arg(short = 'n', long)]
    numeric: bool,
    /// Read commands from standard input, even after others
    #[arg(short = 'i', long)]
    interactive: bool,
    /// Names mean IPv4 addresses
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Names mean IPv6 addresses
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Do not cut long names off
    #[arg(short = 'w', long)]
    wide: bool,
    /// Sign with this key what needs it, such as ifstats and reslist
    #[arg(short = 'a', long = "authentication", value_name = "KEYID", value_parser = clap::value_parser!(u16).range(1..))]
    key_id: Option<u16>,
    /// Take the key from this file, in the format of ntp.keys
    #[arg(short = 'k', long = "keyfile", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Repeat the commands every so many seconds, in place
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    /// Servers to ask [default: localhost]
    #[arg(value_name = "HOST[:PORT]")]
    hosts: Vec<String>,
}

/// What -p and -c say, in their order.
#[derive(Clone, Debug)]
struct Commands(Vec<String>);

impl clap::Args for Commands {
    fn augment_args(command: Command) -> Command {
        let peers = Arg::new("peers").short('p').long("peers").action(ArgAction::SetTrue);
        let one = Arg::new("command").short('c').long("command").value_name("CMD").action(ArgAction::Append);
        command.arg(peers.help("Print the table of associations, as -c peers does")).arg(one.help(
            "Run this command, such as rv, as, sysinfo or mrulist; may be repeated (\"help\" lists them)",
        ))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Commands {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let texts = matches.get_many::<String>("command").into_iter().flatten().cloned();
        let places = matches.indices_of("command").into_iter().flatten();
        let mut placed: Vec<(usize, String)> = places.zip(texts).collect();
        if matches.get_flag("peers") {
            placed.push((matches.index_of("peers").unwrap_or_default(), "peers".to_owned()));
        }
        placed.sort_by_key(|(place, _)| *place);
        Ok(Self(placed.into_iter().map(|(_, text)| text).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Whether addresses are shown by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Where the resolver knows one.
    Resolved,
    /// Never.
    Numbers,
}

impl Names {
    fn of(self, address: IpAddr) -> String {
        match self {
            Self::Numbers => address.to_string(),
            Self::Resolved => interrupt::unless_pressed(move || dns_lookup::lookup_addr(&address))
                .and_then(Result::ok)
                .unwrap_or_else(|| address.to_string()),
        }
    }
}

/// Asks each server in turn. Exit code 0 if every command was answered, 1 if one was not.
pub(super) fn run(args: &Args) -> ExitCode {
    let Commands(commands) = &args.commands;
    let default = ["localhost".to_owned()];
    let hosts = if args.hosts.is_empty() { &default[..] } else { &args.hosts };
    let mut shell = match Shell::new(args) {
        Ok(shell) => shell,
        Err(problem) => {
            complain(format_args!("ntpq: {problem}"));
            return ExitCode::FAILURE;
        }
    };
    let mut good = true;
    loop {
        if args.watch.is_some() && io::stdout().is_terminal() {
            good &= print(HOME_AND_CLEAR);
        }
        for host in hosts {
            good &= ask_host(&mut shell, host, hosts.len() > 1, commands);
        }
        let Some(seconds) = args.watch else { break };
        thread::sleep(Duration::from_secs(seconds));
    }
    if commands.is_empty() || args.interactive {
        good &= converse(&mut shell);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all commands against one host; false if any has failed.
fn ask_host(shell: &mut Shell, host: &str, one_of_many: bool, commands: &[String]) -> bool {
    if let Err(problem) = shell.connect(host) {
        complain(format_args!("ntpq: {problem}"));
        return false;
    }
    let mut good = !one_of_many || commands.is_empty() || print(&format!("server {host}\n"));
    for command in commands {
        good &= obey(shell, command);
    }
    good
}

/// Commands from standard input, one a line, until it ends or says `quit`.
fn converse(shell: &mut Shell) -> bool {
    let is_terminal = io::stdin().is_terminal();
    if is_terminal && let Err(error) = interrupt::watch() {
        complain(format_args!("ntpq: ^C will end everything: {error}"));
    }
    let mut good = true;
    loop {
        if is_terminal {
            print("ntpq> ");
        }
        // Not all lines at once: `passwd` takes the next one for itself.
        match interrupt::read_line() {
            Ok(line) if line.is_empty() => break,
            Ok(line) if matches!(line.trim(), "quit" | "exit") => return good,
            Ok(line) => good &= obey(shell, &line),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                interrupt::forget();
                print("\n");
            }
            Err(error) => {
                complain(format_args!("ntpq: cannot read: {error}"));
                return false;
            }
        }
    }
    // The end of a terminal's input is no end of its line.
    if is_terminal {
        print("\n");
    }
    good
}

fn obey(shell: &mut Shell, line: &str) -> bool {
    let result = shell.run(line);
    let is_interrupted = interrupt::is_pressed();
    if is_interrupted {
        interrupt::forget();
        print("\n");
    }
    match result {
        Ok(text) => print(&text),
        // Half of an answer is none, and nothing is to be said of it.
        Err(_) if is_interrupted => false,
        Err(Trouble::Usage(text)) => {
            complain(format_args!("{text}"));
            false
        }
        Err(Trouble::Server(failure)) => {
            complain(format_args!("{failure}"));
            false
        }
    }
}

/// Whoever reads the output may have gone, as `head` does; then there is nobody to ask for any more.
fn print(text: &str) -> bool {
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
    true
}
