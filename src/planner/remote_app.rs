//! Observations of an app in responses of the API: its name, its owner tag, and its absence.

use std::sync::Arc;

use super::observation::{Observation, Observed};
use crate::management::types::{ApiError, App, ListedApps};

/// Tag with the owner of an app.
pub(super) const OWNER_TAG: &str = "spice-operator-owner";
/// Tag with the creation ID of an app.
pub(super) const INCARNATION_TAG: &str = "spice-operator-incarnation";

/// Ownership of an app by its owner tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// The tag is the object's own.
    Own,
    /// The app has no owner tag.
    Unowned,
    /// The tag is another owner's.
    Foreign,
}

impl Ownership {
    /// Ownership of `app` for an object whose owner tag is `owner`.
    pub(super) fn of(app: &App, owner: &str) -> Self {
        match app.tag(OWNER_TAG) {
            None => Self::Unowned,
            Some(tag) if tag == owner => Self::Own,
            Some(_) => Self::Foreign,
        }
    }
}

/// Returns true if the app has this name. Names are case-insensitive.
pub(super) fn has_name(app: &App, name: &str) -> bool {
    app.name.eq_ignore_ascii_case(name)
}

/// The complete list of apps.
pub(super) type AppList = Observation<Arc<ListedApps>>;

/// Result of the look-up in the app list of an app that a GET did not find. A 404 alone is no proof of absence.
pub(super) enum ListedAbsence<'a> {
    /// The complete list does not have the app.
    Absent,
    /// The list has the app.
    Listed,
    /// The list could not be read.
    Unknown(&'a ApiError),
    /// The list was not read.
    NotRead,
}

/// Looks `id` up in the app list.
pub(super) fn listed_absence(list: Option<&Observed<AppList>>, id: i64) -> ListedAbsence<'_> {
    match list {
        Some(Observed::Present(list)) if list.value.get(id).is_some() => ListedAbsence::Listed,
        Some(Observed::Present(_)) => ListedAbsence::Absent,
        Some(Observed::Unknown(error)) => ListedAbsence::Unknown(error),
        // A list is never absent: a list that the API does not serve is unknown.
        Some(Observed::Absent) | None => ListedAbsence::NotRead,
    }
}

/// Message for an app that a GET does not find although the list has the app.
pub(super) fn unreadable_app_message(id: i64) -> String {
    format!("App {id} cannot be read, but is in the app list")
}
