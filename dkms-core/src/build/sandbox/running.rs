//! A confined command under way: its whole process group ends on demand, at its time limit, and with us.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// The process groups that run now.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this code; 128 + N when signal N ended it, as a shell says it.
    Code(i32),
    /// It ran past its limit and was killed.
    TimedOut,
}

/// A command under way. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    group: Pid,
    timed_out: Arc<AtomicBool>,
    /// Dropped to end the timer.
    timer: Option<mpsc::Sender<()>>,
}

impl Running {
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        groups(|g| g.insert(group.as_raw_pid()));
        Ok(Self { child, group, timed_out: Arc::default(), timer: None })
    }

    /// Kills the command should it still run after `limit`.
    pub fn limit(&mut self, limit: Duration) {
        let (timer, ended) = mpsc::channel::<()>();
        let (group, timed_out) = (self.group, Arc::clone(&self.timed_out));
        self.timer = Some(timer);
        std::thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                timed_out.store(true, Ordering::SeqCst);
                kill_group(group);
            }
        });
    }

    /// Waits for its end. Its output has to be read meanwhile.
    ///
    /// # Errors
    /// The system's own.
    pub fn wait(mut self) -> io::Result<Ended> {
        let status = self.child.wait()?;
        self.timer = None;
        if self.timed_out.load(Ordering::SeqCst) {
            return Ok(Ended::TimedOut);
        }
        Ok(Ended::Code(status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.timer = None;
        // What the command left behind in its group ends with it.
        kill_group(self.group);
        let _ = self.child.wait();
        groups(|g| g.remove(&self.group.as_raw_pid()));
    }
}

/// Kills every confined command of this process: for a worker whose daemon died or which was canceled.
pub fn kill_running() {
    for raw in groups(std::mem::take) {
        if let Some(group) = Pid::from_raw(raw) {
            kill_group(group);
        }
    }
}

fn kill_group(group: Pid) {
    // Gone already is what we want.
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
}

fn groups<T>(with: impl FnOnce(&mut BTreeSet<i32>) -> T) -> T {
    with(&mut GROUPS.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::super::Confined;
    use super::*;
    use std::io::Read as _;

    fn run(script: &str, limit: Option<Duration>) -> (String, Ended) {
        let (mut running, mut reader) = Confined::new("/", "sh", ["-c", script]).spawn().unwrap();
        if let Some(limit) = limit {
            running.limit(limit);
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        (text, running.wait().unwrap())
    }

    #[test]
    fn both_outputs_arrive_and_the_code_is_kept() {
        assert_eq!(run("echo out; echo err >&2; exit 7", None), ("out\nerr\n".into(), Ended::Code(7)));
        assert_eq!(run("kill -9 $$", None).1, Ended::Code(137));
    }

    #[test]
    fn a_limit_ends_the_command_and_what_it_started() {
        // The child in the background holds the pipe open: reading ends only when it is gone too.
        assert_eq!(run("sleep 1000 & sleep 1000", Some(Duration::from_millis(50))).1, Ended::TimedOut);
    }
}
