//! Reconciles an app that is desired. `locate` handles an app without a recorded ID.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::absence::{AbsenceCheck, absence};
use super::fields::managed_spicepod;
use super::input::{
    AppInput, AppRead, CompetingApp, LoadedSpicepod, SpicepodProblem, binding_mismatch, min_read_time,
    organization_wait, read_failed,
};
use super::locate;
use super::owner_tags::plan_set_owner_tags;
use super::ownership::{
    is_reactivated_foreign, may_take_ownership, owned_elsewhere_message, record_app, recorded_id, was_created,
};
use super::update::plan_update;
use super::validate::AppSpec;
use crate::api::{ConfigMapKeyRef, Reason, SourceVersion, SpiceApp, SpiceAppStatus};
use crate::management::types::App;
use crate::planner::observation::{Observation, Observed};
use crate::planner::outcome::{EventRecord, KubernetesWrite, Outcome};
use crate::planner::remote_app::{Ownership, has_name};
use crate::planner::resource::{Plan, ResourcePlanner};

pub(super) fn required_reads(input: &AppInput<'_>, spec: &AppSpec) -> Vec<AppRead> {
    let observed = input.observed;
    match (&spec.spicepod_from, &observed.source) {
        (Some(key), None) => return vec![AppRead::Source(key.clone())],
        _ if can_skip(input) => return Vec::new(),
        (Some(key), Some(Observed::Present(_))) if observed.spicepod.is_none() => {
            return vec![AppRead::Spicepod(key.clone())];
        }
        _ if resolve_spicepod(input, spec).is_err() => return Vec::new(),
        _ => {}
    }
    if observed.organization.is_none() || observed.competing_apps.is_none() {
        return vec![AppRead::Organization, AppRead::CompetingApps];
    }
    if blocker(input).is_some() {
        return Vec::new();
    }
    let list = AppRead::List(min_read_time(input));
    let not_found = matches!(observed.app, Some(Observed::Absent | Observed::Unknown(_)));
    match managed_id(input) {
        Some(id) if !is_fresh(input) && !not_found => vec![AppRead::App(id, min_detail_time(input))],
        // Only the app list confirms a 404.
        Some(_) if observed.app == Some(Observed::Absent) && observed.list.is_none() => vec![list, AppRead::Siblings],
        None if observed.list.is_none() => vec![list],
        None if !is_fresh(input) && !not_found => {
            locate::app_to_read(input).map(|id| AppRead::App(id, min_read_time(input))).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Earliest start of a read of the app's detail. A resync accepts a read from its scheduled time on, because all
/// objects of the app resync then and share one read.
fn min_detail_time(input: &AppInput<'_>) -> Timestamp {
    let requested = min_read_time(input);
    match input.due_resync().filter(|_| SpiceApp::is_up_to_date(input)) {
        Some(resync) => resync.max(input.oldest_usable_read()).min(requested),
        None => requested,
    }
}

/// ID of the app that is kept as declared. An observed app has none: the operator looks that app up by name.
fn managed_id(input: &AppInput<'_>) -> Option<i64> {
    recorded_id(input.status).filter(|_| !input.desired.observe_only)
}

pub(super) fn plan(input: &AppInput<'_>, spec: &AppSpec) -> Plan<SpiceApp> {
    let mut plan = match resolve_spicepod(input, spec) {
        _ if can_skip(input) => input.no_op(Outcome::Skipped),
        Ok(spec) => plan_desired(input, &spec),
        Err(outcome) => input.no_op(outcome),
    };
    // A version counts as observed once it is applied. A new version with the content that is applied already does not
    // have to be applied again.
    if matches!(plan.outcome, Outcome::InSync | Outcome::Stalled(..)) || !input.sources_changed() {
        plan.status.core.observed_sources = input.sources();
    }
    plan
}

fn plan_desired(input: &AppInput<'_>, spec: &AppSpec) -> Plan<SpiceApp> {
    if let Some(outcome) = blocker(input) {
        return input.no_op(outcome);
    }
    let mut plan = match managed_id(input) {
        Some(id) => plan_recorded(input, spec, id),
        None => locate::plan(input, spec),
    };
    if let Some(organization) = input.observed.organization_view()
        && plan.status.has_remote_state()
    {
        let recorded = plan.status.organization_binding.take();
        plan.status.organization_binding = organization.binding.clone().or(recorded);
        plan.status.organization_ref = input.observed.organization_ref.clone();
    }
    plan
}

/// Outcome that prevents every request to the API.
fn blocker(input: &AppInput<'_>) -> Option<Outcome> {
    let mismatch = || binding_mismatch(input).map(|message| Outcome::Stalled(Reason::OrganizationMismatch, message));
    reference_mismatch(input).or_else(|| organization_wait(input)).or_else(mismatch).or_else(|| name_conflict(input))
}

/// Outcome if the spec names another SpiceOrganization than the recorded one. The operator uses the recorded one until
/// the app is deleted: an app cannot move, and must not be created a second time.
fn reference_mismatch(input: &AppInput<'_>) -> Option<Outcome> {
    let (declared, recorded) = (input.desired.organization.as_ref()?, input.status.recorded_organization()?);
    let namespace = input.meta.namespace.as_deref();
    (declared != recorded).then(|| {
        let message = format!(
            "The app is recorded in SpiceOrganization \"{}\", but spec.organizationRef names \"{}\". Restore \
             spec.organizationRef, or delete this object with deletionPolicy: Retain and create it again",
            recorded.display_in(namespace),
            declared.display_in(namespace)
        );
        Outcome::Stalled(Reason::OrganizationMismatch, message)
    })
}

fn can_skip(input: &AppInput<'_>) -> bool {
    let unchanged = !input.sources_changed() || input.write_held_until().is_some();
    let is_created = input.status.id.is_some() || input.status.create_intent.is_none();
    // A response of this reconcile is always evaluated, regardless of the schedule.
    input.observed.app.is_none() && is_created && unchanged && input.can_skip()
}

/// Version of the ConfigMap: as read, with the digest of the spicepod, or else as cached.
pub(super) fn sources(input: &AppInput<'_>) -> Vec<SourceVersion> {
    match (&input.observed.spicepod, &input.observed.source) {
        (Some(Observed::Present(read)), _) => {
            vec![SourceVersion { digest: Some(read.digest()), ..read.version.clone() }]
        }
        (_, Some(Observed::Present(version))) => vec![version.clone()],
        _ => Vec::new(),
    }
}

/// The spec with the spicepod from the ConfigMap.
fn resolve_spicepod<'a>(input: &AppInput<'_>, spec: &'a AppSpec) -> Result<Cow<'a, AppSpec>, Outcome> {
    let Some(ConfigMapKeyRef { name, key }) = &spec.spicepod_from else { return Ok(Cow::Borrowed(spec)) };
    let missing = |message| Err(input.source_missing(message));
    match (&input.observed.source, &input.observed.spicepod) {
        (_, Some(Observed::Present(LoadedSpicepod { spicepod: Ok(spicepod), .. }))) => {
            let mut spec = spec.clone();
            spec.managed.push(managed_spicepod(spicepod.clone()));
            Ok(Cow::Owned(spec))
        }
        (_, Some(Observed::Present(LoadedSpicepod { spicepod: Err(SpicepodProblem::KeyMissing), .. }))) => {
            missing(format!("ConfigMap \"{name}\" has no key \"{key}\". Add the key, or correct spec.spicepodFrom"))
        }
        (_, Some(Observed::Present(LoadedSpicepod { spicepod: Err(SpicepodProblem::Invalid(why)), .. }))) => {
            let message =
                format!("ConfigMap \"{name}\": key \"{key}\" is not a valid spicepod: {why}. Correct the ConfigMap");
            Err(Outcome::Stalled(Reason::InvalidSpec, message))
        }
        (_, Some(Observed::Unknown(error))) => Err(read_failed(error)),
        (Some(Observed::Absent), _) | (_, Some(Observed::Absent)) => {
            missing(format!("ConfigMap \"{name}\" not found. Create the ConfigMap, or correct spec.spicepodFrom"))
        }
        _ => Err(Outcome::InProgress("Reading the spicepod".to_owned())),
    }
}

/// Plans an app with a recorded ID.
fn plan_recorded(input: &AppInput<'_>, spec: &AppSpec, id: i64) -> Plan<SpiceApp> {
    match &input.observed.app {
        Some(Observed::Present(read)) => plan_present(input, spec, read),
        Some(Observed::Absent) => plan_recreation(input, id),
        Some(Observed::Unknown(error)) => input.no_op(read_failed(error)),
        None => input.no_op(Outcome::InProgress("Looking for the app".to_owned())),
    }
}

/// Compares an app that a GET shows with the spec.
fn plan_present(input: &AppInput<'_>, spec: &AppSpec, read: &Observation<App>) -> Plan<SpiceApp> {
    let app = &read.value;
    if may_take_ownership(input, app) && has_name(app, &input.desired.name) {
        return locate::adopt(input, spec, read);
    }
    if let Some(outcome) = ownership_error(input, app) {
        return input.no_op(outcome);
    }
    let mut status = input.status.clone();
    record_app(&mut status, input.observed, app);
    if !is_reactivated_foreign(input.status, app) {
        status.create_intent = None;
    } else if !input.observed.tags_rejected {
        // The owner tags come before any update that the API may reject, so that the app shows its owner from then on.
        return plan_set_owner_tags(input, read, status);
    }
    plan_update(input, spec, read, status)
}

/// Outcome for an app that shows another name or a foreign owner. Without an owner tag, the tag is restored like any
/// other drift.
fn ownership_error(input: &AppInput<'_>, app: &App) -> Option<Outcome> {
    let stalled = |message| Some(Outcome::Stalled(Reason::OwnedElsewhere, message));
    if !has_name(app, &input.desired.name) {
        let (current, expected) = (&app.name, &input.desired.name);
        return stalled(format!(
            "App {} is named \"{current}\", expected \"{expected}\". Rename the app back, or delete this object (the app \
             is kept) and apply the object again with spec.name: {current}",
            app.id
        ));
    }
    match Ownership::of(app, &input.desired.owner) {
        Ownership::Foreign if is_reactivated_foreign(input.status, app) => None,
        Ownership::Foreign => stalled(owned_elsewhere_message(app)),
        Ownership::Own | Ownership::Unowned => None,
    }
}

/// Plans an app that a GET does not find. A created app is created again once its absence is certain; an adopted app is
/// not.
fn plan_recreation(input: &AppInput<'_>, id: i64) -> Plan<SpiceApp> {
    match absence(input, id) {
        AbsenceCheck::Inconclusive(outcome) => input.no_op(outcome),
        AbsenceCheck::MassAbsence(message) => input.no_op(Outcome::Stalled(Reason::OrganizationMismatch, message)),
        AbsenceCheck::Confirmed if was_created(input.status) => {
            let status = SpiceAppStatus {
                id: None,
                incarnation: None,
                created_at: None,
                reactivated_at: None,
                create_intent: None,
                endpoint: None,
                url: None,
                region: None,
                last_applied: BTreeMap::new(),
                drift: Vec::new(),
                ..input.status.clone()
            };
            let message = format!("App {id} was deleted externally; recreating it");
            let events = vec![EventRecord::warning("Create", "Recreating", message.clone())];
            Plan { events, ..Plan::kubernetes(status, KubernetesWrite::StoreStatus, Outcome::InProgress(message)) }
        }
        AbsenceCheck::Confirmed => {
            let message = format!(
                "Adopted app {id} was deleted externally and is not recreated. Delete this object. To create a new app, \
                 apply the object again"
            );
            input.no_op(Outcome::Stalled(Reason::DeletedExternally, message))
        }
    }
}

/// Outcome if another SpiceApp owns the app name.
fn name_conflict(input: &AppInput<'_>) -> Option<Outcome> {
    let created = input.meta.creation_timestamp.as_ref().map(|time| time.0);
    let own = (input.status.id.is_none(), created, input.meta.uid.as_deref().unwrap_or_default());
    let first = input.observed.competing_apps.iter().flatten().min()?;
    ((first.without_id, first.created, first.uid.as_str()) < own).then(|| {
        let CompetingApp { namespace, name, .. } = first;
        let message = format!(
            "App \"{}\" is already managed by SpiceApp {namespace}/{name}. Delete this object, or create a SpiceApp with \
             another spec.name",
            input.desired.name
        );
        Outcome::Stalled(Reason::NameTaken, message)
    })
}

/// Returns true if the read of the app is recent enough for a write.
fn is_fresh(input: &AppInput<'_>) -> bool {
    let read = input.observed.app.as_ref().and_then(Observed::present);
    read.is_some_and(|read| read.started_at >= input.oldest_usable_read())
}
