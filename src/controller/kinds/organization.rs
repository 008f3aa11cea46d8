//! SpiceOrganization: its reads.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::{ConditionType, SourceVersion, SpiceOrganization};
use crate::controller::lookup::credential::{deletion_blockers, is_finalizer_add_pending, kept_secret_warning};
use crate::controller::lookup::organizations::{count_apps, credential_ref, credential_secret};
use crate::controller::reconcile::reconciler::Reconciler;
use crate::controller::reconcile::remote::{observed_or_unknown, run_cancellable, unverified_connection};
use crate::controller::reconcile::undecodable;
use crate::controller::state::context::Context;
use crate::controller::state::kinds::KindState;
use crate::management::types::{ApiError, ListCompleteness};
use crate::management::{self, ApiResponse, Priority};
use crate::planner::{Observation, Observed, OrganizationObserved, OrganizationRead, find_condition};

impl Reconciler for SpiceOrganization {
    fn state(context: &Context) -> &KindState<Self> {
        &context.kinds.organizations
    }

    /// Dependents refer to the organization by name, so its deletion reads nothing else.
    fn retain_deletion_fields(data: &mut Value, _: Timestamp) {
        data["spec"] = json!({ "credentials": {} });
        undecodable::retain(data, "status", &["observedGeneration"]);
    }

    async fn observe(
        context: &Context,
        object: &Self,
        read: &OrganizationRead,
        priority: Priority,
        observed: &mut OrganizationObserved,
    ) {
        match read {
            OrganizationRead::Credential => {
                let namespace = object.namespace().unwrap_or_default();
                let version = context.caches.secret_version(&namespace, credential_secret(object));
                if let Some(version) = &version {
                    compare_credential(context, object, version, observed).await;
                }
                observed.credential = Some(version.map_or(Observed::Absent, Observed::Present));
                observed.finalizer_add_pending = is_finalizer_add_pending(context, object);
                observed.lists = lists(context, object).await;
            }
            OrganizationRead::Apps => observed.apps = Some(count_apps(context, object)),
            OrganizationRead::SecretDeletion => {
                let secret = context.caches.secrets.get(&credential_ref(object));
                observed.kept_secret_warning = secret.and_then(|secret| kept_secret_warning(context, &secret));
            }
            OrganizationRead::Dependents => observed.dependents = Some(deletion_blockers(context, object)),
            OrganizationRead::Organizations => {
                let organizations = ask(context, object, async |client| client.organizations(priority).await);
                observed.organizations = Some(organizations.await);
            }
            OrganizationRead::Health => {
                let health = ask(context, object, async |client| client.health(priority).await);
                observed.health = Some(health.await);
            }
            OrganizationRead::Regions => {
                let regions = ask(context, object, async |client| client.regions(priority).await);
                observed.regions = Some(regions.await);
            }
            OrganizationRead::Images(channel) => {
                let images = ask(context, object, async |client| client.images(channel, priority).await);
                observed.images.insert(channel, images.await);
            }
            OrganizationRead::Limits => {
                let limits = ask(context, object, async |client| client.limits(priority).await);
                observed.limits = Some(limits.await);
            }
        }
    }
}

/// Compares the credential of a version of the Secret with the verified credential and with earlier ones. Reads the
/// Secret once for each version, unless the version itself is verified.
async fn compare_credential(
    context: &Context,
    object: &SpiceOrganization,
    version: &SourceVersion,
    observed: &mut OrganizationObserved,
) {
    let (connections, uid) = (&context.connections, object.uid().unwrap_or_default());
    let core = object.status.as_ref().map(|status| &status.core);
    let verified = core.and_then(|core| core.observed_sources.first());
    let ready = core.and_then(|core| find_condition(&core.conditions, ConditionType::Ready));
    let is_recorded = verified == Some(version) && ready.is_some_and(|ready| ready.status == "True");
    // Without the verified credential in memory, only a check of the new version shows whether it is accepted.
    let was_in_use = verified.is_some_and(|verified| connections.is_in_use(&uid, verified));
    let is_read = !is_recorded && unverified_connection(context, object).await.is_ok();
    let is_in_use = |verified: &SourceVersion| verified != version && connections.is_in_use(&uid, verified);
    observed.credential_unchanged = was_in_use && is_read && verified.is_some_and(is_in_use);
    observed.first_credential = Some(connections.first_version(&uid, version));
}

/// Sends a request over the connection of an organization, until the object changes.
async fn ask<T>(
    context: &Context,
    object: &SpiceOrganization,
    request: impl AsyncFnOnce(&management::Client) -> Result<ApiResponse<T>, ApiError>,
) -> Observed<Observation<T>> {
    let response = async { request(&unverified_connection(context, object).await?.client).await };
    observed_or_unknown(run_cancellable(context, object, response).await)
}

/// Completeness of the lists that dependents have read over the connection of an organization.
async fn lists(context: &Context, organization: &SpiceOrganization) -> BTreeMap<String, ListCompleteness> {
    let connection = context.connections.known(&organization.uid().unwrap_or_default()).await;
    let reported = organization.status.iter().flat_map(|status| &status.incomplete_lists).map(|list| &list.path);
    connection.map(|connection| connection.reads.list_completeness(reported)).unwrap_or_default()
}
