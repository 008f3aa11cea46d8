//! What a Kubernetes Secret holds, as far as it can become secrets of an app.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::DigestKey;
use super::validate::{KeySelection, SelectedKeys, check_name};
use crate::api::SourceVersion;
use crate::management::types::SecretValue;

/// A longer value is refused (contract section 17); in bytes.
const LONGEST_VALUE: usize = 64 * 1024;
/// As many secrets as one object can stand for: what is told of them has to fit into its status.
const MOST: usize = 256;

/// What a Kubernetes Secret holds. All who have read it together share it.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceValues {
    /// The version that was read.
    pub(super) version: SourceVersion,
    /// By key. What is not UTF-8 is none.
    held: Arc<BTreeMap<String, Option<SecretValue>>>,
    /// The key of the digests.
    key: DigestKey,
}

/// A value, and the digest by which it is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DesiredValue {
    pub(super) value: SecretValue,
    pub(super) digest: String,
}

/// What is wrong with one key or name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Problem {
    /// It is not there: somebody may be about to put it there.
    Missing(String),
    /// It cannot be sent.
    Invalid(String),
}

/// What is wanted of the app's secrets: by name, what each is to hold; and what is wrong.
#[derive(Debug, Default, PartialEq)]
pub(super) struct DesiredSecrets {
    pub(super) contents: BTreeMap<String, DesiredValue>,
    /// Names that are asked for and cannot be had now: what is there under them stays.
    pub(super) kept: Vec<String>,
    pub(super) problems: Vec<Problem>,
}

impl SourceValues {
    /// Takes what a Secret of this version holds; digests are made with this key.
    pub fn new(version: SourceVersion, data: BTreeMap<String, Vec<u8>>, key: DigestKey) -> Self {
        let text = |bytes| String::from_utf8(bytes).ok().map(SecretValue::from);
        let held = Arc::new(data.into_iter().map(|(key, bytes)| (key, text(bytes))).collect());
        Self { version, held, key }
    }

    /// What is wanted of it.
    pub(super) fn wanted(&self, asked: &KeySelection) -> DesiredSecrets {
        let source = &asked.source;
        let mut wanted = DesiredSecrets::default();
        let pairs: Vec<(String, String)> = match &asked.keys {
            SelectedKeys::These(keys) => keys.clone(),
            SelectedKeys::All => self.held.keys().map(|key| (key.clone(), key.clone())).collect(),
        };
        if pairs.is_empty() {
            wanted.problems.push(Problem::Missing(format!("Secret {source} holds nothing")));
        }
        if pairs.len() > MOST {
            let message = format!("Secret {source} has {} keys, and one object can stand for {MOST}", pairs.len());
            wanted.problems.push(Problem::Invalid(message));
            wanted.kept = pairs.into_iter().map(|(_, name)| name).collect();
            return wanted;
        }
        for (key, name) in pairs {
            match self.content(source, &key, &name) {
                Ok(content) => drop(wanted.contents.insert(name, content)),
                Err(problem) => {
                    wanted.problems.push(problem);
                    wanted.kept.push(name);
                }
            }
        }
        wanted
    }

    fn content(&self, source: &str, key: &str, name: &str) -> Result<DesiredValue, Problem> {
        if check_name(name).is_err() {
            let rule = "cannot be the name of a secret of an app: list it in spec.secretRef.items with another name";
            return Err(Problem::Invalid(format!("Secret {source}: key {key} {rule}")));
        }
        let invalid = |why: &str| Err(Problem::Invalid(format!("Secret {source}: the value of key {key} {why}")));
        match self.held.get(key) {
            None => Err(Problem::Missing(format!("Secret {source} has no key {key}"))),
            Some(None) => invalid("is not UTF-8"),
            Some(Some(value)) if value.expose().len() > LONGEST_VALUE => invalid("is longer than 64 KiB"),
            Some(Some(value)) => {
                Ok(DesiredValue { value: value.clone(), digest: self.key.digest(name, value.expose()) })
            }
        }
    }
}
