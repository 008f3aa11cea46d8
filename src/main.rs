//! The `spice-cloud-operator` binary: everything it does is a subcommand in [`spice_cloud_operator::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    spice_cloud_operator::cli::main()
}
