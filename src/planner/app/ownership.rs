//! The owner of an app as responses show it, the state to record, and the check that an app is absent.

use super::input::{AppInput, AppObserved, organization_name, read_failed};
use crate::api::{ACCEPT_MISSING_APPS, Reason, SpiceAppStatus};
use crate::management::types::{App, AppField};
use crate::planner::organization_view::OrganizationView;
use crate::planner::outcome::{Outcome, Retry};
use crate::planner::remote_app::{
    AppList, INCARNATION_TAG, ListedAbsence, OWNER_TAG, listed_absence, unreadable_app_message,
};

/// Longest endpoint, region or URL that is recorded, in bytes: status must stay small.
const MAX_TEXT_LENGTH: usize = 2048;

/// Returns true if the operator created the app, and did not only adopt the app.
pub(super) fn was_created(status: &SpiceAppStatus) -> bool {
    status.incarnation.as_deref().is_some_and(|incarnation| incarnation.starts_with("c-"))
}

/// Returns true if an app that the operator's own create reactivated still shows the foreign owner tag from before
/// its deletion.
pub(super) fn is_reactivated_foreign(status: &SpiceAppStatus, app: &App) -> bool {
    let intent = status.create_intent.as_ref().filter(|_| status.id == Some(app.id));
    intent.is_some_and(|intent| {
        intent.reactivated_owner_tag.is_some() && intent.reactivated_owner_tag.as_deref() == app.tag(OWNER_TAG)
    })
}

/// ID of the app that the object owns. An app that is only observed has no creation ID, and is never written.
pub(super) fn recorded_id(status: &SpiceAppStatus) -> Option<i64> {
    status.id.filter(|_| status.incarnation.is_some())
}

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
    let list = match listed_absence(input.observed.list.as_ref(), id) {
        ListedAbsence::Absent(list) => list,
        ListedAbsence::Listed => return inconclusive(unreadable_app_message(id)),
        ListedAbsence::Unknown(error) => return AbsenceCheck::Inconclusive(read_failed(error)),
        ListedAbsence::NotRead => return inconclusive(format!("App {id} cannot be read")),
    };
    if input.is_within_settle_period() {
        return inconclusive(format!("App {id} cannot be read; waiting for the last write to settle"));
    }
    missing_apps(input, id, list).map_or(AbsenceCheck::Confirmed, AbsenceCheck::MassAbsence)
}

/// Message if more than three and more than a fifth of the recorded apps are missing from the list. Users delete a few
/// apps; a credential for another organization shows none of them.
fn missing_apps(input: &AppInput<'_>, id: i64, list: &AppList) -> Option<String> {
    let own = (!input.is_deleting()).then_some(id);
    let recorded: Vec<i64> = input.observed.sibling_ids.iter().flatten().copied().chain(own).collect();
    let is_missing = |id: &&i64| !list.value.iter().any(|app| app.id == **id);
    let missing = recorded.iter().filter(is_missing).count();
    let accepted = input.observed.organization_view().map_or(0, |organization| organization.accepted_missing_apps);
    (missing > 3 && missing * 5 > recorded.len() && missing > accepted).then(|| {
        format!(
            "{missing} of {} recorded apps are missing from the app list, so the credential may resolve to another \
             organization. If the apps were deleted, set annotation {ACCEPT_MISSING_APPS}: \"{missing}\" on \
             SpiceOrganization \"{}\"",
            recorded.len(),
            organization_name(input)
        )
    })
}

/// Records the fields of the app that a response shows.
pub(super) fn record_app(status: &mut SpiceAppStatus, observed: &AppObserved, app: &App) {
    status.id = Some(app.id);
    if app.tag(OWNER_TAG).is_some() {
        status.tags_unsupported = None;
    }
    status.incarnation = app.tag(INCARNATION_TAG).map(str::to_owned).or(status.incarnation.take());
    // A list shows neither endpoint nor region: the recorded value stays.
    let fits = |text: &&str| text.len() <= MAX_TEXT_LENGTH;
    status.endpoint = app.endpoint().filter(fits).map(str::to_owned).or(status.endpoint.take());
    if let Some(OrganizationView { portal: Some(page), .. }) = observed.organization_view() {
        status.url = Some(page.clone());
    }
    status.region = app
        .field(AppField::Region)
        .and_then(|region| Some(region.as_str().filter(fits)?.to_owned()))
        .or(status.region.take());
}
