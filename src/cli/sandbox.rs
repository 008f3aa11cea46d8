//! `spice-cloud-operator sandbox`.

/// Settings of the sandbox.
#[derive(clap::Args)]
pub(super) struct Arguments {}

/// Runs the sandbox until it is told to stop.
pub(super) fn run(_arguments: Arguments) -> Result<(), String> {
    Ok(())
}
