//! Command line: one file for each subcommand. The subcommands parse arguments, call the other parts and print.

mod crds;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// Kubernetes operator that manages Spice.ai Cloud apps and secrets as custom resources
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator until SIGTERM or SIGINT
    Run(Box<run::RunArguments>),
    /// Print the CustomResourceDefinitions, or write them to a folder
    Crds(crds::CrdsArguments),
    /// Run a local Management API server for tests, without an account
    #[cfg(feature = "sandbox")]
    Sandbox(Box<sandbox::Arguments>),
}

/// Parses the command line and runs the subcommand. Returns exit code 0 after a success, 1 after an error, and 2 for an
/// invalid argument. Each error is one line on standard error.
pub fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => return print_usage(&error),
    };
    let result = match command_line.command {
        Command::Run(arguments) => run::run(*arguments),
        Command::Crds(arguments) => crds::run(&arguments).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(arguments) => sandbox::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            print_error(&message);
            ExitCode::FAILURE
        }
    }
}

/// Prints the help or the version, or one line about an invalid argument.
fn print_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    }
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    print_error(line.strip_prefix("error: ").unwrap_or(&line));
    ExitCode::from(2)
}

#[expect(clippy::print_stderr, reason = "a failed command prints one line for its user")]
fn print_error(message: &str) {
    eprintln!("error: {message}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_of_a_subcommand_do_not_replace_its_description() {
        let command = CommandLine::command();
        command.clone().debug_assert();
        let about = |name| command.find_subcommand(name).unwrap().get_about().unwrap().to_string();
        assert_eq!(about("run"), "Run the operator until SIGTERM or SIGINT");
        assert_eq!(about("crds"), "Print the CustomResourceDefinitions, or write them to a folder");
    }
}
