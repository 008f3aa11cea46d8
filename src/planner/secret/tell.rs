//! What is told of secrets: the verdict, and notes of what was done.

use super::claims::others;
use super::content::Problem;
use super::judge::{Judge, Work, is_refusal};
use super::keep::is_confirmed;
use super::*;

/// Problems that a message names; the others are counted.
const MOST_WORDS: usize = 16;

impl Judge<'_> {
    /// What came back with the app and is named by nobody. Told once, by whoever sets the app's first secret.
    pub(super) fn left_overs(&self) -> Option<Note> {
        let view = self.view;
        let others = others(view);
        let begun = others.clone().any(|other| !other.set.is_empty())
            || view.status.entries.iter().any(|entry| is_confirmed(entry, self.app));
        let wanted = |name: &String| self.wanted.as_ref().is_some_and(|wanted| wanted.contents.contains_key(name));
        let named_elsewhere = |name: &String| others.clone().any(|other| other.named.contains(name));
        let left = self.list()?.values().filter(|there| self.is_left_over(there)).map(|there| &there.name);
        let left: Vec<&str> = left.filter(|name| !wanted(name) && !named_elsewhere(name)).map(String::as_str).collect();
        let words = || format!("app {} had been deleted and came back with secrets that nobody names: ", self.id);
        (!begun && !left.is_empty()).then(|| Note::warning("Reactivated", words() + &named(left.into_iter())))
    }

    pub(super) fn verdict(&self, work: &Work) -> Verdict {
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
            () if is_missing => missing(view, listed),
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
            () => work.waiting.clone().map_or(Verdict::Settled, Verdict::Working),
        }
    }
}

/// What a batch of writes has done.
pub(super) fn done(write: &SecretWrite, answer: &SecretAnswer) -> Vec<Note> {
    let written = || answer.iter().filter(|(_, result)| result.is_ok()).map(|(name, _)| name.as_str());
    let note = |make: fn(&str, String) -> Note, reason, words: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| make(reason, format!("{words}{}", named(names.into_iter()))))
    };
    match write {
        SecretWrite::Delete { .. } => {
            note(Note::normal, "Deleted", "deleted ", written().collect()).into_iter().collect()
        }
        SecretWrite::Set { secrets, corrects, .. } => {
            let (put_back, set) = written().partition(|name| corrects.iter().any(|corrected| corrected == name));
            let is_empty = |set: &&Set| set.body.value.is_empty();
            let empty: Vec<&str> = secrets.iter().filter(is_empty).map(|set| set.body.name.as_str()).collect();
            let empty = written().filter(|name| empty.contains(name)).collect();
            let notes = [
                note(Note::normal, "Updated", "set ", set),
                note(Note::warning, "DriftCorrected", "changed outside and put back: ", put_back),
                note(Note::warning, "EmptyValue", "the value is empty: ", empty),
            ];
            notes.into_iter().flatten().collect()
        }
    }
}

/// The source, or a key of it, is not there: the watch tells when it comes.
pub(super) fn missing(view: &SecretView<'_>, words: String) -> Verdict {
    Verdict::Failed(Reason::CredentialsMissing, words, Retry::After(view.waits.refused_write_repeat))
}

pub(super) fn about(name: &str, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Failed(reason, words, retry) => Verdict::Failed(reason, format!("{name}: {words}"), retry),
        other => other,
    }
}

/// Names in a row, as many as a message takes.
pub(super) fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
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
