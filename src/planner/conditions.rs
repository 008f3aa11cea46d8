//! From a verdict to conditions (kstatus: Ready is the summary, Reconciling and Stalled are there only while true).

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{EventRecord, LastResult, Outcome};
use crate::api::{ConditionType, Reason};

/// Paths that the message of Drifted names; status has all of them.
const LONGEST_DRIFT: usize = 8;

/// Of one that stands as it was achieved.
const SUSPENDED: &str = "suspended: nothing is looked at or changed";
/// Of the same, once it is not suspended any more.
const RESUMED: &str = "not looked at since it was suspended";
/// Of one whose spec, as it is now, was not achieved before.
const NOT_ACHIEVED: &str = "suspended; the spec as it is now was not achieved before";

/// What the conditions depend on besides the verdict.
pub(crate) struct ConditionInput {
    /// The generation that was judged.
    pub(crate) generation: i64,
    /// Whether too many intervals went by without an observation.
    pub(crate) overdue: bool,
    /// What became of what the spec refers to since that was taken up, in words.
    pub(crate) renewed: Option<String>,
    /// The message of Ready=True.
    pub(crate) in_sync: String,
    /// When it was judged.
    pub(crate) now: Timestamp,
}

/// The conditions after a visit.
pub(crate) fn compute_conditions(
    before: &[Condition],
    outcome: &Outcome,
    situation: &ConditionInput,
) -> Vec<Condition> {
    let ConditionInput { generation, overdue, ref renewed, ref in_sync, now } = *situation;
    let write = Writer { before, generation, now };
    let achieved = standing(before, Some(generation)) == Some(LastResult::Ready);
    let lost = is_ready_unknown(before, Some(generation));
    let working = |reason, message: &str| {
        vec![write.ready("False", reason, message), write.abnormal(ConditionType::Reconciling, reason, message)]
    };
    match outcome {
        Outcome::InSync => vec![write.ready("True", Reason::Succeeded, in_sync)],
        Outcome::Skipped | Outcome::Finalized => before.to_vec(),
        Outcome::InProgress(message) | Outcome::Terminating(message) => working(Reason::Progressing, message),
        Outcome::WaitingForDependency(reason, message) | Outcome::ReadFailed(reason, message, _) => {
            let stalled = standing(before, Some(generation)) == Some(LastResult::Stalled);
            match (achieved || lost, overdue || lost, renewed) {
                // As an edit of the spec: what was judged before is not what is wanted now.
                (judged, _, Some(news)) if judged || stalled => working(*reason, &format!("{news}: {message}")),
                (true, true, _) => vec![write.ready("Unknown", *reason, message)],
                (true, false, _) if is_suspended(before, Some(generation)) => {
                    vec![write.ready("True", Reason::Succeeded, RESUMED)]
                }
                // An outage tells nothing new of an object that waits for a person.
                (true, false, _) => before.to_vec(),
                (false, _, _) if stalled => before.to_vec(),
                (false, _, _) => working(*reason, message),
            }
        }
        Outcome::WriteFailed(reason, message, _) | Outcome::DependencyDeleted(reason, message) => {
            working(*reason, message)
        }
        Outcome::Stalled(reason, message) => {
            vec![write.ready("False", *reason, message), write.abnormal(ConditionType::Stalled, *reason, message)]
        }
        Outcome::Suspended if achieved => vec![write.ready("True", Reason::Succeeded, SUSPENDED)],
        Outcome::Suspended if lost || is_suspended(before, Some(generation)) => {
            vec![write.ready("Unknown", Reason::Suspended, SUSPENDED)]
        }
        Outcome::Suspended => vec![write.ready("Unknown", Reason::Suspended, NOT_ACHIEVED)],
    }
}

/// Whether Ready became Unknown for want of observations: then it stays so until the next. One that is Unknown for a
/// suspended edit does not.
pub(crate) fn is_ready_unknown(conditions: &[Condition], generation: Option<i64>) -> bool {
    find(conditions, ConditionType::Ready).is_some_and(|ready| {
        ready.status == "Unknown"
            && ready.observed_generation == generation
            && ready.reason != Reason::Suspended.as_str()
    })
}

/// Whether what was achieved was suspended then, and not looked at since.
pub(crate) fn is_suspended(conditions: &[Condition], generation: Option<i64>) -> bool {
    find(conditions, ConditionType::Ready)
        .is_some_and(|ready| [SUSPENDED, RESUMED].contains(&&*ready.message) && ready.observed_generation == generation)
}

/// The conditions of an object that cannot be decoded.
pub fn unreadable(before: &[Condition], generation: i64, message: &str, now: Timestamp) -> Vec<Condition> {
    let situation = ConditionInput { generation, overdue: false, renewed: None, in_sync: String::new(), now };
    compute_conditions(before, &Outcome::Stalled(Reason::InvalidSpec, message.to_owned()), &situation)
}

/// Sets or takes away the condition that tells of fields which are left as somebody else made them.
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
    let shown = drift.iter().take(LONGEST_DRIFT).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = drift.len().saturating_sub(LONGEST_DRIFT);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let message = format!("differs from the spec and is left so: {shown}{more}");
    let write = Writer { before, generation, now };
    conditions.push(write.abnormal(ConditionType::Drifted, Reason::DriftDetected, &message));
}

/// How `generation` was last judged, if it was.
pub(crate) fn standing(conditions: &[Condition], generation: Option<i64>) -> Option<LastResult> {
    let holds = |type_| {
        find(conditions, type_)
            .is_some_and(|condition| condition.status == "True" && condition.observed_generation == generation)
    };
    match () {
        () if holds(ConditionType::Ready) => Some(LastResult::Ready),
        () if holds(ConditionType::Stalled) => Some(LastResult::Stalled),
        () => None,
    }
}

/// The event that a change of Ready deserves, if it changed.
pub(crate) fn transition(before: &[Condition], after: &[Condition]) -> Option<EventRecord> {
    let ready = find(after, ConditionType::Ready)?;
    let was = find(before, ConditionType::Ready);
    if was.is_some_and(|was| was.status == ready.status && was.reason == ready.reason) {
        return None;
    }
    // Objects that are applied together wait for each other for a moment; that is nothing to warn of.
    let quiet = [Reason::Succeeded, Reason::Progressing, Reason::Suspended, Reason::DependencyNotReady];
    // Of what was seen to be as wanted, it cannot be told any more.
    let lost = was.is_some_and(|was| was.status == "True")
        && ready.status == "Unknown"
        && ready.reason != Reason::Suspended.as_str();
    let warning = lost || !quiet.iter().any(|reason| reason.as_str() == ready.reason);
    Some(EventRecord { warning, reason: ready.reason.clone(), message: ready.message.clone() })
}

fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

struct Writer<'a> {
    before: &'a [Condition],
    generation: i64,
    now: Timestamp,
}

impl Writer<'_> {
    fn ready(&self, status: &str, reason: Reason, message: &str) -> Condition {
        self.condition(ConditionType::Ready, status, reason, message)
    }

    fn abnormal(&self, type_: ConditionType, reason: Reason, message: &str) -> Condition {
        self.condition(type_, "True", reason, message)
    }

    fn condition(&self, type_: ConditionType, status: &str, reason: Reason, message: &str) -> Condition {
        let same = find(self.before, type_).filter(|condition| condition.status == status);
        Condition {
            type_: type_.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: message.to_owned(),
            observed_generation: Some(self.generation),
            last_transition_time: same.map_or_else(|| Time(self.now), |same| same.last_transition_time.clone()),
        }
    }
}
