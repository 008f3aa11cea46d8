//! Three-way merge, as `kubectl apply` does it: what is desired, what was last applied, what is live.
//!
//! A field never named is left alone. Drift is "live differs from what the API showed after our last write", so a
//! server that normalises what it is sent causes no perpetual difference.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::{AppliedField, SpiceAppSpec};
use crate::management::types::{App, AppField, UpdateApp};
use crate::planner::digest;

/// One field that is kept as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedField {
    /// Its path in the spec, such as `runtime.imageTag` or `tags.team`; the key in `status.last_applied`.
    pub path: String,
    /// The API's field.
    pub field: AppField,
    /// For a tag, its key.
    pub tag: Option<String>,
    /// The value it is to have.
    pub value: Value,
}

/// Path in the spec, and what clears the field when it is no longer named.
const FIELDS: [(AppField, &str, Clear); 17] = [
    (AppField::Description, "description", Clear::Empty),
    (AppField::Visibility, "visibility", Clear::Never),
    (AppField::ProductionBranch, "productionBranch", Clear::Never),
    (AppField::Tags, "tags", Clear::Never),
    (AppField::Spicepod, "spicepod", Clear::Never),
    (AppField::Registry, "runtime.registry", Clear::Never),
    (AppField::Image, "runtime.image", Clear::Never),
    (AppField::ImageTag, "runtime.imageTag", Clear::Null),
    (AppField::UpdateChannel, "runtime.updateChannel", Clear::Never),
    (AppField::Version, "runtime.version", Clear::Never),
    (AppField::Replicas, "runtime.replicas", Clear::Never),
    (AppField::Resources, "runtime.resources", Clear::Never),
    (AppField::Executor, "runtime.executor", Clear::Never),
    (AppField::NodeGroup, "runtime.nodeGroup", Clear::Never),
    (AppField::Region, "region", Clear::Never),
    (AppField::ClusterName, "clusterName", Clear::Never),
    (AppField::StorageSizeGb, "runtime.storageSizeGb", Clear::Never),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clear {
    /// By null.
    Null,
    /// By the empty string.
    Empty,
    /// The API cannot: the field becomes unmanaged.
    Never,
}

/// What a merge comes to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct MergeResult {
    /// The PUT that makes live what is desired; empty when nothing differs.
    pub(super) update: UpdateApp,
    /// The managed fields that the PUT carries.
    pub(super) sent: Vec<ManagedField>,
    /// Paths that are released by the PUT, or without one.
    pub(super) released: Vec<String>,
    /// Paths that somebody else changed and that the PUT puts back.
    pub(super) drift: Vec<String>,
    /// Paths that somebody else changed and that are left so.
    pub(super) reported_drift: Vec<String>,
    /// Paths that stay as they are though they are no longer named: the API cannot clear them.
    pub(super) unclearable: Vec<String>,
    /// Digests of the fields that are as desired already.
    pub(super) unchanged: BTreeMap<String, AppliedField>,
}

impl MergeResult {
    /// Leaves a field out of the PUT. Says whether it was in it.
    pub(super) fn withhold(&mut self, field: AppField) -> bool {
        let withheld = |path: &String| FIELDS.iter().any(|(one, known, _)| *one == field && known == path);
        self.sent.retain(|one| one.field != field);
        self.drift.retain(|path| !withheld(path));
        self.update.0.remove(&field).is_some()
    }
}

/// Every field that a spec names.
pub(super) fn managed(spec: &SpiceAppSpec) -> Result<Vec<ManagedField>, String> {
    let json = to_json(spec)?;
    let mut all = Vec::new();
    for (field, path, _) in FIELDS {
        let pointer = format!("/{}", path.replace('.', "/"));
        match json.pointer(&pointer) {
            Some(Value::Object(tags)) if field == AppField::Tags => {
                all.extend(tags.iter().map(|(key, value)| managed_tag(key, value.clone())));
            }
            Some(value) if !value.is_null() => {
                let value = if has_wire_names(field) { with_wire_names(value) } else { value.clone() };
                all.push(ManagedField { path: path.to_owned(), field, tag: None, value });
            }
            _ => {}
        }
    }
    Ok(all)
}

/// Whether the API names the parts of a field differently. A spicepod is sent as written.
fn has_wire_names(field: AppField) -> bool {
    matches!(field, AppField::Resources | AppField::Executor)
}

/// Resources or an executor with the API's names of their parts.
fn with_wire_names(value: &Value) -> Value {
    let wire_name = |name: &String| match name.as_str() {
        "storageSizeGb" => "storage_size_gb".to_owned(),
        "ephemeralStorage" => "ephemeral-storage".to_owned(),
        same => same.to_owned(),
    };
    match value {
        Value::Object(parts) => {
            Value::Object(parts.iter().map(|(name, part)| (wire_name(name), with_wire_names(part))).collect())
        }
        other => other.clone(),
    }
}

/// A tag as a managed field.
pub(super) fn managed_tag(key: &str, value: Value) -> ManagedField {
    ManagedField { path: format!("tags.{key}"), field: AppField::Tags, tag: Some(key.to_owned()), value }
}

/// Digests of what was sent and of what the answer shows for it.
pub(super) fn observed_after_send(managed: &[ManagedField], app: &App) -> BTreeMap<String, AppliedField> {
    let digests = |field: &ManagedField| AppliedField {
        sent_hash: digest::of_value(&field.value),
        observed_hash: digest::of_value(&current_value(app, field)),
    };
    managed.iter().map(|field| (field.path.clone(), digests(field))).collect()
}

/// Compares what is desired, what was last applied, and what is live. `leaves` says which paths are not put back when
/// somebody else changed them.
pub(super) fn merge(
    desired: &[ManagedField],
    applied: &BTreeMap<String, AppliedField>,
    app: &App,
    leaves: impl Fn(&str) -> bool,
) -> MergeResult {
    let mut merge = MergeResult::default();
    for field in desired {
        let (want, shown) = (digest::of_value(&field.value), digest::of_value(&current_value(app, field)));
        let last = applied.get(&field.path);
        let sent_before = last.is_some_and(|last| last.sent_hash == want);
        if shown == want || last.is_some_and(|last| sent_before && last.observed_hash == shown) {
            merge.unchanged.insert(field.path.clone(), AppliedField { sent_hash: want, observed_hash: shown });
            continue;
        }
        if sent_before && leaves(&field.path) {
            merge.reported_drift.push(field.path.clone());
            continue;
        }
        if sent_before {
            merge.drift.push(field.path.clone());
        }
        merge.sent.push(field.clone());
    }
    release(desired, applied, app, &mut merge);
    for field in merge.sent.iter().filter(|field| field.tag.is_none()) {
        merge.update.0.insert(field.field, field.value.clone());
    }
    let tags_change = merge.sent.iter().any(|field| field.tag.is_some())
        || merge.released.iter().any(|path| path.starts_with("tags."));
    if tags_change {
        let kept: Vec<ManagedField> =
            desired.iter().filter(|field| !merge.reported_drift.contains(&field.path)).cloned().collect();
        merge.update.0.insert(AppField::Tags, all_tags(&kept, &merge.released, app));
        // The API replaces tags whole, so every one of ours is sent, and the response shows every one.
        let is_unsent =
            |field: &&ManagedField| field.tag.is_some() && !merge.sent.iter().any(|one| one.path == field.path);
        let others: Vec<ManagedField> = kept.iter().filter(is_unsent).cloned().collect();
        merge.sent.extend(others);
    }
    merge
}

/// Fields that were applied once and are no longer named.
fn release(desired: &[ManagedField], applied: &BTreeMap<String, AppliedField>, app: &App, merge: &mut MergeResult) {
    let named: BTreeSet<&str> = desired.iter().map(|field| field.path.as_str()).collect();
    for path in applied.keys().filter(|path| !named.contains(path.as_str())) {
        if let Some(key) = path.strip_prefix("tags.") {
            if app.tag(key).is_some() {
                merge.released.push(path.clone());
            }
            continue;
        }
        let Some((field, _, clear)) = FIELDS.iter().find(|(_, known, _)| known == path) else { continue };
        let present = app.field(*field).is_some_and(|value| value != "");
        match clear {
            Clear::Null if present => merge.update.0.insert(*field, Value::Null),
            Clear::Empty if present => merge.update.0.insert(*field, Value::from("")),
            Clear::Never if present => {
                merge.unclearable.push(path.clone());
                continue;
            }
            _ => continue,
        };
        merge.released.push(path.clone());
    }
}

/// Everybody's tags as they are to be: foreign ones as they are, ours as declared, released ones left out.
fn all_tags(desired: &[ManagedField], released: &[String], app: &App) -> Value {
    let mut tags: Map<String, Value> = app
        .tags()
        .into_iter()
        .filter(|(key, _)| !released.iter().any(|path| path.strip_prefix("tags.") == Some(key)))
        .map(|(key, value)| (key, Value::from(value)))
        .collect();
    tags.extend(desired.iter().filter_map(|field| Some((field.tag.clone()?, field.value.clone()))));
    Value::Object(tags)
}

/// Digests after a create. What its answer shows otherwise than it was sent was not taken (a reactivated app may keep
/// what it had), so it is not recorded and an update sends it again. A placement that is not shown at all was.
pub(super) fn accepted_fields(managed: &[ManagedField], app: &App) -> BTreeMap<String, AppliedField> {
    let placement = |field: &ManagedField| matches!(field.field, AppField::Region | AppField::ClusterName);
    let took = |field: &&ManagedField| {
        let shown = current_value(app, field);
        shown == field.value || (shown.is_null() && placement(field))
    };
    let managed: Vec<ManagedField> = managed.iter().filter(took).cloned().collect();
    observed_after_send(&managed, app)
}

/// Settings that an app has and the spec does not name: what a reactivated app brought back.
pub(super) fn unmanaged_settings(desired: &[ManagedField], app: &App) -> Vec<String> {
    let brought = FIELDS.iter().filter(|(field, path, _)| {
        let telling = !matches!(field, AppField::Tags | AppField::Visibility | AppField::Region);
        let usual = *field == AppField::Replicas && app.field(*field) == Some(&Value::from(1));
        let named = desired.iter().any(|one| one.path == *path);
        telling && !usual && !named && app.field(*field).is_some_and(|value| value != "")
    });
    brought.map(|(_, path, _)| (*path).to_owned()).collect()
}

/// Digests as if what differs had been sent and taken once: it is then drift, which a policy may leave.
pub(super) fn assume_applied(desired: &[ManagedField]) -> BTreeMap<String, AppliedField> {
    let digests = |field: &ManagedField| {
        let sent = digest::of_value(&field.value);
        (field.path.clone(), AppliedField { observed_hash: sent.clone(), sent_hash: sent })
    };
    desired.iter().map(digests).collect()
}

fn current_value(app: &App, field: &ManagedField) -> Value {
    match &field.tag {
        Some(key) => app.tag(key).map_or(Value::Null, Value::from),
        None => app.field(field.field).cloned().unwrap_or(Value::Null),
    }
}

fn to_json(spec: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(spec).map_err(|error| format!("spec cannot be written as JSON: {error}"))
}
