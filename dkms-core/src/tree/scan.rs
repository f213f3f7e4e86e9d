//! One look at the classic tree.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::{IoContext, Result};
use crate::layout::Layout;
use crate::model::{Arch, KernelId, KernelRelease, PackageId, PackageName, PackageVersion};
use crate::shares;
use crate::tree::{Manifest, files};

/// Folders of a version that are no kernels.
pub(crate) const NOT_KERNELS: [&str; 8] = ["source", "build", "tarball", "deb", "dsc", "bmdeb", "rpm", "driver_disk"];

/// One version of one package, as the tree has it.
#[derive(Debug, Clone, PartialEq)]
pub struct TreePackage {
    /// Which.
    pub id: PackageId,
    /// Its source.
    pub source: SourceState,
    /// Every kernel for which something is built or installed, in order of file name.
    pub entries: Vec<TreeEntry>,
    /// Kernels that use another kernel's build of this version.
    pub weak: Vec<WeakLink>,
}

/// Where a package's source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    /// The folder, to be opened as it is.
    Present(PathBuf),
    /// Missing; where it should be.
    Broken(PathBuf),
}

/// One version on one kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeEntry {
    /// Which kernel.
    pub kernel: KernelId,
    /// The folder of built modules exists.
    pub built: bool,
    /// The `kernel-…` link points to this version.
    pub installed: bool,
    /// Kernel modules that an install of this package displaced are kept.
    pub originals: bool,
    /// Our record; none for what classic DKMS made.
    pub manifest: Option<Manifest>,
}

/// A kernel that uses another kernel's build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeakLink {
    /// The kernel that uses it.
    pub kernel: KernelId,
    /// The kernel it was built for.
    pub from: KernelId,
}

/// Every package in the tree, in order of file name. An entry that cannot be read is logged and passed over.
///
/// # Errors
/// When the tree itself is there and cannot be read.
pub fn scan(layout: &Layout) -> Result<Vec<TreePackage>> {
    let folders = files::list(&layout.dkms_tree())?.into_iter().filter(|(_, kind)| kind.is_dir());
    let names: Vec<_> = folders.filter_map(|(name, _)| word(&name, PackageName::new)).collect();
    let versions = |name: &PackageName| {
        versions(layout, name, None).unwrap_or_else(|e| {
            tracing::warn!(package = %name, "passed over: {e}");
            Vec::new()
        })
    };
    Ok(shares::map(&names, 32, versions).into_iter().flatten().collect())
}

/// One version of one package; none when the tree does not have it.
///
/// # Errors
/// When its entry cannot be read.
pub fn package(layout: &Layout, id: &PackageId) -> Result<Option<TreePackage>> {
    Ok(versions(layout, &id.name, Some(&id.version))?.pop())
}

/// A name that is a word of the field; dot-files and names that no tool makes are not.
fn word<T, E>(name: &OsStr, parse: impl Fn(String) -> Result<T, E>) -> Option<T> {
    parse(name.to_str()?.to_owned()).ok()
}

fn versions(layout: &Layout, name: &PackageName, only: Option<&PackageVersion>) -> Result<Vec<TreePackage>> {
    let names = files::list(&layout.package_dir(name))?;
    let links = installed_links(layout, name, names.iter().filter(|(_, kind)| kind.is_symlink()).map(|(n, _)| n))?;
    let has_originals = names.iter().any(|(name, _)| name == "original_module");
    let mut found = Vec::new();
    for (version, kind) in &names {
        if !kind.is_dir() || version == "original_module" {
            continue;
        }
        let Some(version) = word(version, PackageVersion::new) else { continue };
        if only.is_some_and(|only| *only != version) {
            continue;
        }
        let id = PackageId { name: name.clone(), version };
        match one(layout, id.clone(), &links, has_originals) {
            Ok(package) => found.extend(package),
            // Asked for by name, its trouble is the caller's; in passing, it must not stop the rest.
            Err(e) if only.is_some() => return Err(e),
            Err(e) => tracing::warn!(package = %id, "passed over: {e}"),
        }
    }
    Ok(found)
}

fn one(layout: &Layout, id: PackageId, links: &[InstalledLink], has_originals: bool) -> Result<Option<TreePackage>> {
    let Some(source) = source(layout, &id)? else { return Ok(None) };
    let mut kernels = BTreeSet::new();
    let folder = layout.version_dir(&id);
    for (release, kind) in files::list(&folder)? {
        if !kind.is_dir() || NOT_KERNELS.iter().any(|n| release == *n) {
            continue;
        }
        let Some(release) = word(&release, KernelRelease::new) else { continue };
        for (arch, kind) in files::list(&layout.kernel_dir(&id, &release)).unwrap_or_else(|e| {
            tracing::warn!(package = %id, kernel = %release, "passed over: {e}");
            Vec::new()
        }) {
            if !kind.is_dir() {
                continue;
            }
            let Some(arch) = word(&arch, Arch::new) else { continue };
            kernels.insert(KernelId { release: release.clone(), arch });
        }
    }
    let mut installed = BTreeSet::new();
    let mut weak = Vec::new();
    for InstalledLink { kernel, from, .. } in links.iter().filter(|link| link.version == id.version) {
        if kernel == from {
            installed.insert(kernel);
            kernels.insert(kernel.clone());
        } else {
            weak.push(WeakLink { kernel: kernel.clone(), from: from.clone() });
        }
    }
    let entry = |kernel| {
        let installed = installed.contains(&kernel);
        let mut entry = entry(layout, &id, kernel, installed)?;
        entry.originals = has_originals && layout.originals_dir(&id.name, &entry.kernel).is_dir();
        Some(entry)
    };
    let entries = kernels.into_iter().filter_map(entry).collect();
    Ok(Some(TreePackage { id, source, entries, weak }))
}

fn entry(layout: &Layout, id: &PackageId, kernel: KernelId, installed: bool) -> Option<TreeEntry> {
    let built = layout.module_dir(id, &kernel).is_dir();
    if !built && !installed {
        return None;
    }
    let manifest = Manifest::read(layout, id, &kernel).unwrap_or_else(|e| {
        tracing::warn!(package = %id, kernel = %kernel, "its record is passed over: {e}");
        None
    });
    Some(TreeEntry { kernel, built, installed, originals: false, manifest })
}

/// Added, broken, or (none) not a package at all.
fn source(layout: &Layout, id: &PackageId) -> Result<Option<SourceState>> {
    let link = layout.source_link(id);
    match files::look(&link)? {
        Some(found) if found.file_type().is_symlink() => {
            let target = resolve(layout, &link)?;
            Ok(Some(if target.is_dir() { SourceState::Present(target) } else { SourceState::Broken(target) }))
        }
        // A classic tool makes the folder itself for modules that came without their source.
        Some(found) if found.is_dir() => Ok(Some(SourceState::Present(link))),
        None if layout.source(id).is_dir() => Ok(Some(SourceState::Broken(layout.source(id)))),
        _ => Ok(None),
    }
}

/// Follows a link as programs inside the root would; gives the path to open from here.
pub(crate) fn resolve(layout: &Layout, link: &Path) -> Result<PathBuf> {
    let mut path = link.to_owned();
    // The kernel's own limit.
    for _ in 0..40 {
        if !files::look(&path)?.is_some_and(|found| found.file_type().is_symlink()) {
            break;
        }
        let target = fs::read_link(&path).at("read the link", &path)?;
        path = if target.is_absolute() { layout.host(target) } else { path.with_file_name("").join(target) };
    }
    Ok(path)
}

struct InstalledLink {
    kernel: KernelId,
    version: PackageVersion,
    from: KernelId,
}

fn installed_links<'a>(
    layout: &Layout,
    name: &PackageName,
    names: impl Iterator<Item = &'a std::ffi::OsString>,
) -> Result<Vec<InstalledLink>> {
    let mut links = Vec::new();
    for link in names {
        let Some(rest) = link.to_str().and_then(|n| n.strip_prefix("kernel-")) else { continue };
        let path = layout.package_dir(name).join(link);
        let target = fs::read_link(&path).at("read the link", &path)?;
        match installed_link(rest, &target) {
            Some(link) => links.push(link),
            None => tracing::warn!(path = %path.display(), "ignored: it points to {}", target.display()),
        }
    }
    Ok(links)
}

/// `rest` is the link's name after `kernel-`; the arch in it is known from the target, `<version>/<kernel>/<arch>`.
fn installed_link(rest: &str, target: &Path) -> Option<InstalledLink> {
    let (version, from) = link_target(target)?;
    let release = rest.strip_suffix(from.arch.as_str())?.strip_suffix('-')?;
    let kernel = KernelId { release: KernelRelease::new(release).ok()?, arch: from.arch.clone() };
    Some(InstalledLink { kernel, version, from })
}

/// What a `kernel-…` link points to; the target may be relative or not.
pub(crate) fn link_target(target: &Path) -> Option<(PackageVersion, KernelId)> {
    let mut words = target.components().rev().map(|c| match c {
        Component::Normal(word) => word.to_str(),
        _ => None,
    });
    let arch = Arch::new(words.next()??).ok()?;
    let release = KernelRelease::new(words.next()??).ok()?;
    let version = PackageVersion::new(words.next()??).ok()?;
    Some((version, KernelId { release, arch }))
}
