//! Decides how long a credential Secret keeps the operator's finalizer. The credential is needed to delete the remote
//! apps, and users often delete the Secret together with the apps.

use std::time::Duration;

use jiff::Timestamp;

use super::outcome::EventRecord;
use super::schedule::elapsed;

/// Interval of the checks while dependents of a deleted Secret are terminating. A check makes no request.
const RECHECK_INTERVAL: Duration = Duration::from_secs(2);

/// State of a credential Secret.
#[derive(Clone, Debug, Default)]
pub struct CredentialSecretState {
    /// True if the settings require the finalizer.
    pub is_wanted: bool,
    /// True if the Secret has the finalizer.
    pub has_finalizer: bool,
    /// Time of its deletion.
    pub deleted_at: Option<Timestamp>,
    /// True if its namespace is being deleted.
    pub namespace_terminating: bool,
    /// Number of SpiceOrganizations that use the Secret, without terminating ones that have no dependents.
    pub organizations: usize,
    /// True if a SpiceOrganization of the namespace cannot be decoded, and may use the Secret.
    pub has_undecodable_organization: bool,
    /// True if a dependent of these organizations is being deleted.
    pub has_terminating_dependent: bool,
}

/// Action on the finalizer of a credential Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizerAction {
    /// Nothing, until something changes.
    None,
    /// Add the finalizer.
    Add,
    /// Remove the finalizer.
    Remove,
    /// Check again after this time.
    RequeueAfter(Duration),
}

impl CredentialSecretState {
    /// The next action. `release_delay`: time after the deletion in which a dependent's deletion may still arrive.
    pub fn next_action(&self, release_delay: Duration, now: Timestamp) -> FinalizerAction {
        if !self.has_finalizer {
            // The apiserver rejects a new finalizer on a terminating object.
            let can_add = self.is_wanted && self.organizations > 0 && self.deleted_at.is_none();
            return if can_add { FinalizerAction::Add } else { FinalizerAction::None };
        }
        if !self.is_wanted || (self.organizations == 0 && !self.has_undecodable_organization) {
            return FinalizerAction::Remove;
        }
        let Some(deleted_at) = self.deleted_at else { return FinalizerAction::None };
        if self.namespace_terminating {
            // Every organization that uses the Secret is deleted too, and its deletion triggers the next check.
            return FinalizerAction::None;
        }
        if self.has_terminating_dependent {
            return FinalizerAction::RequeueAfter(RECHECK_INTERVAL);
        }
        match release_delay.checked_sub(elapsed(deleted_at, now)) {
            Some(left) if left > Duration::ZERO => FinalizerAction::RequeueAfter(left.min(RECHECK_INTERVAL)),
            _ => FinalizerAction::Remove,
        }
    }
}

/// Warning for a deleted credential Secret that still has the finalizer, on the Secret and on the organizations that use
/// the Secret. `kubectl apply` of a new credential succeeds in the meantime, but changes the deleted Secret. The text
/// does not change while the time passes. None if the Secret is not kept, and in a terminating namespace.
pub fn kept_secret_warning(
    state: &CredentialSecretState,
    secret: &str,
    release_delay: Duration,
    now: Timestamp,
) -> Option<EventRecord> {
    let is_kept = state.has_finalizer
        && !state.namespace_terminating
        && state.next_action(release_delay, now) != FinalizerAction::Remove;
    let until = state.deleted_at.filter(|_| is_kept)?.checked_add(release_delay).ok()?;
    let message = format!(
        "Secret \"{secret}\" is being deleted, and changes to the Secret will be lost. The operator keeps the Secret until \
         {until} and until no SpiceApp that uses the credential is terminating. To replace the credential, create a \
         Secret with another name and set spec.credentials, or create the Secret again after the deletion"
    );
    Some(EventRecord::warning("Delete", "SecretTerminating", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE_DELAY: Duration = Duration::from_secs(30);

    #[test]
    fn a_credential_secret_has_the_finalizer_exactly_while_it_is_needed() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let (just_now, long_ago) = (Some(now), Some("2026-01-01T00:00:30Z".parse().unwrap()));
        let used = CredentialSecretState { is_wanted: true, organizations: 1, ..CredentialSecretState::default() };
        let protected = CredentialSecretState { has_finalizer: true, ..used.clone() };
        let deleted = CredentialSecretState { deleted_at: long_ago, ..protected.clone() };
        let requeue = FinalizerAction::RequeueAfter(RECHECK_INTERVAL);
        for (case, state, expected) in [
            ("not used", CredentialSecretState { organizations: 0, ..used.clone() }, FinalizerAction::None),
            ("used", used.clone(), FinalizerAction::Add),
            ("protection is off", CredentialSecretState { is_wanted: false, ..used.clone() }, FinalizerAction::None),
            (
                "deleted before the finalizer was added",
                CredentialSecretState { deleted_at: just_now, ..used },
                FinalizerAction::None,
            ),
            ("protected", protected.clone(), FinalizerAction::None),
            (
                "protection was turned off",
                CredentialSecretState { is_wanted: false, ..protected.clone() },
                FinalizerAction::Remove,
            ),
            (
                "no longer used, or a copy",
                CredentialSecretState { organizations: 0, ..protected.clone() },
                FinalizerAction::Remove,
            ),
            (
                "an undecodable organization may use the Secret",
                CredentialSecretState { organizations: 0, has_undecodable_organization: true, ..protected.clone() },
                FinalizerAction::None,
            ),
            ("deleted just now", CredentialSecretState { deleted_at: just_now, ..protected }, requeue),
            ("deleted and not needed", deleted.clone(), FinalizerAction::Remove),
            (
                "deleted together with an app",
                CredentialSecretState { has_terminating_dependent: true, ..deleted.clone() },
                requeue,
            ),
            (
                "in a terminating namespace",
                CredentialSecretState { namespace_terminating: true, ..deleted.clone() },
                FinalizerAction::None,
            ),
            (
                "not used any more in a terminating namespace",
                CredentialSecretState { namespace_terminating: true, organizations: 0, ..deleted },
                FinalizerAction::Remove,
            ),
        ] {
            assert_eq!(state.next_action(RELEASE_DELAY, now), expected, "{case}");
        }
    }

    #[test]
    fn a_kept_secret_has_a_warning_that_does_not_change_while_the_time_passes() {
        let deleted_at: Timestamp = "2026-01-01T00:00:30Z".parse().unwrap();
        let kept = CredentialSecretState {
            is_wanted: true,
            has_finalizer: true,
            deleted_at: Some(deleted_at),
            organizations: 1,
            ..CredentialSecretState::default()
        };
        let in_use = CredentialSecretState { has_terminating_dependent: true, ..kept.clone() };
        let message = |state: &CredentialSecretState, seconds| {
            let now = deleted_at + jiff::SignedDuration::from_secs(seconds);
            kept_secret_warning(state, "token", RELEASE_DELAY, now).map(|warning| warning.message)
        };
        let first = message(&kept, 0).unwrap();
        assert!(
            first.starts_with(
                "Secret \"token\" is being deleted, and changes to the Secret will be lost. The operator keeps"
            ) && first
                .contains("until 2026-01-01T00:01:00Z and until no SpiceApp that uses the credential is terminating"),
            "{first}"
        );
        for (state, seconds) in [(&kept, 29), (&in_use, 0), (&in_use, 3600)] {
            assert_eq!(message(state, seconds).as_ref(), Some(&first), "{state:?} after {seconds} s");
        }
        for state in [
            CredentialSecretState { deleted_at: None, ..kept.clone() },
            CredentialSecretState { has_finalizer: false, ..kept.clone() },
            CredentialSecretState { is_wanted: false, ..kept.clone() },
            CredentialSecretState { organizations: 0, ..kept.clone() },
            CredentialSecretState { namespace_terminating: true, ..kept.clone() },
        ] {
            assert_eq!(message(&state, 0), None, "{state:?}");
        }
        assert_eq!(message(&kept, 30), None, "the operator removes the finalizer");
    }
}
