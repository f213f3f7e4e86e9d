//! A confined command under way: everything it started ends on demand, at its deadline, and with us.

use std::collections::BTreeMap;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::spec::Spec;
use crate::host::process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

/// How long what is told to end has for it before it is killed.
pub(super) const GRACE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// The commands that run now, by process group.
static RUNNING: Mutex<BTreeMap<i32, Arc<Hold>>> = Mutex::new(BTreeMap::new());

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this code; 128 + N when signal N ended it, as a shell says it.
    Code(i32),
    /// It ran past its deadline and was killed.
    TimedOut,
}

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; standard error too when both are one.
    Out,
    /// Standard error.
    Err,
}

/// How a command is ended.
#[derive(Debug)]
enum Hold {
    /// Its launcher ends everything below it when this is closed, which our own end does as well.
    Lifeline(Mutex<Option<ChildStdin>>),
    /// It has no launcher: its process group is what can be reached.
    Group(Pid),
}

impl Hold {
    fn let_go(&self) {
        match self {
            Self::Lifeline(line) => drop(line.lock().unwrap_or_else(PoisonError::into_inner).take()),
            // Gone already is what we want.
            Self::Group(group) => drop(rustix::process::kill_process_group(*group, Signal::KILL)),
        }
    }
}

/// A command under way. Dropping it ends it, and waits until nothing of it runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    hold: Arc<Hold>,
    outputs: Vec<(Stream, PipeReader)>,
}

impl Running {
    /// `told`: what a launcher is to do, with the command's input; none where there is no launcher.
    pub(super) fn start(
        command: &mut Command,
        outputs: Vec<(Stream, PipeReader)>,
        told: Option<(&Spec, &[u8])>,
    ) -> io::Result<Self> {
        let started = running(|all| {
            // Asked while nobody can ask which there are.
            if process::stopping() {
                return Ok(None);
            }
            let mut child = command.spawn()?;
            let group = Pid::from_child(&child);
            let line = told.is_some().then(|| child.stdin.take()).flatten();
            let hold = Arc::new(match line {
                Some(line) => Hold::Lifeline(Mutex::new(Some(line))),
                None => Hold::Group(group),
            });
            all.insert(group.as_raw_pid(), Arc::clone(&hold));
            io::Result::Ok(Some(Self { child, hold, outputs }))
        })?;
        let Some(started) = started else {
            process::go_no_further_when_stopping();
            return Err(io::ErrorKind::Interrupted.into());
        };
        let mut heard = Ok(());
        if let (Some((spec, input)), Hold::Lifeline(line)) = (told, &*started.hold)
            && let Some(line) = line.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            heard = spec.send(input, line);
        }
        // A launcher that could not even listen says why on its output.
        heard.or_else(|e| if e.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(e) })?;
        Ok(started)
    }

    /// Gives each piece of output to `take` until the command has ended; what it left behind in the background ends with
    /// it, whether or not that holds the output open. An error of `take` ends it too.
    ///
    /// # Errors
    /// `take`'s own; the system's own through `system`.
    pub fn follow<E>(
        mut self,
        deadline: Option<Instant>,
        system: impl Fn(io::Error) -> E,
        mut take: impl FnMut(Stream, &[u8]) -> Result<(), E>,
    ) -> Result<Ended, E> {
        let ended = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).map_err(|e| system(e.into()))?;
        for (_, output) in &self.outputs {
            rustix::io::ioctl_fionbio(output.as_fd(), true).map_err(|e| system(e.into()))?;
        }
        let mut timed_out = false;
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                timed_out = true;
                break;
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
            fds.extend(self.outputs.iter().map(|(_, output)| PollFd::new(output, PollFlags::IN)));
            match poll(&mut fds, left.as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(system(error.into())),
            }
            let over = fds.first().is_some_and(|fd| !fd.revents().is_empty());
            if over {
                break;
            }
            drop(fds);
            self.read(&system, &mut take, 1)?;
        }
        // A launcher does so of its own accord.
        if let (true, Hold::Group(group)) = (timed_out, &*self.hold) {
            let _ = rustix::process::kill_process_group(*group, Signal::TERM);
            // A signal that cuts it short leaves less time, no more.
            let _ = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&GRACE));
        }
        self.hold.let_go();
        let status = self.child.wait().map_err(&system)?;
        process::go_no_further_when_stopping();
        // The pipe's own size bounds what is still there once nobody writes; a process out of our reach may go on.
        self.read(&system, &mut take, 64)?;
        if timed_out {
            return Ok(Ended::TimedOut);
        }
        Ok(Ended::Code(status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1)))
    }

    /// Takes what is there now, at most `rounds` chunks of each stream; forgets those that are at their end.
    fn read<E>(
        &mut self,
        system: &impl Fn(io::Error) -> E,
        take: &mut impl FnMut(Stream, &[u8]) -> Result<(), E>,
        rounds: usize,
    ) -> Result<(), E> {
        let mut chunk = [0; 16 << 10];
        let mut failed = None;
        self.outputs.retain_mut(|(stream, output)| {
            for _ in 0..rounds {
                match output.read(&mut chunk) {
                    Ok(0) => return false,
                    Ok(n) => {
                        if let Err(error) = take(*stream, chunk.get(..n).unwrap_or_default()) {
                            failed.get_or_insert(error);
                            return false;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                    Err(error) => {
                        failed.get_or_insert(system(error));
                        return false;
                    }
                }
            }
            true
        });
        failed.map_or(Ok(()), Err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.hold.let_go();
        let group = Pid::from_child(&self.child).as_raw_pid();
        let _ = self.child.wait();
        running(|r| r.remove(&group));
    }
}

/// Ends every confined command of this process, and waits until each is gone: none is started any more.
pub(crate) fn stop_running() {
    // Twice the time that a launcher gives what it runs.
    let longest = Timespec { tv_sec: GRACE.tv_sec * 2, tv_nsec: 0 };
    let holds = running(std::mem::take);
    let open = |group: &i32| pidfd_open(Pid::from_raw(*group)?, PidfdFlags::empty()).ok();
    let ends: Vec<_> = holds.keys().filter_map(open).collect();
    holds.values().for_each(|hold| hold.let_go());
    for end in &ends {
        let _ = poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&longest));
    }
}

fn running<T>(with: impl FnOnce(&mut BTreeMap<i32, Arc<Hold>>) -> T) -> T {
    with(&mut RUNNING.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::super::Confined;
    use super::*;
    use std::time::Duration;

    fn run(script: &str, limit: Option<Duration>) -> (String, Ended) {
        let running = Confined::new("/", "sh", ["-c", script]).spawn().unwrap();
        let mut text = Vec::new();
        let ended = running
            .follow(
                limit.map(|limit| Instant::now() + limit),
                |e| e,
                |_, bytes| {
                    text.extend_from_slice(bytes);
                    Ok(())
                },
            )
            .unwrap();
        (String::from_utf8(text).unwrap(), ended)
    }

    #[test]
    fn both_outputs_arrive_and_the_code_is_kept() {
        assert_eq!(run("echo out; echo err >&2; exit 7", None), ("out\nerr\n".into(), Ended::Code(7)));
        assert_eq!(run("kill -9 $$", None).1, Ended::Code(137));
        assert_eq!(run("head -c 300000 /dev/zero | tr '\\0' x", None).0.len(), 300_000);
    }

    #[test]
    fn both_outputs_can_be_told_apart() {
        let running = Confined::new("/", "sh", ["-c", "echo out; echo err >&2"]).spawn_apart().unwrap();
        let mut said = Vec::new();
        running
            .follow(
                None,
                |e| e,
                |stream, bytes| {
                    said.push((stream, bytes.to_vec()));
                    Ok(())
                },
            )
            .unwrap();
        said.sort_by_key(|(stream, _)| *stream == Stream::Err);
        assert_eq!(said, [(Stream::Out, b"out\n".to_vec()), (Stream::Err, b"err\n".to_vec())]);
    }

    #[test]
    fn a_limit_ends_the_command_and_what_it_started() {
        assert_eq!(run("sleep 1000 & sleep 1000", Some(Duration::from_millis(50))).1, Ended::TimedOut);
    }

    #[test]
    fn what_holds_the_output_open_does_not_hold_us_up() {
        // In a session of its own, it is out of reach of the command's process group.
        let (text, ended) = run("setsid sleep 20 & echo $!", None);
        assert_eq!(ended, Ended::Code(0));
        let left: i32 = text.trim().parse().unwrap();
        let _ = rustix::process::kill_process(Pid::from_raw(left).unwrap(), Signal::KILL);
    }

    #[test]
    fn an_error_of_the_reader_ends_it() {
        let running = Confined::new("/", "sh", ["-c", "echo x; sleep 1000"]).spawn().unwrap();
        let failed = running.follow(None, |e| e, |_, _| Err(io::Error::other("full"))).unwrap_err();
        assert_eq!(failed.to_string(), "full");
    }

    #[test]
    fn it_has_the_input_it_was_given_and_no_new_privileges() {
        let script = "cat; grep -c 'NoNewPrivs:.1' /proc/self/status";
        let running = Confined::new("/", "sh", ["-c", script]).input(b"hello\n".to_vec()).spawn().unwrap();
        let mut text = Vec::new();
        running
            .follow(
                None,
                |e| e,
                |_, bytes| {
                    text.extend_from_slice(bytes);
                    Ok(())
                },
            )
            .unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "hello\n1\n");
    }
}
