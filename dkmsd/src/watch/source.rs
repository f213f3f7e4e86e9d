//! What inotify hears, as hints.
//!
//! The wanted set of watches is handed over whole and diffed against what stands. Events arrive on notify's thread,
//! which never waits: they are merged into the one hint that has not been taken yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Config, ErrorKind, Event, INotifyWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// As many paths as a hint keeps; they are for the log.
const MAX_PATHS: usize = 32;

/// As many changed folders as are remembered one by one until the watches are next gone over.
const MAX_MOVED: usize = 1024;

/// One thing to watch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch {
    /// A folder or a file; a link is not followed, so it is not watched.
    pub path: PathBuf,
    /// Whether folders below are watched too, those that come later included. Links are not followed.
    pub recursive: bool,
}

/// Something changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    /// Where, at least; the first few.
    pub paths: BTreeSet<PathBuf>,
    /// Events were lost, so anything may have changed.
    pub overflow: bool,
}

/// What going over the watches did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Watches that were set.
    pub added: Vec<PathBuf>,
    /// Watches that were ended.
    pub removed: Vec<PathBuf>,
    /// Wanted, and not there (or a link); the next [`Watcher::set`] tries again.
    pub absent: Vec<PathBuf>,
}

/// Why something cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The user's inotify watches are used up.
    #[error(
        "{} cannot be watched: all inotify watches are in use; raise the limit with sysctl -w {MAX_WATCHES}=… (now {now}), lastingly in /etc/sysctl.d", path.display()
    )]
    Exhausted {
        /// What should have been watched.
        path: PathBuf,
        /// The limit that is in force, as read from /proc.
        now: String,
    },
    /// The user's inotify instances are used up.
    #[error("inotify cannot be started: {source}; see sysctl {MAX_INSTANCES}")]
    Start {
        /// What notify said.
        source: notify::Error,
    },
    /// Anything else.
    #[error("{} cannot be watched: {source}", path.display())]
    Other {
        /// What should have been watched.
        path: PathBuf,
        /// What notify said.
        source: notify::Error,
    },
}

/// The sysctl that limits watches.
pub const MAX_WATCHES: &str = "fs.inotify.max_user_watches";

/// The sysctl that limits instances.
pub const MAX_INSTANCES: &str = "fs.inotify.max_user_instances";

/// Watches what it is told to.
#[derive(Debug)]
pub struct Watcher {
    inotify: INotifyWatcher,
    standing: BTreeMap<Watch, Identity>,
    shared: Arc<Shared>,
}

/// The other end: what was heard.
#[derive(Debug)]
pub struct Hints {
    shared: Arc<Shared>,
}

/// Which folder it is that a watch stands on, whatever it is called now.
type Identity = (u64, u64);

#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<Heard>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Heard {
    hint: Option<Hint>,
    /// Folders that came, went or were renamed: watches at, above or below them may not stand as they did.
    moved: BTreeSet<PathBuf>,
    /// More came than were remembered.
    all_moved: bool,
    /// A folder that came below a recursive watch and got none.
    exhausted: Option<PathBuf>,
    closed: bool,
}

impl Watcher {
    /// Starts watching nothing.
    ///
    /// # Errors
    /// When there is no inotify to be had.
    pub fn new() -> Result<(Self, Hints), WatchError> {
        let shared = Arc::new(Shared::default());
        let listener = shared.clone();
        let inotify = INotifyWatcher::new(
            move |event: notify::Result<Event>| listener.take(event),
            Config::default().with_follow_symlinks(false),
        )
        .map_err(|source| WatchError::Start { source })?;
        let hints = Hints { shared: shared.clone() };
        Ok((Self { inotify, standing: BTreeMap::new(), shared }, hints))
    }

    /// Makes the watches be exactly these, as far as their paths exist. A watch that was added gives a hint of its
    /// own, as nothing was heard there until now.
    ///
    /// # Errors
    /// When inotify refuses a path that exists; the watches that came before it stand. Exhaustion that came up since
    /// the last call, below a recursive watch, is told here too.
    pub fn set(&mut self, wanted: BTreeSet<Watch>) -> Result<Outcome, WatchError> {
        let (moved, all_moved, exhausted) = {
            let mut heard = self.shared.lock();
            (std::mem::take(&mut heard.moved), std::mem::take(&mut heard.all_moved), heard.exhausted.take())
        };
        let mut outcome = Outcome::default();
        for (watch, identity) in self.standing.clone() {
            let there = identity_of(&watch.path) == Some(identity);
            let replaced = all_moved || moved.iter().any(|m| watch.path.starts_with(m));
            if !wanted.contains(&watch) || !there || replaced {
                self.end(&watch);
                if !wanted.contains(&watch) {
                    outcome.removed.push(watch.path);
                }
            }
        }
        let mut failed = None;
        for watch in wanted {
            if self.standing.contains_key(&watch) {
                // notify looks for subfolders of a new folder once; one made at that moment may have been missed.
                let grown = watch.recursive && moved.iter().any(|m| m.starts_with(&watch.path));
                if grown && let Err(e) = self.begin(&watch) {
                    failed.get_or_insert(e);
                }
                continue;
            }
            let Some(identity) = identity_of(&watch.path) else {
                outcome.absent.push(watch.path);
                continue;
            };
            match self.begin(&watch) {
                Ok(true) => {
                    outcome.added.push(watch.path.clone());
                    self.standing.insert(watch, identity);
                }
                Ok(false) => outcome.absent.push(watch.path),
                Err(e) => {
                    failed.get_or_insert(e);
                }
            }
        }
        if !outcome.added.is_empty() {
            self.shared.hint(|hint| hint.paths.extend(outcome.added.iter().take(MAX_PATHS).cloned()));
        }
        match failed.or_else(|| exhausted.map(out_of_watches)) {
            Some(error) => Err(error),
            None => Ok(outcome),
        }
    }

    /// What is watched now.
    pub fn watched(&self) -> impl Iterator<Item = &Watch> {
        self.standing.keys()
    }

    /// Whether the watch could be set; not when the path has just gone.
    fn begin(&mut self, watch: &Watch) -> Result<bool, WatchError> {
        let mode = if watch.recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        let Err(source) = self.inotify.watch(&watch.path, mode) else { return Ok(true) };
        match source.kind {
            ErrorKind::MaxFilesWatch => Err(out_of_watches(watch.path.clone())),
            _ if identity_of(&watch.path).is_none() => Ok(false),
            _ => Err(WatchError::Other { path: watch.path.clone(), source }),
        }
    }

    fn end(&mut self, watch: &Watch) {
        self.standing.remove(watch);
        // What went away by itself is no longer there to be ended.
        let _gone = self.inotify.unwatch(&watch.path);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.news.notify_one();
    }
}

impl Hints {
    /// The next hint; several that came meanwhile are one. None once the watcher is gone.
    pub async fn next(&mut self) -> Option<Hint> {
        loop {
            {
                let mut heard = self.shared.lock();
                if let Some(hint) = heard.hint.take() {
                    return Some(hint);
                }
                if heard.closed {
                    return None;
                }
            }
            self.shared.news.notified().await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self, merge: impl FnOnce(&mut Hint)) {
        merge(self.lock().hint.get_or_insert_default());
        self.news.notify_one();
    }

    fn take(&self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(e) => {
                if matches!(e.kind, ErrorKind::MaxFilesWatch) {
                    self.lock().exhausted = e.paths.into_iter().next().or_else(|| Some(PathBuf::from("/")));
                }
                return self.hint(|hint| hint.overflow = true);
            }
        };
        if event.need_rescan() {
            self.lock().all_moved = true;
            return self.hint(|hint| hint.overflow = true);
        }
        if !says_something_changed(event.kind) {
            return;
        }
        if may_move_watches(event.kind) {
            let mut heard = self.lock();
            if heard.moved.len() < MAX_MOVED {
                heard.moved.extend(event.paths.iter().cloned());
            } else {
                heard.all_moved = true;
            }
        }
        self.hint(|hint| {
            let room = MAX_PATHS.saturating_sub(hint.paths.len());
            hint.paths.extend(event.paths.into_iter().take(room));
        });
    }
}

/// Reading wakes nobody: the daemon's own looks and every compiler would. A file closed after writing counts, as that
/// is all that is heard when a package manager lets go of its lock.
fn says_something_changed(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

fn may_move_watches(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(CreateKind::Folder) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// Device and inode of a file or folder; none for a link.
fn identity_of(path: &Path) -> Option<Identity> {
    let meta = fs::symlink_metadata(path).ok()?;
    (!meta.is_symlink()).then(|| (meta.dev(), meta.ino()))
}

fn out_of_watches(path: PathBuf) -> WatchError {
    let limit = format!("/proc/sys/{}", MAX_WATCHES.replace('.', "/"));
    let now = fs::read_to_string(limit).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
    WatchError::Exhausted { path, now }
}

#[cfg(test)]
mod tests;
