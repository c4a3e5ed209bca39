//! The result as an HdrHistogram log, format 1.3: for each second and measure one histogram of nanoseconds,
//! tagged with the name of the measure.

use std::io;
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::histogram::Sparse;
use crate::measures::Measures;
use crate::run::Outcome;

/// Version 1.3 differs from 1.2 by its tags. Readers take the line without # for column names.
const FORMAT: &str = "[Histogram log format version 1.3]";
/// Interval maxima are for human eyes, in milliseconds.
const NS_PER_MS: f64 = 1e6;
const SECOND: Duration = Duration::from_secs(1);

/// The whole log.
pub(crate) fn text(outcome: &Outcome) -> String {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail, and all histograms have counts that fit.
    write(outcome, &mut bytes).expect("a log in memory is written");
    String::from_utf8(bytes).expect("a log is text")
}

fn write(outcome: &Outcome, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(FORMAT)
        .add_comment(&format!("[ntpload {}, nanoseconds]", env!("CARGO_PKG_VERSION")))
        .with_base_time(outcome.started)
        .with_start_time(outcome.started)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(bytes, &mut serializer)?;
    for (number, second) in (0..).zip(outcome.eventful()) {
        let Some(measures) = &second.measures else { continue };
        for (name, values) in tagged(measures) {
            log.write_histogram(values.times().histogram(), SECOND * number, SECOND, Tag::new(name))
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
    }
    Ok(())
}

fn tagged(measures: &Measures<Sparse>) -> [(&'static str, &Sparse); 7] {
    [
        ("intended", &measures.intended),
        ("wire", &measures.wire),
        ("residence", &measures.residence),
        ("offset", &measures.offset.ahead),
        ("offset_negative", &measures.offset.behind),
        ("offset_bound", &measures.offset_bound),
        ("lag", &measures.lag),
    ]
}
