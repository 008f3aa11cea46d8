//! The description of one request.

use reqwest::Method;
use serde::Serialize;

use crate::management::types::{ApiError, ErrorKind};

/// A request to the API. A retry sends the same request.
pub(super) struct ApiRequest {
    pub(super) method: Method,
    /// The documented path with placeholders, for logs, metrics and messages.
    pub(super) route: &'static str,
    /// Segments of the path.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    /// JSON text of the body: a tree of values would need many times the memory.
    pub(super) body: Option<Vec<u8>>,
    /// True if the body contains a secret value. No error message then contains a text of the response.
    pub(super) has_secret: bool,
}

impl ApiRequest {
    /// A request without a query and a body. The parameters replace the placeholders of the route, in order.
    pub(super) fn new<const N: usize>(method: Method, route: &'static str, parameters: [&str; N]) -> Self {
        let mut parameters = parameters.into_iter();
        let fill =
            |segment| if str::starts_with(segment, '{') { parameters.next().unwrap_or_default() } else { segment };
        let path = route.split('/').skip(1).map(fill).map(str::to_owned).collect();
        Self { method, route, path, query: Vec::new(), body: None, has_secret: false }
    }

    pub(super) fn get(route: &'static str) -> Self {
        Self::new(Method::GET, route, [])
    }

    pub(super) fn query<const N: usize>(self, query: [(&'static str, String); N]) -> Self {
        Self { query: query.to_vec(), ..self }
    }

    pub(super) fn body(self, body: &impl Serialize) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| {
            ApiError::local(ErrorKind::Invalid, format!("{}: cannot encode the body: {error}", self.name()))
        })?;
        Ok(Self { body: Some(body), ..self })
    }

    pub(super) fn with_secret(self) -> Self {
        Self { has_secret: true, ..self }
    }

    pub(super) fn is_read(&self) -> bool {
        self.method == Method::GET
    }

    /// Method and route, the prefix of error messages.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.route)
    }
}
