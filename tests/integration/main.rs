//! Tests with real processes: kube-apiserver, the sandbox, and the operator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests fail by panicking, their names describe them, and they print figures"
)]

mod api_variants;
mod apps;
mod budget;
mod canary;
mod crash_create;
mod crash_harness;
mod crash_points_app;
mod crash_points_secret;
mod credentials;
mod definitions;
mod deletion_order;
mod error_conditions;
mod fixtures;
mod foreign_finalizer;
mod harness;
mod hostile_endpoint;
mod invariants;
mod large_specs;
mod leadership;
mod legacy_schema;
mod model_based_app;
mod model_based_secret;
mod namespaces;
mod organizations;
mod ownership;
mod permissions;
mod process;
mod recreation;
mod refused_secrets;
mod refused_writes;
mod scopes;
mod secret_errors;
mod secret_ownership;
mod secrets;
mod soak;
mod status_invariants;
#[path = "../support/mod.rs"]
mod support;
mod undecodable;

use support::test_env::program;

/// Returns true if `make test-extended` runs the tests. Otherwise the slow tests return immediately.
fn extended() -> bool {
    std::env::var("TEST_EXTENDED").is_ok_and(|value| value == "1")
}
