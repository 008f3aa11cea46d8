//! `spice-cloud-operator run`.

use std::process::ExitCode;

use crate::operator;

/// Arguments of `run`.
#[derive(clap::Args)]
#[command(after_help = "\
The operator connects to the cluster of $KUBECONFIG or ~/.kube/config. In a pod it uses the pod's service account.
Durations have a unit, such as 90s, 10m or 1h30m. A flag takes precedence over its environment variable.
Other flags are hidden. Hidden flags exist for tests and can change at any time.")]
pub(super) struct RunArguments {
    #[command(flatten)]
    settings: operator::OperatorSettings,
}

/// Runs the operator until SIGTERM or SIGINT.
pub(super) fn run(arguments: RunArguments) -> Result<ExitCode, String> {
    operator::run(arguments.settings).map_err(|error| error.to_string())
}
