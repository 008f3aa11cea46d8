//! Validates the spec of a SpiceSecret.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::{AdoptionPolicy, DeletionPolicy, DriftPolicy, SpiceSecret, SpiceSecretSpec};
use crate::planner::{Identity, digest};

/// The validated spec of a SpiceSecret. The fields that a deletion needs are set even if `spec` is invalid.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretDesired {
    /// Name of the SpiceApp.
    pub(super) app: String,
    /// Owner tag of that app.
    pub(super) owner: String,
    pub(super) deletion_policy: Option<DeletionPolicy>,
    /// True if `adoptionPolicy` is Adopt.
    pub(super) may_adopt: bool,
    /// True if `driftPolicy` is Report.
    pub(super) report_drift: bool,
    pub(super) interval: Option<Duration>,
    pub(super) spec: Result<KeySelection, String>,
}

/// Keys of a Kubernetes Secret.
#[derive(Clone, Debug, PartialEq)]
pub struct KeySelection {
    /// Namespace and name of the SpiceSecret, which the digests of its values cover.
    pub(super) object: (String, String),
    /// Name of the Kubernetes Secret.
    pub(super) source: String,
    pub(super) keys: SelectedKeys,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum SelectedKeys {
    /// Every key, under its own name.
    All,
    /// The listed keys, each with its name in the app.
    Listed(Vec<(String, String)>),
}

impl SecretDesired {
    pub(super) fn of(object: &SpiceSecret, identity: &Identity) -> Self {
        let (meta, spec) = (&object.metadata, &object.spec);
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        Self {
            app: object.app_name().to_owned(),
            owner: digest::owner(identity, namespace, object.app_name()),
            deletion_policy: spec.deletion_policy,
            may_adopt: spec.adoption_policy == Some(AdoptionPolicy::Adopt),
            report_drift: spec.drift_policy == Some(DriftPolicy::Report),
            interval: spec.interval.map(Duration::from),
            spec: selected_keys(spec).map(|keys| KeySelection {
                object: (namespace.to_owned(), meta.name.clone().unwrap_or_default()),
                source: object.source_name().to_owned(),
                keys,
            }),
        }
    }

    /// The listed keys, each with its name in the app; none if the spec selects every key or is invalid.
    pub(super) fn listed_keys(&self) -> Option<&[(String, String)]> {
        match &self.spec {
            Ok(KeySelection { keys: SelectedKeys::Listed(keys), .. }) => Some(keys),
            Ok(KeySelection { keys: SelectedKeys::All, .. }) | Err(_) => None,
        }
    }
}

/// The names that a spec requests; empty if it selects every key, because only the Kubernetes Secret lists those.
pub fn requested_names(spec: &SpiceSecretSpec) -> BTreeSet<String> {
    match selected_keys(spec) {
        Ok(SelectedKeys::Listed(keys)) => keys.into_iter().map(|(_, name)| name).collect(),
        Ok(SelectedKeys::All) | Err(_) => BTreeSet::new(),
    }
}

/// Checks the items. CEL cannot bound the cost of a search for duplicates, and an older schema may have accepted any
/// name.
fn selected_keys(spec: &SpiceSecretSpec) -> Result<SelectedKeys, String> {
    let Some(items) = spec.items() else { return Ok(SelectedKeys::All) };
    if items.is_empty() {
        return Err("spec.secretRef.items must list at least one key. To copy every key, remove the field".to_owned());
    }
    let (mut keys, mut names) = (Vec::new(), BTreeSet::new());
    for (place, item) in items.iter().enumerate() {
        let name = item.name.clone().unwrap_or_else(|| item.key.clone());
        check_name(&name).map_err(|why| format!("spec.secretRef.items[{place}].name: {why}"))?;
        if !names.insert(name.clone()) {
            return Err(format!("spec.secretRef.items[{place}].name: duplicate name \"{name}\""));
        }
        keys.push((item.key.clone(), name));
    }
    Ok(SelectedKeys::Listed(keys))
}

/// Checks a secret name against the rule of the API.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if starts_well && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return Ok(());
    }
    Err(format!("{name:?} must start with a letter or _ and contain only letters, digits and _"))
}
