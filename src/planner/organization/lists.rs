//! Lists whose end cannot be told: named on the organization, once, and not on every object that waits for one.

use super::{Plan, View};
use crate::api::SpiceOrganization;
use crate::planner::Note;

/// The plan with what is known of lists.
pub(super) fn tell(view: &View<'_, SpiceOrganization>, mut plan: Plan<SpiceOrganization>) -> Plan<SpiceOrganization> {
    // What another process has seen holds until this one has read a list itself.
    let Some(lists) = &view.observed.incomplete_lists else { return plan };
    for list in lists.iter().filter(|list| !view.status.incomplete_lists.contains(list)) {
        let words = format!(
            "{}: {} items seen, and whether there are more cannot be told; while that is so, no app is created and none is \
             taken for deleted",
            list.path, list.seen
        );
        plan.notes.push(Note::warning("ListIncomplete", words));
    }
    plan.status.incomplete_lists = lists.clone();
    plan
}
