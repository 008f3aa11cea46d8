//! Texts of the API in status have a bound.

use super::*;
use crate::planner::model::check_status_length;

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
            check_status_length(&fixture.status(), &format!("{field}, {drift_policy}"));
        }
    }
}
