//! The rules of every kind, on one case of each kind.

use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::api::{FINALIZER, SUSPEND, SpiceApp, SpiceOrganization, SpiceSecret};
use crate::planner::model::identity;
use crate::planner::{
    AppObserved, AppSecrets, Observed, OrganizationObserved, ParentApp, RuntimeState, SecretObserved, SiblingSecret,
    StepContext, Steps, Timings, display_object,
};

/// An object of one kind, and the observations that the rules need.
struct Case<K: ResourcePlanner> {
    /// Object with a valid spec and the finalizer, without remote state.
    object: Value,
    /// Change that makes the spec invalid.
    invalid: Value,
    /// Observations from the cache of an object that blocks nothing.
    cached: fn() -> K::Observed,
    /// Status with remote state, and observations of an object that blocks the deletion.
    blocked: fn() -> (Value, K::Observed),
    /// Message of the blocked deletion.
    blocked_message: &'static str,
}

fn object(name: &str, kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "cloud.spice.ai/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {
            "name": name, "namespace": "team", "uid": "uid", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER],
        },
    })
}

fn app() -> Case<SpiceApp> {
    Case {
        object: object("my-app", "SpiceApp", &json!({})),
        invalid: json!({ "spec": { "tags": { "1x": "a" } } }),
        cached: || AppObserved { secrets: Some(AppSecrets::default()), ..AppObserved::default() },
        blocked: || {
            let status = json!({ "observedGeneration": 1, "id": 101, "incarnation": "a-1" });
            let terminating = vec!["my-secret".to_owned(), "other".to_owned()];
            let secrets = AppSecrets { terminating, ..AppSecrets::default() };
            (status, AppObserved { secrets: Some(secrets), ..AppObserved::default() })
        },
        blocked_message: "Waiting for the deletion of SpiceSecret \"my-secret\" and 1 more",
    }
}

fn secret() -> Case<SpiceSecret> {
    let spec = |name: &str| {
        let reference = json!({ "name": "source", "items": [{ "key": "key", "name": name }] });
        json!({ "appRef": { "name": "my-app" }, "secretRef": reference })
    };
    Case {
        object: object("my-secret", "SpiceSecret", &spec("TOKEN")),
        invalid: json!({ "spec": spec("1st") }),
        cached: || SecretObserved { siblings: Some(Vec::new()), ..SecretObserved::default() },
        blocked: || {
            let entry = json!({ "name": "TOKEN", "digest": "v2:key:0", "incarnation": "c-1" });
            let status = json!({ "observedGeneration": 1, "appId": 7, "secrets": [entry] });
            let requested = ["TOKEN".to_owned()].into();
            let sibling = SiblingSecret { object: "other".into(), requested, ..SiblingSecret::default() };
            let app = ParentApp { id: Some(7), ..ParentApp::default() };
            let (app, siblings) = (Some(Observed::Present(app)), Some(vec![Arc::new(sibling)]));
            (status, SecretObserved { app, siblings, ..SecretObserved::default() })
        },
        blocked_message: "Waiting for SpiceSecret \"other\" to acknowledge the hand-over of name \"TOKEN\"",
    }
}

fn organization() -> Case<SpiceOrganization> {
    let client = json!({ "name": "client", "clientIdKey": "id", "clientSecretKey": "secret" });
    let spec = json!({
        "endpoint": "https://api.example", "credentials": { "oauthClient": { "secretRef": client } },
    });
    Case {
        object: object("default", "SpiceOrganization", &spec),
        invalid: json!({ "spec": { "endpoint": "ftp://api.example" } }),
        cached: || OrganizationObserved {
            apps: Some(0),
            dependents: Some(Vec::new()),
            ..OrganizationObserved::default()
        },
        blocked: || {
            let name = |namespace| display_object("SpiceApp", namespace, "my-app", "team");
            let dependents = Some(vec![name("team"), name("other")]);
            let credential = Some(Observed::Absent);
            let apps = Some(2);
            let observed = OrganizationObserved { apps, dependents, credential, ..OrganizationObserved::default() };
            (json!({ "observedGeneration": 1 }), observed)
        },
        blocked_message: "In use by SpiceApp \"my-app\", SpiceApp other/my-app",
    }
}

/// Adds the fields of `change` to the object, in depth.
fn with(mut object: Value, change: &Value) -> Value {
    match (&mut object, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (key, value) in changes {
                let field = fields.remove(key).unwrap_or_default();
                fields.insert(key.clone(), with(field, value));
            }
            object
        }
        _ => change.clone(),
    }
}

fn deleted() -> Value {
    json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:01:00Z" } })
}

fn without_finalizer() -> Value {
    json!({ "metadata": { "finalizers": [] } })
}

/// The two ways to suspend an object.
fn suspended() -> [Value; 2] {
    [json!({ "spec": { "suspend": true } }), json!({ "metadata": { "annotations": { SUSPEND: "true" } } })]
}

fn with_input<K: ResourcePlanner + DeserializeOwned, T>(
    object: &Value,
    observed: K::Observed,
    decide: impl FnOnce(&PlanInput<'_, K>) -> T,
) -> T {
    let object: K = serde_json::from_value(object.clone()).unwrap();
    let (identity, timings, now) = (identity(), Timings::default(), Timestamp::UNIX_EPOCH);
    let context = StepContext { identity: &identity, timings: &timings, fresh_id: "", now };
    let mut steps = Steps::new(object, RuntimeState::new(now), context);
    steps.observed = observed;
    steps.with_input(context, decide)
}

/// The first reads for an object.
fn reads<K: ResourcePlanner + DeserializeOwned>(object: &Value) -> Vec<K::Read> {
    with_input::<K, _>(object, K::Observed::default(), |input| required_reads(input))
}

/// The reads from the cache that every plan for an object needs.
fn cache_reads<K: ResourcePlanner + DeserializeOwned>(object: &Value) -> Vec<K::Read> {
    with_input::<K, _>(object, K::Observed::default(), |input| K::cache_reads(input))
}

/// The first Kubernetes write and the outcome, for an object that needs no further read. A remote write fails.
fn plan_of<K>(object: &Value, observed: K::Observed) -> (Option<KubernetesWrite>, Outcome)
where
    K: ResourcePlanner + DeserializeOwned,
{
    with_input::<K, _>(object, observed, |input| {
        let reads = required_reads(input);
        assert!(reads.is_empty(), "{} reads {reads:?} for {object}", K::NAME);
        let plan: Plan<K> = plan(input);
        assert_eq!(plan.remote, None, "{}: {object}", K::NAME);
        (plan.first, plan.outcome)
    })
}

/// Checks a rule, which is a function of a case, for every kind.
macro_rules! for_every_kind {
    ($rule:ident) => {
        $rule(&app());
        $rule(&secret());
        $rule(&organization());
    };
}

#[test]
fn a_new_object_gets_the_finalizer_before_any_remote_read() {
    fn rule<K: ResourcePlanner + DeserializeOwned>(case: &Case<K>) {
        let object = with(case.object.clone(), &without_finalizer());
        assert_eq!(reads::<K>(&object), cache_reads::<K>(&object), "{}", K::NAME);
        let planned = (Some(KubernetesWrite::AddFinalizer), Outcome::InProgress("Adding the finalizer".to_owned()));
        assert_eq!(plan_of::<K>(&object, (case.cached)()), planned, "{}", K::NAME);
    }
    for_every_kind!(rule);
}

#[test]
fn a_suspended_new_object_gets_no_finalizer_and_reads_nothing_remote() {
    fn rule<K: ResourcePlanner + DeserializeOwned>(case: &Case<K>) {
        for suspended in suspended() {
            let object = with(with(case.object.clone(), &without_finalizer()), &suspended);
            assert_eq!(reads::<K>(&object), cache_reads::<K>(&object), "{}: {suspended}", K::NAME);
            let planned = (None, Outcome::Suspended);
            assert_eq!(plan_of::<K>(&object, (case.cached)()), planned, "{}: {suspended}", K::NAME);
        }
    }
    for_every_kind!(rule);
}

#[test]
fn a_suspended_object_reads_nothing_remote_even_with_an_invalid_spec() {
    fn rule<K: ResourcePlanner + DeserializeOwned>(case: &Case<K>) {
        for change in [json!({}), case.invalid.clone()] {
            let object = with(with(case.object.clone(), &change), &suspended()[0]);
            assert_eq!(reads::<K>(&object), cache_reads::<K>(&object), "{}: {change}", K::NAME);
            let planned = (None, Outcome::Suspended);
            assert_eq!(plan_of::<K>(&object, (case.cached)()), planned, "{}: {change}", K::NAME);
        }
    }
    for_every_kind!(rule);
}

#[test]
fn an_invalid_spec_stalls_without_a_remote_read() {
    fn rule<K: ResourcePlanner + DeserializeOwned>(case: &Case<K>) {
        let object = with(case.object.clone(), &case.invalid);
        assert_eq!(reads::<K>(&object), cache_reads::<K>(&object), "{}", K::NAME);
        let (first, outcome) = plan_of::<K>(&object, (case.cached)());
        assert!(matches!(outcome, Outcome::Stalled(Reason::InvalidSpec, _)), "{}: {outcome:?}", K::NAME);
        assert_eq!(first, None, "{}", K::NAME);
    }
    for_every_kind!(rule);
}

#[test]
fn a_suspended_or_invalid_object_without_remote_state_is_released_like_any_other() {
    fn rule<K: ResourcePlanner + DeserializeOwned>(case: &Case<K>) {
        let [field, annotation] = suspended();
        for change in [json!({}), field, annotation, case.invalid.clone()] {
            let object = with(with(case.object.clone(), &change), &deleted());
            let planned = (Some(KubernetesWrite::RemoveFinalizer), Outcome::Finalized);
            assert_eq!(plan_of::<K>(&object, (case.cached)()), planned, "{}: {change}", K::NAME);
        }
    }
    for_every_kind!(rule);
}

#[test]
fn a_suspended_or_invalid_object_with_remote_state_is_deleted_with_the_same_reads_as_any_other() {
    fn rule<K: ResourcePlanner + DeserializeOwned>(case: &Case<K>) {
        let object = with(with(case.object.clone(), &deleted()), &json!({ "status": (case.blocked)().0 }));
        let expected = reads::<K>(&object);
        assert!(!expected.is_empty(), "{}", K::NAME);
        let [field, annotation] = suspended();
        for change in [field, annotation, case.invalid.clone()] {
            assert_eq!(reads::<K>(&with(object.clone(), &change)), expected, "{}: {change}", K::NAME);
        }
    }
    for_every_kind!(rule);
}

#[test]
fn a_terminating_object_without_the_finalizer_is_finalized_without_reads() {
    fn rule<K: ResourcePlanner + DeserializeOwned>(case: &Case<K>) {
        let object = with(with(case.object.clone(), &deleted()), &without_finalizer());
        let object = with(object, &json!({ "status": (case.blocked)().0 }));
        let planned = (None, Outcome::Finalized);
        assert_eq!(plan_of::<K>(&object, K::Observed::default()), planned, "{}", K::NAME);
    }
    for_every_kind!(rule);
}

#[test]
fn a_waiting_deletion_names_the_blocking_object_and_its_namespace_only_if_it_is_another_one() {
    fn rule<K: ResourcePlanner + DeserializeOwned>(case: &Case<K>) {
        let (status, observed) = (case.blocked)();
        // A suspended or invalid object shows the same message.
        let [field, annotation] = suspended();
        let object = with(with(case.object.clone(), &deleted()), &json!({ "status": status }));
        let (first, outcome) = plan_of::<K>(&object, observed);
        for change in [field, annotation, case.invalid.clone()] {
            let changed = plan_of::<K>(&with(object.clone(), &change), (case.blocked)().1);
            assert_eq!(changed, (first, outcome.clone()), "{}: {change}", K::NAME);
        }
        let (Outcome::Terminating(message) | Outcome::WaitingForDependency(_, message)) = outcome else {
            panic!("{}: {outcome:?}", K::NAME)
        };
        assert_eq!((first, message.as_str()), (None, case.blocked_message), "{}", K::NAME);
    }
    for_every_kind!(rule);
}

#[test]
fn the_status_of_a_released_object_names_the_finalizers_of_others_once() {
    fn rule<K>(case: &Case<K>)
    where
        K: ResourcePlanner<Status: serde::Serialize> + DeserializeOwned,
    {
        let kept_by = |finalizers: &[&str]| json!({ "metadata": { "finalizers": finalizers } });
        let report_of = |object: &Value| {
            let (status, events) =
                with_input::<K, _>(object, K::Observed::default(), |input| report(input, &Outcome::Finalized));
            (serde_json::to_value(status).unwrap(), events.into_iter().next().map(|event| event.message))
        };
        let (mut status, _) = (case.blocked)();
        status["conditions"] = json!([{
            "type": "Ready", "status": "True", "reason": "Succeeded", "message": "In sync",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        let deleted = with(with(case.object.clone(), &deleted()), &json!({ "status": status }));
        // Neither finalizer of the operator nor any other: Kubernetes is about to remove the object.
        let (unchanged, event) = report_of(&with(deleted.clone(), &kept_by(&[])));
        assert_eq!((&unchanged["conditions"], event), (&status["conditions"], None), "{}", K::NAME);
        let mut kept = with(deleted, &kept_by(&["example.com/backup"]));
        let message = "The operator released the object; waiting for other finalizers: example.com/backup";
        let (status, event) = report_of(&kept);
        let ready = &status["conditions"][0];
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Progressing")), "{}", K::NAME);
        assert_eq!((ready["message"].as_str(), event.as_deref()), (Some(message), Some(message)), "{}", K::NAME);
        // A later reconcile changes nothing, until the finalizers change. The result of the deletion stays.
        for result in ["The operator released the object", "The app is deleted remotely"] {
            let message = |finalizers: &str| format!("{result}; waiting for other finalizers: {finalizers}");
            let mut status = status.clone();
            for condition in status["conditions"].as_array_mut().unwrap() {
                condition["message"] = json!(message("example.com/backup"));
            }
            kept["status"] = status.clone();
            assert_eq!(report_of(&kept), (status, None), "{}", K::NAME);
            let (status, _) = report_of(&with(kept.clone(), &kept_by(&["a/1", "b/2", "c/3", "d/4"])));
            assert_eq!(status["conditions"][0]["message"], message("a/1, b/2, c/3 and 1 more"), "{}", K::NAME);
        }
    }
    for_every_kind!(rule);
}

#[test]
fn every_value_of_the_annotation_but_false_and_the_empty_one_suspends_and_the_message_names_the_annotation() {
    let by_annotation = "Reconciliation is suspended by annotation cloud.spice.ai/suspend";
    for (field, annotation, message) in [
        (None, None, None),
        (Some(false), None, None),
        (Some(true), None, Some("Reconciliation is suspended; ".to_owned())),
        (None, Some(""), None),
        (None, Some("false"), None),
        (None, Some("FALSE"), None),
        (None, Some(" false "), None),
        (Some(true), Some("false"), Some("Reconciliation is suspended; ".to_owned())),
        (None, Some("true"), Some(format!("{by_annotation}; "))),
        (Some(false), Some("true"), Some(format!("{by_annotation}; "))),
        (None, Some("True"), Some(format!("{by_annotation} with value \"True\"; "))),
        (None, Some("no"), Some(format!("{by_annotation} with value \"no\"; "))),
        (None, Some("1"), Some(format!("{by_annotation} with value \"1\"; "))),
        (None, Some("fasle, as a typing error of a person"), Some(format!("{by_annotation} with value \"fasle, "))),
    ] {
        let mut object = with(app().object, &json!({ "spec": { "suspend": field } }));
        if let Some(value) = annotation {
            object["metadata"]["annotations"] = json!({ SUSPEND: value });
        }
        with_input::<SpiceApp, _>(&object, AppObserved::default(), |input| {
            assert_eq!(input.suspended, message.is_some(), "{field:?} {annotation:?}");
            let (status, _) = report(input, &Outcome::Suspended);
            let shown = &find_condition(&status.core.conditions, ConditionType::Ready).unwrap().message;
            assert!(message.is_none_or(|message| shown.starts_with(&message)), "{field:?} {annotation:?}: {shown}");
        });
    }
}
