//! The interface of a kind to the generic planner, and the input and output of a plan.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::object::HasStatus;

use super::digest::Identity;
use super::observation::WriteResult;
use super::outcome::{EventRecord, KubernetesWrite, Outcome};
use super::runtime_state::RuntimeState;
use super::schedule::{Resync, Timings};
use crate::api::{SourceVersion, StatusCore};
use crate::management::types::ApiError;

/// The decisions of one kind of custom resource. `lifecycle` makes the decisions that all kinds share. It plans with
/// the kind only if the object has the finalizer, is not suspended and has a valid spec, or if the object is being
/// deleted.
pub trait ResourcePlanner:
    Resource<DynamicType = ()> + HasStatus<Status: Clone + Debug + Default + PartialEq> + Clone
{
    /// The desired state. Later stages cannot read the raw spec.
    type Desired: Debug;
    /// The validated spec, the part of the desired state that an invalid spec does not have.
    type Spec;
    /// Observations of one reconcile.
    type Observed: Debug + Default;
    /// A read that the planner requests.
    type Read: Debug + PartialEq;
    /// A remote write; [`NoRemoteWrite`] for a kind that writes nothing.
    type Write: RemoteWrite<Self>;

    /// Name of the kind.
    const NAME: &'static str;
    /// True if every failed write (of a SpiceOrganization: every failed check) is held until its retry time, and not only
    /// a rejected one.
    const HOLDS_EVERY_FAILED_WRITE: bool = false;
    /// True if the delay after repeated failures is at most the resync interval.
    const RETRIES_WITHIN_INTERVAL: bool = false;

    /// `spec.suspend`.
    fn suspend(&self) -> Option<bool>;

    /// Computes the desired state, and validates the spec.
    fn desired(&self, identity: &Identity) -> Self::Desired;

    /// The validated spec.
    ///
    /// # Errors
    /// The message for an invalid spec.
    fn spec(desired: &Self::Desired) -> Result<&Self::Spec, &str>;

    /// The shared part of the status.
    fn core(status: &Self::Status) -> &StatusCore;

    /// The shared part of the status.
    fn core_mut(status: &mut Self::Status) -> &mut StatusCore;

    /// Copies the external state of `from`, which cannot be computed again, to a status that was read again.
    fn copy_external_state(from: &Self::Status, to: &mut Self::Status);

    /// Drops the observations of referenced objects, because the spec changed.
    fn invalidate_sources(_observed: &mut Self::Observed) {}

    /// Reads from the cache that every plan needs, also for a suspended or an invalid object.
    fn cache_reads(_input: &PlanInput<'_, Self>) -> Vec<Self::Read> {
        Vec::new()
    }

    /// The next reads for an object that is not being deleted; empty if [`ResourcePlanner::plan`] can decide.
    fn required_reads(input: &PlanInput<'_, Self>, spec: &Self::Spec) -> Vec<Self::Read>;

    /// Plans an object that is not being deleted.
    fn plan(input: &PlanInput<'_, Self>, spec: &Self::Spec) -> Plan<Self>;

    /// The next reads for an object that is being deleted.
    fn deletion_reads(input: &PlanInput<'_, Self>) -> Vec<Self::Read>;

    /// Plans the deletion.
    fn plan_deletion(input: &PlanInput<'_, Self>) -> Plan<Self>;

    /// Completes every plan of an object that is not being deleted.
    fn complete(_input: &PlanInput<'_, Self>, plan: Plan<Self>) -> Plan<Self> {
        plan
    }

    /// Paths that differ from the spec and are not corrected.
    fn drift(_status: &Self::Status) -> &[String] {
        &[]
    }

    /// Versions of the objects that the spec refers to, as observed, with the digest of the content if the content was
    /// read. By default those that were applied last, so nothing counts as changed.
    fn sources(input: &PlanInput<'_, Self>) -> Vec<SourceVersion> {
        Self::core(input.status).observed_sources.clone()
    }

    /// The referenced objects on whose content an attempt depends. A failed attempt is not repeated before its retry
    /// time as long as this content is the same.
    fn attempted_sources(input: &PlanInput<'_, Self>) -> Vec<SourceVersion> {
        input.sources()
    }

    /// Returns true if everything outside the object is as the last reconcile left it. If not, a user waits for the
    /// change.
    fn is_up_to_date(input: &PlanInput<'_, Self>) -> bool {
        !input.sources_changed()
    }

    /// A warning about an object that the spec refers to. The warning is the message of Ready, and an event when the
    /// message changes.
    fn notice(_input: &PlanInput<'_, Self>) -> Option<EventRecord> {
        None
    }

    /// Message of Ready=True.
    fn in_sync_message(input: &PlanInput<'_, Self>) -> String;

    /// End of a wait that no event ends.
    fn wait_until(_input: &PlanInput<'_, Self>) -> Option<Timestamp> {
        None
    }

    /// Sentence about remote items that this reconcile deleted, for a released object that another finalizer keeps.
    fn deletion_note(_input: &PlanInput<'_, Self>) -> Option<&'static str> {
        None
    }

    /// Interval and offset of the resyncs.
    fn resync(input: &PlanInput<'_, Self>) -> Resync;
}

/// A remote write of one kind, and the changes that follow from its result.
pub trait RemoteWrite<K: ResourcePlanner>: Clone + Debug + PartialEq {
    /// Response of the API.
    type Response: Debug;

    /// Name of the operation, for logs.
    fn operation(&self) -> &'static str;

    /// Applies the result to the status and to the observations.
    fn apply(&self, status: &mut K::Status, observed: &mut K::Observed, result: &WriteResult<Self::Response>);

    /// Outcome after an error; none if the reconcile continues another way.
    fn outcome_of_error(&self, error: &ApiError, timings: &Timings) -> Option<Outcome>;

    /// Paths that the write corrected because another client had changed them.
    fn corrected_paths(&self, response: &Self::Response) -> Vec<String>;

    /// Names of the remote items that the write may have changed, for a kind with several items.
    fn affected_names(&self, _result: &WriteResult<Self::Response>) -> Vec<String> {
        Vec::new()
    }

    /// Events of a successful write, besides those of the plan.
    fn success_events(&self, _response: &Self::Response) -> Vec<EventRecord> {
        Vec::new()
    }

    /// Returns true if the result must be stored before anything else happens.
    fn must_persist_immediately(&self) -> bool {
        false
    }
}

/// The write of a kind that writes nothing remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRemoteWrite {}

impl<K: ResourcePlanner> RemoteWrite<K> for NoRemoteWrite {
    type Response = ();

    fn operation(&self) -> &'static str {
        match *self {}
    }

    fn apply(&self, _: &mut K::Status, _: &mut K::Observed, _: &WriteResult<()>) {
        match *self {}
    }

    fn outcome_of_error(&self, _: &ApiError, _: &Timings) -> Option<Outcome> {
        match *self {}
    }

    fn corrected_paths(&self, (): &()) -> Vec<String> {
        match *self {}
    }
}

/// The only input of a plan.
#[derive(Debug)]
pub struct PlanInput<'a, K: ResourcePlanner> {
    /// Metadata of the object.
    pub meta: &'a ObjectMeta,
    /// The desired state.
    pub desired: &'a K::Desired,
    /// True if a user suspended the object.
    pub suspended: bool,
    /// The stored status with all external state that this reconcile has learned.
    pub status: &'a K::Status,
    /// State of the object that only this process has.
    pub runtime_state: &'a RuntimeState,
    /// Observations of this reconcile.
    pub observed: &'a K::Observed,
    /// Timing settings.
    pub timings: &'a Timings,
    /// A fresh random ID (32 hexadecimal digits).
    pub fresh_id: &'a str,
    /// Time of the decision.
    pub now: Timestamp,
}

impl<K: ResourcePlanner> PlanInput<'_, K> {
    /// A plan without writes that changes no status.
    pub(crate) fn no_op(&self, outcome: Outcome) -> Plan<K> {
        Plan::no_op(self.status, outcome)
    }

    /// Removal of the operator's finalizer; nothing remote remains to be done.
    pub(crate) fn release(&self) -> Plan<K> {
        Plan::kubernetes(self.status.clone(), KubernetesWrite::RemoveFinalizer, Outcome::Finalized)
    }
}

/// The next writes. A plan is data; the code that carries the plan out decides nothing.
#[derive(Debug, PartialEq)]
pub struct Plan<K: ResourcePlanner> {
    /// Status with all external state that is known now; stored at the end of the reconcile at the latest.
    pub status: K::Status,
    /// Kubernetes write that must come first.
    pub first: Option<KubernetesWrite>,
    /// Remote write.
    pub remote: Option<K::Write>,
    /// Outcome if the plan has no write, or if the reconcile ends after the Kubernetes write (`Finalized`).
    pub outcome: Outcome,
    /// Events to publish after the writes.
    pub events: Vec<EventRecord>,
}

impl<K: ResourcePlanner> Plan<K> {
    /// A plan without writes.
    pub(crate) fn no_op(status: &K::Status, outcome: Outcome) -> Self {
        Self { status: status.clone(), first: None, remote: None, outcome, events: Vec::new() }
    }

    /// One Kubernetes write.
    pub(crate) fn kubernetes(status: K::Status, write: KubernetesWrite, outcome: Outcome) -> Self {
        Self { status, first: Some(write), remote: None, outcome, events: Vec::new() }
    }

    /// One remote write.
    pub(crate) fn remote(status: K::Status, write: K::Write, message: String) -> Self {
        let outcome = Outcome::InProgress(message);
        Self { status, first: None, remote: Some(write), outcome, events: Vec::new() }
    }

    /// Returns true if the plan has no write.
    pub fn is_no_op(&self) -> bool {
        self.first.is_none() && self.remote.is_none()
    }
}
