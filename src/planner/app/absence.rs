//! The check that an app is absent.

use std::collections::HashSet;

use super::input::{AppInput, RecordedApps, organization_name, read_failed};
use crate::api::{ACCEPT_MISSING_APPS, Reason};
use crate::planner::outcome::{Outcome, Retry};
use crate::planner::remote_app::{ListedAbsence, listed_absence, unreadable_app_message};

/// Result of an absence check of an app that a GET did not find.
pub(super) enum AbsenceCheck {
    /// The app does not exist.
    Confirmed,
    /// The absence is not certain yet.
    Inconclusive(Outcome),
    /// So many apps are missing at once that the credential may resolve to another organization.
    MassAbsence(String),
}

/// Checks the absence of an app that a GET answered with 404. Absent means: the complete list lacks the ID too, and no
/// own write is so recent that both may be stale.
pub(super) fn absence(input: &AppInput<'_>, id: i64) -> AbsenceCheck {
    let inconclusive =
        |message| AbsenceCheck::Inconclusive(Outcome::ReadFailed(Reason::RemoteUnavailable, message, Retry::Backoff));
    match listed_absence(input.observed.list.as_ref(), id) {
        ListedAbsence::Absent => {}
        ListedAbsence::Listed => return inconclusive(unreadable_app_message(id)),
        ListedAbsence::Unknown(error) => return AbsenceCheck::Inconclusive(read_failed(error)),
        ListedAbsence::NotRead => return inconclusive(format!("App {id} cannot be read")),
    }
    if input.is_within_settle_period() {
        return inconclusive(format!("App {id} cannot be read; waiting for the last write to settle"));
    }
    let Some(recorded) = input.observed.siblings.as_deref() else {
        return inconclusive(format!("App {id} cannot be read; the recorded apps were not compared with the app list"));
    };
    missing_apps(input, id, recorded).map_or(AbsenceCheck::Confirmed, AbsenceCheck::MassAbsence)
}

/// Message if more than three and more than a fifth of the recorded apps are missing from the list. Users delete a few
/// apps; a credential for another organization shows none of them.
fn missing_apps(input: &AppInput<'_>, id: i64, siblings: &RecordedApps) -> Option<String> {
    // A terminating object does not count its own app.
    let own = usize::from(!input.is_deleting());
    let with_own = |ids: &HashSet<i64>| ids.len() - usize::from(ids.contains(&id)) + own;
    let (recorded, missing) = (with_own(&siblings.all), with_own(&siblings.missing));
    let accepted = input.observed.organization_view().map_or(0, |organization| organization.accepted_missing_apps);
    (missing > 3 && missing * 5 > recorded && missing > accepted).then(|| {
        format!(
            "{missing} of {recorded} recorded apps are missing from the app list, so the credential may resolve to another \
             organization. If the apps were deleted, set annotation {ACCEPT_MISSING_APPS}: \"{missing}\" on \
             SpiceOrganization \"{}\"",
            organization_name(input)
        )
    })
}
