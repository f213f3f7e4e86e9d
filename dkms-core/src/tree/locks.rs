//! Who may change what: `flock` on files below the tree, so that the daemon's workers, the drop-in and other machines'
//! tools on one tree take turns, and a process that dies lets go.
//!
//! Nobody waits for one of these locks with another in hand: who needs several waits for one, tries the rest, and when
//! somebody has one of those, lets go of all and waits for that ([`lock_all`]). So there is no order to keep, and a script
//! that runs while its kernel is locked may call what needs any of them. Only `workspace`, `keys`, `failed`, `holds` and
//! `manifest` are waited for with others in hand: whoever has one of those waits for none of these.
//! (Two scripts that each change the other's kernel or package would wait for each other until their time is up.)
//!
//! A script of a package runs while its package or kernel is locked, and may call `dkms` itself: what the process that
//! waits for the script holds is lent to whatever the script starts (design.md, decision 2). While the script runs, a word
//! stands in the files of those locks, which only root can open for locking, and in the script's environment; or else /proc
//! tells whether the holder is an ancestor, as where a `sudo` has cleared the environment. Those to whom one lock is lent
//! take turns among themselves.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

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
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    file: File,
    path: PathBuf,
    /// Nobody else has it.
    alone: bool,
}

thread_local! {
    /// What this thread has taken, for the scripts it waits for.
    static HELD: RefCell<Vec<Weak<Held>>> = const { RefCell::new(Vec::new()) };
}

/// One of the things that are locked.
#[derive(Debug, Clone)]
pub struct Wanted {
    file_name: String,
    way: Way,
    what: &'static str,
}

impl Wanted {
    /// A package: its entry in the tree and its `kernel-…` links.
    #[must_use]
    pub fn package(name: &PackageName) -> Self {
        Self::new("package", &[name.as_str()], Way::Alone, "the package")
    }

    /// Everything that is in the tree of one version, so as to forget it.
    #[must_use]
    pub fn entry(package: &PackageId) -> Self {
        Self::new("entry", &[package.name.as_str(), package.version.as_str()], Way::Alone, "the package")
    }

    /// That one version is not forgotten while something is built of it; many may want that at a time.
    #[must_use]
    pub fn entry_to_stay(package: &PackageId) -> Self {
        Self { way: Way::Shared, ..Self::entry(package) }
    }

    /// What is built of a package for a kernel.
    #[must_use]
    pub fn build(package: &PackageId, kernel: &KernelId) -> Self {
        let words = [package.name.as_str(), package.version.as_str(), kernel.release.as_str(), kernel.arch.as_str()];
        Self::new("build", &words, Way::Alone, "this build")
    }

    /// A kernel's folder below the install tree.
    #[must_use]
    pub fn install(kernel: &KernelRelease) -> Self {
        Self::new("install", &[kernel.as_str()], Way::Alone, "this kernel's folder")
    }

    fn new(kind: &str, words: &[&str], way: Way, what: &'static str) -> Self {
        Self { file_name: file_name(kind, words), way, what }
    }
}

/// Takes all of some locks. While somebody has one of them, tells `on_wait` whom and for what, and waits with none in hand.
///
/// # Errors
/// When a lock's file cannot be made or locked.
pub fn lock_all(
    layout: &Layout,
    wanted: &[Wanted],
    on_wait: &mut dyn FnMut(&Holder, &'static str),
) -> Result<Vec<Lock>> {
    let folder = layout.locks_dir();
    files::make_folders(&folder)?;
    let asker = Asker::this();
    // One that is named twice is there once.
    let named_before =
        |n: usize| wanted.iter().take(n).any(|w| wanted.get(n).is_some_and(|x| x.file_name == w.file_name));
    let wanted: Vec<_> = wanted.iter().enumerate().filter(|(n, _)| !named_before(*n)).map(|(_, w)| w).collect();
    let mut first = 0;
    'again: loop {
        let mut locks = Vec::new();
        if let Some(Wanted { file_name, way, what }) = wanted.get(first) {
            locks.push(wait(&folder.join(file_name), *way, &asker, &mut |holder| on_wait(holder, what))?);
        }
        for (place, Wanted { file_name, way, .. }) in wanted.iter().enumerate().filter(|(place, _)| *place != first) {
            let Some(lock) = take(&folder.join(file_name), *way, &asker, None)? else {
                first = place;
                continue 'again;
            };
            locks.push(lock);
        }
        return Ok(locks);
    }
}

/// Takes the lock on a kernel's folder below the install tree. When somebody has it, calls `on_wait` once and waits.
///
/// # Errors
/// When the lock's file cannot be made or locked.
pub fn lock_install(layout: &Layout, kernel: &KernelRelease, on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    lock(layout, "install", &[kernel.as_str()], on_wait)
}

/// Takes the lock on a package; otherwise as [`lock_install`].
///
/// # Errors
/// As [`lock_install`].
pub fn lock_package(layout: &Layout, name: &PackageName, on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    lock(layout, "package", &[name.as_str()], on_wait)
}

/// Takes the lock on the record of one build, for as long as it is read, changed and written.
///
/// # Errors
/// As [`lock_install`].
pub fn lock_manifest(layout: &Layout, package: &PackageId, kernel: &KernelId) -> Result<Lock> {
    let words = [package.name.as_str(), package.version.as_str(), kernel.release.as_str(), kernel.arch.as_str()];
    lock(layout, "manifest", &words, &mut |_| {})
}

pub(crate) fn lock(layout: &Layout, kind: &str, words: &[&str], on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    let folder = layout.locks_dir();
    files::make_folders(&folder)?;
    wait(&folder.join(file_name(kind, words)), Way::Alone, &Asker::this(), on_wait)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    Shared,
}

fn wait(path: &Path, way: Way, asker: &Asker, on_wait: &mut dyn FnMut(&Holder)) -> Result<Lock> {
    let taken = take(path, way, asker, Some(on_wait))?;
    // None only for one that does not wait.
    taken.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::WouldBlock)).at("lock", path)
}

/// Takes a lock; none when somebody has it and there is no `on_wait`.
fn take(path: &Path, way: Way, asker: &Asker, on_wait: Option<&mut dyn FnMut(&Holder)>) -> Result<Option<Lock>> {
    let (try_it, wait) = match way {
        Way::Alone => (FlockOperation::NonBlockingLockExclusive, FlockOperation::LockExclusive),
        Way::Shared => (FlockOperation::NonBlockingLockShared, FlockOperation::LockShared),
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .at("open the lock", path)?;
    match flock(&file, try_it) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let said = Said::read(path);
            if asker.is_lent(&said) {
                return take(&beneath(path), way, asker, on_wait);
            }
            let Some(on_wait) = on_wait else { return Ok(None) };
            on_wait(&asker.holder(&file, said.holder));
            loop {
                match flock(&file, wait) {
                    Err(Errno::INTR) => {}
                    other => break other.at("lock", path)?,
                }
            }
        }
        Err(e) => return Err(e).at("lock", path),
    }
    let lock = Lock { held: Arc::new(Held { file, path: path.to_owned(), alone: way == Way::Alone }) };
    // Only told to who waits: failing to write it must not fail what the lock is for.
    if let Err(e) = lock.held.sign("") {
        tracing::debug!(path = %path.display(), "cannot say who holds the lock: {e}");
    }
    HELD.with_borrow_mut(|all| {
        all.retain(|held| held.strong_count() > 0);
        all.push(Arc::downgrade(&lock.held));
    });
    Ok(Some(lock))
}

/// The lock for which those take turns to whom this one is lent.
fn beneath(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("@lent");
    name.into()
}

/// Has the words of all scripts below which this process runs, with a colon between them.
const WORDS: &str = "DKMSD_LENT";

/// Lends what this thread holds to a script that it starts and waits for, until this is dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    word: String,
    held: Vec<Arc<Held>>,
}

impl Lent {
    pub(crate) fn all() -> Self {
        let held = HELD.with_borrow(|all| all.iter().filter_map(Weak::upgrade).filter(|held| held.alone).collect());
        let lent = Self { word: unguessable(), held };
        lent.sign(&lent.word);
        lent
    }

    /// The variable that the script needs.
    pub(crate) fn variable(&self) -> (&'static str, String) {
        let above = std::env::var(WORDS).ok().filter(|words| !words.is_empty());
        (WORDS, above.into_iter().chain([self.word.clone()]).collect::<Vec<_>>().join(":"))
    }

    fn sign(&self, word: &str) {
        for held in &self.held {
            if let Err(e) = held.sign(word) {
                tracing::debug!(path = %held.path.display(), "cannot say to whom the lock is lent: {e}");
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.sign("");
    }
}

/// Each has keys of its own, and those of a thread begin with the system's random ones.
fn unguessable() -> String {
    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}

/// Who asks for a lock.
struct Asker {
    proc: PathBuf,
    words: Vec<String>,
}

impl Asker {
    fn this() -> Self {
        let words = std::env::var(WORDS).unwrap_or_default();
        Self { proc: "/proc".into(), words: words.split(':').map(str::to_owned).collect() }
    }

    /// Who has the lock on a file that says so of somebody. Those who share one write over each other, and the first to go
    /// leaves nothing.
    fn holder(&self, file: &File, said: Holder) -> Holder {
        let now = process::lockers(&self.proc, file);
        match now.first() {
            Some(pid) if said.pid.is_none_or(|said| !now.contains(&said)) => {
                Holder { pid: Some(*pid), command: process::command_line(&self.proc, *pid).unwrap_or_default() }
            }
            _ => said,
        }
    }

    fn is_lent(&self, said: &Said) -> bool {
        let ancestor = || said.holder.pid.is_some_and(|pid| process::is_ancestor(&self.proc, pid));
        !said.word.is_empty() && (self.words.contains(&said.word) || ancestor())
    }
}

/// What stands in a lock's file.
struct Said {
    holder: Holder,
    /// Empty while it is lent to nobody.
    word: String,
}

impl Said {
    fn read(path: &Path) -> Self {
        let text = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let pid = lines.next().and_then(|pid| pid.parse().ok());
        let mut line = || lines.next().unwrap_or_default().to_owned();
        Self { holder: Holder { pid, command: line() }, word: line() }
    }
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

impl Held {
    fn sign(&self, lent: &str) -> std::io::Result<()> {
        let command = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        let line = command.replace(char::is_control, " ");
        self.file.set_len(0)?;
        self.file.write_all_at(format!("{}\n{line}\n{lent}\n", std::process::id()).as_bytes(), 0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        // A child between fork and exec shares the lock: closing alone would leave it taken.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
#[path = "locks_tests.rs"]
mod tests;
