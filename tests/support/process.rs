//! Child processes. Each has its own process group, so Ctrl-C in a terminal reaches only this process. The output is
//! written to files in the run directory. The watchdog kills the children after the end of this process.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde::de::DeserializeOwned;

use super::{
    eventually::{DEADLINE, poll},
    run_dir::RunDir,
    watchdog::Watched,
};

/// Number of log lines in an error message.
const QUOTED_LINES: usize = 15;

/// A running process. A drop kills and reaps the process.
pub struct Child {
    name: String,
    pid: u32,
    stdout: PathBuf,
    stderr: PathBuf,
    process: Mutex<std::process::Child>,
    watched: Option<Watched>,
    detached: bool,
    run: Arc<RunDir>,
}

impl Child {
    /// Starts `command` with its program, arguments, environment and directory. Standard error goes to `NAME.log`, and
    /// standard output to `NAME.out`. The second process with the same name has `NAME-2.log`.
    pub fn start(run: &Arc<RunDir>, name: &str, command: &Command) -> Result<Self, String> {
        let (stdout, out) = new_file(run, name, "out")?;
        let (stderr, log) = new_file(run, name, "log")?;
        let mut gated = gated_command(command);
        gated.stdout(out).stderr(log);
        let mut process = gated.spawn().map_err(|e| format!("cannot start {name}: {e}"))?;
        let pid = process.id();
        let gate = process.stdin.take();
        let mut child = Self {
            name: name.to_owned(),
            pid,
            stdout,
            stderr,
            process: Mutex::new(process),
            watched: None,
            detached: false,
            run: run.clone(),
        };
        child.watched = Some(Watched::process_group(pid)?);
        gate.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
            .and_then(|mut gate| gate.write_all(b"go\n"))
            .map_err(|e| format!("cannot start {name}: {e}"))?;
        Ok(child)
    }

    /// Returns the process ID, which is also the ID of the process group.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the standard error so far.
    pub fn log(&self) -> String {
        read_text(&self.stderr)
    }

    /// Returns the standard output so far.
    pub fn output(&self) -> String {
        read_text(&self.stdout)
    }

    /// Waits for the first line of the standard output and parses the line as JSON. Fails if the process ends before.
    pub async fn wait_for_first_line<T: DeserializeOwned>(&self) -> Result<T, String> {
        let line = poll(&format!("{} prints its first line", self.name), DEADLINE, async || {
            // The exit status is read before the file, so that the file contains all output of an ended process.
            let exit_status = self.exit_status();
            match (self.output().split_once('\n'), exit_status) {
                (Some((line, _)), _) => Ok(Ok(line.to_owned())),
                (None, Some(status)) => Ok(Err(self.exit_report(status))),
                (None, None) => Err(String::from("no line yet")),
            }
        })
        .await??;
        serde_json::from_str(&line).map_err(|e| format!("{}: invalid first line {line:?}: {e}", self.name))
    }

    /// Returns the exit status, or `None` for a running process.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.process().try_wait().ok().flatten()
    }

    /// Waits for the end of the process.
    pub async fn wait(&self, deadline: Duration) -> Result<ExitStatus, String> {
        poll(&format!("{} ends", self.name), deadline, async || {
            self.exit_status().ok_or_else(|| String::from("the process is running"))
        })
        .await
    }

    /// Sends SIGSTOP. The process cannot observe the pause.
    pub fn pause(&self) -> Result<(), String> {
        self.signal("STOP")
    }

    /// Sends SIGCONT.
    pub fn resume(&self) -> Result<(), String> {
        self.signal("CONT")
    }

    /// Sends SIGTERM to the process group. No effect on an ended process.
    pub fn terminate(&self) -> Result<(), String> {
        self.signal("TERM")
    }

    /// Sends SIGKILL to the process group and waits for the end of the process.
    pub fn kill(&self) -> Result<ExitStatus, String> {
        self.signal("KILL")?;
        self.process().wait().map_err(|e| format!("{}: {e}", self.name))
    }

    /// Keeps the process and its files after the end of this process.
    pub fn detach(mut self) {
        self.run.keep_everything();
        self.watched = None;
        self.detached = true;
    }

    /// Returns an error text with the exit status and the last log lines.
    pub fn exit_report(&self, status: ExitStatus) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let quoted = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n  ");
        format!("{} ended ({status}); last log lines:\n  {quoted}", self.name)
    }

    fn process(&self) -> MutexGuard<'_, std::process::Child> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: &str) -> Result<(), String> {
        // The lock prevents a concurrent reap, after which the kernel could reuse the process ID.
        let mut process = self.process();
        if process.try_wait().map_err(|e| format!("{}: {e}", self.name))?.is_some() {
            return Ok(());
        }
        let status = Command::new("/bin/sh")
            .args(["-c", r#"kill -s "$1" -- "-$2""#, "kill", signal, &self.pid.to_string()])
            .stdin(Stdio::null())
            .status()
            .map_err(|e| format!("SIG{signal} to {}: {e}", self.name))?;
        if status.success() { Ok(()) } else { Err(format!("SIG{signal} to {}: {status}", self.name)) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        if thread::panicking() {
            self.run.keep_logs();
        }
        // A drop cannot return an error. The watchdog kills the process if this call fails.
        self.kill().ok();
    }
}

/// Runs `command` and returns its standard output. The error contains the standard error. The process ends like a
/// [`Child`], and also at the drop of the future.
pub async fn output(command: &Command) -> Result<String, String> {
    let line = command_line(command);
    let mut gated = gated_command(command);
    gated.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process =
        tokio::process::Command::from(gated).kill_on_drop(true).spawn().map_err(|e| format!("{line}: {e}"))?;
    let _watched = process.id().map(Watched::process_group).transpose()?;
    if let Some(mut gate) = process.stdin.take() {
        use tokio::io::AsyncWriteExt;
        gate.write_all(b"go\n").await.map_err(|e| format!("{line}: {e}"))?;
    }
    let output = process.wait_with_output().await.map_err(|e| format!("{line}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(format!("{line}: {}\n{out}{err}", output.status))
    }
}

/// Wraps the command in a shell that waits for a line on its standard input, so that the watchdog registers the process
/// before the command starts. If this process is killed in between, the shell reads the end of its input and exits.
fn gated_command(command: &Command) -> Command {
    let mut gated = Command::new("/bin/sh");
    gated.args(["-c", r#"read -r _ && exec "$@" </dev/null"#, "gate"]);
    gated.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => gated.env(key, value),
            None => gated.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        gated.current_dir(directory);
    }
    gated.stdin(Stdio::piped()).process_group(0);
    gated
}

fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(OsStr::new("?"));
    let parts: Vec<_> = [program].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    parts.join(" ")
}

fn new_file(run: &RunDir, name: &str, extension: &str) -> Result<(PathBuf, File), String> {
    let mut path = run.logs().join(format!("{name}.{extension}"));
    let mut count = 1;
    loop {
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => count += 1,
            Err(e) => return Err(format!("{}: {e}", path.display())),
        }
        path = run.logs().join(format!("{name}-{count}.{extension}"));
    }
}

fn read_text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
