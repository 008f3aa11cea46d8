//! Outcome messages and events of a SpiceSecret.

use super::name_conflicts::siblings;
use super::plan::{ChangePlanner, PlannedChanges, is_validation_error};
use super::source::Problem;
use super::update::is_applied;
use super::write::SetCause;
use super::*;
use crate::planner::messages::list_items;

/// Maximum number of names or sentences in one message.
const MAX_ITEMS: usize = 16;

impl ChangePlanner<'_> {
    /// Event for secrets that a reactivated app kept and that no SpiceSecret requests. Emitted once, by the SpiceSecret
    /// that sets the first secret of the app.
    pub(super) fn preexisting_secrets_event(&self) -> Option<EventRecord> {
        let input = self.input;
        let siblings = siblings(input);
        let has_set = siblings.clone().any(|other| !other.managed.is_empty())
            || input.status.secrets.iter().any(|entry| is_applied(entry, self.app));
        let is_requested = |name: &String| {
            self.desired.as_ref().is_some_and(|desired| desired.values.contains_key(name))
                || siblings.clone().any(|other| other.requested.contains(name))
        };
        let preexisting = self.list()?.values().filter(|secret| self.predates_app(secret));
        let names: Vec<&str> =
            preexisting.filter(|secret| !is_requested(&secret.name)).map(|secret| secret.name.as_str()).collect();
        (!has_set && !names.is_empty()).then(|| {
            let names = name_list(names.into_iter());
            let message =
                format!("App {} was reactivated and kept secrets that no SpiceSecret requests: {names}", self.id);
            EventRecord::warning("Create", "Reactivated", message)
        })
    }

    /// Outcome of the changes if no write remains.
    pub(super) fn outcome(&self, changes: &PlannedChanges) -> Outcome {
        let input = self.input;
        let failed = input.observed.failed.iter();
        if let Some((name, error)) = failed.clone().find(|(_, error)| !is_validation_error(error)) {
            let outcome = errors::call_failed(error, ApiOperation::Write, "secrets:write", input.timings);
            return with_name(name, outcome);
        }
        let problems = self.desired.iter().flat_map(|desired| &desired.problems);
        let is_missing = problems.clone().any(|problem| matches!(problem, Problem::Missing(_)));
        let is_invalid = problems.clone().any(|problem| matches!(problem, Problem::Invalid(_)));
        let mut messages: Vec<String> = problems.map(|problem| problem.message().to_owned()).collect();
        messages.extend(failed.clone().map(|(name, error)| format!("Secret \"{name}\": {error}")));
        messages.extend(changes.not_owned.iter().cloned());
        messages.extend(
            changes.conflicts.iter().map(|conflict| {
                format!("Name \"{}\" is owned by SpiceSecret \"{}\"", conflict.name, conflict.owned_by)
            }),
        );
        let drift = changes.drift.iter().map(String::as_str);
        let looping: Vec<&str> = drift.filter(|name| input.is_correction_loop(name)).collect();
        let message = join_sentences(&messages);
        match () {
            () if is_missing => source_missing(input, message),
            () if failed.len() > 0 => {
                let retry = Retry::After(input.timings.rejected_write_retry_interval);
                Outcome::WriteFailed(Reason::InvalidSpec, message, retry)
            }
            () if is_invalid => Outcome::Stalled(Reason::InvalidSpec, message),
            () if !messages.is_empty() => Outcome::Stalled(Reason::NameTaken, message),
            () if !looping.is_empty() => input.correction_loop(&looping),
            () => changes.handover.clone().map_or(Outcome::InSync, Outcome::InProgress),
        }
    }
}

/// Message of Ready=True.
pub(super) fn in_sync(input: &SecretInput<'_>) -> String {
    let count = input.status.secrets.len();
    let (secrets, verb) = if count == 1 { ("secret", "is") } else { ("secrets", "are") };
    let source = input.desired.spec.as_ref().map_or("", |selection| selection.source.as_str());
    format!("{count} {secrets} {verb} in sync with Secret \"{source}\"")
}

/// Events of a batch of writes.
pub(super) fn success_events(write: &SecretWrite, response: &SecretResponse) -> Vec<EventRecord> {
    let is_written = |name: &str| response.iter().any(|(written, result)| written == name && result.is_ok());
    let event = |make: fn(&'static str, &str, String) -> EventRecord, action, reason, text: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| make(action, reason, format!("{text} {}", name_list(names.into_iter()))))
    };
    let sets = write.sets().iter().filter(|set| is_written(&set.body.name));
    let set_for =
        |cause| sets.clone().filter(|set| set.cause == cause).map(|set| set.body.name.as_str()).collect::<Vec<_>>();
    let empty = sets.clone().filter(|set| set.body.value.is_empty()).map(|set| set.body.name.as_str()).collect();
    let deleted = match write {
        SecretWrite::Delete { names, .. } => names.iter().map(String::as_str).filter(|name| is_written(name)).collect(),
        SecretWrite::Set { .. } => Vec::new(),
    };
    let events = [
        event(EventRecord::normal, "Create", "Created", "Created secret", set_for(SetCause::Create)),
        event(EventRecord::normal, "Adopt", "Adopted", "Adopted secret", set_for(SetCause::Adopt)),
        event(EventRecord::normal, "Update", "Rotated", "Set new value of secret", set_for(SetCause::Rotate)),
        event(EventRecord::warning, "Correct", "DriftCorrected", "Corrected drift:", set_for(SetCause::Correct)),
        event(EventRecord::warning, "Update", "EmptyValue", "The value is empty:", empty),
        event(EventRecord::normal, "Delete", "Deleted", "Deleted secret", deleted),
    ];
    events.into_iter().flatten().collect()
}

/// Outcome for a missing Secret, or a missing key. The watch of Secrets triggers the next reconcile.
pub(super) fn source_missing(input: &SecretInput<'_>, message: String) -> Outcome {
    Outcome::WriteFailed(Reason::CredentialsMissing, message, Retry::After(input.timings.rejected_write_retry_interval))
}

/// Adds the name of a secret to the message of a failed write.
pub(super) fn with_name(name: &str, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::WriteFailed(reason, message, retry) => {
            Outcome::WriteFailed(reason, format!("Secret \"{name}\": {message}"), retry)
        }
        other => other,
    }
}

/// A list of names for a message.
pub(super) fn name_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    list_items(names, MAX_ITEMS)
}

fn join_sentences(sentences: &[String]) -> String {
    let shown = sentences.iter().take(MAX_ITEMS).map(String::as_str).collect::<Vec<_>>().join(". ");
    match sentences.len().saturating_sub(MAX_ITEMS) {
        0 => shown,
        more => format!("{shown}. {more} more problems are not shown"),
    }
}
