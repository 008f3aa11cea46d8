//! The rulebook of conditions (invariant 8): what holds of every status that the operator writes. One text for the
//! planner's tests, which include this file, and for the tests with real parts, which hold it against what they see.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Which rule the conditions break, if they break one.
pub fn broken(conditions: &[Condition], generation: Option<i64>) -> Result<(), String> {
    let of = |type_: &str| conditions.iter().filter(|condition| condition.type_ == type_).collect::<Vec<_>>();
    let (ready, reconciling, stalled, drifted) = (of("Ready"), of("Reconciling"), of("Stalled"), of("Drifted"));
    let abnormal = || reconciling.iter().chain(&stalled);
    let known = ["True", "False", "Unknown"];
    for (holds, rule) in [
        (ready.len() == 1, "there is exactly one Ready"),
        (reconciling.len() + stalled.len() <= 1, "there is Reconciling or Stalled or neither, once"),
        (drifted.len() <= 1, "there is Drifted at most once"),
        (
            conditions.len() == ready.len() + reconciling.len() + stalled.len() + drifted.len(),
            "there are no other types",
        ),
        (
            abnormal().chain(&drifted).all(|condition| condition.status == "True"),
            "Reconciling, Stalled and Drifted are there only while true",
        ),
        (
            abnormal().next().is_none() || ready.iter().all(|ready| ready.status != "True"),
            "Ready goes with neither Reconciling nor Stalled",
        ),
        (
            conditions.iter().all(|condition| condition.observed_generation == generation),
            "every condition carries the observed generation",
        ),
        (
            conditions.iter().all(|condition| known.contains(&condition.status.as_str())),
            "a status is True, False or Unknown",
        ),
        (conditions.iter().all(|condition| !condition.reason.is_empty()), "every condition has a reason"),
        (conditions.iter().all(|condition| !condition.message.is_empty()), "every condition has a message"),
    ] {
        if !holds {
            return Err(format!("{rule}: {conditions:?}, observed generation {generation:?}"));
        }
    }
    Ok(())
}
