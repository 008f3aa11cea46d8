//! Plans the changes of each secret that the object requests or owns.

use std::cell::Cell;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::entries::{is_applied, is_before, is_same_time, record, should_delete};
use super::input::{ParentApp, SecretInput, SecretRead, fresh_app, is_own_app, key_id};
use super::name_conflicts::{
    competing_owner, conflict_with, current_owner, handover_message, is_handover_pending, owned_entries, siblings,
};
use super::next::{Next, no_op};
use super::source::{DesiredSecrets, DesiredValue};
use super::write::{MAX_BATCH, SecretWrite, SetCause, SetSecret, name_list};
use crate::api::{Reason, SecretConflict, SecretEntry, SpiceSecretStatus};
use crate::management::types::{ApiError, ErrorKind, PutSecret, RemoteSecret, SecretList};
use crate::planner::errors::read_failed;
use crate::planner::observation::Observed;
use crate::planner::outcome::{KubernetesWrite, Outcome, Retry};
use crate::planner::resource::Plan;
use crate::planner::status::LastResult;
use crate::planner::{digest, schedule};

/// Maximum number of entries in status.
const MAX_ENTRIES: usize = 512;

/// Action for one name.
enum SecretAction {
    /// The secret is in sync.
    Keep,
    /// Another client changed the secret, and the change is not corrected.
    ReportDrift,
    /// The secret must be set.
    Set { adopted: bool, cause: SetCause },
    /// Another SpiceSecret owns the name.
    Conflict(SecretConflict),
    /// The secret in the app is not the operator's. The text explains the next step.
    NotOwned(String),
}

/// Plans the changes of all names of an object.
pub(super) struct ChangePlanner<'a> {
    pub(super) input: &'a SecretInput<'a>,
    pub(super) app: &'a ParentApp,
    /// ID of the app.
    pub(super) id: i64,
    /// The desired secrets; none if the recorded secrets are the desired ones.
    pub(super) desired: Option<DesiredSecrets>,
    /// True if an action needs a value that was not read.
    must_read: Cell<bool>,
}

/// The changes of all names, and everything that prevents a change.
#[derive(Default)]
pub(super) struct PlannedChanges {
    pub(super) sets: Vec<SetSecret>,
    /// Names of secrets that another client changed and that are not corrected.
    pub(super) drift: Vec<String>,
    pub(super) conflicts: Vec<SecretConflict>,
    /// Messages for secrets that are not the operator's.
    pub(super) not_owned: Vec<String>,
    /// Names to delete in the app.
    deletes: Vec<String>,
    /// Names to remove from status without a call.
    released: Vec<String>,
    /// Message for a sibling that must acknowledge a hand-over first.
    pub(super) handover: Option<String>,
}

impl<'a> ChangePlanner<'a> {
    pub(super) fn new(
        input: &'a SecretInput<'a>,
        app: &'a ParentApp,
        id: i64,
        desired: Option<DesiredSecrets>,
    ) -> Self {
        Self { input, app, id, desired, must_read: Cell::new(false) }
    }

    pub(super) fn next(self) -> Next {
        let input = self.input;
        if self.needs_list() && input.observed.list.is_none() {
            return Next::Read(SecretRead::List(self.id, min_list_time(input)));
        }
        match &input.observed.list {
            Some(Observed::Unknown(error)) => return no_op(input, read_failed(error, "secrets:read")),
            Some(Observed::Absent) => return no_op(input, self.app_not_found()),
            Some(Observed::Present(_)) | None => {}
        }
        let changes = self.changes();
        if self.must_read.get() {
            return Next::Read(SecretRead::SourceValues);
        }
        // An error that does not concern one secret would reject the others too.
        let is_halted = input.observed.failed.values().any(|error| !is_validation_error(error));
        if is_halted || (changes.sets.is_empty() && changes.deletes.is_empty()) {
            return self.plan_no_write(&changes);
        }
        match fresh_app(input) {
            None => Next::Read(SecretRead::RemoteApp(self.id, input.oldest_usable_read())),
            Some(Observed::Present(read)) if is_own_app(input, self.app, &read.value) => {
                self.plan_write(changes, read.started_at)
            }
            Some(Observed::Present(_)) => {
                let message = format!(
                    "App {} does not show the owner tag of SpiceApp \"{}\"; see the status of the SpiceApp",
                    self.id, input.desired.app
                );
                no_op(input, Outcome::WaitingForDependency(Reason::DependencyNotReady, message))
            }
            Some(Observed::Absent) => no_op(input, self.app_not_found()),
            Some(Observed::Unknown(error)) => no_op(input, read_failed(error, "apps:read")),
        }
    }

    fn app_not_found(&self) -> Outcome {
        let message = format!("App {} cannot be read; waiting for SpiceApp \"{}\"", self.id, self.input.desired.app);
        Outcome::ReadFailed(Reason::DependencyNotReady, message, Retry::Backoff)
    }

    /// The secrets of the app, if they were read.
    pub(super) fn list(&self) -> Option<&SecretList> {
        self.input.observed.list.as_ref().and_then(Observed::present).map(|list| &*list.value)
    }

    /// Returns true if the list of secrets is needed. A changed value of a secret that this object set needs none.
    fn needs_list(&self) -> bool {
        let (input, entries) = (self.input, &self.input.status.secrets);
        let Some(desired) = &self.desired else { return true };
        let is_set = |name: &String| {
            entries.iter().any(|entry| entry.name == *name && is_applied(entry, self.app))
                || input.observed.set.contains(name)
        };
        let are_current = entries.iter().all(|entry| entry.digest.is_none() || is_applied(entry, self.app));
        let only_values_changed = input.last_result() == Some(LastResult::Ready)
            && !input.is_resync_due(input.interval())
            && are_current
            && desired.values.keys().all(is_set);
        !only_values_changed
    }

    fn changes(&self) -> PlannedChanges {
        let mut changes = PlannedChanges::default();
        let entries = &self.input.status.secrets;
        let names: BTreeSet<&String> = match &self.desired {
            Some(desired) => desired.values.keys().collect(),
            None => entries.iter().map(|entry| &entry.name).collect(),
        };
        for name in names {
            let value = self.desired.as_ref().and_then(|desired| desired.values.get(name));
            match self.action(name, value) {
                SecretAction::Keep => {}
                SecretAction::ReportDrift => changes.drift.push(name.clone()),
                SecretAction::Conflict(conflict) => changes.conflicts.push(conflict),
                SecretAction::NotOwned(message) => changes.not_owned.push(message),
                SecretAction::Set { adopted, cause } => match value {
                    None => self.must_read.set(true),
                    Some(value) => changes.sets.push(self.set(name, value, adopted, cause)),
                },
            }
        }
        // A name that a sibling has set is the sibling's. Before that, this object's entry allows the sibling to set
        // it.
        let handed_over = changes.conflicts.iter().filter(|conflict| conflict.present == Some(true));
        changes.released.extend(handed_over.map(|conflict| conflict.name.clone()));
        self.plan_removals(&mut changes);
        // With a full status, further secrets wait until an entry is removed.
        let mut room = MAX_ENTRIES.saturating_sub(entries.len());
        changes.sets.retain(|set| {
            let fits = !set.first || room > 0;
            room -= usize::from(set.first && fits);
            fits
        });
        changes
    }

    /// Adds the removals of own secrets that the spec no longer requests. Removals wait until everything else is in
    /// sync.
    fn plan_removals(&self, changes: &mut PlannedChanges) {
        let input = self.input;
        let Some(desired) = &self.desired else { return };
        let has_problem =
            !desired.problems.is_empty() || !changes.not_owned.is_empty() || !input.observed.failed.is_empty();
        if has_problem {
            return;
        }
        for entry in owned_entries(input).iter().filter(|entry| !desired.values.contains_key(&entry.name)) {
            match competing_owner(input, &entry.name) {
                // The sibling must first record that this operator set the secret.
                Some(other) if !other.acknowledged.contains(&entry.name) => {
                    changes.handover = Some(handover_message(other, &entry.name));
                }
                None if self.can_delete(entry) => changes.deletes.push(entry.name.clone()),
                _ => changes.released.push(entry.name.clone()),
            }
        }
    }

    fn can_delete(&self, entry: &SecretEntry) -> bool {
        let is_unchanged = || {
            let shown = self.list().and_then(|list| list.get(&entry.name));
            shown.is_some_and(|shown| has_recorded_time(entry, shown))
        };
        let is_in_this_app = entry.digest.is_none() || is_applied(entry, self.app);
        should_delete(self.input, entry) && (is_in_this_app || is_unchanged())
    }

    fn action(&self, name: &str, value: Option<&DesiredValue>) -> SecretAction {
        let input = self.input;
        if input.observed.failed.contains_key(name) {
            return SecretAction::Keep;
        }
        if let Some(other) = current_owner(input, name) {
            return SecretAction::Conflict(conflict_with(other, name));
        }
        match input.status.secrets.iter().find(|entry| entry.name == name) {
            // The outcome of the last write is not known.
            Some(entry) if entry.digest.is_none() => {
                SecretAction::Set { adopted: entry.adopted == Some(true), cause: SetCause::Create }
            }
            Some(entry) if is_applied(entry, self.app) => self.action_for_applied(entry, value),
            other => self.action_for_new(name, other),
        }
    }

    /// Action for a secret that this object set in the present app.
    fn action_for_applied(&self, entry: &SecretEntry, value: Option<&DesiredValue>) -> SecretAction {
        let (input, name) = (self.input, entry.name.as_str());
        let adopted = entry.adopted == Some(true);
        if value.is_some_and(|value| entry.digest.as_ref() != Some(&value.digest)) {
            return SecretAction::Set { adopted, cause: SetCause::Rotate };
        }
        // A list that started before the write settled may not show the write.
        let is_settled = !input.runtime_state.recent_writes.contains_key(name) && !input.observed.set.contains(name);
        let differs = self.list().is_some_and(|list| {
            list.get(name).is_none_or(|shown| !is_same_time(entry.updated_at.as_deref(), shown.updated_at.as_deref()))
        });
        let was_drifted = || input.status.drift.iter().any(|drifted| drifted == name);
        match differs && is_settled {
            false if !is_settled && was_drifted() => SecretAction::ReportDrift,
            false => SecretAction::Keep,
            true if input.desired.report_drift || input.is_correction_loop(name) => SecretAction::ReportDrift,
            true => SecretAction::Set { adopted, cause: SetCause::Correct },
        }
    }

    /// Action for a secret that this object did not set in the present app. A secret that exists is a third party's,
    /// unless status proves otherwise.
    fn action_for_new(&self, name: &str, before: Option<&SecretEntry>) -> SecretAction {
        let input = self.input;
        let Some(shown) = self.list().and_then(|list| list.get(name)) else {
            return SecretAction::Set { adopted: false, cause: SetCause::Create };
        };
        let survived = before.is_some_and(|entry| has_recorded_time(entry, shown));
        let sibling = siblings(input).find(|other| other.managed.contains(name));
        // The sibling that set the name no longer exists: it would take precedence otherwise.
        let handed_over =
            input.status.conflicts.iter().find(|conflict| conflict.name == name && conflict.present == Some(true));
        if survived || sibling.is_some() || handed_over.is_some() || self.predates_app(shown) {
            let adopted = before.is_some_and(|entry| entry.adopted == Some(true))
                || sibling.is_some_and(|other| other.adopted.contains(name))
                || handed_over.is_some_and(|conflict| conflict.adopted == Some(true));
            return SecretAction::Set { adopted, cause: SetCause::Create };
        }
        let is_allowed = self.app.organization.present().is_some_and(|organization| organization.adoption_allowed);
        match (input.desired.may_adopt, is_allowed) {
            (true, true) => SecretAction::Set { adopted: true, cause: SetCause::Adopt },
            (true, false) => SecretAction::NotOwned(format!(
                "App secret \"{name}\" exists in app {}, and SpiceOrganization \"{}\" does not allow adoption in this \
                 namespace. Change its spec.adoption, or map the key to another name in spec.secretRef.items",
                self.id, self.app.organization_name
            )),
            (false, _) => SecretAction::NotOwned(format!(
                "App secret \"{name}\" exists in app {} and is not managed by this object. To overwrite it, set \
                 spec.adoptionPolicy: Adopt",
                self.id
            )),
        }
    }

    /// Returns true if a secret is older than the create of the app: the app was reactivated with its secrets.
    pub(super) fn predates_app(&self, shown: &RemoteSecret) -> bool {
        let Some(text) = shown.updated_at.as_deref() else { return false };
        let Ok(set_at) = text.parse::<Timestamp>() else { return false };
        let is_old = |created| schedule::elapsed(set_at, created) > self.input.timings.clock_skew;
        // The API's own times need no allowance for a difference between the clocks.
        self.app.reactivated_at.is_some_and(|at| is_before(text, at)) || self.app.created_at.is_some_and(is_old)
    }

    fn set(&self, name: &str, value: &DesiredValue, adopted: bool, cause: SetCause) -> SetSecret {
        let input = self.input;
        let before = input.status.secrets.iter().find(|entry| entry.name == name);
        // The same content keeps its hash under a new digest key, as long as the Secret has not changed.
        let same = before.filter(|entry| match &entry.digest {
            Some(digest) if digest::is_under(digest, key_id(input)) => *digest == value.digest,
            Some(_) => !input.sources_changed() && Some(input.status.core.observed_generation) == input.meta.generation,
            None => false,
        });
        let content_hash = same.and_then(|entry| entry.content_hash.clone()).or_else(|| Some(value.digest.clone()));
        let entry = SecretEntry {
            name: name.to_owned(),
            digest: Some(value.digest.clone()),
            content_hash,
            updated_at: None,
            incarnation: self.app.incarnation.clone(),
            adopted: adopted.then_some(true),
        };
        let body = PutSecret { name: name.to_owned(), value: value.value.clone() };
        SetSecret { body, entry, first: before.is_none(), cause }
    }

    /// One batch of writes. An entry is stored before its first write, so that the secret is known to be the
    /// operator's if the response is lost.
    fn plan_write(&self, mut changes: PlannedChanges, based_on: Timestamp) -> Next {
        let (input, app) = (self.input, self.id);
        let mut status = self.status(&changes);
        if changes.sets.is_empty() {
            changes.deletes.truncate(MAX_BATCH);
            let message = format!("Deleting {}", name_list(changes.deletes.iter().map(String::as_str)));
            let write = SecretWrite::Delete { app, based_on, names: changes.deletes };
            return Plan::remote(status, write, message).into();
        }
        changes.sets.truncate(MAX_BATCH);
        let mut must_store = false;
        for set in &changes.sets {
            let known = input.status.secrets.iter().find(|entry| entry.name == set.body.name);
            if known.is_none_or(|entry| entry.digest.is_some() && !is_applied(entry, self.app)) {
                let entry = SecretEntry { digest: None, updated_at: None, ..set.entry.clone() };
                record(&mut status.secrets, entry);
                must_store = true;
            }
        }
        let names = name_list(changes.sets.iter().map(|set| set.body.name.as_str()));
        let write = SecretWrite::Set { app, based_on, secrets: changes.sets };
        let events = self.preexisting_secrets_event().into_iter().collect();
        let first = must_store.then_some(KubernetesWrite::StoreStatus);
        Plan { first, events, ..Plan::remote(status, write, format!("Setting {names}")) }.into()
    }

    /// The status with everything that is known now.
    fn status(&self, changes: &PlannedChanges) -> SpiceSecretStatus {
        let mut status = self.input.status.clone();
        status.app_id = Some(self.id);
        status.secrets.retain(|entry| !changes.released.contains(&entry.name));
        if self.list().is_some() {
            status.drift = changes.drift.clone();
        } else {
            let SpiceSecretStatus { drift, secrets, .. } = &mut status;
            drift.retain(|name| secrets.iter().any(|entry| entry.name == *name));
        }
        if let Some(desired) = &self.desired {
            let is_resolved = |name: &String| desired.values.contains_key(name) || changes.released.contains(name);
            status
                .conflicts
                .retain(|conflict| !is_resolved(&conflict.name) && is_handover_pending(self.input, conflict));
            status.conflicts.extend(changes.conflicts.iter().cloned());
        }
        status
    }

    fn plan_no_write(&self, changes: &PlannedChanges) -> Next {
        let mut status = self.status(changes);
        let outcome = self.outcome(changes);
        if matches!(outcome, Outcome::InSync | Outcome::Stalled(..)) {
            status.core.observed_sources = self.input.sources();
        }
        Plan::no_op(&status, outcome).into()
    }
}

/// Returns true if the API rejected the content of one write.
pub(super) fn is_validation_error(error: &ApiError) -> bool {
    error.kind == ErrorKind::Invalid
}

/// Returns true if a listed secret has the time that an entry records.
fn has_recorded_time(entry: &SecretEntry, shown: &RemoteSecret) -> bool {
    entry.updated_at.is_some() && is_same_time(entry.updated_at.as_deref(), shown.updated_at.as_deref())
}

/// Earliest start of the list. For a resync, its scheduled time: all objects of the app resync then and share one
/// list. For a new object, the oldest usable read: objects that are applied together share one list. Otherwise a
/// change triggered the reconcile, and the list must be newer than the change.
fn min_list_time(input: &SecretInput<'_>) -> Timestamp {
    match input.due_resync() {
        Some(resync) => resync,
        None if input.runtime_state.last_synced_at.is_none() => input.oldest_usable_read(),
        None => input.runtime_state.pending_since.unwrap_or(input.now).max(input.oldest_usable_read()),
    }
}
