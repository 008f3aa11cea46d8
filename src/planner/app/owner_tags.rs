//! The operator's own tags on an app: the owner tag and the creation ID.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::Value;

use super::fields::{self, ManagedField};
use super::input::AppInput;
use super::ownership::is_creation_of_object;
use super::validate::AppSpec;
use super::write::AppWrite;
use crate::api::{SpiceApp, SpiceAppStatus};
use crate::management::types::{App, AppField, UpdateApp};
use crate::planner::observation::Observation;
use crate::planner::remote_app::{INCARNATION_TAG, OWNER_TAG};
use crate::planner::resource::Plan;
use crate::planner::schedule;

/// Returns true if the path is that of one of the operator's own tags.
pub(super) fn is_own_tag(path: &str) -> bool {
    path.strip_prefix("tags.").is_some_and(|key| key == OWNER_TAG || key == INCARNATION_TAG)
}

/// Number of apps without tag support from which the operator concludes that the organization has no tag support. On one
/// app, the cause can differ.
const MIN_APPS_WITHOUT_TAGS: usize = 2;

/// Returns true if the path is that of the tag with the creation ID.
pub(super) fn is_incarnation_tag(path: &str) -> bool {
    path.strip_prefix("tags.") == Some(INCARNATION_TAG)
}

/// The fields of the spec, the default visibility of an app that the object created, and the owner tags. Without tag
/// support the owner tags are left out, unless `app` shows an owner tag, which the update would remove. `retries_tags`
/// includes the owner tags in any case.
pub(super) fn desired_fields(
    input: &AppInput<'_>,
    spec: &AppSpec,
    incarnation: Option<&str>,
    app: Option<&App>,
    retries_tags: bool,
) -> Vec<ManagedField> {
    let shows_tag = app.is_some_and(|app| app.tag(OWNER_TAG).is_some());
    let has_tags = (shows_tag && !input.observed.tags_rejected) || retries_tags || !lacks_tag_support(input);
    let own = if has_tags { own_tags(input, incarnation) } else { Vec::new() };
    let tags = own.into_iter().map(|(key, value)| fields::managed_tag(key, Value::from(value)));
    let is_default = spec.visibility.is_none() && incarnation.is_some_and(is_creation_of_object);
    let visibility = is_default.then(fields::default_visibility);
    spec.managed.iter().cloned().chain(visibility).chain(tags).collect()
}

/// Returns true if the API rejects or drops the owner tags.
pub(super) fn lacks_tag_support(input: &AppInput<'_>) -> bool {
    input.observed.tags_rejected || is_known_to_lack_tag_support(input)
}

/// Returns true if this app, or several apps of the organization, have shown that the API stores no tags.
pub(super) fn is_known_to_lack_tag_support(input: &AppInput<'_>) -> bool {
    let untagged = input.observed.organization_view().map_or(0, |organization| organization.apps_without_tags);
    input.status.tags_unsupported == Some(true) || untagged >= MIN_APPS_WITHOUT_TAGS
}

/// Returns true if the next update of an app without tag support must contain the owner tags again.
pub(super) fn is_tag_retry_due(input: &AppInput<'_>) -> bool {
    let interval = input.timings.tag_retry_interval;
    let is_due = |tried: &MicroTime| schedule::elapsed(tried.0, input.now) >= interval;
    input.status.tags_unsupported == Some(true)
        && !input.observed.tags_rejected
        && input.status.tags_tried_at.as_ref().is_none_or(is_due)
}

/// Plans an update that sets the owner tags and nothing else.
pub(super) fn plan_set_owner_tags(
    input: &AppInput<'_>,
    read: &Observation<App>,
    status: SpiceAppStatus,
) -> Plan<SpiceApp> {
    let app = &read.value;
    let own = own_tags(input, status.incarnation.as_deref());
    let mut tags = app.tags().clone();
    tags.extend(own.iter().map(|(key, tag)| ((*key).to_owned(), (*tag).to_owned())));
    let managed = own.iter().map(|(key, tag)| fields::managed_tag(key, Value::from(*tag))).collect();
    let body = UpdateApp([(AppField::Tags, serde_json::json!(tags).into())].into());
    let (cleared, corrected) = (Vec::new(), Vec::new());
    let may_mark = status.tags_unsupported != Some(true);
    let (id, based_on) = (app.id, read.started_at);
    let write = AppWrite::Update { id, based_on, body, managed, cleared, corrected, sets_owner_tags: true, may_mark };
    Plan::remote(status, write, format!("Setting the owner tags of app {id}"))
}

fn own_tags<'a>(input: &AppInput<'a>, incarnation: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let incarnation = incarnation.map(|incarnation| (INCARNATION_TAG, incarnation));
    [(OWNER_TAG, input.desired.owner.as_str())].into_iter().chain(incarnation).collect()
}
