//! Answers, and refusals in the shape of contract section 5.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A refusal.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
    code: Option<&'static str>,
    fields: BTreeMap<String, Vec<String>>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), code: None, fields: BTreeMap::new() }
    }

    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// A body some of whose fields will not do.
    pub(super) fn fields(fields: BTreeMap<String, Vec<String>>) -> Self {
        Self { fields, ..Self::bad_request("Validation failed") }
    }

    pub(super) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.error });
        if let Some(code) = self.code {
            body["code"] = Value::from(code);
        }
        if !self.fields.is_empty() {
            body["details"] = json!({ "fieldErrors": self.fields, "formErrors": [] });
        }
        (self.status, Json(body)).into_response()
    }
}

/// A time as the API writes it: RFC 3339 with milliseconds and Z.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}
