//! The key of the digests in the status of SpiceSecrets: kept in a Secret beside the operator, made when there is none.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::oneshot;

use super::context::Context;
use super::driver::kubernetes_words;
use super::readiness::Readiness;
use super::store::{self, bounded};
use crate::planner::DigestKey;

/// Key in the Secret's data.
const KEY: &str = "key";
/// As long as HMAC-SHA-256 makes use of.
const LENGTH: usize = 32;

/// Where the key is kept.
#[derive(Clone, Debug)]
pub struct DigestKeyRef {
    /// The namespace that the operator runs in.
    pub namespace: String,
    /// The name of the Secret.
    pub name: String,
}

/// Reads the key, or makes one, for the context to have; then puts it back where it is deleted, until shutdown. `tried` is
/// told when it was looked for once.
pub(super) async fn keep(context: Arc<Context>, readiness: Readiness, tried: oneshot::Sender<()>) {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let what = format!("the key of digests in Secret {namespace}/{name}");
    let mut reliance = readiness.relying_on(what, context.settings.readiness_failure_threshold);
    let Some(key) = load(&context, tried).await else { return };
    reliance.works();
    loop {
        tokio::select! {
            () = tokio::time::sleep(context.settings.digest_key_check_interval) => {}
            () = context.shutdown.cancelled() => return,
        }
        match kept(&context, &key).await {
            Ok(()) => reliance.works(),
            Err(error) => {
                tracing::warn!(namespace, name, error, "the key of digests cannot be read or put back");
                reliance.fails();
            }
        }
    }
}

/// The key that is kept, or a new one that is kept from now on: waited for until shutdown.
async fn load(context: &Context, tried: oneshot::Sender<()>) -> Option<DigestKey> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let mut tried = Some(tried);
    let key = loop {
        let error = match found_or_made(context).await {
            Ok(key) => break key,
            Err(error) => error,
        };
        tracing::warn!(namespace, name, error, "the key of digests cannot be read or made; trying again");
        drop(tried.take());
        tokio::select! {
            () = tokio::time::sleep(context.settings.startup_poll_interval) => {}
            () = context.shutdown.cancelled() => return None,
        }
    };
    let key = context.digest_key.get_or_init(|| key).clone();
    if tried.is_none() {
        // They were visited without.
        for object in context.caches.spice_secrets.state() {
            context.queues.spice_secrets.request(ObjectRef::from_obj(object.as_ref()));
        }
    }
    Some(key)
}

/// Puts the key back if it is not there.
async fn kept(context: &Context, key: &DigestKey) -> Result<(), String> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    match read(context).await? {
        Some(found) if found == *key => {}
        Some(_) => tracing::error!(
            namespace,
            name,
            "the Secret holds another key of digests than this process uses: after its next start every secret is set once more"
        ),
        None => {
            make(context, key).await?;
            tracing::warn!(namespace, name, "the key of digests was deleted and is put back");
        }
    }
    Ok(())
}

async fn found_or_made(context: &Context) -> Result<DigestKey, String> {
    if let Some(key) = read(context).await? {
        return Ok(key);
    }
    // Two random ids: what the operating system gives, less a few bits that say which kind of id they are.
    let bytes = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    let key = DigestKey::new(bytes.iter().flat_map(|id| id.as_bytes()).copied().collect());
    if let Err(error) = make(context, &key).await {
        // Another process may have been quicker.
        return read(context).await?.ok_or(error);
    }
    tracing::info!(key = key.id(), "a key of digests was made; keep a copy of its Secret with your backups");
    Ok(key)
}

async fn read(context: &Context) -> Result<Option<DigestKey>, String> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let Some(secret) = bounded(secrets.get_opt(name)).await.map_err(|error| kubernetes_words(&error))? else {
        return Ok(None);
    };
    match secret.data.and_then(|mut data| data.remove(KEY)) {
        Some(ByteString(bytes)) if bytes.len() >= LENGTH => Ok(Some(DigestKey::new(bytes))),
        _ => Err(format!("its data has no {KEY} of {LENGTH} bytes or more: delete it, and a new one is made")),
    }
}

async fn make(context: &Context, key: &DigestKey) -> Result<(), String> {
    let DigestKeyRef { namespace, name } = &context.settings.digest_key;
    let labels = BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "spice-cloud-operator".to_owned())]);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        data: Some([(KEY.to_owned(), ByteString(key.bytes().to_vec()))].into()),
        immutable: Some(true),
        ..Secret::default()
    };
    store::create_secret(context, &secret).await.map_err(|error| kubernetes_words(&error))
}
