//! `driftfile`: the frequency correction of the last run, one number in parts per million, as ntpd writes it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

/// The kernel corrects no more; a file that says more was not written by a clock discipline.
const CORRECTION_MAX_PPM: f64 = 500.0;

/// More is no number.
const LENGTH_MAX: u64 = 256;

/// The file, and whether writing it last failed.
#[derive(Debug)]
pub(super) struct DriftFile {
    path: PathBuf,
    is_failing: bool,
}

impl DriftFile {
    /// Of this path; it need not exist.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, is_failing: false }
    }

    /// What the file says; `None`, with a warning, for anything that cannot be a frequency. A file that is
    /// not there yet is none to warn of.
    pub(super) fn read(&self) -> Option<f64> {
        match read(&self.path) {
            Ok(ppm) => {
                info!("driftfile {}: {ppm:.3} ppm", self.path.display());
                Some(ppm)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                info!("driftfile {}: not there yet", self.path.display());
                None
            }
            Err(error) => {
                warn!("driftfile {}: {error}; the frequency is measured anew", self.path.display());
                None
            }
        }
    }

    /// Replaces the file as a whole: whoever reads it finds the old number or the new one. Of failures in a
    /// row the first is reported.
    pub(super) fn write(&mut self, ppm: f64) {
        match replace(&self.path, ppm) {
            Ok(()) => self.is_failing = false,
            Err(error) if self.is_failing => drop(error),
            Err(error) => {
                self.is_failing = true;
                let directory = self.path.parent().unwrap_or(Path::new("/"));
                warn!(
                    "cannot write driftfile {}: {error}; the directory {} must be there and writable for the user that ntpring runs as",
                    self.path.display(),
                    directory.display()
                );
            }
        }
    }
}

fn read(path: &Path) -> io::Result<f64> {
    let mut text = String::new();
    File::open(path)?.take(LENGTH_MAX).read_to_string(&mut text)?;
    let word = text.split_whitespace().next().unwrap_or_default();
    let number = word.parse::<f64>().ok().filter(|ppm| ppm.abs() <= CORRECTION_MAX_PPM);
    number.ok_or_else(|| {
        let text = format!("no frequency from -{CORRECTION_MAX_PPM} to {CORRECTION_MAX_PPM} ppm");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

fn replace(path: &Path, ppm: f64) -> io::Result<()> {
    let mut beside = OsString::from(path);
    beside.push(".new");
    fs::write(&beside, format!("{ppm:.6}\n"))?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("ntpring-drift-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        directory
    }

    #[test]
    fn c21_what_is_written_is_read_and_nothing_else_is_left() {
        let directory = scratch("round");
        let mut file = DriftFile::new(directory.join("drift"));
        assert_eq!(file.read(), None);
        for ppm in [-12.345_678, 0.0, 499.9] {
            file.write(ppm);
            assert_eq!(file.read(), Some(ppm));
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn c21_what_is_no_frequency_is_ignored() {
        let directory = scratch("bad");
        let file = DriftFile::new(directory.join("drift"));
        for bad in ["", "\n", "garbage", "1e9", "-500.1", "nan", "inf", "12,5", "\u{fffd}"] {
            fs::write(&file.path, bad).unwrap();
            assert_eq!(file.read(), None, "{bad:?}");
        }
        fs::write(&file.path, [0xFF, 0xFE]).unwrap();
        assert_eq!(file.read(), None);
        fs::write(&file.path, "-3.5 and what old versions wrote behind it\n").unwrap();
        assert_eq!(file.read(), Some(-3.5));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn c21_what_cannot_be_written_is_no_reason_to_end() {
        let mut file = DriftFile::new("/nonexistent/ntpring/drift".into());
        file.write(1.0);
        assert!(file.is_failing);
        file.write(1.0);
    }
}
