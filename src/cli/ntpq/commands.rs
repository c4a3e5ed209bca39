//! What can be asked, by ntpq's names.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::credentials::Credentials;
use super::ordered::{self, Ordered};
use super::peers::{self, Columns};
use super::session::{self, Ask, Failure, Session, Shown};
use super::statistics::{self, LISTS, List};
use super::{Args, Names, mru, variables};
use crate::control::{ClockStatus, Opcode, PeerStatus, Variable, parse};

/// The port of NTP servers.
const NTP_PORT: u16 = 123;

/// The longest that one answer is waited for.
const TIMEOUT_MAX_MS: u64 = 600_000;

/// Why a command has no output.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was not understood.
    Usage(String),
    /// The server did not answer it.
    Server(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Server(failure)
    }
}

/// What commands share: the server they go to, and how their output looks.
pub(super) struct Shell<S = Session> {
    server: Option<S>,
    host: String,
    family: Option<u8>,
    names: Names,
    wide: bool,
    json: bool,
    raw: bool,
    timeout: Duration,
    shown: Shown,
    credentials: Credentials,
}

/// What a command does.
#[derive(Clone, Copy)]
enum Action {
    Peers(Columns),
    Associations,
    ReadVariables,
    ReadMany,
    ClockVariables,
    Statistics(&'static List),
    PeerStatistics,
    MruList,
    Ordered(Ordered),
    KeyId,
    KeyType,
    Password,
    Authenticate,
    Host,
    Timeout,
    Hostnames,
    Raw(bool),
    Version,
    Help,
}

/// A name, its arguments, what it is for.
struct Command {
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    action: Action,
}

const fn command(name: &'static str, arguments: &'static str, help: &'static str, action: Action) -> Command {
    Command { name, arguments, help, action }
}

const ONE: &str = "[assocID] [name,name...]";
const TWO: &str = "assocID assocID [name,name...]";
const CLIENTS: &str = "[limited] [kod] [mincount=N] [maxlstint=SECONDS] [resany=MASK] [resall=MASK] \
                       [sort=[-]lstint|avgint|count|addr]";

/// In alphabetical order; a name may be cut short as long as it is unique. Names of two letters are whole.
const COMMANDS: [Command; 36] = [
    command("apeers", "", "the table of associations, with their ids", Action::Peers(Columns::Associations)),
    command("associations", "", "status words of all associations", Action::Associations),
    command("authenticate", "[yes|no]", "whether every question is signed", Action::Authenticate),
    command("clocklist", "[assocID]", "variables of a reference clock", Action::ClockVariables),
    command("clockvar", ONE, "variables of a reference clock", Action::ClockVariables),
    command("cooked", "", "show variables as people read them", Action::Raw(false)),
    command("cv", ONE, "clockvar", Action::ClockVariables),
    command("exit", "", "end", Action::Help),
    command("help", "[command]", "this list, or what a command is for", Action::Help),
    command("host", "[-4|-6] [host]", "show or change the server that is asked", Action::Host),
    command("hostnames", "[yes|no]", "whether addresses are shown by name", Action::Hostnames),
    command("ifstats", "", "the addresses that are served; signed", Action::Ordered(Ordered::Interfaces)),
    command("keyid", "[key#]", "the key that questions are signed with", Action::KeyId),
    command("keytype", "[digest-name]", "its algorithm: MD5, SHA1, AES128CMAC...", Action::KeyType),
    command("lassociations", "", "associations", Action::Associations),
    command("lopeers", "[-4|-6]", "opeers", Action::Peers(Columns::Addresses)),
    command("lpassociations", "", "associations", Action::Associations),
    command("lpeers", "[-4|-6]", "peers", Action::Peers(Columns::Peers)),
    command("mreadlist", TWO, "mreadvar", Action::ReadMany),
    command("mreadvar", TWO, "variables of a range of associations", Action::ReadMany),
    command("mrl", TWO, "mreadvar", Action::ReadMany),
    command("mrulist", CLIENTS, "who has asked the server lately", Action::MruList),
    command("mrv", TWO, "mreadvar", Action::ReadMany),
    command(
        "opeers",
        "[-4|-6]",
        "the table of associations, with local addresses",
        Action::Peers(Columns::Addresses),
    ),
    command("passociations", "", "associations", Action::Associations),
    command("passwd", "[password]", "its secret, asked for if not given", Action::Password),
    command("peers", "[-4|-6]", "the table of associations", Action::Peers(Columns::Peers)),
    command("pstats", "assocID", "statistics of an association", Action::PeerStatistics),
    command("quit", "", "end", Action::Help),
    command("raw", "", "show variables as the server sends them", Action::Raw(true)),
    command("readlist", ONE, "readvar", Action::ReadVariables),
    command("readvar", ONE, "variables of the system, or of an association", Action::ReadVariables),
    command("reslist", "", "whom `restrict' is about; signed", Action::Ordered(Ordered::Restrictions)),
    command("rl", ONE, "readvar", Action::ReadVariables),
    command("rv", ONE, "readvar", Action::ReadVariables),
    command("timeout", "[milliseconds]", "how long an answer is waited for", Action::Timeout),
];

impl Shell<Session> {
    pub(super) fn new(args: &Args) -> Result<Self, String> {
        let family = match (args.ipv4, args.ipv6) {
            (true, _) => Some(4),
            (_, true) => Some(6),
            _ => None,
        };
        let names = if args.numeric { Names::Numbers } else { Names::Resolved };
        Ok(Self {
            server: None,
            host: String::new(),
            family,
            names,
            wide: args.wide,
            json: args.json,
            raw: false,
            timeout: session::TIMEOUT,
            shown: Shown::default(),
            credentials: Credentials::new(args.key_id, args.key_file.as_deref())?,
        })
    }

    /// Asks this host from now on.
    pub(super) fn connect(&mut self, host: &str) -> Result<(), String> {
        let (name, port) = split_port(host)?;
        let address = peers::resolve(name, port, self.family)?;
        let session = Session::open(address, host, self.timeout)
            .map_err(|error| format!("cannot reach {host}: {error}"))?;
        self.server = Some(session);
        host.clone_into(&mut self.host);
        Ok(())
    }

    /// Runs one line; returns what it prints.
    pub(super) fn run(&mut self, line: &str) -> Result<String, Trouble> {
        let words = words(line);
        let Some((name, arguments)) = words.split_first() else { return Ok(String::new()) };
        match (find(name)?, arguments) {
            (Action::Host, []) => Ok(format!("current host is {}\n", self.host)),
            (Action::Host, [family @ ("-4" | "-6"), host]) => {
                self.family = Some(if *family == "-4" { 4 } else { 6 });
                self.change_host(host)
            }
            (Action::Host, [host]) => self.change_host(host),
            (Action::Timeout, []) => Ok(format!("primary timeout {} ms\n", self.timeout.as_millis())),
            (Action::Timeout, [milliseconds]) => self.change_timeout(milliseconds),
            (action, arguments) => self.ask(action, arguments),
        }
    }

    fn change_host(&mut self, host: &str) -> Result<String, Trouble> {
        self.connect(host).map_err(Trouble::Usage)?;
        Ok(format!("current host set to {host}\n"))
    }

    fn change_timeout(&mut self, milliseconds: &str) -> Result<String, Trouble> {
        let milliseconds = milliseconds
            .parse::<u64>()
            .map_err(|_| usage(&format!("***Invalid integer \"{milliseconds}\"")))?;
        self.timeout = Duration::from_millis(milliseconds.clamp(1, TIMEOUT_MAX_MS));
        if let Some(server) = &mut self.server {
            server.set_timeout(self.timeout);
        }
        Ok(format!("primary timeout {milliseconds} ms\n"))
    }
}

impl<S: Ask> Shell<S> {
    /// Everything that does not change the server.
    fn ask(&mut self, action: Action, arguments: &[&str]) -> Result<String, Trouble> {
        match action {
            Action::Help => return help(arguments),
            Action::Version => return Ok(format!("ntpq, ntpring {}\n", env!("CARGO_PKG_VERSION"))),
            Action::Raw(raw) => {
                self.raw = raw;
                return Ok(format!("Output set to {}\n", if raw { "raw" } else { "cooked" }));
            }
            Action::Hostnames => return self.hostnames(arguments),
            Action::KeyId => return self.credentials.key_id(arguments),
            Action::KeyType => return self.credentials.key_type(arguments),
            Action::Password => return self.credentials.password(arguments),
            Action::Authenticate => return self.credentials.authenticate(arguments),
            _ => {}
        }
        let server = self.server.as_mut().ok_or_else(|| usage("***No host open, use `host' command"))?;
        let is_signed = self.credentials.always || matches!(action, Action::Ordered(_));
        server.sign_with(if is_signed { Some(self.credentials.key()?) } else { None });
        // An index is of the list that `as` has shown, or would show.
        if self.shown.0.is_empty() && arguments.iter().any(|word| word.starts_with('&')) {
            self.shown = Shown::of(&server.associations()?.1);
        }
        match action {
            Action::Peers(columns) => {
                let rows = peers::rows(server, self.names, family(arguments)?)?;
                Ok(self.text_or_json(|shell| peers::table(&rows, columns, shell.wide), || peers::json(&rows)))
            }
            Action::Associations => {
                let (_, list) = server.associations()?;
                self.shown = Shown::of(&list);
                Ok(self.text_or_json(|_| associations(&list), || associations_json(&list)))
            }
            Action::MruList => {
                let wanted = mru::Wanted::parse(arguments).map_err(Trouble::Usage)?;
                let (now, entries) = mru::fetch(server, &wanted)?;
                let names = self.names;
                Ok(self.text_or_json(|_| mru::table(now, &entries, names), || mru::json(now, &entries)))
            }
            Action::Ordered(list) => {
                let entries = list.fetch(server)?;
                Ok(self.text_or_json(|_| list.table(&entries), || ordered::json(&entries)))
            }
            Action::Statistics(list) => {
                let (status, found) = list.fetch(server, 0)?;
                Ok(self.text_or_json(|_| list.show(0, status, &found), || object(0, status, &found)))
            }
            Action::PeerStatistics => {
                let [association] = arguments else { return Err(usage("usage: pstats assocID")) };
                let association = self.shown.association(association).map_err(Trouble::Usage)?;
                let (status, found) = statistics::PEER.fetch(server, association)?;
                let text = |_: &Self| statistics::PEER.show(association, status, &found);
                Ok(self.text_or_json(text, || object(association, status, &found)))
            }
            Action::ClockVariables => self.clock_variables(arguments),
            Action::ReadMany => self.read_many(arguments),
            _ => self.read_variables(arguments),
        }
    }

    fn hostnames(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        match arguments {
            [] => {}
            ["yes"] => self.names = Names::Resolved,
            ["no"] => self.names = Names::Numbers,
            _ => return Err(usage("usage: hostnames [yes|no]")),
        }
        let shown = if self.names == Names::Resolved { "being" } else { "not being" };
        Ok(format!("hostnames {shown} displayed\n"))
    }

    fn text_or_json(&self, text: impl FnOnce(&Self) -> String, json: impl FnOnce() -> Value) -> String {
        if self.json { format!("{:#}\n", json()) } else { text(self) }
    }

    /// An association, or the system if none is named, and names of variables.
    fn target<'a>(&self, arguments: &'a [&str]) -> Result<(u16, Vec<&'a str>), Trouble> {
        let starts_with_number =
            |word: &&str| word.starts_with(|first: char| first == '&' || first.is_ascii_digit());
        let (association, names) = match arguments.split_first() {
            Some((first, rest)) if starts_with_number(first) => {
                (self.shown.association(first).map_err(Trouble::Usage)?, rest)
            }
            _ => (0, arguments),
        };
        let names = names.iter().flat_map(|word| word.split(',')).filter(|name| !name.is_empty()).collect();
        Ok((association, names))
    }

    fn read_variables(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        let (association, names) = self.target(arguments)?;
        self.read(association, &names)
    }

    fn read(&mut self, association: u16, names: &[&str]) -> Result<String, Trouble> {
        let Some(server) = self.server.as_mut() else { return Ok(String::new()) };
        if self.raw {
            let response = server.ask(Opcode::ReadVariables, association, names.join(",").as_bytes())?;
            let text = String::from_utf8_lossy(&response.data).escape_debug().to_string();
            return Ok(format!("associd={association} status=0x{:04x},\n{text}\n", response.status)
                .replace("\\r\\n", "\n")
                .replace("\\\"", "\""));
        }
        let (status, found) = server.variables(association, names)?;
        let text = |_: &Self| format!("{}{}", statistics::head(association, status), variables::list(&found));
        Ok(self.text_or_json(text, || object(association, status, &found)))
    }

    /// Those from one association to another, in the order of the last `as`.
    fn read_many(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        let [first, last, names @ ..] = arguments else {
            return Err(usage("usage: mreadvar assocID assocID [name,name...]"));
        };
        if self.shown.0.is_empty() {
            self.ask(Action::Associations, &[])?;
        }
        let place = |word: &str| {
            let association = self.shown.association(word).map_err(Trouble::Usage)?;
            self.shown
                .0
                .iter()
                .position(|&shown| shown == association)
                .ok_or_else(|| usage(&format!("***Association ID {association} not found in list")))
        };
        let (first, last) = (place(first)?, place(last)?);
        let (first, last) = (first.min(last), first.max(last));
        let chosen: Vec<u16> = self.shown.0.iter().copied().take(last + 1).skip(first).collect();
        let names: Vec<&str> = names.iter().flat_map(|word| word.split(',')).collect();
        let mut text = String::new();
        for association in chosen {
            text.push_str(&self.read(association, &names)?);
            text.push('\n');
        }
        Ok(text)
    }

    fn clock_variables(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        let (association, names) = self.target(arguments)?;
        let Some(server) = self.server.as_mut() else { return Ok(String::new()) };
        let response = server.ask(Opcode::ReadClock, association, names.join(",").as_bytes())?;
        let (status, found) = (response.status, parse(&response.data));
        let text = |_: &Self| {
            let words = ClockStatus(status);
            format!("associd={association} status={status:04x} {words},\n{}", variables::list(&found))
        };
        Ok(self.text_or_json(text, || object(association, status, &found)))
    }
}

/// The words of a line, up to a comment.
fn words(line: &str) -> Vec<&str> {
    line.split('#').next().unwrap_or_default().split_ascii_whitespace().collect()
}

/// A command by its name, or by the beginning of it. A list of variables comes before other names.
fn find(word: &str) -> Result<Action, Trouble> {
    let names = COMMANDS.iter().map(|command| (command.name, command.action));
    let lists = LISTS.iter().map(|list| (list.command, Action::Statistics(list)));
    let others = [("version", Action::Version), ("?", Action::Help)];
    let all: Vec<(&str, Action)> = names.chain(lists).chain(others).collect();
    if let Some((_, action)) = all.iter().find(|(name, _)| *name == word) {
        return Ok(*action);
    }
    match all.iter().filter(|(name, _)| name.starts_with(word)).collect::<Vec<_>>()[..] {
        [(_, action)] => Ok(*action),
        [] => Err(usage(&format!("***Command `{word}' unknown"))),
        _ => Err(usage(&format!("***Command `{word}' ambiguous"))),
    }
}

pub(super) fn usage(text: &str) -> Trouble {
    Trouble::Usage(text.to_owned())
}

fn family(arguments: &[&str]) -> Result<Option<u8>, Trouble> {
    match arguments {
        [] => Ok(None),
        ["-4"] => Ok(Some(4)),
        ["-6"] => Ok(Some(6)),
        _ => Err(usage("usage: peers [-4|-6]")),
    }
}

fn help(arguments: &[&str]) -> Result<String, Trouble> {
    let mut text = String::new();
    // Writing to a string cannot fail.
    if let Some(word) = arguments.first() {
        for Command { name, arguments, help, .. } in
            COMMANDS.iter().filter(|command| command.name.starts_with(word))
        {
            let _ = writeln!(text, "function: {help}\nusage: {name} {arguments}");
        }
        for List { command, help, .. } in LISTS.iter().filter(|list| list.command.starts_with(word)) {
            let _ = writeln!(text, "function: {help}\nusage: {command}");
        }
        return if text.is_empty() { Err(usage(&format!("***Command `{word}' unknown"))) } else { Ok(text) };
    }
    text.push_str("ntpq commands:\n");
    for Command { name, arguments, help, .. } in COMMANDS {
        let _ = writeln!(text, "  {:<40} {help}", format!("{name} {arguments}"));
    }
    for List { command, help, .. } in LISTS {
        let _ = writeln!(text, "  {command:<40} {help}");
    }
    Ok(text)
}

/// HOST, HOST:PORT, a bare IPv6 address or [V6]:PORT.
fn split_port(text: &str) -> Result<(&str, u16), String> {
    let is_bare_v6 = text.matches(':').count() > 1 && !text.contains("]:");
    match text.rsplit_once(':') {
        Some((host, port)) if !is_bare_v6 => {
            port.parse().map(|port| (host, port)).map_err(|_| format!("{text}: \"{port}\" is no port number"))
        }
        _ => Ok((text, NTP_PORT)),
    }
}

fn associations(list: &[(u16, u16)]) -> String {
    let mut text = "\nind assid status  conf reach auth condition  last_event cnt\n".to_owned();
    text.push_str(&"=".repeat(59));
    text.push('\n');
    let yes_or_no = |is: bool| if is { "yes" } else { "no" };
    for (index, (association, status)) in (1..).zip(list) {
        let peer = PeerStatus(*status);
        let authentic = match (peer.has(PeerStatus::AUTHENTICATION_ENABLED), peer.has(PeerStatus::AUTHENTIC))
        {
            (false, _) => "none",
            (true, true) => "ok ",
            (true, false) => "bad",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{index:>3} {association:>5}  {status:04x}   {:>3}  {:>4}  {authentic:>4} {:>9} {:>11} {:>2}",
            yes_or_no(peer.has(PeerStatus::CONFIGURED)),
            yes_or_no(peer.has(PeerStatus::REACHABLE)),
            peer.condition(),
            peer.last_event(),
            peer.events(),
        );
    }
    text
}

fn associations_json(list: &[(u16, u16)]) -> Value {
    list.iter()
        .map(|(association, status)| {
            let peer = PeerStatus(*status);
            json!({
                "association": association,
                "status": status,
                "configured": peer.has(PeerStatus::CONFIGURED),
                "reachable": peer.has(PeerStatus::REACHABLE),
                "condition": peer.condition(),
                "last_event": peer.last_event(),
                "events": peer.events(),
            })
        })
        .collect()
}

/// Variables for programs: every value a string, as the server wrote it.
fn object(association: u16, status: u16, found: &[Variable]) -> Value {
    let variables: Map<String, Value> =
        found.iter().map(|variable| (variable.name.clone(), json!(variable.value))).collect();
    json!({ "association": association, "status": status, "variables": variables })
}

#[cfg(test)]
impl<S: Ask> Shell<S> {
    /// A shell whose server is played.
    pub(super) fn playing(server: S) -> Self {
        Self {
            server: Some(server),
            host: String::new(),
            family: None,
            names: Names::Numbers,
            wide: false,
            json: false,
            raw: false,
            timeout: session::TIMEOUT,
            shown: Shown::default(),
            credentials: Credentials::default(),
        }
    }

    /// Runs a line that does not change the server.
    pub(super) fn run_asking(&mut self, line: &str) -> Result<String, Trouble> {
        match words(line).split_first() {
            Some((name, arguments)) => self.ask(find(name)?, arguments),
            None => Ok(String::new()),
        }
    }
}
