//! SpiceSecret: its reads and writes.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::api::{SourceVersion, SpiceApp, SpiceSecret};
use crate::controller::cluster::cache::decoded;
use crate::controller::cluster::call::{format_kube_error, with_timeout};
use crate::controller::cluster::sync::lock;
use crate::controller::lookup::apps::parent_app;
use crate::controller::lookup::secrets::{is_stuck, siblings};
use crate::controller::reconcile::reconciler::{CarryOut, Reconciler};
use crate::controller::reconcile::remote::{
    check_namespace, check_unchanged, connection_of, crd_terminating, list_apps, list_secrets, observed,
    observed_or_unknown, precheck_write, recheck_organization_on_401, run_cancellable,
};
use crate::controller::reconcile::undecodable;
use crate::controller::state::context::Context;
use crate::controller::state::kinds::KindState;
use crate::management::types::{ApiError, ErrorKind, PutSecret};
use crate::management::{AccessMode, Priority};
use crate::planner::{
    Observed, ParentApp, SecretObserved, SecretRead, SecretResponse, SecretWrite, SourceValues, WriteResult,
    WrittenSecret, elapsed,
};

impl Reconciler for SpiceSecret {
    fn state(context: &Context) -> &KindState<Self> {
        &context.kinds.secrets
    }

    fn retain_deletion_fields(data: &mut Value, _: Timestamp) {
        undecodable::retain(data, "spec", &["appRef", "deletionPolicy"]);
        undecodable::retain(data, "status", &["appId", "secrets", "observedGeneration"]);
        // Of an entry, the deletion reads the name and whether the secret was adopted.
        let entries = data["status"]["secrets"].as_array().cloned().unwrap_or_default();
        let reduced = entries.into_iter().filter_map(|entry| {
            let name = entry["name"].as_str()?;
            Some(json!({ "name": name, "adopted": entry["adopted"].as_bool() }))
        });
        data["status"]["secrets"] = reduced.collect();
    }

    async fn observe(
        context: &Context,
        object: &Self,
        read: &SecretRead,
        priority: Priority,
        observed: &mut SecretObserved,
    ) {
        match read {
            SecretRead::App => {
                let namespace = object.namespace().unwrap_or_default();
                observed.app = Some(observe_app(context, object));
                observed.app_is_released = context.kinds.apps.has_released(&namespace, object.app_name());
            }
            SecretRead::Siblings => observed.siblings = Some(siblings(context, object)),
            SecretRead::Source => {
                let namespace = object.namespace().unwrap_or_default();
                let version = context.caches.secret_version(&namespace, object.source_name());
                observed.source = Some(version.map_or(Observed::Absent, Observed::Present));
            }
            SecretRead::Key => {
                let key = context.digest_key.get().map(|key| key.id().to_owned());
                observed.key = Some(key.map_or(Observed::Absent, Observed::Present));
                observed.key_failure.clone_from(&lock(&context.digest_key_failure));
            }
            SecretRead::SourceValues => observed.values = Some(load_values(context, object).await),
            SecretRead::CrdTerminating => observed.crd_terminating = Some(crd_terminating::<Self>(context).await),
            SecretRead::RemoteApp(id, not_before) => {
                let app = read_for_app(context, object, async |app| {
                    connection_of(context, app).await?.reads.app(*id, *not_before, priority).await
                });
                observed.remote_app = Some(resync_app_if_absent(context, object, self::observed(app.await)));
            }
            SecretRead::List(id, not_before) => {
                let list = read_for_app(context, object, async |app| {
                    list_secrets(context, app, *id, *not_before, priority).await
                });
                observed.list = Some(resync_app_if_absent(context, object, self::observed(list.await)));
            }
            SecretRead::Apps(not_before) => {
                let list =
                    read_for_app(context, object, async |app| list_apps(context, app, *not_before, priority).await);
                observed.apps = Some(observed_or_unknown(list.await));
            }
        }
    }

    fn after_reconcile(context: &Context, object: &Self) {
        // A retained app no longer waits for a stuck SpiceSecret.
        if is_stuck(context, object.meta()) {
            context.kinds.apps.enqueue_name(&object.namespace().unwrap_or_default(), object.app_name());
        }
    }
}

/// Calls `work` with the SpiceApp of an object.
async fn with_app<T>(
    context: &Context,
    object: &SpiceSecret,
    work: impl AsyncFnOnce(&SpiceApp) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let app = context.kinds.apps.get(&object.namespace().unwrap_or_default(), object.app_name());
    let Some(Ok(app)) = app.as_deref().map(|app| app.0.as_ref()) else {
        return Err(ApiError::local(ErrorKind::Cancelled, "The SpiceApp does not exist"));
    };
    recheck_organization_on_401(context, app, work(app).await)
}

/// Calls `work` with the SpiceApp of an object, until the object changes.
async fn read_for_app<T>(
    context: &Context,
    object: &SpiceSecret,
    work: impl AsyncFnOnce(&SpiceApp) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    with_app(context, object, async |app| run_cancellable(context, object, work(app)).await).await
}

/// Requests a resync of the SpiceApp after a 404: the resync determines whether the app was deleted.
fn resync_app_if_absent<T>(context: &Context, object: &SpiceSecret, observed: Observed<T>) -> Observed<T> {
    let apps = &context.kinds.apps;
    if matches!(observed, Observed::Absent)
        && let Some(app) = apps.get(&object.namespace().unwrap_or_default(), object.app_name())
    {
        apps.resync(&app);
    }
    observed
}

fn observe_app(context: &Context, object: &SpiceSecret) -> Observed<ParentApp> {
    let name = object.app_name();
    match decoded(context.kinds.apps.get(&object.namespace().unwrap_or_default(), name)) {
        None => Observed::Absent,
        Some(Ok(app)) => Observed::Present(parent_app(context, &app)),
        Some(Err(error)) => {
            let message = format!("SpiceApp \"{name}\" cannot be decoded: {error}");
            Observed::Unknown(ApiError::local(ErrorKind::InvalidResponse, message))
        }
    }
}

/// Reads the Kubernetes Secret of an object. Concurrent reads of one Secret are deduplicated.
async fn load_values(context: &Context, object: &SpiceSecret) -> Observed<SourceValues> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.source_name());
    let read = async || read_secret(context, &namespace, name).await;
    context.secret_reads.run(format!("{namespace}/{name}"), read).await
}

async fn read_secret(context: &Context, namespace: &str, name: &str) -> Observed<SourceValues> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let unknown = |message: String| Observed::Unknown(ApiError::local(ErrorKind::Connect, message));
    let Some(key) = context.digest_key.get() else { return unknown("The operator has no digest key yet".to_owned()) };
    match with_timeout(secrets.get_opt(name)).await {
        Ok(Some(secret)) => {
            let version = SourceVersion::of("Secret", &secret.metadata);
            let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
            Observed::Present(SourceValues::new(version, data, key.clone()))
        }
        Ok(None) => Observed::Absent,
        Err(error) => unknown(format!("Failed to read Secret \"{name}\": {}", format_kube_error(&error))),
    }
}

/// The writes of a batch: the name of each secret, and the body that sets it; without a body, the secret is deleted.
fn operations(write: &SecretWrite) -> Vec<(&str, Option<&PutSecret>)> {
    match write {
        SecretWrite::Set { secrets, .. } => {
            secrets.iter().map(|set| (set.body.name.as_str(), Some(&set.body))).collect()
        }
        SecretWrite::Delete { names, .. } => names.iter().map(|name| (name.as_str(), None)).collect(),
    }
}

impl CarryOut<SpiceSecret> for SecretWrite {
    async fn carry_out(
        &self,
        context: &Context,
        object: &SpiceSecret,
        priority: Priority,
    ) -> WriteResult<SecretResponse> {
        let started_at = Timestamp::now();
        let mut response = Vec::new();
        for (secret, body) in operations(self) {
            let sent =
                with_app(context, object, async |app| send(context, object, app, self, (secret, body), priority).await);
            let result = sent.await;
            // A validation error concerns one secret; any other error would occur for the others too.
            let ends_batch = result.as_ref().is_err_and(|error| error.kind != ErrorKind::Invalid);
            if let Err(error) = &result {
                // The read behind the batch expired after earlier writes: the next iteration reads again.
                if !response.is_empty() && is_stale(context, self) && error.proves_not_applied() {
                    break;
                }
                tracing::warn!(secret, error_kind = error.label(), error = %error, "Failed to write secret");
                if response.is_empty() && ends_batch {
                    return WriteResult { result: Err(error.clone()), started_at, server_started_at: None };
                }
            }
            response.push((secret.to_owned(), result));
            if ends_batch {
                break;
            }
        }
        WriteResult { result: Ok(response), started_at, server_started_at: None }
    }
}

/// Sends one write of a batch once it has a permit and still passes all checks.
async fn send(
    context: &Context,
    object: &SpiceSecret,
    app: &SpiceApp,
    write: &SecretWrite,
    (name, body): (&str, Option<&PutSecret>),
    priority: Priority,
) -> Result<WrittenSecret, ApiError> {
    let permitted = async {
        let connection = connection_of(context, app).await?;
        let permit = connection.client.acquire_permit(priority, AccessMode::Write).await?;
        Ok((connection, permit))
    };
    // Only the wait for the permit can be cancelled. After a request is sent, its outcome must be known.
    let (connection, permit) = run_cancellable(context, object, permitted).await?;
    precheck(context, object, app, write)?;
    let id = write.app();
    let result = match body {
        Some(body) => {
            connection.client.put_secret(id, body, permit).await.map(|response| WrittenSecret::Set(response.value))
        }
        None => match connection.client.delete_secret(id, name, permit).await {
            Ok(_) => Ok(WrittenSecret::Deleted),
            Err(ApiError { kind: ErrorKind::NotFound { json: true }, .. }) => Ok(WrittenSecret::Missing),
            Err(error) => Err(error),
        },
    };
    match &result {
        Ok(WrittenSecret::Set(current)) => connection.reads.on_secret_write(id, name, Some(Some(current.clone()))),
        Ok(WrittenSecret::Deleted | WrittenSecret::Missing) => connection.reads.on_secret_write(id, name, Some(None)),
        Err(error) if error.proves_not_applied() => {}
        Err(_) => connection.reads.on_secret_write(id, name, None),
    }
    result
}

fn precheck(context: &Context, object: &SpiceSecret, app: &SpiceApp, write: &SecretWrite) -> Result<(), ApiError> {
    let organization = precheck_write(context, app, is_stale(context, write))?;
    match write {
        SecretWrite::Set { .. } => check_namespace(&organization)?,
        // The deletion of own secrets needs no permission of the organization.
        SecretWrite::Delete { .. } => {}
    }
    check_unchanged(context, object)
}

/// Returns true if the read behind a write has expired.
fn is_stale(context: &Context, write: &SecretWrite) -> bool {
    elapsed(write.based_on(), Timestamp::now()) > context.settings.timings.max_read_age
}
