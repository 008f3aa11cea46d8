//! Validates the spec of a SpiceApp.

use std::time::Duration;

use serde_json::Value;

use super::fields::{self, ManagedField};
use super::yaml;
use crate::api::{
    AdoptionPolicy, ConfigMapKeyRef, DeletionPolicy, DriftPolicy, MAX_SPICEPOD_BYTES, ManagementPolicy,
    ResolvedOrganizationRef, SpiceApp, Spicepod, TAKE_OWNERSHIP_FROM, Visibility,
};
use crate::json::CompactJson;
use crate::planner::status::annotation;
use crate::planner::{Identity, digest};

/// Maximum nesting of a value: more than any spicepod needs, and less than the limit of JSON decoders.
const MAX_DEPTH: usize = 64;

/// The validated spec of a SpiceApp. The fields that a deletion needs are set even if `spec` is invalid.
#[derive(Clone, Debug, PartialEq)]
pub struct AppDesired {
    pub(super) name: String,
    /// `spec.organizationRef` with the default namespace; none if unset.
    pub(super) organization: Option<ResolvedOrganizationRef>,
    pub(super) owner: String,
    pub(super) deletion_policy: Option<DeletionPolicy>,
    /// True if `managementPolicy` is Observe.
    pub(super) observe_only: bool,
    /// True if `adoptionPolicy` is Adopt.
    pub(super) may_adopt: bool,
    /// Owner tag from the annotation that allows this object to take ownership.
    pub(super) take_ownership_from: Option<String>,
    /// True if `driftPolicy` is Report.
    pub(super) report_drift: bool,
    pub(super) interval: Option<Duration>,
    pub(super) spec: Result<AppSpec, String>,
}

/// The fields of a valid spec.
#[derive(Clone, Debug, PartialEq)]
pub struct AppSpec {
    pub(super) visibility: Option<Visibility>,
    pub(super) description: Option<String>,
    pub(super) region: Option<String>,
    pub(super) cname: Option<String>,
    pub(super) cluster_name: Option<String>,
    /// ConfigMap key that contains the spicepod.
    pub(super) spicepod_from: Option<ConfigMapKeyRef>,
    /// All declared fields, without the owner tags.
    pub(super) managed: Vec<ManagedField>,
}

impl AppDesired {
    pub(super) fn of(app: &SpiceApp, identity: &Identity) -> Self {
        let meta = &app.metadata;
        let (namespace, object) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        let name = app.remote_name().to_owned();
        Self {
            spec: validate(app, &name),
            organization: app.declared_organization(),
            owner: digest::owner(identity, namespace, object),
            deletion_policy: app.spec.deletion_policy,
            observe_only: app.spec.management_policy == Some(ManagementPolicy::Observe),
            may_adopt: app.spec.adoption_policy == Some(AdoptionPolicy::Adopt),
            take_ownership_from: annotation(meta, TAKE_OWNERSHIP_FROM).map(str::to_owned),
            report_drift: app.spec.drift_policy == Some(DriftPolicy::Report),
            interval: app.spec.interval.map(Duration::from),
            name,
        }
    }
}

/// Repeats the checks of the schema, because an older schema may have accepted the object, and adds the checks that CEL
/// cannot do within its cost limit.
fn validate(app: &SpiceApp, name: &str) -> Result<AppSpec, String> {
    let spec = &app.spec;
    let name_length = name.chars().count();
    if !(4..=38).contains(&name_length) || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(format!("spec.name: {name:?} is not 4 to 38 letters, digits or hyphens"));
    }
    if [&spec.region, &spec.cname, &spec.cluster_name].into_iter().flatten().count() > 1 {
        return Err("At most one of spec.region, spec.cname and spec.clusterName may be set".to_owned());
    }
    for (key, value) in &spec.tags {
        check_tag(key, value)?;
    }
    if spec.spicepod.is_some() && spec.spicepod_from.is_some() {
        return Err("Only one of spec.spicepod and spec.spicepodFrom may be set".to_owned());
    }
    spec.spicepod.as_ref().map(checked_spicepod).transpose().map_err(|why| format!("spec.spicepod: {why}"))?;
    Ok(AppSpec {
        visibility: spec.visibility,
        description: spec.description.clone(),
        region: spec.region.clone(),
        cname: spec.cname.clone(),
        cluster_name: spec.cluster_name.clone(),
        spicepod_from: spec.spicepod_from.as_ref().map(|source| source.config_map_key_ref.clone()),
        managed: fields::managed(spec)?,
    })
}

/// The JSON of a spicepod within the limits.
fn checked_spicepod(spicepod: &Spicepod) -> Result<&CompactJson, String> {
    match spicepod {
        Spicepod::TooLong(length) => Err(format!("{length} bytes as JSON; the maximum is {MAX_SPICEPOD_BYTES}")),
        Spicepod::Json(json) if json.levels() > MAX_DEPTH => Err(format!("nested deeper than {MAX_DEPTH} levels")),
        Spicepod::Json(json) => Ok(json),
    }
}

/// Reads a spicepod as YAML 1.2, which includes JSON.
///
/// # Errors
/// If the text is not a mapping, is too large, or has a value that JSON cannot represent. The message contains the
/// position and no part of the text.
pub fn parse_spicepod(text: &str) -> Result<CompactJson, String> {
    // YAML with indentation can be larger than the same value as JSON.
    if text.len() > 4 * MAX_SPICEPOD_BYTES {
        return Err(format!("{} bytes; the maximum is {MAX_SPICEPOD_BYTES} bytes as JSON", text.len()));
    }
    match yaml::parse(text, MAX_SPICEPOD_BYTES, MAX_DEPTH)? {
        Some(value @ Value::Object(_)) => checked_spicepod(&Spicepod::from(value)).cloned(),
        Some(_) | None => Err("not a mapping".to_owned()),
    }
}

/// Checks a tag against the limits of the API, which are stricter for keys than for values.
fn check_tag(key: &str, value: &str) -> Result<(), String> {
    if key.starts_with("spice-operator-") {
        return Err(format!("spec.tags: {key:?}: keys that start with spice-operator- are reserved for the operator"));
    }
    let mut letters = key.chars();
    let starts_well = letters.next().is_some_and(|first| first.is_ascii_alphabetic());
    if !starts_well || key.len() > 63 || !letters.all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c)) {
        return Err(format!("spec.tags: {key:?} is not a letter followed by up to 62 of letters, digits, _ . / -"));
    }
    if value.len() > 256 || !value.chars().all(|c| c.is_ascii_alphanumeric() || "_@-".contains(c)) {
        return Err(format!("spec.tags: the value of {key:?} is not up to 256 of letters, digits, _ @ -"));
    }
    Ok(())
}
