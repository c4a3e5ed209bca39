//! Bytes → lines → words.

use std::borrow::Cow;

use super::error::Hint;
use crate::limits;

/// A word, or the inside of a quoted string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) text: &'t str,
    /// In characters, the first is 1.
    pub(super) column: u32,
    /// A quoted string is a value, never a keyword.
    pub(super) quoted: bool,
    /// The closing quote is missing.
    pub(super) open: bool,
}

/// What is wrong with a line before any word of it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineFault {
    pub(super) column: u32,
    pub(super) text: String,
    pub(super) hint: Option<Hint>,
}

/// The lines of a file, numbered from 1, without their ends. A byte order mark at the start is no text.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    (1..).zip(text.split(|&byte| byte == b'\n'))
}

/// The text of a line, its invalid UTF-8 replaced.
///
/// # Errors
/// A line (other than a comment) of more than [`limits::CONFIG_LINE`] bytes.
pub(super) fn text(line: &[u8]) -> Result<Cow<'_, str>, LineFault> {
    if line.len() <= limits::CONFIG_LINE {
        return Ok(String::from_utf8_lossy(line));
    }
    if line.trim_ascii_start().first() == Some(&b'#') {
        return Ok(Cow::Borrowed(""));
    }
    let text = format!("a line of {} bytes, longer than {}", line.len(), limits::CONFIG_LINE);
    Err(LineFault { column: 1, text, hint: None })
}

/// Splits a line into words: at blanks and `=`, up to a `#` outside quotes, which begins a comment as in ntpd
/// even within a word. Quotes keep blanks, `=` and `#` together; nothing escapes a quote; one that is missing
/// is assumed at the end of the line, as ntpd does.
///
/// # Errors
/// A control character or invalid UTF-8 outside comments: no name, address or path that anybody meant.
pub(super) fn tokens(line: &str) -> Result<Vec<Token<'_>>, LineFault> {
    let mut tokens = Vec::new();
    let mut rest = Cursor { text: line, column: 1 };
    loop {
        rest.skip_while(is_blank);
        let column = rest.column;
        match rest.text.chars().next() {
            None | Some('#') => return Ok(tokens),
            Some('"') => {
                rest.take_while(|character| character == '"', 1);
                let text = rest.take_while(|character| character != '"', usize::MAX);
                let end = rest.take_while(|character| character == '"', 1);
                check(text, column + 1)?;
                tokens.push(Token { text, column, quoted: true, open: end.is_empty() });
            }
            Some(_) => {
                let text =
                    rest.skip_while(|character| !is_blank(character) && !matches!(character, '#' | '"'));
                check(text, column)?;
                tokens.push(Token { text, column, quoted: false, open: false });
            }
        }
    }
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\x0b' | '\x0c' | '=')
}

/// Refuses what is no text.
fn check(text: &str, column: u32) -> Result<(), LineFault> {
    for (column, character) in (column..).zip(text.chars()) {
        let what = match character {
            '\0' => "a NUL character",
            char::REPLACEMENT_CHARACTER => "a character that is not valid UTF-8",
            _ if character.is_control() => "a control character",
            _ => continue,
        };
        let hint = (character == '\0').then(|| "is this a text file, in UTF-8?".into());
        return Err(LineFault { column, text: format!("{what} outside a comment"), hint });
    }
    Ok(())
}

/// What is left of a line.
struct Cursor<'t> {
    text: &'t str,
    column: u32,
}

impl<'t> Cursor<'t> {
    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        self.take_while(wanted, usize::MAX)
    }

    /// Takes at most `limit` characters while they are `wanted`.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool, limit: usize) -> &'t str {
        let mut bytes = 0;
        for character in self.text.chars().take(limit).take_while(|&character| wanted(character)) {
            bytes += character.len_utf8();
            // A line has at most `limits::CONFIG_LINE` characters.
            self.column += 1;
        }
        let (taken, rest) = self.text.split_at(bytes);
        self.text = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<(u32, &str)> {
        tokens(line).expect("plain text").iter().map(|token| (token.column, token.text)).collect()
    }

    #[test]
    fn words_know_their_columns() {
        assert_eq!(split(" a\tb=c  # d"), [(2, "a"), (4, "b"), (6, "c")]);
        assert_eq!(split("한국어 b#c"), [(1, "한국어"), (5, "b")]);
        assert_eq!(split("a \"b # c\"d \"e"), [(1, "a"), (3, "b # c"), (10, "d"), (12, "e")]);
        assert_eq!(split("a\"b\""), [(1, "a"), (2, "b")]);
        assert_eq!(split("\"\""), [(1, "")]);
        assert_eq!(split("# \0 \u{fffd}"), []);
    }

    #[test]
    fn what_is_no_text_is_refused_where_it_stands() {
        let column = |line: &str| tokens(line).expect_err("no text").column;
        assert_eq!(column("a b\0"), 4);
        assert_eq!(column("a \"b\u{fffd}\""), 5);
        assert_eq!(column("\u{7}"), 1);
    }

    #[test]
    fn lines_are_numbered_from_1_after_a_byte_order_mark() {
        let found: Vec<_> = lines(b"\xef\xbb\xbfa\n\nb").collect();
        assert_eq!(found, [(1, &b"a"[..]), (2, b""), (3, b"b")]);
    }
}
