//! Planner of SpiceApp: one object, one app, as declared.

mod absence;
mod delete;
mod fields;
mod input;
mod locate;
mod owner_tags;
mod ownership;
mod sync;
mod update;
mod validate;
mod write;
mod yaml;

#[cfg(test)]
pub(super) mod tests;

pub use fields::ManagedField;
pub use input::{AppObserved, AppRead, AppSecrets, CompetingApp, LoadedSpicepod, RecordedApps, SpicepodProblem};
pub use validate::{AppDesired, AppSpec, parse_spicepod};
pub use write::AppWrite;

use jiff::Timestamp;

use crate::api::{SourceVersion, SpiceApp, SpiceAppStatus, StatusCore};
use crate::planner::digest::Identity;
use crate::planner::resource::{Plan, ResourcePlanner};
use crate::planner::schedule::Resync;
use input::AppInput;

impl ResourcePlanner for SpiceApp {
    type Desired = AppDesired;
    type Spec = AppSpec;
    type Observed = AppObserved;
    type Read = AppRead;
    type Write = AppWrite;

    const NAME: &'static str = "SpiceApp";

    fn suspend(&self) -> Option<bool> {
        self.spec.suspend
    }

    fn desired(&self, identity: &Identity) -> AppDesired {
        AppDesired::of(self, identity)
    }

    fn spec(desired: &AppDesired) -> Result<&AppSpec, &str> {
        desired.spec.as_ref().map_err(String::as_str)
    }

    fn core(status: &SpiceAppStatus) -> &StatusCore {
        &status.core
    }

    fn core_mut(status: &mut SpiceAppStatus) -> &mut StatusCore {
        &mut status.core
    }

    fn copy_external_state(from: &SpiceAppStatus, to: &mut SpiceAppStatus) {
        let SpiceAppStatus {
            core: StatusCore { observed_generation: _, conditions: _, last_handled_reconcile_at: _, observed_sources },
            id,
            organization_binding,
            organization_ref,
            incarnation,
            created_at,
            reactivated_at,
            endpoint,
            url,
            region,
            create_intent,
            last_applied,
            drift,
            tags_unsupported,
            tags_tried_at,
        } = from.clone();
        (to.id, to.organization_binding, to.organization_ref) = (id, organization_binding, organization_ref);
        (to.incarnation, to.created_at, to.reactivated_at) = (incarnation, created_at, reactivated_at);
        (to.endpoint, to.url) = (endpoint, url);
        (to.region, to.create_intent, to.last_applied) = (region, create_intent, last_applied);
        (to.drift, to.core.observed_sources) = (drift, observed_sources);
        (to.tags_unsupported, to.tags_tried_at) = (tags_unsupported, tags_tried_at);
    }

    fn invalidate_sources(observed: &mut AppObserved) {
        (observed.source, observed.spicepod) = (None, None);
    }

    fn cache_reads(input: &AppInput<'_>) -> Vec<AppRead> {
        if input.observed.secrets.is_none() { vec![AppRead::Secrets] } else { Vec::new() }
    }

    fn required_reads(input: &AppInput<'_>, spec: &AppSpec) -> Vec<AppRead> {
        sync::required_reads(input, spec)
    }

    fn plan(input: &AppInput<'_>, spec: &AppSpec) -> Plan<Self> {
        sync::plan(input, spec)
    }

    fn deletion_reads(input: &AppInput<'_>) -> Vec<AppRead> {
        delete::required_reads(input)
    }

    fn plan_deletion(input: &AppInput<'_>) -> Plan<Self> {
        delete::plan(input)
    }

    fn drift(status: &SpiceAppStatus) -> &[String] {
        &status.drift
    }

    fn sources(input: &AppInput<'_>) -> Vec<SourceVersion> {
        sync::sources(input)
    }

    fn in_sync_message(input: &AppInput<'_>) -> String {
        let id = input.status.id.unwrap_or_default();
        let exception = if input.status.drift.is_empty() { "" } else { ", except for the fields in status.drift" };
        format!("App {id} is in sync with the spec{exception}")
    }

    fn wait_until(input: &AppInput<'_>) -> Option<Timestamp> {
        delete::wait_until(input)
    }

    fn deletion_note(input: &AppInput<'_>) -> Option<&'static str> {
        delete::deletion_note(input)
    }

    fn resync(input: &AppInput<'_>) -> Resync {
        let interval = input.observed.secrets.as_ref().map_or(input.desired.interval, |secrets| secrets.interval);
        Resync::new(interval, input.meta)
    }
}
