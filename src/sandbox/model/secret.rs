//! A secret of an app: its record, what a body says of one, and how it is shown (contract, section 10).
//!
//! No value is kept, only its digest: what is not there cannot come back in an answer, a file or a panic. Whether the
//! right value arrived is seen by the digest.

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

/// A longer value is refused; in bytes.
const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Stands for every value, however long.
const MASK: &str = "********";

/// The SHA-256 of a value, in hexadecimal. It does not hide a value that can be guessed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct ValueDigest(String);

impl ValueDigest {
    /// Of the bytes of the text as it is.
    pub fn of(value: &str) -> Self {
        Self(Sha256::digest(value.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A secret as it is kept.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct StoredSecret {
    /// Positive, never used twice in any app.
    id: u64,
    name: String,
    value_sha256: ValueDigest,
    /// When the name was first set since it was last deleted.
    created_at: Timestamp,
    /// Later with each time that it is set.
    updated_at: Timestamp,
}

/// The secrets of an app, in ascending order of id.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct StoredSecrets(Vec<StoredSecret>);

/// What a secret shall be.
pub(crate) struct SecretInput {
    name: String,
    value_sha256: ValueDigest,
}

impl SecretInput {
    /// Reads a body; 400 if it breaks a rule. No message repeats a value.
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, ErrorResponse> {
        let mut fields = BodyFields::parse(body)?;
        let name = fields.read_required("name", |value| check_name(fields::read_string(value)?));
        let value =
            fields.read_required("value", |value| Ok(ValueDigest::of(&check_length(fields::read_string(value)?)?)));
        fields.finish()?;
        let absent = || ValueDigest::of("");
        Ok(Self { name: name.unwrap_or_default(), value_sha256: value.unwrap_or_else(absent) })
    }

    /// A secret that is there in the beginning. The error says what is wrong with its name.
    pub(crate) fn from_seed(name: &str, value: &ValueDigest) -> Result<Self, ErrorResponse> {
        let wrong = |rule| ErrorResponse::malformed_body(format!("the name of the secret {name:?} {rule}"));
        Ok(Self { name: check_name(name.to_owned()).map_err(wrong)?, value_sha256: value.clone() })
    }
}

/// A value that is not too long.
fn check_length(value: String) -> Result<String, String> {
    if value.len() > MAX_VALUE_BYTES { Err(format!("must be at most {MAX_VALUE_BYTES} bytes")) } else { Ok(value) }
}

/// A name that keeps the rule of names.
fn check_name(name: String) -> Result<String, String> {
    let is_word = |other: char| other.is_ascii_alphanumeric() || other == '_';
    let is_name =
        name.chars().all(is_word) && name.starts_with(|first: char| is_word(first) && !first.is_ascii_digit());
    if is_name { Ok(name) } else { Err("must be a letter or _ and then letters, digits or _".into()) }
}

impl StoredSecrets {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &StoredSecret> {
        self.0.iter()
    }

    /// The one of a name, which counts as it is written; otherwise 404.
    pub(crate) fn get(&self, name: &str) -> Result<&StoredSecret, ErrorResponse> {
        self.iter().find(|secret| secret.name == name).ok_or_else(|| secret_not_found(name))
    }

    /// Gives the secret of that name its value, or makes it with the next id. Of two times the later one is always later
    /// in milliseconds, however fast they follow each other.
    pub(crate) fn set(&mut self, input: SecretInput, next_id: &mut u64, now: Timestamp) -> &StoredSecret {
        let SecretInput { name, value_sha256 } = input;
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

    /// Removes the one of a name for good; otherwise 404.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), ErrorResponse> {
        let before = self.0.len();
        self.0.retain(|secret| secret.name != name);
        if self.0.len() < before { Ok(()) } else { Err(secret_not_found(name)) }
    }
}

fn secret_not_found(name: &str) -> ErrorResponse {
    ErrorResponse::new(StatusCode::NOT_FOUND, format!("Secret {name:?} not found"))
}

/// A secret as it appears. The value never does.
#[derive(Serialize, ToSchema)]
#[schema(as = Secret)]
pub(crate) struct SecretBody {
    /// Positive, never used twice.
    id: u64,
    name: String,
    /// Asterisks, whatever the value is.
    value: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl StoredSecret {
    /// How it appears to whoever reads it.
    pub(crate) fn to_body(&self, switches: ApiSwitches) -> SecretBody {
        self.format_body(if switches.mixed_timestamp_precision {
            timestamps::format_seconds
        } else {
            timestamps::format_millis
        })
    }

    /// How it appears in the answer to whoever set it.
    pub(crate) fn to_write_body(&self, switches: ApiSwitches) -> SecretBody {
        self.format_body(if switches.mixed_timestamp_precision {
            timestamps::format_micros
        } else {
            timestamps::format_millis
        })
    }

    /// How `/sandbox/` shows it.
    pub(crate) fn to_admin_body(&self) -> AdminSecretBody {
        let Self { id, name, value_sha256, created_at, updated_at } = self.clone();
        let (created_at, updated_at) = (timestamps::format_millis(created_at), timestamps::format_millis(updated_at));
        AdminSecretBody { id, name, value_sha256, created_at, updated_at }
    }

    fn format_body(&self, precision: fn(Timestamp) -> String) -> SecretBody {
        let Self { id, name, value_sha256: _, created_at, updated_at } = self;
        let (created_at, updated_at) = (timestamps::format_millis(*created_at), precision(*updated_at));
        SecretBody { id: *id, name: name.clone(), value: MASK, created_at, updated_at }
    }
}

/// A secret as `/sandbox/` shows it.
#[derive(Serialize)]
pub(crate) struct AdminSecretBody {
    id: u64,
    name: String,
    value_sha256: ValueDigest,
    created_at: String,
    updated_at: String,
}

/// What the body of a request may say of a secret. Fields that are not check_name here are ignored.
///
/// Nothing is read into this type, it describes [`SecretInput`]: tests hold the two together.
#[derive(ToSchema)]
#[schema(as = SetSecret)]
#[expect(dead_code, reason = "it only describes")]
pub(crate) struct SetSecretRequest {
    #[schema(pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$")]
    name: String,
    /// Any text, also an empty one.
    #[schema(write_only)]
    value: String,
}

/// What may be told of a body that was sent to a secret: its name and which members there were, nothing that may be a
/// value. `None`: it is not JSON.
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
