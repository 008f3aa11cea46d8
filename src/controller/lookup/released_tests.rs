//! A released object counts as deleted in every look-up, even if another finalizer keeps the object.

use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{apps, organizations, secrets};
use crate::api::{FINALIZER, SpiceApp, SpiceOrganization, SpiceSecret};
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::{app_keys, organization_keys};
use crate::controller::state::kinds::KindFeeds;
use crate::controller::state::test_context::test_context;

/// Finalizers of a terminating object, and whether the object still represents something.
const CASES: [(&[&str], bool); 2] = [(&[FINALIZER, "example.com/backup"], true), (&["example.com/backup"], false)];

fn object<K: DeserializeOwned>(name: &str, deleted_with: Option<&[&str]>, spec: &Value, status: &Value) -> K {
    let kind = std::any::type_name::<K>().rsplit("::").next().unwrap();
    let metadata = json!({
        "name": name, "namespace": "team", "uid": format!("{kind}-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": deleted_with.unwrap_or(&[FINALIZER]),
        "deletionTimestamp": deleted_with.map(|_| "2026-01-02T00:00:00Z"),
    });
    serde_json::from_value(json!({
        "apiVersion": "cloud.spice.ai/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status,
    }))
    .unwrap()
}

/// Adds a SpiceApp to the cache and the index.
fn add_app(context: &Context, feeds: &mut KindFeeds, app: SpiceApp) {
    let app = DeserializeGuard(Ok(app));
    context.apps_by.set("team", &app.name_any(), app_keys(&app));
    feeds.apps.writer.apply_watcher_event(&Event::Apply(app));
}

fn organization(deleted_with: Option<&[&str]>) -> SpiceOrganization {
    let credentials = json!({ "personalAccessToken": { "secretRef": { "name": "credential" } } });
    let spec = json!({ "endpoint": "https://api.example", "credentials": credentials });
    let status = json!({ "observedGeneration": 1, "endpoint": "https://api.example" });
    object("default", deleted_with, &spec, &status)
}

fn add_organization(context: &Context, feeds: &mut KindFeeds, deleted_with: Option<&[&str]>) {
    let found = DeserializeGuard(Ok(organization(deleted_with)));
    context.organizations_by.set("team", &found.name_any(), organization_keys(&found));
    feeds.organizations.writer.apply_watcher_event(&Event::Apply(found));
}

/// A SpiceApp for the remote name `shared`.
fn app(name: &str, deleted_with: Option<&[&str]>) -> SpiceApp {
    let status = json!({ "observedGeneration": 1, "id": 7, "incarnation": "c-1" });
    object(name, deleted_with, &json!({ "name": "shared" }), &status)
}

#[tokio::test]
async fn a_released_app_competes_for_no_name_and_counts_in_no_organization() {
    for (finalizers, counts) in CASES {
        let (context, mut feeds) = test_context(|_| Err(404));
        add_organization(&context, &mut feeds, None);
        add_app(&context, &mut feeds, app("old", Some(finalizers)));
        let (organization, successor) = (organization(None), app("new", None));
        let competing: Vec<_> =
            apps::competing_apps(&context, &successor).into_iter().map(|other| other.name).collect();
        let names: &[&str] = if counts { &["old"] } else { &[] };
        assert_eq!(competing, names);
        let recorded = apps::recorded_apps(&context, &successor, &Arc::default());
        assert!(!recorded.all.contains(&7), "the object is being deleted");
        assert_eq!(organizations::count_apps(&context, &organization), i64::from(counts));
        assert_eq!(organizations::dependents(&context, &organization).is_empty(), !counts);
        assert_eq!(context.kinds.apps.get("team", "old").is_some(), counts);
    }
}

#[tokio::test]
async fn a_released_organization_does_not_exist_for_its_apps() {
    for (finalizers, exists) in CASES {
        let (context, mut feeds) = test_context(|_| Err(404));
        add_organization(&context, &mut feeds, Some(finalizers));
        assert_eq!(organizations::organization_of(&context, &app("my-app", None)).is_some(), exists);
        let secret: kube::core::PartialObjectMeta<_> =
            serde_json::from_value(json!({ "metadata": { "name": "credential", "namespace": "team" } })).unwrap();
        assert_eq!(organizations::organizations_using(&context, &secret).len(), usize::from(exists));
    }
}

/// Adds a SpiceSecret of the SpiceApp `my-app` to the cache and the indexes.
fn add_secret(context: &Context, feeds: &mut KindFeeds, secret: &SpiceSecret) {
    context.secrets_by_app.set("team", &secret.name_any(), Some(secret.app_name()));
    context.secret_names.set(secret);
    feeds.secrets.writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(secret.clone()))));
}

#[tokio::test]
async fn a_released_secret_owns_no_name_blocks_no_app_and_requests_no_interval() {
    let spec = |interval: &str| {
        let reference = json!({ "name": "source", "items": [{ "key": "key", "name": "TOKEN" }] });
        json!({ "appRef": { "name": "my-app" }, "secretRef": reference, "interval": interval })
    };
    let status = json!({ "observedGeneration": 1, "appId": 7, "secrets": [{ "name": "TOKEN" }] });
    for (finalizers, counts) in CASES {
        let (context, mut feeds) = test_context(|_| Err(404));
        add_secret(&context, &mut feeds, &object("old", Some(finalizers), &spec("1m"), &status));
        let successor: SpiceSecret = object("new", None, &spec("1h"), &json!({ "observedGeneration": -1 }));
        add_secret(&context, &mut feeds, &successor);
        assert_eq!(secrets::siblings(&context, &successor).len(), usize::from(counts));
        let parent: SpiceApp = object("my-app", None, &json!({}), &json!({ "observedGeneration": 1 }));
        let observed = secrets::observe(&context, &parent);
        assert_eq!(observed.terminating.len(), usize::from(counts));
        assert_eq!(
            (observed.remaining.as_slice(), observed.managed.len()),
            (&["new".to_owned()][..], usize::from(counts))
        );
        let minutes = if counts { 1 } else { 60 };
        assert_eq!(observed.interval.map(|interval| interval.as_secs()), Some(minutes * 60));
    }
}
