//! ldtarball: takes a package, and what is built of it, out of an archive (dkms-contract.md §6).
//!
//! The archive is unpacked beside the trees and renamed into place, so that nobody sees half of it; whoever made it, what
//! comes out is root's alone to change.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Engine, Order};
use crate::artifact::Suffix;
use crate::build::workspace::held;
use crate::conf::{Loaded, Request};
use crate::distribute::{Inside, Limits, Places, Refused, inside, leaving, make_links, same_tree, swap_in, unpack};
use crate::error::{Error, IoContext as _, Result};
use crate::event::{Phase, Sink};
use crate::layout::Layout;
use crate::model::{KernelId, PackageId};
use crate::tree::{self, BuiltModule, BuiltRecord, Manifest, SourceState, Wanted, files};

/// What an archive was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadedArchive {
    /// A package: it is in the tree.
    Package(LoadedPackage),
    /// An `.rpm`, which rpm has installed: autoinstall is due.
    Rpm,
}

/// A package that came out of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedPackage {
    /// Which.
    pub package: PackageId,
    /// The kernels whose modules were put in place.
    pub built: Vec<KernelId>,
    /// The kernels whose modules were there already and stay as they are.
    pub kept: Vec<KernelId>,
}

/// An archive, unpacked beside the trees. Removed when dropped, but for what was moved from it.
struct Unpacked {
    archive: PathBuf,
    /// Says that the folders are in use.
    _held: [File; 2],
    source: TempDir,
    tree: TempDir,
    inside: Inside,
}

impl Unpacked {
    fn places(&self) -> Places<'_> {
        Places { source: self.source.path(), tree: self.tree.path() }
    }

    fn refused(&self, why: String) -> Error {
        Error::BadArchive { path: self.archive.clone(), why }
    }
}

impl Engine {
    /// Loads an archive: one of `mktarball`, ours or classic, or any with a dkms.conf in it, compressed or not. An `.rpm`
    /// is installed with rpm.
    ///
    /// A source that is in `/usr/src` already gives way to the archive's. What is built already is kept, unless forced.
    ///
    /// # Errors
    /// No archive (2), no dkms.conf in it (3), an archive or dkms.conf that is not valid or not safe (7), a package that
    /// is added already and not forced (8), an `.rpm` that rpm refused (9). Binaries without a source here or there are
    /// loaded and can be installed, and [`Error::OnlyBinaries`] says so (1).
    pub fn load_archive(&self, archive: &Path, order: &Order, sink: &mut dyn Sink) -> Result<LoadedArchive> {
        if !archive.is_file() {
            return Err(Error::NoArchive { path: archive.to_owned() });
        }
        if archive.extension().is_some_and(|suffix| suffix == "rpm") {
            self.install_rpm(archive)?;
            return Ok(LoadedArchive::Rpm);
        }
        sink.phase(Phase::Adding);
        let unpacked = self.unpack(archive)?;
        let loaded = self.load_conf(&unpacked)?;
        self.take_in(&unpacked, &loaded, order, sink).map(LoadedArchive::Package)
    }

    fn install_rpm(&self, package: &Path) -> Result<()> {
        super::needs_root(&format!("installing {}", package.display()))?;
        let refused = |why| Error::Rpm { path: package.to_owned(), why };
        let mut command = Command::new("rpm");
        // An absolute path is never taken for an option.
        let path = fs::canonicalize(package).at("look at", package)?;
        let output =
            command.arg("-Uvh").arg(path).output().map_err(|error| refused(format!("cannot run rpm: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(refused(if lines.is_empty() { output.status.to_string() } else { lines.join("; ") }))
    }

    fn unpack(&self, archive: &Path) -> Result<Unpacked> {
        let (source, held_source) = beside(&self.layout.source_tree())?;
        let (tree, held_tree) = beside(&self.layout.dkms_tree())?;
        let places = Places { source: source.path(), tree: tree.path() };
        let file = File::open(archive).at("read", archive)?;
        let bad = |why| Error::BadArchive { path: archive.to_owned(), why };
        let nodes = unpack(file, &places, Limits::of(&places)?).map_err(|refused| match refused {
            Refused::Archive(why) => bad(why),
            Refused::Machine(error) => error,
        })?;
        let inside = inside(&nodes).map_err(bad)?;
        let inside = inside.ok_or_else(|| Error::ArchiveWithoutConf { path: archive.to_owned() })?;
        if let Some((link, target)) = leaving(&nodes, &inside.conf) {
            return Err(bad(format!("the link {} in it leads out of it, to {}", link.display(), target.display())));
        }
        make_links(&nodes, &inside.conf, &places)?;
        // dkms.conf may be read by a user of no rights.
        for folder in [&source, &tree] {
            fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).at("open", folder.path())?;
        }
        Ok(Unpacked { archive: archive.to_owned(), _held: [held_source, held_tree], source, tree, inside })
    }

    fn load_conf(&self, unpacked: &Unpacked) -> Result<Loaded> {
        let kernel = KernelId { release: self.observer.running().clone(), arch: self.observer.arch().clone() };
        let source = unpacked.places().of(&unpacked.inside.conf);
        let request = Request { conf: None, ..self.request(&source, None, &kernel, true) };
        let loaded = self.observer.loader().load(&request).map_err(|error| match error {
            Error::BadConf { problems, .. } => unpacked.refused(format!("its dkms.conf: {}", problems.join("; "))),
            Error::Evaluation { why, .. } => unpacked.refused(format!("its dkms.conf cannot be evaluated: {why}")),
            Error::NoConf { .. } => unpacked.refused("its dkms.conf is no file".into()),
            other => other,
        })?;
        // Beside the versions of a package, the tree has this folder.
        if loaded.recipe.package.version.as_str() == "original_module" {
            return Err(unpacked.refused("its dkms.conf: PACKAGE_VERSION is original_module".into()));
        }
        Ok(loaded)
    }

    fn take_in(
        &self,
        unpacked: &Unpacked,
        loaded: &Loaded,
        order: &Order,
        sink: &mut dyn Sink,
    ) -> Result<LoadedPackage> {
        let package = &loaded.recipe.package;
        let mut wanted = vec![Wanted::package(&package.name)];
        wanted.extend(unpacked.inside.built.iter().map(|(kernel, _)| Wanted::build(package, kernel)));
        let _locks = self.lock_all(&wanted, sink)?;
        let was_added =
            matches!(tree::package(&self.layout, package)?.map(|found| found.source), Some(SourceState::Present(_)));
        if was_added && !order.force {
            return Err(Error::LoadedAlready { package: package.clone(), archive: unpacked.archive.clone() });
        }
        if unpacked.inside.whole {
            self.place_source(unpacked, package, order, sink)?;
        }
        let source = self.layout.source(package);
        let has_source = source.is_dir();
        let mut done = LoadedPackage { package: package.clone(), built: Vec::new(), kept: Vec::new() };
        if files::look(&self.layout.version_dir(package))?.is_none() {
            self.enter_whole(unpacked, package, has_source)?;
            done.built = unpacked.inside.built.iter().map(|(kernel, _)| kernel.clone()).collect();
        } else {
            self.enter_each(unpacked, order, has_source, &mut done, sink)?;
        }
        for kernel in &done.built {
            tree::failures::clear(&self.layout, package, kernel)?;
        }
        if order.by_hand {
            tree::holds::release(&self.layout, package, None)?;
        }
        for warning in &loaded.recipe.warnings {
            sink.warn(format!("dkms.conf: {warning}"));
        }
        if !has_source {
            return Err(Error::OnlyBinaries { package: package.clone(), path: source });
        }
        if was_added {
            return Ok(done);
        }
        match self.script("POST_ADD", loaded.recipe.post_add.as_deref(), package, None, &source, sink)? {
            None | Some(0) => Ok(done),
            Some(code) => Err(Error::Script { package: package.clone(), directive: "POST_ADD", code, log: None }),
        }
    }

    fn place_source(&self, unpacked: &Unpacked, package: &PackageId, order: &Order, sink: &mut dyn Sink) -> Result<()> {
        let (new, place) = (unpacked.places().of(&unpacked.inside.conf), self.layout.source(package));
        if files::look(&place)?.is_some() {
            // Its times stay, so that nothing has to be built again.
            if place.is_dir() && same_tree(&new, &place)? {
                return Ok(());
            }
            let text = format!("{} was there already, and other: the archive's is in its place", place.display());
            if order.force { sink.note(text) } else { sink.warn(text) }
        }
        if unpacked.inside.conf == Path::new("") {
            // The folder itself cannot be moved: it is removed when all is done.
            let inner = unpacked.source.path().join(".dkmsd-source");
            fs::create_dir(&inner).at("make", &inner)?;
            fs::set_permissions(&inner, Permissions::from_mode(0o755)).at("open", &inner)?;
            for (name, _) in files::list(unpacked.source.path())? {
                if name != ".dkmsd-source" {
                    let from = unpacked.source.path().join(&name);
                    fs::rename(&from, inner.join(&name)).at("move", &from)?;
                }
            }
            return swap_in(&inner, &place);
        }
        swap_in(&new, &place)
    }

    /// Enters a version that the tree does not know, with its link and all that is built, in one step.
    fn enter_whole(&self, unpacked: &Unpacked, package: &PackageId, has_source: bool) -> Result<()> {
        let parent = self.layout.package_dir(&package.name);
        files::make_folders(&parent)?;
        let beside =
            tempfile::Builder::new().prefix(".dkmsd-add-").tempdir_in(&parent).at("make a folder in", &parent)?;
        let version = beside.path();
        fs::set_permissions(version, Permissions::from_mode(0o755)).at("open", version)?;
        for (kernel, folder) in &unpacked.inside.built {
            let place = version.join(&kernel.release).join(&kernel.arch);
            files::make_folders(place.parent().unwrap_or(version))?;
            let new = without_ours(unpacked.places().of(folder))?;
            fs::rename(&new, &place).at("make", &place)?;
        }
        if !has_source {
            let stand_in = self.layout.stand_in_source(package);
            let new = version.join(stand_in.file_name().unwrap_or_default());
            self.make_stand_in(unpacked, &new)?;
        }
        files::link_atomic(&self.link_target(package, has_source), &version.join("source"))?;
        files::sync_tree(version)?;
        let version = self.layout.version_dir(package);
        fs::rename(beside.keep(), &version).at("make", &version)?;
        files::sync_parent(&version)
    }

    /// Enters a version of which the tree knows something: each build by itself, the link last.
    fn enter_each(
        &self,
        unpacked: &Unpacked,
        order: &Order,
        has_source: bool,
        done: &mut LoadedPackage,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let package = done.package.clone();
        for (kernel, folder) in &unpacked.inside.built {
            let place = self.layout.built_dir(&package, kernel);
            if self.layout.module_dir(&package, kernel).is_dir() && !order.force {
                sink.warn(format!(
                    "{package} is built for {kernel} already, which stays as it is; --force replaces it"
                ));
                done.kept.push(kernel.clone());
                continue;
            }
            let new = without_ours(unpacked.places().of(folder))?;
            self.keep_install_record(&package, kernel, &new)?;
            files::make_folders(&self.layout.kernel_dir(&package, &kernel.release))?;
            swap_in(&new, &place)?;
            done.built.push(kernel.clone());
        }
        if !has_source {
            let stand_in = self.layout.stand_in_source(&package);
            files::remove_tree(&stand_in)?;
            self.make_stand_in(unpacked, &stand_in)?;
        }
        let link = self.layout.source_link(&package);
        // A classic tool that had no source made this the folder itself, which no link can be renamed over.
        if files::look(&link)?.is_some_and(|found| found.is_dir()) {
            files::remove_tree(&link)?;
        }
        files::link_atomic(&self.link_target(&package, has_source), &link)
    }

    fn link_target(&self, package: &PackageId, has_source: bool) -> PathBuf {
        let target = if has_source { self.layout.source(package) } else { self.layout.stand_in_source(package) };
        self.layout.inside(&target)
    }

    /// What stands for a source that nobody has: dkms.conf alone, from which modules can be installed.
    fn make_stand_in(&self, unpacked: &Unpacked, folder: &Path) -> Result<()> {
        let conf = unpacked.places().of(&unpacked.inside.conf).join("dkms.conf");
        let text = files::read(&conf)?.unwrap_or_default();
        files::make_folders(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o755)).at("open", folder)?;
        files::write_atomic(&folder.join("dkms.conf"), &text, 0o644)
    }

    /// What is installed of the build that gives way is still known by its record.
    fn keep_install_record(&self, package: &PackageId, kernel: &KernelId, new: &Path) -> Result<()> {
        let Some(installed) = Manifest::read(&self.layout, package, kernel)?.and_then(|m| m.installed) else {
            return Ok(());
        };
        let built = BuiltRecord {
            at: super::now_in_seconds(),
            // It is not known what it was made from, nor how long that took.
            modules: built_modules(&new.join("module"))?,
            ..BuiltRecord::default()
        };
        let mut manifest = Manifest::new(package.clone(), kernel.clone(), built);
        manifest.installed = Some(installed);
        manifest.write_to(&new.join(".dkmsd-manifest.json"))
    }
}

/// A new folder in a tree, and what says that it is in use: without that, whoever puts the tree in order removes it.
fn beside(tree: &Path) -> Result<(TempDir, File)> {
    files::make_folders(tree)?;
    let made = || tempfile::Builder::new().prefix(Layout::UNPACKING).tempdir_in(tree).at("make a folder in", tree);
    held(made)
}

/// Removes what only this program may say: a manifest from elsewhere would name files here.
fn without_ours(folder: PathBuf) -> Result<PathBuf> {
    for (name, kind) in files::list(&folder)? {
        if name.to_string_lossy().starts_with(".dkmsd-") {
            let path = folder.join(name);
            if kind.is_dir() { files::remove_tree(&path)? } else { files::remove(&path).map(|_| ())? }
        }
    }
    Ok(folder)
}

fn built_modules(folder: &Path) -> Result<Vec<BuiltModule>> {
    let mut modules = Vec::new();
    for (name, kind) in files::list(folder)? {
        if let Some(file_name) = name.to_str().filter(|name| kind.is_file() && Suffix::of_file(name).is_some()) {
            modules.push(BuiltModule {
                file_name: file_name.to_owned(),
                sha256: files::sha256_file(&folder.join(file_name))?,
            });
        }
    }
    Ok(modules)
}
