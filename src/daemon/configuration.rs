//! Reads ntp.conf from the file system, and finds what only the file system knows.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::{self, KeyTable};
use crate::config::{self, Config, Finding, Findings, LeapFile, LeapTable, Located, Unreadable};
use crate::limits;

/// What is served when no file says otherwise: this machine's own clock, at a stratum that any real server
/// beats, to everybody.
const EMBEDDED_DEFAULT: &str = "\
restrict default nomodify noquery
restrict 127.0.0.1
restrict ::1
server 127.127.1.0
fudge 127.127.1.0 stratum 9
";

/// Rights to a key file that give its keys away: of others any, of the group to write.
const OTHERS: u32 = 0o027;

/// A configuration and the keys that it names.
pub struct Loaded {
    /// What the configuration says.
    pub config: Config,
    /// What is to be said about it, and about the key file.
    pub findings: Findings,
    /// The trusted keys; `None` if there is a key file and it cannot be read.
    pub keys: Option<KeyTable>,
}

/// Reads the configuration at `path`, the files it includes, then the lines `added`, and the key file.
/// Missing files that are named are findings, too.
///
/// # Errors
/// [`Unreadable`] if the file at `path` cannot be read.
pub fn load(path: &Path, added: &str) -> Result<Loaded, Unreadable> {
    config::load_with(path, added, &mut read).map(with_keys)
}

/// The configuration that needs no file, and the lines `added`.
pub(super) fn embedded_default(added: &str) -> Result<Loaded, Unreadable> {
    let mut text = |_: &Path| Ok(EMBEDDED_DEFAULT.into());
    config::load_with(Path::new("embedded default"), added, &mut text).map(with_keys)
}

fn with_keys((config, mut findings): (Config, Findings)) -> Loaded {
    let keys = match &config.keys_file {
        None => Some(KeyTable::default()),
        Some(file) => read_keys(file, &config, &mut findings),
    };
    findings.sort();
    Loaded { config, findings, keys }
}

/// Reads the trusted keys of a key file.
fn read_keys(file: &Located<PathBuf>, config: &Config, findings: &mut Findings) -> Option<KeyTable> {
    let shown = file.value.display();
    let mut warn = |text| findings.push(Finding::warning(file.position.clone(), text, None));
    let text = match read(&file.value) {
        Ok(text) if text.len() <= limits::CONFIG_BYTES => text,
        Ok(_) => {
            warn(format!(
                "\"{shown}\" is longer than {} bytes; no key is taken from it",
                limits::CONFIG_BYTES
            ));
            return None;
        }
        Err(error) => {
            warn(format!("cannot read \"{shown}\": {error}; no key is taken from it"));
            return None;
        }
    };
    if fs::metadata(&file.value).is_ok_and(|metadata| metadata.mode() & OTHERS != 0) {
        warn(format!("\"{shown}\" can be read or changed by others: chmod 640 \"{shown}\""));
    }
    if config.trusted_keys.ranges().is_empty() {
        warn(format!("no key of \"{shown}\" is in use: \"trustedkey\" must name those that are"));
    }
    let path: Arc<Path> = Arc::from(file.value.as_path());
    let keys = auth::read(&text, |id| config.trusted_keys.contains(id), &mut |fault| {
        let position = file.position.within(&path, fault.line, fault.column);
        findings.push(match fault.is_skipped {
            true => Finding::error(position, fault.text, None),
            false => Finding::warning(position, fault.text, None),
        });
    });
    if let Some(key) = config.control_key.as_ref().filter(|key| keys.get(u32::from(key.value)).is_none()) {
        let text =
            format!("key {} is not in \"{shown}\", or no \"trustedkey\": nobody can use it", key.value);
        findings.push(Finding::warning(key.position.clone(), text, None));
    }
    for association in &config.associations {
        if let Some(id) = association.key.filter(|id| keys.get(u32::from(*id)).is_none()) {
            let text = format!("key {id} is not in \"{shown}\", or no \"trustedkey\"");
            findings.push(Finding::warning(association.position.clone(), text, None));
        }
    }
    Some(keys)
}

/// Reads the leap second table that the configuration names; the error says what is wrong with it.
pub(super) fn leap_table(file: &LeapFile) -> Result<LeapTable, String> {
    let text = read(&file.path.value).map_err(|error| error.to_string())?;
    let table = LeapTable::parse(&String::from_utf8_lossy(&text), file.check_hash);
    table.map_err(|error| error.to_string())
}

/// Reads a file, but not one without end: one byte more than allowed shows that it is too long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(limits::CONFIG_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_default_has_nothing_to_complain_about() {
        let Loaded { config, findings, .. } = embedded_default("").expect("it is in memory");
        assert!(findings.is_empty(), "{:?}", findings.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(config.local_clock().map(config::LocalClock::served_stratum), Some(10));
    }
}
