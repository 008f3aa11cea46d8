//! The command line: one file a subcommand. Nothing here decides anything; it parses, calls and prints.

mod crds;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;

use std::process::ExitCode;

use clap::error::ErrorKind;
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
    /// Run the operator until SIGTERM or SIGINT.
    Run(Box<run::Arguments>),
    /// Print the CustomResourceDefinitions, or write them to a folder.
    Crds(crds::Arguments),
    /// Serve a local, in-memory stand-in for the Spice.ai Cloud Management API.
    #[cfg(feature = "sandbox")]
    Sandbox(Box<sandbox::Arguments>),
}

/// Parses the command line, runs the subcommand, and turns its result into an exit code:
/// 0 when it did what was asked, 1 when it failed (one line on standard error says why), 2 for a bad argument.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let result = match arguments.command {
        Command::Run(arguments) => run::run(*arguments),
        Command::Crds(arguments) => crds::run(&arguments).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(arguments) => sandbox::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// Help and version are printed as they are; a bad argument gets one line that names it.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    }
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    complain(line.strip_prefix("error: ").unwrap_or(&line));
    ExitCode::from(2)
}

#[expect(clippy::print_stderr, reason = "the one line a failed command owes its user")]
fn complain(message: &str) {
    eprintln!("error: {message}");
}
