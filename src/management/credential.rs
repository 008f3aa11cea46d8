//! Credentials for the Management API.

use secrecy::{ExposeSecret, SecretString};

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

impl Credential {
    /// Returns true if both credentials authenticate with the same values.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(one), Self::Token(other)) => one.expose_secret() == other.expose_secret(),
            (
                Self::Client { id, secret, token_endpoint },
                Self::Client { id: other_id, secret: other_secret, token_endpoint: other_endpoint },
            ) => {
                (id, token_endpoint) == (other_id, other_endpoint)
                    && secret.expose_secret() == other_secret.expose_secret()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_the_same_if_all_their_values_are() {
        let token = |token: &str| Credential::Token(token.into());
        let client = |id: &str, secret: &str, endpoint: &str| Credential::Client {
            id: id.to_owned(),
            secret: secret.into(),
            token_endpoint: endpoint.to_owned(),
        };
        let all = [
            token("one"),
            token("two"),
            client("one", "two", "three"),
            client("x", "two", "three"),
            client("one", "x", "three"),
            client("one", "two", "x"),
        ];
        for (place, one) in all.iter().enumerate() {
            for (other_place, other) in all.iter().enumerate() {
                assert_eq!(one.is_same(&other.clone()), place == other_place, "{place} {other_place}");
            }
        }
    }
}
