//! Error responses of the API.

use std::collections::BTreeMap;
use std::fmt;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// An error response: a status code and a body.
#[derive(Debug)]
pub(crate) struct ErrorResponse {
    status: StatusCode,
    body: ErrorBody,
}

/// Body of an error response.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    /// Human-readable message.
    error: String,
    /// Machine-readable code. Some errors have no code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<ErrorDetails>,
}

/// Validation errors of a request body.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = ErrorDetails)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorDetails {
    /// Messages per field.
    pub(crate) field_errors: BTreeMap<String, Vec<String>>,
    /// Messages about the whole body.
    pub(crate) form_errors: Vec<String>,
}

impl ErrorResponse {
    /// Creates an error response with a message only.
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { error: error.into(), code: None, details: None } }
    }

    /// 400: fields of the body are invalid.
    pub(crate) fn invalid_fields(details: ErrorDetails) -> Self {
        let mut response = Self::new(StatusCode::BAD_REQUEST, "Validation failed");
        response.body.details = Some(details);
        response
    }

    /// 400: the body as a whole is invalid.
    pub(crate) fn malformed_body(message: impl Into<String>) -> Self {
        Self::invalid_fields(ErrorDetails { form_errors: vec![message.into()], ..ErrorDetails::default() })
    }

    /// 400: a query or path parameter is invalid.
    pub(crate) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: no route matches the path.
    pub(crate) fn route_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found")
    }

    /// 405: the route does not support the method.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    /// 429: a rate limit is exceeded.
    pub(crate) fn rate_limited() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded")
    }

    /// 413: the body is larger than the limit.
    pub(crate) fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large")
    }

    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.body.code = Some(code);
        self
    }
}

/// Formats the message and all details in one line.
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

/// Response extension that holds an error body with a code.
#[derive(Clone)]
struct CodedError(ErrorBody);

/// Removes the machine-readable code from a response, because the first published API had no codes.
pub(crate) fn remove_error_code(mut response: Response) -> Response {
    match response.extensions_mut().remove::<CodedError>() {
        Some(CodedError(body)) => (response.status(), Json(ErrorBody { code: None, ..body })).into_response(),
        None => response,
    }
}
