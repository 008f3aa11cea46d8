//! Credential Secrets: the state from which the planner decides on their finalizer.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;

use super::namespaces;
use super::organizations::{
    credential_ref, credential_secret, dependents, has_dependents, has_terminating_app, organizations_using,
    organizations_with, reference_to,
};
use crate::api::{CREDENTIAL_FINALIZER, SpiceOrganization};
use crate::controller::cluster::sync::lock;
use crate::controller::state::context::Context;
use crate::controller::state::index_keys::OrganizationKey;
use crate::planner::{self, CredentialSecretState, EventRecord, FinalizerAction};

/// Returns true if a Secret has the operator's finalizer.
pub(in crate::controller) fn has_finalizer(secret: &PartialObjectMeta<Secret>) -> bool {
    secret.finalizers().iter().any(|finalizer| finalizer == CREDENTIAL_FINALIZER)
}

/// Returns true if the operator is about to add its finalizer to the credential Secret, which changes the Secret's
/// version.
pub(in crate::controller) fn is_finalizer_add_pending(context: &Context, organization: &SpiceOrganization) -> bool {
    let Some(secret) = context.caches.secrets.get(&credential_ref(organization)) else { return false };
    let is_unprotected = lock(&context.unprotected_secrets).contains_key(&secret.uid().unwrap_or_default());
    next_action(context, &secret) == FinalizerAction::Add && !is_unprotected
}

/// The objects that block the deletion of an organization.
pub(in crate::controller) fn deletion_blockers(context: &Context, organization: &SpiceOrganization) -> Vec<String> {
    let dependents = dependents(context, organization);
    let secret = context.caches.secrets.get(&credential_ref(organization));
    let must_release = || secret.is_some_and(|secret| next_action(context, &secret) == FinalizerAction::Remove);
    // Without a watch of Secrets, only organizations name the Secrets to poll: the finalizer must be removed first.
    if dependents.is_empty() && context.settings.secret_poll_interval.is_some() && must_release() {
        return vec![format!("Secret \"{}\", whose finalizer is being removed", credential_secret(organization))];
    }
    dependents
}

/// Next action on the finalizer of a Secret.
pub(in crate::controller) fn next_action(context: &Context, secret: &PartialObjectMeta<Secret>) -> FinalizerAction {
    state(context, secret).next_action(context.settings.timings.credential_release_delay, Timestamp::now())
}

/// Warning for a deleted Secret that the operator keeps.
pub(in crate::controller) fn kept_secret_warning(
    context: &Context,
    secret: &PartialObjectMeta<Secret>,
) -> Option<EventRecord> {
    let delay = context.settings.timings.credential_release_delay;
    planner::kept_secret_warning(&state(context, secret), &secret.name_any(), delay, Timestamp::now())
}

fn state(context: &Context, secret: &PartialObjectMeta<Secret>) -> CredentialSecretState {
    let namespace = secret.namespace().unwrap_or_default();
    let undecodable = organizations_with(context, &OrganizationKey::Undecodable(namespace.clone()));
    let is_done = |one: &SpiceOrganization| one.metadata.deletion_timestamp.is_some() && !has_dependents(context, one);
    let users = organizations_using(context, secret);
    let users: Vec<_> = users.iter().filter_map(|one| one.0.as_ref().ok()).filter(|one| !is_done(one)).collect();
    CredentialSecretState {
        is_wanted: context.settings.protect_credential_secrets,
        has_finalizer: has_finalizer(secret),
        deleted_at: secret.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        namespace_terminating: namespaces::is_terminating(context, &namespace),
        organizations: users.len(),
        has_undecodable_organization: undecodable.iter().any(|one| one.0.is_err()),
        has_terminating_dependent: users.iter().any(|one| has_terminating_app(context, &reference_to(one))),
    }
}
