//! Time as the API shows it.

use jiff::Timestamp;

/// RFC 3339 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`.
pub(crate) fn format_millis(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The same without a fraction of the second.
pub(crate) fn format_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The same with microseconds.
pub(crate) fn format_micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The present moment, as [`text`].
pub(crate) fn format_now() -> String {
    format_millis(Timestamp::now())
}
