//! Authentication: the bearer token of each request.

mod oauth;
mod token;

pub(super) use token::AccessToken;

use std::sync::Arc;

use oauth::OAuthTokenSource;

use super::credential::Credential;
use super::metrics::ApiMetrics;
use super::rate_limit::Budget;
use super::types::ApiError;

/// The source of access tokens for one credential.
#[derive(Debug)]
pub(super) enum TokenSource {
    /// A token that never changes.
    Static(Arc<AccessToken>),
    /// Tokens of an OAuth client.
    OAuth(Box<OAuthTokenSource>),
}

impl TokenSource {
    pub(super) fn new(
        credential: Credential,
        http: &reqwest::Client,
        budget: &Arc<Budget>,
        metrics: &ApiMetrics,
    ) -> Result<Self, ApiError> {
        match credential {
            Credential::Token(token) => Ok(Self::Static(AccessToken::new(token, false))),
            Credential::Client { id, secret, token_endpoint } => {
                let client = OAuthTokenSource::new(id, secret, &token_endpoint, http, budget, metrics)?;
                Ok(Self::OAuth(Box::new(client)))
            }
        }
    }

    /// The token for a request. May send a token request, which uses the request budget.
    pub(super) async fn token(&self) -> Result<Arc<AccessToken>, ApiError> {
        match self {
            Self::Static(token) => Ok(Arc::clone(token)),
            Self::OAuth(client) => client.token().await,
        }
    }

    /// The token to use now for a caller that got `token` earlier and must not wait for a renewal. `None` if the token
    /// has expired.
    pub(super) fn revalidate(&self, token: Arc<AccessToken>) -> Option<Arc<AccessToken>> {
        match self {
            Self::Static(_) => Some(token),
            Self::OAuth(client) => client.revalidate(token),
        }
    }

    /// Discards a token that the API rejected. Returns whether a retry with a new token can succeed.
    pub(super) async fn report_rejected(&self, token: &Arc<AccessToken>) -> bool {
        match self {
            Self::Static(_) => false,
            Self::OAuth(client) => client.report_rejected(token).await,
        }
    }
}
