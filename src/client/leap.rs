//! Leap seconds: which one is believed, and when it is told to kernel and clients.

use super::settings::LeapSecond;
use crate::wire::{LeapIndicator, NtpTimestamp};

const DAY: i64 = 86_400;

/// Leap seconds come at the end of these months (ITU-R TF.460-6: first June and December, then the others).
const MONTHS: [u32; 4] = [3, 6, 9, 12];

/// What is due at the end of the present UTC day: by the leap file if it still holds, else by what the
/// majority of the survivors say. A flag set on any other day is somebody's mistake.
pub(super) fn due(
    now: NtpTimestamp,
    file: Option<LeapSecond>,
    flags: impl Iterator<Item = LeapIndicator>,
) -> LeapIndicator {
    let (seconds, _) = now.to_unix(NtpTimestamp::PIVOT);
    let midnight = (seconds.div_euclid(DAY) + 1) * DAY;
    if let Some(leap) = file.filter(|leap| seconds < leap.expires) {
        return match (leap.at == midnight, leap.insert) {
            (false, _) => LeapIndicator::None,
            (true, true) => LeapIndicator::Insert,
            (true, false) => LeapIndicator::Delete,
        };
    }
    let flags: Vec<LeapIndicator> = flags.collect();
    let is_majority = |wanted| flags.iter().filter(|flag| **flag == wanted).count() * 2 > flags.len();
    let may_be = ends_a_month(midnight);
    [LeapIndicator::Insert, LeapIndicator::Delete]
        .into_iter()
        .find(|leap| may_be && is_majority(*leap))
        .unwrap_or(LeapIndicator::None)
}

/// Whether `now` is so close to a midnight that servers, the kernel and packets under way may be on either
/// side of a leap second.
pub(super) fn is_near(now: NtpTimestamp) -> bool {
    let (seconds, _) = now.to_unix(NtpTimestamp::PIVOT);
    let second = seconds.rem_euclid(DAY);
    !(5..DAY - 5).contains(&second)
}

/// The next midnight UTC, in seconds since 1970.
pub(super) fn next_midnight(now: NtpTimestamp) -> i64 {
    let (seconds, _) = now.to_unix(NtpTimestamp::PIVOT);
    (seconds.div_euclid(DAY) + 1) * DAY
}

/// Whether the day before `midnight` was the last of a month that can have a leap second.
fn ends_a_month(midnight: i64) -> bool {
    let (month, day) = month_and_day(midnight.div_euclid(DAY));
    day == 1 && MONTHS.contains(&if month == 1 { 12 } else { month - 1 })
}

/// The Gregorian date of a day since 1970: years begin in March, so that the leap day is their last.
fn month_and_day(days: i64) -> (u32, u32) {
    let era_day = (days + 719_468).rem_euclid(146_097);
    let year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * year + year / 4 - year / 100);
    let month = (5 * year_day + 2) / 153;
    let day = year_day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use LeapIndicator::{Delete, Insert, None as Quiet};

    use super::*;

    /// 2026-12-31T12:00:00Z
    const NOON: i64 = 1_798_718_400;

    fn due_at(seconds: i64, file: Option<LeapSecond>, flags: &[LeapIndicator]) -> LeapIndicator {
        due(NtpTimestamp::from_unix(seconds, 0), file, flags.iter().copied())
    }

    #[test]
    fn l3_a_majority_announces_a_leap_second_and_one_of_three_does_not() {
        assert_eq!(due_at(NOON, None, &[Insert, Insert, Quiet]), Insert);
        assert_eq!(due_at(NOON, None, &[Delete]), Delete);
        assert_eq!(due_at(NOON, None, &[Insert, Quiet, Quiet]), Quiet);
        assert_eq!(due_at(NOON, None, &[Insert, Quiet]), Quiet);
        assert_eq!(due_at(NOON, None, &[Insert, Delete, Quiet]), Quiet);
        assert_eq!(due_at(NOON, None, &[]), Quiet);
    }

    #[test]
    fn l1_only_the_last_day_of_a_quarter_has_one() {
        let day = |days: i64| due_at(NOON + days * DAY, None, &[Insert]);
        assert_eq!(day(0), Insert, "31 December");
        assert_eq!(day(1), Quiet, "1 January: a flag that was left on");
        assert_eq!(day(-1), Quiet, "30 December");
        assert_eq!(day(90), Insert, "31 March 2027");
        assert_eq!(day(181), Insert, "30 June 2027");
        assert_eq!(day(180), Quiet);
        assert_eq!(day(273), Insert, "30 September 2027");
        assert_eq!(day(304), Quiet, "31 October");
        let last_second = NOON + DAY / 2 - 1;
        assert_eq!(due_at(last_second, None, &[Insert]), Insert);
        assert_eq!(due_at(last_second + 1, None, &[Insert]), Quiet, "cleared with the new day");
    }

    #[test]
    fn l2_a_leap_file_counts_more_than_flags_until_it_expires() {
        let at = NOON + DAY / 2;
        let file = LeapSecond { at, insert: true, expires: at + 100 * DAY };
        assert_eq!(due_at(NOON, Some(file), &[]), Insert);
        assert_eq!(due_at(NOON, Some(LeapSecond { insert: false, ..file }), &[Insert]), Delete);
        assert_eq!(due_at(NOON, Some(LeapSecond { at: at + DAY, ..file }), &[Insert]), Quiet);
        assert_eq!(due_at(NOON, Some(LeapSecond { expires: NOON, ..file }), &[Quiet]), Quiet, "expired");
        assert_eq!(due_at(NOON, Some(LeapSecond { at: 0, expires: NOON, insert: true }), &[Insert]), Insert);
    }

    #[test]
    fn dates_are_right_over_four_centuries() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(month_and_day(days), (month, day), "day {days}");
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u32::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
