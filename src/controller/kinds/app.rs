//! SpiceApp: its reads and writes.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::api::{ConfigMapKeyRef, CreateIntent, ResolvedOrganizationRef, SourceVersion, SpiceApp};
use crate::controller::cluster::call::{format_kube_error, with_timeout};
use crate::controller::lookup::{apps, organizations, secrets};
use crate::controller::reconcile::reconciler::{CarryOut, Reconciler};
use crate::controller::reconcile::remote::{
    check_namespace, check_unchanged, connection_of, crd_terminating, list_apps, observed, observed_or_unknown,
    precheck_write, recheck_organization_on_401, run_cancellable,
};
use crate::controller::reconcile::undecodable;
use crate::controller::state::connections::Connection;
use crate::controller::state::context::Context;
use crate::controller::state::kinds::KindState;
use crate::management::types::{ApiError, App, CreatedApp, ErrorKind};
use crate::management::{AccessMode, ApiResponse, Priority};
use crate::planner::{
    AppObserved, AppRead, AppWrite, LoadedSpicepod, Observed, SpicepodProblem, WriteResult, elapsed, parse_spicepod,
};

impl Reconciler for SpiceApp {
    fn state(context: &Context) -> &KindState<Self> {
        &context.kinds.apps
    }

    fn retain_deletion_fields(data: &mut Value, deleted_at: Timestamp) {
        undecodable::retain(data, "spec", &["organizationRef", "name", "deletionPolicy", "managementPolicy"]);
        let status = [
            "id",
            "incarnation",
            "createIntent",
            "organizationBinding",
            "organizationRef",
            "tagsUnsupported",
            "observedGeneration",
        ];
        undecodable::retain(data, "status", &status);
        let intent = data["status"]["createIntent"].clone();
        if !intent.is_null() && serde_json::from_value::<CreateIntent>(intent.clone()).is_err() {
            data["status"]["createIntent"] = undecodable::placeholder_intent(&intent["name"], deleted_at);
        }
    }

    async fn observe(context: &Context, object: &Self, read: &AppRead, priority: Priority, observed: &mut AppObserved) {
        match read {
            AppRead::Organization => {
                let reference = organizations::reference(context, object);
                let mut organization = organizations::observe(context, object, &reference);
                if let Observed::Present(view) = &mut organization {
                    view.apps_without_tags = organizations::count_apps_without_tags(context, &reference);
                }
                observed.organization = Some(organization);
                observed.organization_ref = Some(reference);
            }
            AppRead::CompetingApps => observed.competing_apps = Some(apps::competing_apps(context, object)),
            AppRead::Source(key) => {
                let version = context.caches.config_map_version(&object.namespace().unwrap_or_default(), &key.name);
                observed.source = Some(version.map_or(Observed::Absent, Observed::Present));
            }
            AppRead::Spicepod(key) => observed.spicepod = Some(load_spicepod(context, object, key).await),
            AppRead::Secrets => observed.secrets = Some(secrets::observe(context, object)),
            AppRead::Siblings => {
                let list = observed.list.as_ref().and_then(Observed::present);
                observed.siblings = list.map(|list| apps::recorded_apps(context, object, &list.value));
            }
            AppRead::CrdTerminating => observed.crd_terminating = Some(crd_terminating::<Self>(context).await),
            AppRead::List(not_before) => {
                let list = async {
                    check_organization(context, object, observed)?;
                    list_apps(context, object, *not_before, priority).await
                };
                let list = run_cancellable(context, object, list).await;
                observed.list = Some(observed_or_unknown(recheck_organization_on_401(context, object, list)));
            }
            AppRead::App(id, not_before) => {
                let app = async {
                    check_organization(context, object, observed)?;
                    connection_of(context, object).await?.reads.app(*id, *not_before, priority).await
                };
                let app = run_cancellable(context, object, app).await;
                let app = recheck_organization_on_401(context, object, app);
                observed.app = Some(self::observed(app.map(|app| app.map(Arc::unwrap_or_clone))));
            }
        }
    }
}

/// Rejects a read if the app uses another organization than the observed one. The default of an app that is not
/// recorded yet can change during a reconcile, which must not mix reads of two organizations.
fn check_organization(context: &Context, object: &SpiceApp, observed: &AppObserved) -> Result<(), ApiError> {
    let is_other = |seen: &ResolvedOrganizationRef| *seen != organizations::reference(context, object);
    if observed.organization_ref.as_ref().is_some_and(is_other) {
        return Err(ApiError::local(ErrorKind::Cancelled, "The default SpiceOrganization of the app changed"));
    }
    Ok(())
}

impl CarryOut<SpiceApp> for AppWrite {
    async fn carry_out(&self, context: &Context, object: &SpiceApp, priority: Priority) -> WriteResult<Option<App>> {
        let started_at = Timestamp::now();
        let response: Result<Sent, ApiError> = send(context, object, self, priority).await;
        let failed = |result| WriteResult { result, started_at, server_started_at: None };
        match recheck_organization_on_401(context, object, response) {
            Ok((Some(ApiResponse { value, started_at }), server_started_at)) => {
                WriteResult { result: Ok(Some(value)), started_at, server_started_at }
            }
            Ok((None, _)) => failed(Ok(None)),
            Err(error) => failed(Err(error)),
        }
    }
}

/// The app in a response, and the earliest time at which the API can have processed a create.
type Sent = (Option<ApiResponse<App>>, Option<Timestamp>);

/// Sends a write once it has a permit and still passes all checks.
async fn send(context: &Context, object: &SpiceApp, write: &AppWrite, priority: Priority) -> Result<Sent, ApiError> {
    let connection = connection_of(context, object).await?;
    let client = &connection.client;
    let permit = run_cancellable(context, object, client.acquire_permit(priority, AccessMode::Write)).await?;
    check_namespace(&precheck_write(context, object, is_stale(context, write))?)?;
    check_unchanged(context, object)?;
    let response = match write {
        AppWrite::Create { body, .. } => {
            client.create_app(body, permit).await.and_then(|created| check_created(&connection, created))
        }
        AppWrite::Update { id, body, .. } | AppWrite::RemoveOwnerTags { id, body, .. } => {
            client.update_app(*id, body, permit).await.map(|app| (Some(app), None))
        }
        AppWrite::Delete { id, .. } => client.delete_app(*id, permit).await.map(|_| (None, None)),
    };
    // The shared read cache must not serve the app as it was before the write.
    let shown = response.as_ref().ok().and_then(|(app, _)| app.as_ref());
    if let Some(id) = write.id().or(shown.map(|app| app.value.id)) {
        connection.reads.on_app_write(id, shown);
    }
    response
}

/// Rejects a created app whose ID the app list has under another name: the response cannot be about the create.
fn check_created(connection: &Connection, created: ApiResponse<CreatedApp>) -> Result<Sent, ApiError> {
    let CreatedApp { app, server_started_at } = &created.value;
    if connection.reads.is_listed_under_another_name(app) {
        let message =
            format!("the API returned app {} for the create, but the app list has another app of this ID", app.id);
        return Err(ApiError::local(ErrorKind::InvalidResponse, message));
    }
    let server_started_at = *server_started_at;
    Ok((Some(created.map(|created| created.app)), server_started_at))
}

/// Returns true if the read behind a write has expired.
fn is_stale(context: &Context, write: &AppWrite) -> bool {
    let timings = &context.settings.timings;
    match write {
        // The list that showed the name as free may be old: the API rejects the create if the name was taken since. But
        // the intent must be recent, because the outcome of the create is judged from its time.
        AppWrite::Create { intended_at, .. } => {
            let limit = timings.create_confirmation_timeout.max(timings.max_read_age);
            elapsed(*intended_at, Timestamp::now()) > limit
        }
        AppWrite::Update { based_on, .. }
        | AppWrite::RemoveOwnerTags { based_on, .. }
        | AppWrite::Delete { based_on, .. } => elapsed(*based_on, Timestamp::now()) > timings.max_read_age,
    }
}

/// Reads a spicepod from its ConfigMap. Concurrent reads of one ConfigMap are deduplicated.
async fn load_spicepod(context: &Context, app: &SpiceApp, key: &ConfigMapKeyRef) -> Observed<LoadedSpicepod> {
    let namespace = app.namespace().unwrap_or_default();
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let read = async || {
        let config_map = with_timeout(api.get_opt(&key.name)).await.map_err(|error| format_kube_error(&error))?;
        Ok(config_map.map(Arc::new))
    };
    match context.config_map_reads.run(format!("{namespace}/{}", key.name), read).await {
        Ok(Some(config_map)) => {
            let text = config_map.data.as_ref().and_then(|data| data.get(&key.key));
            let is_binary = config_map.binary_data.as_ref().is_some_and(|data| data.contains_key(&key.key));
            let spicepod = match text {
                Some(text) => parse_spicepod(text).map_err(SpicepodProblem::Invalid),
                None if is_binary => {
                    Err(SpicepodProblem::Invalid("the key is in binaryData; move it to data".to_owned()))
                }
                None => Err(SpicepodProblem::KeyMissing),
            };
            Observed::Present(LoadedSpicepod {
                version: SourceVersion::of("ConfigMap", &config_map.metadata),
                spicepod,
            })
        }
        Ok(None) => Observed::Absent,
        Err(error) => {
            let message = format!("Failed to read ConfigMap \"{}\": {error}", key.name);
            Observed::Unknown(ApiError::local(ErrorKind::Connect, message))
        }
    }
}
