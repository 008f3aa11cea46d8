//! The error body of the API (contract, section 5).

use std::collections::BTreeMap;
use std::fmt;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A response: a status and the body that explains it.
#[derive(Debug)]
pub(crate) struct ErrorResponse {
    status: StatusCode,
    body: ErrorBody,
}

/// Why a request was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    /// For people.
    error: String,
    /// For machines; not every response has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<ErrorDetails>,
}

/// What is wrong with a body: by field, and as a whole.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = ErrorDetails)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorDetails {
    /// Messages by the name of the field.
    pub(crate) field_errors: BTreeMap<String, Vec<String>>,
    /// Messages about the body as a whole.
    pub(crate) form_errors: Vec<String>,
}

impl ErrorResponse {
    /// A response in words only.
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { error: error.into(), code: None, details: None } }
    }

    /// A body that breaks the rules of its fields.
    pub(crate) fn invalid_fields(details: ErrorDetails) -> Self {
        let mut response = Self::new(StatusCode::BAD_REQUEST, "Validation failed");
        response.body.details = Some(details);
        response
    }

    /// A body that is wrong as a whole.
    pub(crate) fn malformed_body(message: impl Into<String>) -> Self {
        Self::invalid_fields(ErrorDetails { form_errors: vec![message.into()], ..ErrorDetails::default() })
    }

    /// A parameter of the query or the path that breaks its rule.
    pub(crate) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A path that nothing is served at.
    pub(crate) fn route_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found")
    }

    /// A path that is served, but not with this method.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    /// A request above a rate limit.
    pub(crate) fn rate_limited() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded")
    }

    /// A body above the limit.
    pub(crate) fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large")
    }

    /// The same response with a code for machines.
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.body.code = Some(code);
        self
    }
}

/// Everything there is to say, in one line.
impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body.error)?;
        let Some(ErrorDetails { field_errors, form_errors }) = &self.body.details else { return Ok(()) };
        for message in form_errors {
            write!(f, "; {message}")?;
        }
        for (field, messages) in field_errors {
            write!(f, "; {field} {}", messages.join(", "))?;
        }
        Ok(())
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self.body)).into_response();
        if self.body.code.is_some() {
            response.extensions_mut().insert(CodedError(self.body));
        }
        response
    }
}

/// Put beside an answer whose body has a code.
#[derive(Clone)]
struct CodedError(ErrorBody);

/// The same answer without the code for machines, which the first API did not have.
pub(crate) fn remove_error_code(mut response: Response) -> Response {
    match response.extensions_mut().remove::<CodedError>() {
        Some(CodedError(body)) => (response.status(), Json(ErrorBody { code: None, ..body })).into_response(),
        None => response,
    }
}
