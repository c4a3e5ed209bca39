//! Files and keys: `driftfile`, `leapfile`, `logfile`, `pidfile`, `keys`, `trustedkey`, `controlkey`,
//! `includefile`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::Located;
use super::lexer::Token;
use super::line::{Line, show};
use super::load::Draft;

/// `leapfile`: the leap second table of IERS or NIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeapFile {
    /// Where it is.
    pub path: Located<PathBuf>,
    /// Whether its hash line must fit (`checkhash`, the default) or not (`ignorehash`).
    pub check_hash: bool,
}

/// The key ids of `trustedkey` lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<RangeInclusive<u16>>);

impl TrustedKeys {
    /// Whether `key` is trusted.
    pub fn contains(&self, key: u16) -> bool {
        self.0.iter().any(|range| range.contains(&key))
    }

    /// The ranges as given.
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }
}

/// `driftfile PATH`; ntpsec has numbers after it that say how often it is written.
pub(super) fn drift_file(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let path = line.path("driftfile");
    if let Some(token) = line.peek().filter(|token| token.text.parse::<f64>().is_ok()) {
        let text = "numbers after the file name have no effect".to_owned();
        line.warn(("driftfile", "numbers"), token.column, text, None);
        line.skip_rest();
    }
    if line.is_good() {
        draft.config.drift_file = path;
    }
}

/// `leapfile PATH [checkhash|ignorehash]`
pub(super) fn leap_file(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let path = line.path("leapfile");
    let check_hash = line.next_of(&["checkhash", "ignorehash"]).is_none_or(|token| token.text == "checkhash");
    if line.is_good() {
        draft.config.leap_file = path.map(|path| LeapFile { path, check_hash });
    }
}

/// `logfile PATH`
pub(super) fn log_file(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let path = line.path("logfile");
    if line.is_good() {
        draft.config.log_file = path;
    }
}

/// `pidfile PATH`
pub(super) fn pid_file(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let path = line.path("pidfile");
    if line.is_good() {
        draft.config.pid_file = path;
    }
}

/// `keys PATH`
pub(super) fn keys(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let path = line.path("keys");
    if line.is_good() {
        draft.config.keys_file = path;
    }
}

/// `controlkey ID`
pub(super) fn control_key(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let position = line.peek().map(|token| line.position(token));
    let key = line.number("controlkey", &(1..=u16::MAX));
    if line.is_good() {
        draft.config.control_key = key.zip(position).map(|(value, position)| Located { value, position });
    }
}

/// `includefile PATH`; the loader goes on in that file.
pub(super) fn include_file(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let path = line.path("includefile");
    if let Some(path) = path.as_ref().filter(|path| path.value.is_relative()) {
        let text = format!("{} is looked for in the working directory", show(&path.value.to_string_lossy()));
        let hint = "give the path from the root";
        line.warn(("includefile", "relative"), path.position.column, text, Some(hint.into()));
    }
    if line.is_good() {
        draft.include = path;
    }
}

/// `trustedkey ID|(FIRST ... LAST) ...`, with or without the parentheses, and with or without blanks around
/// the dots.
pub(super) fn trusted_key(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let mut words = Vec::new();
    while let Some(token) = line.next() {
        split(token, &mut words);
    }
    let mut ranges = Vec::new();
    if words.is_empty() {
        // Says what is missing.
        line.value("trustedkey", "key ids");
    }
    let mut words = words.as_slice();
    while !words.is_empty() {
        match key_range(words) {
            Ok((range, rest)) => {
                ranges.push(range);
                words = rest;
            }
            Err(((column, word), rest)) => {
                let text = format!("{} is no key id from 1 to 65535, nor a range of them", show(word));
                line.error(column, text, Some("write ranges as \"(1 ... 5)\"".into()));
                words = rest;
            }
        }
    }
    if line.is_good() {
        draft.config.trusted_keys.0.extend(ranges);
    }
}

/// A piece of a word, and its column.
type Word<'t> = (u32, &'t str);

/// Splits "(1...5)" into "(", "1", "...", "5" and ")".
fn split<'t>(token: &Token<'t>, words: &mut Vec<Word<'t>>) {
    let mut rest = token.text;
    let mut column = token.column;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' => 1,
            '.' => rest.len() - rest.trim_start_matches('.').len(),
            _ => rest.find(['(', ')', '.']).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(length);
        words.push((column, word));
        column += word.chars().count() as u32;
        rest = after;
    }
}

type KeyRange<'w, 't> = Result<(RangeInclusive<u16>, &'w [Word<'t>]), (Word<'t>, &'w [Word<'t>])>;

/// Takes one key id or range from the front.
fn key_range<'w, 't>(words: &'w [Word<'t>]) -> KeyRange<'w, 't> {
    let id = |(_, text): &Word<'t>| text.parse::<u16>().ok().filter(|&id| id > 0);
    let range = |first, last| id(first).zip(id(last)).filter(|(first, last)| first <= last);
    match words {
        [(_, "("), first, (_, "..."), last, (_, ")"), rest @ ..] | [first, (_, "..."), last, rest @ ..] => {
            range(first, last).map(|(first, last)| (first..=last, rest)).ok_or((*first, rest))
        }
        [(_, "("), only, (_, ")"), rest @ ..] | [only, rest @ ..] => {
            id(only).map(|id| (id..=id, rest)).ok_or((*only, rest))
        }
        [] => Err(((1, ""), &[])),
    }
}
