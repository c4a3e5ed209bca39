//! Commands that change a server: `writevar`, `writelist`, `config`, `config-from-file`, `saveconfig`. ntpd
//! obeys who has its control key; ntpring's own server refuses them all.

use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};

use super::chosen::assignment;
use super::commands::{Trouble, usage};
use super::session::{Ask, Failure};
use crate::control::{DATA_MAX, Opcode, Variable, parse, printable};

/// Sets variables of an association, or of the system (0). Few servers say what they have set.
pub(super) fn set(
    server: &mut impl Ask,
    association: u16,
    variables: &[Variable],
) -> Result<(u16, Vec<Variable>), Trouble> {
    let list = variables.iter().map(assignment).collect::<Vec<_>>().join(",");
    let response = send(server, Opcode::WriteVariables, association, &list)?;
    Ok((response.0, parse(&response.1)))
}

/// Has the server obey a line of configuration; returns what it says to it.
pub(super) fn configure(server: &mut impl Ask, line: &str) -> Result<String, Trouble> {
    send(server, Opcode::Configure, 0, line).map(|(_, data)| words(&data))
}

/// Has the server write its configuration to a file of its own; returns what it says to it.
pub(super) fn save(server: &mut impl Ask, file: &str) -> Result<String, Trouble> {
    send(server, Opcode::SaveConfiguration, 0, file).map(|(_, data)| words(&data))
}

/// A line of a file, its number, and what the server has said to it.
#[derive(Debug)]
pub(super) struct Obeyed {
    number: usize,
    line: String,
    answer: String,
}

/// Has the server obey the lines of a file, up to the first that it does not answer.
pub(super) fn configure_by(server: &mut impl Ask, path: &str) -> Result<Vec<Obeyed>, Trouble> {
    let file = fs::read(path).map_err(|error| usage(&format!("***Cannot read {path}: {error}")))?;
    let mut obeyed = Vec::new();
    for (number, line) in (1..).zip(String::from_utf8_lossy(&file).lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match configure(server, line) {
            Ok(answer) => obeyed.push(Obeyed { number, line: line.to_owned(), answer }),
            // What was obeyed already must be told, after ^C too.
            Err(Trouble::Server(failure @ Failure::Interrupted)) => {
                obeyed.push(Obeyed { number, line: line.to_owned(), answer: failure.to_string() });
                break;
            }
            Err(trouble) => {
                let why = match trouble {
                    Trouble::Server(failure) => failure.to_string(),
                    Trouble::Usage(why) => why,
                };
                return Err(usage(&format!("{}Line No: {number} {why}: {line}", report(&obeyed))));
            }
        }
    }
    Ok(obeyed)
}

/// In ntpq's words.
pub(super) fn report(obeyed: &[Obeyed]) -> String {
    let mut text = "Sending configuration file, one line at a time.\n".to_owned();
    for Obeyed { number, line, answer } in obeyed {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Line No: {number} {answer}: {line}");
    }
    text
}

/// The same for programs.
pub(super) fn report_json(obeyed: &[Obeyed]) -> Value {
    let line = |Obeyed { number, line, answer }: &Obeyed| json!({ "number": number, "line": line, "answer": answer });
    obeyed.iter().map(line).collect()
}

/// What is cut off would mean something else.
fn send(
    server: &mut impl Ask,
    opcode: Opcode,
    association: u16,
    text: &str,
) -> Result<(u16, Vec<u8>), Trouble> {
    if text.len() > DATA_MAX {
        return Err(usage(&format!("***Longer than a request may be, which is {DATA_MAX} octets")));
    }
    let response = server.ask(opcode, association, text.as_bytes())?;
    Ok((response.status, response.data))
}

/// What a server says, up to the NUL that ends it in some.
fn words(data: &[u8]) -> String {
    let text = data.split(|&octet| octet == 0).next().unwrap_or_default().trim_ascii();
    let lines = text.split(|&octet| octet == b'\n');
    lines.map(|line| printable(line.trim_ascii_end())).collect::<Vec<_>>().join("\n")
}
