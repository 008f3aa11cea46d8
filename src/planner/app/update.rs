//! Reconciles an app that is desired and known: keeps the app as declared. `locate` handles what comes before.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::fields::{self, ManagedField, MergeResult};
use super::locate;
use super::validate::ValidSpec;
use super::write::is_own_tag;
use super::*;
use crate::api::RECONCILE_REQUESTED_AT;
use crate::planner::{digest, schedule};

pub(super) fn required_reads(input: &AppInput<'_>) -> Vec<AppRead> {
    let observed = input.observed;
    let Ok(spec) = &input.desired.spec else { return Vec::new() };
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
        // A 404 alone is no absence.
        Some(_) if observed.app == Some(Observed::Absent) && observed.list.is_none() => vec![list, AppRead::Siblings],
        None if observed.list.is_none() => vec![list],
        None if !is_fresh(input) && !not_found => {
            locate::candidate(input).map(|id| AppRead::App(id, min_read_time(input))).into_iter().collect()
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
    recorded_id(input.status).filter(|_| !input.desired.observes)
}

pub(super) fn plan(input: &AppInput<'_>) -> Plan<SpiceApp> {
    let no_op = |outcome| Plan::no_op(input.status, outcome);
    let spec = match &input.desired.spec {
        Ok(spec) => spec,
        Err(error) => return no_op(Outcome::Stalled(Reason::InvalidSpec, error.clone())),
    };
    if can_skip(input) {
        return no_op(Outcome::Skipped);
    }
    let mut plan = match resolve_spicepod(input, spec) {
        Ok(spec) => plan_desired(input, &spec),
        Err(outcome) => no_op(outcome),
    };
    // A version counts as observed once it is applied. A new version with the content that is applied already does not
    // have to be applied again.
    if matches!(plan.outcome, Outcome::InSync | Outcome::Stalled(..)) || is_spicepod_applied(input) {
        plan.status.core.observed_sources = sources(input);
    }
    plan
}

/// Whether the spicepod that was read is the one that was sent last.
fn is_spicepod_applied(input: &AppInput<'_>) -> bool {
    let Some(Observed::Present(LoadedSpicepod { spicepod: Ok(spicepod), .. })) = &input.observed.spicepod else {
        return false;
    };
    let applied = input.status.last_applied.get("spicepod").map(|applied| &applied.sent_hash);
    input.sources_changed() && applied == Some(&digest::of_value(&Value::Object(spicepod.clone())))
}

fn plan_desired(input: &AppInput<'_>, spec: &ValidSpec) -> Plan<SpiceApp> {
    if let Some(outcome) = blocker(input) {
        return Plan::no_op(input.status, outcome);
    }
    let mut plan = match managed_id(input) {
        Some(id) => plan_recorded(input, spec, id),
        None => locate::plan(input, spec),
    };
    if let Some(Observed::Present(organization)) = &input.observed.organization
        && (plan.status.id.is_some() || plan.status.create_intent.is_some())
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

/// Outcome if the spec names another SpiceOrganization than the recorded one. The operator uses the recorded one until the
/// app is deleted: an app cannot move, and must not be created a second time.
fn reference_mismatch(input: &AppInput<'_>) -> Option<Outcome> {
    let (declared, recorded) = (input.desired.organization.as_ref()?, input.status.recorded_organization()?);
    (declared != recorded).then(|| {
        let message = format!(
            "The app is recorded in SpiceOrganization \"{}\", but spec.organizationRef names \"{}\". Restore \
             spec.organizationRef, or delete this object with deletionPolicy: Retain and create it again",
            display_organization(input, recorded),
            display_organization(input, declared)
        );
        Outcome::Stalled(Reason::OrganizationMismatch, message)
    })
}

fn can_skip(input: &AppInput<'_>) -> bool {
    let unchanged = !input.sources_changed() || input.write_held_until().is_some();
    let is_created = input.status.id.is_some() || input.status.create_intent.is_none();
    // A response of this reconcile is always evaluated, whatever the schedule is.
    input.observed.app.is_none() && is_created && unchanged && input.can_skip()
}

/// Versions of the objects that the spec refers to: as read, or else as cached.
pub(super) fn sources(input: &AppInput<'_>) -> Vec<SourceVersion> {
    match (&input.observed.spicepod, &input.observed.source) {
        (Some(Observed::Present(read)), _) => vec![read.version.clone()],
        (_, Some(Observed::Present(version))) => vec![version.clone()],
        _ => Vec::new(),
    }
}

/// The spec with the spicepod from the ConfigMap.
fn resolve_spicepod<'a>(input: &AppInput<'_>, spec: &'a ValidSpec) -> Result<Cow<'a, ValidSpec>, Outcome> {
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
        _ => Err(Outcome::InProgress("Reading the spicepod".to_owned())),
    }
}

/// An app whose id is known.
fn plan_recorded(input: &AppInput<'_>, spec: &ValidSpec, id: i64) -> Plan<SpiceApp> {
    let no_op = |outcome| Plan::no_op(input.status, outcome);
    match &input.observed.app {
        Some(Observed::Present(seen)) => plan_present(input, spec, seen),
        Some(Observed::Absent) => plan_absent(input, id),
        Some(Observed::Unknown(error)) => no_op(read_failed(error)),
        None => no_op(Outcome::InProgress("Looking for the app".to_owned())),
    }
}

/// Compares the app that is ours with the spec.
fn plan_present(input: &AppInput<'_>, spec: &ValidSpec, seen: &Observation<App>) -> Plan<SpiceApp> {
    let app = &seen.value;
    if locate::may_take_ownership(input, app) && has_name(app, &input.desired.name) {
        return locate::adopt(input, spec, seen);
    }
    if let Some(outcome) = ownership_error(input, app) {
        return Plan::no_op(input.status, outcome);
    }
    let mut status = input.status.clone();
    record_app(&mut status, input.observed, app);
    if ownership(app, input.desired) != Ownership::Own {
        // Whose incarnation it shows is not told by it.
        status.incarnation = input.status.incarnation.clone();
    }
    status.incarnation.get_or_insert_with(|| format!("a-{}", input.fresh_id));
    if !is_reactivated_foreign(input.status, app) {
        status.create_intent = None;
    } else if !input.observed.tags_rejected {
        // Before anything that may be refused: from then on the app itself says whose it is.
        return plan_set_owner_tags(input, seen, status);
    }
    plan_update(input, spec, seen, status)
}

/// Our own tags in the place of those that the app came back with, and nothing else.
pub(super) fn plan_set_owner_tags(
    input: &AppInput<'_>,
    seen: &Observation<App>,
    status: SpiceAppStatus,
) -> Plan<SpiceApp> {
    let app = &seen.value;
    let own = own_tags(input, status.incarnation.as_deref());
    let mut tags = app.tags();
    tags.extend(own.iter().map(|(key, tag)| ((*key).to_owned(), (*tag).to_owned())));
    let managed = own.iter().map(|(key, tag)| fields::managed_tag(key, Value::from(*tag))).collect();
    let body = UpdateApp([(AppField::Tags, serde_json::json!(tags))].into());
    let (released, corrects) = (Vec::new(), Vec::new());
    let (id, based_on) = (app.id, seen.started_at);
    let write = AppWrite::Update { id, based_on, body, managed, released, corrects, sets_owner_tags: true };
    Plan::remote(status, write, "putting our own tags on the app")
}

/// The update that makes the app as the spec wants it, or where it stands if nothing is to be sent.
pub(super) fn plan_update(
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
    let MergeResult { update, sent, released, drift, reported_drift, unclearable, unchanged } = merge;
    status.last_applied.extend(unchanged);
    status.last_applied.retain(|path, _| !unclearable.contains(path));
    status.drift = reported_drift;
    // Recorded of its own, whatever becomes of the app that showed it. A refusal alone does not show it: not before what
    // remains without the tags is taken, or where nothing remains.
    let is_shown = is_known_to_lack_tag_support(input) || (input.observed.tags_rejected && update.0.is_empty());
    if app.tag(OWNER_TAG).is_none() && is_shown {
        status.tags_unsupported = Some(true);
    }
    let mut events: Vec<EventRecord> = unclearable.iter().map(|path| unmanaged_event(path)).collect();
    if update.0.is_empty() {
        // Fields that are no longer named and no longer there need no write to be forgotten.
        status.last_applied.retain(|path, _| named.iter().any(|field| field.path == *path));
        events.extend(reactivation_event(input, &named, app));
        let looping: Vec<&str> =
            status.drift.iter().map(String::as_str).filter(|path| is_correction_loop(path)).collect();
        let outcome = match looping.as_slice() {
            _ if withheld => repository_outcome(app),
            [] => Outcome::InSync,
            paths => correction_loop(paths),
        };
        return Plan { events, ..Plan::no_op(&status, outcome) };
    }
    let what = changed_fields(&sent, &released);
    events.push(match drift.as_slice() {
        [] => EventRecord::normal("Update", "Updated", format!("Updated {what}")),
        paths => EventRecord::warning("Correct", "DriftCorrected", format!("Corrected drift: {}", paths.join(", "))),
    });
    let sets_owner_tags = app.tag(OWNER_TAG).is_none() && sent.iter().any(|field| is_own_tag(&field.path));
    let (id, based_on) = (app.id, seen.started_at);
    let write =
        AppWrite::Update { id, based_on, body: update, managed: sent, released, corrects: drift, sets_owner_tags };
    Plan { events, ..Plan::remote(status, write, format!("Updating {what}")) }
}

/// Whether the spicepod comes from a connected repository. No read shows a repository, so the operator sends a rejected
/// spicepod again only after a change of the object or a request.
fn repository_connected(input: &AppInput<'_>) -> bool {
    let was_rejected = || !input.sources_changed() && input.is_stalled_for(Reason::RepositoryConnected);
    input.observed.repository_connected || was_rejected()
}

fn repository_outcome(app: &App) -> Outcome {
    let message = format!(
        "The spicepod of app {} comes from a connected repository. Remove the spicepod from the spec; or disconnect the \
         repository and set annotation {RECONCILE_REQUESTED_AT}",
        app.id
    );
    Outcome::Stalled(Reason::RepositoryConnected, message)
}

fn correction_loop(paths: &[&str]) -> Outcome {
    let message = format!(
        "Correction loop: {} was corrected 3 times and changed again by another client. Stop the other client, then edit \
         the spec",
        paths.join(", ")
    );
    Outcome::Stalled(Reason::CorrectionLoop, message)
}

/// Event for the settings that a reactivated app kept from its earlier life.
fn reactivation_event(input: &AppInput<'_>, named: &[ManagedField], app: &App) -> Option<EventRecord> {
    let settings = fields::unmanaged_settings(named, app);
    (input.observed.reactivated && !settings.is_empty()).then(|| {
        let settings = settings.join(", ");
        let message =
            format!("App {} was reactivated and kept settings that the spec does not name: {settings}", app.id);
        EventRecord::warning("Create", "Reactivated", message)
    })
}

/// Outcome for an app that shows another name or a foreign owner. Without an owner tag, the tag is restored like any
/// other drift.
fn ownership_error(input: &AppInput<'_>, app: &App) -> Option<Outcome> {
    let stalled = |message| Some(Outcome::Stalled(Reason::OwnedElsewhere, message));
    if !has_name(app, &input.desired.name) {
        let expected = &input.desired.name;
        return stalled(format!("App {} is named \"{}\", expected \"{expected}\"", app.id, app.name));
    }
    match ownership(app, input.desired) {
        Ownership::Foreign if is_reactivated_foreign(input.status, app) => None,
        Ownership::Foreign => stalled(locate::owned_elsewhere(app)),
        Ownership::Own | Ownership::Unowned => None,
    }
}

/// Plans an app that a GET does not find. A created app is created again once it is certainly gone; an adopted app is
/// not.
fn plan_absent(input: &AppInput<'_>, id: i64) -> Plan<SpiceApp> {
    let no_op = |outcome| Plan::no_op(input.status, outcome);
    match absence(input, id) {
        AbsenceCheck::Inconclusive(outcome) => no_op(outcome),
        AbsenceCheck::MassAbsence(message) => no_op(Outcome::Stalled(Reason::OrganizationMismatch, message)),
        AbsenceCheck::Confirmed if was_created(input.status) => {
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
            let message = format!("App {id} was deleted externally; recreating it");
            let events = vec![EventRecord::warning("Create", "Recreating", message.clone())];
            Plan { events, ..Plan::kubernetes(status, KubernetesWrite::StoreStatus, Outcome::InProgress(message)) }
        }
        AbsenceCheck::Confirmed => {
            let message = format!(
                "Adopted app {id} was deleted externally and is not recreated. Delete this object, or create another one"
            );
            no_op(Outcome::Stalled(Reason::DeletedExternally, message))
        }
    }
}

/// The fields of the spec and the owner tags. Without tag support the owner tags are left out, unless `app` shows one:
/// the update would remove it.
pub(super) fn desired_fields(
    input: &AppInput<'_>,
    spec: &ValidSpec,
    incarnation: Option<&str>,
    app: Option<&App>,
) -> Vec<ManagedField> {
    let shows_tag = app.is_some_and(|app| app.tag(OWNER_TAG).is_some());
    let has_tags = (shows_tag && !input.observed.tags_rejected) || !lacks_tag_support(input);
    let own = if has_tags { own_tags(input, incarnation) } else { Vec::new() };
    let tags = own.into_iter().map(|(key, value)| fields::managed_tag(key, Value::from(value)));
    spec.managed.iter().cloned().chain(tags).collect()
}

/// The owner tags.
fn own_tags<'a>(input: &AppInput<'a>, incarnation: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let incarnation = incarnation.map(|incarnation| (INCARNATION_TAG, incarnation));
    [(OWNER_TAG, input.desired.owner.as_str())].into_iter().chain(incarnation).collect()
}

/// Whether the API rejects or drops the owner tags.
pub(super) fn lacks_tag_support(input: &AppInput<'_>) -> bool {
    input.observed.tags_rejected || is_known_to_lack_tag_support(input)
}

/// Whether this app or another one of the organization has shown that the API keeps no tags.
fn is_known_to_lack_tag_support(input: &AppInput<'_>) -> bool {
    let organization = matches!(&input.observed.organization, Some(Observed::Present(it)) if it.tags_unsupported);
    input.status.tags_unsupported == Some(true) || organization
}

/// Outcome if another SpiceApp owns the app name.
fn name_conflict(input: &AppInput<'_>) -> Option<Outcome> {
    let created = input.meta.creation_timestamp.as_ref().map(|time| time.0);
    let own = (input.status.id.is_none(), created, input.meta.uid.as_deref().unwrap_or_default());
    let first = input.observed.competing_apps.iter().flatten().min()?;
    ((first.without_id, first.created, first.uid.as_str()) < own).then(|| {
        let CompetingApp { namespace, name, .. } = first;
        let message = format!("App \"{}\" is already managed by SpiceApp {namespace}/{name}", input.desired.name);
        Outcome::Stalled(Reason::NameTaken, message)
    })
}

/// Whether the read of the app is recent enough for a write.
fn is_fresh(input: &AppInput<'_>) -> bool {
    match &input.observed.app {
        Some(Observed::Present(read)) => schedule::elapsed(read.started_at, input.now) <= input.timings.max_read_age,
        _ => false,
    }
}

/// Paths of the fields that an update sends or clears.
fn changed_fields(sent: &[ManagedField], released: &[String]) -> String {
    let paths = sent.iter().map(|field| &field.path).chain(released);
    let shown: Vec<&str> = paths.map(String::as_str).filter(|path| !is_own_tag(path)).collect();
    if shown.is_empty() { "owner tags".to_owned() } else { shown.join(", ") }
}

fn unmanaged_event(path: &str) -> EventRecord {
    let message = format!("{path} was removed from the spec, but the API cannot clear it; its value is kept");
    EventRecord::warning("Update", "FieldUnmanaged", message)
}
