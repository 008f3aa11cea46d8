//! Writes to the objects themselves. Every one carries the resourceVersion it was computed from; none is forced.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Error, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::context::Context;
use super::driver::Reconciler;
use crate::api::{CREDENTIAL_FINALIZER, FINALIZER};

const FIELD_MANAGER: &str = "spice-cloud-operator";
/// First and longest wait between two tries to store a fact; the apiserver is near, and the fact cannot be looked up.
const FACT_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a fact is tried to be stored that the apiserver refuses. The visit ends then, so that the object is not out of
/// reach of its users; the next one finds out from the remote side.
const LONGEST_REFUSAL: Duration = Duration::from_secs(60);

/// Longest wait for one answer of the apiserver. kube sets none, and a call that never ends would end the object's visits.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// A Kubernetes call that ends.
pub(super) async fn bounded<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let timed_out = || Error::Service(format!("no answer of the apiserver within {} s", LONGEST_CALL.as_secs()).into());
    tokio::time::timeout(LONGEST_CALL, call).await.unwrap_or_else(|_| Err(timed_out()))
}

/// Writes under way at once. The apiserver answers each in milliseconds; when it does not, more of them would not help it,
/// and each costs a connection.
pub(super) const WRITES_AT_ONCE: usize = 16;

/// The turn of a write, kept until it is done. Whether this process may write at all is asked last: it may have lost the
/// lease since the visit began.
async fn turn(context: &Context) -> Result<SemaphorePermit<'_>, Error> {
    let turn = context.writes.acquire().await.map_err(|closed| Error::Service(closed.into()))?;
    let lost = || Error::Service("this process holds the lease no more".into());
    if context.leadership.may_write() { Ok(turn) } else { Err(lost()) }
}

/// Does a write in its turn, and counts how it ended.
async fn write<T, F: Future<Output = Result<T, Error>>>(
    context: &Context,
    verb: &'static str,
    kind: &'static str,
    call: impl FnOnce() -> F,
) -> Result<T, Error> {
    let _turn = turn(context).await?;
    // Boxed: most visits wait, and need no room meanwhile for what they do once their turn has come.
    let result = bounded(Box::pin(call())).await;
    context.metrics.wrote(verb, kind, &result);
    result
}

/// Adds or removes our finalizer.
pub(super) async fn set_finalizer<K: Reconciler>(context: &Context, object: &K, present: bool) -> Result<K, Error> {
    let (patch, params) = finalizer_patch(object, FINALIZER, present);
    let (objects, name) = (api(&context.client, object), object.name_any());
    write(context, "patch", K::NAME, || objects.patch(&name, &params, &patch)).await
}

/// Adds or removes our finalizer on the Secret of a credential. Neither sends nor receives what it holds.
pub(super) async fn hold_secret(
    context: &Context,
    secret: &PartialObjectMeta<Secret>,
    present: bool,
) -> Result<(), Error> {
    let (patch, params) = finalizer_patch(secret, CREDENTIAL_FINALIZER, present);
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &secret.namespace().unwrap_or_default());
    let name = secret.name_any();
    write(context, "patch", "Secret", || secrets.patch_metadata(&name, &params, &patch)).await.map(drop)
}

/// Makes a Secret of our own.
pub(super) async fn create_secret(context: &Context, secret: &Secret) -> Result<(), Error> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &secret.namespace().unwrap_or_default());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
    write(context, "create", "Secret", || secrets.create(&params, secret)).await.map(drop)
}

/// Sets a finalizer or takes it off, and leaves all others.
fn finalizer_patch(object: &impl ResourceExt, finalizer: &str, present: bool) -> (Patch<Value>, PatchParams) {
    let mut finalizers: Vec<&str> = object.finalizers().iter().map(String::as_str).collect();
    finalizers.retain(|one| *one != finalizer);
    if present {
        finalizers.push(finalizer);
    }
    let patch = json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": finalizers } });
    (Patch::Merge(patch), PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() })
}

/// Stores a status.
pub(super) async fn set_status<K: Reconciler>(context: &Context, object: &K, status: &K::Status) -> Result<K, Error> {
    let with_status = object.clone().with_status(status.clone());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
    let (objects, name) = (api(&context.client, object), object.name_any());
    write(context, "update", K::NAME, || objects.replace_status(&name, &params, &with_status)).await
}

/// Stores the facts of a status after a remote effect, until they are stored or the object is no more.
///
/// A conflict means that somebody changed the object meanwhile: it is read again, and only the facts are carried over.
pub(super) async fn persist_external_state<K: Reconciler>(
    context: &Context,
    object: &K,
    status: &K::Status,
) -> Option<K> {
    let (mut wait, started_at) = (FACT_WAITS.0, Instant::now());
    let (mut current, mut next) = (object.clone(), status.clone());
    loop {
        match set_status(context, &current, &next).await {
            Ok(stored) => return Some(stored),
            Err(error) if is_code(&error, 404) => return None,
            // Whoever holds the lease now finds out, as after a crash.
            Err(_) if !context.leadership.may_write() => return None,
            Err(error) if is_refusal(&error) && started_at.elapsed() > LONGEST_REFUSAL => {
                tracing::error!(%error, kind = K::NAME, namespace = object.namespace(), object = object.name_any(), "a fact is refused and not stored");
                return None;
            }
            Err(error) if !is_code(&error, 409) => {
                tracing::warn!(%error, kind = K::NAME, namespace = object.namespace(), object = object.name_any(), "a fact is not stored yet; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(FACT_WAITS.1);
                continue;
            }
            Err(_) => {}
        }
        match bounded(api(&context.client, object).get_opt(&object.name_any())).await {
            Ok(Some(fresh)) if fresh.uid() == object.uid() => {
                next = fresh.stored_status().cloned().unwrap_or_default();
                K::copy_external_state(status, &mut next);
                current = fresh;
            }
            Ok(_) => return None,
            // Status is to say so, which takes a visit of its own; the fact is found out again, as after a crash.
            Err(error @ Error::SerdeError(_)) => {
                tracing::error!(%error, kind = K::NAME, namespace = object.namespace(), object = object.name_any(), "a fact is not stored: the object cannot be decoded any more");
                return None;
            }
            Err(error) => {
                tracing::warn!(%error, kind = K::NAME, namespace = object.namespace(), object = object.name_any(), "cannot read the object again")
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(FACT_WAITS.1);
    }
}

/// Stores the status of an object that cannot be decoded.
pub(super) async fn set_raw_status(
    context: &Context,
    kind: &'static str,
    api: &Api<DynamicObject>,
    object: &DynamicObject,
) -> Result<(), Error> {
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
    let name = object.name_any();
    write(context, "update", kind, || api.replace_status(&name, &params, object)).await.map(drop)
}

/// Whether the apiserver will not have it, and not only not now.
fn is_refusal(error: &Error) -> bool {
    let is_final = |code: u16| (400..500).contains(&code) && ![408, 409, 429].contains(&code);
    // What is too large for etcd the apiserver tells as an error of its own.
    matches!(error, Error::Api(status) if is_final(status.code) || status.message.contains("too large"))
}

/// Whether the apiserver answered with this status code.
pub(super) fn is_code(error: &Error, code: u16) -> bool {
    matches!(error, Error::Api(status) if status.code == code)
}

fn api<K: Reconciler>(client: &Client, object: &K) -> Api<K> {
    Api::namespaced(client.clone(), &object.namespace().unwrap_or_default())
}
