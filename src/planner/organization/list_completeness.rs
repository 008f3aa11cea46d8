//! Lists of the API with unknown completeness. The SpiceOrganization reports such a list once, for all objects
//! that wait for the list.

use super::input::OrganizationInput;
use crate::api::{IncompleteList, SpiceOrganization};
use crate::management::types::ListCompleteness;
use crate::planner::outcome::EventRecord;
use crate::planner::resource::Plan;

/// Maximum number of lists in status.
const MAX_LISTS: usize = 64;

/// Adds the lists with unknown completeness to the plan, and an event for each new one.
pub(super) fn record_incomplete_lists(
    input: &OrganizationInput<'_>,
    mut plan: Plan<SpiceOrganization>,
) -> Plan<SpiceOrganization> {
    let recorded = &input.status.incomplete_lists;
    let incomplete = |(path, completeness): (&String, &ListCompleteness)| match completeness {
        ListCompleteness::Complete => None,
        ListCompleteness::Unknown { items_seen } => {
            Some(IncompleteList { path: path.clone(), items_seen: i64::try_from(*items_seen).unwrap_or(i64::MAX) })
        }
    };
    let observed = input.observed.lists.iter().filter_map(incomplete);
    // The record of an earlier process stays until this process has read the list.
    let unread = recorded.iter().filter(|list| !input.observed.lists.contains_key(&list.path)).cloned();
    let mut lists: Vec<_> = observed.chain(unread).collect();
    lists.sort_by(|one, other| one.path.cmp(&other.path));
    lists.truncate(MAX_LISTS);
    for list in lists.iter().filter(|list| !recorded.contains(list)) {
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
