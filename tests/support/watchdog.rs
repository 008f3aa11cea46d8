//! Cleanup of child processes and directories after the end of this process, including a SIGKILL.
//!
//! One shell per process reads `+ENTRY` and `-ENTRY` lines from a pipe that only this process holds open. At the end of
//! the pipe, the shell kills every registered process group and removes every registered directory. A parent-death
//! signal would require `unsafe` and would miss the processes that the children started.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

/// An entry is the ID of a process group or the absolute path of a directory. `$@` holds the entries.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while IFS= read -r line; do
  entry=${line#?}
  case $line in
    +*) set -- "$@" "$entry" ;;
    -*)
      left=$#
      while [ "$left" -gt 0 ]; do
        [ "$1" = "$entry" ] || set -- "$@" "$1"
        shift
        left=$((left - 1))
      done ;;
  esac
done
for entry; do case $entry in /*) ;; *) kill -s KILL -- "-$entry" ;; esac; done
for entry; do
  case $entry in
    /*)
      # A process that is exiting may write again.
      for attempt in 1 2 3 4 5; do
        rm -rf -- "$entry"
        [ -e "$entry" ] || break
        sleep 1
      done ;;
  esac
done
"#;

/// Registration of one entry. A drop removes the entry from the watchdog.
pub struct Watched {
    entry: String,
}

impl Watched {
    /// Registers a process group.
    pub fn process_group(id: u32) -> Result<Self, String> {
        Self::register(id.to_string())
    }

    /// Registers a directory. The path must be absolute.
    pub fn directory(path: &Path) -> Result<Self, String> {
        match path.to_str() {
            Some(text) if path.is_absolute() && !text.contains('\n') => Self::register(text.to_owned()),
            _ => Err(format!("{path:?} cannot be watched: it must be absolute, in UTF-8 and on one line")),
        }
    }

    fn register(entry: String) -> Result<Self, String> {
        send_line('+', &entry)?;
        Ok(Self { entry })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // If the watchdog has exited, there is no entry to remove.
        send_line('-', &self.entry).ok();
    }
}

fn send_line(sign: char, entry: &str) -> Result<(), String> {
    static WATCHDOG: OnceLock<Result<Mutex<ChildStdin>, String>> = OnceLock::new();
    let pipe = WATCHDOG.get_or_init(|| start().map(Mutex::new)).as_ref().map_err(Clone::clone)?;
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    // One write per line: lines of concurrent threads do not interleave.
    pipe.write_all(format!("{sign}{entry}\n").as_bytes()).map_err(|e| format!("cannot write to the watchdog: {e}"))
}

fn start() -> Result<ChildStdin, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "watchdog"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A separate group, so that Ctrl-C in a terminal does not reach the watchdog.
        .process_group(0)
        .spawn()
        .map_err(|e| format!("cannot start the watchdog: {e}"))?;
    child.stdin.take().ok_or_else(|| String::from("the watchdog has no pipe"))
}
