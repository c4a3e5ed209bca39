//! The files that a result goes to.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::report;

/// Where one form of a result goes.
#[derive(Debug)]
enum Sink {
    Stdout,
    File(PathBuf, File),
}

impl Sink {
    /// Opens `path`, before the run, so that a wrong path costs no run; `-` is the standard output.
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let file = File::create(path)
            .map_err(|error| Failure::RunTime(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self::File(path.to_owned(), file))
    }

    fn write(self, text: &str) -> Result<(), Failure> {
        match self {
            Self::Stdout => report::print(text),
            Self::File(path, mut file) => {
                // A disk that is full may say so only when the file is brought there.
                let written = file.write_all(text.as_bytes()).and_then(|()| file.flush());
                written.map_err(|error| {
                    Failure::RunTime(format!("cannot write all of {}: {error}", path.display()))
                })
            }
        }
    }
}

/// The open files of one result.
#[derive(Debug, Default)]
pub(crate) struct Sinks(Vec<(Form, Sink)>);

/// A form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Csv,
    Hlog,
    Html,
}

impl Sinks {
    /// Opens those that are wanted.
    pub(crate) fn open(wanted: &[(Form, Option<&Path>)]) -> Result<Self, Failure> {
        let mut sinks = Self::default();
        for (form, path) in wanted {
            let Some(path) = path else { continue };
            let sink = Sink::open(path)?;
            if matches!(sink, Sink::Stdout) && sinks.use_stdout() {
                return Err(Failure::Usage(
                    "only one form of the result can go to the standard output".to_owned(),
                ));
            }
            sinks.0.push((*form, sink));
        }
        Ok(sinks)
    }

    /// Whether one of them is the standard output, so that nothing else may be printed there.
    pub(crate) fn use_stdout(&self) -> bool {
        self.0.iter().any(|(_, sink)| matches!(sink, Sink::Stdout))
    }

    /// Prints `text`, unless something else goes there.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        if self.use_stdout() { Ok(()) } else { report::print(text) }
    }

    /// Writes each form that is wanted. What one file refuses is no reason not to write the others.
    pub(crate) fn write(self, text: impl Fn(Form) -> String) -> Result<(), Failure> {
        let failures: Vec<String> = self
            .0
            .into_iter()
            .filter_map(|(form, sink)| sink.write(&text(form)).err())
            .map(|failure| failure.to_string())
            .collect();
        if failures.is_empty() { Ok(()) } else { Err(Failure::RunTime(failures.join("; "))) }
    }
}
