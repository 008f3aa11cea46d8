//! The body of a request, which may be more than the API takes.
//!
//! An endpoint learns of that when it reads the body, so that whatever comes before the body in the order of the contract
//! (section 5) is refused first.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::sandbox::wire::error::ErrorResponse;

/// So many bytes of a body are taken.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A body that was read from the client, not yet judged. The gateway puts it beside the request.
#[derive(Clone)]
pub(crate) struct RequestBody(Option<Bytes>);

impl RequestBody {
    /// A body above the limit, which is not kept.
    pub(crate) const TOO_LARGE: Self = Self(None);

    /// The body; 413 if it was above the limit.
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
