//! What is to be done about each secret that an object asks for or has.

use std::cell::Cell;

use super::entries::{record, same_time};
use super::messages::named;
use super::name_conflicts::{claimant, held_by, holder, is_passing_on, others, own, waiting_for};
use super::source::{DesiredSecrets, DesiredValue};
use super::update::{is_confirmed, is_to_go, sources, standing};
use super::*;
use crate::api::SecretConflict;
use crate::planner::LastResult;

/// As many entries as status takes.
const MOST_ENTRIES: usize = 512;

/// What is to become of one name.
enum SecretAction {
    /// It is as it should be.
    Leave,
    /// Somebody else has changed it, and it is left so.
    Drift,
    /// It is to be set.
    Set { adopted: bool, corrects: bool },
    /// An object before us has it.
    Held(SecretConflict),
    /// It is not ours.
    Taken(String),
}

pub(super) struct SecretPlanner<'a> {
    pub(super) input: &'a SecretInput<'a>,
    pub(super) app: &'a ParentApp,
    pub(super) id: i64,
    /// Nothing where all is as it was: then what was set is what is wanted.
    pub(super) wanted: Option<DesiredSecrets>,
    /// Whether values are needed that were not read.
    must_read: Cell<bool>,
}

/// All that is to be done, and all that is in the way.
#[derive(Default)]
pub(super) struct PlannedChanges {
    pub(super) sets: Vec<Set>,
    /// Names of those that put back what somebody else has changed.
    pub(super) corrects: Vec<String>,
    pub(super) drift: Vec<String>,
    pub(super) held: Vec<SecretConflict>,
    /// Why a name cannot be had.
    pub(super) taken: Vec<String>,
    deletes: Vec<String>,
    /// Names that are to be recorded no more, without a call.
    released: Vec<String>,
    /// What another object has to take note of before it is released.
    pub(super) waiting: Option<String>,
}

impl<'a> SecretPlanner<'a> {
    pub(super) fn new(input: &'a SecretInput<'a>, app: &'a ParentApp, id: i64, wanted: Option<DesiredSecrets>) -> Self {
        Self { input, app, id, wanted, must_read: Cell::new(false) }
    }

    pub(super) fn next(self) -> Next {
        let input = self.input;
        if self.needs_list() && input.observed.list.is_none() {
            return Next::Read(SecretRead::List(self.id, fresh_since(input)));
        }
        match &input.observed.list {
            Some(Observed::Unknown(error)) => return no_op(input, read_failed(error, "secrets:read")),
            Some(Observed::Absent) => return no_op(input, self.gone()),
            Some(Observed::Present(_)) | None => {}
        }
        let work = self.work();
        if self.must_read.get() {
            return Next::Read(SecretRead::SourceValues);
        }
        // What met one secret and is not about itself would meet the others as well.
        let halted = input.observed.failed.values().any(|error| !is_refusal(error));
        if halted || (work.sets.is_empty() && work.deletes.is_empty()) {
            return self.done(work);
        }
        match shown(input) {
            None => Next::Read(SecretRead::RemoteApp(self.id, max_read_age(input))),
            Some(Observed::Present(seen)) if is_ours(input, self.app, &seen.value) => self.write(work, seen.started_at),
            Some(Observed::Present(_)) => {
                let message =
                    format!("app {} does not show that it is ours: SpiceApp {} says why", self.id, input.desired.app);
                no_op(input, Outcome::WaitingForDependency(Reason::DependencyNotReady, message))
            }
            Some(Observed::Absent) => no_op(input, self.gone()),
            Some(Observed::Unknown(error)) => no_op(input, read_failed(error, "apps:read")),
        }
    }

    fn gone(&self) -> Outcome {
        let message = format!("app {} cannot be read; SpiceApp {} finds out", self.id, self.input.desired.app);
        Outcome::ReadFailed(Reason::DependencyNotReady, message, Retry::Backoff)
    }

    pub(super) fn list(&self) -> Option<&SecretList> {
        match &self.input.observed.list {
            Some(Observed::Present(list)) => Some(&list.value),
            _ => None,
        }
    }

    /// Whether what there is has to be looked at: not for a mere change of values that we have set ourselves.
    fn needs_list(&self) -> bool {
        let (input, entries) = (self.input, &self.input.status.secrets);
        let Some(wanted) = &self.wanted else { return true };
        let confirmed = |name: &String| {
            entries.iter().any(|entry| entry.name == *name && is_confirmed(entry, self.app))
                || input.observed.set.contains(name)
        };
        let of_today = entries.iter().all(|entry| entry.digest.is_none() || is_confirmed(entry, self.app));
        let only_values = standing(input) == Some(LastResult::Ready)
            && !input.check_due(input.interval())
            && of_today
            && wanted.contents.keys().all(confirmed);
        !only_values
    }

    fn work(&self) -> PlannedChanges {
        let input = self.input;
        let mut work = PlannedChanges::default();
        let entries = &input.status.secrets;
        let names: BTreeSet<&String> = match &self.wanted {
            Some(wanted) => wanted.contents.keys().collect(),
            None => entries.iter().map(|entry| &entry.name).collect(),
        };
        for name in &names {
            let content = self.wanted.as_ref().and_then(|wanted| wanted.contents.get(*name));
            match self.step(name, content) {
                SecretAction::Leave => {}
                SecretAction::Drift => work.drift.push((*name).clone()),
                SecretAction::Held(held) => work.held.push(held),
                SecretAction::Taken(message) => work.taken.push(message),
                SecretAction::Set { adopted, corrects } => match content {
                    None => self.must_read.set(true),
                    Some(content) => {
                        work.sets.push(self.set(name, content, adopted));
                        work.corrects.extend(corrects.then(|| (*name).clone()));
                    }
                },
            }
        }
        // What another object has set is that one's. Before, it knows by our record that it may set it.
        let passed = work.held.iter().filter(|held| held.present == Some(true));
        work.released.extend(passed.map(|held| held.name.clone()));
        let all_well = work.taken.is_empty() && input.observed.failed.is_empty();
        if let Some(wanted) = self.wanted.as_ref().filter(|wanted| wanted.problems.is_empty() && all_well) {
            for entry in own(input).iter().filter(|entry| !wanted.contents.contains_key(&entry.name)) {
                match claimant(input, &entry.name) {
                    // It has to learn first that the secret is one of ours.
                    Some(other) if !other.knows.contains(&entry.name) => {
                        work.waiting = Some(waiting_for(other, &entry.name));
                    }
                    None if self.is_to_be_deleted(entry) => work.deletes.push(entry.name.clone()),
                    _ => work.released.push(entry.name.clone()),
                }
            }
        }
        // Of more than status can tell of, the others wait until something is deleted.
        let mut room = MOST_ENTRIES.saturating_sub(entries.len());
        work.sets.retain(|set| {
            let fits = !set.first || room > 0;
            room -= usize::from(set.first && fits);
            fits
        });
        work
    }

    fn is_to_be_deleted(&self, entry: &SecretEntry) -> bool {
        let there = || {
            let shown = self.list().and_then(|list| list.get(&entry.name));
            shown.is_some_and(|shown| is_same(entry, shown))
        };
        let is_here = entry.digest.is_none() || is_confirmed(entry, self.app);
        is_to_go(self.input, entry) && (is_here || there())
    }

    fn step(&self, name: &str, content: Option<&DesiredValue>) -> SecretAction {
        let input = self.input;
        if input.observed.failed.contains_key(name) {
            return SecretAction::Leave;
        }
        if let Some(other) = holder(input, name) {
            return SecretAction::Held(held_by(other, name));
        }
        match input.status.secrets.iter().find(|entry| entry.name == name) {
            // It was about to be set when it was heard of last.
            Some(entry) if entry.digest.is_none() => {
                SecretAction::Set { adopted: entry.adopted == Some(true), corrects: false }
            }
            Some(entry) if is_confirmed(entry, self.app) => self.step_set(entry, content),
            other => self.step_new(name, other),
        }
    }

    /// A secret that we have set.
    fn step_set(&self, entry: &SecretEntry, content: Option<&DesiredValue>) -> SecretAction {
        let (input, name) = (self.input, entry.name.as_str());
        let adopted = entry.adopted == Some(true);
        if content.is_some_and(|content| entry.digest.as_ref() != Some(&content.digest)) {
            return SecretAction::Set { adopted, corrects: false };
        }
        // The list may be from before it was set, or not show it yet.
        let believed = !input.runtime_state.written.contains_key(name) && !input.observed.set.contains(name);
        let differs = self.list().is_some_and(|list| {
            list.get(name).is_none_or(|shown| !same_time(entry.updated_at.as_deref(), shown.updated_at.as_deref()))
        });
        match differs && believed {
            false if !believed && input.status.drift.iter().any(|drifted| drifted == name) => SecretAction::Drift,
            false => SecretAction::Leave,
            true if input.desired.leaves_drift || self.is_correction_loop(name) => SecretAction::Drift,
            true => SecretAction::Set { adopted, corrects: true },
        }
    }

    pub(super) fn is_correction_loop(&self, name: &str) -> bool {
        let (input, generation) = (self.input, self.input.meta.generation);
        input.runtime_state.corrections.is_correction_loop(
            generation,
            name,
            input.now,
            input.timings.correction_loop_cooldown,
        )
    }

    /// A secret that we have not set in the app as it is now. What is there is somebody else's, unless there is proof of the
    /// contrary.
    fn step_new(&self, name: &str, before: Option<&SecretEntry>) -> SecretAction {
        let input = self.input;
        let Some(there) = self.list().and_then(|list| list.get(name)) else {
            return SecretAction::Set { adopted: false, corrects: false };
        };
        let survived = before.is_some_and(|entry| is_same(entry, there));
        let another = others(input).find(|other| other.set.contains(name));
        // Whoever had it is gone: otherwise that one would go before us.
        let passed_on = input.status.conflicts.iter().find(|held| held.name == name && held.present == Some(true));
        if survived || another.is_some() || passed_on.is_some() || self.is_left_over(there) {
            // Whoever took it over: it was somebody else's once.
            let adopted = before.is_some_and(|entry| entry.adopted == Some(true))
                || another.is_some_and(|other| other.adopted.contains(name))
                || passed_on.is_some_and(|held| held.adopted == Some(true));
            return SecretAction::Set { adopted, corrects: false };
        }
        let allowed = self.app.organization.as_ref().is_some_and(|organization| organization.adoption_allowed);
        if input.desired.adopts && allowed {
            return SecretAction::Set { adopted: true, corrects: false };
        }
        SecretAction::Taken(if input.desired.adopts {
            format!(
                "{name} exists in app {}, and spec.adoption of SpiceOrganization {} does not let this namespace adopt it",
                self.id, self.app.organization_name
            )
        } else {
            format!(
                "{name} exists in app {} and was not set by this object: set spec.adoptionPolicy to Adopt to overwrite it",
                self.id
            )
        })
    }

    /// Whether a secret was there before we made the app: it had been deleted, and came back with what it had.
    pub(super) fn is_left_over(&self, there: &RemoteSecret) -> bool {
        let set_at = there.updated_at.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
        let (Some(set_at), Some(created)) = (set_at, self.app.created_at) else { return false };
        schedule::elapsed(set_at, created) > self.input.timings.clock_skew
    }

    fn set(&self, name: &str, content: &DesiredValue, adopted: bool) -> Set {
        let input = self.input;
        let before = input.status.secrets.iter().find(|entry| entry.name == name);
        // The same content has the same id, also under another key: the source is as it was.
        let same = before.filter(|entry| match &entry.digest {
            Some(digest) if digest::is_under(digest, key(input)) => *digest == content.digest,
            Some(_) => !input.sources_changed() && Some(input.status.observed_generation) == input.meta.generation,
            None => false,
        });
        let content_hash = same.and_then(|entry| entry.content_hash.clone()).or_else(|| Some(content.digest.clone()));
        let entry = SecretEntry {
            name: name.to_owned(),
            digest: Some(content.digest.clone()),
            content_hash,
            updated_at: None,
            incarnation: self.app.incarnation.clone(),
            adopted: adopted.then_some(true),
        };
        let body = PutSecret { name: name.to_owned(), value: content.value.clone() };
        Set { body, entry, first: before.is_none() }
    }

    /// One batch. What is not recorded yet is recorded first, so that it is known for ours if its outcome is lost.
    fn write(&self, mut work: PlannedChanges, based_on: Timestamp) -> Next {
        let (input, app) = (self.input, self.id);
        let mut status = self.status(&work);
        if work.sets.is_empty() {
            work.deletes.truncate(LARGEST_BATCH);
            let message = format!("deleting {}", named(work.deletes.iter().map(String::as_str)));
            let write = SecretWrite::Delete { app, based_on, names: work.deletes };
            return Plan::remote(status, write, message).into();
        }
        let events = self.left_overs().into_iter().collect();
        work.sets.truncate(LARGEST_BATCH);
        work.corrects.retain(|name| work.sets.iter().any(|set| set.body.name == *name));
        let mut recorded = false;
        for set in &work.sets {
            let known = input.status.secrets.iter().find(|entry| entry.name == set.body.name);
            if known.is_none_or(|entry| entry.digest.is_some() && !is_confirmed(entry, self.app)) {
                let entry = SecretEntry { digest: None, updated_at: None, ..set.entry.clone() };
                record(&mut status.secrets, entry);
                recorded = true;
            }
        }
        let names = named(work.sets.iter().map(|set| set.body.name.as_str()));
        let write = SecretWrite::Set { app, based_on, secrets: work.sets, corrects: work.corrects };
        let plan = Plan { events, ..Plan::remote(status, write, format!("setting {names}")) };
        Plan { first: recorded.then_some(KubernetesWrite::StoreStatus), ..plan }.into()
    }

    /// The status with what is known by now.
    fn status(&self, work: &PlannedChanges) -> SpiceSecretStatus {
        let mut status = self.input.status.clone();
        status.app_id = Some(self.id);
        status.secrets.retain(|entry| !work.released.contains(&entry.name));
        if self.list().is_some() {
            status.drift = work.drift.clone();
        } else {
            let there = |name: &String| status.secrets.iter().any(|entry| entry.name == *name);
            status.drift.retain(there);
        }
        if let Some(wanted) = &self.wanted {
            let is_done = |name: &String| wanted.contents.contains_key(name) || work.released.contains(name);
            status.conflicts.retain(|held| !is_done(&held.name) && is_passing_on(self.input, held));
            status.conflicts.extend(work.held.iter().cloned());
        }
        status
    }

    /// Nothing is to be sent: where that leaves the object.
    fn done(&self, work: PlannedChanges) -> Next {
        let input = self.input;
        let mut status = self.status(&work);
        let outcome = self.outcome(&work);
        if matches!(outcome, Outcome::InSync | Outcome::Stalled(..)) {
            status.observed_sources = sources(input);
        }
        Plan::no_op(&status, outcome).into()
    }
}

/// Whether a write was refused for what it says.
pub(super) fn is_refusal(error: &ApiError) -> bool {
    error.kind == ErrorKind::Invalid
}

/// Whether what is shown is certainly what an entry tells of.
fn is_same(entry: &SecretEntry, shown: &RemoteSecret) -> bool {
    entry.updated_at.is_some() && same_time(entry.updated_at.as_deref(), shown.updated_at.as_deref())
}

/// A list has to be as new as this. For a check, as its time: all objects of the app are checked then, and one list serves
/// them. For an object that was not judged yet, as new as what a write may rest on: objects that are applied together share
/// one. Otherwise somebody has changed something, and wants to see what is so now.
fn fresh_since(input: &SecretInput<'_>) -> Timestamp {
    let interval = input.interval();
    match () {
        () if standing(input) == Some(LastResult::Ready) && input.check_due(interval) => {
            schedule::last_point(input.phase(), interval, input.now)
        }
        () if input.runtime_state.last_synced_at.is_none() => max_read_age(input),
        () => input.runtime_state.pending_since.unwrap_or(input.now).max(max_read_age(input)),
    }
}
