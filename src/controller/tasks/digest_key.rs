//! The digest key: the HMAC key of the digests in the status of SpiceSecrets, in a Secret of the operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ObjectMeta;
use tokio::sync::oneshot;

use crate::controller::cluster::call::{format_kube_error, with_timeout};
use crate::controller::cluster::readiness::Readiness;
use crate::controller::state::context::Context;
use crate::controller::state::settings::DigestKeyRef;
use crate::planner::DigestKey;

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

/// Reads or creates the key, with retries until shutdown.
async fn load(context: &Context, tried: oneshot::Sender<()>) -> Option<DigestKey> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let mut tried = Some(tried);
    let key = loop {
        let error = match get_or_create(context).await {
            Ok(key) => break key,
            Err(error) => error,
        };
        tracing::warn!(kind = "Secret", namespace, name, error, "Failed to read or create digest key Secret; retrying");
        drop(tried.take());
        tokio::select! {
            () = tokio::time::sleep(context.settings.startup_poll_interval) => {}
            () = context.shutdown.cancelled() => return None,
        }
    };
    let key = context.digest_key.get_or_init(|| key).clone();
    if tried.is_none() {
        // Their reconciles so far waited for the key.
        for object in context.kinds.secrets.cache.state() {
            context.kinds.secrets.enqueue(&object);
        }
    }
    Some(key)
}

/// Recreates the Secret if it does not exist.
async fn ensure_exists(context: &Context, key: &DigestKey) -> Result<(), String> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    match read(context).await? {
        Some(found) if found == *key => {}
        Some(_) => tracing::error!(
            kind = "Secret",
            namespace,
            name,
            "Found another key in digest key Secret; the next start uses it and sets every secret again"
        ),
        None => {
            create(context, key).await?;
            tracing::warn!(kind = "Secret", namespace, name, "Recreated deleted digest key Secret");
        }
    }
    Ok(())
}

async fn get_or_create(context: &Context) -> Result<DigestKey, String> {
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
async fn read(context: &Context) -> Result<Option<DigestKey>, String> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let Some(secret) = with_timeout(secrets.get_opt(name)).await.map_err(|error| format_kube_error(&error))? else {
        return Ok(None);
    };
    match secret.data.and_then(|mut data| data.remove(DATA_KEY)) {
        Some(ByteString(bytes)) if bytes.len() >= KEY_LENGTH => Ok(Some(DigestKey::new(bytes))),
        _ => Err(format!(
            "key \"{DATA_KEY}\" is missing or shorter than {KEY_LENGTH} bytes; delete the Secret to create a new key"
        )),
    }
}

async fn create(context: &Context, key: &DigestKey) -> Result<(), String> {
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
    context.writer.create_secret(&secret).await.map_err(|error| format_kube_error(&error))
}
