//! `spec.interval`: the time between two resyncs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Sentence for every text that is not an interval.
const ACCEPTED_FORM: &str = "interval must be a duration of 1s or more, such as 90s, 10m or 1h30m";

/// Maximum length of the text.
const MAX_LENGTH: usize = 32;

/// Rule of `spec.interval`. The pattern rejects a text that is not an interval before `duration()` converts the text,
/// because the error of `duration()` names no accepted form.
pub(super) fn interval_rule() -> Rule {
    let form = ["([0-9]{1,6}([.][0-9]{1,9})?h)?", "([0-9]{1,6}([.][0-9]{1,9})?m)?", "([0-9]{1,9}([.][0-9]{1,9})?s)?"];
    let is_interval = format!("self != '' && self.matches('^{}$')", form.concat());
    Rule::new(format!("{is_interval} && duration(self) >= duration('1s')")).message(ACCEPTED_FORM)
}

/// Time between two resyncs: hours, minutes and seconds in this order, such as `90s` or `1h30m`. At least 1 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(Duration);

impl From<Interval> for Duration {
    fn from(interval: Interval) -> Self {
        interval.0
    }
}

impl FromStr for Interval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let total = if text.len() <= MAX_LENGTH { parse(text) } else { None };
        total.filter(|total| *total >= Duration::from_secs(1)).map(Self).ok_or(ACCEPTED_FORM)
    }
}

/// The duration of a text in the accepted form.
fn parse(mut text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for (unit, seconds, max_digits) in [('h', 3600, 6), ('m', 60, 6), ('s', 1, 9)] {
        let Some((number, rest)) = text.split_once(unit) else { continue };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let (whole, nanos) = (digits(whole, max_digits)?, digits(fraction, 9)?);
        let nanos = nanos * 10_u64.pow(9 - u32::try_from(fraction.len()).ok()?);
        total = total.checked_add(Duration::from_secs(whole * seconds))?;
        total = total.checked_add(Duration::from_nanos(nanos * seconds))?;
        text = rest;
    }
    text.is_empty().then_some(total)
}

/// The value of 1 to `max` decimal digits.
fn digits(text: &str, max: usize) -> Option<u64> {
    let is_number = (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let (hours, seconds) = (seconds / 3600, seconds % 3600);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        match (seconds, nanos) {
            (0, 0) if hours > 0 => Ok(()),
            (seconds, 0) => write!(f, "{seconds}s"),
            (seconds, nanos) => write!(f, "{seconds}.{nanos:09}s"),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Interval".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": MAX_LENGTH })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::api::{SpiceApp, SpiceOrganization, SpiceSecret};

    #[test]
    fn only_the_accepted_form_is_an_interval() {
        for (text, expected) in [
            ("1s", Some(Duration::from_secs(1))),
            ("90s", Some(Duration::from_secs(90))),
            ("1h30m", Some(Duration::from_secs(5400))),
            ("1h0m0s", Some(Duration::from_secs(3600))),
            ("1.5h", Some(Duration::from_secs(5400))),
            ("1.25s", Some(Duration::from_millis(1250))),
            ("0m1.000000001s", Some(Duration::new(1, 1))),
            ("999999h999999m999999999s", Some(Duration::from_secs(999_999 * 3660 + 999_999_999))),
            ("", None),
            ("0s", None),
            ("0.999999999s", None),
            ("1d", None),
            ("10", None),
            ("s", None),
            ("-5m", None),
            ("+5m", None),
            ("1h-1m", None),
            ("1m1h", None),
            ("1s1s", None),
            ("1500ms", None),
            ("1.s", None),
            (".5h", None),
            ("1..5h", None),
            ("1.0000000000s", None),
            ("1e9s", None),
            ("1 h", None),
            ("1h ", None),
            ("1000000h", None),
            ("99999999999999999999s", None),
            ("\u{661}h", None),
            ("1hé", None),
        ] {
            assert_eq!(text.parse().ok().map(|Interval(duration)| duration), expected, "{text:?}");
        }
    }

    /// An object of each kind with a text in every field that a decoder converts.
    fn objects(text: &str) -> [Value; 3] {
        let condition =
            json!({ "type": "Ready", "status": "True", "reason": "X", "message": "", "lastTransitionTime": text });
        let metadata = json!({ "name": "x", "creationTimestamp": text, "deletionTimestamp": text });
        let status = json!({
            "conditions": [condition], "createdAt": text, "createIntent": { "id": "x", "name": "x", "at": text },
        });
        let kinds = ["SpiceOrganization", "SpiceApp", "SpiceSecret"];
        kinds.map(|kind| {
            let mut spec = json!({ "interval": text, "visibility": text, "driftPolicy": text });
            if kind == "SpiceOrganization" {
                spec["credentials"] = json!({});
            }
            json!({
                "apiVersion": "cloud.spice.ai/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status,
            })
        })
    }

    proptest! {
        #[test]
        fn every_text_is_an_interval_or_an_error(text in "(-?[0-9.e+_]{0,12}(h|m|s|ms|us|ns|d|µs)?){0,4}|\\PC{0,40}") {
            if let Ok(interval) = text.parse::<Interval>() {
                prop_assert!(Duration::from(interval) >= Duration::from_secs(1));
                prop_assert_eq!(interval.to_string().parse(), Ok(interval));
            }
        }

        #[test]
        fn no_text_in_an_object_makes_the_decoder_panic(
            text in "[+-]?[0-9]{1,6}-[0-9]{1,3}-[0-9]{1,3}[T ][0-9]{1,3}:[0-9]{1,3}:[0-9]{1,3}(\\.[0-9]{0,12})?(Z|[+-][0-9]{1,4}(:[0-9]{1,4})?)?|-?[0-9.]{1,9}[hms]-?[0-9.]{0,9}[hms]|\\PC{0,40}",
        ) {
            let [organization, app, secret] = objects(&text);
            let _ = serde_json::from_value::<SpiceOrganization>(organization);
            let _ = serde_json::from_value::<SpiceApp>(app);
            let _ = serde_json::from_value::<SpiceSecret>(secret);
        }
    }
}
