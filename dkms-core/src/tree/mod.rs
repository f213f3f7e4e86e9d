//! The state on disk: the classic tree (dkms-contract.md §1) and our own records beside it.
//!
//! * [`scan`], [`package`], [`add`], [`forget`]: what is added, built, installed, broken.
//! * [`manifest`]: what a build was made from, and each file that its install put in place.
//! * [`holds`]: what an admin removed by hand.
//! * [`failures`]: failed attempts that are remembered.
//! * [`locks`]: who may change what.

pub mod failures;
pub(crate) mod files;
pub mod holds;
mod list;
pub mod locks;
pub mod manifest;
pub(crate) mod record;
mod scan;

pub use failures::Failure;
pub use holds::{Hold, Holds};
pub use locks::{Holder, Lock, Wanted, lock_all, lock_install, lock_manifest, lock_package};
pub use manifest::{BuiltModule, BuiltRecord, Displaced, InstallRecord, InstalledFile, Manifest};
pub(crate) use scan::{NOT_KERNELS, link_target, resolve};
pub use scan::{SourceState, TreeEntry, TreePackage, WeakLink, package, scan};

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use crate::error::{IoContext as _, Result};
use crate::layout::Layout;
use crate::model::PackageId;

/// Enters a package into the tree: its folder, and the link to its source (which is not looked at).
/// A link that is there already is set anew, which is how a broken package is mended.
///
/// # Errors
/// When the tree cannot be written.
pub fn add(layout: &Layout, package: &PackageId) -> Result<()> {
    let (source, version) = (layout.inside(&layout.source(package)), layout.version_dir(package));
    if files::look(&version)?.is_some() {
        return files::link_atomic(&source, &layout.source_link(package));
    }
    // The folder comes with its link: without it, whoever looks meanwhile would take the package for broken.
    let parent = layout.package_dir(&package.name);
    files::make_folders(&parent)?;
    let beside = tempfile::Builder::new().prefix(".dkmsd-add-").tempdir_in(&parent).at("make a folder in", &parent)?;
    std::fs::set_permissions(beside.path(), Permissions::from_mode(0o755)).at("open", beside.path())?;
    files::link_atomic(&source, &beside.path().join("source"))?;
    std::fs::rename(beside.keep(), &version).at("make", &version)?;
    files::sync_parent(&version)
}

/// Removes a version from the tree with everything built of it, and the package with its last version.
/// What is installed must be withdrawn first; the source stays.
///
/// # Errors
/// When the tree cannot be written.
pub fn forget(layout: &Layout, package: &PackageId) -> Result<()> {
    let folder = layout.version_dir(package);
    if files::look(&folder)?.is_some() {
        files::remove_tree(&folder)?;
    }
    files::remove_empty(&layout.package_dir(&package.name), &layout.dkms_tree())
}

#[cfg(test)]
mod tests;
