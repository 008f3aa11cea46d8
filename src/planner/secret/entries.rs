//! Entries of `status.secrets`, and the comparison of their times with those in a list.

use jiff::Timestamp;

use super::input::{ParentApp, SecretInput};
use crate::api::{DeletionPolicy, SecretEntry};

/// Records an entry, and replaces the entry of the same name.
pub(super) fn record(entries: &mut Vec<SecretEntry>, entry: SecretEntry) {
    entries.retain(|known| known.name != entry.name);
    entries.push(entry);
    entries.sort_by(|one, other| one.name.cmp(&other.name));
}

/// Returns true if an entry was certainly set in the present app.
pub(super) fn is_applied(entry: &SecretEntry, app: &ParentApp) -> bool {
    entry.digest.is_some() && entry.incarnation.is_some() && entry.incarnation == app.incarnation
}

/// Returns true if a secret is deleted when the object is deleted or the spec no longer requests the name.
pub(super) fn should_delete(input: &SecretInput<'_>, entry: &SecretEntry) -> bool {
    match input.desired.deletion_policy {
        Some(DeletionPolicy::Delete) => true,
        Some(DeletionPolicy::Retain) => false,
        None => entry.adopted != Some(true),
    }
}

/// Returns true if two times are equal at the coarser precision of the two: the API may print one of them with fewer
/// digits. A missing time equals every time.
pub(super) fn is_same_time(one: Option<&str>, other: Option<&str>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return true };
    let (Ok(first), Ok(second)) = (one.parse::<Timestamp>(), other.parse::<Timestamp>()) else { return one == other };
    let unit = 10_i128.pow(9 - digits(one).min(digits(other)));
    first.as_nanosecond().div_euclid(unit) == second.as_nanosecond().div_euclid(unit)
}

/// Returns true if a time is certainly before another one: the API may have cut the fraction of the second.
pub(super) fn is_before(time: &str, other: Timestamp) -> bool {
    let unit = 10_i128.pow(9 - digits(time));
    let floor = |time: Timestamp| time.as_nanosecond().div_euclid(unit);
    time.parse().is_ok_and(|time| floor(time) < floor(other))
}

/// Number of digits after the decimal point of the seconds.
fn digits(time: &str) -> u32 {
    let fraction = time.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.chars().take_while(char::is_ascii_digit).count();
    u32::try_from(digits).unwrap_or(9).min(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_at_the_coarser_precision() {
        for (one, other, same) in [
            ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05Z", true),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.999999Z", true),
            ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678901Z", true),
            ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.679Z", false),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06.000Z", false),
            ("2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00", true),
            ("yesterday", "yesterday", true),
            ("yesterday", "2026-01-02T03:04:05Z", false),
        ] {
            assert_eq!(is_same_time(Some(one), Some(other)), same, "{one} {other}");
            assert_eq!(is_same_time(Some(other), Some(one)), same, "{other} {one}");
        }
        assert!(is_same_time(None, Some("2026-01-02T03:04:05Z")), "the API shows no time");
    }

    #[test]
    fn a_time_is_before_another_one_only_if_no_cut_fraction_can_change_the_order() {
        for (time, expected) in [
            ("2026-01-02T03:04:04Z", true),
            ("2026-01-02T03:04:05Z", false),
            ("2026-01-02T03:04:05.4Z", true),
            ("2026-01-02T03:04:05.499Z", true),
            ("2026-01-02T03:04:05.500Z", false),
            ("2026-01-02T03:04:06Z", false),
            ("yesterday", false),
        ] {
            assert_eq!(is_before(time, "2026-01-02T03:04:05.5Z".parse().unwrap()), expected, "{time}");
        }
    }
}
