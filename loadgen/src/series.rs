//! A run second by second. The threads that send hand over what they have measured once a second; another one
//! adds it up, so that it costs them nothing.

use crossbeam::channel::{Receiver, Sender};

use crate::measures::{Measures, Second};

/// What one thread has seen of one second.
pub(crate) struct Report {
    /// Which second of the run.
    pub(crate) second: usize,
    pub(crate) counts: Second,
    pub(crate) measures: Box<Measures>,
}

/// Adds up the reports of all threads.
pub(crate) struct Series {
    reports: Receiver<Report>,
    /// Measures with nothing in them go back to where they came from.
    spares: Sender<Box<Measures>>,
    threads: usize,
    keep: bool,
    total: Measures,
    seconds: Vec<Entry>,
}

#[derive(Default)]
struct Entry {
    second: Second,
    /// How many threads have reported, and what they have measured until the last of them has.
    reports: usize,
    measures: Option<Box<Measures>>,
}

impl Series {
    /// Of the reports that `threads` threads make; all measures of each second are kept if `keep`.
    pub(crate) fn new(
        reports: Receiver<Report>,
        spares: Sender<Box<Measures>>,
        threads: usize,
        keep: bool,
    ) -> Self {
        Self { reports, spares, threads, keep, total: Measures::default(), seconds: Vec::new() }
    }

    /// Adds up what has been reported; returns the 99th percentile of latency in the latest second that all
    /// have reported, in microseconds.
    pub(crate) fn collect(&mut self) -> Option<f64> {
        while let Ok(report) = self.reports.try_recv() {
            self.add(report);
        }
        self.seconds.iter().rev().find_map(|entry| entry.second.p99)
    }

    fn add(&mut self, report: Report) {
        if self.seconds.len() <= report.second {
            self.seconds.resize_with(report.second + 1, Entry::default);
        }
        let entry = &mut self.seconds[report.second];
        entry.second.add(&report.counts);
        entry.reports += 1;
        match &mut entry.measures {
            None => entry.measures = Some(report.measures),
            Some(measures) => {
                measures.add(&report.measures);
                give_back(&self.spares, report.measures);
            }
        }
        if entry.reports == self.threads {
            self.conclude(report.second);
        }
    }

    fn conclude(&mut self, second: usize) {
        let entry = &mut self.seconds[second];
        let Some(measures) = entry.measures.take() else { return };
        entry.second.conclude(&measures, self.keep);
        self.total.add(&measures);
        give_back(&self.spares, measures);
    }

    /// All there is, once the threads have ended.
    pub(crate) fn end(mut self) -> (Measures, Vec<Second>) {
        self.collect();
        (0..self.seconds.len()).for_each(|second| self.conclude(second));
        (self.total, self.seconds.into_iter().map(|entry| entry.second).collect())
    }
}

fn give_back(spares: &Sender<Box<Measures>>, mut measures: Box<Measures>) {
    measures.clear();
    // A thread that has ended needs none.
    let _ = spares.send(measures);
}

#[cfg(test)]
mod tests {
    use crossbeam::channel;

    use super::*;

    fn report(second: usize, latency: u64) -> Report {
        let mut measures = Box::<Measures>::default();
        measures.intended.record(latency);
        Report { second, counts: Second { sent: 2, answered: 1, lost: 1, ..Second::default() }, measures }
    }

    #[test]
    fn each_second_is_the_sum_of_its_reports_and_the_total_of_all() {
        let (reporter, reports) = channel::unbounded();
        let (spares, given_back) = channel::unbounded();
        let mut series = Series::new(reports, spares, 2, true);
        reporter.send(report(0, 1_000_000)).unwrap();
        assert_eq!(series.collect(), None, "the other thread has not reported yet");
        reporter.send(report(0, 2_000_000)).unwrap();
        assert!((series.collect().unwrap() - 2_000.0).abs() < 2.0);
        // One thread goes on longer.
        reporter.send(report(2, 3_000_000)).unwrap();
        let (total, seconds) = series.end();
        assert_eq!(total.intended.len(), 3);
        assert_eq!(seconds.iter().map(|second| second.sent).collect::<Vec<_>>(), [4, 0, 2]);
        assert_eq!(seconds[0].measures.as_ref().unwrap().intended.times().len(), 2);
        assert!(seconds[1].p99.is_none() && seconds[2].p99.is_some());
        assert!(given_back.try_iter().all(|spare| spare.intended.is_empty()), "spares are empty");
    }
}
