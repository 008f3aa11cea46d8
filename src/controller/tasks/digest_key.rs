//! The digest key: the HMAC key of the digests in the status of SpiceSecrets, in a Secret of the operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ObjectMeta;
use tokio::sync::oneshot;

use crate::controller::cluster::call::{format_kube_error, has_code, is_refusal, with_timeout};
use crate::controller::cluster::readiness::Readiness;
use crate::controller::cluster::sync::lock;
use crate::controller::state::context::Context;
use crate::controller::state::settings::DigestKeyRef;
use crate::planner::{DigestKey, DigestKeyFailure, doubled_delay};

/// Key in the Secret's data.
const DATA_KEY: &str = "key";
/// Length of the key in bytes, as HMAC-SHA-256 uses it.
const KEY_LENGTH: usize = 32;

/// Reads or creates the digest key, and recreates its Secret if the Secret is deleted, until shutdown. Sends to `tried`
/// after the first attempt.
pub(in crate::controller) async fn run(context: Arc<Context>, readiness: Readiness, tried: oneshot::Sender<()>) {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let check = format!("the digest key in Secret {namespace}/{name}");
    let mut health = readiness.register_check(check, context.settings.readiness_failure_threshold);
    let Some(key) = load(&context, tried).await else { return };
    health.report_success();
    loop {
        tokio::select! {
            () = tokio::time::sleep(context.settings.digest_key_check_interval) => {}
            () = context.shutdown.cancelled() => return,
        }
        match ensure_exists(&context, &key).await {
            Ok(()) => health.report_success(),
            Err(error) => {
                tracing::warn!(kind = "Secret", namespace, name, error, "Failed to read or recreate digest key Secret");
                health.report_failure();
            }
        }
    }
}

/// Reads or creates the key, with growing delays until shutdown.
async fn load(context: &Context, tried: oneshot::Sender<()>) -> Option<DigestKey> {
    let (first, longest) = (context.settings.startup_poll_interval, context.settings.digest_key_check_interval);
    let (mut tried, mut failures) = (Some(tried), 0);
    let key = loop {
        match get_or_create(context).await {
            Ok(key) => break key,
            Err(failure) => report_failure(context, failure),
        }
        drop(tried.take());
        tokio::select! {
            () = tokio::time::sleep(doubled_delay(first, failures, longest)) => {}
            () = context.shutdown.cancelled() => return None,
        }
        failures = failures.saturating_add(1);
    };
    let key = context.digest_key.get_or_init(|| key).clone();
    lock(&context.digest_key_failure).take();
    if tried.is_none() {
        enqueue_secrets(context);
    }
    Some(key)
}

/// Logs a failure and shows it on the SpiceSecrets, if the failure differs from the previous one.
fn report_failure(context: &Context, failure: DigestKeyFailure) {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let error = failure.error.clone();
    if lock(&context.digest_key_failure).replace(failure.clone()).as_ref() == Some(&failure) {
        tracing::debug!(kind = "Secret", namespace, name, error, "Failed to read or create digest key Secret again");
        return;
    }
    tracing::warn!(kind = "Secret", namespace, name, error, "Failed to read or create digest key Secret; retrying");
    enqueue_secrets(context);
}

/// Enqueues the SpiceSecrets, which wait for the key.
fn enqueue_secrets(context: &Context) {
    for object in context.kinds.secrets.cache.state() {
        context.kinds.secrets.enqueue(&object);
    }
}

/// Recreates the Secret if it does not exist.
async fn ensure_exists(context: &Context, key: &DigestKey) -> Result<(), String> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    match read(context).await.map_err(|failure| failure.error)? {
        Some(found) if found == *key => {}
        Some(_) => tracing::error!(
            kind = "Secret",
            namespace,
            name,
            "Found another key in digest key Secret; the next start uses it and sets every secret again"
        ),
        None => {
            create(context, key).await.map_err(|failure| failure.error)?;
            tracing::warn!(kind = "Secret", namespace, name, "Recreated deleted digest key Secret");
        }
    }
    Ok(())
}

async fn get_or_create(context: &Context) -> Result<DigestKey, DigestKeyFailure> {
    if let Some(key) = read(context).await? {
        return Ok(key);
    }
    // Random UUIDs: random bytes of the operating system, except for a few bits of version and variant.
    let bytes = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    let key = DigestKey::new(bytes.iter().flat_map(|id| id.as_bytes()).copied().collect());
    if let Err(error) = create(context, &key).await {
        // Another process may have created the Secret first.
        return read(context).await?.ok_or(error);
    }
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    tracing::info!(kind = "Secret", namespace, name, "Created digest key Secret; include it in backups");
    Ok(key)
}

/// The stored key; none if the Secret does not exist.
async fn read(context: &Context) -> Result<Option<DigestKey>, DigestKeyFailure> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let failure =
        |error| Err(DigestKeyFailure { error: format!("Secret {namespace}/{name}: {error}"), is_refusal: false });
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = match with_timeout(secrets.get_opt(name)).await {
        Ok(Some(secret)) => secret,
        Ok(None) => return Ok(None),
        Err(error) => return failure(format_kube_error(&error)),
    };
    match secret.data.and_then(|mut data| data.remove(DATA_KEY)) {
        Some(ByteString(bytes)) if bytes.len() >= KEY_LENGTH => Ok(Some(DigestKey::new(bytes))),
        _ => failure(format!(
            "key \"{DATA_KEY}\" is missing or shorter than {KEY_LENGTH} bytes; delete the Secret to create a new key"
        )),
    }
}

async fn create(context: &Context, key: &DigestKey) -> Result<(), DigestKeyFailure> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let labels = BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "spice-cloud-operator".to_owned())]);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        data: Some([(DATA_KEY.to_owned(), ByteString(key.bytes().to_vec()))].into()),
        immutable: Some(true),
        ..Secret::default()
    };
    context.writer.create_secret(&secret).await.map_err(|error| {
        // A Secret that exists is read again, so every other conflict is a refusal, and so is a missing namespace.
        let is_refusal = is_refusal(&error) || has_code(&error, 404) || has_code(&error, 409);
        let error = format!("Secret {namespace}/{name} is not created: {}", format_kube_error(&error));
        DigestKeyFailure { error, is_refusal }
    })
}
