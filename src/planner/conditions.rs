//! Conditions that follow from an outcome. Ready is the summary; Reconciling and Stalled are present only while true
//! (kstatus).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::messages::{MAX_SHOWN_PATHS, list_items, truncate};
use super::outcome::{EventRecord, Outcome};
use super::status::{LastResult, find_condition};
use crate::api::{ConditionType, Reason, SUSPEND};
use crate::management::types::without_server_text;

/// Maximum length of a message in bytes. Kubernetes tools expect at most 32,768, and a message quotes text of the user.
const MAX_MESSAGE_LENGTH: usize = 4096;

/// Maximum length of an annotation's value in a message, in bytes.
const MAX_SHOWN_VALUE_LENGTH: usize = 32;

const SUSPENDED_READY: &str = "the object matched the spec at the last resync";
const SUSPENDED_UNKNOWN: &str = "whether the current spec is applied is not known";
const RESUMED: &str = "Resumed; waiting for the first resync";

/// Input of the conditions besides the outcome.
pub(crate) struct ConditionInput {
    /// Generation that was reconciled.
    pub(crate) generation: i64,
    /// True if too many intervals passed without a successful resync.
    pub(crate) overdue: bool,
    /// Message for a change of a referenced object that is not applied yet.
    pub(crate) source_change: Option<String>,
    /// Message of Ready=True.
    pub(crate) in_sync_message: String,
    /// Value of the annotation, if the annotation suspends the object.
    pub(crate) suspended_by_annotation: Option<String>,
    /// True if the reconcile repeats the last attempt with the same inputs.
    pub(crate) repeats_attempt: bool,
    /// Time of the reconcile.
    pub(crate) now: Timestamp,
}

/// Computes the conditions after a reconcile.
pub(crate) fn compute_conditions(before: &[Condition], outcome: &Outcome, input: &ConditionInput) -> Vec<Condition> {
    let ConditionInput { generation, overdue, ref source_change, ref in_sync_message, now, .. } = *input;
    let write = ConditionWriter { before, generation, repeats_attempt: input.repeats_attempt, now };
    let last_result = LastResult::from_conditions(before, Some(generation));
    let (was_ready, was_stalled) = (last_result == Some(LastResult::Ready), last_result == Some(LastResult::Stalled));
    let was_unknown = is_ready_unknown(before, Some(generation));
    let reconciling = |reason, message: &str| {
        vec![write.ready("False", reason, message), write.abnormal(ConditionType::Reconciling, reason, message)]
    };
    match outcome {
        Outcome::InSync => vec![write.ready("True", Reason::Succeeded, in_sync_message)],
        Outcome::Skipped | Outcome::Finalized => before.to_vec(),
        Outcome::InProgress(message) | Outcome::Terminating(message) => reconciling(Reason::Progressing, message),
        Outcome::WaitingForDependency(reason, message) | Outcome::ReadFailed(reason, message, _) => {
            match (was_ready || was_unknown, overdue || was_unknown, source_change) {
                // Handled like a change of the spec: the last result is for content that is no longer desired.
                (has_result, _, Some(change)) if has_result || was_stalled => {
                    reconciling(*reason, &format!("{change}: {message}"))
                }
                (true, true, _) => vec![write.ready("Unknown", *reason, message)],
                (true, false, _) if is_unverified_since_suspension(before, Some(generation)) => {
                    vec![write.ready("True", Reason::Progressing, RESUMED)]
                }
                // An outage does not change the result of the last reconcile.
                (true, false, _) => before.to_vec(),
                (false, _, _) if was_stalled => before.to_vec(),
                (false, _, _) => reconciling(*reason, message),
            }
        }
        Outcome::WriteFailed(reason, message, _) | Outcome::DependencyDeleted(reason, message) => {
            reconciling(*reason, message)
        }
        Outcome::Stalled(reason, message) => {
            vec![write.ready("False", *reason, message), write.abnormal(ConditionType::Stalled, *reason, message)]
        }
        Outcome::Suspended => {
            let (status, state) = if was_ready { ("True", SUSPENDED_READY) } else { ("Unknown", SUSPENDED_UNKNOWN) };
            vec![write.ready(
                status,
                Reason::Suspended,
                &suspended_message(state, input.suspended_by_annotation.as_deref()),
            )]
        }
    }
}

fn suspended_message(state: &str, annotation: Option<&str>) -> String {
    let cause = match annotation {
        None => String::new(),
        Some("true") => format!(" by annotation {SUSPEND}"),
        // The value may be a mistake.
        Some(value) => format!(" by annotation {SUSPEND} with value \"{}\"", truncate(value, MAX_SHOWN_VALUE_LENGTH)),
    };
    format!("Reconciliation is suspended{cause}; {state}")
}

/// Returns true if Ready is Unknown because resyncs failed for too long. Ready stays Unknown until the next successful
/// resync.
pub(crate) fn is_ready_unknown(conditions: &[Condition], generation: Option<i64>) -> bool {
    find_condition(conditions, ConditionType::Ready).is_some_and(|ready| {
        ready.status == "Unknown"
            && ready.observed_generation == generation
            && ready.reason != Reason::Suspended.as_str()
    })
}

/// Returns true if Ready is True from before a suspension, and no resync has succeeded since.
pub(crate) fn is_unverified_since_suspension(conditions: &[Condition], generation: Option<i64>) -> bool {
    find_condition(conditions, ConditionType::Ready).is_some_and(|ready| {
        ready.status == "True"
            && ready.observed_generation == generation
            && [Reason::Suspended, Reason::Progressing].iter().any(|reason| reason.as_str() == ready.reason)
    })
}

/// Conditions of an object that cannot be decoded.
pub fn undecodable_conditions(before: &[Condition], generation: i64, message: &str, now: Timestamp) -> Vec<Condition> {
    let input = ConditionInput {
        generation,
        overdue: false,
        source_change: None,
        in_sync_message: String::new(),
        suspended_by_annotation: None,
        repeats_attempt: true,
        now,
    };
    compute_conditions(before, &Outcome::Stalled(Reason::InvalidSpec, message.to_owned()), &input)
}

/// Adds or removes the condition Drifted, which lists differences that are not corrected.
pub(crate) fn set_drifted(
    conditions: &mut Vec<Condition>,
    before: &[Condition],
    generation: i64,
    drift: &[String],
    now: Timestamp,
) {
    conditions.retain(|condition| condition.type_ != ConditionType::Drifted.as_str());
    if drift.is_empty() {
        return;
    }
    let paths = list_items(drift.iter().map(String::as_str), MAX_SHOWN_PATHS);
    let message = format!("Differences from the spec are not corrected: {paths}");
    let write = ConditionWriter { before, generation, repeats_attempt: false, now };
    conditions.push(write.abnormal(ConditionType::Drifted, Reason::DriftDetected, &message));
}

/// The event for a change of Ready, if Ready changed.
pub(crate) fn ready_event(before: &[Condition], after: &[Condition]) -> Option<EventRecord> {
    let ready = find_condition(after, ConditionType::Ready)?;
    let was = find_condition(before, ConditionType::Ready);
    if was.is_some_and(|was| was.status == ready.status && was.reason == ready.reason) {
        return None;
    }
    // Objects that are applied together wait for each other for a moment; that is no warning.
    let expected = [Reason::Succeeded, Reason::Progressing, Reason::Suspended, Reason::DependencyNotReady];
    let is_lost = was.is_some_and(|was| was.status == "True")
        && ready.status == "Unknown"
        && ready.reason != Reason::Suspended.as_str();
    let is_warning = is_lost || !expected.iter().any(|reason| reason.as_str() == ready.reason);
    let record = if is_warning { EventRecord::warning } else { EventRecord::normal };
    Some(record("Reconcile", &ready.reason, ready.message.clone()))
}

/// Replaces the message of Ready. Status and reason stay.
pub(crate) fn set_ready_message(conditions: &mut [Condition], message: &str) {
    for ready in conditions.iter_mut().filter(|condition| condition.type_ == ConditionType::Ready.as_str()) {
        message.clone_into(&mut ready.message);
    }
}

/// Writes conditions. Keeps the transition time of a condition whose status did not change. A repeated attempt also
/// keeps the message of a condition that differs only by the text of a server, such as a request ID.
struct ConditionWriter<'a> {
    before: &'a [Condition],
    generation: i64,
    repeats_attempt: bool,
    now: Timestamp,
}

impl ConditionWriter<'_> {
    fn ready(&self, status: &str, reason: Reason, message: &str) -> Condition {
        self.condition(ConditionType::Ready, status, reason, message)
    }

    fn abnormal(&self, type_: ConditionType, reason: Reason, message: &str) -> Condition {
        self.condition(type_, "True", reason, message)
    }

    fn condition(&self, type_: ConditionType, status: &str, reason: Reason, message: &str) -> Condition {
        let same = find_condition(self.before, type_).filter(|condition| condition.status == status);
        let message = truncate(message, MAX_MESSAGE_LENGTH);
        let has_same_message = |earlier: &&Condition| {
            self.repeats_attempt
                && earlier.reason == reason.as_str()
                && earlier.observed_generation == Some(self.generation)
                && without_server_text(&earlier.message) == without_server_text(&message)
        };
        Condition {
            type_: type_.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: same.filter(has_same_message).map_or_else(|| message.clone(), |earlier| earlier.message.clone()),
            observed_generation: Some(self.generation),
            last_transition_time: same.map_or_else(|| Time(self.now), |same| same.last_transition_time.clone()),
        }
    }
}
