//! Tests that need processes: a real Kubernetes API, the sandbox, the operator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic, and its name says what holds"
)]

mod harness;
#[path = "../support/mod.rs"]
mod support;
