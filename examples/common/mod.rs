//! Parts that the demo and the benchmark share.

use std::{env, fs, path::PathBuf, process::ExitCode};

/// Runs a program until its end or an interrupt, and prints its error.
pub async fn run(name: &str, program: impl Future<Output = Result<(), String>>) -> ExitCode {
    let result = tokio::select! {
        result = program => result,
        _ = tokio::signal::ctrl_c() => Err("interrupted; all processes are stopped".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe {name} failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Path of the operator binary of the same build profile, in the parent directory of the examples.
pub fn operator_program() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| format!("cannot find the path of this program: {error}"))?;
    let program = own.ancestors().nth(2).map(|directory| directory.join("spice-cloud-operator"));
    program
        .filter(|program| program.exists())
        .ok_or_else(|| "the operator binary is missing: run `make demo` or `make bench`".to_owned())
}

/// Memory of a process in MiB, from a field of `/proc/PID/status` such as `VmRSS` (now) or `VmHWM` (peak).
pub fn memory_mib(pid: u32, field: &str) -> Result<f64, String> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("{path}: no size in {field}"))
}
