//! An app that is wanted and known: keep it as declared. `find` has what comes before.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::{Note, digest, schedule};
use super::fields::{self, Managed, Merge};
use super::find;
use super::validate::ValidSpec;
use super::*;
use crate::api::RECONCILE_REQUESTED_AT;

type AppView<'a> = View<'a, SpiceApp>;

pub(super) fn needs(view: &AppView<'_>) -> Vec<AppRead> {
    let observed = view.observed;
    let Ok(spec) = &view.desired.spec else { return Vec::new() };
    if !view.has_finalizer() || view.desired.suspended {
        return Vec::new();
    }
    if observed.secrets.is_none() {
        return vec![AppRead::Secrets];
    }
    match (&spec.spicepod_from, &observed.source) {
        (Some(key), None) => return vec![AppRead::Source(key.clone())],
        _ if rests(view) => return Vec::new(),
        (Some(key), Some(Observed::Present(_))) if observed.spicepod.is_none() => {
            return vec![AppRead::Spicepod(key.clone())];
        }
        _ if resolved(view, spec).is_err() => return Vec::new(),
        _ => {}
    }
    if observed.organization.is_none() || observed.claims.is_none() {
        return vec![AppRead::Organization, AppRead::Claims];
    }
    if in_the_way(view).is_some() {
        return Vec::new();
    }
    let list = AppRead::List(wanted_since(view));
    let answered = matches!(observed.app, Some(Observed::Absent | Observed::Unknown(_)));
    match recorded_here(view) {
        Some(id) if !fresh(view) && !answered => vec![AppRead::App(id, shown_since(view))],
        // A 404 alone is no absence.
        Some(_) if observed.app == Some(Observed::Absent) && observed.list.is_none() => vec![list, AppRead::Siblings],
        None if observed.list.is_none() => vec![list],
        None if !fresh(view) && !answered => {
            find::candidate(view).map(|id| AppRead::App(id, wanted_since(view))).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// An answer about the app has to be as new as this. For a check, as its time: all objects of the app are checked then, and
/// one answer serves them.
fn shown_since(view: &AppView<'_>) -> Timestamp {
    let wanted = wanted_since(view);
    if !(view.achieved() && SpiceApp::in_date(view) && view.check_due(view.interval())) {
        return wanted;
    }
    let oldest = view.now.checked_sub(view.waits.evidence).unwrap_or(wanted);
    schedule::last_point(view.phase(), view.interval(), view.now).max(oldest).min(wanted)
}

/// The id of the app that is kept. Where the app is only looked at there is none: it is looked up by its name.
fn recorded_here(view: &AppView<'_>) -> Option<i64> {
    recorded(view.status).filter(|_| !view.desired.observes)
}

pub(super) fn plan(view: &AppView<'_>) -> Plan<SpiceApp> {
    let idle = |verdict| Plan::idle(view.status, verdict);
    if view.desired.suspended {
        return idle(Verdict::Suspended);
    }
    if !view.has_finalizer() {
        let verdict = Verdict::Working("taking the object up".to_owned());
        return Plan::kubernetes(view.status.clone(), KubernetesWrite::AddFinalizer, verdict);
    }
    let spec = match &view.desired.spec {
        Ok(spec) => spec,
        Err(why) => return idle(Verdict::Stalled(Reason::InvalidSpec, why.clone())),
    };
    if rests(view) {
        return idle(Verdict::Unchanged);
    }
    let mut plan = match resolved(view, spec) {
        Ok(spec) => plan_wanted(view, &spec),
        Err(verdict) => idle(verdict),
    };
    // Not before it was acted on: until then the change is still to be seen. Another version of what was sent is none.
    if matches!(plan.verdict, Verdict::Settled | Verdict::Stalled(..)) || is_applied_already(view) {
        plan.status.sources = sources(view);
    }
    plan
}

/// Whether the spicepod that was read is the one that was sent last.
fn is_applied_already(view: &AppView<'_>) -> bool {
    let Some(Observed::Present(Sourced { spicepod: Ok(spicepod), .. })) = &view.observed.spicepod else { return false };
    let applied = view.status.applied.get("spicepod").map(|applied| &applied.sent);
    view.sources_changed() && applied == Some(&digest::of_value(&Value::Object(spicepod.clone())))
}

fn plan_wanted(view: &AppView<'_>, spec: &ValidSpec) -> Plan<SpiceApp> {
    if let Some(verdict) = in_the_way(view) {
        return Plan::idle(view.status, verdict);
    }
    let mut plan = match recorded_here(view) {
        Some(id) => plan_recorded(view, spec, id),
        None => find::plan(view, spec),
    };
    if let Some(Observed::Present(organization)) = &view.observed.organization
        && (plan.status.id.is_some() || plan.status.create_intent.is_some())
    {
        plan.status.organization = organization.pin.clone().or(plan.status.organization.take());
    }
    plan
}

/// Why nothing may be asked of the API, if nothing may.
fn in_the_way(view: &AppView<'_>) -> Option<Verdict> {
    let mismatch = || mismatch(view).map(|words| Verdict::Stalled(Reason::OrganizationMismatch, words));
    unusable(view).or_else(mismatch).or_else(|| outranked(view))
}

fn rests(view: &AppView<'_>) -> bool {
    // An answer of this visit is judged, whatever the schedule says.
    let in_date = !view.sources_changed() || view.held_until().is_some();
    let is_made = view.status.id.is_some() || view.status.create_intent.is_none();
    view.observed.app.is_none() && is_made && in_date && view.rests()
}

/// The versions of what the spec refers to: as it was read, or else as the cache shows it.
pub(super) fn sources(view: &AppView<'_>) -> Vec<SourceVersion> {
    match (&view.observed.spicepod, &view.observed.source) {
        (Some(Observed::Present(read)), _) => vec![read.version.clone()],
        (_, Some(Observed::Present(version))) => vec![version.clone()],
        _ => Vec::new(),
    }
}

/// The spec with the spicepod that it refers to.
fn resolved<'a>(view: &AppView<'_>, spec: &'a ValidSpec) -> Result<Cow<'a, ValidSpec>, Verdict> {
    let Some(ConfigMapKeyRef { name, key }) = &spec.spicepod_from else { return Ok(Cow::Borrowed(spec)) };
    let invalid = |why: &str| Err(Verdict::Stalled(Reason::InvalidSpec, format!("spec.spicepodFrom: {why}")));
    match (&view.observed.source, &view.observed.spicepod) {
        (_, Some(Observed::Present(Sourced { spicepod: Ok(spicepod), .. }))) => {
            let value = Value::Object(spicepod.clone());
            let mut spec = spec.clone();
            spec.managed.push(Managed { path: "spicepod".to_owned(), field: AppField::Spicepod, tag: None, value });
            Ok(Cow::Owned(spec))
        }
        (_, Some(Observed::Present(Sourced { spicepod: Err(why), .. }))) => {
            invalid(&format!("ConfigMap {name}, key {key}: {why}"))
        }
        (_, Some(Observed::Unknown(failure))) => Err(unseen(failure)),
        (Some(Observed::Absent), _) | (_, Some(Observed::Absent)) => {
            invalid(&format!("ConfigMap {name} does not exist in this namespace"))
        }
        _ => Err(Verdict::Working("reading the spicepod".to_owned())),
    }
}

/// An app whose id is known.
fn plan_recorded(view: &AppView<'_>, spec: &ValidSpec, id: i64) -> Plan<SpiceApp> {
    let idle = |verdict| Plan::idle(view.status, verdict);
    match &view.observed.app {
        Some(Observed::Present(seen)) => plan_present(view, spec, seen),
        Some(Observed::Absent) => plan_gone(view, id),
        Some(Observed::Unknown(failure)) => idle(unseen(failure)),
        None => idle(Verdict::Working("looking for the app".to_owned())),
    }
}

/// Compares the app that is ours with the spec.
fn plan_present(view: &AppView<'_>, spec: &ValidSpec, seen: &Seen<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    if find::may_take_over(view, app) && same_name(app, view.desired) {
        return find::adopt(view, spec, seen);
    }
    if let Some(verdict) = not_ours(view, app) {
        return Plan::idle(view.status, verdict);
    }
    let mut status = view.status.clone();
    attach(&mut status, view.observed, app);
    if owner(app, view.desired) != Owner::Us {
        // Whose incarnation it shows is not told by it.
        status.incarnation = view.status.incarnation.clone();
    }
    status.incarnation.get_or_insert_with(|| format!("a-{}", view.fresh_id));
    if !came_back(view.status, app) {
        status.create_intent = None;
    } else if !view.observed.tags_refused {
        // Before anything that may be refused: from then on the app itself says whose it is.
        return marked(view, seen, status);
    }
    put_right(view, spec, seen, status)
}

/// Our own tags in the place of those that the app came back with, and nothing else.
pub(super) fn marked(view: &AppView<'_>, seen: &Seen<App>, status: SpiceAppStatus) -> Plan<SpiceApp> {
    let app = &seen.value;
    let own = own_tags(view, status.incarnation.as_deref());
    let mut tags = app.tags();
    tags.extend(own.iter().map(|(key, tag)| ((*key).to_owned(), (*tag).to_owned())));
    let managed = own.iter().map(|(key, tag)| fields::managed_tag(key, Value::from(*tag))).collect();
    let body = UpdateApp([(AppField::Tags, serde_json::json!(tags))].into());
    let (released, corrects) = (Vec::new(), Vec::new());
    let (id, rests_on) = (app.id, seen.begun);
    let write = AppWrite::Update { id, rests_on, body, managed, released, corrects, marks: true };
    Plan::remote(status, write, "putting our own tags on the app")
}

/// The update that makes the app as the spec wants it, or where it stands if nothing is to be sent.
pub(super) fn put_right(
    view: &AppView<'_>,
    spec: &ValidSpec,
    seen: &Seen<App>,
    mut status: SpiceAppStatus,
) -> Plan<SpiceApp> {
    let app = &seen.value;
    let named = desired_fields(view, spec, status.incarnation.as_deref(), Some(app));
    let fights = |path: &str| {
        let (generation, pause) = (view.meta.generation, view.waits.fight_pause);
        view.memory.corrections.fights(generation, path, view.now, pause)
    };
    // Without our tag the next write would not be ours: it is put back whatever is said of drift.
    let leaves = |path: &str| !is_own_tag(path) && view.desired.leaves_drift || fights(path);
    let mut merge = fields::merge(&named, &status.applied, app, leaves);
    let withheld = repository_connected(view) && merge.withhold(AppField::Spicepod);
    let Merge { update, carried, released, drift, left, abandoned, settled } = merge;
    status.applied.extend(settled);
    status.applied.retain(|path, _| !abandoned.contains(path));
    status.drift = left;
    // Recorded of its own, whatever becomes of the app that showed it. A refusal alone does not show it: not before what
    // remains without the tags is taken, or where nothing remains.
    let is_shown = is_known_to_lose_tags(view) || (view.observed.tags_refused && update.0.is_empty());
    if app.tag(OWNER_TAG).is_none() && is_shown {
        status.untagged = Some(true);
    }
    let mut notes: Vec<Note> = abandoned.iter().map(|path| unmanaged(path)).collect();
    if update.0.is_empty() {
        // Fields that are no longer named and no longer there need no write to be forgotten.
        status.applied.retain(|path, _| named.iter().any(|field| field.path == *path));
        notes.extend(brought_back(view, &named, app));
        let fought: Vec<&str> = status.drift.iter().map(String::as_str).filter(|path| fights(path)).collect();
        let verdict = match fought.as_slice() {
            _ if withheld => has_repository(app),
            [] => Verdict::Settled,
            fought => fight(fought),
        };
        return Plan { notes, ..Plan::idle(&status, verdict) };
    }
    let what = described(&carried, &released);
    notes.push(match drift.as_slice() {
        [] => Note::normal("Updated", format!("updated {what}")),
        paths => Note::warning("DriftCorrected", format!("changed outside and put back: {}", paths.join(", "))),
    });
    let marks = app.tag(OWNER_TAG).is_none() && carried.iter().any(|field| is_own_tag(&field.path));
    let (id, rests_on) = (app.id, seen.begun);
    let write = AppWrite::Update { id, rests_on, body: update, managed: carried, released, corrects: drift, marks };
    Plan { notes, ..Plan::remote(status, write, format!("updating {what}")) }
}

/// Whether the spicepod comes from a connected repository: no read tells. What was refused is not sent again before a
/// person has changed something, or asks for it.
fn repository_connected(view: &AppView<'_>) -> bool {
    let refused_before = || !view.sources_changed() && view.stalled_for(Reason::RepositoryConnected);
    view.observed.repository_connected || refused_before()
}

fn has_repository(app: &App) -> Verdict {
    let words = format!(
        "the spicepod of app {} comes from a connected repository: take it out of the spec; or disconnect the repository and \
         set the annotation {RECONCILE_REQUESTED_AT}",
        app.id
    );
    Verdict::Stalled(Reason::RepositoryConnected, words)
}

fn fight(paths: &[&str]) -> Verdict {
    let words = format!(
        "put back again and again, so somebody else writes it too: {}; let one of them stop, then change the spec",
        paths.join(", ")
    );
    Verdict::Stalled(Reason::CorrectionLoop, words)
}

/// A name that was deleted once comes back with what it had.
fn brought_back(view: &AppView<'_>, named: &[Managed], app: &App) -> Option<Note> {
    let settings = fields::unnamed(named, app);
    let words = format!("app {} had been deleted and came back, with settings that the spec does not name: ", app.id);
    (view.observed.reactivated && !settings.is_empty())
        .then(|| Note::warning("Reactivated", words + &settings.join(", ")))
}

/// A write by id needs an answer that shows our name and our owner. No owner at all is drift of our own tag, and what our own
/// create brought back may show whose it was.
fn not_ours(view: &AppView<'_>, app: &App) -> Option<Verdict> {
    let stop = |words| Some(Verdict::Stalled(Reason::OwnedElsewhere, words));
    if !same_name(app, view.desired) {
        return stop(format!(
            "app {} is called {} and not {}: another app has this id",
            app.id, app.name, view.desired.name
        ));
    }
    match owner(app, view.desired) {
        Owner::Another if came_back(view.status, app) => None,
        Owner::Another => stop(find::owned_elsewhere(app)),
        Owner::Us | Owner::Nobody => None,
    }
}

/// An app that cannot be read. One that we made is made anew once it is certainly gone; an adopted one is not ours to make.
fn plan_gone(view: &AppView<'_>, id: i64) -> Plan<SpiceApp> {
    let idle = |verdict| Plan::idle(view.status, verdict);
    match absence(view, id) {
        Absence::Doubtful(verdict) => idle(verdict),
        Absence::Mass(words) => idle(Verdict::Stalled(Reason::OrganizationMismatch, words)),
        Absence::Certain if created(view.status) => {
            let status = SpiceAppStatus {
                id: None,
                incarnation: None,
                created_at: None,
                create_intent: None,
                endpoint: None,
                url: None,
                region: None,
                applied: BTreeMap::new(),
                drift: Vec::new(),
                ..view.status.clone()
            };
            let words = format!("app {id} was deleted outside and is made anew");
            let notes = vec![Note::warning("Recreating", words.clone())];
            Plan { notes, ..Plan::kubernetes(status, KubernetesWrite::StoreStatus, Verdict::Working(words)) }
        }
        Absence::Certain => {
            let words = format!("app {id} was deleted outside; delete this object, or make a new one, to go on");
            idle(Verdict::Stalled(Reason::DeletedExternally, words))
        }
    }
}

/// The spec's fields and our own tags. `app`: as it is shown, if it is there already.
///
/// Where no tags of ours are kept none are named, unless the app shows one: it would be taken away.
pub(super) fn desired_fields(
    view: &AppView<'_>,
    spec: &ValidSpec,
    incarnation: Option<&str>,
    app: Option<&App>,
) -> Vec<Managed> {
    let shown = app.is_some_and(|app| app.tag(OWNER_TAG).is_some());
    let named = (shown && !view.observed.tags_refused) || !tags_are_lost(view);
    let own = if named { own_tags(view, incarnation) } else { Vec::new() };
    let tags = own.into_iter().map(|(key, value)| fields::managed_tag(key, Value::from(value)));
    spec.managed.iter().cloned().chain(tags).collect()
}

/// The tags that say that an app is ours.
fn own_tags<'a>(view: &AppView<'a>, incarnation: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let incarnation = incarnation.map(|incarnation| (INCARNATION_TAG, incarnation));
    [(OWNER_TAG, view.desired.owner.as_str())].into_iter().chain(incarnation).collect()
}

/// Whether tags of ours would not be kept.
pub(super) fn tags_are_lost(view: &AppView<'_>) -> bool {
    view.observed.tags_refused || is_known_to_lose_tags(view)
}

/// Whether this app, or another one of the organization, has shown that they are not.
fn is_known_to_lose_tags(view: &AppView<'_>) -> bool {
    let organization = matches!(&view.observed.organization, Some(Observed::Present(it)) if it.takes_no_tags);
    view.status.untagged == Some(true) || organization
}

fn is_own_tag(path: &str) -> bool {
    path.strip_prefix("tags.").is_some_and(|key| key == OWNER_TAG || key == INCARNATION_TAG)
}

/// Within a cluster, SpiceApps of one organization and one name are one claim.
fn outranked(view: &AppView<'_>) -> Option<Verdict> {
    let own = Claim {
        without_id: view.status.id.is_none(),
        created: view.meta.creation_timestamp.as_ref().map(|time| time.0),
        uid: view.meta.uid.clone().unwrap_or_default(),
        object: String::new(),
    };
    let first = view.observed.claims.iter().flatten().min()?;
    if (first.without_id, first.created, &first.uid) < (own.without_id, own.created, &own.uid) {
        let words = format!("SpiceApp {} stands for app {} already", first.object, view.desired.name);
        return Some(Verdict::Stalled(Reason::NameTaken, words));
    }
    None
}

/// Whether the answer at hand may carry a write.
fn fresh(view: &AppView<'_>) -> bool {
    match &view.observed.app {
        Some(Observed::Present(seen)) => schedule::elapsed(seen.begun, view.now) <= view.waits.evidence,
        _ => false,
    }
}

fn described(carried: &[Managed], released: &[String]) -> String {
    let mut paths: Vec<&str> = carried.iter().map(|field| field.path.as_str()).collect();
    paths.extend(released.iter().map(String::as_str));
    let own = |path: &&str| !path.starts_with("tags.spice-operator-");
    let shown: Vec<&str> = paths.iter().copied().filter(own).collect();
    if shown.is_empty() { "the operator's own tags".to_owned() } else { shown.join(", ") }
}

fn unmanaged(path: &str) -> Note {
    Note::warning("FieldUnmanaged", format!("{path} is no longer in the spec and cannot be cleared: it stays as it is"))
}
