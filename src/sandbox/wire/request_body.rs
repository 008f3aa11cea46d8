//! Body of a request, which may exceed the size limit.
//!
//! The size is checked when the endpoint reads the body, because authentication, scope and path errors come before a
//! body error.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::sandbox::wire::error::ErrorResponse;

/// Maximum size of a body that an endpoint accepts.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A received body that is not yet validated. The middleware adds it to the request as an extension.
#[derive(Clone)]
pub(crate) struct RequestBody(Option<Bytes>);

impl RequestBody {
    /// A body above the limit. The content is discarded.
    pub(crate) const TOO_LARGE: Self = Self(None);

    /// Returns the body, or 413 if the body exceeds the limit.
    pub(crate) fn read(&self) -> Result<&[u8], ErrorResponse> {
        self.0.as_deref().ok_or_else(ErrorResponse::body_too_large)
    }
}

impl From<Bytes> for RequestBody {
    fn from(body: Bytes) -> Self {
        if body.len() > MAX_BODY_BYTES { Self::TOO_LARGE } else { Self(Some(body)) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestBody {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Bytes::new().into()))
    }
}
