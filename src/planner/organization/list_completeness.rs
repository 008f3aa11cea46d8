//! Lists whose end cannot be told: named on the organization, once, and not on every object that waits for one.

use super::{Plan, PlanInput};
use crate::api::{IncompleteList, SpiceOrganization};
use crate::management::types::ListCompleteness;
use crate::planner::EventRecord;

/// As many as status holds.
const MOST: usize = 64;

/// The plan with what is known of lists.
pub(super) fn record_incomplete_lists(
    input: &PlanInput<'_, SpiceOrganization>,
    mut plan: Plan<SpiceOrganization>,
) -> Plan<SpiceOrganization> {
    let before = &input.status.incomplete_lists;
    let incomplete = |(path, end): (&String, &ListCompleteness)| match end {
        ListCompleteness::Complete => None,
        ListCompleteness::Unknown { items_seen } => {
            Some(IncompleteList { path: path.clone(), items_seen: i64::try_from(*items_seen).unwrap_or(i64::MAX) })
        }
    };
    let seen = input.observed.lists.iter().filter_map(incomplete);
    // What another process has seen holds until this one has read the list itself.
    let unread = before.iter().filter(|list| !input.observed.lists.contains_key(&list.path)).cloned();
    let mut lists: Vec<_> = seen.chain(unread).collect();
    lists.sort_by(|one, other| one.path.cmp(&other.path));
    lists.truncate(MOST);
    for list in lists.iter().filter(|list| !before.contains(list)) {
        let message = format!(
            "Cannot determine whether the list {} is complete ({} items read). No apps are created or treated as deleted \
             until it is",
            list.path, list.items_seen
        );
        plan.events.push(EventRecord::warning("Reconcile", "ListIncomplete", message));
    }
    plan.status.incomplete_lists = lists;
    plan
}
