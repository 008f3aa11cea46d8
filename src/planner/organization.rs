//! Plans for SpiceOrganization: is the credential accepted, and what does the organization offer?

use std::time::Duration;

use super::failure;
use super::{
    Common, End, Identity, Kind, KubernetesWrite, Observed, Plan, Retry, Seen, Verdict, View, Waits, suspended,
};
use crate::api::{Reason, RegionStatus, SourceVersion, SpiceOrganization, SpiceOrganizationStatus};
use crate::management::types::{Failure, FailureKind, Regions};

/// What a SpiceOrganization asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct OrganizationDesired {
    endpoint: String,
    secret: String,
    suspended: bool,
    interval: Option<Duration>,
}

/// What was seen of it.
#[derive(Debug, Default)]
pub struct OrganizationObserved {
    /// The credential's Secret, in the version that the cache holds.
    pub credential: Option<Observed<SourceVersion>>,
    /// What the API answered with that credential.
    pub regions: Option<Observed<Seen<Regions>>>,
    /// Objects that refer to it, as `Kind name`.
    pub dependants: Option<Vec<String>>,
}

/// A read for a SpiceOrganization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrganizationRead {
    /// The metadata of the credential's Secret, from the cache.
    Credential,
    /// The regions: the cheapest call that needs the credential.
    Regions,
    /// Who refers to it, from the cache.
    Dependants,
}

/// Nothing of an organization is ever written remotely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrganizationWrite {}

impl Kind for SpiceOrganization {
    type Desired = OrganizationDesired;
    type Status = SpiceOrganizationStatus;
    type Observed = OrganizationObserved;
    type Read = OrganizationRead;
    type Write = OrganizationWrite;
    type Answer = ();

    const NAME: &'static str = "SpiceOrganization";

    fn desired(&self, _identity: &Identity) -> OrganizationDesired {
        OrganizationDesired {
            endpoint: self.spec.endpoint.clone(),
            secret: self.spec.credentials.secret().unwrap_or_default().to_owned(),
            suspended: suspended(self.spec.suspend, &self.metadata),
            interval: self.spec.interval.map(Duration::from),
        }
    }

    fn stored_status(&self) -> Option<&SpiceOrganizationStatus> {
        self.status.as_ref()
    }

    fn needs(view: &View<'_, Self>) -> Vec<OrganizationRead> {
        if view.deleting() && view.observed.dependants.is_none() {
            return vec![OrganizationRead::Dependants];
        }
        // One that is being deleted serves its users to the end, with whatever credential it is given meanwhile.
        let unused = view.deleting() && view.observed.dependants.as_ref().is_some_and(Vec::is_empty);
        if unused || !view.has_finalizer() || view.desired.suspended {
            return Vec::new();
        }
        match &view.observed.credential {
            None => vec![OrganizationRead::Credential],
            Some(Observed::Present(version)) if !in_date(view, version) && view.observed.regions.is_none() => {
                vec![OrganizationRead::Regions]
            }
            Some(_) => Vec::new(),
        }
    }

    fn plan(view: &View<'_, Self>) -> Plan<Self> {
        let idle = |verdict| Plan::idle(view.status, verdict);
        if view.deleting() {
            return plan_deletion(view);
        }
        if !view.has_finalizer() {
            let verdict = Verdict::Working("taking the object up".to_owned());
            return Plan::kubernetes(view.status.clone(), KubernetesWrite::AddFinalizer, verdict);
        }
        if view.desired.suspended {
            return idle(Verdict::Suspended);
        }
        let Some(Observed::Present(version)) = &view.observed.credential else {
            return idle(Verdict::Failed(Reason::CredentialsMissing, missing_secret(view), Retry::Backoff));
        };
        match &view.observed.regions {
            None if in_date(view, version) => idle(Verdict::Unchanged),
            Some(Observed::Present(regions)) => {
                Plan::idle(&discovered(view, version, &regions.value), Verdict::Settled)
            }
            Some(Observed::Unknown(failure)) => idle(unreachable_verdict(view, failure)),
            None | Some(Observed::Absent) => {
                let nothing = Failure::local(FailureKind::Unexpected, "the regions were not read");
                idle(unreachable_verdict(view, &nothing))
            }
        }
    }

    fn learn(_: &mut SpiceOrganizationStatus, _: &mut OrganizationObserved, write: &OrganizationWrite, _: &End<()>) {
        match *write {}
    }

    fn failed(write: &OrganizationWrite, _: &Failure, _: &Waits) -> Option<Verdict> {
        match *write {}
    }

    fn corrects(write: &OrganizationWrite) -> &[String] {
        match *write {}
    }

    fn drift(_: &SpiceOrganizationStatus) -> &[String] {
        &[]
    }

    fn stored_at_once(write: &OrganizationWrite) -> bool {
        match *write {}
    }

    fn carry_facts(from: &SpiceOrganizationStatus, to: &mut SpiceOrganizationStatus) {
        let SpiceOrganizationStatus {
            observed_generation: _,
            conditions: _,
            last_handled_reconcile_at: _,
            endpoint,
            regions,
            default_region,
            sources,
        } = from.clone();
        (to.endpoint, to.regions, to.default_region, to.sources) = (endpoint, regions, default_region, sources);
    }

    fn common(status: &mut SpiceOrganizationStatus) -> Common<'_> {
        Common {
            observed_generation: &mut status.observed_generation,
            conditions: &mut status.conditions,
            last_handled: &mut status.last_handled_reconcile_at,
        }
    }

    fn interval(desired: &OrganizationDesired) -> Option<Duration> {
        desired.interval
    }
}

/// Whether the last good answer was for this spec and this very version of the Secret, and no check is due.
fn in_date(view: &View<'_, SpiceOrganization>, credential: &SourceVersion) -> bool {
    (view.rests() || view.deleting()) && view.status.sources == [credential.clone()]
}

fn plan_deletion(view: &View<'_, SpiceOrganization>) -> Plan<SpiceOrganization> {
    if !view.has_finalizer() {
        return Plan::idle(view.status, Verdict::Gone);
    }
    match view.observed.dependants.as_deref() {
        Some([]) => Plan::kubernetes(view.status.clone(), KubernetesWrite::RemoveFinalizer, Verdict::Gone),
        Some(dependants) => Plan::idle(&status_in_use(view), Verdict::Deleting(in_use(dependants))),
        None => Plan::idle(view.status, Verdict::Deleting("looking for objects that use it".to_owned())),
    }
}

/// The status of an organization that is being deleted and in use: with what was seen of it, if anything was.
fn status_in_use(view: &View<'_, SpiceOrganization>) -> SpiceOrganizationStatus {
    match (&view.observed.credential, &view.observed.regions) {
        (Some(Observed::Present(version)), Some(Observed::Present(regions))) => {
            discovered(view, version, &regions.value)
        }
        _ => view.status.clone(),
    }
}

/// Names a few of the users: enough to act on, and the message stays short.
fn in_use(dependants: &[String]) -> String {
    let shown = dependants.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = dependants.len().saturating_sub(3);
    if more == 0 { format!("in use by {shown}") } else { format!("in use by {shown} and {more} more") }
}

fn missing_secret(view: &View<'_, SpiceOrganization>) -> String {
    format!("Secret {} does not exist in this namespace", view.desired.secret)
}

/// An unreachable API is told here, once, and not on every object that uses the organization.
fn unreachable_verdict(view: &View<'_, SpiceOrganization>, failure: &Failure) -> Verdict {
    failure::failed(failure, failure::Call::Read, "apps:read", view.waits)
}

fn discovered(
    view: &View<'_, SpiceOrganization>,
    credential: &SourceVersion,
    regions: &Regions,
) -> SpiceOrganizationStatus {
    let usable = regions.regions.iter().filter(|region| region.disabled != Some(true));
    let flagged = usable.clone().find(|region| region.is_default == Some(true)).map(|region| region.region.clone());
    SpiceOrganizationStatus {
        endpoint: Some(view.desired.endpoint.clone()),
        default_region: regions.default.clone().or(flagged),
        regions: usable
            .take(64)
            .map(|region| RegionStatus {
                region: region.region.clone(),
                name: region.name.clone(),
                provider: region.provider.clone(),
            })
            .collect(),
        sources: vec![credential.clone()],
        ..view.status.clone()
    }
}
