//! The rulebook holds on every status of every test (invariant 8), as each `TestEnv` has a checker. That one can fail.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceApp;

use crate::{
    program,
    support::{control_plane::User, status_checker::StatusChecker, test_env::TestEnv},
};

#[tokio::test]
async fn a_status_that_breaks_a_rule_is_seen_also_when_another_follows_it_at_once() {
    let ready = |status: &str| {
        json!({ "type": "Ready", "status": status, "reason": "Succeeded", "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let with = |conditions: Value| json!({ "status": { "observedGeneration": 1, "conditions": conditions } });
    let [mut odd, mut stalled, mut early] = [ready("True"), ready("True"), ready("True")];
    odd["reason"] = json!("Because");
    stalled["type"] = json!("Stalled");
    early["observedGeneration"] = json!(2);
    for (manager, status, expected) in [
        ("spice-cloud-operator", with(json!([ready("True")])), None),
        ("spice-cloud-operator", with(json!([])), Some("there is exactly one Ready")),
        ("spice-cloud-operator", with(json!([ready("True"), stalled])), Some("Ready goes with neither")),
        ("spice-cloud-operator", with(json!([early])), Some("the observed generation")),
        ("spice-cloud-operator", with(json!([odd])), Some("the reason Because")),
        ("a-person", with(json!([])), None),
    ] {
        let env = TestEnv::new("checker", program()).await;
        let checker = StatusChecker::start(&env.cluster.kubeconfig(User::Admin), &env.namespace).unwrap();
        env.app("my-app", json!({})).await;
        let (api, params) =
            (env.api::<SpiceApp>(), PatchParams { field_manager: Some(manager.into()), ..<_>::default() });
        api.patch_status("my-app", &params, &Patch::Merge(&status)).await.unwrap();
        api.patch_status("my-app", &params, &Patch::Merge(with(json!([ready("True")])))).await.unwrap();
        match (checker.end(), expected) {
            (Ok(judged), None) => assert!(judged.len() >= 2, "the app and its status: {judged:?}"),
            (Err(error), Some(rule)) => assert!(error.contains(rule), "{error}"),
            (end, _) => panic!("{status} by {manager}: {end:?}"),
        }
        env.forget_statuses();
    }
}
