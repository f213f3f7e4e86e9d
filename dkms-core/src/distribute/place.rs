//! Puts a finished folder in the place of another.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::error::{IoContext as _, Result};
use crate::tree::files;

/// Moves `new` to `place`, whose folder must exist, in one step where the file system can. What was there before is at
/// `new` afterwards.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn swap_in(new: &Path, place: &Path) -> Result<()> {
    files::sync_tree(new)?;
    match rustix::fs::renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::NOENT) => fs::rename(new, place).at("make", place)?,
        // Some file systems (NFS, FUSE) cannot exchange.
        Err(Errno::INVAL | Errno::NOSYS) => {
            let aside = new.with_extension("before");
            if fs::symlink_metadata(place).is_ok() {
                fs::rename(place, &aside).at("replace", place)?;
            }
            fs::rename(new, place).at("make", place)?;
            if fs::symlink_metadata(&aside).is_ok() {
                fs::rename(&aside, new).at("keep", new)?;
            }
        }
        Err(error) => return Err(error).at("replace", place),
    }
    files::sync_parent(place)
}

/// Whether two folders hold the same: names, bytes, targets of links, and what may be run.
///
/// # Errors
/// When something cannot be read.
pub(crate) fn same_tree(a: &Path, b: &Path) -> Result<bool> {
    let names = files::list(a)?;
    if names != files::list(b)? {
        return Ok(false);
    }
    for (name, kind) in names {
        let (a, b) = (a.join(&name), b.join(&name));
        let same = if kind.is_dir() {
            same_tree(&a, &b)?
        } else if kind.is_symlink() {
            fs::read_link(&a).at("read", &a)? == fs::read_link(&b).at("read", &b)?
        } else {
            kind.is_file() && same_file(&a, &b).at("compare", &b)?
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_file(a: &Path, b: &Path) -> io::Result<bool> {
    let (a, b) = (File::open(a)?, File::open(b)?);
    let (of_a, of_b) = (a.metadata()?, b.metadata()?);
    if of_a.len() != of_b.len() || (of_a.permissions().mode() ^ of_b.permissions().mode()) & 0o111 != 0 {
        return Ok(false);
    }
    let mut b = BufReader::new(b).bytes();
    for byte in BufReader::new(a).bytes() {
        if b.next().transpose()? != Some(byte?) {
            return Ok(false);
        }
    }
    Ok(b.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::same(&[], true)]
    #[case::bytes(&[("sub/a", "two")], false)]
    #[case::one_more(&[("sub/b", "")], false)]
    fn folders_are_compared(#[case] changes: &[(&str, &str)], #[case] wanted: bool) {
        let root = tempfile::tempdir().unwrap();
        let folders = ["x", "y"].map(|name| root.path().join(name));
        for folder in &folders {
            fs::create_dir_all(folder.join("sub")).unwrap();
            fs::write(folder.join("sub/a"), "one").unwrap();
            std::os::unix::fs::symlink("sub/a", folder.join("link")).unwrap();
        }
        for (name, text) in changes {
            fs::write(folders[0].join(name), text).unwrap();
        }
        let [a, b] = &folders;
        assert_eq!((same_tree(a, b).unwrap(), same_tree(b, a).unwrap()), (wanted, wanted));
        fs::set_permissions(a.join("sub/a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!same_tree(a, b).unwrap());
    }

    #[test]
    fn what_was_there_is_where_the_new_one_was() {
        let root = tempfile::tempdir().unwrap();
        let [new, place] = ["new", "place"].map(|name| root.path().join(name));
        for text in ["first", "second"] {
            fs::create_dir_all(&new).unwrap();
            fs::write(new.join("file"), text).unwrap();
            swap_in(&new, &place).unwrap();
            assert_eq!(fs::read_to_string(place.join("file")).unwrap(), text);
        }
        assert_eq!(fs::read_to_string(new.join("file")).unwrap(), "first");
    }
}
