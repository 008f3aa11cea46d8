//! A local Management API server.
