//! Middleware, admin endpoints, server and TLS.

pub(crate) mod admin;
pub(crate) mod middleware;
pub(crate) mod server;
pub(crate) mod tls;
