//! Condition invariants (invariant 8): rules for the conditions of every status that the operator writes. The planner's
//! tests include this file, and the integration tests apply the rules to every status in the apiserver.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Returns the first violated rule as an error.
pub fn check(conditions: &[Condition], generation: Option<i64>) -> Result<(), String> {
    let of_type = |type_: &str| conditions.iter().filter(|condition| condition.type_ == type_).collect::<Vec<_>>();
    let (ready, reconciling, stalled, drifted) =
        (of_type("Ready"), of_type("Reconciling"), of_type("Stalled"), of_type("Drifted"));
    let abnormal = || reconciling.iter().chain(&stalled);
    let statuses = ["True", "False", "Unknown"];
    for (holds, rule) in [
        (ready.len() == 1, "exactly one Ready condition"),
        (reconciling.len() + stalled.len() <= 1, "at most one of Reconciling and Stalled, once"),
        (drifted.len() <= 1, "at most one Drifted condition"),
        (
            conditions.len() == ready.len() + reconciling.len() + stalled.len() + drifted.len(),
            "no other condition types",
        ),
        (
            abnormal().chain(&drifted).all(|condition| condition.status == "True"),
            "Reconciling, Stalled and Drifted have status True",
        ),
        (
            abnormal().next().is_none() || ready.iter().all(|ready| ready.status != "True"),
            "Ready=True excludes Reconciling and Stalled",
        ),
        (
            conditions.iter().all(|condition| condition.observed_generation == generation),
            "every condition has the observed generation",
        ),
        (
            conditions.iter().all(|condition| statuses.contains(&condition.status.as_str())),
            "every condition status is True, False or Unknown",
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
