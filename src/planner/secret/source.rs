//! Content of a Kubernetes Secret, as far as it can become secrets of an app.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::validate::{KeySelection, SelectedKeys, check_name};
use crate::api::SourceVersion;
use crate::management::types::SecretValue;
use crate::planner::digest::DigestKey;

/// Longest value, in bytes. The API rejects longer ones.
const MAX_VALUE_LENGTH: usize = 64 * 1024;
/// Maximum number of secrets of one object, so that their entries fit into its status.
const MAX_SECRETS: usize = 256;

/// Content of a Kubernetes Secret. Everything that read the Secret together shares the content.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceValues {
    /// Version that was read.
    pub(super) version: SourceVersion,
    /// Values by key; none for a value that is not UTF-8.
    data: Arc<BTreeMap<String, Option<SecretValue>>>,
    /// The digest key.
    key: DigestKey,
}

/// A desired value, and its digest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DesiredValue {
    pub(super) value: SecretValue,
    pub(super) digest: String,
}

/// A problem with one key or name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Problem {
    /// The Secret or the key does not exist, and may be created later.
    Missing(String),
    /// The value cannot be sent.
    Invalid(String),
}

impl Problem {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Missing(message) | Self::Invalid(message) => message,
        }
    }
}

/// The desired secrets of the app.
#[derive(Debug, Default, PartialEq)]
pub(super) struct DesiredSecrets {
    /// Values by name.
    pub(super) values: BTreeMap<String, DesiredValue>,
    /// Problems, each for a requested secret without a value.
    pub(super) problems: Vec<Problem>,
}

impl SourceValues {
    /// Content of a Secret of this version. `key` makes the digests.
    pub fn new(version: SourceVersion, data: BTreeMap<String, Vec<u8>>, key: DigestKey) -> Self {
        let text = |bytes| String::from_utf8(bytes).ok().map(SecretValue::from);
        let data = Arc::new(data.into_iter().map(|(key, bytes)| (key, text(bytes))).collect());
        Self { version, data, key }
    }

    /// The desired secrets of a selection.
    pub(super) fn desired(&self, selection: &KeySelection) -> DesiredSecrets {
        let source = &selection.source;
        let mut desired = DesiredSecrets::default();
        let pairs: Vec<(String, String)> = match &selection.keys {
            SelectedKeys::Listed(keys) => keys.clone(),
            SelectedKeys::All => self.data.keys().map(|key| (key.clone(), key.clone())).collect(),
        };
        if pairs.is_empty() {
            desired.problems.push(Problem::Missing(format!("Secret \"{source}\" has no data; add a key")));
        }
        if pairs.len() > MAX_SECRETS {
            let message = format!(
                "Secret \"{source}\" has {} keys; a SpiceSecret supports at most {MAX_SECRETS}. List keys in \
                 spec.secretRef.items of several SpiceSecrets",
                pairs.len()
            );
            desired.problems.push(Problem::Invalid(message));
            return desired;
        }
        for (key, name) in pairs {
            match self.value(selection, &key, &name) {
                Ok(value) => drop(desired.values.insert(name, value)),
                Err(problem) => desired.problems.push(problem),
            }
        }
        desired
    }

    /// Keyed digest of all that a selection uses: names and values, and the problems.
    pub(super) fn digest(&self, selection: &KeySelection) -> String {
        let DesiredSecrets { values, problems } = self.desired(selection);
        let values: BTreeMap<_, _> = values.iter().map(|(name, value)| (name, &value.digest)).collect();
        let problems: Vec<_> = problems.iter().map(Problem::message).collect();
        let (namespace, object) = &selection.object;
        // No secret has an empty name.
        self.key.digest((namespace, object), "", &json!([values, problems]).to_string())
    }

    /// Number of secrets that a selection requests.
    pub(super) fn requested(&self, selection: &KeySelection) -> usize {
        match &selection.keys {
            SelectedKeys::Listed(keys) => keys.len(),
            SelectedKeys::All => self.data.len(),
        }
    }

    fn value(&self, selection: &KeySelection, key: &str, name: &str) -> Result<DesiredValue, Problem> {
        let KeySelection { object: (namespace, object), source, .. } = selection;
        if check_name(name).is_err() {
            return Err(Problem::Invalid(format!(
                "Secret \"{source}\": key \"{key}\" is not a valid secret name; map the key in spec.secretRef.items"
            )));
        }
        let invalid = |why| Err(Problem::Invalid(format!("Secret \"{source}\": the value of key \"{key}\" {why}")));
        match self.data.get(key) {
            None => Err(Problem::Missing(format!(
                "Secret \"{source}\" has no key \"{key}\"; add the key, or correct spec.secretRef.items"
            ))),
            Some(None) => invalid("is not UTF-8"),
            Some(Some(value)) if value.expose().len() > MAX_VALUE_LENGTH => invalid("is longer than 64 KiB"),
            Some(Some(value)) => {
                let digest = self.key.digest((namespace, object), name, value.expose());
                Ok(DesiredValue { value: value.clone(), digest })
            }
        }
    }
}
