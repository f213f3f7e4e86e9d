//! Changes to the disk that survive a power cut: each is durable when its function returns, and none leaves a
//! half-written file under a name that counts.
//!
//! Everything below [`crate::tree`] and [`crate::install`] that changes the disk goes through here, so that tests can
//! stop the program before any single change ([`failpoint`]).

use std::fs::{self, File, FileTimes, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{IoContext, Result};

pub(crate) use super::list::list;

const CHUNK: usize = 128 * 1024;
/// As long as most records are.
const RECORD: usize = 2048;

/// SHA-256 of some bytes, in hexadecimal.
pub(crate) fn sha256_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's bytes, in hexadecimal.
pub(crate) fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).at("read", path)?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = file.read(&mut chunk).at("read", path)?;
        if n == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(chunk.get(..n).unwrap_or_default());
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).collect()
}

/// Where the next version of `path` is written before it takes its name. Ends in nothing that depmod looks at.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.dkmsd-new"))
}

/// Replaces `path` by `bytes`, or makes it; its folder must exist. Writers of one file must exclude each other.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let new = beside(path);
    let mut file = create(&new, mode)?;
    write_all(&mut file, &new, bytes)?;
    finish(&file, &new, path)
}

/// Replaces `to` by the bytes of `from`, or makes it; gives the digest of what was written.
/// With `like`, the copy also gets that file's mode and time of change.
pub(crate) fn copy_atomic(
    from: &Path,
    to: &Path,
    mode: u32,
    like: Option<(u32, std::time::SystemTime)>,
) -> Result<String> {
    let new = beside(to);
    let mut source = File::open(from).at("read", from)?;
    let mut file = create(&new, mode)?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = source.read(&mut chunk).at("read", from)?;
        if n == 0 {
            break;
        }
        let bytes = chunk.get(..n).unwrap_or_default();
        digest.update(bytes);
        write_all(&mut file, &new, bytes)?;
    }
    if let Some((mode, time)) = like {
        file.set_permissions(fs::Permissions::from_mode(mode)).at("set the mode of", &new)?;
        file.set_times(FileTimes::new().set_modified(time)).at("set the time of", &new)?;
    }
    finish(&file, &new, to)?;
    Ok(hex(&digest.finalize()))
}

fn create(new: &Path, mode: u32) -> Result<File> {
    failpoint("create", new)?;
    remove_quietly(new).at("remove", new)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(new).at("write", new)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).at("set the mode of", new)?;
    Ok(file)
}

fn write_all(file: &mut File, path: &Path, bytes: &[u8]) -> Result<()> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    file.write_all(first).at("write", path)?;
    failpoint("write the rest of", path)?;
    file.write_all(second).at("write", path)
}

fn finish(file: &File, new: &Path, path: &Path) -> Result<()> {
    failpoint("sync", new)?;
    file.sync_all().at("write", new)?;
    failpoint("rename", new)?;
    fs::rename(new, path).at("write", path)?;
    sync_parent(path)
}

/// Writes a file of which any part will do after a stop; its folder must exist.
pub(crate) fn write_in_place(path: &Path, bytes: &[u8]) -> Result<()> {
    failpoint("write", path)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path).at("write", path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).at("write", path)?;
    sync_parent(path)
}

/// Makes what somebody else wrote durable: the files directly in a folder that `which` names, and the folder's names.
pub(crate) fn sync_files(folder: &Path, which: impl Fn(&str) -> bool) -> Result<()> {
    for (name, kind) in list(folder)? {
        if kind.is_file() && name.to_str().is_some_and(&which) {
            let path = folder.join(name);
            File::open(&path).and_then(|file| file.sync_all()).at("sync", &path)?;
        }
    }
    sync_folder(folder)
}

/// Makes the link `path` point to `target`, in place of whatever link or file has that name.
pub(crate) fn link_atomic(target: &Path, path: &Path) -> Result<()> {
    let new = beside(path);
    failpoint("link", &new)?;
    remove_quietly(&new).at("remove", &new)?;
    std::os::unix::fs::symlink(target, &new).at("link", &new)?;
    failpoint("rename", &new)?;
    fs::rename(&new, path).at("link", path)?;
    sync_parent(path)
}

/// Removes a file or link; gives whether it was there.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    failpoint("remove", path)?;
    let was_there = remove_quietly(path).at("remove", path)?;
    if was_there {
        sync_parent(path)?;
    }
    Ok(was_there)
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    failpoint("remove", path)?;
    match fs::remove_dir_all(path) {
        Err(e) if !absent(&e) => Err(e).at("remove", path),
        _ => sync_parent(path),
    }
}

/// Removes `folder` when it is empty, then its parents as long as they are, up to but not including `stop`.
pub(crate) fn remove_empty(folder: &Path, stop: &Path) -> Result<()> {
    let mut folder = folder;
    while folder != stop && folder.starts_with(stop) {
        failpoint("remove", folder)?;
        match fs::remove_dir(folder) {
            Ok(()) => sync_parent(folder)?,
            Err(e) if absent(&e) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty) => return Ok(()),
            Err(e) => return Err(e).at("remove", folder),
        }
        let Some(parent) = folder.parent() else { return Ok(()) };
        folder = parent;
    }
    Ok(())
}

/// Makes a folder and its parents; gives those that were not there, the outermost first.
pub(crate) fn make_folders(path: &Path) -> Result<Vec<PathBuf>> {
    let missing = missing_folders(path);
    for folder in &missing {
        failpoint("make", folder)?;
        match fs::create_dir(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e).at("make", folder),
            _ => sync_parent(folder)?,
        }
    }
    Ok(missing)
}

/// The folders that [`make_folders`] would make, the outermost first.
pub(crate) fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<_> = path
        .ancestors()
        .take_while(|p| !p.as_os_str().is_empty() && fs::metadata(p).is_err())
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    missing
}

/// Makes the names in the folder of `path` durable. A folder that is gone has no names to keep.
pub(crate) fn sync_tree(folder: &Path) -> Result<()> {
    for (name, kind) in list(folder)? {
        let path = folder.join(name);
        if kind.is_dir() {
            sync_tree(&path)?;
        } else if kind.is_file() {
            File::open(&path).and_then(|file| file.sync_all()).at("sync", &path)?;
        }
    }
    File::open(folder).and_then(|file| file.sync_all()).at("sync", folder)
}

pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    path.parent().filter(|p| !p.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e) if absent(&e) => Ok(()),
        // Some file systems (FUSE, old overlays) know no fsync of a folder; there is nothing better to do on them.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other.at("sync", folder),
    }
}

/// What is at a path, links not followed; none when there is nothing.
pub(crate) fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(e) if absent(&e) => Ok(None),
        Err(e) => Err(e).at("look at", path),
    }
}

/// Reads a small file; none when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    // Records are small: reading one takes less than asking for its size first.
    let mut bytes = Vec::with_capacity(RECORD);
    let read = File::open(path).and_then(|file| file.take(u64::MAX).read_to_end(&mut bytes));
    match read.map(|_| bytes) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if absent(&e) => Ok(None),
        Err(e) => Err(e).at("read", path),
    }
}

fn remove_quietly(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if absent(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Nothing is there: no such name, or a file where its folder should be.
pub(crate) fn absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(not(test))]
#[inline]
pub(crate) fn failpoint(_what: &'static str, _path: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use failpoints::{failpoint, stop_before};

#[cfg(test)]
pub(crate) mod failpoints {
    //! Stops the program before its nth change to the disk, as a power cut would.

    use std::cell::Cell;
    use std::path::Path;

    use crate::error::{Error, Result};

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Lets `n` changes happen in this thread, and fails every one after them; none lets all happen.
    /// Gives how many of those that were allowed before have not happened.
    pub(crate) fn stop_before(n: Option<usize>) -> Option<usize> {
        LEFT.replace(n)
    }

    pub(crate) fn failpoint(_what: &'static str, _path: &Path) -> Result<()> {
        match LEFT.get() {
            Some(0) => Err(Error::Canceled),
            Some(n) => {
                LEFT.set(Some(n - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        write_atomic(&path, b"the first", 0o600).unwrap();
        for n in 0.. {
            stop_before(Some(n));
            let ended = write_atomic(&path, b"the second", 0o644);
            stop_before(None);
            let now = fs::read(&path).unwrap();
            if ended.is_ok() {
                assert!(n > 2);
                assert_eq!(now, b"the second");
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
                break;
            }
            assert_eq!(now, b"the first");
        }
        assert_eq!(list(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_copy_has_the_digest_of_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&from, vec![7; 300_000]).unwrap();
        assert_eq!(copy_atomic(&from, &to, 0o644, None).unwrap(), sha256_file(&from).unwrap());
        assert_eq!(sha256_file(&to).unwrap(), sha256_bytes(&vec![7; 300_000]));
        assert_eq!(sha256_bytes(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn empty_folders_go_up_to_the_one_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("keep/a/b/c");
        assert_eq!(make_folders(&deep).unwrap().len(), 4);
        fs::write(folder.path().join("keep/a/file"), "").unwrap();
        remove_empty(&deep, &folder.path().join("keep")).unwrap();
        assert!(folder.path().join("keep/a").is_dir() && !folder.path().join("keep/a/b").exists());
        fs::remove_file(folder.path().join("keep/a/file")).unwrap();
        remove_empty(&deep, &folder.path().join("keep")).unwrap();
        assert!(folder.path().join("keep").is_dir() && !folder.path().join("keep/a").exists());
    }
}
