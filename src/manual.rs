//! Keeps the manual pages what the programs say: their lists of options and words are written from the same
//! definitions as `--help`, between two marks in a page.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::{Arg, Command};

const BEGIN: &str = ".\\\" Written by NTPRING_WRITE_DOCS=1 cargo test, checked by cargo test.\n";
const END: &str = ".\\\" End of what is written.\n";

/// Holds the part of `packaging/man/PAGE` between the marks against `expected`, or writes it.
pub(crate) fn keep(page: &str, expected: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|path| path.join("packaging").exists());
    let path = root.expect("the project").join("packaging/man").join(page);
    let text = fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = text.split_once(BEGIN).expect("the first mark is there");
    let (written, after) = rest.split_once(END).expect("the second mark is there");
    if std::env::var_os("NTPRING_WRITE_DOCS").is_some() {
        fs::write(&path, [before, BEGIN, expected, END, after].concat()).expect("the page can be written");
    } else {
        assert!(
            written == expected,
            "{page} is out of date: NTPRING_WRITE_DOCS=1 cargo test --workspace manual"
        );
    }
}

/// A subsection for each subcommand, with what it is for and its options.
pub(crate) fn subcommands(program: &str, command: &Command) -> String {
    let mut command = command.clone();
    command.build();
    let named = command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help");
    named.map(|subcommand| section(program, subcommand)).collect()
}

fn section(program: &str, command: &Command) -> String {
    let operands = command.get_positionals().map(values).collect::<String>();
    let mut section = format!(".Ss {program} {} Oo Ar options Oc{operands}\n", command.get_name());
    section += &sentences(&command.get_about().map(ToString::to_string).unwrap_or_default());
    section += ".Bl -tag -width Ds\n";
    let options = command.get_arguments().filter(|argument| !argument.is_hide_set());
    options.filter(|argument| !["help", "version"].contains(&argument.get_id().as_str())).for_each(
        |option| {
            section += &item(option);
        },
    );
    section += ".El\n";
    if let Some(more) = command.get_after_help() {
        section += &sentences(&more.to_string());
    }
    section
}

fn item(argument: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|short| format!("Fl {}", word(&short.to_string()))));
    names.extend(argument.get_long().map(|long| format!("Fl -{}", word(long))));
    let mut item = format!(".It {}{}\n", names.join(" , "), values(argument));
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let explained: Vec<_> = match argument.get_action().takes_values() {
        true => {
            argument.get_possible_values().into_iter().filter(|value| value.get_help().is_some()).collect()
        }
        false => Vec::new(),
    };
    item += &sentences(&if explained.is_empty() { help } else { format!("{help}:") });
    for (at, value) in explained.iter().enumerate() {
        let end = if at + 1 < explained.len() { ';' } else { '.' };
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        item += &sentences(&format!("{}, {help}{end}", value.get_name()));
    }
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        item += &sentences(&format!("[default: {}]", defaults.join(" ")));
    }
    item
}

/// What stands for the values of an option or operand.
fn values(argument: &Arg) -> String {
    if !argument.get_action().takes_values() {
        return String::new();
    }
    let names = argument.get_value_names().unwrap_or_default();
    let is_optional = argument.get_num_args().is_some_and(|count| count.min_values() == 0);
    names.iter().fold(String::new(), |mut all, name| {
        let name = word(name);
        let _ = if is_optional { write!(all, " Op Ar {name}") } else { write!(all, " Ar {name}") };
        all
    })
}

/// A word of a macro line.
fn word(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Text, each sentence on lines of its own, none wider than a page.
pub(crate) fn sentences(text: &str) -> String {
    const WIDTH: usize = 78;
    let text = text.replace('\\', "\\e").replace(". ", ".\n");
    let mut lines = String::new();
    for sentence in text.lines().map(str::trim).filter(|sentence| !sentence.is_empty()) {
        let mut width = 0;
        for word in sentence.split_whitespace() {
            if width > 0 && width + 1 + word.chars().count() > WIDTH {
                lines.push('\n');
                width = 0;
            } else if width > 0 {
                lines.push(' ');
                width += 1;
            }
            if width == 0 && word.starts_with(['.', '\'']) {
                lines.push_str("\\&");
            }
            lines.push_str(word);
            width += word.chars().count();
        }
        lines.push('\n');
    }
    lines
}
