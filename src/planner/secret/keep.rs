//! Secrets that are wanted: set what is missing, what has another value, and what somebody else has changed; delete what is
//! no longer wanted and is ours.

use std::cell::Cell;

use super::content::{Content, Problem, Wanted};
use super::entries::{record, same_time};
use super::validate::Asked;
use super::*;
use crate::api::{DeletionPolicy, HeldName};
use crate::planner::Standing;

/// Problems that a message names; the others are counted.
const MOST_WORDS: usize = 16;

pub(super) fn next(view: &SecretView<'_>) -> Next {
    let observed = view.observed;
    if view.desired.suspended {
        return idle(view, Verdict::Suspended);
    }
    if !view.has_finalizer() {
        let verdict = Verdict::Working("taking the object up".to_owned());
        return Plan::kubernetes(view.status.clone(), KubernetesWrite::AddFinalizer, verdict).into();
    }
    let asked = match &view.desired.spec {
        Ok(asked) => asked,
        Err(why) => return idle(view, Verdict::Stalled(Reason::InvalidSpec, why.clone())),
    };
    let cached = [
        (observed.app.is_none(), SecretRead::App),
        (observed.others.is_none(), SecretRead::Others),
        (observed.source.is_none(), SecretRead::Source),
        (observed.key.is_none(), SecretRead::Key),
    ];
    if let Some((_, read)) = cached.into_iter().find(|(missing, _)| *missing) {
        return Next::Read(read);
    }
    if rests(view) {
        return idle(view, Verdict::Unchanged);
    }
    let (app, id) = match usable(view) {
        Ok(found) => found,
        Err(verdict) => return idle(view, verdict),
    };
    match wanted(view, asked) {
        Ok(wanted) => Judge { view, app, id, wanted, must_read: Cell::new(false) }.next(),
        Err(next) => next,
    }
}

/// The app, and its id, if something may be set in it now.
fn usable<'a>(view: &SecretView<'a>) -> Result<(&'a AppFacts, i64), Verdict> {
    let name = &view.desired.app;
    let waiting = |words| Err(Verdict::Waiting(Reason::DependencyNotReady, words));
    match &view.observed.app {
        Some(Observed::Present(app)) => match (&app.unready, no_organization(app), app.id) {
            (Some(why), ..) => waiting(format!("SpiceApp {name} {why}")),
            (None, Some(why), _) => waiting(why),
            (None, None, None) => waiting(format!("SpiceApp {name} has no app yet")),
            (None, None, Some(id)) => Ok((app, id)),
        },
        Some(Observed::Unknown(failure)) => waiting(failure.to_string()),
        Some(Observed::Absent) | None => {
            let words = format!("SpiceApp {name} does not exist in this namespace");
            Err(Verdict::Bereft(Reason::DependencyNotReady, words))
        }
    }
}

/// What is wanted, or what is to be done before that is known. Nothing, where all is as it was: then what was set is
/// what is wanted.
fn wanted(view: &SecretView<'_>, asked: &Asked) -> Result<Option<Wanted>, Next> {
    let name = &asked.source;
    let missing = || {
        let words = format!("Secret {name} does not exist in this namespace; what was set from it stays");
        Err(idle(view, Verdict::Failed(Reason::CredentialsMissing, words, Retry::Backoff)))
    };
    if view.observed.source == Some(Observed::Absent) {
        return missing();
    }
    match &view.observed.values {
        Some(Observed::Present(values)) => Ok(Some(values.wanted(asked))),
        Some(Observed::Absent) => missing(),
        Some(Observed::Unknown(failure)) => Err(idle(view, unseen(failure, "secrets:read"))),
        None if in_date(view) && standing(view) == Some(Standing::Achieved) => Ok(None),
        None => Err(Next::Read(SecretRead::Values)),
    }
}

fn standing(view: &SecretView<'_>) -> Option<Standing> {
    view.visited(view.status.clone())
}

fn rests(view: &SecretView<'_>) -> bool {
    let observed = view.observed;
    // An answer of this visit is judged, whatever the schedule says.
    let untouched = observed.values.is_none() && observed.list.is_none() && observed.shown.is_none();
    untouched && (in_date(view) || view.held_until().is_some()) && view.rests()
}

/// The version of the Kubernetes Secret: as it was read, or else as the cache shows it.
pub(super) fn sources(view: &SecretView<'_>) -> Vec<SourceVersion> {
    match (&view.observed.values, &view.observed.source) {
        (Some(Observed::Present(values)), _) => vec![values.version.clone()],
        (_, Some(Observed::Present(version))) => vec![version.clone()],
        _ => Vec::new(),
    }
}

/// Whether what was set is what was asked for, as far as Kubernetes tells: the same source, the same app, digests that can be
/// compared, and nobody before us.
pub(super) fn in_date(view: &SecretView<'_>) -> bool {
    let Some(app) = app(view.observed) else { return false };
    let key = view.observed.key.as_deref().unwrap_or_default();
    let confirmed = |entry: &SecretEntry| {
        is_confirmed(entry, app) && entry.digest.as_deref().is_some_and(|it| digest::is_under(it, key))
    };
    let held_now = |name: &String| holder(view, name).map(|other| held_by(other, name));
    let told = |name: &String| view.status.held.iter().find(|held| held.name == *name).cloned();
    view.status.sources == sources(view)
        && view.status.entries.iter().all(|entry| confirmed(entry) && held_now(&entry.name) == told(&entry.name))
        && view.status.held.iter().all(|held| held_now(&held.name).as_ref() == Some(held))
}

/// Whether an entry was certainly set, in the app as it is now.
fn is_confirmed(entry: &SecretEntry, app: &AppFacts) -> bool {
    entry.digest.is_some() && entry.incarnation.is_some() && entry.incarnation == app.incarnation
}

/// The object that goes before us for a name: the older, then the one of the lower uid. One that is being deleted holds what
/// it has until it is gone.
fn holder<'a>(view: &SecretView<'a>, name: &str) -> Option<&'a OtherSecret> {
    let own = (view.meta.creation_timestamp.as_ref().map(|time| time.0), view.meta.uid.clone().unwrap_or_default());
    let asks = |other: &&OtherSecret| other.set.contains(name) || (!other.deleting && other.named.contains(name));
    let before = |other: &&OtherSecret| (other.created, other.uid.clone()) < own;
    let others = view.observed.others.iter().flatten();
    others.filter(asks).filter(before).min_by_key(|other| (other.created, &other.uid))
}

fn held_by(other: &OtherSecret, name: &str) -> HeldName {
    HeldName { name: name.to_owned(), by: other.object.clone(), set: other.set.contains(name).then_some(true) }
}

/// Whether an entry goes with the object, or with its name in the spec.
pub(super) fn is_to_go(view: &SecretView<'_>, entry: &SecretEntry) -> bool {
    match view.desired.deletion_policy {
        Some(DeletionPolicy::Delete) => true,
        Some(DeletionPolicy::Retain) => false,
        None => entry.adopted != Some(true),
    }
}

/// Whether another object wants what we have: then it is left to that one.
pub(super) fn is_claimed(view: &SecretView<'_>, name: &str) -> bool {
    let others = view.observed.others.iter().flatten().filter(|other| !other.deleting);
    others.clone().any(|other| other.named.contains(name) || other.set.contains(name))
}

/// What is to become of one name.
enum Step {
    /// It is as it should be.
    Leave,
    /// Somebody else has changed it, and it is left so.
    Drift,
    /// It is to be set.
    Set { adopted: bool, corrects: bool },
    /// An object before us has it.
    Held(HeldName),
    /// It is not ours.
    Taken(String),
}

struct Judge<'a> {
    view: &'a SecretView<'a>,
    app: &'a AppFacts,
    id: i64,
    wanted: Option<Wanted>,
    /// Whether values are needed that were not read.
    must_read: Cell<bool>,
}

/// All that is to be done, and all that is in the way.
#[derive(Default)]
struct Work {
    sets: Vec<Set>,
    corrects: Vec<String>,
    drift: Vec<String>,
    held: Vec<HeldName>,
    taken: Vec<String>,
    deletes: Vec<String>,
    released: Vec<String>,
}

impl Judge<'_> {
    fn next(self) -> Next {
        let view = self.view;
        if self.needs_list() && view.observed.list.is_none() {
            return Next::Read(SecretRead::List(self.id, fresh_since(view)));
        }
        match &view.observed.list {
            Some(Observed::Unknown(failure)) => return idle(view, unseen(failure, "secrets:read")),
            Some(Observed::Absent) => return idle(view, self.gone()),
            Some(Observed::Present(_)) | None => {}
        }
        let work = self.work();
        if self.must_read.get() {
            return Next::Read(SecretRead::Values);
        }
        // What met one secret and is not about itself would meet the others as well.
        let halted = view.observed.failed.values().any(|failure| !is_refusal(failure));
        if halted || (work.sets.is_empty() && work.deletes.is_empty()) {
            return self.done(work);
        }
        match shown(view) {
            None => Next::Read(SecretRead::Shown(self.id, evidence(view))),
            Some(Observed::Present(seen)) if is_ours(view, self.app, &seen.value) => self.write(work, seen.begun),
            Some(Observed::Present(_)) => {
                let words =
                    format!("app {} does not show that it is ours: SpiceApp {} says why", self.id, view.desired.app);
                idle(view, Verdict::Waiting(Reason::DependencyNotReady, words))
            }
            Some(Observed::Absent) => idle(view, self.gone()),
            Some(Observed::Unknown(failure)) => idle(view, unseen(failure, "apps:read")),
        }
    }

    fn gone(&self) -> Verdict {
        let words = format!("app {} cannot be read; SpiceApp {} finds out", self.id, self.view.desired.app);
        Verdict::Unseen(Reason::DependencyNotReady, words, Retry::Backoff)
    }

    fn list(&self) -> Option<&SecretList> {
        match &self.view.observed.list {
            Some(Observed::Present(list)) => Some(&list.value),
            _ => None,
        }
    }

    /// Whether what there is has to be looked at: not for a mere change of values that we have set ourselves.
    fn needs_list(&self) -> bool {
        let (view, entries) = (self.view, &self.view.status.entries);
        let Some(wanted) = &self.wanted else { return true };
        let confirmed = |name: &String| {
            entries.iter().any(|entry| entry.name == *name && is_confirmed(entry, self.app))
                || view.observed.set.contains(name)
        };
        let of_today = entries.iter().all(|entry| entry.digest.is_none() || is_confirmed(entry, self.app));
        let only_values = standing(view) == Some(Standing::Achieved)
            && !view.check_due(view.interval())
            && of_today
            && wanted.contents.keys().all(confirmed);
        !only_values
    }

    fn work(&self) -> Work {
        let view = self.view;
        let mut work = Work::default();
        let entries = &view.status.entries;
        let names: BTreeSet<&String> = match &self.wanted {
            Some(wanted) => wanted.contents.keys().collect(),
            None => entries.iter().map(|entry| &entry.name).collect(),
        };
        for name in &names {
            let content = self.wanted.as_ref().and_then(|wanted| wanted.contents.get(*name));
            match self.step(name, content) {
                Step::Leave => {}
                Step::Drift => work.drift.push((*name).clone()),
                Step::Held(held) => work.held.push(held),
                Step::Taken(words) => work.taken.push(words),
                Step::Set { adopted, corrects } => match content {
                    None => self.must_read.set(true),
                    Some(content) => {
                        work.sets.push(self.set(name, content, adopted));
                        work.corrects.extend(corrects.then(|| (*name).clone()));
                    }
                },
            }
        }
        // What another object has set is that one's. Before, it knows by our record that it may set it.
        let passed = work.held.iter().filter(|held| held.set == Some(true));
        work.released.extend(passed.map(|held| held.name.clone()));
        let all_well = work.taken.is_empty() && view.observed.failed.is_empty();
        if let Some(wanted) = self.wanted.as_ref().filter(|wanted| wanted.problems.is_empty() && all_well) {
            for entry in entries.iter().filter(|entry| !wanted.contents.contains_key(&entry.name)) {
                let went = if self.is_to_be_deleted(entry) { &mut work.deletes } else { &mut work.released };
                went.push(entry.name.clone());
            }
        }
        work
    }

    fn is_to_be_deleted(&self, entry: &SecretEntry) -> bool {
        let there = || {
            let shown = self.list().and_then(|list| list.get(&entry.name));
            shown.is_some_and(|shown| is_same(entry, shown))
        };
        let is_here = entry.digest.is_none() || is_confirmed(entry, self.app);
        is_to_go(self.view, entry) && !is_claimed(self.view, &entry.name) && (is_here || there())
    }

    fn step(&self, name: &str, content: Option<&Content>) -> Step {
        let view = self.view;
        if view.observed.failed.contains_key(name) {
            return Step::Leave;
        }
        if let Some(other) = holder(view, name) {
            return Step::Held(held_by(other, name));
        }
        match view.status.entries.iter().find(|entry| entry.name == name) {
            // It was about to be set when it was heard of last.
            Some(entry) if entry.digest.is_none() => {
                Step::Set { adopted: entry.adopted == Some(true), corrects: false }
            }
            Some(entry) if is_confirmed(entry, self.app) => self.step_set(entry, content),
            other => self.step_new(name, other),
        }
    }

    /// A secret that we have set.
    fn step_set(&self, entry: &SecretEntry, content: Option<&Content>) -> Step {
        let (view, name) = (self.view, entry.name.as_str());
        let adopted = entry.adopted == Some(true);
        if content.is_some_and(|content| entry.digest.as_ref() != Some(&content.digest)) {
            return Step::Set { adopted, corrects: false };
        }
        let believed = !view.just_written() && !view.observed.set.contains(name);
        let differs = self.list().is_some_and(|list| {
            list.get(name).is_none_or(|shown| !same_time(entry.updated_at.as_deref(), shown.updated_at.as_deref()))
        });
        match differs && believed {
            false if !believed && view.status.drift.iter().any(|drifted| drifted == name) => Step::Drift,
            false => Step::Leave,
            true if view.desired.leaves_drift || self.fights(name) => Step::Drift,
            true => Step::Set { adopted, corrects: true },
        }
    }

    fn fights(&self, name: &str) -> bool {
        let (view, generation) = (self.view, self.view.meta.generation);
        view.memory.corrections.fights(generation, name, view.now, view.waits.fight_pause)
    }

    /// A secret that we have not set in the app as it is now. What is there is somebody else's, unless there is proof of the
    /// contrary.
    fn step_new(&self, name: &str, before: Option<&SecretEntry>) -> Step {
        let (view, adopted) = (self.view, before.is_some_and(|entry| entry.adopted == Some(true)));
        let Some(there) = self.list().and_then(|list| list.get(name)) else {
            return Step::Set { adopted: false, corrects: false };
        };
        let survived = before.is_some_and(|entry| is_same(entry, there));
        let others = view.observed.others.iter().flatten();
        let of_another_object = others.clone().any(|other| other.set.contains(name));
        // Whoever had it is gone: otherwise that one would go before us.
        let passed_on = view.status.held.iter().any(|held| held.name == name && held.set == Some(true));
        if survived || of_another_object || passed_on || self.is_left_over(there) {
            return Step::Set { adopted, corrects: false };
        }
        let allowed = self.app.organization.as_ref().is_some_and(|organization| organization.adoption_allowed);
        if view.desired.adopts && allowed {
            return Step::Set { adopted: true, corrects: false };
        }
        Step::Taken(if view.desired.adopts {
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
    fn is_left_over(&self, there: &Secret) -> bool {
        let set_at = there.updated_at.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
        let (Some(set_at), Some(created)) = (set_at, self.app.created_at) else { return false };
        schedule::elapsed(set_at, created) > self.view.waits.clock_skew
    }

    fn set(&self, name: &str, content: &Content, adopted: bool) -> Set {
        let view = self.view;
        let before = view.status.entries.iter().find(|entry| entry.name == name);
        // The same content has the same id, also under another key: the source is as it was.
        let same = before.filter(|entry| {
            entry.digest.as_ref() == Some(&content.digest)
                || entry.digest.is_some() && view.status.sources == sources(view)
        });
        let content_id = same.and_then(|entry| entry.content_id.clone()).or_else(|| Some(content.digest.clone()));
        let entry = SecretEntry {
            name: name.to_owned(),
            digest: Some(content.digest.clone()),
            content_id,
            updated_at: None,
            incarnation: self.app.incarnation.clone(),
            adopted: adopted.then_some(true),
        };
        let body = PutSecret { name: name.to_owned(), value: content.value.clone() };
        Set { body, entry, first: before.is_none() }
    }

    /// One batch. What is not recorded yet is recorded first, so that it is known for ours if its outcome is lost.
    fn write(&self, mut work: Work, rests_on: Timestamp) -> Next {
        let (view, app) = (self.view, self.id);
        let mut status = self.status(&work);
        if work.sets.is_empty() {
            work.deletes.truncate(LARGEST_BATCH);
            let message = format!("deleting {}", work.deletes.join(", "));
            let notes = vec![Note::normal("Deleted", format!("deleted {}", work.deletes.join(", ")))];
            let write = SecretWrite::Delete { app, rests_on, names: work.deletes };
            return Plan { notes, ..Plan::remote(status, write, message) }.into();
        }
        let notes = self.notes(&work);
        work.sets.truncate(LARGEST_BATCH);
        let mut recorded = false;
        for set in &work.sets {
            let known = view.status.entries.iter().find(|entry| entry.name == set.body.name);
            if known.is_none_or(|entry| entry.digest.is_some() && !is_confirmed(entry, self.app)) {
                let entry = SecretEntry { digest: None, updated_at: None, ..set.entry.clone() };
                record(&mut status.entries, entry);
                recorded = true;
            }
        }
        let names = named(work.sets.iter().map(|set| set.body.name.as_str()));
        let write = SecretWrite::Set { app, rests_on, secrets: work.sets, corrects: work.corrects };
        let plan = Plan { notes, ..Plan::remote(status, write, format!("setting {names}")) };
        Plan { first: recorded.then_some(KubernetesWrite::StoreStatus), ..plan }.into()
    }

    fn notes(&self, work: &Work) -> Vec<Note> {
        let sets = || work.sets.iter().take(LARGEST_BATCH);
        let is_correction = |set: &&Set| work.corrects.contains(&set.body.name);
        let (put_back, set): (Vec<&Set>, Vec<&Set>) = sets().partition(is_correction);
        let names = |sets: &[&Set]| named(sets.iter().map(|set| set.body.name.as_str()));
        let mut notes = Vec::new();
        if !set.is_empty() {
            notes.push(Note::normal("Updated", format!("set {}", names(&set))));
        }
        if !put_back.is_empty() {
            notes.push(Note::warning("DriftCorrected", format!("changed outside and put back: {}", names(&put_back))));
        }
        let empty: Vec<&Set> = sets().filter(|set| set.body.value.is_empty()).collect();
        if !empty.is_empty() {
            notes.push(Note::warning("EmptyValue", format!("the value is empty: {}", names(&empty))));
        }
        notes.extend(self.left_overs());
        notes
    }

    /// What came back with the app and is named by nobody. Told once, by whoever sets the app's first secret.
    fn left_overs(&self) -> Option<Note> {
        let view = self.view;
        let others = view.observed.others.iter().flatten();
        let begun = others.clone().any(|other| !other.set.is_empty())
            || view.status.entries.iter().any(|entry| is_confirmed(entry, self.app));
        let wanted = |name: &String| self.wanted.as_ref().is_some_and(|wanted| wanted.contents.contains_key(name));
        let named_elsewhere = |name: &String| others.clone().any(|other| other.named.contains(name));
        let left = self.list()?.values().filter(|there| self.is_left_over(there)).map(|there| &there.name);
        let left: Vec<&str> = left.filter(|name| !wanted(name) && !named_elsewhere(name)).map(String::as_str).collect();
        let words = || format!("app {} had been deleted and came back with secrets that nobody names: ", self.id);
        (!begun && !left.is_empty()).then(|| Note::warning("Reactivated", words() + &named(left.into_iter())))
    }

    /// The status with what is known by now.
    fn status(&self, work: &Work) -> SpiceSecretStatus {
        let mut status = self.view.status.clone();
        status.app_id = Some(self.id);
        status.entries.retain(|entry| !work.released.contains(&entry.name));
        if self.list().is_some() {
            status.drift = work.drift.clone();
        } else {
            let there = |name: &String| status.entries.iter().any(|entry| entry.name == *name);
            status.drift.retain(there);
        }
        if self.wanted.is_some() {
            status.held = work.held.clone();
        }
        status
    }

    /// Nothing is to be sent: where that leaves the object.
    fn done(&self, work: Work) -> Next {
        let view = self.view;
        let mut status = self.status(&work);
        let verdict = self.verdict(&work);
        if matches!(verdict, Verdict::Settled | Verdict::Stalled(..)) {
            status.sources = sources(view);
        }
        Plan::idle(&status, verdict).into()
    }

    fn verdict(&self, work: &Work) -> Verdict {
        let view = self.view;
        let failed = view.observed.failed.iter();
        if let Some((name, failure)) = failed.clone().find(|(_, failure)| !is_refusal(failure)) {
            return about(name, failure::failed(failure, Call::Write, "secrets:write", view.waits));
        }
        let problems = self.wanted.iter().flat_map(|wanted| &wanted.problems);
        let is_missing = problems.clone().any(|problem| matches!(problem, Problem::Missing(_)));
        let is_invalid = problems.clone().any(|problem| matches!(problem, Problem::Invalid(_)));
        let mut words: Vec<String> = problems
            .map(|problem| match problem {
                Problem::Missing(words) | Problem::Invalid(words) => words.clone(),
            })
            .collect();
        words.extend(failed.clone().map(|(name, failure)| format!("{name}: {failure}")));
        words.extend(work.taken.iter().cloned());
        words.extend(work.held.iter().map(|held| format!("{} is held by SpiceSecret {}", held.name, held.by)));
        let fought: Vec<&str> = work.drift.iter().map(String::as_str).filter(|name| self.fights(name)).collect();
        let listed = listed(&words);
        match () {
            () if is_missing => Verdict::Failed(Reason::CredentialsMissing, listed, Retry::Backoff),
            () if failed.len() > 0 => {
                Verdict::Failed(Reason::InvalidSpec, listed, Retry::After(view.waits.refused_write_repeat))
            }
            () if is_invalid => Verdict::Stalled(Reason::InvalidSpec, listed),
            () if !words.is_empty() => Verdict::Stalled(Reason::NameTaken, listed),
            () if !fought.is_empty() => {
                let names = named(fought.into_iter());
                let words = "put back again and again, so somebody else sets it too";
                Verdict::Stalled(
                    Reason::CorrectionLoop,
                    format!("{words}: {names}; let one of them stop, then change the spec"),
                )
            }
            () => Verdict::Settled,
        }
    }
}

/// Whether a write was refused for what it says.
fn is_refusal(failure: &Failure) -> bool {
    failure.kind == FailureKind::Invalid
}

/// Whether what is shown is certainly what an entry tells of.
fn is_same(entry: &SecretEntry, shown: &Secret) -> bool {
    entry.updated_at.is_some() && same_time(entry.updated_at.as_deref(), shown.updated_at.as_deref())
}

/// A list has to be as new as this. For a check, as its time: all objects of the app are checked then, and one list serves
/// them. For an object that was not judged yet, as new as what a write may rest on: objects that are applied together share
/// one. Otherwise somebody has changed something, and wants to see what is so now.
fn fresh_since(view: &SecretView<'_>) -> Timestamp {
    let interval = view.interval();
    match () {
        () if standing(view) == Some(Standing::Achieved) && view.check_due(interval) => {
            schedule::last_point(view.phase(), interval, view.now)
        }
        () if view.memory.last_observation.is_none() => evidence(view),
        () => view.memory.wanted_since.unwrap_or(view.now).max(evidence(view)),
    }
}

fn about(name: &str, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Failed(reason, words, retry) => Verdict::Failed(reason, format!("{name}: {words}"), retry),
        other => other,
    }
}

/// Names in a row, as many as a message takes.
fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    shortened(&names.collect::<Vec<_>>(), ", ")
}

/// Sentences in a row, as many as a message takes.
fn listed(words: &[String]) -> String {
    shortened(&words.iter().map(String::as_str).collect::<Vec<_>>(), "; ")
}

fn shortened(words: &[&str], between: &str) -> String {
    let shown = words.iter().take(MOST_WORDS).copied().collect::<Vec<_>>().join(between);
    match words.len().saturating_sub(MOST_WORDS) {
        0 => shown,
        more => format!("{shown}{between}and {more} more"),
    }
}
