//! Locates the app of an object that has no recorded ID: attaches, adopts or creates the app, or explains the conflict.
//! An app that is only observed is located in every reconcile.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::fields::{self, ManagedField};
use super::input::{AppInput, organization_name, read_failed};
use super::owner_tags::{desired_fields, lacks_tag_support};
use super::ownership::{
    adoption_allowed, is_reactivated_foreign, mark_untagged, may_take_ownership, owned_elsewhere_message, record_app,
};
use super::update::plan_update;
use super::validate::AppSpec;
use super::write::AppWrite;
use crate::api::{CreateIntent, Reason, SpiceApp, SpiceAppStatus, Visibility};
use crate::management::types::{App, CreateApp};
use crate::planner::observation::{Observation, Observed};
use crate::planner::outcome::{EventRecord, KubernetesWrite, Outcome, Retry};
use crate::planner::remote_app::{Ownership, has_name, unreadable_app_message};
use crate::planner::resource::Plan;
use crate::planner::schedule;

/// Decision on an app of the object's name that is in the list.
enum ExistingApp {
    /// The app is the object's own, by its owner tag or by the create intent.
    Owned,
    /// The object may adopt the app.
    Adoptable,
    /// The object only observes the app.
    ObserveOnly,
    /// The app is not the object's. The text explains the next step.
    Foreign(Reason, String),
}

/// ID of an app in the list whose detail must be read first: adoption and observation are based on the detail.
pub(super) fn app_to_read(input: &AppInput<'_>) -> Option<i64> {
    let Some(Observed::Present(list)) = &input.observed.list else { return None };
    let app = list.value.named(&input.desired.name).next()?;
    matches!(classify(input, app), ExistingApp::Adoptable | ExistingApp::ObserveOnly).then_some(app.id)
}

/// Plans an object without a recorded ID.
pub(super) fn plan(input: &AppInput<'_>, spec: &AppSpec) -> Plan<SpiceApp> {
    let list = match &input.observed.list {
        Some(Observed::Present(list)) => list,
        Some(Observed::Unknown(error)) => return input.no_op(read_failed(error)),
        Some(Observed::Absent) | None => return input.no_op(Outcome::InProgress("Looking for the app".to_owned())),
    };
    let Some(app) = list.value.named(&input.desired.name).next() else {
        return if input.desired.observe_only { plan_nothing_to_observe(input) } else { plan_unlisted(input, spec) };
    };
    match classify(input, app) {
        ExistingApp::Owned => plan_attach(input, app),
        ExistingApp::Adoptable => with_detail(input, app, |read| adopt(input, spec, read)),
        ExistingApp::ObserveOnly => with_detail(input, app, |read| observe(input, spec, read)),
        ExistingApp::Foreign(reason, message) => input.no_op(Outcome::Stalled(reason, message)),
    }
}

fn classify(input: &AppInput<'_>, app: &App) -> ExistingApp {
    let desired = input.desired;
    match Ownership::of(app, &desired.owner) {
        _ if desired.observe_only => ExistingApp::ObserveOnly,
        Ownership::Own => ExistingApp::Owned,
        Ownership::Foreign if may_take_ownership(input, app) => ExistingApp::Adoptable,
        Ownership::Foreign => ExistingApp::Foreign(Reason::OwnedElsewhere, owned_elsewhere_message(app)),
        Ownership::Unowned if matches_create_intent(input, app) => ExistingApp::Owned,
        Ownership::Unowned if desired.may_adopt && adoption_allowed(input) => ExistingApp::Adoptable,
        Ownership::Unowned if desired.may_adopt => {
            let message = format!(
                "App \"{}\" ({}) exists, and SpiceOrganization \"{}\" does not allow adoption in this namespace. Change \
                 its spec.adoption, or create a SpiceApp with another spec.name",
                app.name,
                app.id,
                organization_name(input)
            );
            ExistingApp::Foreign(Reason::NameTaken, message)
        }
        Ownership::Unowned => {
            let message = format!(
                "App \"{}\" ({}) exists and is not managed by this object. To adopt it, set spec.adoptionPolicy: Adopt; \
                 otherwise create a SpiceApp with another spec.name",
                app.name, app.id
            );
            ExistingApp::Foreign(Reason::NameTaken, message)
        }
    }
}

/// Returns true if an app without an owner tag is the result of the object's create. A complete list without the name
/// precedes the intent, so an older app was reactivated by the create. A younger app is the object's only if the API
/// keeps no tags. After a name conflict, no app without the owner tag is the object's.
pub(super) fn matches_create_intent(input: &AppInput<'_>, app: &App) -> bool {
    let Some(intent) = input.status.create_intent.as_ref().filter(|intent| intent.name_conflict.is_none()) else {
        return false;
    };
    let Some(created) = app.created_at() else { return false };
    let (skew, timeout) = (input.timings.clock_skew, input.timings.create_confirmation_timeout);
    let is_reactivated = schedule::elapsed(created, intent.at.0) > skew;
    let is_in_time = schedule::elapsed(intent.at.0, created) <= timeout + skew;
    is_reactivated || (lacks_tag_support(input) && is_in_time)
}

/// Records an app that is the object's own.
fn plan_attach(input: &AppInput<'_>, app: &App) -> Plan<SpiceApp> {
    let mut status = input.status.clone();
    record_app(&mut status, input.observed, app);
    status.create_intent = None;
    status.incarnation.get_or_insert_with(|| format!("a-{}", input.fresh_id));
    let outcome = Outcome::InProgress(format!("Attaching to app {}", app.id));
    Plan::kubernetes(status, KubernetesWrite::StoreStatus, outcome)
}

/// Plans with the detail of a listed app: a write by ID and a report of drift are not based on a list.
fn with_detail(
    input: &AppInput<'_>,
    listed: &App,
    plan: impl FnOnce(&Observation<App>) -> Plan<SpiceApp>,
) -> Plan<SpiceApp> {
    match &input.observed.app {
        Some(Observed::Present(read)) if has_name(&read.value, &input.desired.name) => plan(read),
        Some(Observed::Unknown(error)) => input.no_op(read_failed(error)),
        Some(Observed::Present(_) | Observed::Absent) | None => {
            let message = unreadable_app_message(listed.id);
            input.no_op(Outcome::ReadFailed(Reason::RemoteUnavailable, message, Retry::Backoff))
        }
    }
}

/// Adopts an app. The ID is stored before the owner tags are sent: after a crash, the missing owner tag counts as
/// drift.
pub(super) fn adopt(input: &AppInput<'_>, spec: &AppSpec, read: &Observation<App>) -> Plan<SpiceApp> {
    let app = &read.value;
    let mut status = input.status.clone();
    record_app(&mut status, input.observed, app);
    (status.create_intent, status.created_at, status.reactivated_at) = (None, None, None);
    status.incarnation = Some(format!("a-{}", input.fresh_id));
    // Digests from before the adoption are those of another app, or of this app before its deletion.
    let only_reports = input.desired.report_drift;
    status.last_applied = if only_reports { fields::assume_applied(&spec.managed) } else { BTreeMap::new() };
    let mut plan = plan_update(input, spec, read, status);
    plan.events.push(EventRecord::normal("Adopt", "Adopted", format!("Adopted app \"{}\" ({})", app.name, app.id)));
    plan.first = Some(KubernetesWrite::StoreStatus);
    plan
}

/// Reports the differences of an app that is only observed.
fn observe(input: &AppInput<'_>, spec: &AppSpec, read: &Observation<App>) -> Plan<SpiceApp> {
    let app = &read.value;
    let mut status = input.status.clone();
    let is_own = match Ownership::of(app, &input.desired.owner) {
        Ownership::Own => true,
        // If the API keeps no tags, the recorded ID counts.
        Ownership::Unowned => status.tags_unsupported == Some(true) && status.id == Some(app.id),
        Ownership::Foreign => is_reactivated_foreign(&status, app),
    };
    let incarnation = status.incarnation.take().filter(|_| is_own);
    record_app(&mut status, input.observed, app);
    // A recorded creation ID marks the app as the object's own, so that of another owner is not recorded.
    status.incarnation = incarnation;
    let merge = fields::merge(&spec.managed, &status.last_applied, app, |_| true);
    status.drift = merge.reported_drift;
    status.drift.extend(merge.sent.into_iter().map(|field| field.path));
    status.drift.sort();
    status.drift.dedup();
    Plan::no_op(&status, Outcome::InSync)
}

/// Plans an object that observes an app that does not exist.
fn plan_nothing_to_observe(input: &AppInput<'_>) -> Plan<SpiceApp> {
    let name = &input.desired.name;
    let (reason, message) = match input.status.id {
        Some(id) => {
            let message =
                format!("App \"{name}\" ({id}) was deleted externally; managementPolicy: Observe does not create it");
            (Reason::DeletedExternally, message)
        }
        None => {
            let message = format!("App \"{name}\" does not exist; managementPolicy: Observe does not create it");
            (Reason::NotFound, message)
        }
    };
    input.no_op(Outcome::Stalled(reason, message))
}

/// Plans the create of an app that the complete list does not have.
fn plan_unlisted(input: &AppInput<'_>, spec: &AppSpec) -> Plan<SpiceApp> {
    // The list of this reconcile also covers the second attempt, without the owner tags.
    if input.status.create_intent.is_some() && input.is_within_settle_period() && !input.observed.tags_rejected {
        let cause = input.runtime_state.unknown_outcome.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let message = format!("Reading the app list again, because the outcome of the last create is not known{cause}");
        let outcome = Outcome::ReadFailed(Reason::RemoteUnavailable, message, Retry::Backoff);
        return input.no_op(outcome);
    }
    plan_create(input, spec)
}

/// Records the create intent. Returns whether an earlier attempt under the same intent may have taken effect.
fn record_intent(input: &AppInput<'_>, status: &mut SpiceAppStatus) -> bool {
    let earlier = status.create_intent.take().filter(|intent| intent.name == input.desired.name);
    let repeated = earlier.as_ref().is_some_and(|intent| intent.name_conflict.is_none());
    if earlier.is_none() {
        status.created_at = Some(MicroTime(input.now));
    }
    let id = earlier.map_or_else(|| input.fresh_id.to_owned(), |intent| intent.id);
    status.reactivated_at = None;
    status.incarnation = Some(format!("c-{id}"));
    // Every attempt may take effect as late as the first one, so the time is that of the last attempt.
    status.create_intent = Some(CreateIntent {
        id,
        name: input.desired.name.clone(),
        at: MicroTime(input.now),
        name_conflict: None,
        reactivated_owner_tag: None,
    });
    // The recorded app, if any, was only observed.
    (status.id, status.last_applied, status.drift) = (None, BTreeMap::new(), Vec::new());
    // Recorded before the create: if the outcome is lost, an app without the owner tag may be the result.
    if lacks_tag_support(input) {
        mark_untagged(status, input.observed.tags_rejected.then_some(input.now), input.now);
    } else {
        (status.tags_unsupported, status.tags_tried_at) = (None, None);
    }
    repeated
}

fn plan_create(input: &AppInput<'_>, spec: &AppSpec) -> Plan<SpiceApp> {
    let mut status = input.status.clone();
    let repeated = record_intent(input, &mut status);
    let fields = desired_fields(input, spec, status.incarnation.as_deref(), None, false);
    let body = match create_body(input, spec, &fields) {
        Ok(body) => body,
        Err(outcome) => return input.no_op(outcome),
    };
    let managed: Vec<ManagedField> = fields.into_iter().filter(|field| has_field(&body, field)).collect();
    let message = format!("Creating app \"{}\"", body.name);
    let events = vec![EventRecord::normal("Create", "Created", format!("Created app \"{}\"", body.name))];
    let reactivated_if_before = input.now.checked_sub(input.timings.clock_skew).unwrap_or(input.now);
    let (owner, intended_at) = (input.desired.owner.clone(), input.now);
    let first_untagged = status.tags_unsupported == Some(true) && input.status.tags_unsupported != Some(true);
    let write = AppWrite::Create { body, managed, repeated, first_untagged, owner, intended_at, reactivated_if_before };
    Plan { first: Some(KubernetesWrite::StoreStatus), events, ..Plan::remote(status, write, message) }
}

/// Body of the create: always a visibility and exactly one placement, because a reactivated app would keep its own.
fn create_body(input: &AppInput<'_>, spec: &AppSpec, fields: &[ManagedField]) -> Result<CreateApp, Outcome> {
    let has_placement = spec.region.is_some() || spec.cname.is_some() || spec.cluster_name.is_some();
    let default = input.observed.organization_view().and_then(|organization| organization.default_region.clone());
    if !has_placement && default.is_none() {
        let message =
            format!("SpiceOrganization \"{}\" has no default region; set spec.region", organization_name(input));
        return Err(Outcome::WaitingForDependency(Reason::DependencyNotReady, message));
    }
    let visibility = match spec.visibility {
        Some(Visibility::Public) => "public",
        Some(Visibility::Private) | None => "private",
    };
    let tags: BTreeMap<String, String> =
        fields.iter().filter_map(|field| Some((field.tag.clone()?, field.value.to_string_value()?))).collect();
    Ok(CreateApp {
        name: input.desired.name.clone(),
        visibility: visibility.to_owned(),
        region: if has_placement { spec.region.clone() } else { default },
        cname: spec.cname.clone(),
        cluster_name: spec.cluster_name.clone(),
        description: spec.description.clone(),
        tags,
    })
}

/// Returns true if the body of a create has a field.
fn has_field(body: &CreateApp, field: &ManagedField) -> bool {
    use crate::management::types::AppField::{ClusterName, Description, Region, Tags, Visibility};
    match field.field {
        Tags | Visibility => true,
        Description => body.description.is_some(),
        Region => body.region.is_some(),
        ClusterName => body.cluster_name.is_some(),
        _ => false,
    }
}
