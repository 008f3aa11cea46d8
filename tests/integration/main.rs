//! Tests that need processes: a real Kubernetes API, the sandbox, the operator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by a panic, its name says what holds, and what it counted is shown on request"
)]

mod apps;
mod budget;
mod canary;
mod definitions;
mod harness;
mod invariants;
mod kill_points;
mod kill_points_of_secrets;
mod killing;
mod kills;
mod leadership;
mod looser;
mod namespaces;
mod organizations;
mod ownership;
mod permissions;
mod process;
mod random;
mod random_secrets;
mod scopes;
mod secret_trouble;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod teardown;
mod trouble;
mod undecodable;
mod variants;
mod witness;

/// The operator's binary.
fn program() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_BIN_EXE_spice-cloud-operator"))
}

/// Whether the tests that take minutes are wanted, as `make test-extended` does. They pass at once otherwise.
fn extended() -> bool {
    std::env::var("TEST_EXTENDED").is_ok_and(|value| value == "1")
}
