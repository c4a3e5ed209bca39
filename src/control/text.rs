//! Lists of variables as text: `name=value, name="text"`, read from whatever a server sends.

/// A variable as it stands in a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value without quotation marks; empty if there is none.
    pub value: String,
    /// Whether it stood in quotation marks.
    pub quoted: bool,
}

/// Reads a list. Nothing is refused: a server may leave bytes of its memory in it (ntpsec 1.2.2 does), and
/// what is not printable becomes a question mark, so that no terminal is ever told what to do.
pub fn parse(data: &[u8]) -> Vec<Variable> {
    let mut rest = data;
    let mut variables = Vec::new();
    while let Some((item, after)) = next_item(rest) {
        rest = after;
        let (name, value) = match item.iter().position(|&octet| octet == b'=') {
            Some(at) => (&item[..at], &item[at + 1..]),
            None => (item, &item[item.len()..]),
        };
        let name = printable(name.trim_ascii());
        let value = value.trim_ascii();
        let inside = value.strip_prefix(b"\"").map(|open| open.strip_suffix(b"\"").unwrap_or(open));
        if !name.is_empty() {
            let quoted = inside.is_some();
            variables.push(Variable { name, value: printable(inside.unwrap_or(value)), quoted });
        }
    }
    variables
}

/// Up to the next comma outside quotation marks.
fn next_item(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    if rest.is_empty() {
        return None;
    }
    let mut quoted = false;
    let end = rest.iter().position(|&octet| {
        quoted ^= octet == b'"';
        octet == b',' && !quoted
    });
    Some(end.map_or((rest, &[]), |end| (&rest[..end], &rest[end + 1..])))
}

/// What no terminal obeys.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let shown = |&octet: &u8| if octet == b' ' || octet.is_ascii_graphic() { char::from(octet) } else { '?' };
    bytes.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(data: &[u8]) -> Vec<(String, String)> {
        parse(data).into_iter().map(|variable| (variable.name, variable.value)).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn lists_are_read_as_servers_write_them() {
        let data =
            b"version=\"ntpd 4.2.8p15 (1), patched\", leap=0,\r\nfiltdelay= 0.05 0.04,\r\nbcast.0=, x\r\n";
        let expected = [
            pair("version", "ntpd 4.2.8p15 (1), patched"),
            pair("leap", "0"),
            pair("filtdelay", "0.05 0.04"),
            pair("bcast.0", ""),
            pair("x", ""),
        ];
        assert_eq!(pairs(data), expected);
        let quoted: Vec<bool> = parse(data).iter().map(|variable| variable.quoted).collect();
        assert_eq!(quoted, [true, false, false, false, false]);
    }

    #[test]
    fn strange_bytes_are_shown_not_obeyed() {
        assert_eq!(
            pairs(b"filtdelay=\x10\x9a\x1b[2J 0.00,pmode=4"),
            [pair("filtdelay", "???[2J 0.00"), pair("pmode", "4")]
        );
        assert_eq!(pairs(b"a=\"never ends, b=1"), [pair("a", "never ends, b=1")]);
        assert_eq!(pairs(b",,=5,\r\n\0\0"), [pair("??", "")]);
        assert!(parse(b"").is_empty());
    }
}
