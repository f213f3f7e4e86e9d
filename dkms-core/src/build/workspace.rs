//! The folder of one build: its own where namespaces allow it (bound over the classic path), else the classic path
//! itself (design.md, decision 5). A failed one ends at the classic path.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FlockOperation;

use crate::error::{Error, IoContext as _, Result};
use crate::host::users::User;
use crate::layout::Layout;
use crate::model::PackageId;

use super::sandbox::{Strength, strength};

/// A copy of a package's source to build in. Removed when dropped.
#[derive(Debug)]
pub struct Workspace {
    /// Where the files are, as seen from outside.
    folder: PathBuf,
    /// The classic path that MAKE lines name.
    classic: PathBuf,
    /// Holds the folder when it is not the classic path.
    own: Option<tempfile::TempDir>,
    /// Held while the job lives, so that nobody takes the folder for abandoned.
    _in_use: Option<fs::File>,
    /// Shared by the jobs that have a folder bound over the classic path: removing a mount point would take the
    /// mount away from the others.
    mount_point: fs::File,
    kept: bool,
}

impl Workspace {
    /// Copies the source and gives it to the build user.
    ///
    /// # Errors
    /// When a folder cannot be made or the copy fails (a full disk).
    pub fn prepare(layout: &Layout, package: &PackageId, source: &Path, user: Option<&User>) -> Result<Self> {
        let classic = layout.build_dir(package);
        let own = match strength() {
            Strength::UserOnly => {
                remove_folder(&classic)?;
                None
            }
            Strength::Namespaces => {
                let work = layout.work_dir();
                fs::create_dir_all(&work).at("make", &work)?;
                let prefix = format!("{}-{}-", package.name, package.version);
                let own = tempfile::Builder::new().prefix(&prefix).tempdir_in(&work).at("make a folder in", &work)?;
                fs::set_permissions(own.path(), fs::Permissions::from_mode(0o755)).at("open", own.path())?;
                Some(own)
            }
        };
        let in_use = own.as_ref().map(|own| hold(own.path()).at("lock", own.path())).transpose()?;
        let mount_point = hold_mount_point(&classic).at("open", &classic)?;
        let folder = own.as_ref().map_or_else(|| classic.clone(), |own| own.path().join("build"));
        let workspace = Self { folder, classic, own, _in_use: in_use, mount_point, kept: false };
        fs::create_dir_all(&workspace.folder).at("make", &workspace.folder)?;
        copy(source, &workspace.folder)?;
        if let Some(user) = user {
            workspace.give_to(user.uid, user.gid)?;
        }
        Ok(workspace)
    }

    /// Where the files are, as seen from outside the sandbox.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path that MAKE lines name.
    #[must_use]
    pub fn classic(&self) -> &Path {
        &self.classic
    }

    /// What to bind over what, where this is not the classic path itself.
    #[must_use]
    pub fn bind(&self) -> Option<(&Path, &Path)> {
        self.own.as_ref().map(|_| (self.folder.as_path(), self.classic.as_path()))
    }

    /// Lays more files over the copy, such as an admin's patches.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn overlay(&self, from: &Path, below: &str, user: Option<&User>) -> Result<()> {
        let target = self.folder.join(below);
        fs::create_dir_all(&target).at("make", &target)?;
        copy(from, &target)?;
        user.map_or(Ok(()), |user| self.give_to(user.uid, user.gid))
    }

    /// Opens a file of the build for reading, and nothing outside it: a link that leads out of the folder is refused.
    ///
    /// # Errors
    /// The system's own.
    pub fn open_inside(&self, relative: &Path) -> io::Result<fs::File> {
        use rustix::fs::{Mode, OFlags, ResolveFlags};
        let top = fs::File::open(&self.folder)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat2(&top, relative, flags, Mode::empty(), ResolveFlags::BENEATH)?;
        let file = fs::File::from(fd);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
    }

    /// Leaves the folder of a failed build at the classic path, with its log.
    ///
    /// # Errors
    /// When it cannot be moved there.
    pub fn keep_failed(mut self, log: &Path) -> Result<()> {
        self.give_to(0, 0)?;
        let make_log = self.folder.join("make.log");
        fs::copy(log, &make_log).at("write", &make_log)?;
        self.kept = true;
        if self.own.is_some() {
            for old in fs::read_dir(&self.classic).at("read", &self.classic)?.flatten() {
                let path = old.path();
                if old.file_type().is_ok_and(|t| t.is_dir()) { remove_folder(&path)? } else { remove_file(&path)? }
            }
            copy(&self.folder, &self.classic)?;
        }
        Ok(())
    }

    fn give_to(&self, uid: u32, gid: u32) -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        chown_all(&self.folder, uid, gid).at("change the owner of", &self.folder)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let result = match &self.own {
            None => remove_folder(&self.classic),
            Some(_) => {
                // Only an empty mount point goes; a failed build of another kernel stays.
                if rustix::fs::flock(&self.mount_point, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    let _ = fs::remove_dir(&self.classic);
                }
                remove_folder(&self.folder)
            }
        };
        if let Err(error) = result {
            tracing::warn!("{error}");
        }
    }
}

/// Makes the mount point, and says that it is in use until the returned handle is closed.
fn hold_mount_point(classic: &Path) -> io::Result<fs::File> {
    loop {
        fs::create_dir_all(classic)?;
        let folder = fs::File::open(classic)?;
        rustix::fs::flock(&folder, FlockOperation::LockShared)?;
        // Another job may have removed it between our two steps.
        match fs::metadata(classic) {
            Ok(there) if there.ino() == folder.metadata()?.ino() => return Ok(folder),
            _ => {}
        }
    }
}

fn hold(folder: &Path) -> io::Result<fs::File> {
    let folder = fs::File::open(folder)?;
    rustix::fs::flock(&folder, FlockOperation::LockShared)?;
    Ok(folder)
}

/// Removes the folders of builds that were killed. Those of builds that run are left alone.
pub fn remove_abandoned(layout: &Layout) {
    let Ok(entries) = fs::read_dir(layout.work_dir()) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        let Ok(folder) = fs::File::open(&path) else { continue };
        if rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
            && let Err(error) = remove_folder(&path)
        {
            tracing::warn!("{error}");
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("cp")
        .args(["-a", "--reflink=auto", "--"])
        .arg(from.join("."))
        .arg(to)
        .output()
        .map_err(|source| Error::Program { program: "cp".into(), source, hint: "install coreutils".into() })?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(why)).at("copy the source to", to)
}

fn remove_folder(path: &Path) -> Result<()> {
    unless_gone(fs::remove_dir_all(path)).at("remove", path)
}

fn remove_file(path: &Path) -> Result<()> {
    unless_gone(fs::remove_file(path)).at("remove", path)
}

fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Changes the owner of everything below and including `path`, never following a link.
fn chown_all(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if (metadata.uid(), metadata.gid()) != (uid, gid) {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            chown_all(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_folder_is_read() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let source = root.path().join("usr/src/a-1");
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::write(source.join("sub/a.ko"), "module").unwrap();
        std::os::unix::fs::symlink("sub/a.ko", source.join("inside.ko")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", source.join("outside.ko")).unwrap();
        let package = PackageId::new("a", "1").unwrap();
        let workspace = Workspace::prepare(&layout, &package, &source, None).unwrap();
        assert!(workspace.open_inside(Path::new("sub/a.ko")).is_ok());
        assert!(workspace.open_inside(Path::new("inside.ko")).is_ok());
        assert!(workspace.open_inside(Path::new("outside.ko")).is_err());
        assert!(workspace.open_inside(Path::new("../../etc/passwd")).is_err());
        assert!(workspace.open_inside(Path::new("sub")).is_err());
        let classic = workspace.classic().to_owned();
        drop(workspace);
        assert!(!classic.exists());
    }

    #[test]
    fn a_failed_build_stays_at_the_classic_path_with_its_log() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let (source, log) = (root.path().join("src"), root.path().join("log"));
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("a.c"), "int a;").unwrap();
        fs::write(&log, "it failed").unwrap();
        let package = PackageId::new("a", "1").unwrap();
        let workspace = Workspace::prepare(&layout, &package, &source, None).unwrap();
        workspace.keep_failed(&log).unwrap();
        let classic = layout.build_dir(&package);
        assert_eq!(fs::read_to_string(classic.join("make.log")).unwrap(), "it failed");
        assert!(classic.join("a.c").exists());
    }
}
