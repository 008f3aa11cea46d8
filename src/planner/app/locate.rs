//! An app that is wanted and not known: attach it, adopt it, create it, or say who is in the way. One that is only looked
//! at is found here each time.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::fields::{self, ManagedField};
use super::update::{desired_fields, lacks_tag_support, plan_update};
use super::validate::ValidSpec;
use super::*;
use crate::api::{CreateIntent, TAKE_OWNERSHIP_FROM, Visibility};
use crate::planner::schedule;

/// What is to become of an app of our name that is in the list.
enum ExistingApp {
    /// It is ours, by its tag or by our intent.
    Owned,
    /// It is to be taken over.
    Adoptable,
    /// It is to be looked at.
    ObserveOnly,
    /// It is in the way.
    Foreign(Reason, String),
}

/// The id of an app in the list that has to be read before it can be judged.
pub(super) fn candidate(input: &AppInput<'_>) -> Option<i64> {
    let Some(Observed::Present(list)) = &input.observed.list else { return None };
    let app = list.value.iter().find(|app| has_name(app, &input.desired.name))?;
    matches!(classify(input, app), ExistingApp::Adoptable | ExistingApp::ObserveOnly).then_some(app.id)
}

/// No id is known, or none counts.
pub(super) fn plan(input: &AppInput<'_>, spec: &ValidSpec) -> Plan<SpiceApp> {
    let no_op = |outcome| Plan::no_op(input.status, outcome);
    let list = match &input.observed.list {
        Some(Observed::Present(list)) => list,
        Some(Observed::Unknown(error)) => return no_op(read_failed(error)),
        Some(Observed::Absent) | None => return no_op(Outcome::InProgress("Looking for the app".to_owned())),
    };
    let Some(app) = list.value.iter().find(|app| has_name(app, &input.desired.name)) else {
        return if input.desired.observes {
            plan_nothing_to_observe(input)
        } else {
            plan_absent(input, spec, list.started_at)
        };
    };
    match classify(input, app) {
        ExistingApp::Owned => plan_attach(input, app),
        ExistingApp::Adoptable => with_detail(input, |seen| adopt(input, spec, seen)),
        ExistingApp::ObserveOnly => with_detail(input, |seen| observe(input, spec, seen)),
        ExistingApp::Foreign(reason, message) => no_op(Outcome::Stalled(reason, message)),
    }
}

fn classify(input: &AppInput<'_>, app: &App) -> ExistingApp {
    let desired = input.desired;
    match ownership(app, desired) {
        _ if desired.observes => ExistingApp::ObserveOnly,
        Ownership::Own => ExistingApp::Owned,
        Ownership::Foreign if may_take_ownership(input, app) => ExistingApp::Adoptable,
        Ownership::Foreign => ExistingApp::Foreign(Reason::OwnedElsewhere, owned_elsewhere(app)),
        Ownership::Unowned if matches_create_intent(input, app) => ExistingApp::Owned,
        Ownership::Unowned if desired.adopts && adoption_allowed(input) => ExistingApp::Adoptable,
        Ownership::Unowned if desired.adopts => {
            let message = format!(
                "app {} ({}) exists, and spec.adoption of SpiceOrganization {} does not let this namespace adopt it",
                app.id,
                app.name,
                organization_name(input)
            );
            ExistingApp::Foreign(Reason::NameTaken, message)
        }
        Ownership::Unowned => {
            let message = format!(
                "app {} ({}) exists and was not made by this object: set spec.adoptionPolicy to Adopt to take it over, \
                 or another spec.name in a new object",
                app.id, app.name
            );
            ExistingApp::Foreign(Reason::NameTaken, message)
        }
    }
}

fn adoption_allowed(input: &AppInput<'_>) -> bool {
    matches!(&input.observed.organization, Some(Observed::Present(organization)) if organization.adoption_allowed)
}

/// Whether the annotation names the very owner whose app it is.
pub(super) fn may_take_ownership(input: &AppInput<'_>, app: &App) -> bool {
    let named = input.desired.take_over.as_deref();
    input.desired.adopts
        && adoption_allowed(input)
        && ownership(app, input.desired) == Ownership::Foreign
        && named == app.tag(OWNER_TAG)
}

pub(super) fn owned_elsewhere(app: &App) -> String {
    let tag = app.tag(OWNER_TAG).unwrap_or_default();
    format!(
        "app {} ({}) belongs to another object or another cluster, by its owner tag {tag}: to take it over, set \
         spec.adoptionPolicy to Adopt and the annotation {TAKE_OWNERSHIP_FROM} to that tag",
        app.id, app.name
    )
}

/// Whether an app without our tag is what our create made. A complete list without the name came before the intent, so
/// an app that is older was brought back by it. A younger one is ours only where no tags are kept. None is, if the name turned
/// out to be taken.
pub(super) fn matches_create_intent(input: &AppInput<'_>, app: &App) -> bool {
    let Some(intent) = input.status.create_intent.as_ref().filter(|intent| intent.name_conflict.is_none()) else {
        return false;
    };
    let Some(created) = app.created_at() else { return false };
    let (skew, settles) = (input.timings.clock_skew, input.timings.create_confirmation_timeout);
    let reactivated = schedule::elapsed(created, intent.at.0) > skew;
    let in_time = schedule::elapsed(intent.at.0, created) <= settles + skew;
    reactivated || (lacks_tag_support(input) && in_time)
}

fn plan_attach(input: &AppInput<'_>, app: &App) -> Plan<SpiceApp> {
    let mut status = input.status.clone();
    record_app(&mut status, input.observed, app);
    status.create_intent = None;
    status.incarnation.get_or_insert_with(|| format!("a-{}", input.fresh_id));
    let outcome = Outcome::InProgress(format!("attached to app {}", app.id));
    Plan::kubernetes(status, KubernetesWrite::StoreStatus, outcome)
}

/// A write by id, and what is reported of an app, rest on the app itself and not on a list.
fn with_detail(input: &AppInput<'_>, judge: impl FnOnce(&Observation<App>) -> Plan<SpiceApp>) -> Plan<SpiceApp> {
    let no_op = |outcome| Plan::no_op(input.status, outcome);
    match &input.observed.app {
        Some(Observed::Present(seen)) if has_name(&seen.value, &input.desired.name) => judge(seen),
        Some(Observed::Unknown(error)) => no_op(read_failed(error)),
        _ => {
            let message = format!("app {} is in the list and cannot be read", input.desired.name);
            no_op(Outcome::ReadFailed(Reason::RemoteUnavailable, message, Retry::Backoff))
        }
    }
}

/// Takes an app over. The id is stored before the tags are sent: what is cut off then goes on as drift of our own tag.
pub(super) fn adopt(input: &AppInput<'_>, spec: &ValidSpec, seen: &Observation<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    let mut status = input.status.clone();
    record_app(&mut status, input.observed, app);
    (status.create_intent, status.created_at) = (None, None);
    status.incarnation = Some(format!("a-{}", input.fresh_id));
    // Whatever was sent before was sent to an app of another life, or never.
    let as_is = input.desired.leaves_drift;
    status.last_applied = if as_is { fields::assume_applied(&spec.managed) } else { BTreeMap::new() };
    let mut plan = plan_update(input, spec, seen, status);
    plan.events.push(EventRecord::normal("Adopt", "Adopted", format!("Adopted app \"{}\" ({})", app.name, app.id)));
    plan.first = Some(KubernetesWrite::StoreStatus);
    plan
}

/// Reports an app that is only looked at.
fn observe(input: &AppInput<'_>, spec: &ValidSpec, seen: &Observation<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    let mut status = input.status.clone();
    let ours = match ownership(app, input.desired) {
        Ownership::Own => true,
        // Where no tags are kept the recorded id counts.
        Ownership::Unowned => status.tags_unsupported == Some(true) && status.id == Some(app.id),
        Ownership::Foreign => is_reactivated_foreign(&status, app),
    };
    let incarnation = status.incarnation.take().filter(|_| ours);
    record_app(&mut status, input.observed, app);
    // An incarnation says that the app is ours; one of somebody else's is none of ours.
    status.incarnation = incarnation;
    let merge = fields::merge(&spec.managed, &status.last_applied, app, |_| true);
    status.drift = merge.reported_drift;
    status.drift.extend(merge.sent.into_iter().map(|field| field.path));
    status.drift.sort();
    status.drift.dedup();
    Plan::no_op(&status, Outcome::InSync)
}

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
    Plan::no_op(input.status, Outcome::Stalled(reason, message))
}

fn plan_absent(input: &AppInput<'_>, spec: &ValidSpec, listed: Timestamp) -> Plan<SpiceApp> {
    // The repetition without tags follows a list that was waited for already.
    if input.status.create_intent.is_some() && input.is_within_settle_period() && !input.observed.tags_rejected {
        let message = "a create was cut off and may still take effect; looking again before it is repeated";
        let outcome = Outcome::ReadFailed(Reason::RemoteUnavailable, message.to_owned(), Retry::Backoff);
        return Plan::no_op(input.status, outcome);
    }
    plan_create(input, spec, listed)
}

fn plan_create(input: &AppInput<'_>, spec: &ValidSpec, listed: Timestamp) -> Plan<SpiceApp> {
    let mut status = input.status.clone();
    let kept = status.create_intent.take().filter(|intent| intent.name == input.desired.name);
    let repeated = kept.as_ref().is_some_and(|intent| intent.name_conflict.is_none());
    if kept.is_none() {
        status.created_at = Some(MicroTime(input.now));
    }
    let id = kept.map_or_else(|| input.fresh_id.to_owned(), |intent| intent.id);
    let incarnation = format!("c-{id}");
    // Each attempt may take effect for as long as the first: the time is that of the last one.
    status.create_intent = Some(CreateIntent {
        id,
        name: input.desired.name.clone(),
        at: MicroTime(input.now),
        name_conflict: None,
        reactivated_owner_tag: None,
    });
    // What was only observed is not ours.
    (status.id, status.last_applied, status.drift) = (None, BTreeMap::new(), Vec::new());
    // Known before the create: should its outcome be lost, an app without our tag may be what it made.
    status.tags_unsupported = lacks_tag_support(input).then_some(true);
    let fields = desired_fields(input, spec, Some(&incarnation), None);
    status.incarnation = Some(incarnation);
    let body = match create_body(input, spec, &fields) {
        Ok(body) => body,
        Err(outcome) => return Plan::no_op(input.status, outcome),
    };
    let managed: Vec<ManagedField> = fields.into_iter().filter(|field| body_carries(&body, field)).collect();
    let message = format!("creating app {}", body.name);
    let events = vec![EventRecord::normal("Create", "Created", format!("Created app \"{}\"", body.name))];
    let reactivated_if_before = input.now.checked_sub(input.timings.clock_skew).unwrap_or(input.now);
    let (owner, intended_at) = (input.desired.owner.clone(), input.now);
    let first_untagged = status.tags_unsupported == Some(true) && input.status.tags_unsupported != Some(true);
    let write = AppWrite::Create {
        body,
        managed,
        repeated,
        first_untagged,
        owner,
        intended_at,
        based_on: listed,
        reactivated_if_before,
    };
    Plan { first: Some(KubernetesWrite::StoreStatus), events, ..Plan::remote(status, write, message) }
}

fn create_body(input: &AppInput<'_>, spec: &ValidSpec, fields: &[ManagedField]) -> Result<CreateApp, Outcome> {
    let named = spec.region.is_some() || spec.cname.is_some() || spec.cluster_name.is_some();
    let default = match &input.observed.organization {
        Some(Observed::Present(organization)) => organization.default_region.clone(),
        _ => None,
    };
    if !named && default.is_none() {
        let message =
            format!("SpiceOrganization {} knows no default region: set spec.region", organization_name(input));
        return Err(Outcome::WaitingForDependency(Reason::DependencyNotReady, message));
    }
    let visibility = match spec.visibility {
        Some(Visibility::Public) => "public",
        Some(Visibility::Private) | None => "private",
    };
    let tags: BTreeMap<String, String> =
        fields.iter().filter_map(|field| Some((field.tag.clone()?, field.value.as_str()?.to_owned()))).collect();
    Ok(CreateApp {
        name: input.desired.name.clone(),
        visibility: visibility.to_owned(),
        region: if named { spec.region.clone() } else { default },
        cname: spec.cname.clone(),
        cluster_name: spec.cluster_name.clone(),
        description: spec.description.clone(),
        tags,
    })
}

fn body_carries(body: &CreateApp, field: &ManagedField) -> bool {
    use crate::management::types::AppField::{ClusterName, Description, Region, Tags, Visibility};
    match field.field {
        Tags | Visibility => true,
        Description => body.description.is_some(),
        Region => body.region.is_some(),
        ClusterName => body.cluster_name.is_some(),
        _ => false,
    }
}
