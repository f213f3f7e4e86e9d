//! Who may change what: `flock` on files below the tree, so that the daemon's workers, the drop-in and other machines'
//! tools on one tree take turns, and a process that dies lets go.
//!
//! Order, where several are held: package or entry, then build, then install.
//!
//! A script of a package runs while its package or kernel is locked, and may call `dkms` itself: what its ancestor holds
//! is lent to it (design.md, decision 2).

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{IoContext, Result};
use crate::host::process;
use crate::layout::Layout;
use crate::model::{KernelId, KernelRelease, PackageId, PackageName};
use crate::tree::files;

/// Who holds a lock, as it wrote into the lock's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its process id; none when it has not said so yet.
    pub pid: Option<u32>,
    /// Its command line.
    pub command: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid} ({})", self.command),
            None => f.write_str("another process"),
        }
    }
}

/// A lock that is held until this is dropped, or the process ends. Programs started meanwhile do not inherit it.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// An ancestor has it, and waits for us.
    lent: bool,
}

/// Takes the lock on a package: its entry in the tree and its `kernel-…` links.
/// When somebody has it, calls `on_wait` once and waits.
///
/// # Errors
/// When the lock's file cannot be made or locked.
pub fn lock_package(layout: &Layout, name: &PackageName, on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    lock(layout, "package", &[name.as_str()], on_wait)
}

/// Takes the lock on everything that is in the tree of one version, so as to forget it; otherwise as [`lock_package`].
///
/// # Errors
/// As [`lock_package`].
pub fn lock_entry(layout: &Layout, package: &PackageId, on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    lock(layout, ENTRY, &[package.name.as_str(), package.version.as_str()], on_wait)
}

/// Keeps one version from being forgotten while something is built of it; many may, at a time. Otherwise as
/// [`lock_package`].
///
/// # Errors
/// As [`lock_package`].
pub fn share_entry(layout: &Layout, package: &PackageId, on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    take(layout, ENTRY, &[package.name.as_str(), package.version.as_str()], Way::Shared, on_wait)
}

const ENTRY: &str = "entry";

/// Takes the lock on what is built of a package for a kernel; otherwise as [`lock_package`].
///
/// # Errors
/// As [`lock_package`].
pub fn lock_build(
    layout: &Layout,
    package: &PackageId,
    kernel: &KernelId,
    on_wait: &mut dyn FnMut(&Holder),
) -> Result<Lock> {
    let words = [package.name.as_str(), package.version.as_str(), kernel.release.as_str(), kernel.arch.as_str()];
    lock(layout, "build", &words, on_wait)
}

/// Takes the lock on a kernel's folder below the install tree; otherwise as [`lock_package`].
///
/// # Errors
/// As [`lock_package`].
pub fn lock_install(layout: &Layout, kernel: &KernelRelease, on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    lock(layout, "install", &[kernel.as_str()], on_wait)
}

pub(crate) fn lock(layout: &Layout, kind: &str, words: &[&str], on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    take(layout, kind, words, Way::Alone, on_wait)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    Shared,
}

fn take(layout: &Layout, kind: &str, words: &[&str], way: Way, on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    let (try_it, wait) = match way {
        Way::Alone => (FlockOperation::NonBlockingLockExclusive, FlockOperation::LockExclusive),
        Way::Shared => (FlockOperation::NonBlockingLockShared, FlockOperation::LockShared),
    };
    let folder = layout.locks_dir();
    files::make_folders(&folder)?;
    let path = folder.join(file_name(kind, words));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .at("open the lock", &path)?;
    match flock(&file, try_it) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let holder = holder(&path);
            // What is built, and whoever shares an entry, runs no script that could change the tree.
            let lendable = way == Way::Alone && ["package", "install"].contains(&kind);
            if lendable && holder.pid.is_some_and(|pid| process::is_ancestor(Path::new("/proc"), pid)) {
                return Ok(Lock { file, path, lent: true });
            }
            on_wait(&holder);
            loop {
                match flock(&file, wait) {
                    Err(Errno::INTR) => {}
                    other => break other.at("lock", &path)?,
                }
            }
        }
        Err(e) => return Err(e).at("lock", &path),
    }
    let mut lock = Lock { file, path, lent: false };
    // Only told to who waits: failing to write it must not fail what the lock is for.
    if let Err(e) = lock.sign() {
        tracing::debug!(path = %lock.path.display(), "cannot say who holds the lock: {e}");
    }
    Ok(lock)
}

/// A `%` and a `@` in a word are escaped, so that no two things share a file; a name too long for one becomes a digest.
fn file_name(kind: &str, words: &[&str]) -> String {
    let mut name = kind.to_owned();
    for word in words {
        name.push('@');
        name.push_str(&word.replace('%', "%25").replace('@', "%40"));
    }
    if name.len() > 200 { format!("{kind}@@{}", files::sha256_bytes(name.as_bytes())) } else { name }
}

fn holder(path: &Path) -> Holder {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let (pid, command) = text.split_once('\n').unwrap_or_default();
    Holder { pid: pid.parse().ok(), command: command.trim_end().to_owned() }
}

impl Lock {
    fn sign(&mut self) -> std::io::Result<()> {
        let command = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        let line = command.replace(char::is_control, " ");
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(format!("{}\n{line}\n", std::process::id()).as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.lent {
            return;
        }
        let _ = self.file.set_len(0);
        // A child between fork and exec shares the lock: closing alone would leave it taken.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::sync::mpsc;

    fn nobody() -> impl FnMut(&Holder) {
        |holder: &Holder| panic!("nobody should hold it, but {holder} does")
    }

    fn layout() -> (tempfile::TempDir, Layout) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        (root, layout)
    }

    #[test]
    fn a_second_taker_learns_who_holds_it_and_waits() {
        let (_root, layout) = layout();
        let name = PackageName::new("r8169").unwrap();
        let first = lock_package(&layout, &name, &mut nobody()).unwrap();
        let (waits, waiting) = mpsc::channel();
        let second = std::thread::spawn({
            let (layout, name) = (layout.clone(), name.clone());
            move || lock_package(&layout, &name, &mut |holder| waits.send(holder.clone()).unwrap()).map(drop)
        });
        let seen = waiting.recv().unwrap();
        assert_eq!(seen.pid, Some(std::process::id()));
        assert!(!seen.command.is_empty());
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap().unwrap();
        drop(lock_package(&layout, &name, &mut nobody()).unwrap());
    }

    #[test]
    fn a_child_does_not_inherit_it() {
        let (_root, layout) = layout();
        let kernel = KernelRelease::new("6.1.0-56-amd64").unwrap();
        let held = lock_install(&layout, &kernel, &mut nobody()).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        drop(held);
        drop(lock_install(&layout, &kernel, &mut nobody()).unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_dead_holder_lets_go() {
        let (_root, layout) = layout();
        let kernel = KernelRelease::new("6.1.0-56-amd64").unwrap();
        drop(lock_install(&layout, &kernel, &mut nobody()).unwrap());
        let path = layout.locks_dir().join(file_name("install", &[kernel.as_str()]));
        let mut child = Command::new("flock")
            .arg(&path)
            .args(["-c", "echo held; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut said).unwrap();
        assert_eq!(said, "held\n");
        let mut waited = false;
        let taken = lock_install(&layout, &kernel, &mut |_| {
            waited = true;
            drop(child.stdin.take());
        });
        child.wait().unwrap();
        assert!(taken.is_ok() && waited);
    }

    #[test]
    fn builds_share_an_entry_and_whoever_forgets_it_waits_for_them() {
        let (_root, layout) = layout();
        let package = PackageId::new("r8169", "2").unwrap();
        let first = share_entry(&layout, &package, &mut nobody()).unwrap();
        let second = share_entry(&layout, &package, &mut nobody()).unwrap();
        let (waits, waiting) = mpsc::channel();
        let forgets = std::thread::spawn({
            let (layout, package) = (layout.clone(), package.clone());
            move || lock_entry(&layout, &package, &mut |_| waits.send(()).unwrap()).map(drop)
        });
        waiting.recv().unwrap();
        drop(first);
        assert!(!forgets.is_finished());
        drop(second);
        forgets.join().unwrap().unwrap();
    }

    #[test]
    fn different_things_have_different_files() {
        assert_ne!(file_name("build", &["a-1", "2"]), file_name("build", &["a", "1-2"]));
        assert_ne!(file_name("build", &["a@1", "2"]), file_name("build", &["a", "1@2"]));
        let long = "x".repeat(200);
        assert_ne!(file_name("build", &[&long, "1"]), file_name("build", &[&long, "2"]));
        assert!(file_name("build", &[&long, &long]).len() < 255);
    }
}
