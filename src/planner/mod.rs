//! Decides. Pure: given what is wanted, what is recorded and what was seen, says what to read and what to do next.
//!
//! No I/O, no clock, no randomness, no tokio, no Kubernetes client, no HTTP in here: `now` and fresh ids are arguments.

mod app;
mod conditions;
mod custody;
mod digest;
mod failure;
mod memory;
mod organization;
mod schedule;
mod secret;

#[cfg(test)]
#[path = "../../tests/support/rulebook.rs"]
mod rulebook;

pub use app::{
    AppDesired, AppObserved, AppRead, AppWrite, Claim, Managed, Organization, SecretsOfApp, Sourced, parse_spicepod,
};
pub use conditions::unreadable;
pub use custody::{Custody, CustodyStep};
pub use digest::DigestKey;
pub use memory::{Corrections, Hold, Memory};
pub use organization::{
    OrganizationDesired, OrganizationObserved, OrganizationRead, OrganizationWrite, organization_problem,
};
pub use schedule::Waits;
pub(crate) use schedule::elapsed;
pub use secret::{
    AppFacts, OtherSecret, SecretAnswer, SecretDesired, SecretObserved, SecretRead, SecretWrite, Set, Values,
    names_asked_for,
};

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use crate::api::{FINALIZER, RECONCILE_REQUESTED_AT, Reason, SourceVersion};
use crate::management::types::Failure;

/// One kind of custom resource, as the generic driver sees it.
pub trait Kind: Sized {
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
    type Answer: Debug;

    /// The kind's name, for logs and metrics.
    const NAME: &'static str;

    /// Checks the spec.
    fn desired(&self, identity: &Identity) -> Self::Desired;

    /// The stored status, if there is one.
    fn stored_status(&self) -> Option<&Self::Status>;

    /// The reads to make next; empty when [`Kind::plan`] can be asked.
    fn needs(view: &View<'_, Self>) -> Vec<Self::Read>;

    /// What to do next.
    fn plan(view: &View<'_, Self>) -> Plan<Self>;

    /// Records what a write's end tells: facts into the status, the answer into what was seen.
    fn learn(status: &mut Self::Status, observed: &mut Self::Observed, write: &Self::Write, end: &End<Self::Answer>);

    /// Where a write that did not end well leaves the object; none if the next round goes another way.
    fn failed(write: &Self::Write, failure: &Failure, waits: &Waits) -> Option<Verdict>;

    /// The paths that a write has put back because somebody else had changed them.
    fn corrected(write: &Self::Write, answer: &Self::Answer) -> Vec<String>;

    /// What a write may have changed by now, by name, where several things are told apart.
    fn touched(_write: &Self::Write, _end: &End<Self::Answer>) -> Vec<String> {
        Vec::new()
    }

    /// What to tell people of what a write has done, besides the plan's own notes.
    fn done(_write: &Self::Write, _answer: &Self::Answer) -> Vec<Note> {
        Vec::new()
    }

    /// The paths that differ from the spec and are left so.
    fn drift(status: &Self::Status) -> &[String];

    /// Whether a write's outcome is to be stored before anything else happens.
    fn stored_at_once(write: &Self::Write) -> bool;

    /// Re-applies the facts of `from` to a status that was read anew.
    fn carry_facts(from: &Self::Status, to: &mut Self::Status);

    /// The parts of a status that every kind has.
    fn common(status: &mut Self::Status) -> Common<'_>;

    /// How often the object is checked, as asked for by it or by those that it is checked with.
    fn interval(desired: &Self::Desired, observed: &Self::Observed) -> Option<Duration>;

    /// Where in the interval its checks are: those of objects that are checked together are at the same time.
    fn phase(meta: &ObjectMeta, _observed: &Self::Observed) -> u64 {
        schedule::phase(meta)
    }

    /// Whether nothing that the object refers to has changed since it was judged. Otherwise somebody waits for it.
    fn in_date(view: &View<'_, Self>) -> bool {
        !view.sources_changed()
    }

    /// The Kubernetes objects that the spec refers to, in the versions seen now.
    fn sources(_view: &View<'_, Self>) -> Vec<SourceVersion> {
        Vec::new()
    }

    /// The same, in the versions that were taken up last.
    fn taken_up(_status: &Self::Status) -> &[SourceVersion] {
        &[]
    }

    /// Whether what failed is held back until it is to be tried again, whatever else wakes the object.
    fn holds_back(retry: Retry) -> bool {
        matches!(retry, Retry::After(_))
    }

    /// The longest wait after failures in a row.
    fn longest_backoff(_interval: Duration, waits: &Waits) -> Duration {
        waits.backoff_max
    }
}

/// The parts of a status that every kind has.
#[derive(Debug)]
pub struct Common<'a> {
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
pub struct View<'a, K: Kind> {
    /// The object's metadata.
    pub meta: &'a ObjectMeta,
    /// What is wanted.
    pub desired: &'a K::Desired,
    /// What is recorded: the stored status and the facts learnt since.
    pub status: &'a K::Status,
    /// What this process knows and status does not.
    pub memory: &'a Memory,
    /// What was seen in this visit.
    pub observed: &'a K::Observed,
    /// The waits in force.
    pub waits: &'a Waits,
    /// A fresh random id (32 hexadecimal digits), should one be needed.
    pub fresh_id: &'a str,
    /// The time of the decision.
    pub now: Timestamp,
}

impl<K: Kind> View<'_, K> {
    /// Whether what the spec refers to is in another version than was taken up last.
    pub(crate) fn sources_changed(&self) -> bool {
        K::sources(self) != K::taken_up(self.status)
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
        self.waits.interval(K::interval(self.desired, self.observed))
    }

    /// Whether the current generation was achieved, as far as is recorded.
    pub fn achieved(&self) -> bool {
        let mut status = self.status.clone();
        conditions::standing(K::common(&mut status).conditions, self.meta.generation) == Some(Standing::Achieved)
    }

    /// Whether the current generation was achieved and could not be seen for long: it is checked, and nobody has edited it.
    pub fn lost(&self) -> bool {
        let mut status = self.status.clone();
        conditions::is_lost(K::common(&mut status).conditions, self.meta.generation)
    }

    /// Where in the interval this object's checks are: the same in every process.
    pub fn phase(&self) -> u64 {
        K::phase(self.meta, self.observed)
    }

    /// Whether our own last write is so recent that a read may not show it yet.
    pub fn just_written(&self) -> bool {
        self.memory.last_write.is_some_and(|at| schedule::elapsed(at, self.now) < self.waits.quiet_after_write)
    }

    /// Whether the last visit judged this very generation, and every request to look again was handled.
    fn visited(&self, mut status: K::Status) -> Option<Standing> {
        let common = K::common(&mut status);
        let current = Some(*common.observed_generation) == self.meta.generation
            && requested_reconcile(self.meta) == common.last_handled.as_deref();
        if current { conditions::standing(common.conditions, self.meta.generation) } else { None }
    }

    /// Whether the last visit judged this very state of the object, and found that it waits for a person, for this reason.
    pub(crate) fn stalled_for(&self, reason: Reason) -> bool {
        let mut status = self.status.clone();
        let told = K::common(&mut status).conditions.iter().any(|condition| condition.reason == reason.as_str());
        told && self.visited(status) == Some(Standing::Stalled)
    }

    /// Whether the next check's time has come since the last observation.
    pub(crate) fn check_due(&self, interval: Duration) -> bool {
        let last = self.memory.last_observation.unwrap_or(self.memory.since);
        schedule::due(self.phase(), interval, last, self.now)
    }

    /// Until when the write that was refused for this very state of the object is held back.
    pub(crate) fn held_until(&self) -> Option<Timestamp> {
        let hold = self.memory.held.as_ref()?;
        let same = hold.generation == self.meta.generation
            && hold.requested.as_deref() == requested_reconcile(self.meta)
            && hold.sources == K::sources(self);
        (same && self.now < hold.until).then_some(hold.until)
    }

    /// The hold that a verdict asks for: a server that refused is not asked again by whatever wakes us next.
    pub fn hold(&self, verdict: &Verdict) -> Option<Hold> {
        let Verdict::Failed(_, _, retry) = verdict else { return None };
        if !K::holds_back(*retry) {
            return None;
        }
        let until = self.now.checked_add(schedule::again(self, verdict)?).ok()?;
        let requested = requested_reconcile(self.meta).map(str::to_owned);
        Some(Hold { generation: self.meta.generation, requested, sources: K::sources(self), until })
    }

    /// Whether nothing need be read: the object stands as it was judged, and no check is due.
    pub(crate) fn rests(&self) -> bool {
        // Of what was asked for before this process began nothing is known: then it was handled, or the next check does.
        let asked = self.memory.annotations.is_some_and(|then| then != memory::annotations(self.meta));
        let nothing_new = !self.memory.look_again && !asked;
        let mut status = self.status.clone();
        let resumed = conditions::is_suspended(K::common(&mut status).conditions, self.meta.generation);
        match self.visited(status) {
            Some(Standing::Achieved) => !resumed && (!self.check_due(self.interval()) || self.just_written()),
            Some(Standing::Stalled) => nothing_new && !self.check_due(self.interval().max(self.waits.terminal_recheck)),
            None => nothing_new && self.held_until().is_some(),
        }
    }
}

/// How the current generation was last judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Ready.
    Achieved,
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
    Unknown(Failure),
}

/// A value and when the request that showed it was begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<T> {
    /// What was shown.
    pub value: T,
    /// When the request was begun.
    pub begun: Timestamp,
}

/// How a remote write ended, and when it was begun.
#[derive(Clone, Debug)]
pub struct End<A> {
    /// The answer, or why there is none.
    pub result: Result<A, Failure>,
    /// When the request was begun.
    pub begun: Timestamp,
}

/// What to do next: data, with no decision left to who carries it out.
#[derive(Debug, PartialEq)]
pub struct Plan<K: Kind> {
    /// The status with every fact known by now; stored at the latest when the visit ends.
    pub status: K::Status,
    /// A Kubernetes write that must come first.
    pub first: Option<KubernetesWrite>,
    /// A remote write.
    pub remote: Option<K::Write>,
    /// Where the object stands.
    pub verdict: Verdict,
    /// What to tell people once it is done.
    pub notes: Vec<Note>,
}

impl<K: Kind> Plan<K> {
    /// Nothing to do.
    pub(crate) fn idle(status: &K::Status, verdict: Verdict) -> Self {
        Self { status: status.clone(), first: None, remote: None, verdict, notes: Vec::new() }
    }

    /// One Kubernetes write and nothing else.
    pub(crate) fn kubernetes(status: K::Status, write: KubernetesWrite, verdict: Verdict) -> Self {
        Self { status, first: Some(write), remote: None, verdict, notes: Vec::new() }
    }

    /// One remote write.
    pub(crate) fn remote(status: K::Status, write: K::Write, message: impl Into<String>) -> Self {
        let verdict = Verdict::Working(message.into());
        Self { status, first: None, remote: Some(write), verdict, notes: Vec::new() }
    }

    /// Whether there is anything to carry out.
    pub fn is_idle(&self) -> bool {
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
pub enum Verdict {
    /// All is as the spec wants it.
    Settled,
    /// As it was judged before; nothing was looked at.
    Unchanged,
    /// Steps remain.
    Working(String),
    /// Another Kubernetes object has to change first; its watch wakes us.
    Waiting(Reason, String),
    /// As waiting, for one that does not exist: with it went what was achieved.
    Bereft(Reason, String),
    /// The remote side could not be seen.
    Unseen(Reason, String, Retry),
    /// A write was refused or its outcome is unknown.
    Failed(Reason, String, Retry),
    /// Nothing goes on without a person; looked at again by reads only.
    Stalled(Reason, String),
    /// Suspended by a person.
    Suspended,
    /// Being deleted, and waiting for what the words say.
    Deleting(String),
    /// Nothing of it is left to us.
    Gone,
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
pub struct Note {
    /// Whether it is a warning.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

impl Note {
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
    pub notes: Vec<Note>,
    /// When to come back, if nothing else wakes us.
    pub again: Option<Duration>,
}

/// Sums a visit up: conditions, events for transitions, and the next visit. Runs once, whatever happened.
pub fn report<K: Kind>(view: &View<'_, K>, verdict: &Verdict) -> Report<K::Status> {
    let mut status = view.status.clone();
    let overdue = schedule::overdue(view.memory, view.interval(), view.waits, view.now);
    let common = K::common(&mut status);
    let before = common.conditions.clone();
    let generation = view.meta.generation.unwrap_or_default();
    if !matches!(verdict, Verdict::Gone | Verdict::Unchanged) {
        let situation = conditions::Situation { generation, overdue, renewed: renewed(view), now: view.now };
        *common.conditions = conditions::summarize(&before, verdict, &situation);
        *common.observed_generation = generation;
        let drift = K::drift(view.status);
        let common = K::common(&mut status);
        conditions::tell_drift(common.conditions, &before, generation, drift, view.now);
    }
    let common = K::common(&mut status);
    if matches!(verdict, Verdict::Settled | Verdict::Stalled(..) | Verdict::Failed(..)) {
        *common.last_handled = requested_reconcile(view.meta).map(str::to_owned);
    }
    let notes = conditions::transition(&before, common.conditions).into_iter().collect();
    Report { status, notes, again: schedule::again(view, verdict) }
}

/// What has become of the object that the spec refers to, in words, if it is not as it was when it was taken up last.
fn renewed<K: Kind>(view: &View<'_, K>) -> Option<String> {
    let (now, then) = (K::sources(view), K::taken_up(view.status).first()?);
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
