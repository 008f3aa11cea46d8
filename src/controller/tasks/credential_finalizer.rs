//! Adds the operator's finalizer to credential Secrets, and removes it, as the planner decides.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::{Error, ResourceExt};

use crate::api::{CREDENTIAL_FINALIZER, Reason};
use crate::controller::cluster::call::format_kube_error;
use crate::controller::cluster::sync::lock;
use crate::controller::cluster::work_queue::{self, ReconcileRequests, RequeueAfter};
use crate::controller::cluster::writer::WriteFailure;
use crate::controller::lookup::credential::{kept_secret_warning, next_action};
use crate::controller::lookup::organizations::organizations_using;
use crate::controller::state::context::Context;
use crate::planner::{EventRecord, FinalizerAction, doubled_delay};

type SecretMetadata = PartialObjectMeta<Secret>;

/// Reconciles credential Secrets as requested, until shutdown.
pub(in crate::controller) async fn run(context: Arc<Context>, requests: ReconcileRequests<SecretMetadata>) {
    let (secrets, shutdown) = (context.caches.secrets.clone(), context.shutdown.clone());
    work_queue::run(requests, secrets, context, shutdown, reconcile).await;
}

async fn reconcile(secret: Arc<SecretMetadata>, context: Arc<Context>) -> RequeueAfter {
    if let Some(warning) = kept_secret_warning(&context, &secret)
        && lock(&context.kept_secrets).insert(secret.uid().unwrap_or_default())
    {
        context.events.publish(secret.as_ref(), vec![warning]);
    }
    match next_action(&context, &secret) {
        FinalizerAction::None => None,
        FinalizerAction::RequeueAfter(delay) => Some(delay),
        FinalizerAction::Add => set_finalizer(&context, &secret, true).await,
        FinalizerAction::Remove => set_finalizer(&context, &secret, false).await,
    }
}

async fn set_finalizer(context: &Context, secret: &SecretMetadata, present: bool) -> RequeueAfter {
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
    let uid = secret.uid().unwrap_or_default();
    let error = match context.writer.set_finalizer(secret, CREDENTIAL_FINALIZER, present).await {
        Ok(_) => {
            let event = if present {
                "Added finalizer to credential Secret"
            } else {
                "Removed finalizer from credential Secret"
            };
            tracing::info!(kind = "Secret", namespace, name, "{event}");
            // Without a watch, only the poller sees the change.
            context.secret_refs_changed.notify_one();
            lock(&context.unprotected_secrets).remove(&uid);
            return None;
        }
        Err(error) => error,
    };
    match context.writer.failure(secret, &error).await {
        WriteFailure::Gone => None,
        // The watch delivers the change; without a watch, the poller must read the Secret again.
        WriteFailure::Outdated => {
            context.secret_refs_changed.notify_one();
            Some(context.settings.timings.min_interval)
        }
        failure => {
            let failures = count_failure(context, uid);
            if failures == 1 {
                report_failure(context, secret, present, (&error, failure));
            }
            let timings = &context.settings.timings;
            Some(doubled_delay(timings.min_interval, failures - 1, timings.max_retry_delay))
        }
    }
}

/// Logs a failed change of the finalizer, publishes a refusal as an event, and enqueues the organizations, which do not
/// wait for the finalizer any more.
fn report_failure(context: &Context, secret: &SecretMetadata, present: bool, (error, failure): (&Error, WriteFailure)) {
    let (namespace, name, error) = (secret.namespace(), secret.name_any(), format_kube_error(error));
    tracing::warn!(kind = "Secret", namespace, name, present, error, "Failed to change finalizer of credential Secret");
    if failure == WriteFailure::Refused {
        let change = if present { "finalizer" } else { "removal of finalizer" };
        let message = format!("The API server rejects the {change} {CREDENTIAL_FINALIZER}: {error}");
        let event = EventRecord::warning("Protect", Reason::KubernetesRejected.as_str(), message);
        context.events.publish(secret, vec![event]);
    }
    if present {
        for organization in organizations_using(context, secret) {
            context.kinds.organizations.enqueue(&organization);
        }
    }
}

/// Counts a failed change of the finalizer of a Secret. Returns the failures in a row.
fn count_failure(context: &Context, uid: String) -> u32 {
    let mut failed = lock(&context.unprotected_secrets);
    let failures = failed.entry(uid).or_default();
    *failures = failures.saturating_add(1);
    *failures
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::core::DeserializeGuard;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::controller::state::index_keys::organization_keys;
    use crate::controller::state::test_context::test_context;

    #[tokio::test]
    async fn a_refused_finalizer_is_retried_with_growing_delays() {
        let (context, mut feeds) = test_context(|_| Err(403));
        let organization = serde_json::from_value(json!({
            "apiVersion": "cloud.spice.ai/v1alpha1",
            "kind": "SpiceOrganization",
            "metadata": { "name": "default", "namespace": "team", "uid": "organization" },
            "spec": {
                "endpoint": "https://api.example",
                "credentials": { "personalAccessToken": { "secretRef": { "name": "token" } } },
            },
        }));
        let organization = DeserializeGuard(Ok(organization.unwrap()));
        context.organizations_by.set("team", "default", organization_keys(&organization));
        feeds.organizations.writer.apply_watcher_event(&Event::Apply(organization));
        let mut secret = SecretMetadata::default();
        secret.metadata.name = Some("token".to_owned());
        secret.metadata.namespace = Some("team".to_owned());
        secret.metadata.uid = Some("secret".to_owned());
        let (context, secret) = (Arc::new(context), Arc::new(secret));
        for minutes in [1, 2, 4, 8, 16, 30, 30] {
            let action = reconcile(Arc::clone(&secret), Arc::clone(&context)).await;
            assert_eq!(action, Some(Duration::from_secs(minutes * 60)));
        }
    }
}
