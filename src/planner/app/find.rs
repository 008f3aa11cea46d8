//! An app that is wanted and not known: attach it, adopt it, create it, or say who is in the way. One that is only looked
//! at is found here each time.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::super::{Note, schedule};
use super::fields::{self, Managed};
use super::keep::{desired_fields, put_right, tags_are_lost};
use super::validate::ValidSpec;
use super::*;
use crate::api::{CreateIntent, TAKE_OVER, Visibility};

type AppView<'a> = View<'a, SpiceApp>;

/// What is to become of an app of our name that is in the list.
enum Found {
    /// It is ours, by its tag or by our intent.
    Ours,
    /// It is to be taken over.
    Adoptable,
    /// It is to be looked at.
    Observed,
    /// It is in the way.
    Foreign(Reason, String),
}

/// The id of an app in the list that has to be read before it can be judged.
pub(super) fn candidate(view: &AppView<'_>) -> Option<i64> {
    let Some(Observed::Present(list)) = &view.observed.list else { return None };
    let app = list.value.iter().find(|app| same_name(app, view.desired))?;
    matches!(found(view, app), Found::Adoptable | Found::Observed).then_some(app.id)
}

/// No id is known, or none counts.
pub(super) fn plan(view: &AppView<'_>, spec: &ValidSpec) -> Plan<SpiceApp> {
    let idle = |verdict| Plan::idle(view.status, verdict);
    let list = match &view.observed.list {
        Some(Observed::Present(list)) => list,
        Some(Observed::Unknown(failure)) => return idle(unseen(failure)),
        Some(Observed::Absent) | None => return idle(Verdict::Working("looking for the app".to_owned())),
    };
    let Some(app) = list.value.iter().find(|app| same_name(app, view.desired)) else {
        return if view.desired.observes { plan_nothing_to_observe(view) } else { plan_absent(view, spec, list.begun) };
    };
    match found(view, app) {
        Found::Ours => attached(view, app),
        Found::Adoptable => with_detail(view, |seen| adopt(view, spec, seen)),
        Found::Observed => with_detail(view, |seen| observe(view, spec, seen)),
        Found::Foreign(reason, words) => idle(Verdict::Stalled(reason, words)),
    }
}

fn found(view: &AppView<'_>, app: &App) -> Found {
    let desired = view.desired;
    match owner(app, desired) {
        _ if desired.observes => Found::Observed,
        Owner::Us => Found::Ours,
        Owner::Another if may_take_over(view, app) => Found::Adoptable,
        Owner::Another => Found::Foreign(Reason::OwnedElsewhere, owned_elsewhere(app)),
        Owner::Nobody if explained_by_intent(view, app) => Found::Ours,
        Owner::Nobody if desired.adopts && adoption_allowed(view) => Found::Adoptable,
        Owner::Nobody if desired.adopts => {
            let words = format!(
                "app {} ({}) exists, and spec.adoption of SpiceOrganization {} does not let this namespace adopt it",
                app.id, app.name, desired.organization
            );
            Found::Foreign(Reason::NameTaken, words)
        }
        Owner::Nobody => {
            let words = format!(
                "app {} ({}) exists and was not made by this object: set spec.adoptionPolicy to Adopt to take it over, \
                 or another spec.name in a new object",
                app.id, app.name
            );
            Found::Foreign(Reason::NameTaken, words)
        }
    }
}

fn adoption_allowed(view: &AppView<'_>) -> bool {
    matches!(&view.observed.organization, Some(Observed::Present(organization)) if organization.adoption_allowed)
}

/// Whether the annotation names the very owner whose app it is.
pub(super) fn may_take_over(view: &AppView<'_>, app: &App) -> bool {
    let named = view.desired.take_over.as_deref();
    view.desired.adopts
        && adoption_allowed(view)
        && owner(app, view.desired) == Owner::Another
        && named == app.tag(OWNER_TAG)
}

pub(super) fn owned_elsewhere(app: &App) -> String {
    let tag = app.tag(OWNER_TAG).unwrap_or_default();
    format!(
        "app {} ({}) belongs to another object or another cluster, by its owner tag {tag}: to take it over, set \
         spec.adoptionPolicy to Adopt and the annotation {TAKE_OVER} to that tag",
        app.id, app.name
    )
}

/// Whether an app without our tag is what our create made. A complete list without the name came before the intent, so
/// an app that is older was brought back by it. A younger one is ours only where no tags are kept. None is, if the name turned
/// out to be taken.
pub(super) fn explained_by_intent(view: &AppView<'_>, app: &App) -> bool {
    let Some(intent) = view.status.create_intent.as_ref().filter(|intent| intent.conflicted.is_none()) else {
        return false;
    };
    let Some(created) = app.created_at() else { return false };
    let (skew, settles) = (view.waits.clock_skew, view.waits.create_settles);
    let reactivated = schedule::elapsed(created, intent.at.0) > skew;
    let in_time = schedule::elapsed(intent.at.0, created) <= settles + skew;
    reactivated || (tags_are_lost(view) && in_time)
}

fn attached(view: &AppView<'_>, app: &App) -> Plan<SpiceApp> {
    let mut status = view.status.clone();
    attach(&mut status, view.observed, app);
    status.create_intent = None;
    status.incarnation.get_or_insert_with(|| format!("a-{}", view.fresh_id));
    let verdict = Verdict::Working(format!("attached to app {}", app.id));
    Plan::kubernetes(status, KubernetesWrite::StoreStatus, verdict)
}

/// A write by id, and what is reported of an app, rest on the app itself and not on a list.
fn with_detail(view: &AppView<'_>, judge: impl FnOnce(&Seen<App>) -> Plan<SpiceApp>) -> Plan<SpiceApp> {
    let idle = |verdict| Plan::idle(view.status, verdict);
    match &view.observed.app {
        Some(Observed::Present(seen)) if same_name(&seen.value, view.desired) => judge(seen),
        Some(Observed::Unknown(failure)) => idle(unseen(failure)),
        _ => {
            let words = format!("app {} is in the list and cannot be read", view.desired.name);
            idle(Verdict::Unseen(Reason::RemoteUnavailable, words, Retry::Backoff))
        }
    }
}

/// Takes an app over. The id is stored before the tags are sent: what is cut off then goes on as drift of our own tag.
pub(super) fn adopt(view: &AppView<'_>, spec: &ValidSpec, seen: &Seen<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    let mut status = view.status.clone();
    attach(&mut status, view.observed, app);
    (status.create_intent, status.created_at) = (None, None);
    status.incarnation = Some(format!("a-{}", view.fresh_id));
    // Whatever was sent before was sent to an app of another life, or never.
    let as_is = view.desired.leaves_drift;
    status.applied = if as_is { fields::as_if_sent(&spec.managed) } else { BTreeMap::new() };
    let mut plan = put_right(view, spec, seen, status);
    plan.notes.push(Note::normal("Adopted", format!("took over app {} ({})", app.id, app.name)));
    plan.first = Some(KubernetesWrite::StoreStatus);
    plan
}

/// Reports an app that is only looked at.
fn observe(view: &AppView<'_>, spec: &ValidSpec, seen: &Seen<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    let mut status = view.status.clone();
    let ours = match owner(app, view.desired) {
        Owner::Us => true,
        // Where no tags are kept the recorded id counts.
        Owner::Nobody => status.untagged == Some(true) && status.id == Some(app.id),
        Owner::Another => came_back(&status, app),
    };
    let incarnation = status.incarnation.take().filter(|_| ours);
    attach(&mut status, view.observed, app);
    // An incarnation says that the app is ours; one of somebody else's is none of ours.
    status.incarnation = incarnation;
    let merge = fields::merge(&spec.managed, &status.applied, app, |_| true);
    status.drift = merge.left;
    status.drift.extend(merge.carried.into_iter().map(|field| field.path));
    status.drift.sort();
    status.drift.dedup();
    Plan::idle(&status, Verdict::Settled)
}

fn plan_nothing_to_observe(view: &AppView<'_>) -> Plan<SpiceApp> {
    let words = format!("there is no app {}, and managementPolicy Observe makes none", view.desired.name);
    Plan::idle(view.status, Verdict::Stalled(Reason::DeletedExternally, words))
}

fn plan_absent(view: &AppView<'_>, spec: &ValidSpec, listed: Timestamp) -> Plan<SpiceApp> {
    // The repetition without tags follows a list that was waited for already.
    if view.status.create_intent.is_some() && view.just_written() && !view.observed.tags_refused {
        let words = "a create was cut off and may still take effect; looking again before it is repeated";
        let verdict = Verdict::Unseen(Reason::RemoteUnavailable, words.to_owned(), Retry::Backoff);
        return Plan::idle(view.status, verdict);
    }
    plan_create(view, spec, listed)
}

fn plan_create(view: &AppView<'_>, spec: &ValidSpec, listed: Timestamp) -> Plan<SpiceApp> {
    let mut status = view.status.clone();
    let kept = status.create_intent.take().filter(|intent| intent.name == view.desired.name);
    let repeated = kept.as_ref().is_some_and(|intent| intent.conflicted.is_none());
    if kept.is_none() {
        status.created_at = Some(MicroTime(view.now));
    }
    let id = kept.map_or_else(|| view.fresh_id.to_owned(), |intent| intent.id);
    let incarnation = format!("c-{id}");
    // Each attempt may take effect for as long as the first: the time is that of the last one.
    status.create_intent = Some(CreateIntent {
        id,
        name: view.desired.name.clone(),
        at: MicroTime(view.now),
        conflicted: None,
        came_back_with: None,
    });
    // What was only observed is not ours.
    (status.id, status.applied, status.drift) = (None, BTreeMap::new(), Vec::new());
    // Known before the create: should its outcome be lost, an app without our tag may be what it made.
    status.untagged = tags_are_lost(view).then_some(true);
    let fields = desired_fields(view, spec, Some(&incarnation), None);
    status.incarnation = Some(incarnation);
    let body = match create_body(view, spec, &fields) {
        Ok(body) => body,
        Err(verdict) => return Plan::idle(view.status, verdict),
    };
    let managed: Vec<Managed> = fields.into_iter().filter(|field| body_carries(&body, field)).collect();
    let message = format!("creating app {}", body.name);
    let notes = vec![Note::normal("Created", format!("created app {}", body.name))];
    let reactivated_if_before = view.now.checked_sub(view.waits.clock_skew).unwrap_or(view.now);
    let (owner, intended_at) = (view.desired.owner.clone(), view.now);
    let first_untagged = status.untagged == Some(true) && view.status.untagged != Some(true);
    let write = AppWrite::Create {
        body,
        managed,
        repeated,
        first_untagged,
        owner,
        intended_at,
        rests_on: listed,
        reactivated_if_before,
    };
    Plan { first: Some(KubernetesWrite::StoreStatus), notes, ..Plan::remote(status, write, message) }
}

fn create_body(view: &AppView<'_>, spec: &ValidSpec, fields: &[Managed]) -> Result<CreateApp, Verdict> {
    let named = spec.region.is_some() || spec.cname.is_some() || spec.cluster_name.is_some();
    let default = match &view.observed.organization {
        Some(Observed::Present(organization)) => organization.default_region.clone(),
        _ => None,
    };
    if !named && default.is_none() {
        let words = format!("SpiceOrganization {} knows no default region: set spec.region", view.desired.organization);
        return Err(Verdict::Waiting(Reason::DependencyNotReady, words));
    }
    let visibility = match spec.visibility {
        Some(Visibility::Public) => "public",
        Some(Visibility::Private) | None => "private",
    };
    let tags: BTreeMap<String, String> =
        fields.iter().filter_map(|field| Some((field.tag.clone()?, field.value.as_str()?.to_owned()))).collect();
    Ok(CreateApp {
        name: view.desired.name.clone(),
        visibility: visibility.to_owned(),
        region: if named { spec.region.clone() } else { default },
        cname: spec.cname.clone(),
        cluster_name: spec.cluster_name.clone(),
        description: spec.description.clone(),
        tags,
    })
}

fn body_carries(body: &CreateApp, field: &Managed) -> bool {
    use crate::management::types::AppField::{ClusterName, Description, Region, Tags, Visibility};
    match field.field {
        Tags | Visibility => true,
        Description => body.description.is_some(),
        Region => body.region.is_some(),
        ClusterName => body.cluster_name.is_some(),
        _ => false,
    }
}
