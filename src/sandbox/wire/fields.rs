//! Reads the fields of a JSON body and collects all validation errors, so that one response lists every error.
//!
//! Each resource defines its own fields.

use serde_json::{Map, Value};

use crate::sandbox::wire::error::{ErrorDetails, ErrorResponse};

/// Change of a nullable field in a request body.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum FieldPatch<T> {
    /// The field is absent and stays unchanged.
    #[default]
    Unchanged,
    /// The field is `null` and becomes empty.
    Clear,
    /// The field has a new value.
    Set(T),
}

impl<T> FieldPatch<T> {
    /// Applies the change to `field`.
    pub(crate) fn apply_to(self, field: &mut Option<T>) {
        match self {
            Self::Unchanged => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }

    /// Returns the value of the field after the change.
    pub(crate) fn resolve<'a>(&'a self, current: Option<&'a T>) -> Option<&'a T> {
        match self {
            Self::Unchanged => current,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    pub(crate) fn as_set(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Unchanged | Self::Clear => None,
        }
    }

    pub(crate) fn into_value(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Unchanged | Self::Clear => None,
        }
    }
}

/// Fields of a request body, and the validation errors found so far.
pub(crate) struct BodyFields {
    values: Map<String, Value>,
    details: ErrorDetails,
}

impl BodyFields {
    /// Parses a JSON object. Returns 400 for any other body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ErrorResponse> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(values)) => Ok(Self { values, details: ErrorDetails::default() }),
            Ok(_) => Err(ErrorResponse::malformed_body("the body must be a JSON object")),
            Err(error) => Err(ErrorResponse::malformed_body(format!("the body is not JSON: {error}"))),
        }
    }

    /// Reads a field that accepts `null`.
    pub(crate) fn read_nullable<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> FieldPatch<T> {
        match self.values.get(name) {
            None => FieldPatch::Unchanged,
            Some(Value::Null) => FieldPatch::Clear,
            Some(value) => match read(value) {
                Ok(value) => FieldPatch::Set(value),
                Err(message) => {
                    self.reject(name, message);
                    FieldPatch::Unchanged
                }
            },
        }
    }

    /// Reads a field that may be absent but not `null`.
    pub(crate) fn read_optional<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let patch = self.read_nullable(name, read);
        if matches!(patch, FieldPatch::Clear) {
            self.reject(name, "must not be null");
        }
        patch.into_value()
    }

    /// Reads a mandatory field.
    pub(crate) fn read_required<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        if !self.values.contains_key(name) {
            self.reject(name, "is required");
        }
        self.read_optional(name, read)
    }

    /// Records a validation error.
    pub(crate) fn reject(&mut self, name: &str, message: impl Into<String>) {
        self.details.field_errors.entry(name.into()).or_default().push(message.into());
    }

    /// Returns 400 if a field is invalid.
    pub(crate) fn finish(self) -> Result<(), ErrorResponse> {
        if self.details.field_errors.is_empty() { Ok(()) } else { Err(ErrorResponse::invalid_fields(self.details)) }
    }
}

pub(crate) fn read_string(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "must be a string".into())
}

pub(crate) fn read_nonempty_string(value: &Value) -> Result<String, String> {
    let text = read_string(value)?;
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text) }
}

/// Reads one string of a closed set.
pub(crate) fn read_one_of(values: &[&str]) -> impl FnOnce(&Value) -> Result<String, String> {
    move |value| {
        let text = read_string(value)?;
        if values.contains(&text.as_str()) { Ok(text) } else { Err(format!("must be one of: {}", values.join(", "))) }
    }
}

pub(crate) fn read_integer(minimum: u64, maximum: u64) -> impl FnOnce(&Value) -> Result<u64, String> {
    move |value| {
        let number = value.as_u64().filter(|number| (minimum..=maximum).contains(number));
        number.ok_or_else(|| format!("must be an integer from {minimum} to {maximum}"))
    }
}

pub(crate) fn read_boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".into())
}

pub(crate) fn read_object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| "must be an object".into())
}
