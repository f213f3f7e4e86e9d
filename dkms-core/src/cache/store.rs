//! The folder of builds. Bounded: what was used least recently goes first. One process writes at a time, readers keep it
//! from removing what they copy; a process that is killed leaves nothing that counts.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::{Key, Tools};
use crate::error::{IoContext as _, Result};
use crate::layout::Layout;
use crate::model::{KernelId, PackageId};
use crate::tree::{BuiltModule, files};

/// What an entry's description is called; its time is that of its last use.
const DESCRIPTION: &str = "entry.json";
/// Below an entry: what the tree has below `<kernel>/<arch>`.
const FILES: &str = "files";
/// What names of folders begin with that are no entries: on their way in, or out.
const UNDER_WAY: &str = ".";
const LOCK: &str = ".lock";
/// Folders in folders.
const DEEPEST: usize = 64;
/// What an entry takes beside its files' bytes, in bytes.
const OVERHEAD: u64 = 8 << 10;

/// One finished build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What was built.
    pub package: PackageId,
    /// For which kernel.
    pub kernel: KernelId,
    /// When it was built, in seconds since 1970.
    pub built_at: u64,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// With which programs.
    pub tools: Tools,
    /// The modules, as manifests have them.
    pub modules: Vec<BuiltModule>,
    /// Every file, by its path below the entry; filled in by [`Cache::keep`].
    pub files: Vec<Stored>,
}

/// One file of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Below the entry's files.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Its size, in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// What became of a build that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is there; so many others had to go.
    Yes {
        /// How many.
        evicted: usize,
    },
    /// It is larger than all that may be kept.
    TooLarge,
}

/// What became of an entry that was to be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// Its files are where they were wanted.
    Placed(Entry),
    /// There is none.
    Absent,
    /// There is one, and the caller did not want it.
    Refused,
    /// It was not what it said, and is gone now.
    Damaged {
        /// What was wrong with it.
        why: String,
    },
}

/// The cache of one machine.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    /// In bytes.
    limit: u64,
}

impl Cache {
    /// The cache of a machine, bounded by so many MiB.
    #[must_use]
    pub fn new(layout: &Layout, megabytes: u32) -> Self {
        Self { folder: layout.build_cache(), limit: u64::from(megabytes) << 20 }
    }

    /// Puts an entry's files into an empty folder and compares each with its digest. `wanted` has the last word.
    ///
    /// # Errors
    /// When the cache cannot be read, or the folder not be written.
    pub fn place(&self, key: &Key, into: &Path, wanted: impl FnOnce(&Entry) -> bool) -> Result<Place> {
        let folder = self.folder.join(key.as_str());
        if files::look(&folder)?.is_none() {
            return Ok(Place::Absent);
        }
        let shared = self.lock(Access::Shared)?;
        let entry = match read(&folder)? {
            Read::Absent => return Ok(Place::Absent),
            Read::Entry(entry) if !wanted(&entry) => return Ok(Place::Refused),
            Read::Entry(entry) => match copy_out(&entry, &folder.join(FILES), into)? {
                None => Ok(entry),
                Some(why) => Err(why),
            },
            Read::Damaged(why) => Err(why),
        };
        match entry {
            Ok(entry) => {
                touch(&folder.join(DESCRIPTION));
                Ok(Place::Placed(entry))
            }
            Err(why) => {
                drop(shared);
                let _alone = self.lock(Access::Alone)?;
                self.remove(&folder)?;
                Ok(Place::Damaged { why })
            }
        }
    }

    /// Keeps the plain files below `from`, but for those at its top that `leave_out` names. An entry of that key gives way.
    ///
    /// # Errors
    /// When the cache cannot be written, or there is anything but plain files and folders. Nothing is left then.
    pub fn keep(&self, key: &Key, mut entry: Entry, from: &Path, leave_out: impl Fn(&str) -> bool) -> Result<Kept> {
        let mut size = OVERHEAD;
        entry.files = list(from, &leave_out)?;
        size += entry.files.iter().map(|file| file.size).sum::<u64>();
        if size > self.limit {
            return Ok(Kept::TooLarge);
        }
        self.make()?;
        let _alone = self.lock(Access::Alone)?;
        self.remove_under_way()?;
        let new = tempfile::Builder::new().prefix(".new-").tempdir_in(&self.folder).at("make", &self.folder)?;
        let stored = new.path().join(FILES);
        fs::create_dir(&stored).at("make", &stored)?;
        for file in &mut entry.files {
            let (source, target) = (from.join(&file.path), stored.join(&file.path));
            make_parent(&target)?;
            share(&source, &target, file.mode)?;
            // As it lies there, should somebody have changed it meanwhile.
            file.sha256 = files::sha256_file(&target)?;
        }
        let description = new.path().join(DESCRIPTION);
        fs::write(&description, described(&entry)?).at("write", &description)?;
        let folder = self.folder.join(key.as_str());
        self.remove(&folder)?;
        fs::rename(new.path(), &folder).at("make", &folder)?;
        // It goes by another name by now.
        drop(new.keep());
        Ok(Kept::Yes { evicted: self.evict(self.limit, Some(&folder))? })
    }

    /// Removes whatever is more than may be kept: everything, where that is nothing.
    ///
    /// # Errors
    /// When the cache cannot be read or changed.
    pub fn shrink(&self) -> Result<usize> {
        if files::look(&self.folder)?.is_none() {
            return Ok(0);
        }
        let _alone = self.lock(Access::Alone)?;
        self.remove_under_way()?;
        self.evict(self.limit, None)
    }

    fn evict(&self, limit: u64, spared: Option<&Path>) -> Result<usize> {
        let mut entries = Vec::new();
        for (name, kind) in files::list(&self.folder)? {
            if kind.is_dir() && !name.to_string_lossy().starts_with(UNDER_WAY) {
                let folder = self.folder.join(name);
                // One that cannot be read is of no use, so it goes first.
                let (used, size) = match (fs::metadata(folder.join(DESCRIPTION)), read(&folder)) {
                    (Ok(metadata), Ok(Read::Entry(entry))) => {
                        let bytes = entry.files.iter().map(|file| file.size).sum::<u64>();
                        (metadata.modified().unwrap_or(UNIX_EPOCH), OVERHEAD + bytes)
                    }
                    _ => (UNIX_EPOCH, OVERHEAD),
                };
                entries.push((used, folder, size));
            }
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, _, size)| size).sum();
        let mut evicted = 0;
        for (_, folder, size) in entries.iter().filter(|(_, folder, _)| Some(folder.as_path()) != spared) {
            if total <= limit {
                break;
            }
            self.remove(folder)?;
            total -= size;
            evicted += 1;
        }
        Ok(evicted)
    }

    /// Takes its name away first: it is whole or not there.
    fn remove(&self, folder: &Path) -> Result<()> {
        let aside = tempfile::Builder::new().prefix(".old-").tempdir_in(&self.folder).at("make", &self.folder)?;
        match fs::rename(folder, aside.path().join("old")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", folder),
            _ => Ok(()),
        }
    }

    /// What killed processes left. Whoever calls holds the lock, so none of it is in use.
    fn remove_under_way(&self) -> Result<()> {
        for (name, kind) in files::list(&self.folder)? {
            if kind.is_dir() && name.to_string_lossy().starts_with(UNDER_WAY) {
                files::remove_tree(&self.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Nobody but root may look into it: what it holds is installed without another look at who made it.
    fn make(&self) -> Result<()> {
        let folder = &self.folder;
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).at("make", parent)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.at("make", folder),
        }
    }

    fn lock(&self, access: Access) -> Result<File> {
        let there = fs::symlink_metadata(&self.folder).at("read", &self.folder)?;
        let ours = there.is_dir() && there.uid() == rustix::process::geteuid().as_raw() && there.mode() & 0o022 == 0;
        if !ours {
            let why = "it has to be a folder that nobody but root can write to; remove it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why)).at("use", &self.folder);
        }
        let path = self.folder.join(LOCK);
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let file = options.open(&path).at("open the lock", &path)?;
        loop {
            let locked = match access {
                Access::Shared => file.lock_shared(),
                Access::Alone => file.lock(),
            };
            match locked {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(|()| file).at("lock", &path),
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Access {
    Shared,
    Alone,
}

enum Read {
    Absent,
    Entry(Entry),
    Damaged(String),
}

/// The digest of the description, then the description.
fn described(entry: &Entry) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(entry).map_err(io::Error::from).at("write", DESCRIPTION)?;
    let mut bytes = format!("{}\n", files::sha256_bytes(&text)).into_bytes();
    bytes.extend(text);
    Ok(bytes)
}

fn read(folder: &Path) -> Result<Read> {
    if files::look(folder)?.is_none() {
        return Ok(Read::Absent);
    }
    let Some(bytes) = files::read(&folder.join(DESCRIPTION))? else {
        return Ok(Read::Damaged(format!("{DESCRIPTION} is missing")));
    };
    let damaged = || Read::Damaged(format!("{DESCRIPTION} is not what was written"));
    let mut halves = bytes.splitn(2, |byte| *byte == b'\n');
    let (Some(digest), Some(text)) = (halves.next(), halves.next()) else { return Ok(damaged()) };
    if files::sha256_bytes(text).as_bytes() != digest {
        return Ok(damaged());
    }
    Ok(serde_json::from_slice(text).map_or_else(|_| damaged(), Read::Entry))
}

/// The plain files below a folder, by their names.
///
/// # Errors
/// When the folder cannot be read, or holds anything else.
pub(crate) fn list(folder: &Path, leave_out: &impl Fn(&str) -> bool) -> Result<Vec<Stored>> {
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = open.pop() {
        let here = folder.join(&below);
        for (name, kind) in files::list(&here)? {
            if depth == 0 && name.to_str().is_none_or(leave_out) {
                continue;
            }
            let path = below.join(&name);
            if kind.is_dir() && depth < DEEPEST {
                open.push((path, depth + 1));
            } else if kind.is_file() {
                let metadata = fs::symlink_metadata(folder.join(&path)).at("read", folder.join(&path))?;
                let (mode, size) = (metadata.mode() & 0o7777, metadata.len());
                found.push(Stored { path, mode, size, sha256: String::new() });
            } else {
                let why = io::Error::other("it is neither a plain file nor a folder");
                return Err(why).at("keep", folder.join(&path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Gives what is wrong with the entry, if anything is.
fn copy_out(entry: &Entry, from: &Path, into: &Path) -> Result<Option<String>> {
    for file in &entry.files {
        let plain = file.path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain {
            return Ok(Some(format!("{} leads out of it", file.path.display())));
        }
        let (source, target) = (from.join(&file.path), into.join(&file.path));
        let other = |what: &str| Ok(Some(format!("{} {what}", file.path.display())));
        match files::look(&source)? {
            Some(metadata) if metadata.is_file() => {
                if metadata.len() != file.size || metadata.mode() & 0o7777 != file.mode {
                    return other("has another size or mode");
                }
            }
            _ => return other("is missing"),
        }
        make_parent(&target)?;
        share(&source, &target, file.mode)?;
        // The copy is looked at, since that is what will be installed.
        if files::sha256_file(&target)? != file.sha256 {
            return other("has other bytes");
        }
    }
    Ok(None)
}

fn make_parent(file: &Path) -> Result<()> {
    let parent = file.parent().unwrap_or(file);
    if parent.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).at("make", parent)
}

/// A second file of the same bytes that takes no more room, where the file systems allow it: blocks in common, else the
/// same file by a second name. Nothing of ours changes a file of the tree in place, and what somebody else changes is
/// found out by its digest.
fn share(source: &Path, target: &Path, mode: u32) -> Result<()> {
    let from = File::open(source).at("read", source)?;
    let create = || OpenOptions::new().write(true).create_new(true).mode(mode & 0o777).open(target);
    let mut to = create().at("make", target)?;
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        drop(to);
        fs::remove_file(target).at("replace", target)?;
        if fs::hard_link(source, target).is_ok() {
            return Ok(());
        }
        to = create().at("make", target)?;
        io::copy(&mut &from, &mut to).at("write", target)?;
    }
    to.set_permissions(fs::Permissions::from_mode(mode)).at("set the mode of", target)
}

/// Best effort: an entry whose use goes unnoticed is made anew one day.
fn touch(description: &Path) {
    let touched = File::open(description).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!("the use of {} is not on record: {error}", description.display());
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
