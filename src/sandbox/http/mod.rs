//! Middleware of all API requests, `/sandbox/` endpoints, connections and TLS.

pub(crate) mod admin;
pub(crate) mod middleware;
pub(crate) mod server;
pub(crate) mod tls;
