//! `--fail-if 'p99>1ms'`: what makes a result a failure to scripts.

use std::fmt;

use crate::units;

/// A figure of the result, and the value it must not pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    figure: Figure,
    relation: Relation,
    value: f64,
    /// As it was written.
    text: String,
}

/// What can be asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Figure {
    /// The latency from the intended time below which this part of all answers lies.
    Latency(f64),
    /// Part of the requests sent that got no valid reply in time.
    Loss,
    /// Answers per second.
    Rate,
    /// One of the counts, by its name in JSON.
    Count(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Relation {
    Above,
    AtLeast,
    Below,
    AtMost,
}

const FIGURES: [(&str, Figure); 18] = [
    ("p50", Figure::Latency(0.5)),
    ("p90", Figure::Latency(0.9)),
    ("p99", Figure::Latency(0.99)),
    ("p99.9", Figure::Latency(0.999)),
    ("p999", Figure::Latency(0.999)),
    ("p99.99", Figure::Latency(0.9999)),
    ("p9999", Figure::Latency(0.9999)),
    ("max", Figure::Latency(1.0)),
    ("loss", Figure::Loss),
    ("rate", Figure::Rate),
    ("answered", Figure::Count("answered")),
    ("unsent", Figure::Count("unsent")),
    ("late", Figure::Count("late")),
    ("lost", Figure::Count("lost")),
    ("kod", Figure::Count("kod")),
    ("duplicate", Figure::Count("duplicate")),
    ("invalid", Figure::Count("invalid")),
    ("local_drops", Figure::Count("local_drops")),
];

const RELATIONS: [(&str, Relation); 4] =
    [(">=", Relation::AtLeast), ("<=", Relation::AtMost), (">", Relation::Above), ("<", Relation::Below)];

impl Condition {
    /// Reads FIGURE, one of > >= < <=, and a value with its unit.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found = RELATIONS.iter().find_map(|(sign, relation)| {
            text.split_once(sign).map(|(figure, value)| (figure.trim(), *relation, value.trim()))
        });
        let (name, relation, value) =
            found.ok_or("expected a figure, > or <, and a value, such as p99>1ms or loss>0.1%")?;
        let (_, figure) = FIGURES.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let names: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
            format!("\"{name}\" is none of {}", names.join(", "))
        })?;
        let value = match figure {
            Figure::Latency(_) => units::microseconds(value),
            Figure::Loss => units::part(value),
            Figure::Rate | Figure::Count(_) => units::number(value),
        };
        Ok(Self { figure: *figure, relation, value: value?, text: text.to_owned() })
    }

    /// Whether a result for which `value` gives the figures (latency in µs, `None` if nothing was measured)
    /// fails. One that cannot be judged does: whatever was to be shown is not.
    pub(crate) fn holds(&self, value: impl Fn(Figure) -> Option<f64>) -> bool {
        value(self.figure).is_none_or(|found| match self.relation {
            Relation::Above => found > self.value,
            Relation::AtLeast => found >= self.value,
            Relation::Below => found < self.value,
            Relation::AtMost => found <= self.value,
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, found: Option<f64>) -> bool {
        Condition::parse(text).unwrap().holds(|_| found)
    }

    #[test]
    fn each_figure_has_its_unit() {
        assert!(holds("p99>1ms", Some(1_001.0)) && !holds("p99>1ms", Some(1_000.0)));
        assert!(holds("p99.9 >= 50us", Some(50.0)) && !holds("max>=1s", Some(999_999.0)));
        assert!(holds("loss>0.1%", Some(0.0011)) && !holds("loss>0.1%", Some(0.001)));
        assert!(holds("rate<10k", Some(9_999.0)) && !holds("rate<10k", Some(10_000.0)));
        assert!(holds("lost<=0", Some(0.0)) && !holds("invalid>0", Some(0.0)));
        assert_eq!(Condition::parse("p9999>1ms").unwrap().figure, Figure::Latency(0.9999));
        assert_eq!(Condition::parse("kod>0").unwrap().figure, Figure::Count("kod"));
    }

    #[test]
    fn what_was_not_measured_is_not_passed() {
        assert!(holds("p99>1ms", None) && holds("p99<1ms", None));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for text in
            ["", "p99", "p99>", "p99=1ms", "p98>1ms", "p99>1%", "loss>1ms", "loss>1", "rate<x", ">1ms"]
        {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }
}
