//! add: takes a driver's source into the tree.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::trust::writable_by_others;
use super::{Done, Engine, Order, remove_if_there, waiting};
use crate::conf::Loaded;
use crate::error::{Error, IoContext as _, Result};
use crate::event::{Phase, Sink};
use crate::model::{KernelId, PackageId};
use crate::tree::{self, SourceState};

impl Engine {
    /// Adds `/usr/src/<name>-<version>`.
    ///
    /// # Errors
    /// When there is no source, its conf breaks a rule, POST_ADD fails, or the tree cannot be written.
    pub fn add(&self, package: &PackageId, order: &Order, sink: &mut dyn Sink) -> Result<Done> {
        let source = self.layout.source(package);
        if !source.is_dir() {
            return Err(Error::NoSource { package: package.clone(), path: source });
        }
        let loaded = self.load_for_add(&source, Some(package))?;
        self.enter(package, &source, &loaded, order, sink)
    }

    /// Adds a folder elsewhere: copies it to `/usr/src/<name>-<version>` first, unless that is there already (`force`
    /// replaces it). Says which package it is.
    ///
    /// # Errors
    /// As [`Engine::add`]; when the copy fails.
    pub fn add_folder(&self, folder: &Path, order: &Order, sink: &mut dyn Sink) -> Result<(PackageId, Done)> {
        let loaded = self.load_for_add(folder, None)?;
        let package = loaded.recipe.package.clone();
        let source = self.layout.source(&package);
        if same_file(folder, &source) {
            let done = self.enter(&package, &source, &loaded, order, sink)?;
            return Ok((package, done));
        }
        super::needs_root(&format!("copying {} to {}", folder.display(), source.display()))?;
        if !source.exists() || order.force {
            copy_beside(folder, &source)?;
        } else {
            sink.note(format!("{} is there already and is used as it is; --force replaces it", source.display()));
        }
        let done = self.enter(&package, &source, &loaded, order, sink)?;
        Ok((package, done))
    }

    /// Adds a package that is not in the tree yet; restores a missing link, which the classic command leaves to `add`.
    pub(super) fn add_when_needed(&self, package: &PackageId, order: &Order, sink: &mut dyn Sink) -> Result<()> {
        match tree::package(&self.layout, package)?.map(|p| p.source) {
            Some(SourceState::Present(_)) => Ok(()),
            Some(SourceState::Broken(path)) if order.keep_built || !self.layout.source(package).is_dir() => {
                Err(super::broken(package, path))
            }
            _ => self.add(package, order, sink).map(|_| ()),
        }
    }

    fn load_for_add(&self, source: &Path, package: Option<&PackageId>) -> Result<Loaded> {
        let kernel = KernelId { release: self.observer.running().clone(), arch: self.observer.arch().clone() };
        let request = self.request(source, package, &kernel, true);
        self.observer.loader().load(&request)
    }

    fn enter(
        &self,
        package: &PackageId,
        source: &Path,
        loaded: &Loaded,
        order: &Order,
        sink: &mut dyn Sink,
    ) -> Result<Done> {
        sink.phase(Phase::Adding);
        let _lock = tree::lock_package(&self.layout, &package.name, &mut waiting(sink, "the package"))?;
        if order.by_hand {
            tree::holds::release(&self.layout, package, None)?;
        }
        self.not_held(package, None, order)?;
        if let Some(SourceState::Present(_)) = tree::package(&self.layout, package)?.map(|p| p.source) {
            return Ok(Done::Unchanged(format!("{package} is in the tree already")));
        }
        tree::add(&self.layout, package)?;
        if rustix::process::geteuid().is_root()
            && let Ok(Some(open)) = writable_by_others(source, Path::new("dkms.conf"))
        {
            sink.warn(format!(
                "not only root can change {0} (uid {1}, mode {2:04o}): whoever can gets code into the kernel, and scripts there \
                 that run as root are refused; look through it, then: chown -R root:root {3} && chmod -R go-w {3}",
                open.path.display(),
                open.uid,
                open.mode,
                source.display(),
            ));
        }
        for warning in &loaded.recipe.warnings {
            sink.warn(format!("dkms.conf: {warning}"));
        }
        match self.script("POST_ADD", loaded.recipe.post_add.as_deref(), package, None, source, sink)? {
            None | Some(0) => Ok(Done::Changed),
            Some(code) => Err(Error::Script { package: package.clone(), directive: "POST_ADD", code, log: None }),
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Copies a folder to a place in one step, so that nobody sees half a source. The copy is root's alone to change, whoever
/// made the folder: it is built from, and its scripts run, at every kernel to come.
fn copy_beside(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).at("make", parent)?;
    let beside = tempfile::Builder::new().prefix(".dkmsd-").tempdir_in(parent).at("make a folder in", parent)?;
    let copy = beside.path().join("source");
    let output = Command::new("cp")
        .args(["-dR", "--preserve=mode,timestamps,links", "--reflink=auto", "--"])
        .args([from, &copy])
        .output()
        .map_err(|source| Error::Program { program: "cp".into(), source, hint: "install coreutils".into() })?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(std::io::Error::other(why)).at("copy the source to", to);
    }
    take_over(&copy).at("change the permissions of", &copy)?;
    if to.exists() {
        fs::rename(to, beside.path().join("old")).at("replace", to)?;
    }
    fs::rename(&copy, to).at("make", to)?;
    remove_if_there(&beside.path().join("old"))
}

/// Takes writing away from group and others, and with it what an access list gives; and what runs as somebody else.
fn take_over(path: &Path) -> std::io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Ok(());
    }
    let mode = found.permissions().mode() & 0o7777;
    fs::set_permissions(path, fs::Permissions::from_mode(mode & !0o6022))?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            take_over(&entry?.path())?;
        }
    }
    Ok(())
}
