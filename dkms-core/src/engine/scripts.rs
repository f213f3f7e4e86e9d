//! Scripts of a package that run for the installed system: POST_ADD, PRE_INSTALL, POST_INSTALL, POST_REMOVE. As root and
//! outside the sandbox, as ever (design.md, decision 2); their folder is the source.
//!
//! None runs that others than root can change, nor with arguments of a dkms.conf that they can change. Those of another
//! root run inside it.
//!
//! A script is over when its own process is: what it leaves in the background lives on, as ever, and nobody waits for it
//! though it has the output open. (To kill it then would also hit a daemon that is about to take a session of its own.)
//! A script that runs past its limit, or whose job is canceled, is killed with its whole process group: only what has a
//! session or group of its own (`setsid`, `systemctl start`) survives that.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::Engine;
use super::trust::{Writable, writable_by_others};
use crate::build::commands::quote;
use crate::build::{is_executable, sandbox};
use crate::error::{Error, IoContext as _, Result};
use crate::event::Sink;
use crate::host::process;
use crate::model::{KernelId, PackageId};
use crate::tree::locks::Lent;

/// How long a script may take: it runs while the kernel's folder is locked.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// The code of a script that took longer, as of timeout(1).
const TOOK_TOO_LONG: i32 = 124;
/// How much of a script's output is told, in bytes; of more, the end.
const TOLD: u64 = 64 * 1024;

/// How long a script that is told to end has for it before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// The groups of the scripts that run now.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// One of them runs no more.
static ENDED: Condvar = Condvar::new();

/// For a process that is about to end, while it holds what it has locked: ends all builds and scripts that it runs, TERM
/// first and KILL after a moment, and returns when they are gone. No other is started, and nobody hears how these ended.
///
/// (One that dies without a chance to call this takes its builds with it, and of a script the first process.)
pub fn stop() {
    process::begin_to_stop();
    let scripts = groups(|groups| groups.clone());
    let all = |signal| {
        // The number of one that has ended stays taken until we have.
        for group in scripts.iter().copied().filter_map(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    };
    let wait = || {
        let running = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        drop(ENDED.wait_timeout_while(running, GRACE, |groups| !groups.is_disjoint(&scripts)));
    };
    all(Signal::TERM);
    wait();
    // Also what a script has left that ended.
    all(Signal::KILL);
    wait();
    sandbox::stop_running();
}

impl Engine {
    /// Runs a script; its code, or none when there is none to run.
    ///
    /// # Errors
    /// When bash cannot be started; a PRE_INSTALL that others than root can change. (Of another such script there is a
    /// warning.)
    pub(super) fn script(
        &self,
        directive: &str,
        value: Option<&str>,
        package: &PackageId,
        kernel: Option<&KernelId>,
        source: &Path,
        sink: &mut dyn Sink,
    ) -> Result<Option<i32>> {
        let Some(value) = value else { return Ok(None) };
        let name = value.split_whitespace().next().unwrap_or_default();
        let theirs = self.layout.override_dir(&package.name);
        let folder = if theirs.join(name).is_file() { theirs.as_path() } else { source };
        if !is_executable(&folder.join(name)) {
            sink.warn(format!("{directive}: {name} is not an executable file: not run"));
            return Ok(None);
        }
        if let Some(Writable { path, uid, mode }) = self.not_roots_alone(folder, name, source)? {
            let stops = directive == "PRE_INSTALL";
            let (package, directive, script) = (package.clone(), directive.to_owned(), name.to_owned());
            let folder = if path.starts_with(&theirs) { &theirs } else { source }.to_owned();
            let refused = Error::UnsafeScript { package, directive, script, path, uid, mode, folder };
            if stops {
                return Err(refused);
            }
            sink.warn(refused.to_string());
            return Ok(None);
        }
        let Some(mut command) = self.shell(directive, folder, value, sink) else { return Ok(None) };
        command.env("module", package.name.as_str()).env("module_version", package.version.as_str());
        if let Some(kernel) = kernel {
            command.env("kernelver", kernel.release.as_str()).env("arch", kernel.arch.as_str());
        }
        let lent = Lent::all();
        let (variable, words) = lent.variable();
        let ended = run(command.env(variable, words), LIMIT).map_err(|source| Error::Program {
            program: "bash".into(),
            source,
            hint: "install bash".into(),
        })?;
        drop(lent);
        if ended.left_out > 0 {
            sink.note(format!("{directive}: (the first {} bytes of its output are left out)", ended.left_out));
        }
        for line in ended.output.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            sink.note(format!("{directive}: {}", String::from_utf8_lossy(line)));
        }
        let Some(code) = ended.code else {
            let minutes = LIMIT.as_secs() / 60;
            sink.warn(format!("{directive}: {name} was killed: it had not ended after {minutes} minutes"));
            return Ok(Some(TOOK_TOO_LONG));
        };
        Ok(Some(code))
    }
}

impl Engine {
    /// What runs a script in its folder; none in another root that has no shell: images are put together before they are
    /// whole.
    fn shell(&self, directive: &str, folder: &Path, value: &str, sink: &mut dyn Sink) -> Option<Command> {
        const EVAL: [&str; 3] = ["-c", "cd \"$2\" && eval \"$1\"", "bash"];
        // One command takes the shell's place, so that what ends the process that we know ends the script.
        let exec = if value.contains(|c| ";&|()<>`#\n".contains(c)) { "" } else { "exec " };
        let path = format!("{}/{value}", quote(&folder.to_string_lossy()));
        let has_bash = || ["/bin/bash", "/usr/bin/bash"].iter().any(|bash| is_executable(&self.layout.host(bash)));
        if self.in_other_root && !has_bash() {
            sink.warn(format!("{directive}: {path} is not run: the other root has no bash; run it there"));
            return None;
        }
        let mut command = Command::new("bash");
        command.args(EVAL).arg(format!("{exec}{path}")).arg(folder);
        Some(command)
    }

    /// What others can change of a script, and of the dkms.conf that names it; none for one who is not root, and puts
    /// nobody else's rights at risk.
    fn not_roots_alone(&self, folder: &Path, script: &str, source: &Path) -> Result<Option<Writable>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        for (folder, name) in [(folder, Path::new(script)), (source, Path::new("dkms.conf"))] {
            let found = writable_by_others(folder, name).at("look at", folder.join(name))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// How a script ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    /// 128 + N when signal N ended it, as a shell says it; none when it took too long.
    code: Option<i32>,
    /// What it and all it started had said by then: the last [`TOLD`] bytes.
    output: Vec<u8>,
    /// How many bytes went before those.
    left_out: u64,
}

/// Runs a command without input, and waits for it alone.
fn run(command: &mut Command, limit: Duration) -> io::Result<Ended> {
    // A file, not a pipe: whoever keeps it open can neither block nor be broken by our going on.
    let mut output = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let code = supervise(command, limit)?;
    let left_out = output.metadata()?.len().saturating_sub(TOLD);
    output.seek(SeekFrom::Start(left_out))?;
    let mut told = Vec::new();
    output.take(TOLD).read_to_end(&mut told)?;
    Ok(Ended { code, output: told, left_out })
}

/// Runs a command in a process group of its own, which is killed when it takes too long or the job is canceled. Its code
/// as in [`Ended::code`].
pub(super) fn supervise(command: &mut Command, limit: Duration) -> io::Result<Option<i32>> {
    crate::sys::end_with_us(command);
    let started = groups(|groups| {
        // Asked while nobody can ask which there are.
        if process::stopping() {
            return Ok(None);
        }
        let child = command.process_group(0).spawn()?;
        let group = Pid::from_child(&child);
        groups.insert(group.as_raw_pid());
        io::Result::Ok(Some((child, group)))
    })?;
    let Some((mut child, group)) = started else {
        process::go_no_further_when_stopping();
        return Err(io::ErrorKind::Interrupted.into());
    };
    let took_too_long = std::thread::scope(|scope| {
        let (ended, end) = mpsc::channel::<()>();
        let timer = scope.spawn(move || {
            let too_long = end.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if too_long {
                kill(group);
            }
            too_long
        });
        // Its number stays taken until the wait below: nobody else's group can be killed.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(group), options), Err(Errno::INTR)) {}
        drop(ended);
        timer.join().unwrap_or(false)
    });
    groups(|groups| groups.remove(&group.as_raw_pid()));
    ENDED.notify_all();
    process::go_no_further_when_stopping();
    let status = child.wait()?;
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    Ok((!took_too_long).then_some(code))
}

fn kill(group: Pid) {
    // Gone already is what we want.
    let _ = kill_process_group(group, Signal::KILL);
}

fn groups<T>(with: impl FnOnce(&mut BTreeSet<i32>) -> T) -> T {
    with(&mut GROUPS.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn sh(script: &str, limit: Duration) -> Ended {
        run(Command::new("sh").args(["-c", script]), limit).unwrap()
    }

    #[test]
    fn both_outputs_arrive_in_order_and_the_code_is_kept() {
        let ended = sh("echo one; echo two >&2; echo three; exit 7", LIMIT);
        assert_eq!(ended, Ended { code: Some(7), output: b"one\ntwo\nthree\n".into(), left_out: 0 });
        assert_eq!(sh("kill -9 $$", LIMIT).code, Some(137));
    }

    #[test]
    fn the_end_of_much_output_is_told() {
        let ended = sh("yes | head -c 100000; echo end", LIMIT);
        assert_eq!((ended.output.len() as u64, ended.left_out), (TOLD, 100_004 - TOLD));
        assert!(ended.output.ends_with(b"y\nend\n"));
    }

    fn fifo(folder: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
        let fifo = folder.path().join(name);
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        fifo
    }

    #[test]
    fn what_stays_in_the_background_lives_on_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let [ask, answer] = ["ask", "answer"].map(|name| fifo(&folder, name));
        let talk = format!("(read line <{}; echo \"$line\" >{}) & exit 3", ask.display(), answer.display());
        assert_eq!(sh(&talk, LIMIT).code, Some(3));
        fs::write(ask, "still here\n").unwrap();
        assert_eq!(fs::read_to_string(answer).unwrap(), "still here\n");
    }

    #[test]
    fn a_script_that_takes_too_long_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let alive = fifo(&folder, "alive");
        // Opened for writing as well, so that this does not wait for the script.
        let theirs = fs::File::options().read(true).write(true).open(&alive).unwrap();
        let script = format!("exec 3>{}; echo here; sleep 777 & sleep 777", alive.display());
        let ended = sh(&script, Duration::from_millis(200));
        assert_eq!(ended, Ended { code: None, output: b"here\n".into(), left_out: 0 });
        let mut reader = fs::File::open(&alive).unwrap();
        drop(theirs);
        let end = rustix::event::PollFlags::HUP;
        let mut fds = [rustix::event::PollFd::new(&reader, end)];
        let seconds = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&seconds)).unwrap(), 1, "something of it is alive");
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
