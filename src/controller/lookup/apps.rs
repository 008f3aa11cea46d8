//! SpiceApps: other objects for the same app name, and the view of an app that its SpiceSecrets observe.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

use kube::ResourceExt;
use kube::core::DeserializeGuard;

use super::organizations::{self, reference_to};
use super::secrets::shortest_interval;
use crate::api::{ConditionType, ManagementPolicy, ResolvedOrganizationRef, SpiceApp};
use crate::controller::cluster::cache::decoded;
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::AppKey;
use crate::planner::{CompetingApp, ParentApp, find_condition};

/// Other SpiceApps for the same app name of the same organization: those that use one SpiceOrganization, or two that are
/// bound to the same organization.
pub(in crate::controller) fn competing_apps(context: &Context, app: &SpiceApp) -> Vec<CompetingApp> {
    let others = organizations::apps_with(context, &AppKey::RemoteName(app.remote_name().to_ascii_lowercase()));
    let (own, bound) = (organizations::reference(context, app), binding(context, app));
    let shares_organization = |other: &SpiceApp| {
        let has_same_reference = organizations::reference(context, other) == own;
        (has_same_reference && other.namespace() == app.namespace())
            || (bound.is_some() && binding(context, other) == bound)
    };
    let competes =
        |other: &&SpiceApp| other.uid() != app.uid() && has_same_name(other, app) && shares_organization(other);
    let competing = |other: &SpiceApp| CompetingApp {
        without_id: other.status.as_ref().is_none_or(|status| status.id.is_none()),
        created: other.metadata.creation_timestamp.as_ref().map(|time| time.0),
        uid: other.uid().unwrap_or_default(),
        namespace: other.namespace().unwrap_or_default(),
        name: other.name_any(),
    };
    others.iter().filter_map(|other| other.0.as_ref().ok()).filter(competes).map(competing).collect()
}

/// IDs that other SpiceApps of the organization have recorded, without terminating ones.
pub(in crate::controller) fn sibling_ids(context: &Context, app: &SpiceApp) -> Vec<i64> {
    let own = organizations::reference(context, app);
    let bound = binding(context, app);
    let is_bound_alike = |reference: &ResolvedOrganizationRef| {
        let organization = decoded(organizations::find(context, reference)).and_then(Result::ok);
        organization.and_then(|one| organizations::common_view(context, &one).binding) == bound
    };
    let mut references: HashSet<ResolvedOrganizationRef> = [own.clone()].into();
    if bound.is_some() {
        let all = context.kinds.organizations.filter(|_| true);
        references.extend(all.iter().filter_map(|one| Some(reference_to(one.0.as_ref().ok()?))).filter(is_bound_alike));
    }
    // Every app with a recorded ID counts, also one that may not use the organization any more.
    let counts = |other: &&SpiceApp| {
        let is_alike = bound.is_some() || other.namespace() == app.namespace();
        other.uid() != app.uid() && other.metadata.deletion_timestamp.is_none() && is_alike
    };
    let recorded = |app: &SpiceApp| app.status.as_ref().filter(|status| status.incarnation.is_some())?.id;
    let others: Vec<_> = references.iter().flat_map(|reference| organizations::apps_of(context, reference)).collect();
    others.iter().filter_map(|other| other.0.as_ref().ok()).filter(counts).filter_map(recorded).collect()
}

fn has_same_name(one: &SpiceApp, other: &SpiceApp) -> bool {
    one.remote_name().eq_ignore_ascii_case(other.remote_name())
}

/// Organization binding of a SpiceApp. A SpiceApp that may not use the organization has no binding and competes for no
/// name, unless its status records an app.
fn binding(context: &Context, app: &SpiceApp) -> Option<String> {
    let organization = organizations::organization_of(context, app)?.ok()?;
    let view = organizations::view_for_app(context, &organization, app);
    let counts = view.not_allowed.is_none() || app.status.as_ref().is_some_and(|status| status.id.is_some());
    view.binding.filter(|_| counts)
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
}
