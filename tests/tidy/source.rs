//! Rust source as the rules see it: line by line, with what is code and what is comment told apart.

/// One file: its path from the repository's root, and its lines.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Its code; comments are left out, and the contents of strings and characters too.
    pub(crate) code: String,
    /// Its comments.
    pub(crate) comment: String,
    /// Whether it belongs to a test.
    pub(crate) is_test: bool,
}

/// What the scanner is inside of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Code,
    LineComment,
    /// Block comments nest in Rust.
    BlockComment(usize),
    /// With the number of `#` of a raw string; None where a backslash escapes.
    String(Option<usize>),
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut lines = Vec::new();
        let mut state = State::Code;
        for line in text.lines() {
            let mut scanned = Line::default();
            state = scan(line, state, &mut scanned);
            lines.push(scanned);
        }
        let mut source = Self { path: path.to_owned(), lines };
        source.mark_tests();
        source
    }

    /// Lines that are neither blank nor comment only.
    pub(crate) fn code_lines(&self) -> usize {
        self.lines.iter().filter(|line| !line.code.trim().is_empty()).count()
    }

    /// Each item with a body that starts with the word `keyword`: its first and last line.
    pub(crate) fn items(&self, keyword: &str) -> Vec<(usize, usize)> {
        let starts = (0..self.lines.len()).filter(|&at| has_word(&self.lines[at].code, keyword));
        starts.filter_map(|start| Some((start, self.body_end(start)?))).collect()
    }

    /// The line where the first brace opened from `start` on closes; None if a semicolon comes first.
    fn body_end(&self, start: usize) -> Option<usize> {
        let (mut braces, mut brackets) = (0_usize, 0_usize);
        for (number, line) in self.lines.iter().enumerate().skip(start) {
            for character in line.code.chars() {
                match character {
                    '{' => braces += 1,
                    '}' if braces <= 1 => return Some(number),
                    '}' => braces -= 1,
                    '(' | '[' => brackets += 1,
                    ')' | ']' => brackets = brackets.saturating_sub(1),
                    ';' if braces == 0 && brackets == 0 => return None,
                    _ => {}
                }
            }
        }
        None
    }

    fn mark_tests(&mut self) {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let whole = name == "tests.rs" || self.path.starts_with("tests/") || self.path.contains("/tests/");
        let mut ranges = if whole { vec![(0, self.lines.len().saturating_sub(1))] } else { Vec::new() };
        for at in 0..self.lines.len() {
            if self.lines[at].code.contains("#[cfg(test)]") || self.lines[at].code.contains("#[test]") {
                ranges.push((at, self.body_end(at).unwrap_or(at + 1)));
            }
        }
        for (first, last) in ranges {
            self.lines.iter_mut().take(last + 1).skip(first).for_each(|line| line.is_test = true);
        }
    }
}

/// Whether `code` has `word` as a whole identifier.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

/// Splits one line, given the state that the line before it ended in; returns the state it ends in.
fn scan(line: &str, mut state: State, scanned: &mut Line) -> State {
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        let step;
        (state, step) = match state {
            State::Code => in_code(rest, character, scanned),
            State::LineComment => {
                scanned.comment.push_str(rest);
                (state, rest.len())
            }
            State::BlockComment(depth) => {
                scanned.comment.push(character);
                match rest {
                    _ if rest.starts_with("/*") => (State::BlockComment(depth + 1), 2),
                    _ if rest.starts_with("*/") && depth == 1 => (State::Code, 2),
                    _ if rest.starts_with("*/") => (State::BlockComment(depth - 1), 2),
                    _ => (state, character.len_utf8()),
                }
            }
            State::String(None) if character == '\\' => {
                let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
                (state, 1 + escaped)
            }
            State::String(hashes) => {
                let end = format!("\"{}", "#".repeat(hashes.unwrap_or(0)));
                if rest.starts_with(&end) {
                    scanned.code.push('"');
                    (State::Code, end.len())
                } else {
                    (state, character.len_utf8())
                }
            }
        };
        rest = &rest[step..];
    }
    if state == State::LineComment { State::Code } else { state }
}

/// One step in code: the next state and how many bytes were read.
fn in_code(rest: &str, character: char, scanned: &mut Line) -> (State, usize) {
    if rest.starts_with("//") {
        return (State::LineComment, 0);
    }
    if rest.starts_with("/*") {
        return (State::BlockComment(1), 2);
    }
    if character == '\'' {
        return (State::Code, character_literal(rest, scanned));
    }
    scanned.code.push(character);
    if character == '"' {
        let hashes = scanned.code.trim_end_matches('"').chars().rev().take_while(|&c| c == '#').count();
        let prefix = &scanned.code[..scanned.code.len() - 1 - hashes];
        let is_raw = prefix.ends_with('r')
            && !prefix[..prefix.len() - 1].ends_with(|c: char| c.is_alphanumeric() && c != 'b');
        return (State::String(is_raw.then_some(hashes)), 1);
    }
    (State::Code, character.len_utf8())
}

/// Reads `'x'`, `'\n'` or `'\u{1f}'` as one empty literal, and the quote of a lifetime as itself.
fn character_literal(rest: &str, scanned: &mut Line) -> usize {
    let mut characters = rest[1..].char_indices();
    let end = match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            rest[1 + escaped + 1..].find('\'').map(|at| 1 + escaped + 1 + at)
        }
        (Some(_), Some((at, '\''))) => Some(1 + at),
        _ => None,
    };
    scanned.code.push_str(if end.is_some() { "''" } else { "'" });
    end.map_or(1, |end| end + 1)
}
