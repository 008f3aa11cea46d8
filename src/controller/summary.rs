//! What the users of an organization have to know of it: whether it can be used, by whom, and what it is bound to.

use kube::ResourceExt;

use super::context::Context;
use super::namespaces;
use super::organization::credential_secret;
use crate::api::{ACCEPT_MISSING_APPS, Adoption, ConditionType, SpiceApp, SpiceOrganization, SpiceOrganizationStatus};
use crate::management::portal_url;
use crate::planner::{OrganizationView, suspended};

/// What an app has to know of its organization.
pub(super) fn of(context: &Context, organization: &SpiceOrganization) -> OrganizationView {
    let status = organization.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str());
    let deleting = organization.metadata.deletion_timestamp.is_some();
    let judged = |generation: Option<i64>| generation == organization.metadata.generation;
    let current =
        context.caches.secret_version(&organization.namespace().unwrap_or_default(), credential_secret(organization));
    let unusable = match ready {
        // One that is being deleted is not Ready, and has to serve until its last app is gone.
        _ if deleting && !status.observed_sources.is_empty() && status.observed_sources.first() == current.as_ref() => {
            None
        }
        _ if deleting && current.is_none() => {
            Some(format!("Secret {} does not exist in its namespace", credential_secret(organization)))
        }
        None => Some("it was not visited yet".to_owned()),
        Some(ready) if ready.status != "True" => Some(format!("{} {}", ready.reason, ready.message)),
        Some(ready) if !judged(ready.observed_generation) => Some("its last change was not visited yet".to_owned()),
        Some(_) if status.observed_sources.first() != current.as_ref() => {
            Some("its credential changed and was not checked yet".to_owned())
        }
        Some(_) => None,
    };
    OrganizationView {
        unusable,
        suspended: suspended(organization.spec.suspend, &organization.metadata),
        pin: pin(&status),
        accepted_missing_apps: accepted_missing_apps(organization),
        default_region: status.default_region,
        ..OrganizationView::default()
    }
}

/// What one app has to know of its organization.
pub(super) fn for_app(context: &Context, organization: &SpiceOrganization, app: &SpiceApp) -> OrganizationView {
    let namespace = app.namespace().unwrap_or_default();
    // What it has made is dealt with even if the namespace is admitted no more.
    let refused = app.metadata.deletion_timestamp.is_none() && !namespaces::admits(context, organization, &namespace);
    let not_allowed = refused.then(|| {
        let own = organization.namespace().unwrap_or_default();
        format!("SpiceOrganization {own}/{} does not admit namespace {namespace}", organization.name_any())
    });
    let adoption_allowed = match organization.spec.adoption.unwrap_or_default() {
        Adoption::SameNamespace => organization.namespace() == app.namespace(),
        Adoption::All => true,
        Adoption::Never => false,
    };
    let mut summary = of(context, organization);
    // It serves what there is until that is gone, and takes nothing new.
    let status = app.status.as_ref();
    let is_new = status.is_none_or(|status| status.id.is_none() && status.create_intent.is_none());
    if organization.metadata.deletion_timestamp.is_some() && is_new && app.metadata.deletion_timestamp.is_none() {
        summary.unusable.get_or_insert_with(|| "it is being deleted".to_owned());
    }
    let portal = portal_page(organization, app);
    OrganizationView { not_allowed, adoption_allowed, portal, ..summary }
}

fn portal_page(organization: &SpiceOrganization, app: &SpiceApp) -> Option<String> {
    let name = organization.status.as_ref()?.organization.as_ref()?.name.as_ref()?;
    portal_url(&organization.spec.endpoint, name, app.spec.name.as_deref().unwrap_or(&app.name_any()))
}

/// How many recorded apps a person says are gone.
fn accepted_missing_apps(organization: &SpiceOrganization) -> usize {
    organization.annotations().get(ACCEPT_MISSING_APPS).and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// What the organization is bound to, in one text: its endpoint, and `#` and its id where the API tells it.
fn pin(status: &SpiceOrganizationStatus) -> Option<String> {
    let endpoint = status.endpoint.as_ref()?;
    let id = status.organization.as_ref().map(|organization| &organization.id);
    Some(id.map_or_else(|| endpoint.clone(), |id| format!("{endpoint}#{id}")))
}
