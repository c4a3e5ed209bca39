//! Files → lines → [`Config`]: reading, including, and what can be judged only when everything was read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Finding, Findings, Position};
use super::host::Prefix;
use super::line::{Line, Place, show};
use super::local_clock::{Fudge, apply_fudges};
use super::restrict::{Restrict, RestrictFlags, RestrictTarget, defaults};
use super::{Config, Located, directive, lexer};
use crate::limits;

/// The configuration file cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {error}", path = path.display())]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// Where lines that no file has come from.
const COMMAND_LINE: &str = "command line";

/// A configuration while it is read.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) fudges: Vec<Fudge>,
    /// The last `enable` or `disable monitor`.
    pub(super) monitor: Option<Position>,
    /// `kod` flags: the index of their [`Restrict`], their place.
    pub(super) kod: Vec<(usize, Position)>,
    /// The file that the line just read includes.
    pub(super) include: Option<Located<PathBuf>>,
}

/// Reads files, and each only as far as the bounds allow.
struct Loader<'r> {
    read: &'r mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    draft: Draft,
    findings: Findings,
    /// The files being read, each including the next.
    chain: Vec<PathBuf>,
    /// How many lines were read, of all files.
    lines: u32,
    /// How many files and bytes may still be read.
    files_left: usize,
    bytes_left: usize,
}

/// See [`super::load_with`].
pub(super) fn load(
    path: &Path,
    added: &str,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<(Config, Findings), Unreadable> {
    let unreadable = |error| Unreadable { path: path.to_owned(), error };
    let text = read(path).map_err(unreadable)?;
    if text.len() > limits::CONFIG_BYTES {
        let sentence = format!("longer than {} bytes", limits::CONFIG_BYTES);
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, sentence)));
    }
    let mut loader = Loader {
        read,
        draft: Draft::default(),
        findings: Findings::default(),
        chain: Vec::new(),
        lines: 0,
        files_left: limits::INCLUDE_FILES,
        bytes_left: limits::CONFIG_BYTES,
    };
    loader.file(path, &text);
    loader.file(Path::new(COMMAND_LINE), added.as_bytes());
    Ok(loader.finish())
}

impl Loader<'_> {
    fn file(&mut self, path: &Path, text: &[u8]) {
        self.bytes_left = self.bytes_left.saturating_sub(text.len());
        self.chain.push(path.to_owned());
        let file: Arc<Path> = Arc::from(path);
        for (line, bytes) in lexer::lines(text) {
            self.lines += 1;
            self.line(&Place { file: Arc::clone(&file), line, sequence: self.lines }, bytes);
            if let Some(include) = self.draft.include.take() {
                self.include(&include);
            }
        }
        self.chain.pop();
    }

    fn line(&mut self, place: &Place, bytes: &[u8]) {
        let fault = match lexer::text(bytes) {
            Ok(text) => match lexer::tokens(&text) {
                Ok(tokens) => {
                    if let Some(mut line) = Line::new(&tokens, place, &mut self.findings) {
                        line.check_quotes();
                        directive::obey(&mut self.draft, &mut line);
                    }
                    return;
                }
                Err(fault) => fault,
            },
            Err(fault) => fault,
        };
        self.findings.push(Finding::error(place.at(fault.column), fault.text, fault.hint));
    }

    fn include(&mut self, include: &Located<PathBuf>) {
        let path = &include.value;
        let shown = path.to_string_lossy();
        if let Some(start) = self.chain.iter().position(|file| file == path) {
            let files = self.chain.iter().skip(start).chain([path]).map(|file| file.to_string_lossy());
            let text = format!("files include each other: {}", files.collect::<Vec<_>>().join(" → "));
            return self.findings.push(Finding::error(include.position.clone(), text, None));
        }
        let bound = if self.chain.len() > limits::INCLUDE_DEPTH {
            Some(format!("files are included more than {} deep", limits::INCLUDE_DEPTH))
        } else if self.files_left == 0 {
            Some(format!("more than {} files are included", limits::INCLUDE_FILES))
        } else {
            None
        };
        if let Some(bound) = bound {
            let text = format!("{} is not read: {bound}", show(&shown));
            return self.findings.push(Finding::error(include.position.clone(), text, None));
        }
        self.files_left -= 1;
        match (self.read)(path) {
            Ok(text) if text.len() <= self.bytes_left => self.file(path, &text),
            Ok(_) => {
                let bound = limits::CONFIG_BYTES;
                let text =
                    format!("{} is not read: all files together have more than {bound} bytes", show(&shown));
                self.findings.push(Finding::error(include.position.clone(), text, None));
            }
            Err(error) => {
                let text =
                    format!("cannot read {}: {error}; the configuration goes on without it", show(&shown));
                self.findings.push(Finding::warning(include.position.clone(), text, None));
            }
        }
    }

    /// What can be judged only now.
    fn finish(self) -> (Config, Findings) {
        let Self { draft, mut findings, .. } = self;
        let mut config = draft.config;
        for (position, address) in apply_fudges(&mut config.local_clocks, &draft.fudges) {
            let text = format!("\"fudge {address}\" has no effect: there is no \"server {address}\"");
            findings.push(Finding::warning(position, text, None));
        }
        judge_restrictions(&config.restrict, &draft.kod, &mut findings);
        if let Some(position) = draft.monitor.filter(|_| !config.switches.monitor && config.monitor()) {
            let text = "\"disable monitor\" has no effect as long as \"limited\" is in force: \
                        a rate limit must remember clients";
            findings.push(Finding::warning(position, text, None));
        }
        findings.sort();
        (config, findings)
    }
}

/// Warns of `restrict` lines that do less than they seem to.
fn judge_restrictions(lines: &[Restrict], kod: &[(usize, Position)], findings: &mut Findings) {
    let mut entries: HashMap<(RestrictTarget, bool), (RestrictFlags, &Position)> = HashMap::new();
    for line in lines {
        for target in separate(&line.target) {
            let (flags, first) =
                entries.entry((target, line.ntpport)).or_insert((line.flags, &line.position));
            let kept = flags.without(line.flags);
            if kept != RestrictFlags::NONE && !line.flags.contains(RestrictFlags::IGNORE) {
                let text = format!(
                    "the same addresses as in {}:{}: flags add up, and none of \"{kept}\" is taken back",
                    first.file.display(),
                    first.line
                );
                findings
                    .push_once(("restrict", "again"), Finding::warning(line.position.clone(), text, None));
            }
            *flags = *flags | line.flags;
        }
    }
    let flags_of = |target, ntpport| entries.get(&(target, ntpport)).copied();
    for (index, position) in kod {
        let Some(line) = lines.get(*index) else { continue };
        let limited = |target| {
            flags_of(target, line.ntpport).is_some_and(|(flags, _)| flags.contains(RestrictFlags::LIMITED))
        };
        if !separate(&line.target).into_iter().all(limited) {
            let text = "\"kod\" has no effect without \"limited\" for the same addresses";
            findings.push_once(("restrict", "kod"), Finding::warning(position.clone(), text, None));
        }
    }
    for everybody in [Prefix::ALL_V4, Prefix::ALL_V6] {
        if let Some((flags, position)) = flags_of(RestrictTarget::Prefix(everybody), false)
            && !flags.contains(RestrictFlags::NOQUERY)
            && !flags.contains(RestrictFlags::IGNORE)
        {
            let text = "control messages (ntpq) from other hosts get no answer, as with \"noquery\": \
                        they could be abused to flood a third party";
            let hint = "\"restrict ADDRESS\" lets single hosts and networks ask";
            let finding = Finding::warning(position.clone(), text, Some(hint.into()));
            findings.push_once(("restrict", "noquery"), finding);
        }
    }
}

/// The entries of the access list that a target stands for.
fn separate(target: &RestrictTarget) -> Vec<RestrictTarget> {
    match target {
        RestrictTarget::Default(family) => defaults(*family).map(RestrictTarget::Prefix).collect(),
        other => vec![other.clone()],
    }
}
