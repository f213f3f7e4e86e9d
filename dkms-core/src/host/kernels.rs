//! Which kernels there are below the install tree, and what each folder is (design.md, the table "a kernel folder is").
//!
//! A folder is **installed** when it holds what only a kernel's package (or `make modules_install`) brings:
//! `modules.builtin` or `modules.order`, or a file below `kernel/` that is none of ours. `modules.dep` proves nothing:
//! depmod writes it wherever it is run, so a folder that a removed kernel left behind has one too.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::{IoContext, Result};
use crate::host::resolve::resolve;
use crate::layout::Layout;
use crate::model::{Arch, KernelId, KernelRelease};

/// What depmod(8) writes at the top of a kernel's folder.
const DEPMOD_FILES: [&str; 13] = [
    "modules.alias",
    "modules.alias.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.dep",
    "modules.dep.bin",
    "modules.devname",
    "modules.softdep",
    "modules.symbols",
    "modules.symbols.bin",
    "modules.weakdep",
    // Of kmod's predecessors.
    "modules.pcimap",
    "modules.usbmap",
];

/// What only a kernel's package brings.
const KERNEL_FILES: [&str; 2] = ["modules.builtin", "modules.order"];

/// One folder below the install tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The folder's name, and the architecture asked for.
    pub id: KernelId,
    /// What the folder is.
    pub presence: Presence,
    /// Whether it holds anything but depmod's files and the modules that were said to be ours. A folder that is
    /// [`Presence::Bare`] without foreign files is gone, provided the install tree is sound
    /// ([`install_tree_sound`]).
    pub foreign_files: bool,
}

/// What a kernel folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// A kernel's own files are there.
    Installed,
    /// No kernel, and a `build` that leads to a folder.
    HeadersOnly,
    /// Neither.
    Bare,
}

/// Whether a module file, named by its path below [`Layout::kernel_folder`], is one that we put there. Asked only of
/// files in folders that have no kernel of their own.
pub type Owned<'o> = &'o dyn Fn(&Path) -> bool;

/// The kernels below the install tree, by name. Links and names that are no kernel release are passed over; an install tree that does
/// not exist has no kernels.
///
/// # Errors
/// When the install tree cannot be read.
pub fn kernels(layout: &Layout, arch: &Arch, owned: Owned<'_>) -> Result<Vec<Kernel>> {
    let tree = layout.install_tree();
    let entries = match fs::read_dir(&tree) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read", &tree)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.at("read", &tree)?;
        let release = entry.file_name().into_string().ok().and_then(|name| KernelRelease::new(name).ok());
        let Some(release) = release else { continue };
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.push(kernel(layout, KernelId { release, arch: arch.clone() }, owned));
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// What one kernel's folder is, as in [`kernels`]; a folder that does not exist is bare and without foreign files.
#[must_use]
pub fn kernel(layout: &Layout, id: KernelId, owned: Owned<'_>) -> Kernel {
    let folder = layout.kernel_folder(&id.release);
    let installed =
        KERNEL_FILES.iter().any(|file| folder.join(file).is_file()) || has_foreign_file(&folder.join("kernel"), owned);
    let presence = if installed {
        Presence::Installed
    } else if resolve(layout, &layout.kernel_source(&id.release)).is_ok_and(|dir| dir.is_dir()) {
        Presence::HeadersOnly
    } else {
        Presence::Bare
    };
    let foreign_files = presence != Presence::Bare || left_over(&folder, owned);
    Kernel { id, presence, foreign_files }
}

/// Whether a kernel's folder holds anything but depmod's files, those in `owned` and empty folders. What cannot
/// be read counts as something; so does a `build` link that leads nowhere, as its target may come back.
#[must_use]
pub fn left_over(folder: &Path, owned: Owned<'_>) -> bool {
    any_file(folder, &|path| {
        let depmods = path.parent() == Some(folder)
            && path.file_name().and_then(|n| n.to_str()).is_some_and(|n| DEPMOD_FILES.contains(&n));
        !depmods && !owned(path)
    })
}

fn has_foreign_file(folder: &Path, owned: Owned<'_>) -> bool {
    folder.is_dir() && any_file(folder, &|path| !owned(path))
}

/// Whether any file or link at or below a folder is as asked; stops at the first, follows no links.
fn any_file(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> bool {
    let entries = match fs::read_dir(folder) {
        Err(e) => return e.kind() != io::ErrorKind::NotFound,
        Ok(entries) => entries,
    };
    entries.into_iter().any(|entry| {
        let Ok(entry) = entry else { return true };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => any_file(&entry.path(), wanted),
            Ok(_) => wanted(&entry.path()),
            Err(_) => true,
        }
    })
}

/// Why no kernel may be called gone now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// The install tree is not there or cannot be read.
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable {
        /// The install tree.
        path: PathBuf,
        /// The system's own word.
        why: String,
    },
    /// Nothing is in it.
    #[error("{} is empty: is its file system mounted?", path.display())]
    Empty {
        /// The install tree.
        path: PathBuf,
    },
    /// Another file system lies there than at start.
    #[error("{} lies on another file system than at start: was it mounted or unmounted?", path.display())]
    OtherDevice {
        /// The install tree.
        path: PathBuf,
    },
}

/// The device that the install tree lies on, to be kept from start on; none when it is not there.
#[must_use]
pub fn install_tree_device(layout: &Layout) -> Option<u64> {
    fs::metadata(layout.install_tree()).ok().map(|m| m.dev())
}

/// Whether an absent kernel is really gone: the install tree is there, holds something, and lies on the device it lay
/// on at start (any, when it was not there then).
///
/// # Errors
/// Why not.
pub fn install_tree_sound(layout: &Layout, device_at_start: Option<u64>) -> Result<(), Unsound> {
    let path = layout.install_tree();
    let unreadable = |e: io::Error| Unsound::Unreadable { path: path.clone(), why: e.to_string() };
    let device = fs::metadata(&path).map_err(unreadable)?.dev();
    if device_at_start.is_some_and(|at_start| at_start != device) {
        return Err(Unsound::OtherDevice { path });
    }
    if fs::read_dir(&path).map_err(unreadable)?.next().is_none() {
        return Err(Unsound::Empty { path });
    }
    Ok(())
}

/// The running kernel, as `uname -r`.
///
/// # Errors
/// When it is no word that a folder could be called.
pub fn running() -> Result<KernelRelease> {
    Ok(KernelRelease::new(rustix::system::uname().release().to_string_lossy())?)
}

/// The architecture that the package of a kernel is for, as rpm knows it; none where no package owns the kernel.
#[must_use]
pub fn package_arch(layout: &Layout, kernel: &KernelRelease) -> Option<Arch> {
    let mut rpm = Command::new("rpm");
    rpm.args(["-q", "--queryformat", "%{ARCH}\\n", "-f"]).arg(layout.kernel_folder(kernel).join("modules.builtin"));
    let output = rpm.stdin(Stdio::null()).stderr(Stdio::null()).output().ok().filter(|out| out.status.success())?;
    Arch::new(String::from_utf8_lossy(&output.stdout).lines().next()?).ok()
}

/// This machine, as `uname -m`.
///
/// # Errors
/// When it is no word that a folder could be called.
pub fn machine() -> Result<Arch> {
    Ok(Arch::new(rustix::system::uname().machine().to_string_lossy())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::HashSet;
    use std::os::unix::fs::symlink;

    fn put(root: &Path, file: &str) {
        let path = root.join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }

    #[rstest]
    #[case::package(&["modules.builtin", "kernel/fs/ext4.ko"], None, Presence::Installed, true)]
    #[case::kernel_folder(&["kernel/fs/ext4.ko.xz"], None, Presence::Installed, true)]
    #[case::with_headers(&["modules.order"], Some("/usr/src/h"), Presence::Installed, true)]
    #[case::headers(&[], Some("/usr/src/h"), Presence::HeadersOnly, true)]
    #[case::headers_after_depmod(&["modules.dep", "updates/dkms/ours.ko"], Some("/usr/src/h"), Presence::HeadersOnly, true)]
    #[case::headers_inside(&["build/Makefile"], None, Presence::HeadersOnly, true)]
    #[case::empty(&[], None, Presence::Bare, false)]
    #[case::depmod_alone(&["modules.dep", "modules.dep.bin", "modules.alias"], None, Presence::Bare, false)]
    #[case::ours(&["modules.dep", "updates/dkms/ours.ko"], None, Presence::Bare, false)]
    #[case::ours_below_kernel(&["kernel/net/ours.ko", "modules.dep"], None, Presence::Bare, false)]
    #[case::empty_kernel_folder(&["kernel/fs/"], None, Presence::Bare, false)]
    #[case::somebody_elses(&["updates/dkms/ours.ko", "updates/theirs.ko"], None, Presence::Bare, true)]
    #[case::depmod_name_elsewhere(&["updates/modules.dep"], None, Presence::Bare, true)]
    #[case::dangling(&["modules.dep"], Some("/usr/src/absent"), Presence::Bare, true)]
    fn a_folder_is(
        #[case] files: &[&str],
        #[case] build: Option<&str>,
        #[case] presence: Presence,
        #[case] foreign_files: bool,
    ) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let id = KernelId::new("6.1.0-56-amd64", "x86_64").unwrap();
        let folder = layout.kernel_folder(&id.release);
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(root.path().join("usr/src/h")).unwrap();
        for file in files {
            put(&folder, file);
        }
        if let Some(target) = build {
            symlink(target, folder.join("build")).unwrap();
        }
        let owned = HashSet::from(["updates/dkms/ours.ko", "kernel/net/ours.ko"].map(|f| folder.join(f)));
        let found = kernels(&layout, &id.arch, &|path| owned.contains(path)).unwrap();
        assert_eq!(found, [Kernel { id, presence, foreign_files }]);
    }

    #[test]
    fn links_files_and_dot_folders_are_no_kernels() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let arch = Arch::new("x86_64").unwrap();
        assert!(kernels(&layout, &arch, &|_| false).unwrap().is_empty());
        for file in ["6.2/", "6.10/", ".hidden/", "README"] {
            put(&layout.install_tree(), file);
        }
        symlink("6.2", layout.install_tree().join("current")).unwrap();
        let found = kernels(&layout, &arch, &|_| false).unwrap();
        let names: Vec<_> = found.iter().map(|k| k.id.release.as_str()).collect();
        assert_eq!(names, ["6.10", "6.2"]);
    }

    #[test]
    fn an_absent_empty_or_other_tree_is_not_sound() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        assert!(matches!(install_tree_sound(&layout, None), Err(Unsound::Unreadable { .. })));
        assert_eq!(install_tree_device(&layout), None);
        fs::create_dir_all(layout.install_tree()).unwrap();
        let device = install_tree_device(&layout);
        assert!(matches!(install_tree_sound(&layout, device), Err(Unsound::Empty { .. })));
        put(&layout.install_tree(), "6.1/");
        assert_eq!(install_tree_sound(&layout, device), Ok(()));
        assert_eq!(install_tree_sound(&layout, None), Ok(()));
        let other = device.map(|d| d + 1);
        assert!(matches!(install_tree_sound(&layout, other), Err(Unsound::OtherDevice { .. })));
    }
}
