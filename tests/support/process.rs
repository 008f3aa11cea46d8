//! Child processes: each in a process group of its own, so that Ctrl-C in a terminal reaches only us; with its output
//! in files of a run folder; ended with us whatever happens.

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

/// Lines of a log that an error message quotes.
const QUOTED_LINES: usize = 15;

/// A running process. Dropping it kills and reaps it.
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
    /// Starts `command` (its program, arguments, environment and folder; its standard streams are ours). `name` names
    /// the log files: `NAME.log` for standard error, `NAME.out` for standard output, `NAME-2.log` the second time.
    pub fn start(run: &Arc<RunDir>, name: &str, command: &Command) -> Result<Self, String> {
        let (stdout, out) = new_file(run, name, "out")?;
        let (stderr, log) = new_file(run, name, "log")?;
        let mut gated = gated(command);
        gated.stdout(out).stderr(log);
        let mut process = gated.spawn().map_err(|e| format!("{name} does not start: {e}"))?;
        let pid = process.id();
        let faults = process.stdin.take();
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
        faults
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
            .and_then(|mut faults| faults.write_all(b"go\n"))
            .map_err(|e| format!("{name} does not start: {e}"))?;
        Ok(child)
    }

    /// The process id, which is also the id of its group.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        text(&self.stderr)
    }

    /// What it wrote to standard output.
    pub fn output(&self) -> String {
        text(&self.stdout)
    }

    /// The first line of its standard output, which is JSON; an error when it ends without one.
    pub async fn announcement<T: DeserializeOwned>(&self) -> Result<T, String> {
        let line = poll(&format!("{} announces itself", self.name), DEADLINE, async || {
            // Asked before the file is read: what it wrote before its end is then in there.
            let ended = self.ended();
            match (self.output().split_once('\n'), ended) {
                (Some((line, _)), _) => Ok(Ok(line.to_owned())),
                (None, Some(status)) => Ok(Err(self.exit_report(status))),
                (None, None) => Err(String::from("it has not written a line")),
            }
        })
        .await??;
        serde_json::from_str(&line)
            .map_err(|e| format!("{} announces {line:?}, which is not understood: {e}", self.name))
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process().try_wait().ok().flatten()
    }

    /// Waits until it has ended.
    pub async fn wait(&self, deadline: Duration) -> Result<ExitStatus, String> {
        poll(&format!("{} ends", self.name), deadline, async || {
            self.ended().ok_or_else(|| String::from("it is running"))
        })
        .await
    }

    /// SIGSTOP: it stands still between two instructions, and nobody has told it.
    pub fn pause(&self) -> Result<(), String> {
        self.signal("STOP")
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn go_on(&self) -> Result<(), String> {
        self.signal("CONT")
    }

    /// SIGTERM, to it and all it started: it may end as it sees fit. Nothing happens if it has ended.
    pub fn terminate(&self) -> Result<(), String> {
        self.signal("TERM")
    }

    /// SIGKILL, to it and all it started; returns when it is gone.
    pub fn kill(&self) -> Result<ExitStatus, String> {
        self.signal("KILL")?;
        self.process().wait().map_err(|e| format!("{}: {e}", self.name))
    }

    /// Lets it run on after our own end; its files stay.
    pub fn detach(mut self) {
        self.run.keep_everything();
        self.watched = None;
        self.detached = true;
    }

    /// For an error message: how it ended and the end of its log.
    pub fn exit_report(&self, status: ExitStatus) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let quoted = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n  ");
        format!("{} ended ({status}); the end of its log:\n  {quoted}", self.name)
    }

    fn process(&self) -> MutexGuard<'_, std::process::Child> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: &str) -> Result<(), String> {
        // The lock is held over both: nobody can reap the process, and its id cannot be used again, in between.
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
        // No error can be told from here; the watchdog has the process until the field is dropped.
        self.kill().ok();
    }
}

/// Runs `command` to its end and gives its standard output; its standard error is the error. Ends with us as a
/// [`Child`] does, and when the future is dropped.
pub async fn output(command: &Command) -> Result<String, String> {
    let line = describe(command);
    let mut gated = gated(command);
    gated.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process =
        tokio::process::Command::from(gated).kill_on_drop(true).spawn().map_err(|e| format!("{line}: {e}"))?;
    let _watched = process.id().map(Watched::process_group).transpose()?;
    if let Some(mut faults) = process.stdin.take() {
        use tokio::io::AsyncWriteExt;
        faults.write_all(b"go\n").await.map_err(|e| format!("{line}: {e}"))?;
    }
    let output = process.wait_with_output().await.map_err(|e| format!("{line}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(format!("{line}: {}\n{out}{err}", output.status))
    }
}

/// The command behind a gate: nothing of it runs before it is told to through its standard input, so that it can be
/// entered with the watchdog first. If we are killed in between, the gate reads an end and the child exits.
fn gated(command: &Command) -> Command {
    let mut gated = Command::new("/bin/sh");
    gated.args(["-c", r#"read -r _ && exec "$@" </dev/null"#, "gate"]);
    gated.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => gated.env(key, value),
            None => gated.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        gated.current_dir(folder);
    }
    gated.stdin(Stdio::piped()).process_group(0);
    gated
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(OsStr::new("?"));
    let words: Vec<_> = [program].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
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

fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
