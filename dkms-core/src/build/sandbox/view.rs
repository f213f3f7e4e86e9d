//! What a confined command sees of the file system: all of it read-only; /tmp and its like empty and its own; devices
//! that do no harm; home folders, keys and the sockets of services out of sight; its own folders writable.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::spec::Spec;
use crate::sys::{mount_attr, mount_setattr};

/// Folders behind an empty one that everybody may write to.
const PRIVATE: &[&str] = &["/tmp", "/var/tmp"];
/// Folders behind an empty one: people's files, and the sockets of services, which no read-only mount guards.
const OUT_OF_SIGHT: &[&str] = &["/root", "/home", "/run"];
/// Those that nobody looks into unasked: who tries is told so. A search in /run for what may be there just finds nothing.
const CLOSED: &[&str] = &["/root", "/home"];
/// What lies over a file that is out of sight, while the view is made: nobody but root may open it.
const UNREADABLE: &str = "/dev/.unreadable";
const DEV: &str = "/dev";
/// The devices that programs count on.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Something to show, held by a descriptor from before its place was covered.
struct Held {
    source: OwnedFd,
    place: PathBuf,
    is_dir: bool,
}

/// Sets up the view in this process's mount namespace, which must be its own.
pub(super) fn enter(spec: &Spec) -> io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let binds = spec.binds.iter().map(|(what, place)| hold(what, place)).collect::<io::Result<Vec<_>>>()?;
    let shown: Vec<Held> =
        spec.shown.iter().filter_map(|p| fs::canonicalize(p).ok()).filter_map(|p| hold(&p, &p).ok()).collect();
    read_only(Path::new("/"), true)?;
    devices()?;
    let mut covers = vec![PathBuf::from(DEV)];
    let mut sealed = vec![PathBuf::from(DEV)];
    for place in PRIVATE.iter().filter_map(|p| fs::canonicalize(p).ok()) {
        tmpfs(&place, c"mode=1777,size=50%")?;
        covers.push(place);
    }
    for place in OUT_OF_SIGHT.iter().filter_map(|p| fs::canonicalize(p).ok()).filter(|p| p.is_dir()) {
        let closed = CLOSED.iter().any(|p| Path::new(p) == place) && !shown.iter().any(|s| s.place.starts_with(&place));
        tmpfs(&place, if closed { c"mode=700,size=64k" } else { c"mode=755,size=64k" })?;
        covers.push(place.clone());
        sealed.push(place);
    }
    for held in shown.iter().filter(|held| covers.iter().any(|cover| held.place.starts_with(cover))) {
        mount_point(held)?;
        rustix::mount::mount_bind_recursive(held.path(), &held.place)?;
    }
    let unreadable = Path::new(UNREADABLE);
    File::create(unreadable)?.set_permissions(Permissions::from_mode(0o000))?;
    // By their real names: what is covered twice could not be uncovered.
    let hidden: BTreeSet<PathBuf> = spec.hidden.iter().filter_map(|p| fs::canonicalize(p).ok()).collect();
    for place in &hidden {
        if place.is_dir() {
            tmpfs(place, c"mode=755,size=64k")?;
            sealed.push(place.clone());
        } else {
            rustix::mount::mount_bind(unreadable, place)?;
        }
    }
    fs::remove_file(unreadable)?;
    for held in &binds {
        mount_point(held)?;
        rustix::mount::mount_bind(held.path(), &held.place)?;
        writable(&held.place)?;
    }
    sealed.iter().try_for_each(|place| read_only(place, false))
}

impl Held {
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.source.as_raw_fd())
    }
}

fn hold(what: &Path, place: &Path) -> io::Result<Held> {
    let source = rustix::fs::open(what, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(Held { source, place: place.to_owned(), is_dir: what.is_dir() })
}

/// Makes what is bound over, where a cover took it away.
fn mount_point(held: &Held) -> io::Result<()> {
    if held.place.exists() {
        return Ok(());
    }
    if held.is_dir {
        return fs::create_dir_all(&held.place);
    }
    held.place.parent().map_or(Ok(()), fs::create_dir_all)?;
    File::create(&held.place).map(drop)
}

fn tmpfs(place: &Path, data: &std::ffi::CStr) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", place, "tmpfs", flags, Some(data)).map_err(Into::into)
}

/// A /dev in which even root finds no disk.
fn devices() -> io::Result<()> {
    let dev = Path::new(DEV);
    let held: Vec<Held> =
        DEVICES.iter().map(|name| dev.join(name)).filter_map(|path| hold(&path, &path).ok()).collect();
    rustix::mount::mount("tmpfs", dev, "tmpfs", MountFlags::NOSUID, Some(c"mode=755,size=64k"))?;
    for device in &held {
        mount_point(device)?;
        rustix::mount::mount_bind(device.path(), &device.place)?;
    }
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), dev.join(name))?;
    }
    let shared = dev.join("shm");
    fs::create_dir(&shared)?;
    fs::set_permissions(&shared, Permissions::from_mode(0o1777))?;
    tmpfs(&shared, c"mode=1777,size=50%")
}

fn read_only(place: &Path, recursive: bool) -> io::Result<()> {
    match mount_setattr(&c_path(place)?, recursive, mount_attr::RDONLY | mount_attr::NOSUID, 0) {
        Err(error) if not_known(&error) => {}
        other => return other,
    }
    for mount in mounts()?.iter().filter(|m| if recursive { m.place.starts_with(place) } else { m.place == place }) {
        let flags = mount.flags | MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
        match rustix::mount::mount_remount(&mount.place, flags, "") {
            // Another mount covers the way to it.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A mount bound from a read-only one is read-only itself.
fn writable(place: &Path) -> io::Result<()> {
    let set = mount_attr::NOSUID | mount_attr::NODEV;
    match mount_setattr(&c_path(place)?, false, set, mount_attr::RDONLY) {
        Err(error) if not_known(&error) => {}
        other => return other,
    }
    let before = mounts()?.iter().rfind(|m| m.place == place).map_or(MountFlags::empty(), |m| m.flags);
    let flags = (before | MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV) - MountFlags::RDONLY;
    rustix::mount::mount_remount(place, flags, "").map_err(Into::into)
}

/// A kernel before 5.12, or a container's filter of system calls.
fn not_known(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSYS | Errno::PERM))
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    place: PathBuf,
    flags: MountFlags,
}

fn mounts() -> io::Result<Vec<Mount>> {
    Ok(fs::read("/proc/self/mountinfo")?.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// A line of mountinfo: proc_pid_mountinfo(5).
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ').skip(4);
    let (place, options) = (fields.next()?, fields.next()?);
    let mut flags = MountFlags::empty();
    for option in options.split(|b| *b == b',') {
        flags |= match option {
            b"ro" => MountFlags::RDONLY,
            b"nosuid" => MountFlags::NOSUID,
            b"nodev" => MountFlags::NODEV,
            b"noexec" => MountFlags::NOEXEC,
            b"noatime" => MountFlags::NOATIME,
            b"nodiratime" => MountFlags::NODIRATIME,
            b"relatime" => MountFlags::RELATIME,
            _ => MountFlags::empty(),
        };
    }
    Some(Mount { place: PathBuf::from(std::ffi::OsStr::from_bytes(&unescape(place))), flags })
}

/// `\040` is a blank, and so on: three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..3).filter(|d| *first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        let code = digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
        "/mnt2",
        MountFlags::NOATIME
    )]
    #[case(
        "1 2 0:5 / /a\\040b\\134c ro,nosuid,nodev,noexec,relatime - tmpfs x ro",
        "/a b\\c",
        MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME
    )]
    #[case("1 2 0:5 / /odd\\9 rw - tmpfs x rw", "/odd\\9", MountFlags::empty())]
    fn mounts_are_read(#[case] line: &str, #[case] place: &str, #[case] flags: MountFlags) {
        assert_eq!(parse(line.as_bytes()), Some(Mount { place: place.into(), flags }));
    }

    #[test]
    fn what_is_no_mount_is_passed_over() {
        assert_eq!(parse(b""), None);
        assert!(mounts().unwrap().iter().any(|m| m.place == Path::new("/")));
    }
}
