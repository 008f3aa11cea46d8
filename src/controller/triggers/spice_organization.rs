//! A changed SpiceOrganization triggers itself and its credential Secrets; and its apps if its identity, readiness or
//! permissions changed.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use crate::api::{DEFAULT_ORGANIZATION, ResolvedOrganizationRef, SpiceOrganization};
use crate::controller::cluster::predicates::{ChangeFilter, fields_for_reconcile};
use crate::controller::cluster::sync::lock;
use crate::controller::cluster::watch::EventHandler;
use crate::controller::lookup::credential::has_finalizer;
use crate::controller::lookup::organizations::{apps_of, apps_with, common_view, credential_ref, reference_to};
use crate::controller::lookup::secrets::{enqueue_with_secrets, resync_with_secrets};
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::{AppKey, OrganizationUse, organization_keys};
use crate::planner::{OrganizationView, is_released};

/// Handles events of SpiceOrganizations.
pub(in crate::controller) struct SpiceOrganizationEventHandler {
    context: Arc<Context>,
    own: ChangeFilter,
    for_apps: ChangeFilter,
}

impl SpiceOrganizationEventHandler {
    pub(in crate::controller) fn new(context: Arc<Context>) -> Self {
        Self { context, own: ChangeFilter::default(), for_apps: ChangeFilter::default() }
    }

    /// Enqueues the Secret that the organization uses now, and those with the finalizer: which of them the organization
    /// used before is not known.
    fn enqueue_credentials(&self, object: &DeserializeGuard<SpiceOrganization>) {
        let context = &self.context;
        context.secret_refs_changed.notify_one();
        if let Ok(organization) = &object.0 {
            context.credential_queue.enqueue(credential_ref(organization));
        }
        let namespace = object.namespace();
        let is_protected =
            |secret: &PartialObjectMeta<Secret>| secret.metadata.namespace == namespace && has_finalizer(secret);
        for secret in context.caches.secrets.state_filter(is_protected) {
            context.credential_queue.enqueue(ObjectRef::from_obj(secret.as_ref()));
        }
    }

    /// Enqueues the apps that use the organization, and those that used it as the default until its deletion. `forced`:
    /// for a resync.
    fn enqueue_apps(&self, organization: &SpiceOrganization, forced: bool) {
        let (context, own) = (&self.context, reference_to(organization));
        let mut apps = apps_of(context, &own);
        if own.name == DEFAULT_ORGANIZATION {
            apps.extend(apps_with(context, &AppKey::Organization(OrganizationUse::DefaultIn(own.namespace))));
        }
        for app in apps {
            if forced {
                resync_with_secrets(context, &app);
            } else {
                enqueue_with_secrets(context, &app);
            }
        }
    }

    /// Enqueues the organization of `--default-organization`: a SpiceOrganization `default` that appears or is deleted
    /// changes which apps use it.
    fn enqueue_default(&self, object: &DeserializeGuard<SpiceOrganization>) {
        if let Some(ResolvedOrganizationRef { namespace, name }) = &self.context.settings.default_organization
            && object.name_any() == DEFAULT_ORGANIZATION
        {
            self.context.kinds.organizations.enqueue_name(namespace, name);
        }
    }

    /// Returns true if anything changed that the apps of the organization depend on.
    fn has_changed_for_apps(&mut self, organization: &SpiceOrganization) -> bool {
        let OrganizationView { unusable, suspended, binding, accepted_missing_apps, default_region, .. } =
            common_view(&self.context, organization);
        let spec = &organization.spec;
        let permissions = serde_json::to_string(&(&spec.allowed_namespaces, spec.adoption)).unwrap_or_default();
        // Includes the verified credential: apps that observed another credential wait for the organization.
        let sources = organization.status.iter().flat_map(|status| &status.core.observed_sources);
        let uid = organization.metadata.uid.as_deref().unwrap_or_default();
        let first = sources.map(|source| self.context.connections.first_version(uid, source));
        let versions: Vec<_> = first.map(|source| (source.uid, source.resource_version)).collect();
        let state =
            (is_released(&organization.metadata), unusable, suspended, binding, accepted_missing_apps, default_region);
        self.for_apps.has_changed(organization.metadata.uid.as_ref(), (state, permissions, versions))
    }
}

impl EventHandler<DeserializeGuard<SpiceOrganization>> for SpiceOrganizationEventHandler {
    fn before_cache_update(&mut self, object: &DeserializeGuard<SpiceOrganization>) {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        self.context.organizations_by.set(&namespace, &name, organization_keys(object));
    }

    fn on_change(&mut self, object: &DeserializeGuard<SpiceOrganization>) {
        let uid = object.meta().uid.as_ref();
        self.context.cancellation.on_change(uid);
        self.context.kinds.organizations.object_states.on_cache_caught_up(object);
        // Every change may make an undecodable object decodable.
        if object.0.is_err() || self.own.has_changed(uid, fields_for_reconcile(object)) {
            self.context.kinds.organizations.enqueue(object);
            self.enqueue_credentials(object);
            self.enqueue_default(object);
        }
        // The first observation, as after a restart, is no change. A new organization changes again before it is Ready.
        let is_new = self.for_apps.is_new(uid);
        if let Ok(organization) = &object.0
            && self.has_changed_for_apps(organization)
        {
            self.enqueue_apps(organization, !is_new);
        }
    }

    fn on_delete(&mut self, object: &DeserializeGuard<SpiceOrganization>) {
        let uid = object.meta().uid.clone();
        self.context.cancellation.on_change(uid.as_ref());
        self.own.forget(uid.as_ref());
        self.for_apps.forget(uid.as_ref());
        self.context.kinds.organizations.object_states.forget(uid.as_ref());
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        // Another object of the same name may already exist.
        if self.context.kinds.organizations.get(&namespace, &name).is_none() {
            self.context.organizations_by.set(&namespace, &name, Vec::new());
        }
        if let Ok(organization) = &object.0 {
            lock(&self.context.recorded_apps).remove(&reference_to(organization));
            self.enqueue_apps(organization, true);
        }
        self.enqueue_credentials(object);
        self.enqueue_default(object);
        let context = Arc::clone(&self.context);
        tokio::spawn(async move { context.connections.forget(&uid.unwrap_or_default()).await });
    }

    fn on_never_cached(&mut self, namespace: &str, name: &str) {
        self.context.organizations_by.set(namespace, name, Vec::new());
    }
}
