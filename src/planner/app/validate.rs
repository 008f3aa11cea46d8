//! What a SpiceApp asks for, checked once.

use std::time::Duration;

use serde_json::{Map, Value};

use super::fields::{self, ManagedField};
use crate::api::{
    AdoptionPolicy, ConfigMapKeyRef, DeletionPolicy, DriftPolicy, ManagementPolicy, ResolvedOrganizationRef, SpiceApp,
    TAKE_OWNERSHIP_FROM, Visibility,
};
use crate::planner::{Identity, digest};

/// A spicepod longer than this as JSON is refused: it has to fit into the object beside everything else.
const LARGEST_SPICEPOD: usize = 256 * 1024;

/// Values nested deeper than this are refused. Far more than any spicepod has, and less than what decoders give up at.
const DEEPEST: usize = 64;

/// What a SpiceApp asks for. What a deletion needs is there even if the rest is invalid.
#[derive(Clone, Debug, PartialEq)]
pub struct AppDesired {
    pub(super) name: String,
    /// The SpiceOrganization that the spec names.
    pub(super) organization: Option<ResolvedOrganizationRef>,
    pub(super) owner: String,
    pub(super) deletion_policy: Option<DeletionPolicy>,
    /// Whether the app is looked at only.
    pub(super) observes: bool,
    /// Whether an app that exists already is taken over.
    pub(super) adopts: bool,
    /// The owner tag that may be taken over.
    pub(super) take_over: Option<String>,
    /// Whether what somebody else changed is left so.
    pub(super) leaves_drift: bool,
    pub(super) interval: Option<Duration>,
    pub(super) spec: Result<ValidSpec, String>,
}

/// A spec that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ValidSpec {
    pub(super) visibility: Option<Visibility>,
    pub(super) description: Option<String>,
    pub(super) region: Option<String>,
    pub(super) cname: Option<String>,
    pub(super) cluster_name: Option<String>,
    /// Where the spicepod is read from, if it is not in the spec.
    pub(super) spicepod_from: Option<ConfigMapKeyRef>,
    /// Every field that is kept as declared, our own tags aside.
    pub(super) managed: Vec<ManagedField>,
}

impl AppDesired {
    pub(super) fn of(app: &SpiceApp, identity: &Identity) -> Self {
        let meta = &app.metadata;
        let (namespace, object) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        let name = app.spec.name.clone().unwrap_or_else(|| object.to_owned());
        Self {
            spec: valid(app, &name),
            organization: app.declared_organization(),
            owner: digest::owner(identity, namespace, object),
            deletion_policy: app.spec.deletion_policy,
            observes: app.spec.management_policy == Some(ManagementPolicy::Observe),
            adopts: app.spec.adoption_policy == Some(AdoptionPolicy::Adopt),
            take_over: meta.annotations.as_ref().and_then(|annotations| annotations.get(TAKE_OWNERSHIP_FROM)).cloned(),
            leaves_drift: app.spec.drift_policy == Some(DriftPolicy::Report),
            interval: app.spec.interval.map(Duration::from),
            name,
        }
    }
}

/// The apiserver has checked most of it; what CEL cannot bound, and what an older schema let in, is checked here.
fn valid(app: &SpiceApp, name: &str) -> Result<ValidSpec, String> {
    let spec = &app.spec;
    let name_length = name.chars().count();
    if !(4..=38).contains(&name_length) || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(format!("spec.name: {name:?} is not 4 to 38 letters, digits or hyphens"));
    }
    if [&spec.region, &spec.cname, &spec.cluster_name].into_iter().flatten().count() > 1 {
        return Err("at most one of spec.region, spec.cname and spec.clusterName may be set".to_owned());
    }
    for (key, value) in &spec.tags {
        check_tag(key, value)?;
    }
    if spec.spicepod.is_some() && spec.spicepod_from.is_some() {
        return Err("only one of spec.spicepod and spec.spicepodFrom may be set".to_owned());
    }
    spec.spicepod.as_ref().map_or(Ok(()), check_spicepod).map_err(|why| format!("spec.spicepod: {why}"))?;
    Ok(ValidSpec {
        visibility: spec.visibility,
        description: spec.description.clone(),
        region: spec.region.clone(),
        cname: spec.cname.clone(),
        cluster_name: spec.cluster_name.clone(),
        spicepod_from: spec.spicepod_from.as_ref().map(|source| source.config_map_key_ref.clone()),
        managed: fields::managed(spec)?,
    })
}

fn check_depth(object: &Map<String, Value>) -> Result<(), String> {
    if object.values().any(|value| deeper(value, DEEPEST - 1)) {
        return Err(format!("nested deeper than {DEEPEST} levels"));
    }
    Ok(())
}

fn check_spicepod(spicepod: &Map<String, Value>) -> Result<(), String> {
    check_depth(spicepod)?;
    let length = serde_json::to_string(spicepod).map_or(usize::MAX, |text| text.len());
    if length > LARGEST_SPICEPOD {
        return Err(format!("{length} bytes as JSON, at most {LARGEST_SPICEPOD} are allowed"));
    }
    Ok(())
}

/// Reads a spicepod as YAML, which JSON is too.
///
/// # Errors
/// In words that hold none of the text, when it is no mapping or too large.
pub fn parse_spicepod(text: &str) -> Result<Map<String, Value>, String> {
    // A few bytes of JSON may take several of YAML, as indentation; far more than that is not read at all.
    if text.len() > 4 * LARGEST_SPICEPOD {
        return Err(format!("{} bytes, at most {LARGEST_SPICEPOD} as JSON are allowed", text.len()));
    }
    // `no` and `on` are words, as they are to the runtime, which reads YAML 1.2 as well; `00123` is no number but a text that
    // must not lose its zeros.
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true
    };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(Value::Object(spicepod)) => check_spicepod(&spicepod).map(|()| spicepod),
        Ok(_) => Err("not a mapping".to_owned()),
        Err(error) => Err(unreadable(&error)),
    }
}

/// What is wrong with a text and where, in words that hold none of it.
fn unreadable(error: &serde_saphyr::Error) -> String {
    let what = match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { .. } => "a key is there twice",
        serde_saphyr::Error::MultipleDocuments { .. } => "more than one document",
        _ => "not YAML, not what JSON can say (a number without end, a key that is no text), or nested too deep",
    };
    match error.location() {
        Some(place) => format!("{what}: line {}, column {}", place.line(), place.column()),
        None => what.to_owned(),
    }
}

/// Whether a value has more than so many levels. Looks no deeper than that.
fn deeper(value: &Value, levels: usize) -> bool {
    let mut nested: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Object(entries) => Box::new(entries.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => return false,
    };
    levels == 0 || nested.any(|value| deeper(value, levels - 1))
}

/// Contract section 7.4.
fn check_tag(key: &str, value: &str) -> Result<(), String> {
    if key.starts_with("spice-operator-") {
        return Err(format!("spec.tags: {key:?}: keys that start with spice-operator- are the operator's own"));
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
