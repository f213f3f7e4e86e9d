//! The one module with unsafe code: system calls whose safety is a matter of when they are made, or that no crate wraps.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use rustix::io::FdFlags;
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::settings::{IoPriority, Priority};

/// Leaves the given namespaces.
///
/// # Errors
/// The system's own, `EPERM` where namespaces are refused.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: only CLONE_FILES is dangerous (descriptors owned by one thread may be closed by another); it is never passed.
    #[expect(unsafe_code, reason = "rustix marks unshare unsafe because of CLONE_FILES alone")]
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// Has this process, and what it starts from now on, take no notice of SIGTERM.
pub(crate) fn ignore_termination() {
    // SAFETY: SIG_IGN runs no code of ours.
    #[expect(unsafe_code, reason = "no crate in use wraps signal(2) without a handler")]
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
    }
}

/// Makes a program start without a way to new privileges (no set-user-ID program helps it), and end when the thread that
/// starts it does.
pub(crate) fn start_harmless(command: &mut Command) {
    let before_exec = || {
        // A change of user, which is over by now, would have cleared it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::thread::set_no_new_privs(true)?;
        Ok(())
    };
    // SAFETY: between fork and exec only two system calls are made: no memory is allocated, no lock taken.
    #[expect(unsafe_code, reason = "pre_exec is unsafe because of what may be called in it")]
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Makes a program end when the thread that starts it does, which has to wait for it.
pub(crate) fn end_with_us(command: &mut Command) {
    let before_exec = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: between fork and exec only a system call is made: no memory is allocated, no lock taken.
    #[expect(unsafe_code, reason = "pre_exec is unsafe because of what may be called in it")]
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Has a program run in a session of its own, inherit descriptors that are else closed when it starts, and run at a lower
/// priority. A session of its own has no terminal: nothing in it can type into the one that we were started from.
pub(crate) fn start_with(command: &mut Command, inherited: Vec<Arc<OwnedFd>>, priority: Priority) {
    let before_exec = move || {
        rustix::process::setsid()?;
        for fd in &inherited {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        lower(priority);
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made: no memory is allocated, no lock taken.
    #[expect(unsafe_code, reason = "pre_exec is unsafe because of what may be called in it")]
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Lowers this process's priority; never raises it. What the system refuses is left as it is.
fn lower(priority: Priority) {
    let _ = rustix::process::nice(priority.nice);
    let Some(wanted) = io_priority(priority.io) else { return };
    // Of linux/ioprio.h: who a number stands for (the calling process), and where in it the class is.
    const PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    const IDLE: libc::c_long = 3;
    // SAFETY: both calls take and give plain numbers.
    #[expect(unsafe_code, reason = "no crate in use wraps ioprio_get(2) and ioprio_set(2)")]
    unsafe {
        let now = libc::syscall(libc::SYS_ioprio_get, PROCESS, 0);
        if now >> CLASS_SHIFT != IDLE {
            libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, wanted);
        }
    }
}

/// As ioprio_set(2) counts: the class, and for best effort the lowest of its eight levels.
fn io_priority(priority: IoPriority) -> Option<libc::c_int> {
    match priority {
        IoPriority::Normal => None,
        IoPriority::Low => Some(2 << 13 | 7),
        IoPriority::Idle => Some(3 << 13),
    }
}

/// Has a descriptor, which this process was started with and nothing in it owns, be closed in what it starts.
///
/// # Errors
/// When there is no such descriptor.
pub(crate) fn close_in_children(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: only a flag of the descriptor is changed; should there be none of that number, the system says so.
    #[expect(unsafe_code, reason = "a number that came from the process that started this one has no owner here")]
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC).map_err(Into::into)
}

/// Attributes of a mount: `MOUNT_ATTR_*` of mount_setattr(2).
pub(crate) mod mount_attr {
    pub(crate) const RDONLY: u64 = 1;
    pub(crate) const NOSUID: u64 = 2;
    pub(crate) const NODEV: u64 = 4;
}

/// Changes attributes of the mount at `place`, and with `recursive` of every mount below it.
///
/// # Errors
/// The system's own, `ENOSYS` before Linux 5.12.
pub(crate) fn mount_setattr(place: &CStr, recursive: bool, set: u64, clear: u64) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attr = MountAttr { set, clear, propagation: 0, user_namespace: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path ends in NUL and the structure is the kernel's own `mount_attr` of the size given; both outlive the
    // call, which only reads them.
    #[expect(unsafe_code, reason = "no crate in use wraps mount_setattr(2)")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            place.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
