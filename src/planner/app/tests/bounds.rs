//! Texts of the API in status have a bound.

use super::*;

/// Every string of a value.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => {
            fields.iter().flat_map(|(key, value)| strings(value).into_iter().chain([&**key])).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_text_in_the_status_of_an_app_has_a_bound() {
    let long = "x".repeat(100_000);
    for (field, value) in [
        ("endpoint", json!(long)),
        ("region", json!(long)),
        ("description", json!(long)),
        ("visibility", json!(long)),
        ("image_tag", json!(long)),
        ("tags", json!({ OWNER_TAG: long })),
        ("tags", json!({ OWNER_TAG: "theirs", INCARNATION_TAG: long })),
        ("tags", json!({ long.clone(): long })),
    ] {
        for drift_policy in ["Report", "Correct"] {
            let mut fixture = Fixture::settled(json!({
                "driftPolicy": drift_policy, "description": "own", "runtime": { "imageTag": "1" }, "tags": { "a": "b" },
            }));
            fixture.remote.apps.get_mut(&101).unwrap().insert(field.to_owned(), value.clone());
            fixture.remote.fault = Some((ApiError::local(ErrorKind::Forbidden, long.clone()), false));
            fixture.reconcile();
            let status = json!(fixture.status());
            for text in strings(&status) {
                assert!(text.len() <= 4096, "{field}, {drift_policy}: a text of {} bytes", text.len());
            }
        }
    }
}
