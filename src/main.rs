//! The `spice-cloud-operator` binary: everything it does is a subcommand in [`spice_cloud_operator::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // The one TLS provider of the whole tree. Only a second call can fail, and there is none.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    spice_cloud_operator::cli::main()
}
