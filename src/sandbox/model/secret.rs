//! Secrets of an app.
//!
//! The sandbox stores the SHA-256 digest of a value, never the value, so that no response, file or panic can leak a
//! value. Tests compare digests.

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::sandbox::model::profile::ApiSwitches;
use crate::sandbox::wire::error::ErrorResponse;
use crate::sandbox::wire::fields::{self, BodyFields};
use crate::sandbox::wire::timestamps;

const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Placeholder for every value, independent of the length.
const MASK: &str = "********";

/// SHA-256 of a value, in hexadecimal. The digest does not protect a value that can be guessed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct ValueDigest(String);

impl ValueDigest {
    /// Computes the digest of the UTF-8 bytes of `value`.
    pub fn of(value: &str) -> Self {
        Self(Sha256::digest(value.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct StoredSecret {
    /// Positive and unique across all apps.
    id: u64,
    name: String,
    value_sha256: ValueDigest,
    /// Time at which the name was first set after its last deletion.
    created_at: Timestamp,
    /// Strictly increases with each write.
    updated_at: Timestamp,
}

/// Secrets of an app, in ascending order of ID.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct StoredSecrets(Vec<StoredSecret>);

/// New content of a secret.
pub(crate) struct SecretContent {
    name: String,
    value_sha256: ValueDigest,
}

impl SecretContent {
    /// Reads a request body. Returns 400 if the body is invalid. Error messages never contain a value.
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, ErrorResponse> {
        let mut fields = BodyFields::parse(body)?;
        let name = fields.read_required("name", |value| check_name(fields::read_string(value)?));
        let value =
            fields.read_required("value", |value| Ok(ValueDigest::of(&check_length(fields::read_string(value)?)?)));
        fields.finish()?;
        let absent = || ValueDigest::of("");
        Ok(Self { name: name.unwrap_or_default(), value_sha256: value.unwrap_or_else(absent) })
    }

    /// Creates a secret from the seed file. The error describes an invalid name.
    pub(crate) fn from_seed(name: &str, value: &ValueDigest) -> Result<Self, ErrorResponse> {
        let name_error = |rule| ErrorResponse::malformed_body(format!("the name of the secret {name:?} {rule}"));
        Ok(Self { name: check_name(name.to_owned()).map_err(name_error)?, value_sha256: value.clone() })
    }
}

fn check_length(value: String) -> Result<String, String> {
    if value.len() > MAX_VALUE_BYTES { Err(format!("must be at most {MAX_VALUE_BYTES} bytes")) } else { Ok(value) }
}

fn check_name(name: String) -> Result<String, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name =
        name.chars().all(is_word) && name.starts_with(|first: char| is_word(first) && !first.is_ascii_digit());
    if is_name { Ok(name) } else { Err("must be a letter or _ and then letters, digits or _".into()) }
}

impl StoredSecrets {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &StoredSecret> {
        self.0.iter()
    }

    /// Returns the secret with this exact name, or 404.
    pub(crate) fn get(&self, name: &str) -> Result<&StoredSecret, ErrorResponse> {
        self.iter().find(|secret| secret.name == name).ok_or_else(|| secret_not_found(name))
    }

    /// Creates or updates a secret. `updated_at` increases by at least 1 ms, so that clients can detect every write.
    pub(crate) fn set(&mut self, input: SecretContent, next_id: &mut u64, now: Timestamp) -> &StoredSecret {
        let SecretContent { name, value_sha256 } = input;
        let index = match self.0.iter().position(|secret| secret.name == name) {
            Some(index) => {
                let secret = &mut self.0[index];
                let later = secret.updated_at.checked_add(SignedDuration::from_millis(1));
                secret.updated_at = later.map_or(now, |later| later.max(now));
                secret.value_sha256 = value_sha256;
                index
            }
            None => {
                self.0.push(StoredSecret { id: *next_id, name, value_sha256, created_at: now, updated_at: now });
                *next_id += 1;
                self.0.len() - 1
            }
        };
        &self.0[index]
    }

    /// Permanently removes a secret, or returns 404.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), ErrorResponse> {
        let before = self.0.len();
        self.0.retain(|secret| secret.name != name);
        if self.0.len() < before { Ok(()) } else { Err(secret_not_found(name)) }
    }
}

fn secret_not_found(name: &str) -> ErrorResponse {
    ErrorResponse::new(StatusCode::NOT_FOUND, format!("Secret {name:?} not found"))
}

/// A secret in a response. The value is masked.
#[derive(Serialize, ToSchema)]
#[schema(as = Secret)]
pub(crate) struct SecretBody {
    /// Positive and unique.
    id: u64,
    name: String,
    /// Always asterisks.
    value: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl StoredSecret {
    /// Builds the response to a read.
    pub(crate) fn to_body(&self, switches: ApiSwitches) -> SecretBody {
        self.format_body(if switches.mixed_timestamp_precision { 0 } else { 3 })
    }

    /// Builds the response to a write.
    pub(crate) fn to_write_body(&self, switches: ApiSwitches) -> SecretBody {
        self.format_body(if switches.mixed_timestamp_precision { 6 } else { 3 })
    }

    /// Builds the entry in `/sandbox/state`.
    pub(crate) fn to_admin_body(&self) -> AdminSecretBody {
        let Self { id, name, value_sha256, created_at, updated_at } = self.clone();
        let (created_at, updated_at) = (timestamps::format_millis(created_at), timestamps::format_millis(updated_at));
        AdminSecretBody { id, name, value_sha256, created_at, updated_at }
    }

    /// Builds a response with `digits` fractional digits of a second in `updated_at`.
    fn format_body(&self, digits: usize) -> SecretBody {
        let Self { id, name, value_sha256: _, created_at, updated_at } = self;
        let (created_at, updated_at) =
            (timestamps::format_millis(*created_at), timestamps::format(*updated_at, digits));
        SecretBody { id: *id, name: name.clone(), value: MASK, created_at, updated_at }
    }
}

/// A secret in `/sandbox/state`.
#[derive(Serialize)]
pub(crate) struct AdminSecretBody {
    id: u64,
    name: String,
    value_sha256: ValueDigest,
    created_at: String,
    updated_at: String,
}

/// Body of a request that sets a secret. Unknown fields are ignored.
///
/// This type only documents the body; [`SecretContent`] reads the body. Tests compare the two.
#[derive(ToSchema)]
#[schema(as = SetSecret)]
#[expect(dead_code, reason = "documentation of the body only")]
pub(crate) struct SetSecretRequest {
    #[schema(pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$")]
    name: String,
    /// Any text. May be empty.
    #[schema(write_only)]
    value: String,
}

/// Masks every member of a secret body except the name, because any other member may contain a value. `None`: the body
/// is not JSON.
pub(crate) fn redact_body(body: &[u8]) -> Option<Value> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    match &mut body {
        Value::Object(members) => {
            let hidden = members.iter_mut().filter(|(member, value)| *member != "name" || !value.is_string());
            hidden.for_each(|(_, value)| *value = MASK.into());
        }
        other => *other = MASK.into(),
    }
    Some(body)
}
