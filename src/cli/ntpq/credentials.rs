//! The key that questions are signed with: `keyid`, `keytype`, `passwd`, `authenticate`, and the options -a
//! and -k.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::commands::{Trouble, usage};
use super::interrupt;
use crate::auth::{self, Key, KeyTable};

/// What is known of the key so far.
#[derive(Debug)]
pub(super) struct Credentials {
    id: Option<u16>,
    /// ntpq's word for an algorithm.
    kind: String,
    /// Made of a password; forgotten when id or algorithm change.
    key: Option<Key>,
    /// Of the file that -k names.
    file: KeyTable,
    /// Whether every question is signed.
    pub(super) always: bool,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { id: None, kind: "MD5".to_owned(), key: None, file: KeyTable::default(), always: false }
    }
}

impl Credentials {
    /// What the options say.
    ///
    /// # Errors
    /// Why the key file cannot be read.
    pub(super) fn new(id: Option<u16>, file: Option<&Path>) -> Result<Self, String> {
        let file = file.map(read).transpose()?.unwrap_or_default();
        Ok(Self { id, file, ..Self::default() })
    }

    /// `keyid [ID]`
    pub(super) fn key_id(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        match (arguments, self.id) {
            ([], None) => Ok("no keyid defined\n".to_owned()),
            ([], Some(id)) => Ok(format!("keyid is {id}\n")),
            ([word], _) => {
                self.id = Some(key_id(word)?);
                self.key = None;
                Ok(String::new())
            }
            _ => Err(usage("usage: keyid [key#]")),
        }
    }

    /// `keytype [ALGORITHM]`
    pub(super) fn key_type(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        match arguments {
            [] => Ok(format!("keytype is {} with {} octet digests\n", self.kind, code_length(&self.kind)?)),
            [kind] => {
                code_length(kind)?;
                self.kind = kind.to_ascii_uppercase();
                self.key = None;
                Ok(String::new())
            }
            _ => Err(usage("usage: keytype [digest-name]")),
        }
    }

    /// `passwd [SECRET]`
    pub(super) fn password(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        let id = self.asked_id()?;
        match arguments {
            [] => self.key = Some(make(id, &self.kind, &self.asked_password()?)?),
            [secret] => self.key = Some(make(id, &self.kind, secret)?),
            _ => return Err(usage("usage: passwd [password]")),
        }
        Ok(String::new())
    }

    /// `authenticate [yes|no]`
    pub(super) fn authenticate(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        match arguments {
            [] => {}
            ["yes"] => self.always = true,
            ["no"] => self.always = false,
            _ => return Err(usage("usage: authenticate [yes|no]")),
        }
        let sent = if self.always { "authenticated" } else { "unauthenticated" };
        Ok(format!("{sent} requests being sent\n"))
    }

    /// The key to sign with: of the password, else of the key file; a terminal is asked for what is missing.
    pub(super) fn key(&mut self) -> Result<Key, Trouble> {
        if self.key.is_none() {
            let id = self.asked_id()?;
            let found = self.file.get(id.into()).cloned();
            self.key = match found {
                Some(key) => Some(key),
                None if io::stdin().is_terminal() => Some(make(id, &self.kind, &self.asked_password()?)?),
                None => None,
            };
        }
        let text = "***No key to sign with: use `keyid' and `passwd', or the options -a and -k";
        self.key.clone().ok_or_else(|| usage(text))
    }

    fn asked_id(&mut self) -> Result<u16, Trouble> {
        let id = match self.id {
            Some(id) => id,
            None if io::stdin().is_terminal() => key_id(line("Keyid: ")?.trim())?,
            None => return Err(usage("***No keyid defined: use `keyid', or the options -a and -k")),
        };
        self.id = Some(id);
        Ok(id)
    }

    /// From a terminal, that does not show it; or the next line of a script.
    fn asked_password(&self) -> Result<String, Trouble> {
        let prompt = format!("{} Password: ", self.kind);
        let secret = if io::stdin().is_terminal() {
            rpassword::prompt_password(prompt).map_err(|error| usage(&format!("***Cannot read: {error}")))?
        } else {
            line("")?
        };
        match secret.trim_end_matches(['\r', '\n']) {
            "" => Err(usage("***Invalid password")),
            secret => Ok(secret.to_owned()),
        }
    }
}

fn line(prompt: &str) -> Result<String, Trouble> {
    let _ = io::stdout().write_all(prompt.as_bytes()).and_then(|()| io::stdout().flush());
    interrupt::read_line().map_err(|error| usage(&format!("***Cannot read: {error}")))
}

fn key_id(word: &str) -> Result<u16, Trouble> {
    let id = word.parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| usage(&format!("***Invalid key identifier {word}: it is a number from 1 to 65535")))
}

/// A line of a key file makes a key of a password, in the same way and with the same bounds.
fn make(id: u16, kind: &str, secret: &str) -> Result<Key, Trouble> {
    let mut problem = None;
    let keys = auth::read(format!("{id} {kind} {secret}").as_bytes(), |_| true, &mut |fault| {
        if fault.is_skipped {
            problem = Some(fault.text);
        }
    });
    let text = || problem.unwrap_or_else(|| "it has a character that no key has".to_owned());
    keys.get(id.into()).cloned().ok_or_else(|| usage(&format!("***Invalid password: {}", text())))
}

/// How long this algorithm's codes are.
fn code_length(kind: &str) -> Result<usize, Trouble> {
    let is_word = !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#');
    let key = if is_word { make(1, kind, "x").ok() } else { None };
    key.map(|key| key.code_length()).ok_or_else(|| {
        usage(&format!("***Key type {kind} is not known; MD5, SHA1, AES128CMAC and others of ntp.keys are"))
    })
}

/// Keys that cannot be used are passed over: the file is also the server's, which tells of them.
fn read(path: &Path) -> Result<KeyTable, String> {
    let text = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(auth::read(&text, |_| true, &mut |_| {}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: Result<String, Trouble>) -> String {
        match result {
            Ok(text) => text,
            Err(Trouble::Usage(text)) => text,
            Err(Trouble::Server(failure)) => failure.to_string(),
        }
    }

    #[test]
    fn a_key_is_of_an_id_an_algorithm_and_a_password() {
        let mut credentials = Credentials::default();
        assert_eq!(said(credentials.key_id(&[])), "no keyid defined\n");
        assert_eq!(
            said(credentials.key_id(&["0"])),
            "***Invalid key identifier 0: it is a number from 1 to 65535"
        );
        assert_eq!(said(credentials.key_id(&["7"])), "");
        assert_eq!(said(credentials.key_id(&[])), "keyid is 7\n");
        assert_eq!(said(credentials.key_type(&[])), "keytype is MD5 with 16 octet digests\n");
        assert_eq!(said(credentials.key_type(&["sha1"])), "");
        assert_eq!(said(credentials.key_type(&[])), "keytype is SHA1 with 20 octet digests\n");
        assert_eq!(said(credentials.key_type(&["aes128cmac"])), "");
        assert!(said(credentials.key_type(&["rot13"])).starts_with("***Key type rot13 is not known"));
        assert_eq!(said(credentials.password(&["000102030405060708090a0b0c0d0e0f"])), "");
        let key = credentials.key().expect("there is one");
        assert_eq!((key.id(), key.code_length()), (7, 16));
        // Another id needs another password.
        assert_eq!(said(credentials.key_id(&["8"])), "");
        assert!(credentials.key.is_none());
        assert!(said(credentials.password(&["00010203040506070809x"])).starts_with("***Invalid password: "));
        assert!(said(credentials.password(&["a", "b"])).starts_with("usage: "));
    }

    #[test]
    fn authenticate_is_a_switch() {
        let mut credentials = Credentials::default();
        assert_eq!(said(credentials.authenticate(&[])), "unauthenticated requests being sent\n");
        assert_eq!(said(credentials.authenticate(&["yes"])), "authenticated requests being sent\n");
        assert!(credentials.always);
        assert_eq!(said(credentials.authenticate(&["no"])), "unauthenticated requests being sent\n");
        assert!(said(credentials.authenticate(&["maybe"])).starts_with("usage: "));
    }
}
