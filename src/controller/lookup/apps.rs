//! SpiceApps: other objects for the same app name, and the view of an app that its SpiceSecrets observe.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::core::DeserializeGuard;

use super::organizations::{self, reference_to};
use super::secrets::shortest_interval;
use crate::api::{ConditionType, ManagementPolicy, ResolvedOrganizationRef, SpiceApp};
use crate::controller::cluster::sync::lock;
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::{AppKey, OrganizationKey};
use crate::controller::state::recorded_apps::{AppOrganization, Comparison};
use crate::management::types::ListedApps;
use crate::planner::{CompetingApp, ParentApp, RecordedApps, find_condition};

/// The organization of a SpiceApp. A SpiceApp that may not use the organization has no binding and competes for no name
/// of another namespace, unless its status records an app.
fn app_organization(context: &Context, app: &SpiceApp) -> AppOrganization {
    let binding = || {
        let organization = organizations::organization_of(context, app)?.ok()?;
        let view = organizations::view_for_app(context, &organization, app);
        let counts = view.not_allowed.is_none() || app.status.as_ref().is_some_and(|status| status.id.is_some());
        view.binding.filter(|_| counts)
    };
    let namespace = app.namespace().unwrap_or_default();
    AppOrganization { reference: organizations::reference(context, app), namespace, binding: binding() }
}

/// Other SpiceApps for the same app name of the same organization.
pub(in crate::controller) fn competing_apps(context: &Context, app: &SpiceApp) -> Vec<CompetingApp> {
    let others = organizations::apps_with(context, &AppKey::RemoteName(app.remote_name().to_ascii_lowercase()));
    let own = app_organization(context, app);
    let competes = |other: &&SpiceApp| {
        other.uid() != app.uid() && has_same_name(other, app) && own.is_same(&app_organization(context, other))
    };
    let competing = |other: &SpiceApp| CompetingApp {
        without_id: other.status.as_ref().is_none_or(|status| status.id.is_none()),
        created: other.metadata.creation_timestamp.as_ref().map(|time| time.0),
        uid: other.uid().unwrap_or_default(),
        namespace: other.namespace().unwrap_or_default(),
        name: other.name_any(),
    };
    others.iter().filter_map(|other| other.0.as_ref().ok()).filter(competes).map(competing).collect()
}

/// The recorded apps of the organization, compared with a complete list. Computed once for each list: all apps that are
/// missing from a list need the same numbers. A change of a SpiceApp or SpiceOrganization requires a new list.
pub(in crate::controller) fn recorded_apps(
    context: &Context,
    app: &SpiceApp,
    list: &Arc<ListedApps>,
) -> Arc<RecordedApps> {
    let organization = app_organization(context, app);
    let mut comparisons = lock(&context.recorded_apps);
    let known = comparisons.get(&organization.reference);
    if let Some(result) = known.and_then(|known| known.result_for(&organization, list)) {
        return result;
    }
    let result = Arc::new(RecordedApps::new(recorded_ids(context, &organization), list));
    let comparison = Comparison::new(organization.clone(), list, Arc::clone(&result));
    comparisons.insert(organization.reference, comparison);
    result
}

/// IDs that the SpiceApps of an organization have recorded, without terminating ones. Visits every app of the
/// organization. Every app with a recorded ID counts, also one that may not use the organization any more.
fn recorded_ids(context: &Context, organization: &AppOrganization) -> HashSet<i64> {
    let mut references: HashSet<ResolvedOrganizationRef> = [organization.reference.clone()].into();
    if let Some(binding) = &organization.binding {
        let bound = organizations::organizations_with(context, &OrganizationKey::Binding(binding.clone()));
        references.extend(bound.iter().filter_map(|one| Some(reference_to(one.0.as_ref().ok()?))));
    }
    let recorded = |app: &SpiceApp| {
        let status = app.status.as_ref().filter(|status| status.incarnation.is_some())?;
        let counts = app.metadata.deletion_timestamp.is_none() && organization.is_same(&app_organization(context, app));
        status.id.filter(|_| counts)
    };
    let apps = references.iter().flat_map(|reference| organizations::apps_of(context, reference));
    apps.filter_map(|app| recorded(app.0.as_ref().ok()?)).collect()
}

fn has_same_name(one: &SpiceApp, other: &SpiceApp) -> bool {
    one.remote_name().eq_ignore_ascii_case(other.remote_name())
}

/// A SpiceApp as its SpiceSecrets observe it.
pub(in crate::controller) fn parent_app(context: &Context, app: &SpiceApp) -> ParentApp {
    let status = app.status.clone().unwrap_or_default();
    let is_owned = status.incarnation.is_some() && app.spec.management_policy != Some(ManagementPolicy::Observe);
    let reference = organizations::reference(context, app);
    ParentApp {
        uid: app.uid().unwrap_or_default(),
        interval: shortest_interval(context, app),
        name: app.remote_name().to_owned(),
        id: status.id.filter(|_| is_owned),
        created_at: status.created_at.as_ref().map(|time| time.0),
        reactivated_at: status.reactivated_at.as_ref().map(|time| time.0),
        tags_unsupported: status.tags_unsupported == Some(true),
        unready: unready(app),
        organization_binding: status.organization_binding,
        incarnation: status.incarnation,
        organization_name: reference.display_in(app.metadata.namespace.as_deref()),
        organization: organizations::observe(context, app, &reference),
    }
}

/// Why secrets of an app must not be written now.
fn unready(app: &SpiceApp) -> Option<String> {
    if app.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".to_owned());
    }
    if app.spec.management_policy == Some(ManagementPolicy::Observe) {
        return Some("has managementPolicy: Observe; secrets are not written".to_owned());
    }
    match app.status.as_ref().and_then(|status| find_condition(&status.core.conditions, ConditionType::Ready)) {
        None => Some("has not been reconciled yet".to_owned()),
        Some(ready) if ready.status != "True" => Some(format!("is not ready: {}", ready.reason)),
        Some(_) => None,
    }
}

/// Fields of a SpiceApp on which its SpiceSecrets depend.
pub(in crate::controller) fn fields_for_secrets(app: &DeserializeGuard<SpiceApp>) -> impl Hash + use<> {
    let fields = |app: &SpiceApp| {
        let status = app.status.clone().unwrap_or_default();
        let own = (status.id, status.incarnation, status.tags_unsupported, status.organization_binding);
        (own, unready(app), app.spec.interval.map(Duration::from))
    };
    app.0.as_ref().ok().map(fields)
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectMeta, error_boundary::InvalidObject};
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::controller::cluster::predicates::ChangeFilter;
    use crate::controller::state::index_keys::{app_keys, organization_keys};
    use crate::controller::state::test_context::test_context;
    use crate::planner::{Observed, OrganizationView};

    #[test]
    fn the_secrets_of_an_app_do_not_depend_on_its_message() {
        let app = |reason: &str, message: &str| {
            let ready = json!({
                "type": "Ready", "status": "False", "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            let mut app = SpiceApp::new("my-app", Default::default());
            app.status = serde_json::from_value(json!({ "conditions": [ready] })).unwrap();
            app
        };
        let mut changes = ChangeFilter::default();
        let mut has_changed = |app: SpiceApp| {
            let shown = unready(&app);
            (shown.unwrap(), changes.has_changed(None, fields_for_secrets(&DeserializeGuard(Ok(app)))))
        };
        let unavailable = "is not ready: RemoteUnavailable".to_owned();
        assert_eq!(has_changed(app("RemoteUnavailable", "request 1")), (unavailable.clone(), true));
        assert_eq!(has_changed(app("RemoteUnavailable", "request 2")), (unavailable, false));
        assert!(has_changed(app("RateLimited", "request 2")).1);
    }

    #[tokio::test]
    async fn a_secret_observes_an_organization_as_its_app_does() {
        let (context, mut feeds) = test_context(|_| Err(404));
        let mut app = SpiceApp::new("my-app", Default::default());
        app.metadata.namespace = Some("team".to_owned());
        app.spec.organization_ref = serde_json::from_value(json!({ "namespace": "home", "name": "default" })).unwrap();
        let metadata = ObjectMeta {
            name: Some("default".to_owned()),
            namespace: Some("home".to_owned()),
            ..ObjectMeta::default()
        };
        let invalid = InvalidObject { error: "unknown variant `Some`".to_owned(), metadata };
        feeds.organizations.writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Err(invalid))));
        let parent = parent_app(&context, &app);
        let message = "the object cannot be decoded: unknown variant `Some`".to_owned();
        let view = OrganizationView { unusable: Some(message), ..OrganizationView::default() };
        assert_eq!((parent.organization, parent.organization_name.as_str()), (Observed::Present(view), "home/default"));
    }

    /// Adds an object to its cache and to its index.
    macro_rules! add {
        ($context:ident, $feeds:ident, $kind:ident, $index:ident, $keys:ident, $object:expr) => {
            let object = DeserializeGuard(Ok(serde_json::from_value($object).unwrap()));
            $context.$index.set(&object.namespace().unwrap(), &object.name_any(), $keys(&object));
            $feeds.$kind.writer.apply_watcher_event(&Event::Apply(object));
        };
    }

    #[tokio::test]
    async fn apps_of_one_organization_compete_and_count_together_also_over_two_objects() {
        let (context, mut feeds) = test_context(|_| Err(404));
        // Namespace of a SpiceOrganization, ID of its organization, and ID of its app.
        for (namespace, organization, id) in [("one", Some("1"), 7), ("two", Some("1"), 8), ("three", Some("2"), 9)] {
            let metadata = json!({ "name": "default", "namespace": namespace, "uid": namespace });
            let status = json!({
                "observedGeneration": 1, "endpoint": "https://api.example",
                "organization": organization.map(|id| json!({ "id": id })),
            });
            let spec = json!({ "endpoint": "https://api.example", "credentials": {} });
            let object = json!({
                "apiVersion": "cloud.spice.ai/v1alpha1", "kind": "SpiceOrganization", "metadata": metadata, "spec": spec,
                "status": status,
            });
            add!(context, feeds, organizations, organizations_by, organization_keys, object);
            let metadata = json!({ "name": "my-app", "namespace": namespace, "uid": format!("{namespace}-app") });
            let object = json!({
                "apiVersion": "cloud.spice.ai/v1alpha1", "kind": "SpiceApp", "metadata": metadata, "spec": {},
                "status": { "observedGeneration": 1, "id": id, "incarnation": "c-1" },
            });
            add!(context, feeds, apps, apps_by, app_keys, object);
        }
        let app = |namespace: &str| context.kinds.apps.get(namespace, "my-app").unwrap().0.as_ref().unwrap().clone();
        let listed = serde_json::from_value(json!({ "id": 8, "name": "listed" })).unwrap();
        let list = Arc::new(ListedApps::from(vec![listed]));
        for (namespace, others, all, missing) in
            [("one", &["two"][..], &[7, 8][..], &[7][..]), ("two", &["one"], &[7, 8], &[7]), ("three", &[], &[9], &[9])]
        {
            let competing: Vec<_> =
                competing_apps(&context, &app(namespace)).into_iter().map(|other| other.namespace).collect();
            assert_eq!(competing, others, "{namespace}");
            let expected =
                RecordedApps { all: all.iter().copied().collect(), missing: missing.iter().copied().collect() };
            assert_eq!(*recorded_apps(&context, &app(namespace), &list), expected, "{namespace}");
        }
        // Another list is compared again.
        let next = Arc::new(ListedApps::default());
        assert_eq!(recorded_apps(&context, &app("one"), &next).missing, [7, 8].into());
    }

    #[tokio::test]
    async fn an_app_counts_in_the_default_organization_unless_its_namespace_has_its_own() {
        let (mut context, mut feeds) = test_context(|_| Err(404));
        let object = |kind: &str, namespace: &str, name: &str| {
            let metadata = json!({ "name": name, "namespace": namespace, "uid": format!("{kind}-{namespace}-{name}") });
            let spec = if kind == "SpiceApp" {
                json!({})
            } else {
                json!({ "endpoint": "https://api.example", "credentials": {} })
            };
            json!({ "apiVersion": "cloud.spice.ai/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec })
        };
        for (namespace, name) in [("shared", "all"), ("shared", "default"), ("own", "default")] {
            let organization = object("SpiceOrganization", namespace, name);
            add!(context, feeds, organizations, organizations_by, organization_keys, organization);
        }
        for (namespace, name) in [("a", "1"), ("a", "2"), ("b", "1"), ("own", "1"), ("own", "2"), ("shared", "1")] {
            add!(context, feeds, apps, apps_by, app_keys, object("SpiceApp", namespace, name));
        }
        let organization = |namespace: &str, name: &str| {
            context.kinds.organizations.get(namespace, name).unwrap().0.as_ref().unwrap().clone()
        };
        let [all, default, own] = [("shared", "all"), ("shared", "default"), ("own", "default")]
            .map(|(namespace, name)| organization(namespace, name));
        for (chosen, expected) in [(&all, [3, 1, 2]), (&default, [0, 4, 2])] {
            context.settings.default_organization = Some(reference_to(chosen));
            let counts = [&all, &default, &own].map(|one| organizations::count_apps(&context, one));
            assert_eq!(counts, expected, "{}", chosen.name_any());
        }
    }
}
