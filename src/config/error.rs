//! What is wrong with a configuration, and where.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::limits;

/// A place in a configuration file, shown as `FILE:LINE:COL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file, as the command line or `includefile` named it.
    pub file: Arc<Path>,
    /// Line, the first is 1.
    pub line: u32,
    /// Column of the first character of the word meant, the first is 1. Characters are counted (Unicode
    /// scalar values; an invalid byte sequence counts as one), not bytes and not screen cells; a tab is one.
    pub column: u32,
    /// How many lines of all files were read before this one: sorts findings as a reader meets them.
    pub(super) sequence: u32,
}

impl Position {
    /// A place in a file that is named here.
    pub fn within(&self, file: &Arc<Path>, line: u32, column: u32) -> Self {
        Self { file: Arc::clone(file), line, column, sequence: self.sequence }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The line is understood, but does not do all it says.
    Warning,
    /// The line is dropped as a whole.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What helps against a [`Finding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The known word that looks most like the unknown one.
    DidYouMean(&'static str),
    /// A sentence.
    Advice(String),
}

impl From<&str> for Hint {
    fn from(advice: &str) -> Self {
        Self::Advice(advice.to_owned())
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DidYouMean(word) => write!(out, " (did you mean \"{word}\"?)"),
            Self::Advice(advice) => write!(out, "; {advice}"),
        }
    }
}

/// One thing to tell the operator. Its `Display` is one line without a line break:
/// `FILE:LINE:COL: error|warning: TEXT`, followed by the hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the line is dropped.
    pub severity: Severity,
    /// Where; for a warning given once, where it applies first.
    pub position: Position,
    /// What.
    pub text: String,
    /// What helps.
    pub hint: Option<Hint>,
    /// How many further lines the same warning applies to.
    pub more_lines: u32,
}

impl Finding {
    /// A warning.
    pub fn warning(position: Position, text: impl Into<String>, hint: Option<Hint>) -> Self {
        Self { severity: Severity::Warning, position, text: text.into(), hint, more_lines: 0 }
    }

    /// An error.
    pub fn error(position: Position, text: impl Into<String>, hint: Option<Hint>) -> Self {
        Self { severity: Severity::Error, position, text: text.into(), hint, more_lines: 0 }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: {}", self.position, self.severity, self.text)?;
        match self.more_lines {
            0 => {}
            1 => out.write_str(" (and on 1 more line)")?,
            more => write!(out, " (and on {more} more lines)")?,
        }
        self.hint.as_ref().map_or(Ok(()), |hint| hint.fmt(out))
    }
}

/// What a warning is about, so that it is given once: the directive or option set, and the word.
pub(super) type Kind = (&'static str, &'static str);

/// Everything found in a configuration. At most [`limits::FINDINGS`] are kept; all are counted.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    errors: usize,
    warnings: usize,
    /// Warnings given once: which finding (if it was kept) and the last line it applied to.
    once: HashMap<Kind, (Option<usize>, u32)>,
}

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        if !self.is_full() {
            self.kept.push(finding);
        }
    }

    /// Adds one of `kind`, or counts the line if there is one already.
    pub(super) fn push_once(&mut self, kind: Kind, finding: Finding) {
        let line = finding.position.sequence;
        if let Some((index, last_line)) = self.once.get_mut(&kind) {
            if *last_line != line {
                *last_line = line;
                if let Some(first) = index.and_then(|index| self.kept.get_mut(index)) {
                    first.more_lines = first.more_lines.saturating_add(1);
                }
            }
            return;
        }
        let index = (!self.is_full()).then_some(self.kept.len());
        self.once.insert(kind, (index, line));
        self.push(finding);
    }

    /// Whether no further finding will be kept.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= limits::FINDINGS
    }

    /// Brings the findings into the order in which a reader meets them.
    pub fn sort(&mut self) {
        // Lines differ, but for the sequence, only in a file that is no configuration.
        self.kept.sort_by_key(|Finding { position, .. }| (position.sequence, position.line, position.column));
        // The indexes of `once` are void now.
        self.once.clear();
    }

    /// The findings kept, in the order in which a reader of the files meets them.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.kept.iter()
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.errors == 0 && self.warnings == 0
    }

    /// How many findings were counted but not kept.
    pub fn dropped(&self) -> usize {
        self.errors + self.warnings - self.kept.len()
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
