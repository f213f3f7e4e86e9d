//! What is in a folder. A look at a large tree lists tens of thousands, each with a few names in it: so a buffer on the
//! stack, and nothing asked of the kernel but the names.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::error::{IoContext as _, Result};

/// The names in a folder with what they are, in order of name; empty when there is no such folder.
pub(crate) fn list(folder: &Path) -> Result<Vec<(OsString, FileType)>> {
    match names(folder) {
        // No such name, or a file where its folder should be.
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(Vec::new()),
        other => other.map_err(std::io::Error::from).at("read", folder),
    }
}

fn names(folder: &Path) -> rustix::io::Result<Vec<(OsString, FileType)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let mut buffer = [const { MaybeUninit::uninit() }; 4096];
    let mut entries = RawDir::new(&folder, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not tell.
            FileType::Unknown => match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                // An entry that vanishes between the two calls is an entry that is not there.
                Err(_) => continue,
            },
            kind => kind,
        };
        names.push((OsStr::from_bytes(name.to_bytes()).to_owned(), kind));
    }
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_come_in_order_with_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(list(folder.path()).unwrap(), []);
        fs::write(folder.path().join("b"), "").unwrap();
        fs::create_dir(folder.path().join("c")).unwrap();
        std::os::unix::fs::symlink("c", folder.path().join(".a")).unwrap();
        let wanted = [(".a", FileType::Symlink), ("b", FileType::RegularFile), ("c", FileType::Directory)];
        assert_eq!(list(folder.path()).unwrap(), wanted.map(|(name, kind)| (OsString::from(name), kind)));
        assert_eq!(list(&folder.path().join("none")).unwrap(), []);
        assert_eq!(list(&folder.path().join("b")).unwrap(), []);
    }

    #[test]
    fn more_names_than_the_buffer_holds() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<OsString> = (0..500).map(|n| format!("some name that is not short {n:04}").into()).collect();
        for name in &names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(list(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
        assert!(list(&folder.path().join("loop")).is_err());
    }
}
