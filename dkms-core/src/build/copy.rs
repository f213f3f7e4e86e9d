//! Copies a folder through descriptors: whoever owns the original, and whatever runs in it meanwhile, nothing outside it
//! is read and nothing outside the copy is written. No link is followed; pipes, sockets and devices are left out, and no
//! copy has a set-user-ID or set-group-ID bit, or can be written by anybody but its owner.

use std::ffi::CStr;
use std::fs::{File, FileTimes, Permissions};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Uid};
use rustix::io::Errno;

/// Folders in folders; each level holds two descriptors.
const DEEPEST: usize = 200;

/// How a copy differs from its original.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules<'a> {
    /// Who owns the copies, user and group; whoever copies when none.
    pub(super) owner: Option<(u32, u32)>,
    /// Files of anybody else are left out: a hard link may lead to what its maker must not read.
    pub(super) only_of: Option<u32>,
    /// Names at the top that are left out.
    pub(super) leave_out: &'a [&'a str],
    /// Whether links are left out: symbolic ones, and files of more than one name.
    pub(super) no_links: bool,
}

/// Copies what is in `from` into `to`, which has to be there; files of the same name are replaced. The owner and mode of
/// `to` itself stay.
///
/// # Errors
/// The system's own.
pub(super) fn copy(from: &Path, to: &Path, rules: &Rules<'_>) -> io::Result<()> {
    folder(&File::open(from)?, &File::open(to)?, rules, 0)
}

fn folder(from: &File, to: &File, rules: &Rules<'_>, depth: usize) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other(format!("its folders are nested more than {DEEPEST} deep")));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let left_out = depth == 0 && rules.leave_out.iter().any(|n| n.as_bytes() == name.to_bytes());
        if matches!(name.to_bytes(), b"." | b"..") || left_out {
            continue;
        }
        match FileType::from_raw_mode(rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) {
            FileType::Directory => {
                let source = open(from, name, OFlags::DIRECTORY)?;
                match rustix::fs::mkdirat(to, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                let target = open(to, name, OFlags::DIRECTORY)?;
                folder(&source, &target, rules, depth + 1)?;
                finish(&source, &target, 0o700, rules)?;
            }
            FileType::RegularFile => {
                // What was a file a moment ago may be a pipe now: it must not be waited for.
                let source = open(from, name, OFlags::NONBLOCK)?;
                let metadata = source.metadata()?;
                let wanted =
                    rules.only_of.is_none_or(|uid| uid == metadata.uid()) && !(rules.no_links && metadata.nlink() > 1);
                if metadata.is_file() && wanted {
                    let target = create(to, name)?;
                    contents(&source, &target)?;
                    finish(&source, &target, 0o400, rules)?;
                }
            }
            FileType::Symlink if !rules.no_links => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                remove(to, name)?;
                rustix::fs::symlinkat(&target, to, name)?;
                if let Some((uid, gid)) = rules.owner {
                    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn open(folder: impl AsFd, name: &CStr, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?))
}

fn create(folder: &File, name: &CStr) -> io::Result<File> {
    remove(folder, name)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?))
}

fn remove(folder: &File, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Shares the blocks where the file system can; holes stay holes, so that a copy takes no more room than its original.
fn contents(mut source: &File, mut target: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    loop {
        let data = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = rustix::fs::seek(source, SeekFrom::Hole(data))?;
        source.seek(io::SeekFrom::Start(data))?;
        target.seek(io::SeekFrom::Start(data))?;
        io::copy(&mut source.take(at - data), &mut target)?;
    }
    target.set_len(source.metadata()?.len())
}

/// Owner, mode and time of change; the time counts, since make goes by it.
fn finish(source: &File, target: &File, least_mode: u32, rules: &Rules<'_>) -> io::Result<()> {
    let metadata = source.metadata()?;
    if let Some((uid, gid)) = rules.owner {
        fchown(target, Some(uid), Some(gid))?;
    }
    target.set_permissions(Permissions::from_mode(metadata.mode() & 0o755 | least_mode))?;
    target.set_times(FileTimes::new().set_modified(metadata.modified()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn copied(rules: &Rules<'_>, make: impl FnOnce(&Path)) -> (tempfile::TempDir, std::path::PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        make(&from);
        copy(&from, &to, rules).unwrap();
        (scratch, to)
    }

    #[test]
    fn files_folders_links_and_times_are_copied() {
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let (_scratch, to) = copied(&Rules { leave_out: &["make.log"], ..Rules::default() }, |from| {
            fs::create_dir_all(from.join("sub/deeper")).unwrap();
            fs::write(from.join("sub/deeper/a"), "text").unwrap();
            File::open(from.join("sub/deeper/a")).unwrap().set_modified(long_ago).unwrap();
            fs::write(from.join("make.log"), "theirs").unwrap();
            fs::write(from.join("sub/make.log"), "kept").unwrap();
            symlink("/etc/passwd", from.join("link")).unwrap();
        });
        assert_eq!(fs::read_to_string(to.join("sub/deeper/a")).unwrap(), "text");
        assert_eq!(fs::metadata(to.join("sub/deeper/a")).unwrap().modified().unwrap(), long_ago);
        assert!(!to.join("make.log").exists() && to.join("sub/make.log").exists());
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
    }

    #[test]
    fn no_pipe_and_no_privilege_survives() {
        let (_scratch, to) = copied(&Rules { no_links: true, ..Rules::default() }, |from| {
            rustix::fs::mkfifoat(rustix::fs::CWD, from.join("pipe"), Mode::RWXU).unwrap();
            fs::write(from.join("root"), "").unwrap();
            fs::set_permissions(from.join("root"), Permissions::from_mode(0o6777)).unwrap();
            symlink("root", from.join("link")).unwrap();
            fs::write(from.join("one"), "").unwrap();
            fs::hard_link(from.join("one"), from.join("other")).unwrap();
        });
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
        assert_eq!(fs::metadata(to.join("root")).unwrap().mode() & 0o7777, 0o755);
    }

    #[test]
    fn holes_take_no_room() {
        let (_scratch, to) = copied(&Rules::default(), |from| {
            let file = File::create(from.join("big")).unwrap();
            file.set_len(1 << 40).unwrap();
            std::os::unix::fs::FileExt::write_at(&file, b"end", (1 << 40) - 3).unwrap();
        });
        let big = fs::metadata(to.join("big")).unwrap();
        assert_eq!(big.len(), 1 << 40);
        assert!(big.blocks() < 1000);
    }

    #[test]
    fn files_of_others_are_left_out() {
        let mine = rustix::process::geteuid().as_raw();
        for (only_of, there) in [(mine, true), (mine + 1, false)] {
            let rules = Rules { only_of: Some(only_of), ..Rules::default() };
            let (_scratch, to) = copied(&rules, |from| fs::write(from.join("a"), "").unwrap());
            assert_eq!(to.join("a").exists(), there);
        }
    }
}
