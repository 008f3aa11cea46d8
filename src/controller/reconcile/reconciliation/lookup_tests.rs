//! The look-ups of one reconcile do not depend on the number of objects.

use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;
use crate::api::{ResolvedOrganizationRef, SpiceApp, SpiceOrganization, SpiceSecret};
use crate::controller::cluster::watch::EventHandler;
use crate::controller::lookup::apps::recorded_apps;
use crate::controller::state::index_keys::{app_keys, organization_keys};
use crate::controller::state::test_context::test_context;
use crate::controller::triggers::config_map::ConfigMapEventHandler;
use crate::controller::triggers::namespace::NamespaceEventHandler;
use crate::controller::triggers::secret::SecretEventHandler;
use crate::controller::triggers::spice_app::SpiceAppEventHandler;
use crate::controller::triggers::spice_organization::SpiceOrganizationEventHandler;
use crate::controller::triggers::spice_secret::SpiceSecretEventHandler;
use crate::visits::Visits;

const APPS: [usize; 2] = [100, 10_000];

fn object<K: Reconciler>(name: &str, spec: &serde_json::Value, status: &serde_json::Value) -> DeserializeGuard<K> {
    let metadata = json!({
        "name": name, "namespace": "team", "uid": format!("{}-{name}", K::NAME), "resourceVersion": "1", "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER],
    });
    let object = json!({
        "apiVersion": "cloud.spice.ai/v1alpha1", "kind": K::NAME, "metadata": metadata, "spec": spec, "status": status,
    });
    DeserializeGuard(Ok(serde_json::from_value(object).unwrap()))
}

/// Look-ups of one reconcile of the SpiceOrganization, a SpiceApp and a SpiceSecret, and of one app that is missing from
/// the list, and of one change of each watched kind, among this number of apps that have one SpiceSecret each. The apps
/// record their organization, or use it by default.
async fn lookups(apps: usize, by_default: bool) -> [usize; 5] {
    let (mut context, mut feeds) = test_context(|_| Err(404));
    let reference = ResolvedOrganizationRef { namespace: "team".to_owned(), name: "default".to_owned() };
    context.settings.default_organization = by_default.then(|| reference.clone());
    let credentials = json!({ "personalAccessToken": { "secretRef": { "name": "credential" } } });
    let ready = json!([{
        "type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "observedGeneration": 2,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let organization = object::<SpiceOrganization>(
        "default",
        &json!({ "endpoint": "https://api.example", "credentials": credentials }),
        &json!({ "observedGeneration": 2, "endpoint": "https://api.example", "conditions": ready }),
    );
    context.organizations_by.set("team", "default", organization_keys(&organization));
    feeds.organizations.writer.apply_watcher_event(&Event::Apply(organization.clone()));
    let mut last = None;
    for number in 0..apps {
        let name = format!("app-{number}");
        let reference = (!by_default).then_some(&reference);
        let status = json!({
            "observedGeneration": 1, "id": number + 1, "incarnation": "c-1", "organizationRef": reference,
            "organizationBinding": "https://api.example", "tagsUnsupported": true,
        });
        let app = object::<SpiceApp>(&name, &json!({}), &status);
        context.apps_by.set("team", &name, app_keys(&app));
        feeds.apps.writer.apply_watcher_event(&Event::Apply(app.clone()));
        let source = json!({ "name": name, "items": [{ "key": "key" }] });
        let spec = json!({ "appRef": { "name": name }, "secretRef": source });
        let secret = object::<SpiceSecret>(&name, &spec, &json!({ "observedGeneration": -1 }));
        let Ok(decoded) = &secret.0 else { unreachable!("the object is decoded") };
        context.secrets_by_app.set("team", &name, Some(&name));
        context.secrets_by_source.set("team", &name, Some(&name));
        context.secret_names.set(decoded);
        feeds.secrets.writer.apply_watcher_event(&Event::Apply(secret.clone()));
        last = Some((app, secret));
    }
    let ((app, secret), context) = (last.unwrap(), Arc::new(context));
    let missing = app.0.as_ref().unwrap().clone();
    let (organization, app, secret) = (Arc::new(organization), Arc::new(app), Arc::new(secret));
    reconcile(Arc::clone(&organization), Arc::clone(&context)).await;
    let of_organization = take_visits(&context);
    reconcile(Arc::clone(&app), Arc::clone(&context)).await;
    let of_app = take_visits(&context);
    reconcile(Arc::clone(&secret), Arc::clone(&context)).await;
    let of_secret = take_visits(&context);
    let of_changes = change_each(&context, &organization, &app, &secret);
    // The first app that is missing from a list compares all recorded apps with the list, for all missing apps.
    let list = Arc::default();
    let first = recorded_apps(&context, &missing, &list);
    assert_eq!((first.all.len(), first.missing.len()), (apps, apps));
    assert!(take_visits(&context) >= apps);
    assert!(Arc::ptr_eq(&recorded_apps(&context, &missing, &list), &first));
    [of_organization, of_app, of_secret, of_changes, take_visits(&context)]
}

/// Look-ups of one change of each watched kind. A change of a SpiceOrganization or a Namespace can concern all of its
/// apps. The changes of these two kinds here concern no app.
fn change_each(
    context: &Arc<Context>,
    organization: &DeserializeGuard<SpiceOrganization>,
    app: &DeserializeGuard<SpiceApp>,
    secret: &DeserializeGuard<SpiceSecret>,
) -> usize {
    let metadata = |name: &str| json!({ "metadata": { "namespace": "team", "name": name, "uid": name } });
    let mut organizations = SpiceOrganizationEventHandler::new(Arc::clone(context));
    organizations.on_change(organization);
    assert!(take_visits(context) > 0, "the first observation of the organization visits its apps");
    organizations.on_change(organization);
    SpiceAppEventHandler::new(Arc::clone(context)).on_change(app);
    SpiceSecretEventHandler::new(Arc::clone(context)).on_change(secret);
    let mut secrets = SecretEventHandler(Arc::clone(context));
    for name in ["credential", "app-0"] {
        secrets.on_change(&serde_json::from_value(metadata(name)).unwrap());
    }
    let config_map = serde_json::from_value(metadata("app-0")).unwrap();
    ConfigMapEventHandler(Arc::clone(context)).on_change(&config_map);
    let namespace = serde_json::from_value(json!({ "metadata": { "name": "other", "uid": "other" } })).unwrap();
    NamespaceEventHandler::new(Arc::clone(context)).on_change(&namespace);
    take_visits(context)
}

/// Objects that look-ups have visited since the last call.
fn take_visits(context: &Context) -> usize {
    let Context { kinds, apps_by, organizations_by, secrets_by_app, secrets_by_source, secret_names, .. } = context;
    let of_kinds = [&kinds.organizations.visits, &kinds.apps.visits, &kinds.secrets.visits];
    let of_indexes = [
        &apps_by.visits,
        &organizations_by.visits,
        &secrets_by_app.visits,
        &secrets_by_source.visits,
        &secret_names.visits,
    ];
    of_kinds.into_iter().chain(of_indexes).map(Visits::take).sum()
}

#[tokio::test]
async fn the_lookups_of_a_reconcile_do_not_grow_with_the_number_of_objects() {
    for by_default in [false, true] {
        let (few, many) = (lookups(APPS[0], by_default).await, lookups(APPS[1], by_default).await);
        assert_eq!(few, many);
        assert!(few.iter().all(|visits| *visits > 0), "{few:?}");
    }
}
