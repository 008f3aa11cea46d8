//! Decides. Pure: given what is wanted, what is recorded and what was seen, says what to read and what to do next.
//!
//! No I/O, no clock, no randomness, no tokio, no Kubernetes client, no HTTP in here: `now` and fresh ids are arguments.

mod app;
mod conditions;
mod credential_finalizer;
mod digest;
mod errors;
mod organization;
mod runtime_state;
mod schedule;
mod secret;

#[cfg(test)]
#[path = "../../tests/support/rulebook.rs"]
mod rulebook;

pub use app::{
    AppDesired, AppObserved, AppRead, AppSecrets, AppWrite, CompetingApp, LoadedSpicepod, ManagedField,
    OrganizationView, SpicepodProblem, parse_spicepod,
};
pub use conditions::unreadable;
pub use credential_finalizer::{CredentialSecretState, FinalizerAction};
pub use digest::DigestKey;
pub use organization::{
    OrganizationDesired, OrganizationObserved, OrganizationRead, OrganizationWrite, organization_problem,
};
pub use runtime_state::{Corrections, RetryHold, RuntimeState};
pub use schedule::Timings;
pub(crate) use schedule::elapsed;
pub use secret::{
    ParentApp, SecretDesired, SecretObserved, SecretRead, SecretResponse, SecretWrite, Set, SiblingSecret,
    SourceValues, requested_names,
};

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use crate::api::{FINALIZER, RECONCILE_REQUESTED_AT, Reason, SourceVersion};
use crate::management::types::ApiError;

/// One kind of custom resource, as the generic driver sees it.
pub trait ResourcePlanner: Sized {
    /// What the spec asks for, checked once; later stages cannot see the raw spec.
    type Desired: Debug;
    /// The kind's status.
    type Status: Clone + Debug + Default + PartialEq;
    /// What was seen in this visit.
    type Observed: Debug + Default;
    /// A read that the planner asks for.
    type Read: Debug + PartialEq;
    /// A remote write.
    type Write: Clone + Debug + PartialEq;
    /// What a remote write answers.
    type Response: Debug;

    /// The kind's name, for logs and metrics.
    const NAME: &'static str;

    /// Checks the spec.
    fn desired(&self, identity: &Identity) -> Self::Desired;

    /// The stored status, if there is one.
    fn stored_status(&self) -> Option<&Self::Status>;

    /// The reads to make next; empty when [`ResourcePlanner::plan`] can be asked.
    fn required_reads(input: &PlanInput<'_, Self>) -> Vec<Self::Read>;

    /// What to do next.
    fn plan(input: &PlanInput<'_, Self>) -> Plan<Self>;

    /// Records what a write's end tells: facts into the status, the answer into what was seen.
    fn apply_write_result(
        status: &mut Self::Status,
        observed: &mut Self::Observed,
        write: &Self::Write,
        end: &WriteResult<Self::Response>,
    );

    /// Where a write that did not end well leaves the object; none if the next round goes another way.
    fn on_write_error(write: &Self::Write, error: &ApiError, timings: &Timings) -> Option<Outcome>;

    /// The paths that a write has put back because somebody else had changed them.
    fn corrected_paths(write: &Self::Write, answer: &Self::Response) -> Vec<String>;

    /// What a write may have changed by now, by name, where several things are told apart.
    fn affected_names(_write: &Self::Write, _end: &WriteResult<Self::Response>) -> Vec<String> {
        Vec::new()
    }

    /// What to tell people of what a write has done, besides the plan's own notes.
    fn success_events(_write: &Self::Write, _answer: &Self::Response) -> Vec<EventRecord> {
        Vec::new()
    }

    /// The message of Ready=True: one stable sentence without times.
    fn in_sync_message(status: &Self::Status) -> String;

    /// The paths that differ from the spec and are left so.
    fn drift(status: &Self::Status) -> &[String];

    /// Whether a write's outcome is to be stored before anything else happens.
    fn must_persist_immediately(write: &Self::Write) -> bool;

    /// Re-applies the facts of `from` to a status that was read anew.
    fn copy_external_state(from: &Self::Status, to: &mut Self::Status);

    /// The parts of a status that every kind has.
    fn common(status: &mut Self::Status) -> CommonStatus<'_>;

    /// How often the object is checked, as asked for by it or by those that it is checked with.
    fn interval(desired: &Self::Desired, observed: &Self::Observed) -> Option<Duration>;

    /// Where in the interval its checks are: those of objects that are checked together are at the same time.
    fn phase(meta: &ObjectMeta, _observed: &Self::Observed) -> u64 {
        schedule::phase(meta)
    }

    /// Whether nothing that the object refers to has changed since it was judged. Otherwise somebody waits for it.
    fn sources_unchanged(input: &PlanInput<'_, Self>) -> bool {
        !input.sources_changed()
    }

    /// The Kubernetes objects that the spec refers to, in the versions seen now.
    fn sources(_view: &PlanInput<'_, Self>) -> Vec<SourceVersion> {
        Vec::new()
    }

    /// The same, in the versions that were taken up last.
    fn observed_sources(_status: &Self::Status) -> &[SourceVersion] {
        &[]
    }

    /// Whether what failed is held back until it is to be tried again, whatever else wakes the object.
    fn holds_back(retry: Retry) -> bool {
        matches!(retry, Retry::After(_))
    }

    /// The longest wait after failures in a row.
    fn longest_backoff(_interval: Duration, timings: &Timings) -> Duration {
        timings.max_retry_delay
    }
}

/// The parts of a status that every kind has.
#[derive(Debug)]
pub struct CommonStatus<'a> {
    /// `status.observedGeneration`.
    pub observed_generation: &'a mut i64,
    /// `status.conditions`.
    pub conditions: &'a mut Vec<Condition>,
    /// `status.lastHandledReconcileAt`.
    pub last_handled: &'a mut Option<String>,
}

/// Who this operator is to the remote side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Distinguishes clusters that use the same account.
    pub cluster_id: String,
}

/// All that a decision may rest on.
#[derive(Debug)]
pub struct PlanInput<'a, K: ResourcePlanner> {
    /// The object's metadata.
    pub meta: &'a ObjectMeta,
    /// What is wanted.
    pub desired: &'a K::Desired,
    /// What is recorded: the stored status and the facts learnt since.
    pub status: &'a K::Status,
    /// What this process knows and status does not.
    pub runtime_state: &'a RuntimeState,
    /// What was seen in this visit.
    pub observed: &'a K::Observed,
    /// The waits in force.
    pub timings: &'a Timings,
    /// A fresh random id (32 hexadecimal digits), should one be needed.
    pub fresh_id: &'a str,
    /// The time of the decision.
    pub now: Timestamp,
}

impl<K: ResourcePlanner> PlanInput<'_, K> {
    /// Whether what the spec refers to is in another version than was taken up last.
    pub(crate) fn sources_changed(&self) -> bool {
        K::sources(self) != K::observed_sources(self.status)
    }

    /// Whether the object is being deleted.
    pub fn deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// Whether our finalizer is persisted.
    pub fn has_finalizer(&self) -> bool {
        self.meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
    }

    /// The interval of checks, raised to the operator's least.
    pub fn interval(&self) -> Duration {
        self.timings.interval(K::interval(self.desired, self.observed))
    }

    /// Whether the current generation was achieved, as far as is recorded.
    pub fn is_ready(&self) -> bool {
        let mut status = self.status.clone();
        conditions::standing(K::common(&mut status).conditions, self.meta.generation) == Some(LastResult::Ready)
    }

    /// Whether the current generation was achieved and could not be seen for long: it is checked, and nobody has edited it.
    pub fn is_ready_unknown(&self) -> bool {
        let mut status = self.status.clone();
        conditions::is_ready_unknown(K::common(&mut status).conditions, self.meta.generation)
    }

    /// Where in the interval this object's checks are: the same in every process.
    pub fn phase(&self) -> u64 {
        K::phase(self.meta, self.observed)
    }

    /// Whether our own last write is so recent that a read may not show it yet.
    pub fn is_within_settle_period(&self) -> bool {
        self.runtime_state
            .last_write
            .is_some_and(|at| schedule::elapsed(at, self.now) < self.timings.write_settle_period)
    }

    /// Whether the last visit judged this very generation, and every request to look again was handled.
    fn visited(&self, mut status: K::Status) -> Option<LastResult> {
        let common = K::common(&mut status);
        let current = Some(*common.observed_generation) == self.meta.generation
            && requested_reconcile(self.meta) == common.last_handled.as_deref();
        if current { conditions::standing(common.conditions, self.meta.generation) } else { None }
    }

    /// Whether the last visit judged this very state of the object, and found that it waits for a person, for this reason.
    pub(crate) fn stalled_for(&self, reason: Reason) -> bool {
        let mut status = self.status.clone();
        let told = K::common(&mut status).conditions.iter().any(|condition| condition.reason == reason.as_str());
        told && self.visited(status) == Some(LastResult::Stalled)
    }

    /// Whether the next check's time has come since the last observation.
    pub(crate) fn check_due(&self, interval: Duration) -> bool {
        let last = self.runtime_state.last_synced_at.unwrap_or(self.runtime_state.since);
        schedule::due(self.phase(), interval, last, self.now)
    }

    /// Until when the write that was refused for this very state of the object is held back.
    pub(crate) fn write_held_until(&self) -> Option<Timestamp> {
        let hold = self.runtime_state.retry_hold.as_ref()?;
        let same = hold.generation == self.meta.generation
            && hold.requested.as_deref() == requested_reconcile(self.meta)
            && hold.sources == K::sources(self);
        (same && self.now < hold.until).then_some(hold.until)
    }

    /// The hold that a verdict asks for: a server that refused is not asked again by whatever wakes us next.
    pub fn hold(&self, outcome: &Outcome) -> Option<RetryHold> {
        let Outcome::WriteFailed(_, _, retry) = outcome else { return None };
        if !K::holds_back(*retry) {
            return None;
        }
        let until = self.now.checked_add(schedule::requeue_after(self, outcome)?).ok()?;
        let requested = requested_reconcile(self.meta).map(str::to_owned);
        Some(RetryHold { generation: self.meta.generation, requested, sources: K::sources(self), until })
    }

    /// Whether nothing need be read: the object stands as it was judged, and no check is due.
    pub(crate) fn can_skip(&self) -> bool {
        // Of what was asked for before this process began nothing is known: then it was handled, or the next check does.
        let asked = self.runtime_state.annotations.is_some_and(|then| then != runtime_state::annotations(self.meta));
        let nothing_new = !self.runtime_state.force_resync && !asked;
        let mut status = self.status.clone();
        let resumed = conditions::is_suspended(K::common(&mut status).conditions, self.meta.generation);
        match self.visited(status) {
            Some(LastResult::Ready) => !resumed && (!self.check_due(self.interval()) || self.is_within_settle_period()),
            Some(LastResult::Stalled) => {
                nothing_new && !self.check_due(self.interval().max(self.timings.stalled_resync_interval))
            }
            None => nothing_new && self.write_held_until().is_some(),
        }
    }
}

/// How the current generation was last judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastResult {
    /// Ready.
    Ready,
    /// Nothing goes on without a person.
    Stalled,
}

/// What a look at something told.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed<T> {
    /// It is there.
    Present(T),
    /// It is certainly not there.
    Absent,
    /// It cannot be told; nothing is created or deleted on the strength of that.
    Unknown(ApiError),
}

/// A value and when the request that showed it was begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation<T> {
    /// What was shown.
    pub value: T,
    /// When the request was begun.
    pub started_at: Timestamp,
}

/// How a remote write ended, and when it was begun.
#[derive(Clone, Debug)]
pub struct WriteResult<A> {
    /// The answer, or why there is none.
    pub result: Result<A, ApiError>,
    /// When the request was begun.
    pub started_at: Timestamp,
}

/// What to do next: data, with no decision left to who carries it out.
#[derive(Debug, PartialEq)]
pub struct Plan<K: ResourcePlanner> {
    /// The status with every fact known by now; stored at the latest when the visit ends.
    pub status: K::Status,
    /// A Kubernetes write that must come first.
    pub first: Option<KubernetesWrite>,
    /// A remote write.
    pub remote: Option<K::Write>,
    /// Where the object stands.
    pub outcome: Outcome,
    /// What to tell people once it is done.
    pub events: Vec<EventRecord>,
}

impl<K: ResourcePlanner> Plan<K> {
    /// Nothing to do.
    pub(crate) fn no_op(status: &K::Status, outcome: Outcome) -> Self {
        Self { status: status.clone(), first: None, remote: None, outcome, events: Vec::new() }
    }

    /// One Kubernetes write and nothing else.
    pub(crate) fn kubernetes(status: K::Status, write: KubernetesWrite, outcome: Outcome) -> Self {
        Self { status, first: Some(write), remote: None, outcome, events: Vec::new() }
    }

    /// One remote write.
    pub(crate) fn remote(status: K::Status, write: K::Write, message: impl Into<String>) -> Self {
        let outcome = Outcome::InProgress(message.into());
        Self { status, first: None, remote: Some(write), outcome, events: Vec::new() }
    }

    /// Whether there is anything to carry out.
    pub fn is_no_op(&self) -> bool {
        self.first.is_none() && self.remote.is_none()
    }
}

/// A write to the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubernetesWrite {
    /// Adds our finalizer.
    AddFinalizer,
    /// Removes our finalizer: nothing remote is left to do.
    RemoveFinalizer,
    /// Stores the plan's status.
    StoreStatus,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All is as the spec wants it.
    InSync,
    /// As it was judged before; nothing was looked at.
    Skipped,
    /// Steps remain.
    InProgress(String),
    /// Another Kubernetes object has to change first; its watch wakes us.
    WaitingForDependency(Reason, String),
    /// As waiting, for one that does not exist: with it went what was achieved.
    DependencyDeleted(Reason, String),
    /// The remote side could not be seen.
    ReadFailed(Reason, String, Retry),
    /// A write was refused or its outcome is unknown.
    WriteFailed(Reason, String, Retry),
    /// Nothing goes on without a person; looked at again by reads only.
    Stalled(Reason, String),
    /// Suspended by a person.
    Suspended,
    /// Being deleted, and waiting for what the words say.
    Terminating(String),
    /// Nothing of it is left to us.
    Finalized,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// By the object's own backoff.
    Backoff,
    /// After this time, with the backoff as the least.
    After(Duration),
}

/// Something to tell people as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Whether it is a warning.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

impl EventRecord {
    pub(crate) fn normal(reason: &str, message: String) -> Self {
        Self { warning: false, reason: reason.to_owned(), message }
    }

    pub(crate) fn warning(reason: &str, message: String) -> Self {
        Self { warning: true, reason: reason.to_owned(), message }
    }
}

/// What a visit leaves behind.
#[derive(Debug, PartialEq)]
pub struct Report<S> {
    /// The status to store, if it differs from what is stored.
    pub status: S,
    /// Events for transitions.
    pub events: Vec<EventRecord>,
    /// When to come back, if nothing else wakes us.
    pub requeue_after: Option<Duration>,
}

/// Sums a visit up: conditions, events for transitions, and the next visit. Runs once, whatever happened.
pub fn report<K: ResourcePlanner>(input: &PlanInput<'_, K>, outcome: &Outcome) -> Report<K::Status> {
    let mut status = input.status.clone();
    let overdue = schedule::overdue(input.runtime_state, input.interval(), input.timings, input.now);
    let common = K::common(&mut status);
    let before = common.conditions.clone();
    let generation = input.meta.generation.unwrap_or_default();
    if !matches!(outcome, Outcome::Finalized | Outcome::Skipped) {
        let in_sync = K::in_sync_message(input.status);
        let situation =
            conditions::ConditionInput { generation, overdue, renewed: renewed(input), in_sync, now: input.now };
        *common.conditions = conditions::compute_conditions(&before, outcome, &situation);
        *common.observed_generation = generation;
        let drift = K::drift(input.status);
        let common = K::common(&mut status);
        conditions::set_drifted(common.conditions, &before, generation, drift, input.now);
    }
    let common = K::common(&mut status);
    if matches!(outcome, Outcome::InSync | Outcome::Stalled(..) | Outcome::WriteFailed(..)) {
        *common.last_handled = requested_reconcile(input.meta).map(str::to_owned);
    }
    let events = conditions::transition(&before, common.conditions).into_iter().collect();
    Report { status, events, requeue_after: schedule::requeue_after(input, outcome) }
}

/// What has become of the object that the spec refers to, in words, if it is not as it was when it was taken up last.
fn renewed<K: ResourcePlanner>(input: &PlanInput<'_, K>) -> Option<String> {
    let (now, then) = (K::sources(input), K::observed_sources(input.status).first()?);
    match now.first() {
        None => Some(format!("{} {} is gone", then.kind, then.name)),
        Some(now) if now == then || (&now.kind, &now.name) != (&then.kind, &then.name) => None,
        Some(_) => Some(format!("{} {} has changed, which is not taken up yet", then.kind, then.name)),
    }
}

/// The value of the annotation that asks for a visit, as far as it is told apart from others and acknowledged.
fn requested_reconcile(meta: &ObjectMeta) -> Option<&str> {
    const LONGEST: usize = 256;
    let value = meta.annotations.as_ref()?.get(RECONCILE_REQUESTED_AT)?;
    let end = value.char_indices().nth(LONGEST).map_or(value.len(), |(end, _)| end);
    Some(&value[..end])
}

/// Whether a person suspended the object: by the field of its spec, or by annotation.
pub(crate) fn suspended(field: Option<bool>, meta: &ObjectMeta) -> bool {
    let value = meta.annotations.as_ref().and_then(|annotations| annotations.get(crate::api::SUSPEND));
    // Whoever reaches for the stop button and misses by a letter means it.
    let set = |value: &String| !["", "false"].contains(&value.trim().to_ascii_lowercase().as_str());
    field.unwrap_or(false) || value.is_some_and(set)
}
