//! The owner of an app as responses show it, the permission to adopt the app, and the state to record.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::input::{AppInput, AppObserved};
use crate::api::{SpiceAppStatus, TAKE_OWNERSHIP_FROM};
use crate::management::types::{App, AppField, MAX_RECORDED_LENGTH};
use crate::planner::messages::truncate;
use crate::planner::organization_view::OrganizationView;
use crate::planner::outcome::EventRecord;
use crate::planner::remote_app::{INCARNATION_TAG, OWNER_TAG, Ownership};

/// Longest endpoint, region or URL that is recorded, in bytes: status must stay small.
const MAX_TEXT_LENGTH: usize = 2048;

/// Returns true if the operator created the app, and did not only adopt the app.
pub(super) fn was_created(status: &SpiceAppStatus) -> bool {
    status.incarnation.as_deref().is_some_and(is_creation_of_object)
}

/// Returns true if a creation ID is that of an app that the object created.
pub(super) fn is_creation_of_object(incarnation: &str) -> bool {
    incarnation.starts_with("c-")
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

/// Returns true if the organization allows this namespace to adopt apps.
pub(super) fn adoption_allowed(input: &AppInput<'_>) -> bool {
    input.observed.organization_view().is_some_and(|organization| organization.adoption_allowed)
}

/// Returns true if the object may take ownership of another owner's app: the annotation must name the app's owner tag.
pub(super) fn may_take_ownership(input: &AppInput<'_>, app: &App) -> bool {
    let named = input.desired.take_ownership_from.as_deref();
    input.desired.may_adopt
        && adoption_allowed(input)
        && Ownership::of(app, &input.desired.owner) == Ownership::Foreign
        && named == app.tag(OWNER_TAG)
}

/// Message for an app with another owner's tag.
pub(super) fn owned_elsewhere_message(app: &App) -> String {
    let tag = truncate(app.tag(OWNER_TAG).unwrap_or_default(), MAX_RECORDED_LENGTH);
    format!(
        "App \"{}\" ({}) is owned by another object or another cluster (owner tag {tag}). To take ownership, set \
         spec.adoptionPolicy: Adopt and annotation {TAKE_OWNERSHIP_FROM}={tag}",
        app.name, app.id
    )
}

/// Records that the API does not store the owner tags of the app. `tried_at` is the time of the write of this reconcile
/// that showed the missing support, if any.
pub(super) fn mark_untagged(status: &mut SpiceAppStatus, tried_at: Option<Timestamp>, now: Timestamp) {
    let recorded = status.tags_tried_at.take();
    status.tags_tried_at = tried_at.map(MicroTime).or(recorded).or(Some(MicroTime(now)));
    status.tags_unsupported = Some(true);
}

/// Event for an app without tag support.
pub(super) fn untagged_event(name: &str) -> EventRecord {
    let message = format!(
        "The API does not store the owner tags of app \"{name}\". The recorded ID now proves the ownership. Include the \
         status of this object in backups"
    );
    EventRecord::warning("Update", "TagsUnsupported", message)
}

/// Records the fields of the app that a response shows. A recorded creation ID stays: anyone with access to the portal
/// can edit the tag.
pub(super) fn record_app(status: &mut SpiceAppStatus, observed: &AppObserved, app: &App) {
    status.id = Some(app.id);
    if app.tag(OWNER_TAG).is_some() {
        (status.tags_unsupported, status.tags_tried_at) = (None, None);
    }
    let shown = app.tag(INCARNATION_TAG).filter(|tag| tag.len() <= MAX_RECORDED_LENGTH);
    status.incarnation = status.incarnation.take().or_else(|| shown.map(str::to_owned));
    // A list shows neither endpoint nor region: the recorded value stays.
    let fits = |text: &&str| text.len() <= MAX_TEXT_LENGTH;
    status.endpoint = app.endpoint().filter(fits).map(str::to_owned).or(status.endpoint.take());
    if let Some(OrganizationView { portal: Some(page), .. }) = observed.organization_view() {
        status.url = Some(page.clone());
    }
    status.region = app
        .field(AppField::Region)
        .and_then(|region| region.to_string_value().filter(|region| fits(&region.as_str())))
        .or(status.region.take());
}
