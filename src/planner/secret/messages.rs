//! Outcomes and messages of a SpiceSecret.

use super::changes::{ChangePlanner, PlannedChanges, is_validation_error};
use super::entries::is_applied;
use super::input::SecretInput;
use super::name_conflicts::siblings;
use super::source::Problem;
use super::write::{name_list, with_name};
use crate::api::Reason;
use crate::planner::errors::{self, ApiOperation};
use crate::planner::outcome::{EventRecord, Outcome, Retry};

/// Maximum number of sentences in one message.
const MAX_SENTENCES: usize = 16;

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
        messages.extend(failed.clone().map(|(name, error)| format!("App secret \"{name}\": {error}")));
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
            () if is_missing => input.source_missing(message),
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
    let exception = if input.status.drift.is_empty() { "" } else { ", except for the names in status.drift" };
    format!("{count} {secrets} {verb} in sync with Secret \"{source}\"{exception}")
}

fn join_sentences(sentences: &[String]) -> String {
    let shown = sentences.iter().take(MAX_SENTENCES).map(String::as_str).collect::<Vec<_>>().join(". ");
    match sentences.len().saturating_sub(MAX_SENTENCES) {
        0 => shown,
        more => format!("{shown}. {more} more problems are not shown"),
    }
}
