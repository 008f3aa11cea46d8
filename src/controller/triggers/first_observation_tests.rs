//! The first observation of an object, as after a restart, is no change.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::spice_app::SpiceAppEventHandler;
use super::spice_organization::SpiceOrganizationEventHandler;
use crate::api::{SpiceApp, SpiceOrganization, SpiceSecret};
use crate::controller::cluster::watch::EventHandler;
use crate::controller::state::test_context::test_context;

fn ready(status: &str) -> Value {
    let ready = json!({ "type": "Ready", "status": status, "reason": "Any", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" });
    json!({ "conditions": [ready] })
}

#[tokio::test]
async fn the_first_observation_of_a_dependency_forces_no_resync() {
    let (context, mut feeds) = test_context(|_| Err(404));
    let context = Arc::new(context);
    let mut secret = SpiceSecret::new("my-secret", Default::default());
    (secret.metadata.namespace, secret.metadata.uid) = (Some("team".to_owned()), Some("uid-1".to_owned()));
    secret.spec.app_ref = serde_json::from_value(json!({ "name": "my-app" })).unwrap();
    context.secrets_by_app.set("team", "my-secret", Some("my-app"));
    feeds.secrets.writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(secret.clone()))));
    let mut app = SpiceApp::new("my-app", Default::default());
    (app.metadata.namespace, app.metadata.uid) = (Some("team".to_owned()), Some("uid-2".to_owned()));
    let spec = json!({ "endpoint": "https://api.example", "credentials": {} });
    let mut organization = SpiceOrganization::new("default", serde_json::from_value(spec).unwrap());
    (organization.metadata.namespace, organization.metadata.uid) = (app.namespace(), Some("uid-3".to_owned()));
    let mut apps = SpiceAppEventHandler::new(Arc::clone(&context));
    let mut organizations = SpiceOrganizationEventHandler::new(Arc::clone(&context));
    let is_forced = || {
        let now = Timestamp::UNIX_EPOCH;
        context.kinds.secrets.object_states.load(&secret, now).0.force_resync
    };
    for (status, forced) in [("False", false), ("False", false), ("True", true)] {
        app.status = serde_json::from_value(ready(status)).unwrap();
        let cached = DeserializeGuard(Ok(app.clone()));
        apps.before_cache_update(&cached);
        feeds.apps.writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(app.clone()))));
        apps.on_change(&cached);
        assert_eq!(is_forced(), forced, "the app has Ready={status}");
    }
    for (suspend, forced) in [(false, false), (false, false), (true, true)] {
        organization.spec.suspend = Some(suspend);
        organizations.on_change(&DeserializeGuard(Ok(organization.clone())));
        assert_eq!(is_forced(), forced, "suspend: {suspend}");
    }
}
