//! The commands by name, and what `help` says of them.

use std::fmt::Write;

use super::commands::{Trouble, usage};
use super::ordered::Ordered;
use super::peers::Columns;
use super::statistics::{LISTS, List};

/// Which variables are asked for where none are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// Those that the server shows by itself.
    Usual,
    /// Those that `addvars` has chosen, if there are any.
    Chosen,
}

/// What a command does.
#[derive(Clone, Copy)]
pub(super) enum Action {
    Peers(Columns),
    Associations,
    ReadVariables(Unnamed),
    ReadMany(Unnamed),
    ClockVariables(Unnamed),
    AddVariables,
    RemoveVariables,
    ClearVariables,
    ShowVariables,
    WriteVariables,
    WriteList,
    Configure,
    ConfigureByFile,
    SaveConfiguration,
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

impl Action {
    /// Servers do it only for those with their control key.
    pub(super) fn needs_key(self) -> bool {
        matches!(self, Self::Ordered(_)) || self.changes_server()
    }

    pub(super) fn changes_server(self) -> bool {
        matches!(
            self,
            Self::WriteVariables
                | Self::WriteList
                | Self::Configure
                | Self::ConfigureByFile
                | Self::SaveConfiguration
        )
    }
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
pub(super) const WRITE: &str = "assocID name=value[,...]";
const CLIENTS: &str = "[limited] [kod] [mincount=N] [maxlstint=SECONDS] [resany=MASK] [resall=MASK] \
                       [sort=[-]lstint|avgint|count|addr]";

/// In alphabetical order; a name may be cut short as long as it is unique. Names of two letters are whole.
const COMMANDS: [Command; 47] = [
    command(":config", "line", "config", Action::Configure),
    command("addvars", "name[=value][,...]", "add to the list of variables", Action::AddVariables),
    command("apeers", "", "the table of associations, with their ids", Action::Peers(Columns::Associations)),
    command("associations", "", "status words of all associations", Action::Associations),
    command("authenticate", "[yes|no]", "whether every question is signed", Action::Authenticate),
    command("cl", ONE, "clocklist", Action::ClockVariables(Unnamed::Chosen)),
    command("clearvars", "", "empty the list of variables", Action::ClearVariables),
    command("clocklist", ONE, "clockvar, those on the list", Action::ClockVariables(Unnamed::Chosen)),
    command("clockvar", ONE, "variables of a reference clock", Action::ClockVariables(Unnamed::Usual)),
    command("config", "line", "have the server obey a line of configuration; signed", Action::Configure),
    command("config-from-file", "file", "the same with every line of a file", Action::ConfigureByFile),
    command("cooked", "", "show variables as people read them", Action::Raw(false)),
    command("cv", ONE, "clockvar", Action::ClockVariables(Unnamed::Usual)),
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
    command("mreadlist", TWO, "mreadvar, those on the list", Action::ReadMany(Unnamed::Chosen)),
    command("mreadvar", TWO, "variables of a range of associations", Action::ReadMany(Unnamed::Usual)),
    command("mrl", TWO, "mreadlist", Action::ReadMany(Unnamed::Chosen)),
    command("mrulist", CLIENTS, "who has asked the server lately", Action::MruList),
    command("mrv", TWO, "mreadvar", Action::ReadMany(Unnamed::Usual)),
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
    command("readlist", ONE, "readvar, those on the list", Action::ReadVariables(Unnamed::Chosen)),
    command(
        "readvar",
        ONE,
        "variables of the system, or of an association",
        Action::ReadVariables(Unnamed::Usual),
    ),
    command("reslist", "", "whom `restrict' is about; signed", Action::Ordered(Ordered::Restrictions)),
    command("rl", ONE, "readlist", Action::ReadVariables(Unnamed::Chosen)),
    command("rmvars", "name[,...]", "take from the list of variables", Action::RemoveVariables),
    command("rv", ONE, "readvar", Action::ReadVariables(Unnamed::Usual)),
    command(
        "saveconfig",
        "file",
        "have the server write its configuration; signed",
        Action::SaveConfiguration,
    ),
    command("showvars", "", "the list of variables", Action::ShowVariables),
    command("timeout", "[milliseconds]", "how long an answer is waited for", Action::Timeout),
    command("writelist", "[assocID]", "set the variables on the list; signed", Action::WriteList),
    command("writevar", WRITE, "set variables; signed", Action::WriteVariables),
];

/// A command by its name, or by the beginning of it. A list of variables comes before other names.
pub(super) fn find(word: &str) -> Result<Action, Trouble> {
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

/// `help [command]`
pub(super) fn help(arguments: &[&str]) -> Result<String, Trouble> {
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
