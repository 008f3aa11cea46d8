//! Plans the update that makes an app match the spec.

use super::fields::{self, ManagedField, MergeResult};
use super::input::AppInput;
use super::owner_tags::{
    desired_fields, is_incarnation_tag, is_known_to_lack_tag_support, is_own_tag, is_tag_retry_due,
};
use super::ownership::{mark_untagged, untagged_event};
use super::validate::AppSpec;
use super::write::AppWrite;
use crate::api::{RECONCILE_REQUESTED_AT, Reason, SpiceApp, SpiceAppStatus};
use crate::management::types::App;
use crate::planner::observation::Observation;
use crate::planner::outcome::{EventRecord, Outcome};
use crate::planner::remote_app::{INCARNATION_TAG, OWNER_TAG};
use crate::planner::resource::Plan;

/// Plans the update that makes the app match the spec. Without an update, the outcome is the state of the app.
pub(super) fn plan_update(
    input: &AppInput<'_>,
    spec: &AppSpec,
    read: &Observation<App>,
    mut status: SpiceAppStatus,
) -> Plan<SpiceApp> {
    let app = &read.value;
    let fields = |retries_tags| desired_fields(input, spec, status.incarnation.as_deref(), Some(app), retries_tags);
    let mut desired = fields(false);
    // The next write is based on the owner tag, so a missing tag is restored under every drift policy.
    let is_reported = |path: &str| !is_own_tag(path) || is_incarnation_tag(path) && app.tag(INCARNATION_TAG).is_some();
    let is_report_only = |path: &str| is_reported(path) && input.desired.report_drift || input.is_correction_loop(path);
    let mut merge = fields::merge(&desired, &status.last_applied, app, is_report_only);
    if is_tag_retry_due(input) && !merge.update.0.is_empty() {
        desired = fields(true);
        merge = fields::merge(&desired, &status.last_applied, app, is_report_only);
    }
    let is_withheld = is_repository_connected(input) && merge.withhold_spicepod();
    let MergeResult { update, sent, cleared, corrected_drift, reported_drift, unclearable, unchanged } = merge;
    status.last_applied.extend(unchanged);
    status.last_applied.retain(|path, _| !unclearable.contains(path));
    status.drift = reported_drift;
    // A rejection shows no missing tag support until the rest of the update, if any, is accepted without the tags.
    let shows_missing_support =
        is_known_to_lack_tag_support(input) || (input.observed.tags_rejected && update.0.is_empty());
    let mut events: Vec<EventRecord> = unclearable.iter().map(|path| unmanaged_event(path)).collect();
    if app.tag(OWNER_TAG).is_none() && shows_missing_support {
        if status.tags_unsupported != Some(true) {
            events.push(untagged_event(&app.name));
        }
        mark_untagged(&mut status, input.observed.tags_rejected.then_some(input.now), input.now);
    }
    let sets_owner_tags = app.tag(OWNER_TAG).is_none() && sent.iter().any(|field| is_own_tag(&field.path));
    let may_mark = status.tags_unsupported != Some(true) && (sets_owner_tags || input.observed.tags_rejected);
    if update.0.is_empty() {
        // Fields that neither the spec names nor the app shows are removed without an update.
        status.last_applied.retain(|path, _| desired.iter().any(|field| field.path == *path));
        events.extend(reactivation_event(input, &desired, app));
        let outcome = if is_withheld { repository_connected(app) } else { outcome_of_drift(input, &status.drift) };
        return Plan { events, ..Plan::no_op(&status, outcome) };
    }
    let paths = changed_fields(&sent, &cleared);
    events.push(update_event(&paths, &corrected_drift));
    let write = AppWrite::Update {
        id: app.id,
        based_on: read.started_at,
        body: update,
        sets_owner_tags,
        may_mark,
        managed: sent,
        cleared,
        corrected: corrected_drift,
    };
    Plan { events, ..Plan::remote(status, write, format!("Updating {paths}")) }
}

/// Outcome of an app without an update: in sync, unless drift remains because of a correction loop.
fn outcome_of_drift(input: &AppInput<'_>, drift: &[String]) -> Outcome {
    let looping: Vec<&str> = drift.iter().map(String::as_str).filter(|path| input.is_correction_loop(path)).collect();
    if looping.is_empty() { Outcome::InSync } else { input.correction_loop(&looping) }
}

/// Returns true if the spicepod comes from a connected repository. No read shows a repository, so the operator sends a
/// rejected spicepod again only after a change of the object or a request.
fn is_repository_connected(input: &AppInput<'_>) -> bool {
    let was_rejected = || !input.sources_changed() && input.is_stalled_for(Reason::RepositoryConnected);
    input.observed.repository_connected || was_rejected()
}

fn repository_connected(app: &App) -> Outcome {
    let message = format!(
        "The spicepod of app {} comes from a connected repository. Remove the spicepod from the spec; or disconnect the \
         repository and set annotation {RECONCILE_REQUESTED_AT}",
        app.id
    );
    Outcome::Stalled(Reason::RepositoryConnected, message)
}

/// Paths of the fields that an update sends or clears.
fn changed_fields(sent: &[ManagedField], cleared: &[String]) -> String {
    let paths = sent.iter().map(|field| &field.path).chain(cleared);
    let shown: Vec<&str> = paths.map(String::as_str).filter(|path| !is_own_tag(path)).collect();
    if shown.is_empty() { "owner tags".to_owned() } else { shown.join(", ") }
}

fn update_event(paths: &str, corrected: &[String]) -> EventRecord {
    if corrected.is_empty() {
        EventRecord::normal("Update", "Updated", format!("Updated {paths}"))
    } else {
        EventRecord::warning("Correct", "DriftCorrected", format!("Corrected drift: {}", corrected.join(", ")))
    }
}

/// Event for the settings that a reactivated app kept from before its deletion.
fn reactivation_event(input: &AppInput<'_>, desired: &[ManagedField], app: &App) -> Option<EventRecord> {
    let settings = fields::unmanaged_settings(desired, app);
    (input.observed.reactivated && !settings.is_empty()).then(|| {
        let settings = settings.join(", ");
        let message =
            format!("App {} was reactivated and kept settings that the spec does not name: {settings}", app.id);
        EventRecord::warning("Create", "Reactivated", message)
    })
}

fn unmanaged_event(path: &str) -> EventRecord {
    let message = format!("{path} was removed from the spec, but the API cannot clear it; its value is kept");
    EventRecord::warning("Update", "FieldUnmanaged", message)
}
