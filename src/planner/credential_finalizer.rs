//! How long the Secret of a credential is kept from going: what it opens has to be cleaned up with self. Somebody who deletes
//! a folder of manifests, or a namespace, deletes the Secret along with the apps that need self.

use std::time::Duration;

use jiff::Timestamp;

use super::schedule::elapsed;

/// What is known of a Secret.
#[derive(Clone, Debug, Default)]
pub struct CredentialSecretState {
    /// Whether Secrets are to be held at all.
    pub wanted: bool,
    /// Whether it carries our finalizer.
    pub held: bool,
    /// When its deletion was asked for.
    pub deleted_at: Option<Timestamp>,
    /// Whether its namespace is going.
    pub namespace_terminating: bool,
    /// SpiceOrganizations that name it and need it: one that is going does as long as it is used.
    pub organizations: usize,
    /// Whether there is a SpiceOrganization beside it that cannot be read, and may name self.
    pub unreadable: bool,
    /// Whether an object that uses one of these organizations is going.
    pub dependent_terminating: bool,
}

/// What to do about self.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizerAction {
    /// Nothing, until something changes.
    None,
    /// Put our finalizer on self.
    Add,
    /// Take our finalizer off self.
    Remove,
    /// Nothing yet.
    RequeueAfter(Duration),
}

/// How often a Secret is looked at whose organizations' users are going. It takes no request.
const WHILE_NEEDED: Duration = Duration::from_secs(2);

impl CredentialSecretState {
    /// What to do. `release_after`: how long after its deletion users may still turn out to be going as well.
    pub fn step(&self, release_after: Duration, now: Timestamp) -> FinalizerAction {
        if !self.held {
            // The apiserver takes no finalizer for what is going.
            let hold = self.wanted && self.organizations > 0 && self.deleted_at.is_none();
            return if hold { FinalizerAction::Add } else { FinalizerAction::None };
        }
        if !self.wanted || (self.organizations == 0 && !self.unreadable) {
            return FinalizerAction::Remove;
        }
        let Some(deleted_at) = self.deleted_at else { return FinalizerAction::None };
        if self.namespace_terminating {
            // Every organization that names it goes as well, and tells by its going.
            return FinalizerAction::None;
        }
        if self.dependent_terminating {
            return FinalizerAction::RequeueAfter(WHILE_NEEDED);
        }
        match release_after.checked_sub(elapsed(deleted_at, now)) {
            Some(left) if left > Duration::ZERO => FinalizerAction::RequeueAfter(left.min(WHILE_NEEDED)),
            _ => FinalizerAction::Remove,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE_AFTER: Duration = Duration::from_secs(30);

    #[test]
    fn a_secret_is_held_while_it_is_needed_and_no_longer() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let (just_now, long_ago) = (Some(now), Some("2026-01-01T00:00:30Z".parse().unwrap()));
        let used = CredentialSecretState { wanted: true, organizations: 1, ..CredentialSecretState::default() };
        let held = CredentialSecretState { held: true, ..used.clone() };
        let going = CredentialSecretState { deleted_at: long_ago, ..held.clone() };
        let force_resync = FinalizerAction::RequeueAfter(WHILE_NEEDED);
        for (what, it, expected) in [
            ("of nobody", CredentialSecretState { organizations: 0, ..used.clone() }, FinalizerAction::None),
            ("used", used.clone(), FinalizerAction::Add),
            ("not to be held", CredentialSecretState { wanted: false, ..used.clone() }, FinalizerAction::None),
            ("going before it was held", CredentialSecretState { deleted_at: just_now, ..used }, FinalizerAction::None),
            ("held", held.clone(), FinalizerAction::None),
            ("no longer to be held", CredentialSecretState { wanted: false, ..held.clone() }, FinalizerAction::Remove),
            ("no longer used", CredentialSecretState { organizations: 0, ..held.clone() }, FinalizerAction::Remove),
            (
                "perhaps used",
                CredentialSecretState { organizations: 0, unreadable: true, ..held.clone() },
                FinalizerAction::None,
            ),
            ("deleted a moment ago", CredentialSecretState { deleted_at: just_now, ..held }, force_resync),
            ("deleted, and nobody needs it", going.clone(), FinalizerAction::Remove),
            (
                "deleted with an app",
                CredentialSecretState { dependent_terminating: true, ..going.clone() },
                force_resync,
            ),
            (
                "in a namespace that goes",
                CredentialSecretState { namespace_terminating: true, ..going.clone() },
                FinalizerAction::None,
            ),
            (
                "the last in a namespace that goes",
                CredentialSecretState { namespace_terminating: true, organizations: 0, ..going },
                FinalizerAction::Remove,
            ),
        ] {
            assert_eq!(it.step(RELEASE_AFTER, now), expected, "{what}");
        }
    }
}
