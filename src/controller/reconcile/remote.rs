//! Requests to the Management API, as far as the kinds share them: the connection, cancellation, and the checks before
//! a write.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, CustomResourceExt, ResourceExt};

use super::reconciler::Reconciler;
use crate::api::{SpiceApp, SpiceOrganization};
use crate::controller::cluster::cache::is_current;
use crate::controller::cluster::call::{format_kube_error, with_timeout};
use crate::controller::lookup::organizations::{self, credential_secret, organization_of, reference};
use crate::controller::state::connections::Connection;
use crate::controller::state::context::Context;
use crate::management::types::{ApiError, ErrorKind, ListedApps, SecretList};
use crate::management::{APPS_PATH, ApiResponse, Priority, secrets_path};
use crate::planner::{Observation, Observed, OrganizationView, credential_not_found_message};

/// Runs work without a remote effect: a read, or the wait for a permit. The work is cancelled if the object changes or
/// the operator shuts down, so that an edit never waits behind the object's own queued resync.
pub(in crate::controller) async fn run_cancellable<K: Reconciler, T>(
    context: &Context,
    object: &K,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let uid = object.uid().unwrap_or_default();
    let is_unchanged = || is_current(&K::state(context).cache, object);
    let cancelled = || Err(ApiError::local(ErrorKind::Cancelled, "The object changed"));
    let work = context.cancellation.run_until_changed(&uid, is_unchanged, Box::pin(work));
    tokio::select! {
        result = work => result.unwrap_or_else(cancelled),
        () = context.shutdown.cancelled() => {
            Err(ApiError::local(ErrorKind::Connect, "The operator is shutting down"))
        }
    }
}

/// The connection that an app uses.
pub(in crate::controller) async fn connection_of(
    context: &Context,
    app: &SpiceApp,
) -> Result<Arc<Connection>, ApiError> {
    match organization_of(context, app) {
        Some(Ok(organization)) => verified_connection(context, &organization).await,
        _ => Err(ApiError::local(ErrorKind::Cancelled, "The SpiceOrganization does not exist")),
    }
}

/// The connection of an organization for its dependents: only with the spec and the credential that were verified.
///
/// # Errors
/// `Cancelled` if the spec or the credential has changed since: both may resolve to another organization.
async fn verified_connection(context: &Context, organization: &SpiceOrganization) -> Result<Arc<Connection>, ApiError> {
    let cancelled = |message: String| Err(ApiError::local(ErrorKind::Cancelled, message));
    if let Some(why) = organizations::common_view(context, organization).unusable {
        return cancelled(why);
    }
    let connection = unverified_connection(context, organization).await?;
    let verified = organization.status.as_ref().and_then(|status| status.core.observed_sources.first());
    let uid = organization.uid().unwrap_or_default();
    if !verified.is_some_and(|version| context.connections.is_in_use(&uid, version)) {
        return cancelled("The credential changed and is not verified yet".to_owned());
    }
    Ok(connection)
}

/// The connection of an organization with the cached version of its credential.
pub(in crate::controller) async fn unverified_connection(
    context: &Context,
    organization: &SpiceOrganization,
) -> Result<Arc<Connection>, ApiError> {
    let secret = credential_secret(organization);
    let version = context.caches.secret_version(&organization.namespace().unwrap_or_default(), secret);
    let missing = || ApiError::local(ErrorKind::CredentialMissing, credential_not_found_message(secret));
    context.connections.of(organization, &version.ok_or_else(missing)?).await
}

/// Rejects a write that waited too long for its permit (`is_stale`: the read behind the write has expired), or that the
/// lease or the organization no longer allow. Returns the organization.
pub(in crate::controller) fn precheck_write(
    context: &Context,
    app: &SpiceApp,
    is_stale: bool,
) -> Result<OrganizationView, ApiError> {
    if is_stale {
        let message = "Not sent: the request waited too long for the rate limit and its data expired; retrying";
        return Err(ApiError::local(ErrorKind::RateLimited { retry_after: None }, message));
    }
    let cancelled = |message: &str| Err(ApiError::local(ErrorKind::Cancelled, message));
    if !context.leadership.may_write() {
        return cancelled("This process is not the leader");
    }
    match organizations::observe(context, app, &reference(context, app)) {
        Observed::Present(organization) if !organization.suspended => Ok(organization),
        _ => cancelled("The organization is suspended or does not exist"),
    }
}

/// Rejects a write in a namespace that the organization does not allow.
pub(in crate::controller) fn check_namespace(organization: &OrganizationView) -> Result<(), ApiError> {
    let not_allowed = organization.not_allowed.as_ref();
    not_allowed.map_or(Ok(()), |why| Err(ApiError::local(ErrorKind::Cancelled, why)))
}

/// Rejects a write for an object that changed while the write waited for its permit.
pub(in crate::controller) fn check_unchanged<K: Reconciler>(context: &Context, object: &K) -> Result<(), ApiError> {
    if is_current(&K::state(context).cache, object) {
        return Ok(());
    }
    Err(ApiError::local(ErrorKind::Cancelled, "The object changed while the request waited for its permit"))
}

/// Requests a check of the organization after a 401: the organization then reports the rejected credential once, for
/// all its dependents.
pub(in crate::controller) fn recheck_organization_on_401<T>(
    context: &Context,
    app: &SpiceApp,
    result: Result<T, ApiError>,
) -> Result<T, ApiError> {
    let is_rejected = result.as_ref().is_err_and(|error| error.kind == ErrorKind::Unauthorized);
    if is_rejected && let Some(organization) = organizations::find(context, &reference(context, app)) {
        context.kinds.organizations.resync(&organization);
    }
    result
}

/// The complete list of apps.
pub(in crate::controller) async fn list_apps(
    context: &Context,
    app: &SpiceApp,
    not_before: Timestamp,
    priority: Priority,
) -> Result<ApiResponse<Arc<ListedApps>>, ApiError> {
    let connection = connection_of(context, app).await?;
    let list = connection.reads.apps(not_before, priority).await;
    report_completeness(context, app, list, APPS_PATH)
}

/// The complete list of the secrets of an app.
pub(in crate::controller) async fn list_secrets(
    context: &Context,
    app: &SpiceApp,
    id: i64,
    not_before: Timestamp,
    priority: Priority,
) -> Result<ApiResponse<Arc<SecretList>>, ApiError> {
    let connection = connection_of(context, app).await?;
    let list = connection.reads.secrets(id, not_before, priority).await;
    report_completeness(context, app, list, &secrets_path(id))
}

/// Enqueues the organization if the completeness of a list changed. The organization reports an incomplete list once,
/// for all objects that wait for it.
fn report_completeness<T>(
    context: &Context,
    app: &SpiceApp,
    list: Result<ApiResponse<T>, ApiError>,
    path: &str,
) -> Result<ApiResponse<T>, ApiError> {
    let organization = organization_of(context, app).and_then(Result::ok);
    let status = organization.as_ref().and_then(|organization| organization.status.as_ref());
    let reported = status.and_then(|status| status.incomplete_lists.iter().find(|list| list.path == path));
    let has_changed = match &list {
        Ok(_) => reported.is_some(),
        Err(ApiError { kind: ErrorKind::IncompleteList { items_seen }, .. }) => {
            reported.map(|list| list.items_seen) != i64::try_from(*items_seen).ok()
        }
        Err(_) => false,
    };
    if has_changed {
        let reference = reference(context, app);
        context.kinds.organizations.enqueue_name(&reference.namespace, &reference.name);
    }
    list
}

/// Observation of a single item. A 404 of the API itself is an absence that the planner must confirm.
pub(in crate::controller) fn observed<T>(result: Result<ApiResponse<T>, ApiError>) -> Observed<Observation<T>> {
    match result {
        Err(ApiError { kind: ErrorKind::NotFound { json: true }, .. }) => Observed::Absent,
        result => observed_or_unknown(result),
    }
}

/// Observation of something that is never absent, such as a list.
pub(in crate::controller) fn observed_or_unknown<T>(
    result: Result<ApiResponse<T>, ApiError>,
) -> Observed<Observation<T>> {
    result.map_or_else(Observed::Unknown, Observed::Present)
}

/// Reads the CustomResourceDefinition of a kind: true if it is being deleted. Its deletion deletes every object of the
/// kind, but the user did not request the deletion of any app or secret. Concurrent reads are deduplicated.
pub(in crate::controller) async fn crd_terminating<K: CustomResourceExt>(context: &Context) -> Observed<bool> {
    let definitions: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let read = async || match with_timeout(definitions.get_metadata_opt(K::crd_name())).await {
        Ok(Some(definition)) => Observed::Present(definition.metadata.deletion_timestamp.is_some()),
        Ok(None) => Observed::Absent,
        Err(error) => {
            let message = format!("Failed to read the CustomResourceDefinition: {}", format_kube_error(&error));
            Observed::Unknown(ApiError::local(ErrorKind::Connect, message))
        }
    };
    context.crd_reads.run(K::crd_name().to_owned(), read).await
}
