//! SpiceSecrets: those of an app, and their siblings.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};

use super::namespaces;
use crate::api::{SpiceApp, SpiceSecret};
use crate::controller::state::context::Context;
use crate::controller::state::secret_names::undecodable_sibling;
use crate::planner::{AppSecrets, SiblingSecret, has_finalizer};

/// Consecutive failures after which a deletion counts as stuck: about half a minute of retries.
const STUCK_AFTER_FAILURES: u32 = 5;

/// The SpiceSecrets of an app. The index may contain more than the cache, so each object is checked.
pub(in crate::controller) fn secrets_of(
    context: &Context,
    namespace: &str,
    app: &str,
) -> Vec<Arc<DeserializeGuard<SpiceSecret>>> {
    let names = context.secrets_by_app.dependents_of(namespace, app);
    let found = names.iter().filter_map(|name| context.kinds.secrets.get(namespace, name));
    let refers = |object: &Arc<DeserializeGuard<SpiceSecret>>| match &object.0 {
        Ok(object) => object.app_name() == app,
        Err(_) => true,
    };
    found.filter(refers).collect()
}

/// Shortest interval that an app or one of its SpiceSecrets requests.
pub(in crate::controller) fn shortest_interval(context: &Context, app: &SpiceApp) -> Option<Duration> {
    let secrets = secrets_of(context, &app.namespace().unwrap_or_default(), &app.name_any());
    let of_secrets = secrets.iter().filter_map(|secret| secret.0.as_ref().ok()?.spec.interval);
    of_secrets.chain(app.spec.interval).map(Duration::from).min()
}

/// The view of an app on its SpiceSecrets.
pub(in crate::controller) fn observe(context: &Context, app: &SpiceApp) -> AppSecrets {
    let mut secrets = AppSecrets { interval: shortest_interval(context, app), ..AppSecrets::default() };
    let namespace = app.namespace().unwrap_or_default();
    // Kubernetes deletes the objects of a terminating namespace one by one, in no defined order.
    let namespace_terminating = namespaces::is_terminating(context, &namespace);
    for secret in secrets_of(context, &namespace, &app.name_any()) {
        let has_finalizer = has_finalizer(secret.meta());
        let is_terminating = secret.meta().deletion_timestamp.is_some() || namespace_terminating;
        if !has_finalizer {
            continue;
        }
        if is_terminating {
            secrets.stuck += usize::from(secret.0.is_err() || is_stuck(context, secret.meta()));
            secrets.terminating.push(secret.name_any());
        } else {
            secrets.remaining.push(secret.name_any());
        }
        let names = context.secret_names.get(secret.meta().uid.as_ref());
        secrets.managed.extend(names.iter().flat_map(|names| names.managed.iter().cloned()));
    }
    secrets
}

/// Returns true if the deletion of an object fails repeatedly. A retained app does not wait for such an object.
pub(in crate::controller) fn is_stuck(context: &Context, object: &ObjectMeta) -> bool {
    let failures = context.kinds.secrets.object_states.failures(object.uid.as_deref().unwrap_or_default());
    object.deletion_timestamp.is_some() && failures >= STUCK_AFTER_FAILURES
}

/// The other SpiceSecrets of the app of an object.
pub(in crate::controller) fn siblings(context: &Context, object: &SpiceSecret) -> Vec<Arc<SiblingSecret>> {
    let namespace = object.namespace().unwrap_or_default();
    let mut all = secrets_of(context, &namespace, object.app_name());
    // The app of an object that was never decodable is not known: only the records of this object name it.
    let conflicts = object.status.iter().flat_map(|status| &status.conflicts);
    let recorded: BTreeSet<&String> = conflicts.map(|conflict| &conflict.owned_by).collect();
    let unknown = recorded.into_iter().filter(|name| context.secrets_by_app.dependency_of(&namespace, name).is_none());
    all.extend(unknown.filter_map(|name| context.kinds.secrets.get(&namespace, name)));
    let others = all.iter().filter(|other| other.meta().uid != object.metadata.uid);
    let sibling = |other: &Arc<DeserializeGuard<SpiceSecret>>| {
        let names = context.secret_names.get(other.meta().uid.as_ref());
        match &other.0 {
            Ok(_) => names,
            Err(_) => Some(Arc::new(undecodable_sibling(other.meta(), names.as_deref(), object))),
        }
    };
    others.filter_map(sibling).collect()
}

/// Enqueues an app and its SpiceSecrets.
pub(in crate::controller) fn enqueue_with_secrets(context: &Context, app: &DeserializeGuard<SpiceApp>) {
    context.kinds.apps.enqueue(app);
    enqueue_secrets_of(context, app);
}

/// Enqueues an app and its SpiceSecrets for a resync.
pub(in crate::controller) fn resync_with_secrets(context: &Context, app: &DeserializeGuard<SpiceApp>) {
    context.kinds.apps.resync(app);
    resync_secrets_of(context, app);
}

/// Enqueues the SpiceSecrets of an app.
pub(in crate::controller) fn enqueue_secrets_of(context: &Context, app: &DeserializeGuard<SpiceApp>) {
    for secret in secrets_of(context, &app.namespace().unwrap_or_default(), &app.name_any()) {
        context.kinds.secrets.enqueue(&secret);
    }
}

/// Enqueues the SpiceSecrets of an app for a resync.
pub(in crate::controller) fn resync_secrets_of(context: &Context, app: &DeserializeGuard<SpiceApp>) {
    for secret in secrets_of(context, &app.namespace().unwrap_or_default(), &app.name_any()) {
        context.kinds.secrets.resync(&secret);
    }
}
