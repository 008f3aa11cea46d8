//! Writes to Kubernetes objects. Every write carries the resourceVersion that it was computed from; none is forced.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::{Api, Client, Error, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::call::{has_code, is_refusal, with_timeout};
use super::counters::Counters;
use super::leadership::Leadership;

const FIELD_MANAGER: &str = "spice-cloud-operator";

/// Concurrent writes. The apiserver answers a write in milliseconds; if it does not, more writes would not help, and
/// each costs a connection.
const MAX_CONCURRENT_WRITES: usize = 16;

/// Why a write to an object failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controller) enum WriteFailure {
    /// The object no longer exists.
    Gone,
    /// The object has another version than the one that the write was computed from.
    Outdated,
    /// The apiserver refuses the write, and the text of the error shows the cause.
    Refused,
    /// The apiserver did not respond, or is overloaded.
    Unavailable,
}

/// Body of a status write.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusUpdate<'a, S> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    metadata: Value,
    status: &'a S,
}

/// Writes to Kubernetes objects, as long as this process is the leader.
pub(in crate::controller) struct KubeWriter {
    client: Client,
    permits: Semaphore,
    leadership: Leadership,
    counters: Counters,
}

impl KubeWriter {
    pub(in crate::controller) fn new(client: Client, leadership: Leadership, counters: Counters) -> Self {
        Self { client, permits: Semaphore::new(MAX_CONCURRENT_WRITES), leadership, counters }
    }

    /// Adds or removes a finalizer. For a `PartialObjectMeta`, the response contains the metadata only.
    pub(in crate::controller) async fn set_finalizer<K>(
        &self,
        object: &K,
        finalizer: &str,
        present: bool,
    ) -> Result<K, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let (patch, params) = finalizer_patch(object, finalizer, present);
        let (objects, name) = (self.api(object), object.name_any());
        self.write("patch", &K::kind(&()), || objects.patch(&name, &params, &patch)).await
    }

    /// Stores a status of an object, and returns the stored object. The request does not contain the spec, which the
    /// apiserver keeps: the operator may have a shortened spec only.
    pub(in crate::controller) async fn replace_status<K>(&self, object: &K, status: &K::Status) -> Result<K, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + HasStatus<Status: Serialize>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let (objects, name) = (self.api(object), object.name_any());
        let params = post_params();
        let ObjectMeta { name: own_name, namespace, uid, resource_version, .. } = object.meta();
        let update = StatusUpdate {
            api_version: K::api_version(&()),
            kind: K::kind(&()),
            metadata: json!({ "name": own_name, "namespace": namespace, "uid": uid, "resourceVersion": resource_version }),
            status,
        };
        let call = || objects.replace_subresource("status", &name, &params, &update);
        self.write("update", &K::kind(&()), call).await
    }

    /// Stores the status of an object that cannot be decoded.
    pub(in crate::controller) async fn replace_raw_status(
        &self,
        kind: &str,
        api: &Api<DynamicObject>,
        object: &DynamicObject,
    ) -> Result<(), Error> {
        let name = object.name_any();
        let params = post_params();
        self.write("update", kind, || api.replace_status(&name, &params, object)).await.map(drop)
    }

    /// Creates a Secret of the operator.
    pub(in crate::controller) async fn create_secret(&self, secret: &Secret) -> Result<(), Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &secret.namespace().unwrap_or_default());
        let params = post_params();
        self.write("create", "Secret", || secrets.create(&params, secret)).await.map(drop)
    }

    /// Determines why a write to an object failed. A 404 or a 409 alone does not show the cause, because an admission
    /// webhook can refuse a write with any code: the object's present version shows whether the write was outdated.
    pub(in crate::controller) async fn failure<K>(&self, object: &K, error: &Error) -> WriteFailure
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        if !has_code(error, 404) && !has_code(error, 409) {
            return if is_refusal(error) { WriteFailure::Refused } else { WriteFailure::Unavailable };
        }
        match with_timeout(self.api(object).get_metadata_opt(&object.name_any())).await {
            Ok(Some(present)) if present.uid() != object.uid() => WriteFailure::Gone,
            Ok(Some(present)) if present.resource_version() == object.resource_version() => WriteFailure::Refused,
            Ok(Some(_)) => WriteFailure::Outdated,
            Ok(None) => WriteFailure::Gone,
            Err(error) if has_code(&error, 404) => WriteFailure::Gone,
            Err(_) => WriteFailure::Unavailable,
        }
    }

    /// Runs a write with a permit, and counts its result.
    async fn write<T, F: Future<Output = Result<T, Error>>>(
        &self,
        verb: &'static str,
        kind: &str,
        call: impl FnOnce() -> F,
    ) -> Result<T, Error> {
        let _permit = self.permits.acquire().await.map_err(|closed| Error::Service(closed.into()))?;
        // Checked last, because this process may have lost the lease while it waited for the permit.
        if !self.leadership.may_write() {
            return Err(Error::Service("this process is not the leader".into()));
        }
        // Boxed: most reconciles wait for a permit, and need no memory for the call before.
        let result = with_timeout(Box::pin(call())).await;
        self.counters.kubernetes_write(verb, kind, &result);
        result
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self, object: &K) -> Api<K> {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Patch that adds or removes one finalizer and keeps the others.
fn finalizer_patch(object: &impl ResourceExt, finalizer: &str, present: bool) -> (Patch<Value>, PatchParams) {
    let mut finalizers: Vec<&str> = object.finalizers().iter().map(String::as_str).collect();
    finalizers.retain(|one| *one != finalizer);
    if present {
        finalizers.push(finalizer);
    }
    let patch = json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": finalizers } });
    (Patch::Merge(patch), PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() })
}

fn post_params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false }
}

/// Returns true if the apiserver rejects a write permanently.
pub(in crate::controller) fn is_permanent_rejection(error: &Error) -> bool {
    let is_final = |code: u16| (400..500).contains(&code) && ![408, 409, 429].contains(&code);
    // The apiserver reports an object that is too large for etcd as an internal error with this text.
    matches!(error, Error::Api(status) if is_final(status.code) || status.message.contains("too large"))
}
