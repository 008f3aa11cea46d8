//! An app that is wanted and known: keep it as declared. `find` has what comes before.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::{EventRecord, digest, schedule};
use super::fields::{self, ManagedField, MergeResult};
use super::locate;
use super::validate::ValidSpec;
use super::*;
use crate::api::RECONCILE_REQUESTED_AT;

type AppInput<'a> = PlanInput<'a, SpiceApp>;

pub(super) fn required_reads(input: &AppInput<'_>) -> Vec<AppRead> {
    let observed = input.observed;
    let Ok(spec) = &input.desired.spec else { return Vec::new() };
    if !input.has_finalizer() || input.desired.suspended {
        return Vec::new();
    }
    if observed.secrets.is_none() {
        return vec![AppRead::Secrets];
    }
    match (&spec.spicepod_from, &observed.source) {
        (Some(key), None) => return vec![AppRead::Source(key.clone())],
        _ if can_skip(input) => return Vec::new(),
        (Some(key), Some(Observed::Present(_))) if observed.spicepod.is_none() => {
            return vec![AppRead::Spicepod(key.clone())];
        }
        _ if resolved(input, spec).is_err() => return Vec::new(),
        _ => {}
    }
    if observed.organization.is_none() || observed.claims.is_none() {
        return vec![AppRead::Organization, AppRead::CompetingApps];
    }
    if in_the_way(input).is_some() {
        return Vec::new();
    }
    let list = AppRead::List(pending_since(input));
    let answered = matches!(observed.app, Some(Observed::Absent | Observed::Unknown(_)));
    match recorded_here(input) {
        Some(id) if !fresh(input) && !answered => vec![AppRead::App(id, shown_since(input))],
        // A 404 alone is no absence.
        Some(_) if observed.app == Some(Observed::Absent) && observed.list.is_none() => vec![list, AppRead::Siblings],
        None if observed.list.is_none() => vec![list],
        None if !fresh(input) && !answered => {
            locate::candidate(input).map(|id| AppRead::App(id, pending_since(input))).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// An answer about the app has to be as new as this. For a check, as its time: all objects of the app are checked then, and
/// one answer serves them.
fn shown_since(input: &AppInput<'_>) -> Timestamp {
    let wanted = pending_since(input);
    if !(input.is_ready() && SpiceApp::sources_unchanged(input) && input.check_due(input.interval())) {
        return wanted;
    }
    let oldest = input.now.checked_sub(input.timings.max_read_age).unwrap_or(wanted);
    schedule::last_point(input.phase(), input.interval(), input.now).max(oldest).min(wanted)
}

/// The id of the app that is kept. Where the app is only looked at there is none: it is looked up by its name.
fn recorded_here(input: &AppInput<'_>) -> Option<i64> {
    recorded(input.status).filter(|_| !input.desired.observes)
}

pub(super) fn plan(input: &AppInput<'_>) -> Plan<SpiceApp> {
    let no_op = |outcome| Plan::no_op(input.status, outcome);
    if input.desired.suspended {
        return no_op(Outcome::Suspended);
    }
    if !input.has_finalizer() {
        let outcome = Outcome::InProgress("taking the object up".to_owned());
        return Plan::kubernetes(input.status.clone(), KubernetesWrite::AddFinalizer, outcome);
    }
    let spec = match &input.desired.spec {
        Ok(spec) => spec,
        Err(why) => return no_op(Outcome::Stalled(Reason::InvalidSpec, why.clone())),
    };
    if can_skip(input) {
        return no_op(Outcome::Skipped);
    }
    let mut plan = match resolved(input, spec) {
        Ok(spec) => plan_wanted(input, &spec),
        Err(outcome) => no_op(outcome),
    };
    // Not before it was acted on: until then the change is still to be seen. Another version of what was sent is none.
    if matches!(plan.outcome, Outcome::InSync | Outcome::Stalled(..)) || is_applied_already(input) {
        plan.status.observed_sources = sources(input);
    }
    plan
}

/// Whether the spicepod that was read is the one that was sent last.
fn is_applied_already(input: &AppInput<'_>) -> bool {
    let Some(Observed::Present(LoadedSpicepod { spicepod: Ok(spicepod), .. })) = &input.observed.spicepod else {
        return false;
    };
    let applied = input.status.last_applied.get("spicepod").map(|applied| &applied.sent_hash);
    input.sources_changed() && applied == Some(&digest::of_value(&Value::Object(spicepod.clone())))
}

fn plan_wanted(input: &AppInput<'_>, spec: &ValidSpec) -> Plan<SpiceApp> {
    if let Some(outcome) = in_the_way(input) {
        return Plan::no_op(input.status, outcome);
    }
    let mut plan = match recorded_here(input) {
        Some(id) => plan_recorded(input, spec, id),
        None => locate::plan(input, spec),
    };
    if let Some(Observed::Present(organization)) = &input.observed.organization
        && (plan.status.id.is_some() || plan.status.create_intent.is_some())
    {
        plan.status.organization_binding = organization.pin.clone().or(plan.status.organization_binding.take());
        plan.status.organization_ref = input.observed.organization_ref.clone();
    }
    plan
}

/// Why nothing may be asked of the API, if nothing may.
fn in_the_way(input: &AppInput<'_>) -> Option<Outcome> {
    let mismatch = || mismatch(input).map(|message| Outcome::Stalled(Reason::OrganizationMismatch, message));
    moved(input).or_else(|| unusable(input)).or_else(mismatch).or_else(|| outranked(input))
}

/// Whether the spec names another SpiceOrganization than the one that the app was recorded in. The operator uses the recorded
/// one until the app is deleted: an app cannot move, and must not be created a second time.
fn moved(input: &AppInput<'_>) -> Option<Outcome> {
    let (declared, recorded) = (input.desired.organization.as_ref()?, input.status.recorded_organization()?);
    (declared != recorded).then(|| {
        let message = format!(
            "The app was recorded in SpiceOrganization \"{}\", but spec.organizationRef names \"{}\". Restore \
             spec.organizationRef, or delete this object with deletionPolicy: Retain and create another one",
            display_organization(input, recorded),
            display_organization(input, declared)
        );
        Outcome::Stalled(Reason::OrganizationMismatch, message)
    })
}

fn can_skip(input: &AppInput<'_>) -> bool {
    // An answer of this visit is judged, whatever the schedule says.
    let in_date = !input.sources_changed() || input.write_held_until().is_some();
    let is_made = input.status.id.is_some() || input.status.create_intent.is_none();
    input.observed.app.is_none() && is_made && in_date && input.can_skip()
}

/// The versions of what the spec refers to: as it was read, or else as the cache shows it.
pub(super) fn sources(input: &AppInput<'_>) -> Vec<SourceVersion> {
    match (&input.observed.spicepod, &input.observed.source) {
        (Some(Observed::Present(read)), _) => vec![read.version.clone()],
        (_, Some(Observed::Present(version))) => vec![version.clone()],
        _ => Vec::new(),
    }
}

/// The spec with the spicepod that it refers to.
fn resolved<'a>(input: &AppInput<'_>, spec: &'a ValidSpec) -> Result<Cow<'a, ValidSpec>, Outcome> {
    let Some(ConfigMapKeyRef { name, key }) = &spec.spicepod_from else { return Ok(Cow::Borrowed(spec)) };
    let missing = |message| {
        let retry = Retry::After(input.timings.rejected_write_retry_interval);
        Err(Outcome::WriteFailed(Reason::SourceNotFound, message, retry))
    };
    match (&input.observed.source, &input.observed.spicepod) {
        (_, Some(Observed::Present(LoadedSpicepod { spicepod: Ok(spicepod), .. }))) => {
            let value = Value::Object(spicepod.clone());
            let mut spec = spec.clone();
            spec.managed.push(ManagedField {
                path: "spicepod".to_owned(),
                field: AppField::Spicepod,
                tag: None,
                value,
            });
            Ok(Cow::Owned(spec))
        }
        (_, Some(Observed::Present(LoadedSpicepod { spicepod: Err(SpicepodProblem::KeyMissing), .. }))) => {
            missing(format!("ConfigMap \"{name}\" has no key \"{key}\""))
        }
        (_, Some(Observed::Present(LoadedSpicepod { spicepod: Err(SpicepodProblem::Invalid(why)), .. }))) => {
            let message = format!("spec.spicepodFrom: ConfigMap {name}, key {key}: {why}");
            Err(Outcome::Stalled(Reason::InvalidSpec, message))
        }
        (_, Some(Observed::Unknown(error))) => Err(read_failed(error)),
        (Some(Observed::Absent), _) | (_, Some(Observed::Absent)) => missing(format!("ConfigMap \"{name}\" not found")),
        _ => Err(Outcome::InProgress("reading the spicepod".to_owned())),
    }
}

/// An app whose id is known.
fn plan_recorded(input: &AppInput<'_>, spec: &ValidSpec, id: i64) -> Plan<SpiceApp> {
    let no_op = |outcome| Plan::no_op(input.status, outcome);
    match &input.observed.app {
        Some(Observed::Present(seen)) => plan_present(input, spec, seen),
        Some(Observed::Absent) => plan_gone(input, id),
        Some(Observed::Unknown(error)) => no_op(read_failed(error)),
        None => no_op(Outcome::InProgress("looking for the app".to_owned())),
    }
}

/// Compares the app that is ours with the spec.
fn plan_present(input: &AppInput<'_>, spec: &ValidSpec, seen: &Observation<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    if locate::may_take_over(input, app) && same_name(app, input.desired) {
        return locate::adopt(input, spec, seen);
    }
    if let Some(outcome) = not_ours(input, app) {
        return Plan::no_op(input.status, outcome);
    }
    let mut status = input.status.clone();
    attach(&mut status, input.observed, app);
    if owner(app, input.desired) != Ownership::Own {
        // Whose incarnation it shows is not told by it.
        status.incarnation = input.status.incarnation.clone();
    }
    status.incarnation.get_or_insert_with(|| format!("a-{}", input.fresh_id));
    if !came_back(input.status, app) {
        status.create_intent = None;
    } else if !input.observed.tags_refused {
        // Before anything that may be refused: from then on the app itself says whose it is.
        return marked(input, seen, status);
    }
    put_right(input, spec, seen, status)
}

/// Our own tags in the place of those that the app came back with, and nothing else.
pub(super) fn marked(input: &AppInput<'_>, seen: &Observation<App>, status: SpiceAppStatus) -> Plan<SpiceApp> {
    let app = &seen.value;
    let own = own_tags(input, status.incarnation.as_deref());
    let mut tags = app.tags();
    tags.extend(own.iter().map(|(key, tag)| ((*key).to_owned(), (*tag).to_owned())));
    let managed = own.iter().map(|(key, tag)| fields::managed_tag(key, Value::from(*tag))).collect();
    let body = UpdateApp([(AppField::Tags, serde_json::json!(tags))].into());
    let (released, corrects) = (Vec::new(), Vec::new());
    let (id, based_on) = (app.id, seen.started_at);
    let write = AppWrite::Update { id, based_on, body, managed, released, corrects, marks: true };
    Plan::remote(status, write, "putting our own tags on the app")
}

/// The update that makes the app as the spec wants it, or where it stands if nothing is to be sent.
pub(super) fn put_right(
    input: &AppInput<'_>,
    spec: &ValidSpec,
    seen: &Observation<App>,
    mut status: SpiceAppStatus,
) -> Plan<SpiceApp> {
    let app = &seen.value;
    let named = desired_fields(input, spec, status.incarnation.as_deref(), Some(app));
    let is_correction_loop = |path: &str| {
        let (generation, pause) = (input.meta.generation, input.timings.correction_loop_cooldown);
        input.runtime_state.corrections.is_correction_loop(generation, path, input.now, pause)
    };
    // Without our tag the next write would not be ours: it is put back whatever is said of drift.
    let leaves = |path: &str| !is_own_tag(path) && input.desired.leaves_drift || is_correction_loop(path);
    let mut merge = fields::merge(&named, &status.last_applied, app, leaves);
    let withheld = repository_connected(input) && merge.withhold(AppField::Spicepod);
    let MergeResult { update, carried, released, drift, left, abandoned, settled } = merge;
    status.last_applied.extend(settled);
    status.last_applied.retain(|path, _| !abandoned.contains(path));
    status.drift = left;
    // Recorded of its own, whatever becomes of the app that showed it. A refusal alone does not show it: not before what
    // remains without the tags is taken, or where nothing remains.
    let is_shown = is_known_to_lose_tags(input) || (input.observed.tags_refused && update.0.is_empty());
    if app.tag(OWNER_TAG).is_none() && is_shown {
        status.tags_unsupported = Some(true);
    }
    let mut events: Vec<EventRecord> = abandoned.iter().map(|path| unmanaged(path)).collect();
    if update.0.is_empty() {
        // Fields that are no longer named and no longer there need no write to be forgotten.
        status.last_applied.retain(|path, _| named.iter().any(|field| field.path == *path));
        events.extend(brought_back(input, &named, app));
        let fought: Vec<&str> =
            status.drift.iter().map(String::as_str).filter(|path| is_correction_loop(path)).collect();
        let outcome = match fought.as_slice() {
            _ if withheld => has_repository(app),
            [] => Outcome::InSync,
            fought => fight(fought),
        };
        return Plan { events, ..Plan::no_op(&status, outcome) };
    }
    let what = described(&carried, &released);
    events.push(match drift.as_slice() {
        [] => EventRecord::normal("Updated", format!("updated {what}")),
        paths => EventRecord::warning("DriftCorrected", format!("changed outside and put back: {}", paths.join(", "))),
    });
    let marks = app.tag(OWNER_TAG).is_none() && carried.iter().any(|field| is_own_tag(&field.path));
    let (id, based_on) = (app.id, seen.started_at);
    let write = AppWrite::Update { id, based_on, body: update, managed: carried, released, corrects: drift, marks };
    Plan { events, ..Plan::remote(status, write, format!("updating {what}")) }
}

/// Whether the spicepod comes from a connected repository: no read tells. What was refused is not sent again before a
/// person has changed something, or asks for it.
fn repository_connected(input: &AppInput<'_>) -> bool {
    let refused_before = || !input.sources_changed() && input.stalled_for(Reason::RepositoryConnected);
    input.observed.repository_connected || refused_before()
}

fn has_repository(app: &App) -> Outcome {
    let message = format!(
        "the spicepod of app {} comes from a connected repository: take it out of the spec; or disconnect the repository and \
         set the annotation {RECONCILE_REQUESTED_AT}",
        app.id
    );
    Outcome::Stalled(Reason::RepositoryConnected, message)
}

fn fight(paths: &[&str]) -> Outcome {
    let message = format!(
        "put back again and again, so somebody else writes it too: {}; let one of them stop, then change the spec",
        paths.join(", ")
    );
    Outcome::Stalled(Reason::CorrectionLoop, message)
}

/// A name that was deleted once comes back with what it had.
fn brought_back(input: &AppInput<'_>, named: &[ManagedField], app: &App) -> Option<EventRecord> {
    let settings = fields::unnamed(named, app);
    let message = format!("app {} had been deleted and came back, with settings that the spec does not name: ", app.id);
    (input.observed.reactivated && !settings.is_empty())
        .then(|| EventRecord::warning("Reactivated", message + &settings.join(", ")))
}

/// A write by id needs an answer that shows our name and our owner. No owner at all is drift of our own tag, and what our own
/// create brought back may show whose it was.
fn not_ours(input: &AppInput<'_>, app: &App) -> Option<Outcome> {
    let stop = |message| Some(Outcome::Stalled(Reason::OwnedElsewhere, message));
    if !same_name(app, input.desired) {
        return stop(format!(
            "app {} is called {} and not {}: another app has this id",
            app.id, app.name, input.desired.name
        ));
    }
    match owner(app, input.desired) {
        Ownership::Foreign if came_back(input.status, app) => None,
        Ownership::Foreign => stop(locate::owned_elsewhere(app)),
        Ownership::Own | Ownership::Unowned => None,
    }
}

/// An app that cannot be read. One that we made is made anew once it is certainly gone; an adopted one is not ours to make.
fn plan_gone(input: &AppInput<'_>, id: i64) -> Plan<SpiceApp> {
    let no_op = |outcome| Plan::no_op(input.status, outcome);
    match absence(input, id) {
        AbsenceCheck::Inconclusive(outcome) => no_op(outcome),
        AbsenceCheck::MassAbsence(message) => no_op(Outcome::Stalled(Reason::OrganizationMismatch, message)),
        AbsenceCheck::Confirmed if created(input.status) => {
            let status = SpiceAppStatus {
                id: None,
                incarnation: None,
                created_at: None,
                create_intent: None,
                endpoint: None,
                url: None,
                region: None,
                last_applied: BTreeMap::new(),
                drift: Vec::new(),
                ..input.status.clone()
            };
            let message = format!("app {id} was deleted outside and is made anew");
            let events = vec![EventRecord::warning("Recreating", message.clone())];
            Plan { events, ..Plan::kubernetes(status, KubernetesWrite::StoreStatus, Outcome::InProgress(message)) }
        }
        AbsenceCheck::Confirmed => {
            let message = format!("app {id} was deleted outside; delete this object, or make a new one, to go on");
            no_op(Outcome::Stalled(Reason::DeletedExternally, message))
        }
    }
}

/// The spec's fields and our own tags. `app`: as it is shown, if it is there already.
///
/// Where no tags of ours are kept none are named, unless the app shows one: it would be taken away.
pub(super) fn desired_fields(
    input: &AppInput<'_>,
    spec: &ValidSpec,
    incarnation: Option<&str>,
    app: Option<&App>,
) -> Vec<ManagedField> {
    let shown = app.is_some_and(|app| app.tag(OWNER_TAG).is_some());
    let named = (shown && !input.observed.tags_refused) || !tags_are_lost(input);
    let own = if named { own_tags(input, incarnation) } else { Vec::new() };
    let tags = own.into_iter().map(|(key, value)| fields::managed_tag(key, Value::from(value)));
    spec.managed.iter().cloned().chain(tags).collect()
}

/// The tags that say that an app is ours.
fn own_tags<'a>(input: &AppInput<'a>, incarnation: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let incarnation = incarnation.map(|incarnation| (INCARNATION_TAG, incarnation));
    [(OWNER_TAG, input.desired.owner.as_str())].into_iter().chain(incarnation).collect()
}

/// Whether tags of ours would not be kept.
pub(super) fn tags_are_lost(input: &AppInput<'_>) -> bool {
    input.observed.tags_refused || is_known_to_lose_tags(input)
}

/// Whether this app, or another one of the organization, has shown that they are not.
fn is_known_to_lose_tags(input: &AppInput<'_>) -> bool {
    let organization = matches!(&input.observed.organization, Some(Observed::Present(it)) if it.tags_unsupported);
    input.status.tags_unsupported == Some(true) || organization
}

fn is_own_tag(path: &str) -> bool {
    path.strip_prefix("tags.").is_some_and(|key| key == OWNER_TAG || key == INCARNATION_TAG)
}

/// Within a cluster, SpiceApps of one organization and one name are one claim.
fn outranked(input: &AppInput<'_>) -> Option<Outcome> {
    let own = CompetingApp {
        without_id: input.status.id.is_none(),
        created: input.meta.creation_timestamp.as_ref().map(|time| time.0),
        uid: input.meta.uid.clone().unwrap_or_default(),
        object: String::new(),
    };
    let first = input.observed.claims.iter().flatten().min()?;
    if (first.without_id, first.created, &first.uid) < (own.without_id, own.created, &own.uid) {
        let message = format!("SpiceApp {} stands for app {} already", first.object, input.desired.name);
        return Some(Outcome::Stalled(Reason::NameTaken, message));
    }
    None
}

/// Whether the answer at hand may carry a write.
fn fresh(input: &AppInput<'_>) -> bool {
    match &input.observed.app {
        Some(Observed::Present(seen)) => schedule::elapsed(seen.started_at, input.now) <= input.timings.max_read_age,
        _ => false,
    }
}

fn described(carried: &[ManagedField], released: &[String]) -> String {
    let mut paths: Vec<&str> = carried.iter().map(|field| field.path.as_str()).collect();
    paths.extend(released.iter().map(String::as_str));
    let own = |path: &&str| !path.starts_with("tags.spice-operator-");
    let shown: Vec<&str> = paths.iter().copied().filter(own).collect();
    if shown.is_empty() { "the operator's own tags".to_owned() } else { shown.join(", ") }
}

fn unmanaged(path: &str) -> EventRecord {
    EventRecord::warning(
        "FieldUnmanaged",
        format!("{path} is no longer in the spec and cannot be cleared: it stays as it is"),
    )
}
