//! What is told of secrets: the verdict, and notes of what was done.

use super::name_conflicts::others;
use super::plan::{PlannedChanges, SecretPlanner, is_refusal};
use super::source::Problem;
use super::update::is_confirmed;
use super::*;

/// Problems that a message names; the others are counted.
const MOST_WORDS: usize = 16;

impl SecretPlanner<'_> {
    /// What came back with the app and is named by nobody. Told once, by whoever sets the app's first secret.
    pub(super) fn left_overs(&self) -> Option<EventRecord> {
        let input = self.input;
        let others = others(input);
        let started_at = others.clone().any(|other| !other.set.is_empty())
            || input.status.secrets.iter().any(|entry| is_confirmed(entry, self.app));
        let wanted = |name: &String| self.wanted.as_ref().is_some_and(|wanted| wanted.contents.contains_key(name));
        let named_elsewhere = |name: &String| others.clone().any(|other| other.named.contains(name));
        let left = self.list()?.values().filter(|there| self.is_left_over(there)).map(|there| &there.name);
        let left: Vec<&str> = left.filter(|name| !wanted(name) && !named_elsewhere(name)).map(String::as_str).collect();
        let message = || format!("app {} had been deleted and came back with secrets that nobody names: ", self.id);
        (!started_at && !left.is_empty())
            .then(|| EventRecord::warning("Reactivated", message() + &named(left.into_iter())))
    }

    pub(super) fn outcome(&self, work: &PlannedChanges) -> Outcome {
        let input = self.input;
        let failed = input.observed.failed.iter();
        if let Some((name, error)) = failed.clone().find(|(_, error)| !is_refusal(error)) {
            return about(name, errors::call_failed(error, ApiOperation::Write, "secrets:write", input.timings));
        }
        let problems = self.wanted.iter().flat_map(|wanted| &wanted.problems);
        let is_missing = problems.clone().any(|problem| matches!(problem, Problem::Missing(_)));
        let is_invalid = problems.clone().any(|problem| matches!(problem, Problem::Invalid(_)));
        let mut message: Vec<String> = problems
            .map(|problem| match problem {
                Problem::Missing(message) | Problem::Invalid(message) => message.clone(),
            })
            .collect();
        message.extend(failed.clone().map(|(name, error)| format!("{name}: {error}")));
        message.extend(work.taken.iter().cloned());
        message.extend(work.held.iter().map(|held| format!("{} is held by SpiceSecret {}", held.name, held.owned_by)));
        let fought: Vec<&str> =
            work.drift.iter().map(String::as_str).filter(|name| self.is_correction_loop(name)).collect();
        let listed = listed(&message);
        match () {
            () if is_missing => missing(input, listed),
            () if failed.len() > 0 => Outcome::WriteFailed(
                Reason::InvalidSpec,
                listed,
                Retry::After(input.timings.rejected_write_retry_interval),
            ),
            () if is_invalid => Outcome::Stalled(Reason::InvalidSpec, listed),
            () if !message.is_empty() => Outcome::Stalled(Reason::NameTaken, listed),
            () if !fought.is_empty() => {
                let names = named(fought.into_iter());
                let message = "put back again and again, so somebody else sets it too";
                Outcome::Stalled(
                    Reason::CorrectionLoop,
                    format!("{message}: {names}; let one of them stop, then change the spec"),
                )
            }
            () => work.waiting.clone().map_or(Outcome::InSync, Outcome::InProgress),
        }
    }
}

/// What a batch of writes has done.
pub(super) fn success_events(write: &SecretWrite, answer: &SecretResponse) -> Vec<EventRecord> {
    let written = || answer.iter().filter(|(_, result)| result.is_ok()).map(|(name, _)| name.as_str());
    let note = |make: fn(&str, String) -> EventRecord, reason, message: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| make(reason, format!("{message}{}", named(names.into_iter()))))
    };
    match write {
        SecretWrite::Delete { .. } => {
            note(EventRecord::normal, "Deleted", "deleted ", written().collect()).into_iter().collect()
        }
        SecretWrite::Set { secrets, corrects, .. } => {
            let (put_back, set) = written().partition(|name| corrects.iter().any(|corrected| corrected == name));
            let is_empty = |set: &&Set| set.body.value.is_empty();
            let empty: Vec<&str> = secrets.iter().filter(is_empty).map(|set| set.body.name.as_str()).collect();
            let empty = written().filter(|name| empty.contains(name)).collect();
            let events = [
                note(EventRecord::normal, "Updated", "set ", set),
                note(EventRecord::warning, "DriftCorrected", "changed outside and put back: ", put_back),
                note(EventRecord::warning, "EmptyValue", "the value is empty: ", empty),
            ];
            events.into_iter().flatten().collect()
        }
    }
}

/// The source, or a key of it, is not there: the watch tells when it comes.
pub(super) fn missing(input: &SecretInput<'_>, message: String) -> Outcome {
    Outcome::WriteFailed(Reason::CredentialsMissing, message, Retry::After(input.timings.rejected_write_retry_interval))
}

pub(super) fn about(name: &str, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::WriteFailed(reason, message, retry) => {
            Outcome::WriteFailed(reason, format!("{name}: {message}"), retry)
        }
        other => other,
    }
}

/// Names in a row, as many as a message takes.
pub(super) fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    shortened(&names.collect::<Vec<_>>(), ", ")
}

/// Sentences in a row, as many as a message takes.
fn listed(message: &[String]) -> String {
    shortened(&message.iter().map(String::as_str).collect::<Vec<_>>(), "; ")
}

fn shortened(message: &[&str], between: &str) -> String {
    let shown = message.iter().take(MOST_WORDS).copied().collect::<Vec<_>>().join(between);
    match message.len().saturating_sub(MOST_WORDS) {
        0 => shown,
        more => format!("{shown}{between}and {more} more"),
    }
}
