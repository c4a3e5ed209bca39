//! The key that signs requests: FILE:ID on the command line.

use std::fs;
use std::path::{Path, PathBuf};

use ntpring::auth;

use crate::failure::Failure;

pub(crate) use ntpring::auth::{Key, MAC_MAX};

/// FILE:ID as the command line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyName {
    path: PathBuf,
    id: u16,
}

impl KeyName {
    /// Reads what the command line names.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (path, id) =
            text.rsplit_once(':').filter(|(path, _)| !path.is_empty()).ok_or("expected FILE:ID")?;
        let id = id.parse().ok().filter(|&id| id > 0);
        let id = id.ok_or("expected FILE:ID, with a number from 1 to 65535 as ID")?;
        Ok(Self { path: path.into(), id })
    }

    /// The key, from a file as ntpd, ntpsec and chrony have it: `ID TYPE KEY`.
    pub(crate) fn load(&self) -> Result<Key, Failure> {
        let text = fs::read(&self.path)
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", self.path.display())))?;
        find(&text, self.id).map_err(|reason| {
            Failure::Usage(format!("key {} of {}: {reason}", self.id, Path::display(&self.path)))
        })
    }
}

/// The key of this id, or what may be why it is not there.
fn find(text: &[u8], id: u16) -> Result<Key, String> {
    let mut reason = "there is no such key".to_owned();
    let keys = auth::read(text, |known| known == id, &mut |fault| {
        if fault.is_skipped {
            reason = format!("it is on no line that can be read; line {}: {}", fault.line, fault.text);
        }
    });
    keys.get(id.into()).cloned().ok_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_file_and_number() {
        let name = KeyName::parse("/etc/ntp:x/keys:7").unwrap();
        assert_eq!((name.path.to_str(), name.id), (Some("/etc/ntp:x/keys"), 7));
        for text in ["keys", ":1", "keys:0", "keys:65536", "keys:x", "keys:"] {
            assert!(KeyName::parse(text).is_err(), "{text}");
        }
        assert!(matches!(KeyName::parse("/none/such:1").unwrap().load(), Err(Failure::Usage(_))));
    }

    #[test]
    fn the_key_is_found_or_what_may_be_why_it_is_not() {
        let file = b"1 M secret # the first\n4 DES x\n7 SHA1 HEX:0A0b\n";
        assert_eq!(find(file, 7).unwrap().id(), 7);
        assert!(find(file, 4).unwrap_err().contains("line 2: key type \"DES\""));
        assert_eq!(find(b"1 M secret", 4).unwrap_err(), "there is no such key");
    }
}
