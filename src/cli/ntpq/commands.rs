//! What can be asked, by ntpq's names.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::chosen::{self, Chosen};
use super::credentials::Credentials;
use super::interrupt;
use super::ordered;
use super::peers;
use super::session::{self, Ask, Failure, Session, Shown};
use super::statistics;
use super::vocabulary::{Action, Unnamed, WRITE, find, help};
use super::{Args, Names, mru, variables, writing};
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
    chosen: Chosen,
    credentials: Credentials,
}

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
            chosen: Chosen::default(),
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
    /// Everything but `host` and `timeout`.
    fn ask(&mut self, action: Action, arguments: &[&str]) -> Result<String, Trouble> {
        if let Some(result) = self.note(action, arguments) {
            return result;
        }
        let server = self.server.as_mut().ok_or_else(|| usage("***No host open, use `host' command"))?;
        let is_signed = self.credentials.always || action.needs_key();
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
            _ if action.changes_server() => self.change(action, arguments),
            Action::ClockVariables(unnamed) => self.clock_variables(arguments, unnamed),
            Action::ReadMany(unnamed) => self.read_many(arguments, unnamed),
            Action::ReadVariables(unnamed) => {
                let (association, names) = self.target(arguments, unnamed)?;
                self.read(association, &names)
            }
            // What needs no server is done.
            _ => Ok(String::new()),
        }
    }

    /// What needs no server.
    fn note(&mut self, action: Action, arguments: &[&str]) -> Option<Result<String, Trouble>> {
        Some(match action {
            Action::Help => help(arguments),
            Action::Version => Ok(format!("ntpq, ntpring {}\n", env!("CARGO_PKG_VERSION"))),
            Action::Raw(raw) => {
                self.raw = raw;
                Ok(format!("Output set to {}\n", if raw { "raw" } else { "cooked" }))
            }
            Action::Hostnames => self.hostnames(arguments),
            Action::KeyId => self.credentials.key_id(arguments),
            Action::KeyType => self.credentials.key_type(arguments),
            Action::Password => self.credentials.password(arguments),
            Action::Authenticate => self.credentials.authenticate(arguments),
            Action::AddVariables => self.chosen.add(arguments),
            Action::RemoveVariables => self.chosen.remove(arguments),
            Action::ClearVariables => Ok(self.chosen.clear()),
            Action::ShowVariables => Ok(self.chosen.show()),
            _ => return None,
        })
    }

    /// What changes the server that is asked, if it lets us.
    fn change(&mut self, action: Action, arguments: &[&str]) -> Result<String, Trouble> {
        let Some(server) = self.server.as_mut() else { return Ok(String::new()) };
        match action {
            Action::WriteVariables => {
                let [association, list @ ..] = arguments else {
                    return Err(usage(&format!("usage: writevar {WRITE}")));
                };
                self.write_variables(association, &chosen::listed(&format!("writevar {WRITE}"), list)?)
            }
            Action::WriteList => {
                let variables = self.chosen.variables().to_vec();
                match arguments {
                    _ if variables.is_empty() => Err(usage("***No variables on list")),
                    [] => self.write_variables("0", &variables),
                    [association] => self.write_variables(association, &variables),
                    _ => Err(usage("usage: writelist [assocID]")),
                }
            }
            Action::Configure if arguments.is_empty() => Err(usage("usage: config line")),
            Action::Configure => {
                let answer = writing::configure(server, &arguments.join(" "))?;
                Ok(self.text_or_json(|_| format!("{answer}\n"), || json!({ "answer": answer })))
            }
            Action::ConfigureByFile => {
                let [path] = arguments else { return Err(usage("usage: config-from-file file")) };
                let obeyed = writing::configure_by(server, path)?;
                let done = if interrupt::is_pressed() { "" } else { "Done sending file\n" };
                let text = |_: &Self| format!("{}{done}", writing::report(&obeyed));
                Ok(self.text_or_json(text, || writing::report_json(&obeyed)))
            }
            Action::SaveConfiguration => {
                let [file] = arguments else { return Err(usage("usage: saveconfig file")) };
                let answer = writing::save(server, file)?;
                Ok(self.text_or_json(|_| format!("{answer}\n"), || json!({ "answer": answer })))
            }
            _ => Ok(String::new()),
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
    fn target(&self, arguments: &[&str], unnamed: Unnamed) -> Result<(u16, Vec<String>), Trouble> {
        let starts_with_number =
            |word: &&str| word.starts_with(|first: char| first == '&' || first.is_ascii_digit());
        let (association, names) = match arguments.split_first() {
            Some((first, rest)) if starts_with_number(first) => (self.association(first)?, rest),
            _ => (0, arguments),
        };
        Ok((association, self.names(names, unnamed)))
    }

    /// By its number, or by its place in the last `as`.
    fn association(&self, word: &str) -> Result<u16, Trouble> {
        self.shown.association(word).map_err(Trouble::Usage)
    }

    fn names(&self, words: &[&str], unnamed: Unnamed) -> Vec<String> {
        let named = words.iter().flat_map(|word| word.split(',')).filter(|name| !name.is_empty());
        let named: Vec<String> = named.map(str::to_owned).collect();
        match unnamed {
            Unnamed::Chosen if named.is_empty() => self.chosen.names().map(str::to_owned).collect(),
            _ => named,
        }
    }

    fn read(&mut self, association: u16, names: &[String]) -> Result<String, Trouble> {
        let Some(server) = self.server.as_mut() else { return Ok(String::new()) };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if self.raw {
            let response = server.ask(Opcode::ReadVariables, association, names.join(",").as_bytes())?;
            let text = String::from_utf8_lossy(&response.data).escape_debug().to_string();
            return Ok(format!("associd={association} status=0x{:04x},\n{text}\n", response.status)
                .replace("\\r\\n", "\n")
                .replace("\\\"", "\""));
        }
        let (status, found) = server.variables(association, &names)?;
        let text = |_: &Self| format!("{}{}", statistics::head(association, status), variables::list(&found));
        Ok(self.text_or_json(text, || object(association, status, &found)))
    }

    fn write_variables(&mut self, association: &str, variables: &[Variable]) -> Result<String, Trouble> {
        let association = self.association(association)?;
        let Some(server) = self.server.as_mut() else { return Ok(String::new()) };
        let (status, found) = writing::set(server, association, variables)?;
        let text = |_: &Self| match found.is_empty() {
            true => "done! (no data returned)\n".to_owned(),
            false => format!("{}{}", statistics::head(association, status), variables::list(&found)),
        };
        Ok(self.text_or_json(text, || object(association, status, &found)))
    }

    /// Those from one association to another, in the order of the last `as`.
    fn read_many(&mut self, arguments: &[&str], unnamed: Unnamed) -> Result<String, Trouble> {
        let [first, last, names @ ..] = arguments else {
            return Err(usage("usage: mreadvar assocID assocID [name,name...]"));
        };
        if self.shown.0.is_empty() {
            self.ask(Action::Associations, &[])?;
        }
        let place = |word: &str| {
            let association = self.association(word)?;
            self.shown
                .0
                .iter()
                .position(|&shown| shown == association)
                .ok_or_else(|| usage(&format!("***Association ID {association} not found in list")))
        };
        let (first, last) = (place(first)?, place(last)?);
        let (first, last) = (first.min(last), first.max(last));
        let chosen: Vec<u16> = self.shown.0.iter().copied().take(last + 1).skip(first).collect();
        let names = self.names(names, unnamed);
        let mut text = String::new();
        for association in chosen {
            text.push_str(&self.read(association, &names)?);
            text.push('\n');
        }
        Ok(text)
    }

    fn clock_variables(&mut self, arguments: &[&str], unnamed: Unnamed) -> Result<String, Trouble> {
        let (association, names) = self.target(arguments, unnamed)?;
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
            chosen: Chosen::default(),
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
