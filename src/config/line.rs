//! One line while it is being understood. A line with an error is dropped as a whole: a handler takes all its
//! words first, and changes the configuration only if [`Line::is_good`].

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::Located;
use super::error::{Finding, Findings, Hint, Kind, Position};
use super::lexer::Token;
use super::vocabulary::{Policy, Vocabulary};

/// The kind of warnings about what is not active yet.
const INACTIVE: &str = "inactive";

/// Where a line stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: Arc<Path>,
    pub(super) line: u32,
    /// See [`Position`].
    pub(super) sequence: u32,
}

impl Place {
    pub(super) fn at(&self, column: u32) -> Position {
        Position { file: Arc::clone(&self.file), line: self.line, column, sequence: self.sequence }
    }
}

/// The words of a line that are not understood yet, and what was found so far.
pub(super) struct Line<'t, 'f> {
    /// The first word.
    keyword: &'t Token<'t>,
    /// What follows it.
    tokens: &'t [Token<'t>],
    next: usize,
    place: &'t Place,
    findings: &'f mut Findings,
    /// Kept back: a dropped line is not worth a warning.
    warnings: Vec<(Kind, Finding)>,
    failed: bool,
}

impl<'t, 'f> Line<'t, 'f> {
    /// Nothing for a line without words.
    pub(super) fn new(tokens: &'t [Token<'t>], place: &'t Place, findings: &'f mut Findings) -> Option<Self> {
        let (keyword, tokens) = tokens.split_first()?;
        Some(Self { keyword, tokens, next: 0, place, findings, warnings: Vec::new(), failed: false })
    }

    /// Warns of a quote that is not closed, which can only be the last word's.
    pub(super) fn check_quotes(&mut self) {
        if let Some(token) = self.tokens.last().filter(|token| token.open) {
            let text = "the quote is not closed: it is taken to end with the line".to_owned();
            self.warn(("quote", "open"), token.column, text, None);
        }
    }

    /// The first word.
    pub(super) fn keyword(&self) -> &'t Token<'t> {
        self.keyword
    }

    /// The next word, not taken.
    pub(super) fn peek(&self) -> Option<&'t Token<'t>> {
        self.tokens.get(self.next)
    }

    /// Takes the next word.
    pub(super) fn next(&mut self) -> Option<&'t Token<'t>> {
        let token = self.peek()?;
        self.next += 1;
        Some(token)
    }

    /// Takes the next word if it is one of `words`.
    pub(super) fn next_of(&mut self, words: &[&str]) -> Option<&'t Token<'t>> {
        let token = self.peek().filter(|token| !token.quoted && words.contains(&token.text))?;
        self.next += 1;
        Some(token)
    }

    /// Leaves the rest of the line unread.
    pub(super) fn skip_rest(&mut self) {
        self.next = self.tokens.len();
    }

    /// Takes a word that must be there; `what` completes "needs …".
    pub(super) fn value(&mut self, owner: &str, what: &str) -> Option<&'t Token<'t>> {
        if let Some(token) = self.next() {
            return Some(token);
        }
        let column = end_column(self.tokens.last().unwrap_or(self.keyword));
        self.error(column, format!("\"{owner}\" needs {what}"), None);
        None
    }

    /// Reports that nothing follows the keyword, where something must.
    pub(super) fn needs(&mut self, what: &str) {
        if self.tokens.is_empty() {
            self.value(self.keyword.text, what);
        }
    }

    /// Takes a number in `range`; `owner` is the word it belongs to.
    pub(super) fn number<T>(&mut self, owner: &str, range: &RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let what = format!("a number from {} to {}", range.start(), range.end());
        let token = self.value(owner, &what)?;
        match token.text.parse() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                self.error(token.column, format!("\"{owner}\" needs {what}, not {}", show(token.text)), None);
                None
            }
        }
    }

    /// Takes a path.
    pub(super) fn path(&mut self, owner: &str) -> Option<Located<PathBuf>> {
        let token = self.value(owner, "a file name")?;
        if token.text.is_empty() {
            self.error(token.column, format!("\"{owner}\" needs a file name, not an empty one"), None);
            return None;
        }
        Some(Located { value: PathBuf::from(token.text), position: self.place.at(token.column) })
    }

    /// Takes words up to the next honoured one and returns that. Those that are not honoured are dealt with
    /// here.
    pub(super) fn option<T>(
        &mut self,
        vocabulary: &'static Vocabulary<T>,
    ) -> Option<(&'static T, &'t Token<'t>)> {
        while let Some(token) = self.next() {
            if let Some(value) = self.look_up(token, vocabulary) {
                return Some((value, token));
            }
        }
        None
    }

    /// What a word that was taken means, if it is honoured. If not, it is dealt with here.
    pub(super) fn look_up<T>(
        &mut self,
        token: &Token<'_>,
        vocabulary: &'static Vocabulary<T>,
    ) -> Option<&'static T> {
        let word = if token.quoted { None } else { vocabulary.find(token.text) };
        let Some(word) = word else {
            self.unknown(token, vocabulary);
            return None;
        };
        match &word.policy {
            Policy::Honour(value) => {
                if let Some(feature) = word.inactive {
                    let text =
                        format!("\"{}\" is understood but not active yet: {}", word.name, feature.meanwhile);
                    self.warn((INACTIVE, feature.name), token.column, text, None);
                }
                return Some(value);
            }
            Policy::Accept { values } => {
                for _ in 0..*values {
                    self.value(word.name, "a value");
                }
                let text = format!("{} \"{}\" has no effect: {}", vocabulary.what, word.name, word.meaning);
                self.warn((vocabulary.what, word.name), token.column, text, None);
            }
            Policy::Reject => {
                let text = format!("{} \"{}\": {}", vocabulary.what, word.name, word.meaning);
                self.error(token.column, text, None);
                self.skip_values();
            }
        }
        None
    }

    /// Reports a word that is not in the vocabulary, and skips the values that may belong to it.
    fn unknown<T>(&mut self, token: &Token<'_>, vocabulary: &'static Vocabulary<T>) {
        // Looking for a similar word takes a while, and nobody would read the result.
        let similar = if self.findings.is_full() { None } else { vocabulary.suggest(token.text) };
        let text = format!("unknown {} {}", vocabulary.what, show(token.text));
        self.error(token.column, text, similar.map(Hint::DidYouMean));
        self.skip_values();
    }

    fn skip_values(&mut self) {
        while self.peek().is_some_and(|token| is_value(token)) {
            self.next += 1;
        }
    }

    /// Takes back that something on the line is not active yet.
    pub(super) fn active(&mut self) {
        self.warnings.retain(|((what, _), _)| *what != INACTIVE);
    }

    /// Adds an error: the line is dropped.
    pub(super) fn error(&mut self, column: u32, text: String, hint: Option<Hint>) {
        self.failed = true;
        self.findings.push(Finding::error(self.place.at(column), text, hint));
    }

    /// Adds a warning, given once for its `kind`.
    pub(super) fn warn(&mut self, kind: Kind, column: u32, text: String, hint: Option<Hint>) {
        self.warnings.push((kind, Finding::warning(self.place.at(column), text, hint)));
    }

    /// The place of a word.
    pub(super) fn position(&self, token: &Token<'_>) -> Position {
        self.place.at(token.column)
    }

    /// Whether the line is to be obeyed: every word of it was understood. Called last.
    pub(super) fn is_good(&mut self) -> bool {
        if let (Some(token), false) = (self.peek(), self.failed) {
            self.error(token.column, format!("nothing is expected here, but {} is", show(token.text)), None);
        }
        if !self.failed {
            for (kind, finding) in self.warnings.drain(..) {
                self.findings.push_once(kind, finding);
            }
        }
        !self.failed
    }
}

/// Whether a word is rather a number or an address than an option.
fn is_value(token: &Token<'_>) -> bool {
    token.text.parse::<f64>().is_ok() || token.text.starts_with(|first: char| first.is_ascii_digit())
}

/// The column after a word.
fn end_column(token: &Token<'_>) -> u32 {
    let quotes = u32::from(token.quoted) + u32::from(token.quoted && !token.open);
    // A line has at most `limits::CONFIG_LINE` characters.
    token.column + quotes + token.text.chars().count() as u32
}

/// A word as messages show it: in quotes, shortened if nobody would read it to the end.
pub(super) fn show(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => format!("\"{text}\""),
        Some((end, _)) => format!("\"{}…\"", text.get(..end).unwrap_or_default()),
    }
}
