//! Timestamps in the format of the API: RFC 3339 in UTC, such as `2026-01-02T03:04:05.678Z`.

use jiff::Timestamp;

/// Formats a timestamp with this number of fractional digits of a second.
pub(crate) fn format(at: Timestamp, digits: usize) -> String {
    format!("{at:.digits$}")
}

/// Formats a timestamp with milliseconds.
pub(crate) fn format_millis(at: Timestamp) -> String {
    format(at, 3)
}

/// Formats the current time with milliseconds.
pub(crate) fn format_now() -> String {
    format_millis(Timestamp::now())
}
