//! Three-way merge of desired, last applied and live values, as in `kubectl apply`.
//!
//! The operator does not change a field that the spec never named. A field has drifted if its live value differs from
//! the value in the response to the operator's last write. A server that normalises values therefore causes no
//! perpetual difference.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::{AppliedField, SpiceAppSpec, Spicepod};
use crate::json::CompactJson;
use crate::management::types::{App, AppField, UpdateApp};
use crate::planner::digest;

/// A field that the operator keeps as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedField {
    /// Path in the spec, such as `runtime.imageTag` or `tags.team`; the key in `status.lastApplied`.
    pub path: String,
    /// Field of the API.
    pub field: AppField,
    /// Key of a tag; none for any other field.
    pub tag: Option<String>,
    /// Desired value.
    pub value: CompactJson,
}

/// JSON of the empty string.
const EMPTY_TEXT: &str = "\"\"";

/// Path of the spicepod, also if it comes from a ConfigMap.
pub(super) const SPICEPOD_PATH: &str = "spicepod";

/// Each field with its path in the spec, and the way to clear the field after its removal from the spec.
const FIELDS: [(AppField, &str, Clear); 17] = [
    (AppField::Description, "description", Clear::Empty),
    (AppField::Visibility, "visibility", Clear::Never),
    (AppField::ProductionBranch, "productionBranch", Clear::Never),
    (AppField::Tags, "tags", Clear::Never),
    (AppField::Spicepod, SPICEPOD_PATH, Clear::Never),
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
    /// Send null.
    Null,
    /// Send the empty string.
    Empty,
    /// The API cannot clear the field, so the field becomes unmanaged.
    Never,
}

/// Result of a merge.
#[derive(Debug, Default, PartialEq)]
pub(super) struct MergeResult {
    /// Update that makes the live values the desired ones; empty if nothing differs.
    pub(super) update: UpdateApp,
    /// Managed fields in the update.
    pub(super) sent: Vec<ManagedField>,
    /// Paths that the spec no longer names and that the update clears.
    pub(super) cleared: Vec<String>,
    /// Paths that another client changed and that the update corrects.
    pub(super) corrected_drift: Vec<String>,
    /// Paths that another client changed and that the update does not correct.
    pub(super) reported_drift: Vec<String>,
    /// Paths that the spec no longer names and that the API cannot clear.
    pub(super) unclearable: Vec<String>,
    /// Digests of the fields that have the desired value.
    pub(super) unchanged: BTreeMap<String, AppliedField>,
}

impl MergeResult {
    /// Removes the spicepod from the update. Returns whether the update had the spicepod.
    pub(super) fn withhold_spicepod(&mut self) -> bool {
        self.sent.retain(|field| field.field != AppField::Spicepod);
        self.corrected_drift.retain(|path| path != SPICEPOD_PATH);
        self.update.0.remove(&AppField::Spicepod).is_some()
    }
}

/// The fields that a spec names.
pub(super) fn managed(spec: &SpiceAppSpec) -> Result<Vec<ManagedField>, String> {
    // The spicepod is shared with the spec, and never parsed.
    let others = SpiceAppSpec { spicepod: None, ..spec.clone() };
    let json =
        serde_json::to_value(others).map_err(|error| format!("The spec cannot be converted to JSON: {error}"))?;
    let mut all = Vec::new();
    for (field, path, _) in FIELDS {
        if let (AppField::Spicepod, Some(Spicepod::Json(spicepod))) = (field, &spec.spicepod) {
            all.push(managed_spicepod(spicepod.clone()));
            continue;
        }
        let pointer = format!("/{}", path.replace('.', "/"));
        match json.pointer(&pointer) {
            Some(Value::Object(tags)) if field == AppField::Tags => {
                all.extend(tags.iter().map(|(key, value)| managed_tag(key, value)));
            }
            Some(value) if !value.is_null() => {
                // An empty object declares nothing, and the API could reset the field.
                if has_wire_names(field) && has_empty_object(value) {
                    return Err(format!("spec.{path} has an empty object. Set a field, or remove the object"));
                }
                let value = if has_wire_names(field) { with_wire_names(value).into() } else { value.into() };
                all.push(ManagedField { path: path.to_owned(), field, tag: None, value });
            }
            _ => {}
        }
    }
    Ok(all)
}

/// Returns true if the API names the parts of a field differently. A spicepod is sent as written.
fn has_wire_names(field: AppField) -> bool {
    matches!(field, AppField::Resources | AppField::Executor)
}

fn has_empty_object(value: &Value) -> bool {
    value.as_object().is_some_and(|parts| parts.is_empty() || parts.values().any(has_empty_object))
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

/// The visibility that a create sends if the spec has none.
pub(super) fn default_visibility() -> ManagedField {
    ManagedField {
        path: "visibility".to_owned(),
        field: AppField::Visibility,
        tag: None,
        value: Value::from("private").into(),
    }
}

/// A tag as a managed field.
pub(super) fn managed_tag(key: &str, value: impl Into<CompactJson>) -> ManagedField {
    let (path, tag) = (format!("tags.{key}"), Some(key.to_owned()));
    ManagedField { path, field: AppField::Tags, tag, value: value.into() }
}

/// A spicepod as a managed field.
pub(super) fn managed_spicepod(value: CompactJson) -> ManagedField {
    ManagedField { path: SPICEPOD_PATH.to_owned(), field: AppField::Spicepod, tag: None, value }
}

/// Digests of the sent values and of the values in the response.
pub(super) fn observed_after_send(managed: &[ManagedField], app: &App) -> BTreeMap<String, AppliedField> {
    let digests = |field: &ManagedField| AppliedField {
        sent_hash: field.value.digest(),
        observed_hash: current_digest(app, field),
    };
    managed.iter().map(|field| (field.path.clone(), digests(field))).collect()
}

/// Compares the desired, the last applied and the live values. `is_report_only` selects the paths whose drift is
/// reported and not corrected.
pub(super) fn merge(
    desired: &[ManagedField],
    applied: &BTreeMap<String, AppliedField>,
    app: &App,
    is_report_only: impl Fn(&str) -> bool,
) -> MergeResult {
    let mut merge = MergeResult::default();
    for field in desired {
        let (wanted, shown) = (field.value.digest(), current_digest(app, field));
        let last = applied.get(&field.path);
        let was_sent = last.is_some_and(|last| last.sent_hash == wanted);
        if shown == wanted || last.is_some_and(|last| was_sent && last.observed_hash == shown) {
            merge.unchanged.insert(field.path.clone(), AppliedField { sent_hash: wanted, observed_hash: shown });
            continue;
        }
        if was_sent && is_report_only(&field.path) {
            merge.reported_drift.push(field.path.clone());
            continue;
        }
        if was_sent {
            merge.corrected_drift.push(field.path.clone());
        }
        merge.sent.push(field.clone());
    }
    clear_removed_fields(desired, applied, app, &mut merge);
    build_update(desired, app, &mut merge);
    merge
}

/// Builds the update from the sent and the cleared fields.
fn build_update(desired: &[ManagedField], app: &App, merge: &mut MergeResult) {
    for field in merge.sent.iter().filter(|field| field.tag.is_none()) {
        merge.update.0.insert(field.field, field.value.clone());
    }
    let tags_change = merge.sent.iter().any(|field| field.tag.is_some())
        || merge.cleared.iter().any(|path| path.starts_with("tags."));
    if !tags_change {
        return;
    }
    let enforced: Vec<ManagedField> =
        desired.iter().filter(|field| !merge.reported_drift.contains(&field.path)).cloned().collect();
    merge.update.0.insert(AppField::Tags, all_tags(&enforced, &merge.cleared, app).into());
    // The API replaces all tags at once, so the update has every managed tag, and so has the response.
    let is_unsent = |field: &&ManagedField| field.tag.is_some() && !merge.sent.iter().any(|one| one.path == field.path);
    let unsent: Vec<ManagedField> = enforced.iter().filter(is_unsent).cloned().collect();
    merge.sent.extend(unsent);
}

/// Clears the fields that were applied and that the spec no longer names.
fn clear_removed_fields(
    desired: &[ManagedField],
    applied: &BTreeMap<String, AppliedField>,
    app: &App,
    merge: &mut MergeResult,
) {
    for path in applied.keys().filter(|path| !desired.iter().any(|field| field.path == **path)) {
        if let Some(key) = path.strip_prefix("tags.") {
            if app.tag(key).is_some() {
                merge.cleared.push(path.clone());
            }
            continue;
        }
        let Some((field, _, clear)) = FIELDS.iter().find(|(_, known, _)| known == path) else { continue };
        let present = app.field(*field).is_some_and(|value| value.text() != EMPTY_TEXT);
        match clear {
            Clear::Null if present => merge.update.0.insert(*field, Value::Null.into()),
            Clear::Empty if present => merge.update.0.insert(*field, Value::from("").into()),
            Clear::Never if present => {
                merge.unclearable.push(path.clone());
                continue;
            }
            _ => continue,
        };
        merge.cleared.push(path.clone());
    }
}

/// All tags of the update: tags of other clients as shown, managed tags as declared, no cleared tags.
fn all_tags(desired: &[ManagedField], cleared: &[String], app: &App) -> Value {
    let mut tags: Map<String, Value> = app
        .tags()
        .iter()
        .filter(|(key, _)| !cleared.iter().any(|path| path.strip_prefix("tags.") == Some(key)))
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect();
    tags.extend(desired.iter().filter_map(|field| Some((field.tag.clone()?, field.value.to_value()))));
    Value::Object(tags)
}

/// Applied-field digests after a create. A field whose value in the response differs from the sent value was not
/// accepted, because a reactivated app may keep its old value. Such a field is not recorded, so the next update sends
/// its value again. A placement field missing from the response counts as accepted.
pub(super) fn accepted_fields(managed: &[ManagedField], app: &App) -> BTreeMap<String, AppliedField> {
    let is_placement = |field: &ManagedField| matches!(field.field, AppField::Region | AppField::ClusterName);
    let is_accepted = |field: &&ManagedField| {
        let shown = current_digest(app, field);
        shown == field.value.digest() || (shown == digest::of_value(&Value::Null) && is_placement(field))
    };
    let accepted: Vec<ManagedField> = managed.iter().filter(is_accepted).cloned().collect();
    observed_after_send(&accepted, app)
}

/// Settings of an app that the spec does not name: those that a reactivated app kept.
pub(super) fn unmanaged_settings(desired: &[ManagedField], app: &App) -> Vec<String> {
    let unmanaged = FIELDS.iter().filter(|(field, path, _)| {
        // Every app has these, also a new one.
        let is_always_set = matches!(field, AppField::Tags | AppField::Visibility | AppField::Region)
            || (*field == AppField::Replicas && app.field(*field).is_some_and(|value| value.text() == "1"));
        let is_named = desired.iter().any(|one| one.path == *path);
        !is_always_set && !is_named && app.field(*field).is_some_and(|value| value.text() != EMPTY_TEXT)
    });
    unmanaged.map(|(_, path, _)| (*path).to_owned()).collect()
}

/// Digests as if every field had been sent and accepted. A difference then counts as drift, which driftPolicy: Report
/// does not correct.
pub(super) fn assume_applied(desired: &[ManagedField]) -> BTreeMap<String, AppliedField> {
    let digests = |field: &ManagedField| {
        let sent = field.value.digest();
        (field.path.clone(), AppliedField { observed_hash: sent.clone(), sent_hash: sent })
    };
    desired.iter().map(digests).collect()
}

/// Digest of the live value of a field; that of null if the app does not show the field.
fn current_digest(app: &App, field: &ManagedField) -> String {
    let null = || digest::of_value(&Value::Null);
    match &field.tag {
        Some(key) => app.tag(key).map_or_else(null, |tag| digest::of_value(&Value::from(tag))),
        None => app.field(field.field).map_or_else(null, CompactJson::digest),
    }
}
