//! Reads ntp.conf from the file system, and finds what only the file system knows.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::config::{self, Config, Finding, Findings, Unreadable};
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

/// Reads the configuration at `path` and the files it includes, and then the lines `added`. Missing files that
/// it names are findings, too.
///
/// # Errors
/// [`Unreadable`] if the file at `path` cannot be read.
pub fn load(path: &Path, added: &str) -> Result<(Config, Findings), Unreadable> {
    let (config, mut findings) = config::load_with(path, added, &mut read)?;
    if let Some(keys) = &config.keys_file
        && let Err(error) = File::open(&keys.value)
    {
        let text = format!(
            "cannot read \"{}\": {error}; requests that are authenticated get no answer",
            keys.value.display()
        );
        findings.insert(Finding::warning(keys.position.clone(), text, None));
    }
    Ok((config, findings))
}

/// The configuration that needs no file, and the lines `added`.
pub(super) fn embedded_default(added: &str) -> Result<(Config, Findings), Unreadable> {
    config::load_with(Path::new("embedded default"), added, &mut |_| Ok(EMBEDDED_DEFAULT.into()))
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
        let (config, findings) = embedded_default("").expect("it is in memory");
        assert!(findings.is_empty(), "{:?}", findings.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(config.local_clock().map(config::LocalClock::served_stratum), Some(10));
    }
}
