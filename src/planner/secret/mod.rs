//! Planner of SpiceSecret: secrets of an app that follow a Kubernetes Secret.

mod changes;
mod delete;
mod entries;
mod input;
mod messages;
mod name_conflicts;
mod next;
mod source;
mod sync;
mod validate;
mod write;

#[cfg(test)]
mod tests;

pub use input::{ParentApp, SecretObserved, SecretRead, SiblingSecret};
pub use source::SourceValues;
pub use validate::{KeySelection, SecretDesired, requested_names};
pub use write::{SecretResponse, SecretWrite, SetSecret, WrittenSecret};

use crate::api::{SourceVersion, SpiceSecret, SpiceSecretStatus, StatusCore};
use crate::planner::digest::Identity;
use crate::planner::resource::{Plan, ResourcePlanner};
use crate::planner::schedule::{self, Resync};
use input::{SecretInput, app};

impl ResourcePlanner for SpiceSecret {
    type Desired = SecretDesired;
    type Spec = KeySelection;
    type Observed = SecretObserved;
    type Read = SecretRead;
    type Write = SecretWrite;

    const NAME: &'static str = "SpiceSecret";
    /// SpiceSecrets of one app trigger each other, so every failed write is held.
    const HOLDS_EVERY_FAILED_WRITE: bool = true;

    fn suspend(&self) -> Option<bool> {
        self.spec.suspend
    }

    fn desired(&self, identity: &Identity) -> SecretDesired {
        SecretDesired::of(self, identity)
    }

    fn spec(desired: &SecretDesired) -> Result<&KeySelection, &str> {
        desired.spec.as_ref().map_err(String::as_str)
    }

    fn core(status: &SpiceSecretStatus) -> &StatusCore {
        &status.core
    }

    fn core_mut(status: &mut SpiceSecretStatus) -> &mut StatusCore {
        &mut status.core
    }

    fn copy_external_state(from: &SpiceSecretStatus, to: &mut SpiceSecretStatus) {
        let SpiceSecretStatus {
            core: StatusCore { observed_generation: _, conditions: _, last_handled_reconcile_at: _, observed_sources },
            app_ref,
            app_id,
            applied_secrets,
            secrets,
            conflicts,
            drift,
        } = from.clone();
        (to.app_ref, to.app_id, to.applied_secrets) = (app_ref, app_id, applied_secrets);
        (to.secrets, to.conflicts) = (secrets, conflicts);
        (to.drift, to.core.observed_sources) = (drift, observed_sources);
    }

    fn invalidate_sources(observed: &mut SecretObserved) {
        (observed.source, observed.values) = (None, None);
    }

    fn cache_reads(input: &SecretInput<'_>) -> Vec<SecretRead> {
        if input.observed.siblings.is_none() { vec![SecretRead::Siblings] } else { Vec::new() }
    }

    fn required_reads(input: &SecretInput<'_>, spec: &KeySelection) -> Vec<SecretRead> {
        sync::next(input, spec).into_read().into_iter().collect()
    }

    fn plan(input: &SecretInput<'_>, spec: &KeySelection) -> Plan<Self> {
        sync::next(input, spec).into_plan(input)
    }

    fn deletion_reads(input: &SecretInput<'_>) -> Vec<SecretRead> {
        delete::next(input).into_read().into_iter().collect()
    }

    fn plan_deletion(input: &SecretInput<'_>) -> Plan<Self> {
        delete::next(input).into_plan(input)
    }

    fn complete(input: &SecretInput<'_>, plan: Plan<Self>) -> Plan<Self> {
        sync::complete(input, plan)
    }

    fn drift(status: &SpiceSecretStatus) -> &[String] {
        &status.drift
    }

    fn sources(input: &SecretInput<'_>) -> Vec<SourceVersion> {
        input::sources(input)
    }

    fn is_up_to_date(input: &SecretInput<'_>) -> bool {
        sync::is_up_to_date(input)
    }

    fn in_sync_message(input: &SecretInput<'_>) -> String {
        messages::in_sync(input)
    }

    fn deletion_note(input: &SecretInput<'_>) -> Option<&'static str> {
        let are_deleted = input.observed.deleted && input.status.secrets.is_empty();
        are_deleted.then_some("The secrets are deleted remotely")
    }

    fn resync(input: &SecretInput<'_>) -> Resync {
        let app = app(input.observed);
        let resync = Resync::new(input.desired.interval, input.meta);
        app.map_or(resync, |app| Resync {
            interval: app.interval.or(resync.interval),
            offset: schedule::offset(&app.uid),
        })
    }
}
