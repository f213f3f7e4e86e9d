//! The confined processes. `outer` reads what is to be done, leaves the namespaces, sets up what the command may see, and
//! ends everything below it when the command has ended or nobody holds its standard input any more. `init` is the first
//! process of the new pid namespace: it gives up what root can do, runs the command as the build user, and reaps.
//! Where namespaces are refused, `outer` runs the command itself.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::running::GRACE;
use super::spec::{Spec, in_memory};
use super::{INIT, OURSELVES, left, limits, users, view};

/// The code that a confined process ends with when it could not even start the command.
const COULD_NOT_START: i32 = 125;

/// What a build as root keeps, for files of others in its own folder (as tar makes them); all else is read-only for it.
const KEPT: CapabilitySet = CapabilitySet::CHOWN.union(CapabilitySet::FOWNER).union(CapabilitySet::DAC_OVERRIDE);

pub(super) fn outer() -> i32 {
    finish("confine", confine())
}

pub(super) fn init() -> i32 {
    finish("start", begin())
}

fn confine() -> io::Result<ExitStatus> {
    let (spec, input) = Spec::receive(&mut io::stdin().lock())?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    limits::set(spec.user.is_some())?;
    let child = if spec.isolated {
        let mut namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
        namespaces.set(UnshareFlags::NEWNET, !spec.network);
        crate::sys::unshare(namespaces)?;
        start_init(&spec, &input)?
    } else {
        drop_capabilities()?;
        command(&spec, &input)?.spawn()?
    };
    let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let stdin = io::stdin();
    loop {
        // An end of ours closed at the other side is told whether asked for or not.
        let mut fds = [PollFd::new(&ended, PollFlags::IN), PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    ask_to_end(&ended);
    end_children(Pid::from_child(&child), spec.tells_left && !spec.isolated)
}

/// Starts the first process of the pid namespace, in sight of what `spec` says.
fn start_init(spec: &Spec, input: &[u8]) -> io::Result<Child> {
    let proc = if spec.own_users { Some(users::hold_proc()?) } else { None };
    view::enter(spec)?;
    let (mut line, its_end) = UnixStream::pair()?;
    // The command, and with it our hold on its end of the line, is gone once it is started.
    let child = Command::new(OURSELVES).arg(INIT).stdin(OwnedFd::from(its_end)).spawn()?;
    let heard = spec.send(input, &mut line).and_then(|()| match &proc {
        Some(proc) => users::let_in(child.id(), proc, &mut line),
        None => Ok(()),
    });
    // One that could not even listen says why on its output.
    heard.or_else(|e| if e.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(e) })?;
    Ok(child)
}

/// Gives what still runs a moment to end by itself: make takes away what is half written and gives its tokens back. All of
/// it is in our process group, and the first process of a pid namespace takes no notice.
fn ask_to_end(ended: &OwnedFd) {
    let over = |wait| {
        let mut fds = [PollFd::new(ended, PollFlags::IN)];
        // A signal that cuts it short leaves less time, no more.
        poll(&mut fds, Some(&wait)).is_ok_and(|ready| ready > 0)
    };
    if over(Timespec::default()) {
        return;
    }
    crate::sys::ignore_termination();
    if rustix::process::kill_current_process_group(Signal::TERM).is_ok() {
        over(GRACE);
    }
}

/// Ends whatever runs below this process, orphans included, since those are its children too. Gives how `child` ended.
fn end_children(child: Pid, tells_left: bool) -> io::Result<ExitStatus> {
    let mut ended = None;
    if tells_left {
        left::tell(&children().into_iter().filter(|pid| *pid != child).collect::<Vec<_>>());
    }
    loop {
        let mut pids = children();
        if ended.is_none() && !pids.contains(&child) {
            pids.push(child);
        }
        if pids.is_empty() {
            return ended.ok_or_else(|| io::Error::other("it ended unseen"));
        }
        for pid in pids {
            // What has ended already keeps its own code.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => ended = Some(ExitStatus::from_raw(status.as_raw())),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return ended.ok_or_else(|| io::Error::other("it ended unseen")),
            Err(error) => return Err(error.into()),
        }
    }
}

fn children() -> Vec<Pid> {
    let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_whitespace().filter_map(|p| Pid::from_raw(p.parse().ok()?)).collect()
}

fn begin() -> io::Result<ExitStatus> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut line = io::stdin().lock();
    let (spec, input) = Spec::receive(&mut line)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount("proc", "/proc", "proc", flags, None)?;
    if spec.own_users {
        users::enter(&mut line)?;
        // Another namespace's root is another user, which clears it: prctl(2).
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    drop_capabilities()?;
    let child = command(&spec, &input)?.spawn()?;
    let ended = reap_until(Pid::from_child(&child))?;
    if spec.tells_left {
        left::tell(&left::all());
    }
    Ok(ended)
}

fn command(spec: &Spec, input: &[u8]) -> io::Result<Command> {
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).current_dir(&spec.cwd);
    match spec.input {
        Some(_) => command.stdin(in_memory(|file| io::Write::write_all(file, input))?),
        None => command.stdin(Stdio::null()),
    };
    if let Some(user) = &spec.user {
        command.uid(user.uid).gid(user.gid);
    }
    for descriptor in &spec.withheld {
        crate::sys::close_in_children(*descriptor)?;
    }
    crate::sys::start_harmless(&mut command);
    Ok(command)
}

/// What this process starts, as root too, has no more than [`KEPT`].
fn drop_capabilities() -> io::Result<()> {
    for capability in (0..64).map(|n| CapabilitySet::from_bits_retain(1 << n)) {
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one; or never had the right to.
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let now = rustix::thread::capabilities(None)?;
    rustix::thread::set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..now })?;
    // Kernels before 4.3 have none.
    let _ = rustix::thread::clear_ambient_capability_set();
    Ok(())
}

/// Waits for the command, and buries whatever else ends meanwhile, as the first process of a pid namespace has to.
fn reap_until(child: Pid) -> io::Result<ExitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The command's own code, 128 + N when signal N ended it, as a shell says it.
fn finish(what: &str, result: io::Result<ExitStatus>) -> i32 {
    match result {
        Ok(status) => status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(COULD_NOT_START),
        Err(error) => {
            use io::Write as _;
            let _ = writeln!(io::stderr(), "cannot {what} the command: {error}");
            COULD_NOT_START
        }
    }
}
