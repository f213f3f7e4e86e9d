//! The two confined processes: `outer` leaves the namespaces and mounts, `init` is the first process of the new pid
//! namespace, drops to the build user, runs the command and reaps.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use super::{INIT, Spec};

/// The code that a confined process ends with when it could not even start the command.
const COULD_NOT_START: i32 = 125;

pub(super) fn outer(spec: Option<&OsStr>) -> i32 {
    finish(
        "confine",
        spec.ok_or_else(no_spec).and_then(|text| {
            let spec = parse(text)?;
            die_with_parent()?;
            crate::sys::unshare(
                UnshareFlags::NEWNS
                    | UnshareFlags::NEWPID
                    | UnshareFlags::NEWNET
                    | UnshareFlags::NEWIPC
                    | UnshareFlags::NEWUTS,
            )?;
            mount_all(&spec)?;
            Command::new("/proc/self/exe").arg(INIT).arg(text).status()
        }),
    )
}

pub(super) fn init(spec: Option<&OsStr>) -> i32 {
    finish(
        "start",
        spec.ok_or_else(no_spec).and_then(|text| {
            let spec = parse(text)?;
            die_with_parent()?;
            // The new pid namespace needs a /proc of its own; a read-only parent's may forbid it, and then the old one stays.
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            if rustix::mount::mount("proc", "/proc", "proc", flags, None).is_err() {
                hide(Path::new("/proc"))?;
            }
            rustix::thread::set_no_new_privs(true)?;
            let mut command = Command::new(&spec.program);
            command.args(&spec.args).current_dir(&spec.cwd);
            if let Some(user) = &spec.user {
                command.uid(user.uid).gid(user.gid);
            }
            let child = command.spawn()?;
            reap_until(Pid::from_child(&child))
        }),
    )
}

fn parse(text: &OsStr) -> io::Result<Spec> {
    serde_json::from_slice(text.as_encoded_bytes()).map_err(io::Error::other)
}

fn no_spec() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "started without a job")
}

fn die_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

fn mount_all(spec: &Spec) -> io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    for place in spec.hidden.iter().filter(|p| p.exists()) {
        hide(place)?;
    }
    for (what, place) in &spec.binds {
        rustix::mount::mount_bind(what, place)?;
    }
    // A tree that lives below /tmp, as tests have it, must stay in sight.
    let needed = |p: &Path| spec.cwd.starts_with(p) || spec.binds.iter().any(|(_, place)| place.starts_with(p));
    for place in spec.private.iter().filter(|p| p.is_dir() && !needed(p)) {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let data = c"mode=1777,size=50%";
        rustix::mount::mount("tmpfs", place, "tmpfs", flags, Some(data))?;
    }
    Ok(())
}

/// An empty folder over a folder, an empty file over a file.
fn hide(place: &Path) -> io::Result<()> {
    if place.is_dir() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
        rustix::mount::mount("tmpfs", place, "tmpfs", flags, Some(c"mode=755,size=4k"))?;
    } else {
        rustix::mount::mount_bind("/dev/null", place)?;
    }
    Ok(())
}

/// Waits for the command, and buries whatever else ends meanwhile, as the first process of a pid namespace has to.
fn reap_until(child: Pid) -> io::Result<ExitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
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
