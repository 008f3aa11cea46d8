//! SpiceOrganization: its reads.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::{SourceVersion, SpiceOrganization};
use crate::controller::lookup::credential::{deletion_blockers, is_finalizer_add_pending, kept_secret_warning};
use crate::controller::lookup::organizations::{count_apps, credential_ref, credential_secret};
use crate::controller::reconcile::reconciler::Reconciler;
use crate::controller::reconcile::remote::{observed_or_unknown, run_cancellable, unverified_connection};
use crate::controller::reconcile::undecodable;
use crate::controller::state::context::Context;
use crate::controller::state::kinds::KindState;
use crate::management::types::{ApiError, ListCompleteness};
use crate::management::{self, ApiResponse, Priority};
use crate::planner::{Observation, Observed, OrganizationObserved, OrganizationRead};

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
                observed.credential_unchanged = match &version {
                    Some(version) => has_verified_credential(context, object, version).await,
                    None => false,
                };
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

/// Returns true if a version of the credential Secret other than the verified version has the verified credential. Reads
/// the Secret once for each version.
async fn has_verified_credential(context: &Context, object: &SpiceOrganization, version: &SourceVersion) -> bool {
    let verified = object.status.as_ref().and_then(|status| status.core.observed_sources.first());
    let Some(verified) = verified.filter(|verified| *verified != version) else { return false };
    // Without the verified credential in memory, only a check of the new version shows whether it is accepted.
    let uid = object.uid().unwrap_or_default();
    context.connections.is_in_use(&uid, verified)
        && unverified_connection(context, object).await.is_ok()
        && context.connections.is_in_use(&uid, verified)
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
