//! SpiceOrganizations: the organization of an object, and the view that its dependents observe.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::namespaces;
use crate::api::{
    ACCEPT_MISSING_APPS, Adoption, ConditionType, DEFAULT_ORGANIZATION, ResolvedOrganizationRef, SpiceApp,
    SpiceAppStatus, SpiceOrganization, SpiceOrganizationStatus,
};
use crate::controller::cluster::cache::decoded;
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::{AppKey, OrganizationKey, OrganizationUse, binding};
use crate::controller::state::key_index::ObjectKey;
use crate::management::portal_url;
use crate::planner::{
    Observed, OrganizationView, ResourcePlanner, credential_not_found_message, display_object, find_condition,
    is_suspended,
};

/// Reference to the organization that an app uses, which need not exist. A recorded app stays in its recorded
/// organization, so that neither another default nor an edit of the reference resolves to another organization.
pub(in crate::controller) fn reference(context: &Context, app: &SpiceApp) -> ResolvedOrganizationRef {
    let recorded = app.status.as_ref().and_then(SpiceAppStatus::recorded_organization).cloned();
    recorded.or_else(|| app.declared_organization()).unwrap_or_else(|| default_organization(context, app))
}

/// The organization of an app without `spec.organizationRef`: `default` in the namespace of the app if that exists,
/// otherwise the one of `--default-organization`.
fn default_organization(context: &Context, app: &SpiceApp) -> ResolvedOrganizationRef {
    let own = default_in_namespace(app);
    match &context.settings.default_organization {
        Some(default) if find(context, &own).is_none() => default.clone(),
        Some(_) | None => own,
    }
}

/// The SpiceOrganization `default` in the namespace of an app.
pub(in crate::controller) fn default_in_namespace(app: &SpiceApp) -> ResolvedOrganizationRef {
    ResolvedOrganizationRef { namespace: app.namespace().unwrap_or_default(), name: DEFAULT_ORGANIZATION.to_owned() }
}

/// The reference that names an organization.
pub(in crate::controller) fn reference_to(organization: &SpiceOrganization) -> ResolvedOrganizationRef {
    ResolvedOrganizationRef { namespace: organization.namespace().unwrap_or_default(), name: organization.name_any() }
}

/// The cached organization of a reference.
pub(in crate::controller) fn find(
    context: &Context,
    reference: &ResolvedOrganizationRef,
) -> Option<Arc<DeserializeGuard<SpiceOrganization>>> {
    context.kinds.organizations.get(&reference.namespace, &reference.name)
}

/// The organization that an app uses, or the error of its decoding; none if it does not exist.
pub(in crate::controller) fn organization_of(
    context: &Context,
    app: &SpiceApp,
) -> Option<Result<SpiceOrganization, String>> {
    decoded(find(context, &reference(context, app)))
}

/// The view of an app on an organization.
pub(in crate::controller) fn observe(
    context: &Context,
    app: &SpiceApp,
    reference: &ResolvedOrganizationRef,
) -> Observed<OrganizationView> {
    match decoded(find(context, reference)) {
        None => Observed::Absent,
        Some(Ok(organization)) => Observed::Present(view_for_app(context, &organization, app)),
        Some(Err(error)) => {
            let unusable = Some(format!("the object cannot be decoded: {error}"));
            Observed::Present(OrganizationView { unusable, ..OrganizationView::default() })
        }
    }
}

/// The part of the view that is the same for all dependents of an organization.
pub(in crate::controller) fn common_view(context: &Context, organization: &SpiceOrganization) -> OrganizationView {
    let status = organization.status.clone().unwrap_or_default();
    OrganizationView {
        unusable: unusable(context, organization, &status),
        suspended: is_suspended(organization.spec.suspend, &organization.metadata),
        binding: binding(&status),
        accepted_missing_apps: accepted_missing_apps(organization),
        default_region: status.default_region,
        ..OrganizationView::default()
    }
}

/// The view that one app has on an organization.
pub(in crate::controller) fn view_for_app(
    context: &Context,
    organization: &SpiceOrganization,
    app: &SpiceApp,
) -> OrganizationView {
    let namespace = app.namespace().unwrap_or_default();
    let is_terminating = app.metadata.deletion_timestamp.is_some();
    // The deletion of existing apps needs no permission of the organization.
    let is_refused = !is_terminating && !namespaces::is_allowed(context, organization, &namespace);
    let not_allowed = is_refused.then(|| {
        let own = organization.namespace().unwrap_or_default();
        let name = organization.name_any();
        format!("SpiceOrganization \"{own}/{name}\" does not allow namespace \"{namespace}\". Change its spec.allowedNamespaces \
             or the labels of the namespace")
    });
    let adoption_allowed = match organization.spec.adoption.unwrap_or_default() {
        Adoption::SameNamespace => organization.namespace() == app.namespace(),
        Adoption::All => true,
        Adoption::Never => false,
    };
    let mut view = common_view(context, organization);
    // A terminating organization serves existing apps until their deletion, and accepts no new apps.
    let is_new = !app.status.as_ref().is_some_and(SpiceAppStatus::has_remote_state);
    if organization.metadata.deletion_timestamp.is_some() && is_new && !is_terminating {
        view.unusable.get_or_insert_with(|| "it is being deleted".to_owned());
    }
    OrganizationView { not_allowed, adoption_allowed, portal: portal_page(organization, app), ..view }
}

/// Why an organization cannot be used now.
fn unusable(context: &Context, organization: &SpiceOrganization, status: &SpiceOrganizationStatus) -> Option<String> {
    let ready = find_condition(&status.core.conditions, ConditionType::Ready);
    let is_terminating = organization.metadata.deletion_timestamp.is_some();
    let secret = credential_secret(organization);
    let current = context.caches.secret_version(&organization.namespace().unwrap_or_default(), secret);
    let verified = status.core.observed_sources.first();
    // A version of the Secret with the verified credential needs no check.
    let uid = organization.metadata.uid.as_deref().unwrap_or_default();
    let is_in_use = |version| context.connections.is_in_use(uid, version);
    let is_verified = verified == current.as_ref() || (current.is_some() && verified.is_some_and(is_in_use));
    match ready {
        // A terminating organization is never Ready, and must serve its apps until the last app is deleted.
        _ if is_terminating && verified.is_some() && is_verified => None,
        _ if is_terminating && current.is_none() => Some(credential_not_found_message(secret)),
        None => Some("it has not been reconciled yet".to_owned()),
        Some(ready) if ready.status != "True" => Some(ready.reason.clone()),
        Some(ready) if ready.observed_generation != organization.metadata.generation => {
            Some("its current generation has not been reconciled yet".to_owned())
        }
        Some(_) if !is_verified => Some("its credential changed and is not verified yet".to_owned()),
        Some(_) => None,
    }
}

/// Number of recorded apps that a user accepts as missing.
fn accepted_missing_apps(organization: &SpiceOrganization) -> usize {
    organization.annotations().get(ACCEPT_MISSING_APPS).and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

fn portal_page(organization: &SpiceOrganization, app: &SpiceApp) -> Option<String> {
    let name = organization.status.as_ref()?.organization.as_ref()?.name.as_ref()?;
    portal_url(&organization.spec.endpoint, name, app.remote_name())
}

/// Number of recorded apps of the organization whose owner tags the API does not store.
pub(in crate::controller) fn count_apps_without_tags(
    context: &Context,
    organization: &ResolvedOrganizationRef,
) -> usize {
    count(context, organization, AppKey::WithoutTags)
}

/// Number of apps of an organization with a key.
fn count(context: &Context, organization: &ResolvedOrganizationRef, key: fn(OrganizationUse) -> AppKey) -> usize {
    let of_use = |one| context.apps_by.count(&key(one));
    let uses = uses_of(context, organization);
    // A SpiceOrganization "default" in the namespace of an app takes precedence.
    let others =
        if uses.contains(&OrganizationUse::Default) { defaults_except(context, organization) } else { Vec::new() };
    let elsewhere: usize = others.into_iter().map(|namespace| of_use(OrganizationUse::DefaultIn(namespace))).sum();
    uses.into_iter().map(of_use).sum::<usize>().saturating_sub(elsewhere)
}

/// Namespaces with a SpiceOrganization `default`, except that of `organization`.
fn defaults_except(context: &Context, organization: &ResolvedOrganizationRef) -> Vec<String> {
    let defaults = organizations_with(context, &OrganizationKey::Default);
    let namespaces = defaults.iter().filter_map(|one| one.namespace());
    let is_other =
        |namespace: &String| organization.name != DEFAULT_ORGANIZATION || organization.namespace != *namespace;
    namespaces.filter(is_other).collect()
}

/// Returns true if an app of the organization is being deleted. An undecodable app may use any organization of its
/// namespace.
pub(in crate::controller) fn has_terminating_app(context: &Context, organization: &ResolvedOrganizationRef) -> bool {
    let is_terminating = |(namespace, name): &ObjectKey| {
        let app = context.kinds.apps.get(namespace, name);
        app.is_some_and(|app| app.meta().deletion_timestamp.is_some())
    };
    let undecodable = AppKey::Undecodable(organization.namespace.clone());
    has_app(context, organization, AppKey::Terminating) || context.apps_by.any(&undecodable, is_terminating)
}

/// Returns true if an app of the organization has a key.
fn has_app(context: &Context, organization: &ResolvedOrganizationRef, key: impl Fn(OrganizationUse) -> AppKey) -> bool {
    let uses_it = |(namespace, name): &ObjectKey| {
        let app = context.kinds.apps.get(namespace, name);
        app.is_some_and(|app| app.0.as_ref().is_ok_and(|app| reference(context, app) == *organization))
    };
    uses_of(context, organization).into_iter().any(|one| context.apps_by.any(&key(one), uses_it))
}

/// The uses that can lead to an organization.
fn uses_of(context: &Context, organization: &ResolvedOrganizationRef) -> Vec<OrganizationUse> {
    let mut uses = vec![OrganizationUse::Named(organization.clone())];
    if context.settings.default_organization.as_ref() == Some(organization) {
        uses.push(OrganizationUse::Default);
    } else if organization.name == DEFAULT_ORGANIZATION {
        uses.push(OrganizationUse::DefaultIn(organization.namespace.clone()));
    }
    uses
}

/// The apps that use an organization. An undecodable app may use any organization of its namespace.
pub(in crate::controller) fn apps_of(
    context: &Context,
    organization: &ResolvedOrganizationRef,
) -> Vec<Arc<DeserializeGuard<SpiceApp>>> {
    let apps = keys_of_apps(context, organization).flat_map(|key| apps_with(context, &key));
    apps.filter(|app| may_use(context, app, organization)).collect()
}

/// The keys of the apps that can use an organization.
fn keys_of_apps(context: &Context, organization: &ResolvedOrganizationRef) -> impl Iterator<Item = AppKey> + use<> {
    let keys = uses_of(context, organization).into_iter().map(AppKey::Organization);
    keys.chain([AppKey::Undecodable(organization.namespace.clone())])
}

fn may_use(context: &Context, app: &DeserializeGuard<SpiceApp>, organization: &ResolvedOrganizationRef) -> bool {
    app.0.as_ref().map_or(true, |app| reference(context, app) == *organization)
}

/// The cached apps with a key.
pub(in crate::controller) fn apps_with(context: &Context, key: &AppKey) -> Vec<Arc<DeserializeGuard<SpiceApp>>> {
    let found = context.apps_by.objects(key);
    found.iter().filter_map(|object| context.kinds.apps.get(&object.0, &object.1)).collect()
}

/// Number of apps that use an organization, without undecodable ones.
pub(in crate::controller) fn count_apps(context: &Context, organization: &SpiceOrganization) -> i64 {
    let count = count(context, &reference_to(organization), AppKey::Organization);
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Display names of the objects that use an organization. An app that may not use it and has no remote state is no
/// dependent: any user could create one.
pub(in crate::controller) fn dependents(context: &Context, organization: &SpiceOrganization) -> Vec<String> {
    let own = organization.namespace().unwrap_or_default();
    let display = |app: Arc<DeserializeGuard<SpiceApp>>| {
        display_object(SpiceApp::NAME, &app.namespace().unwrap_or_default(), &app.name_any(), &own)
    };
    let apps = apps_of(context, &reference_to(organization));
    let mut names: Vec<String> =
        apps.into_iter().filter(|app| depends_on(context, organization, app)).map(display).collect();
    names.sort();
    names
}

/// Returns true if an object uses the organization, as in [`dependents`]. Visits apps until one does.
pub(in crate::controller) fn has_dependents(context: &Context, organization: &SpiceOrganization) -> bool {
    let own = reference_to(organization);
    let is_dependent = |(namespace, name): &ObjectKey| {
        let app = context.kinds.apps.get(namespace, name);
        app.is_some_and(|app| may_use(context, &app, &own) && depends_on(context, organization, &app))
    };
    keys_of_apps(context, &own).any(|key| context.apps_by.any(&key, is_dependent))
}

fn depends_on(context: &Context, organization: &SpiceOrganization, app: &DeserializeGuard<SpiceApp>) -> bool {
    match &app.0 {
        Ok(app) => {
            app.status.as_ref().is_some_and(SpiceAppStatus::has_remote_state)
                || namespaces::is_allowed(context, organization, &app.namespace().unwrap_or_default())
        }
        Err(_) => true,
    }
}

/// The organizations of a namespace.
pub(in crate::controller) fn organizations_in(
    context: &Context,
    namespace: Option<&str>,
) -> Vec<Arc<DeserializeGuard<SpiceOrganization>>> {
    organizations_with(context, &OrganizationKey::Namespace(namespace.unwrap_or_default().to_owned()))
}

/// The organizations that use a Secret as their credential.
pub(in crate::controller) fn organizations_using(
    context: &Context,
    secret: &PartialObjectMeta<Secret>,
) -> Vec<Arc<DeserializeGuard<SpiceOrganization>>> {
    let (namespace, name) = (secret.namespace(), secret.name_any());
    let uses = |one: &SpiceOrganization| one.namespace() == namespace && credential_secret(one) == name;
    let mut found = organizations_with(
        context,
        &OrganizationKey::Secret(secret.namespace().unwrap_or_default(), secret.name_any()),
    );
    found.retain(|one| one.0.as_ref().is_ok_and(uses));
    found
}

/// The cached organizations with a key.
pub(in crate::controller) fn organizations_with(
    context: &Context,
    key: &OrganizationKey,
) -> Vec<Arc<DeserializeGuard<SpiceOrganization>>> {
    let found = context.organizations_by.objects(key);
    found.iter().filter_map(|object| context.kinds.organizations.get(&object.0, &object.1)).collect()
}

/// Name of the credential Secret of an organization.
pub(in crate::controller) fn credential_secret(organization: &SpiceOrganization) -> &str {
    organization.spec.credentials.secret_name().unwrap_or_default()
}

/// Reference to the credential Secret of an organization.
pub(in crate::controller) fn credential_ref(organization: &SpiceOrganization) -> ObjectRef<PartialObjectMeta<Secret>> {
    ObjectRef::new(credential_secret(organization)).within(&organization.namespace().unwrap_or_default())
}
