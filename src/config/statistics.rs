//! `statsdir`, `statistics`, `filegen`: the statistics files.

use std::path::PathBuf;

use super::Located;
use super::line::Line;
use super::load::Draft;
use super::vocabulary::{Vocabulary, Word, accept, honour};

/// What is written to statistics files, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// `statsdir`: what the file names begin with.
    pub directory: Option<Located<PathBuf>>,
    /// The clock discipline: one line per update.
    pub loopstats: Filegen,
    /// The sources: one line per measurement.
    pub peerstats: Filegen,
    /// The server: one line per hour.
    pub sysstats: Filegen,
}

/// One set of statistics files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filegen {
    /// Whether it is written.
    pub enabled: bool,
    /// The name after [`Statistics::directory`]; that of the set unless given.
    pub file: Option<PathBuf>,
    /// When a new file begins.
    pub period: FilegenPeriod,
    /// Whether the name without suffix is a link to the file in use (default), or not (`nolink`).
    pub nolink: bool,
}

/// When a new statistics file begins; the suffix of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilegenPeriod {
    /// Never; no suffix.
    None,
    /// At start; the process id.
    Pid,
    /// Every UTC day; `.YYYYMMDD`.
    #[default]
    Day,
    /// Every week; `.YYYYWww`.
    Week,
    /// Every month; `.YYYYMM`.
    Month,
    /// Every year; `.YYYY`.
    Year,
    /// Every 24 hours of operation; `.a` and the seconds.
    Age,
}

type Select = fn(&mut Statistics) -> &mut Filegen;

/// The sets of statistics files.
pub(super) static SETS: Vocabulary<Select> = Vocabulary { what: "statistics set", words: SET_WORDS };

const NOT_WRITTEN: &str = "such a file is not written";
const SET_WORDS: &[Word<Select>] = &[
    honour("loopstats", |statistics| &mut statistics.loopstats, "the clock discipline"),
    honour("peerstats", |statistics| &mut statistics.peerstats, "the sources"),
    honour("sysstats", |statistics| &mut statistics.sysstats, "the server"),
    accept("clockstats", 0, NOT_WRITTEN),
    accept("rawstats", 0, NOT_WRITTEN),
    accept("protostats", 0, NOT_WRITTEN),
    accept("cryptostats", 0, NOT_WRITTEN),
    accept("timingstats", 0, NOT_WRITTEN),
    accept("usestats", 0, NOT_WRITTEN),
    accept("ntsstats", 0, NOT_WRITTEN),
    accept("ntskestats", 0, NOT_WRITTEN),
];

#[derive(Debug)]
pub(super) enum FilegenOption {
    File,
    Type,
    Link(bool),
    Enable(bool),
}

pub(super) static FILEGEN: Vocabulary<FilegenOption> =
    Vocabulary { what: "filegen option", words: FILEGEN_WORDS };

const FILEGEN_WORDS: &[Word<FilegenOption>] = &[
    honour("file", FilegenOption::File, "file name, after `statsdir`"),
    honour(
        "type",
        FilegenOption::Type,
        "when a new file begins: none, pid, day (default), week, month, year, age",
    ),
    honour(
        "link",
        FilegenOption::Link(true),
        "the name without suffix is a link to the file in use (default)",
    ),
    honour("nolink", FilegenOption::Link(false), "no such link"),
    honour("enable", FilegenOption::Enable(true), "the files are written (default)"),
    honour("disable", FilegenOption::Enable(false), "the files are not written"),
];

static PERIODS: Vocabulary<FilegenPeriod> = Vocabulary { what: "filegen type", words: PERIOD_WORDS };

const PERIOD_WORDS: &[Word<FilegenPeriod>] = &[
    honour("none", FilegenPeriod::None, ""),
    honour("pid", FilegenPeriod::Pid, ""),
    honour("day", FilegenPeriod::Day, ""),
    honour("week", FilegenPeriod::Week, ""),
    honour("month", FilegenPeriod::Month, ""),
    honour("year", FilegenPeriod::Year, ""),
    honour("age", FilegenPeriod::Age, ""),
];

/// `statsdir PATH`
pub(super) fn statsdir(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let path = line.path("statsdir");
    if line.is_good() {
        draft.config.statistics.directory = path;
    }
}

/// `statistics SET...`
pub(super) fn statistics(draft: &mut Draft, line: &mut Line<'_, '_>) {
    line.needs("a statistics set");
    let mut statistics = draft.config.statistics.clone();
    while let Some((select, _)) = line.option(&SETS) {
        select(&mut statistics).enabled = true;
    }
    if line.is_good() {
        draft.config.statistics = statistics;
    }
}

/// `filegen SET [OPTION]...`
pub(super) fn filegen(draft: &mut Draft, line: &mut Line<'_, '_>) {
    let Some(set) = line.value("filegen", "a statistics set") else { return };
    let Some(select) = line.look_up(set, &SETS) else {
        // Not written: its options do not matter.
        line.skip_rest();
        line.is_good();
        return;
    };
    let mut statistics = draft.config.statistics.clone();
    let files = select(&mut statistics);
    files.enabled = true;
    while let Some((option, token)) = line.option(&FILEGEN) {
        match option {
            FilegenOption::File => files.file = line.path(token.text).map(|path| path.value),
            FilegenOption::Type => {
                let period = line.value("type", "none, pid, day, week, month, year or age");
                if let Some(period) = period.and_then(|period| line.look_up(period, &PERIODS)) {
                    files.period = *period;
                }
            }
            FilegenOption::Link(link) => files.nolink = !link,
            FilegenOption::Enable(enabled) => files.enabled = *enabled,
        }
    }
    if line.is_good() {
        draft.config.statistics = statistics;
    }
}
