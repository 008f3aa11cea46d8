//! The `spice-cloud-operator` binary. All subcommands are in [`spice_cloud_operator::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // All TLS connections use this provider. The call fails only if a provider is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    spice_cloud_operator::cli::main()
}
