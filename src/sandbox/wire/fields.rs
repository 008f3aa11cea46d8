//! Reading a JSON body field by field, so that one answer names everything that is wrong with it.
//!
//! Only the mechanism; which fields there are is the business of each resource.

use serde_json::{Map, Value};

use crate::sandbox::wire::error::{ApiError, Details};

/// What a body asks for one nullable field.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Patch<T> {
    /// Absent: leave it.
    #[default]
    Keep,
    /// `null`: empty it.
    Clear,
    /// A value.
    Set(T),
}

impl<T> Patch<T> {
    /// Does to the field what was asked.
    pub(crate) fn onto(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }

    /// What the field will be that is `current` now.
    pub(crate) fn over<'a>(&'a self, current: Option<&'a T>) -> Option<&'a T> {
        match self {
            Self::Keep => current,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// A look at the value, if one was given.
    pub(crate) fn set(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// The value, if one was given.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }
}

/// The fields of a body, and what was found wrong with them so far.
pub(crate) struct Fields {
    values: Map<String, Value>,
    details: Details,
}

impl Fields {
    /// Reads a body that must be a JSON object; otherwise 400.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(values)) => Ok(Self { values, details: Details::default() }),
            Ok(_) => Err(ApiError::malformed("the body must be a JSON object")),
            Err(error) => Err(ApiError::malformed(format!("the body is not JSON: {error}"))),
        }
    }

    /// A field that `null` empties.
    pub(crate) fn nullable<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Patch<T> {
        match self.values.get(name) {
            None => Patch::Keep,
            Some(Value::Null) => Patch::Clear,
            Some(value) => match read(value) {
                Ok(value) => Patch::Set(value),
                Err(message) => {
                    self.refuse(name, message);
                    Patch::Keep
                }
            },
        }
    }

    /// A field that may be absent, but not `null`.
    pub(crate) fn optional<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let patch = self.nullable(name, read);
        if matches!(patch, Patch::Clear) {
            self.refuse(name, "must not be null");
        }
        patch.value()
    }

    /// A field that must be there.
    pub(crate) fn required<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        if !self.values.contains_key(name) {
            self.refuse(name, "is required");
        }
        self.optional(name, read)
    }

    /// Notes a broken rule.
    pub(crate) fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.details.field_errors.entry(name.into()).or_default().push(message.into());
    }

    /// The end of the reading: 400 if anything was refused.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.details.field_errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(self.details)) }
    }
}

/// Reads a string.
pub(crate) fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "must be a string".into())
}

/// Reads a string that is not empty.
pub(crate) fn nonempty(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text) }
}

/// Reads one of a closed set of strings.
pub(crate) fn one_of(known: &[&str]) -> impl FnOnce(&Value) -> Result<String, String> {
    move |value| {
        let text = text(value)?;
        if known.contains(&text.as_str()) { Ok(text) } else { Err(format!("must be one of: {}", known.join(", "))) }
    }
}

/// Reads a whole number of a range.
pub(crate) fn integer(least: u64, most: u64) -> impl FnOnce(&Value) -> Result<u64, String> {
    move |value| {
        let number = value.as_u64().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("must be an integer from {least} to {most}"))
    }
}

/// Reads a truth value.
pub(crate) fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".into())
}

/// Reads a JSON object.
pub(crate) fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| "must be an object".into())
}
