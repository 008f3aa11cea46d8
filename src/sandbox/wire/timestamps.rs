//! Timestamps in the format of the API.

use jiff::Timestamp;

/// Formats a timestamp as RFC 3339 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`.
pub(crate) fn format_millis(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Formats a timestamp as RFC 3339 in UTC without fractions of a second.
pub(crate) fn format_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Formats a timestamp as RFC 3339 in UTC with microseconds.
pub(crate) fn format_micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Formats the current time with milliseconds.
pub(crate) fn format_now() -> String {
    format_millis(Timestamp::now())
}
