//! The command line: one file a subcommand. Nothing here decides anything; it parses, calls and prints.

mod crds;
#[cfg(feature = "sandbox")]
mod sandbox;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps Spice.ai Cloud equal to the custom resources in a Kubernetes cluster.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the CustomResourceDefinitions, or write them to a folder.
    Crds(crds::Arguments),
    /// Serve a local, in-memory stand-in for the Spice.ai Cloud Management API.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Arguments),
}

/// Parses the command line, runs the subcommand, and turns its result into an exit code:
/// 0 when it did what was asked, 1 when it failed (one line on standard error says why), 2 for a bad argument.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Crds(arguments) => crds::run(&arguments),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(arguments) => sandbox::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            #[expect(clippy::print_stderr, reason = "the one line a failed command owes its user")]
            {
                eprintln!("error: {message}");
            }
            ExitCode::FAILURE
        }
    }
}
