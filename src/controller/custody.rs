//! Our finalizer on the Secrets of credentials: the facts that [`CredentialSecretState`] judges, and the patch.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action, ReconcileRequest};
use kube::runtime::reflector::ObjectRef;

use super::caches::ReconcileRequests;
use super::context::Context;
use super::driver::kubernetes_words;
use super::namespaces;
use super::organization::{apps_of, credential_ref, dependents, users};
use super::store;
use crate::api::{CREDENTIAL_FINALIZER, SpiceApp, SpiceOrganization};
use crate::planner::{CredentialSecretState, FinalizerAction};
use kube::core::DeserializeGuard;

type Metadata = PartialObjectMeta<Secret>;

/// Secrets, by uid, that could not be given our finalizer: their organizations do without.
#[derive(Default)]
pub(super) struct UnprotectedSecrets(Mutex<HashSet<String>>);

impl UnprotectedSecrets {
    /// Forgets a Secret that is gone.
    pub(super) fn forget(&self, secret: &Metadata) {
        self.uids().remove(&secret.uid().unwrap_or_default());
    }

    fn uids(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at Secrets as it is asked to, until shutdown.
pub(super) async fn run(context: Arc<Context>, requests: ReconcileRequests<Metadata>) {
    let stopped = context.shutdown.clone().cancelled_owned();
    let queue = requests.take_until(stopped).map(|secret| Ok::<_, Infallible>(ReconcileRequest::from(secret)));
    let secrets = context.caches.secrets.clone();
    let looks = controller::applier(
        |secret: Arc<Metadata>, context: Arc<Context>| Box::pin(look(secret, context)),
        |_, error: &Infallible, _| match *error {},
        context,
        secrets,
        queue.boxed(),
        controller::Config::default(),
    );
    looks.for_each(|_| std::future::ready(())).await;
}

/// Asks for a look at the Secret that an organization names.
pub(super) fn look_at_credential(context: &Context, organization: &SpiceOrganization) {
    context.queues.secrets.request(credential_ref(organization));
}

/// Asks for a look at the Secrets of a namespace that we hold. Which of them an organization named before is not known.
pub(super) fn look_at_held(context: &Context, namespace: &str) {
    let held = |secret: &Metadata| secret.metadata.namespace.as_deref() == Some(namespace) && is_held(secret);
    for secret in context.caches.secrets.state_filter(held) {
        context.queues.secrets.request(ObjectRef::from_obj(secret.as_ref()));
    }
}

/// Whether the Secret that an organization names is about to change, because it gets our finalizer.
pub(super) fn is_about_to_hold(context: &Context, organization: &SpiceOrganization) -> bool {
    let Some(secret) = context.caches.secrets.get(&credential_ref(organization)) else { return false };
    let step = facts(context, &secret).step(context.settings.timings.credential_release_delay, context.now());
    step == FinalizerAction::Add && !context.unheld.uids().contains(&secret.uid().unwrap_or_default())
}

/// Whether a Secret carries our finalizer for nobody.
pub(super) fn is_to_be_let_go(context: &Context, secret: &Metadata) -> bool {
    facts(context, secret).step(context.settings.timings.credential_release_delay, context.now())
        == FinalizerAction::Remove
}

/// Whether a Secret carries our finalizer.
pub(super) fn is_held(secret: &Metadata) -> bool {
    secret.finalizers().iter().any(|finalizer| finalizer == CREDENTIAL_FINALIZER)
}

async fn look(secret: Arc<Metadata>, context: Arc<Context>) -> Result<Action, Infallible> {
    let step = facts(&context, &secret).step(context.settings.timings.credential_release_delay, context.now());
    let hold = match step {
        FinalizerAction::None => return Ok(Action::await_change()),
        FinalizerAction::RequeueAfter(wait) => return Ok(Action::requeue(wait)),
        FinalizerAction::Add => true,
        FinalizerAction::Remove => false,
    };
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
    let uid = secret.uid().unwrap_or_default();
    Ok(match store::hold_secret(&context, &secret, hold).await {
        Ok(()) => {
            tracing::info!(namespace, name, hold, "finalizer of a credential's Secret changed");
            // Without a watch nothing else would tell that it did.
            context.secrets_named.notify_one();
            context.unheld.uids().remove(&uid);
            Action::await_change()
        }
        Err(error) if store::is_code(&error, 404) => Action::await_change(),
        // Its change is on its way here; without a watch, it is to be read once more.
        Err(error) if store::is_code(&error, 409) => {
            context.secrets_named.notify_one();
            Action::requeue(context.settings.timings.min_interval)
        }
        Err(error) => {
            let error = kubernetes_words(&error);
            tracing::warn!(namespace, name, hold, error, "finalizer of a credential's Secret not changed");
            if hold && context.unheld.uids().insert(uid) {
                for organization in users(&context, &secret) {
                    context.queues.organizations.request(ObjectRef::from_obj(organization.as_ref()));
                }
            }
            Action::requeue(context.settings.timings.min_interval)
        }
    })
}

fn facts(context: &Context, secret: &Metadata) -> CredentialSecretState {
    let namespace = secret.namespace().unwrap_or_default();
    let caches = &context.caches;
    let unreadable = |one: &DeserializeGuard<SpiceOrganization>| {
        one.0.is_err() && one.namespace().as_deref() == Some(namespace.as_str())
    };
    let users = users(context, secret);
    let done =
        |one: &SpiceOrganization| one.metadata.deletion_timestamp.is_some() && dependents(context, one).is_empty();
    let users: Vec<_> = users.iter().filter_map(|one| one.0.as_ref().ok()).filter(|one| !done(one)).collect();
    let going = |app: &Arc<DeserializeGuard<SpiceApp>>| kube::Resource::meta(app.as_ref()).deletion_timestamp.is_some();
    CredentialSecretState {
        wanted: context.settings.protect_credential_secrets,
        held: is_held(secret),
        deleted_at: secret.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        namespace_terminating: namespaces::is_ending(context, &namespace),
        organizations: users.len(),
        unreadable: !caches.organizations.state_filter(unreadable).is_empty(),
        dependent_terminating: users.iter().any(|one| apps_of(context, one).iter().any(going)),
    }
}
