//! How long the Secret of a credential is kept from going: what it opens has to be cleaned up with self. Somebody who deletes
//! a folder of manifests, or a namespace, deletes the Secret along with the apps that need self.

use std::time::Duration;

use jiff::Timestamp;

use super::schedule::elapsed;

/// What is known of a Secret.
#[derive(Clone, Debug, Default)]
pub struct Custody {
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
    pub dependant_going: bool,
}

/// What to do about self.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustodyStep {
    /// Nothing, until something changes.
    Nothing,
    /// Put our finalizer on self.
    Hold,
    /// Take our finalizer off self.
    Release,
    /// Nothing yet.
    LookAgain(Duration),
}

/// How often a Secret is looked at whose organizations' users are going. It takes no request.
const WHILE_NEEDED: Duration = Duration::from_secs(2);

impl Custody {
    /// What to do. `release_after`: how long after its deletion users may still turn out to be going as well.
    pub fn step(&self, release_after: Duration, now: Timestamp) -> CustodyStep {
        if !self.held {
            // The apiserver takes no finalizer for what is going.
            let hold = self.wanted && self.organizations > 0 && self.deleted_at.is_none();
            return if hold { CustodyStep::Hold } else { CustodyStep::Nothing };
        }
        if !self.wanted || (self.organizations == 0 && !self.unreadable) {
            return CustodyStep::Release;
        }
        let Some(deleted_at) = self.deleted_at else { return CustodyStep::Nothing };
        if self.namespace_terminating {
            // Every organization that names it goes as well, and tells by its going.
            return CustodyStep::Nothing;
        }
        if self.dependant_going {
            return CustodyStep::LookAgain(WHILE_NEEDED);
        }
        match release_after.checked_sub(elapsed(deleted_at, now)) {
            Some(left) if left > Duration::ZERO => CustodyStep::LookAgain(left.min(WHILE_NEEDED)),
            _ => CustodyStep::Release,
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
        let used = Custody { wanted: true, organizations: 1, ..Custody::default() };
        let held = Custody { held: true, ..used.clone() };
        let going = Custody { deleted_at: long_ago, ..held.clone() };
        let look_again = CustodyStep::LookAgain(WHILE_NEEDED);
        for (what, it, expected) in [
            ("of nobody", Custody { organizations: 0, ..used.clone() }, CustodyStep::Nothing),
            ("used", used.clone(), CustodyStep::Hold),
            ("not to be held", Custody { wanted: false, ..used.clone() }, CustodyStep::Nothing),
            ("going before it was held", Custody { deleted_at: just_now, ..used }, CustodyStep::Nothing),
            ("held", held.clone(), CustodyStep::Nothing),
            ("no longer to be held", Custody { wanted: false, ..held.clone() }, CustodyStep::Release),
            ("no longer used", Custody { organizations: 0, ..held.clone() }, CustodyStep::Release),
            ("perhaps used", Custody { organizations: 0, unreadable: true, ..held.clone() }, CustodyStep::Nothing),
            ("deleted a moment ago", Custody { deleted_at: just_now, ..held }, look_again),
            ("deleted, and nobody needs it", going.clone(), CustodyStep::Release),
            ("deleted with an app", Custody { dependant_going: true, ..going.clone() }, look_again),
            (
                "in a namespace that goes",
                Custody { namespace_terminating: true, ..going.clone() },
                CustodyStep::Nothing,
            ),
            (
                "the last in a namespace that goes",
                Custody { namespace_terminating: true, organizations: 0, ..going },
                CustodyStep::Release,
            ),
        ] {
            assert_eq!(it.step(RELEASE_AFTER, now), expected, "{what}");
        }
    }
}
