//! `spice-cloud-operator run`.

use std::process::ExitCode;

use crate::operator;

/// Settings of `run`.
#[derive(clap::Args)]
#[command(after_help = "The cluster is the one of $KUBECONFIG or ~/.kube/config, or the one that the pod runs in.")]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: operator::Settings,
}

/// Runs the operator until it is told to stop.
pub(super) fn run(arguments: Arguments) -> Result<ExitCode, String> {
    operator::run(arguments.settings).map_err(|error| error.to_string())
}
