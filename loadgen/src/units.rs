//! Figures as people write them: 1.5M, 500ms, 0.1%.

use std::time::Duration;

/// A number, with k, M or G for thousands, millions, thousands of millions.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    const UNITS: [(&[char], f64); 3] = [(&['k', 'K'], 1e3), (&['m', 'M'], 1e6), (&['g', 'G'], 1e9)];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(*suffix).map(|number| (number, *unit)))
        .unwrap_or((text, 1.0));
    let number = number.parse::<f64>().map_or(f64::NAN, |number| number * unit);
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(format!("\"{text}\" is no number, such as 5000, 10k or 1.5M"))
    }
}

/// A part of a whole, 0 to 1: 0, or per cent with their sign, because 0.1 could mean either.
pub(crate) fn part(text: &str) -> Result<f64, String> {
    let part = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f64>().map_or(f64::NAN, |percent| percent / 100.0),
        None if text.parse() == Ok(0.0) => 0.0,
        None => f64::NAN,
    };
    if (0.0..=1.0).contains(&part) {
        Ok(part)
    } else {
        Err(format!("\"{text}\" is no part of a whole: expected 0, or per cent such as 0.1%"))
    }
}

/// A time in microseconds; seconds unless it has a unit.
pub(crate) fn microseconds(text: &str) -> Result<f64, String> {
    let split = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "" | "s" => Some(1e6),
        "ns" => Some(1e-3),
        "us" | "µs" => Some(1.0),
        "ms" => Some(1e3),
        "m" => Some(60e6),
        "h" => Some(3_600e6),
        _ => None,
    };
    match number.parse::<f64>().ok().zip(unit).map(|(number, unit)| number * unit) {
        Some(us) if us.is_finite() && us >= 0.0 => Ok(us),
        _ => Err(format!("\"{text}\" is no time, such as 5, 5s, 500ms, 20us or 2m")),
    }
}

/// A time of at least a microsecond.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let us = microseconds(text)?;
    match Duration::try_from_secs_f64(us / 1e6) {
        Ok(duration) if us >= 1.0 => Ok(duration),
        _ => Err(format!("\"{text}\" is too short or too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_suffixes() {
        assert_eq!(["0", "1.5k", "50M", "2G"].map(|text| number(text).unwrap()), [0.0, 1_500.0, 50e6, 2e9]);
        for text in ["", "k", "-1", "1%", "nan", "inf", "1T"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parts_have_their_sign() {
        assert_eq!(
            ["0", "0%", "0.1%", "30 %", "100%"].map(|text| part(text).unwrap()),
            [0.0, 0.0, 0.001, 0.3, 1.0]
        );
        for text in ["", "%", "0.1", "1", "101%", "-1%", "nan%"] {
            assert!(part(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, us) in
            [("1", 1e6), ("1ms", 1e3), ("20us", 20.0), ("20µs", 20.0), ("500ns", 0.5), ("2m", 120e6)]
        {
            assert_eq!(microseconds(text), Ok(us), "{text}");
        }
        for text in ["", "s", "1 s", "-1s", "1d", "nan"] {
            assert!(microseconds(text).is_err(), "{text}");
        }
        assert_eq!(duration("1024"), Ok(Duration::from_secs(1024)));
        assert!(duration("0").is_err() && duration("1e300").is_err());
    }
}
