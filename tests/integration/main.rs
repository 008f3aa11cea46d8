//! Tests that need processes: a real Kubernetes API, the sandbox, the operator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by a panic, its name says what holds, and what it counted is shown on request"
)]

mod api_variants;
mod apps;
mod budget;
mod canary;
mod crash_create;
mod crash_harness;
mod crash_points_app;
mod crash_points_secret;
mod definitions;
mod deletion_order;
mod error_conditions;
mod harness;
mod invariants;
mod leadership;
mod legacy_schema;
mod model_based_app;
mod model_based_secret;
mod namespaces;
mod organizations;
mod ownership;
mod permissions;
mod process;
mod scopes;
mod secret_errors;
mod secrets;
mod status_invariants;
#[path = "../support/mod.rs"]
mod support;
mod undecodable;

/// The operator's binary.
fn program() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_BIN_EXE_spice-cloud-operator"))
}

/// Whether the tests that take minutes are wanted, as `make test-extended` does. They pass at once otherwise.
fn extended() -> bool {
    std::env::var("TEST_EXTENDED").is_ok_and(|value| value == "1")
}
