//! Credentials for the Management API.

use secrecy::SecretString;

/// A credential of one user account.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A personal access token or a session token, sent as it is.
    Token(SecretString),
    /// An OAuth client, which obtains access tokens from a token endpoint.
    Client {
        /// Client ID.
        id: String,
        /// Client secret.
        secret: SecretString,
        /// URL of the token endpoint.
        token_endpoint: String,
    },
}
