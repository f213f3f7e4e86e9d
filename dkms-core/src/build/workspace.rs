//! The folder of one build: its own where namespaces allow it (bound over the classic path), else the classic path
//! itself (design.md, decision 5). A failed one ends at the classic path.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{IoContext as _, Result};
use crate::host::users::User;
use crate::layout::Layout;
use crate::model::PackageId;
use crate::tree::locks;

use super::copy::{Rules, copy};
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
    user: Option<User>,
    layout: Layout,
    package: PackageId,
    kept: bool,
}

impl Workspace {
    /// Copies the source, lays `patches` (an admin's) over its own, and gives all of it to the build user; last of all
    /// the folder itself, so that nothing of that user reaches into it before it is whole.
    ///
    /// # Errors
    /// When a folder cannot be made or the copy fails (a full disk).
    pub fn prepare(
        layout: &Layout,
        package: &PackageId,
        source: &Path,
        patches: Option<&Path>,
        user: Option<&User>,
    ) -> Result<Self> {
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
                // Nobody but us may enter it: the build sees its part of it at the classic path.
                Some(held(|| private_in(&work, &prefix))?)
            }
        };
        let (own, in_use) = own.unzip();
        if own.is_none() {
            make_private(&classic).at("make", &classic)?;
        }
        let mount_point = hold_mount_point(&classic).at("open", &classic)?;
        let folder = own.as_ref().map_or_else(|| classic.clone(), |own| own.path().join("build"));
        let (layout, package, user) = (layout.clone(), package.clone(), user.cloned());
        let workspace = Self { folder, classic, own, _in_use: in_use, mount_point, user, layout, package, kept: false };
        if workspace.own.is_some() {
            make_private(&workspace.folder).at("make", &workspace.folder)?;
        }
        workspace.fill(source, patches)?;
        Ok(workspace)
    }

    fn fill(&self, source: &Path, patches: Option<&Path>) -> Result<()> {
        let owner = owner(self.user.as_ref());
        let rules = Rules { owner, ..Rules::default() };
        copy(source, &self.folder, &rules).at("copy the source to", &self.folder)?;
        if let Some(patches) = patches {
            let place = self.folder.join("patches");
            // The source may bring a link of that name, which would lead us out of the copy.
            if fs::symlink_metadata(&place).is_ok_and(|there| !there.is_dir()) {
                remove_file(&place)?;
            }
            unless_there(fs::create_dir(&place)).at("make", &place)?;
            copy(patches, &place, &rules).at("copy the patches to", &place)?;
            give(&place, owner).at("change the owner of", &place)?;
        }
        give(&self.folder, owner).at("change the owner of", &self.folder)
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

    /// A copy of `from` that the build user may write to and that only its build sees: a folder to bind somewhere. None
    /// where nothing can be bound.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn copy_for_build(&self, from: &Path) -> Result<Option<PathBuf>> {
        let Some(own) = &self.own else { return Ok(None) };
        let (folder, owner) = (own.path().join("result"), owner(self.user.as_ref()));
        make_private(&folder).at("make", &folder)?;
        copy(from, &folder, &Rules { owner, ..Rules::default() }).at("copy the result to", &folder)?;
        give(&folder, owner).at("change the owner of", &folder)?;
        Ok(Some(folder))
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

    /// Leaves a copy of a failed build at the classic path, with its log. Nothing of what the build left there is
    /// trusted: it may still run where namespaces are refused.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn keep_failed(mut self, log: &Path) -> Result<()> {
        // Builds for other kernels may fail at the same time, and the place is one.
        let words = [self.package.name.as_str(), self.package.version.as_str()];
        let _turn = locks::lock(&self.layout, "failed", &words, &mut |_| {})?;
        let aside = match self.own {
            Some(_) => {
                self.clear_classic()?;
                None
            }
            None => Some(self.move_aside()?),
        };
        let built = aside.as_ref().map_or_else(|| self.folder.clone(), |aside| aside.path().join("build"));
        self.kept = true;
        let rules = Rules {
            only_of: owner(self.user.as_ref()).map(|(uid, _)| uid),
            owner: owner(None),
            leave_out: &["make.log"],
            ..Rules::default()
        };
        copy(&built, &self.classic, &rules).at("copy the failed build to", &self.classic)?;
        let make_log = self.classic.join("make.log");
        let mut text = fs::File::open(log).at("read", log)?;
        let mut file = fs::File::create_new(&make_log).at("make", &make_log)?;
        io::copy(&mut text, &mut file).at("write", &make_log)?;
        give(&self.classic, None).at("open", &self.classic)
    }

    /// The folder itself stays: it is a mount point of the builds for other kernels.
    fn clear_classic(&self) -> Result<()> {
        for old in fs::read_dir(&self.classic).at("read", &self.classic)?.flatten() {
            let path = old.path();
            if old.file_type().is_ok_and(|t| t.is_dir()) { remove_folder(&path)? } else { remove_file(&path)? }
        }
        Ok(())
    }

    /// Takes the folder at the classic path out of its user's reach, and makes an empty one there.
    fn move_aside(&self) -> Result<tempfile::TempDir> {
        let version = self.classic.parent().unwrap_or(Path::new("/"));
        let aside = private_in(version, ".dkmsd-failed-")?;
        fs::rename(&self.classic, aside.path().join("build")).at("move", &self.classic)?;
        make_private(&self.classic).at("make", &self.classic)?;
        Ok(aside)
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

/// A new folder, and what says that it is in use until it is closed: see [`remove_abandoned`].
pub(crate) fn held(make: impl Fn() -> Result<tempfile::TempDir>) -> Result<(tempfile::TempDir, fs::File)> {
    loop {
        let made = make()?;
        match hold(made.path()) {
            Ok(held) if made.path().is_dir() => return Ok((made, held)),
            // Removed before it was held.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("hold", made.path()),
        }
    }
}

/// Says that a folder is in use until the returned handle is closed.
pub(crate) fn hold(folder: &Path) -> io::Result<fs::File> {
    let folder = fs::File::open(folder)?;
    rustix::fs::flock(&folder, FlockOperation::LockShared)?;
    Ok(folder)
}

/// Removes the folders of builds and of archives' unpacking that were killed. Those in use are left alone.
pub fn remove_abandoned(layout: &Layout) {
    remove_unused_in(&layout.work_dir(), "");
    for tree in [layout.source_tree(), layout.dkms_tree()] {
        remove_unused_in(&tree, Layout::UNPACKING);
    }
}

/// Removes folders by the beginning of their name, unless somebody has a lock on them.
fn remove_unused_in(folder: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let ours = entries.flatten().filter(|e| e.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()));
    for path in ours.map(|e| e.path()) {
        let Ok(folder) = fs::File::open(&path) else { continue };
        if rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
            && let Err(error) = remove_folder(&path)
        {
            tracing::warn!("{error}");
        }
    }
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

fn unless_there(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

/// A new folder that nobody else may enter; gone when dropped.
fn private_in(folder: &Path, prefix: &str) -> Result<tempfile::TempDir> {
    let mode = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix(prefix).permissions(mode).tempdir_in(folder).at("make a folder in", folder)
}

/// A folder that nobody else may enter yet.
fn make_private(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(folder)
}

/// Who is to own what a build gets; only root can give things away.
fn owner(user: Option<&User>) -> Option<(u32, u32)> {
    rustix::process::geteuid().is_root().then(|| user.map_or((0, 0), |user| (user.uid, user.gid)))
}

/// Opens a folder to its owner, and to everybody's eyes.
fn give(folder: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let folder = fs::File::open(folder)?;
    folder.set_permissions(fs::Permissions::from_mode(0o755))?;
    owner.map_or(Ok(()), |(uid, gid)| fchown(&folder, Some(uid), Some(gid)))
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
        let workspace = Workspace::prepare(&layout, &package, &source, None, None).unwrap();
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
        let workspace = Workspace::prepare(&layout, &package, &source, None, None).unwrap();
        workspace.keep_failed(&log).unwrap();
        let classic = layout.build_dir(&package);
        assert_eq!(fs::read_to_string(classic.join("make.log")).unwrap(), "it failed");
        assert!(classic.join("a.c").exists());
    }

    fn failed(make: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let (source, log) = (root.path().join("src"), root.path().join("log"));
        fs::create_dir_all(&source).unwrap();
        fs::write(&log, "it failed").unwrap();
        let package = PackageId::new("a", "1").unwrap();
        let workspace = Workspace::prepare(&layout, &package, &source, None, None).unwrap();
        make(workspace.folder());
        workspace.keep_failed(&log).unwrap();
        (root, layout.build_dir(&package))
    }

    #[test]
    fn a_log_of_the_builds_own_is_neither_followed_nor_kept() {
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        let (_root, classic) = failed(|folder| std::os::unix::fs::symlink(&victim, folder.join("make.log")).unwrap());
        assert!(!victim.exists());
        assert_eq!(fs::read_to_string(classic.join("make.log")).unwrap(), "it failed");
        assert!(fs::symlink_metadata(classic.join("make.log")).unwrap().is_file());

        let (_root, classic) = failed(|folder| {
            rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("make.log"), rustix::fs::Mode::RWXU).unwrap();
        });
        assert_eq!(fs::read_to_string(classic.join("make.log")).unwrap(), "it failed");
    }

    #[test]
    fn what_a_failed_build_leaves_has_no_privilege() {
        let (root, classic) = failed(|folder| {
            fs::write(folder.join("shell"), "").unwrap();
            fs::set_permissions(folder.join("shell"), fs::Permissions::from_mode(0o6755)).unwrap();
        });
        assert_eq!(fs::metadata(classic.join("shell")).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::metadata(&classic).unwrap().mode() & 0o7777, 0o755);
        let version = classic.parent().unwrap();
        assert_eq!(fs::read_dir(version).unwrap().count(), 1, "something is left beside {}", root.path().display());
    }

    #[test]
    fn patches_are_not_laid_over_what_a_link_leads_to() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let (source, patches, outside) =
            (root.path().join("src"), root.path().join("patches"), root.path().join("outside"));
        for folder in [&source, &patches, &outside] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(patches.join("a.patch"), "theirs").unwrap();
        std::os::unix::fs::symlink(&outside, source.join("patches")).unwrap();
        let package = PackageId::new("a", "1").unwrap();
        let workspace = Workspace::prepare(&layout, &package, &source, Some(&patches), None).unwrap();
        assert!(workspace.open_inside(Path::new("patches/a.patch")).is_ok());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn all_of_it_and_nothing_else_is_given_to_the_build_user() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let (source, patches) = (root.path().join("src"), root.path().join("patches"));
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::create_dir_all(&patches).unwrap();
        fs::write(source.join("sub/a.c"), "").unwrap();
        fs::write(patches.join("a.patch"), "theirs").unwrap();
        fs::write(root.path().join("victim"), "").unwrap();
        std::os::unix::fs::symlink("../../../../../../../victim", source.join("link")).unwrap();
        std::os::unix::fs::symlink(root.path().join("victim"), source.join("full")).unwrap();
        let package = PackageId::new("a", "1").unwrap();
        let user = User { name: "x".into(), uid: 4242, gid: 4243 };
        let workspace = Workspace::prepare(&layout, &package, &source, Some(&patches), Some(&user)).unwrap();
        for name in ["", "sub", "sub/a.c", "link", "full", "patches", "patches/a.patch"] {
            let metadata = fs::symlink_metadata(workspace.folder().join(name)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (4242, 4243), "{name}");
        }
        assert_eq!(fs::metadata(root.path().join("victim")).unwrap().uid(), 0);
        let classic = workspace.classic().to_owned();
        workspace.keep_failed(&root.path().join("victim")).unwrap();
        assert_eq!(fs::metadata(classic.join("sub/a.c")).unwrap().uid(), 0);
    }
}
