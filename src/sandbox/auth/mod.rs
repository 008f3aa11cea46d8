//! Credentials, scopes and the identity behind a request.

pub(crate) mod cli_logins;
pub(crate) mod credentials;
pub(crate) mod identity;
pub(crate) mod scopes;
