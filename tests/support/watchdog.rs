//! What we started ends with us, also when we are killed and no code of ours can run any more.
//!
//! One shell per process reads `+ENTRY` and `-ENTRY` lines from a pipe that only we hold open. When we end, however we
//! end, the pipe reads as ended; the shell then kills every process group that is still entered and removes every
//! folder. (A parent-death signal would need `unsafe`, and would miss what our children started.)

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

/// An entry is the id of a process group, or the absolute path of a folder. The list of entries is `$@`.
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
      # A process that is still dying may write once more.
      for attempt in 1 2 3 4 5; do
        rm -rf -- "$entry"
        [ -e "$entry" ] || break
        sleep 1
      done ;;
  esac
done
"#;

/// As long as it lives, the watchdog ends what it stands for if we end first.
pub struct Watched {
    entry: String,
}

impl Watched {
    /// Enters a process group.
    pub fn process_group(id: u32) -> Result<Self, String> {
        Self::enter(id.to_string())
    }

    /// Enters a folder, which must be absolute.
    pub fn folder(path: &Path) -> Result<Self, String> {
        match path.to_str() {
            Some(text) if path.is_absolute() && !text.contains('\n') => Self::enter(text.to_owned()),
            _ => Err(format!("{path:?} cannot be watched: it must be absolute, in UTF-8 and on one line")),
        }
    }

    fn enter(entry: String) -> Result<Self, String> {
        tell('+', &entry)?;
        Ok(Self { entry })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A watchdog that is gone has nothing to forget.
        tell('-', &self.entry).ok();
    }
}

fn tell(sign: char, entry: &str) -> Result<(), String> {
    static WATCHDOG: OnceLock<Result<Mutex<ChildStdin>, String>> = OnceLock::new();
    let pipe = WATCHDOG.get_or_init(|| start().map(Mutex::new)).as_ref().map_err(Clone::clone)?;
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    // One write a line: another thread's line cannot come between.
    pipe.write_all(format!("{sign}{entry}\n").as_bytes()).map_err(|e| format!("the watchdog does not listen: {e}"))
}

fn start() -> Result<ChildStdin, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "watchdog"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Of its own, so that Ctrl-C in a terminal reaches us and not it.
        .process_group(0)
        .spawn()
        .map_err(|e| format!("the watchdog does not start: {e}"))?;
    child.stdin.take().ok_or_else(|| String::from("the watchdog has no pipe"))
}
