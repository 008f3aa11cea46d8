//! The status checker of `TestEnv` checks the condition invariants (invariant 8) of every status in every test. This
//! test shows that the checker detects violations.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceApp;

use crate::support::{control_plane::User, status_checker::StatusChecker, test_env::TestEnv};

#[tokio::test]
async fn status_checker_detects_a_violation_in_a_short_lived_status() {
    let ready = |status: &str| {
        json!({ "type": "Ready", "status": status, "reason": "Succeeded", "message": "In sync", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let status_with = |conditions: Value| json!({ "status": { "observedGeneration": 1, "conditions": conditions } });
    let [mut unknown_reason, mut stalled, mut wrong_generation, mut empty] = [(); 4].map(|()| ready("True"));
    unknown_reason["reason"] = json!("Because");
    stalled["type"] = json!("Stalled");
    wrong_generation["observedGeneration"] = json!(2);
    empty["message"] = json!("");
    for (manager, status, expected) in [
        ("spice-cloud-operator", status_with(json!([ready("True")])), None),
        ("spice-cloud-operator", status_with(json!([])), Some("exactly one Ready")),
        ("spice-cloud-operator", status_with(json!([ready("True"), stalled])), Some("Ready=True excludes Reconciling")),
        ("spice-cloud-operator", status_with(json!([wrong_generation])), Some("the observed generation")),
        ("spice-cloud-operator", status_with(json!([unknown_reason])), Some("the reason Because")),
        ("spice-cloud-operator", status_with(json!([empty])), Some("every condition has a message")),
        ("other-manager", status_with(json!([])), None),
    ] {
        let env = TestEnv::new("checker").await;
        let checker = StatusChecker::start(&env.cluster.kubeconfig(User::Admin), &env.namespace).unwrap();
        env.apply_app("my-app", json!({})).await;
        let (api, params) =
            (env.api::<SpiceApp>(), PatchParams { field_manager: Some(manager.into()), ..<_>::default() });
        api.patch_status("my-app", &params, &Patch::Merge(&status)).await.unwrap();
        api.patch_status("my-app", &params, &Patch::Merge(status_with(json!([ready("True")])))).await.unwrap();
        match (checker.end(), expected) {
            (Ok(versions), None) => assert!(versions.len() >= 2, "the app and its status: {versions:?}"),
            (Err(error), Some(rule)) => assert!(error.contains(rule), "{error}"),
            (end, _) => panic!("{status} by {manager}: {end:?}"),
        }
        env.skip_status_check();
    }
}
