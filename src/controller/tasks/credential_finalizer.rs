//! Adds the operator's finalizer to credential Secrets, and removes it, as the planner decides.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;

use crate::api::CREDENTIAL_FINALIZER;
use crate::controller::cluster::call::{format_kube_error, has_code};
use crate::controller::cluster::sync::lock;
use crate::controller::cluster::work_queue::{self, ReconcileRequests};
use crate::controller::lookup::credential::next_action;
use crate::controller::lookup::organizations::organizations_using;
use crate::controller::state::context::Context;
use crate::planner::FinalizerAction;

type SecretMetadata = PartialObjectMeta<Secret>;

/// Reconciles credential Secrets as requested, until shutdown.
pub(in crate::controller) async fn run(context: Arc<Context>, requests: ReconcileRequests<SecretMetadata>) {
    let (secrets, shutdown) = (context.caches.secrets.clone(), context.shutdown.clone());
    work_queue::run(requests, secrets, context, shutdown, reconcile).await;
}

async fn reconcile(secret: Arc<SecretMetadata>, context: Arc<Context>) -> Action {
    match next_action(&context, &secret) {
        FinalizerAction::None => Action::await_change(),
        FinalizerAction::RequeueAfter(delay) => Action::requeue(delay),
        FinalizerAction::Add => set_finalizer(&context, &secret, true).await,
        FinalizerAction::Remove => set_finalizer(&context, &secret, false).await,
    }
}

async fn set_finalizer(context: &Context, secret: &SecretMetadata, present: bool) -> Action {
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
    let uid = secret.uid().unwrap_or_default();
    match context.writer.set_finalizer(secret, CREDENTIAL_FINALIZER, present).await {
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
            Action::await_change()
        }
        Err(error) if has_code(&error, 404) => Action::await_change(),
        // The watch delivers the change; without a watch, the poller must read the Secret again.
        Err(error) if has_code(&error, 409) => {
            context.secret_refs_changed.notify_one();
            Action::requeue(context.settings.timings.min_interval)
        }
        Err(error) => {
            let error = format_kube_error(&error);
            tracing::warn!(
                kind = "Secret",
                namespace,
                name,
                present,
                error,
                "Failed to change finalizer of credential Secret"
            );
            if present && lock(&context.unprotected_secrets).insert(uid) {
                for organization in organizations_using(context, secret) {
                    context.kinds.organizations.enqueue(&organization);
                }
            }
            Action::requeue(context.settings.timings.min_interval)
        }
    }
}
