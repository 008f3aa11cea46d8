//! Parsers of flag values. An error is one sentence without the name of the flag; clap adds the name.

use std::time::Duration;

use jiff::SignedDuration;

use crate::controller::ResolvedOrganizationRef;

/// Maximum of a duration: ten years. A longer duration can overflow when a clock adds it.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Parses a duration, such as `90s`, `10m` or `1h30m`. Zero is allowed.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse().ok().and_then(|parsed: SignedDuration| Duration::try_from(parsed).ok());
    match parsed {
        Some(parsed) if parsed <= MAX_DURATION => Ok(parsed),
        Some(_) => Err("the duration must be at most 87600h (ten years)".to_owned()),
        None => Err("the value must be a duration, such as 90s, 10m or 1h30m".to_owned()),
    }
}

/// Parses a duration above zero. For intervals: an interval of zero is a busy loop.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("the duration must be above zero".to_owned()),
        duration => Ok(duration),
    }
}

/// Parses `NAMESPACE/NAME`.
pub(super) fn default_organization(text: &str) -> Result<ResolvedOrganizationRef, String> {
    match text.split_once('/') {
        Some((namespace, name)) if is_namespace_name(namespace) && is_object_name(name) => {
            Ok(ResolvedOrganizationRef { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => {
            Err("the value must be the namespace and the name of a SpiceOrganization, such as team-a/default"
                .to_owned())
        }
    }
}

/// Parses the name of a namespace.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let error = || "the value must be the name of a namespace, such as team-a".to_owned();
    is_namespace_name(text).then(|| text.to_owned()).ok_or_else(error)
}

/// Parses the name of a Lease or a Secret.
pub(super) fn object_name(text: &str) -> Result<String, String> {
    let error = || "the value must be the name of a Kubernetes object, such as my-name".to_owned();
    is_object_name(text).then(|| text.to_owned()).ok_or_else(error)
}

/// Returns true if Kubernetes accepts `text` as the name of a namespace (RFC 1123 label).
fn is_namespace_name(text: &str) -> bool {
    text.len() <= 63 && is_label(text)
}

/// Returns true if Kubernetes accepts `text` as the name of an object (RFC 1123 subdomain).
fn is_object_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Returns true if `text` consists of `a-z`, `0-9` and `-`, and starts and ends with a letter or a digit.
fn is_label(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().all(|byte| is_alphanumeric(byte) || byte == b'-')
        && text.bytes().next().is_some_and(is_alphanumeric)
        && text.bytes().last().is_some_and(is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_a_maximum() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for text in ["", "10", "soon", "-1s"] {
            assert!(duration(text).unwrap_err().contains("such as 90s"), "{text}");
        }
        assert!(duration("87601h").unwrap_err().contains("at most"));
        assert!(positive_duration("0s").unwrap_err().contains("above zero"));
    }

    #[test]
    fn a_default_organization_is_a_namespace_and_a_name() {
        let parsed = default_organization("team-a/acme.prod").unwrap();
        assert_eq!((parsed.namespace.as_str(), parsed.name.as_str()), ("team-a", "acme.prod"));
        let long = format!("{}/default", "a".repeat(64));
        for text in
            ["", "default", "/default", "team-a/", "team-a/a/b", "Team/a", "team.a/a", "-a/b", "a/b-", "a/b..c", &long]
        {
            let message = default_organization(text).unwrap_err();
            assert!(message.contains("team-a/default"), "{text}: {message}");
        }
    }
}
