//! uninstall, unbuild, remove, and cleaning up after a kernel that is gone.

use std::fs;
use std::path::Path;

use super::autoinstall::Failed;
use super::holding::Holding;
use super::weak::Weak;
use super::{Done, Engine, Order, remove_if_there, waiting};
use crate::error::{Error, Result};
use crate::event::{Phase, Sink};
use crate::host::kernels::{self, Presence};
use crate::install;
use crate::model::{KernelId, PackageId};
use crate::tree::{self, Failure, Wanted, files};

/// What [`Engine::remove_from`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Kernels that it was taken off: [`Engine::settle_kernel`] is due.
    pub placed: Vec<KernelId>,
    /// Kernels for which something built was dropped.
    pub unbuilt: Vec<KernelId>,
    /// What could not be done, in the order of the kernels.
    pub failed: Vec<Failed>,
    /// No kernel was left, so the package has gone from the tree.
    pub forgotten: bool,
}

impl Engine {
    /// Takes a package off a kernel and puts the kernel's own modules back; what was built stays.
    ///
    /// # Errors
    /// When the package is not in the tree or broken, or the disk refuses.
    pub fn uninstall(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        order: &Order,
        sink: &mut dyn Sink,
    ) -> Result<Done> {
        self.source(package)?;
        sink.phase(Phase::Installing);
        let _lock = tree::lock_install(&self.layout, &kernel.release, &mut waiting(sink, "this kernel's folder"))?;
        let holding = Holding::begin(self, package, Some(kernel), order);
        let done = self.withdraw(package, kernel, sink);
        holding.end(matches!(done, Ok(Done::Placed)), sink);
        done
    }

    /// The caller holds the kernel's lock.
    fn withdraw(&self, package: &PackageId, kernel: &KernelId, sink: &mut dyn Sink) -> Result<Done> {
        let readable = self.recipe_if_readable(package, kernel);
        let recipe = readable.as_ref().map(|(_, recipe)| recipe);
        let folder = self.observer.distro().modules_folder();
        let withdrawn =
            install::withdraw(&self.layout, package, kernel, recipe, folder.as_deref(), self.owner.as_ref())?;
        for (path, why) in &withdrawn.kept {
            sink.warn(format!("{} is left as it is: {why}", path.display()));
        }
        for (path, copy) in &withdrawn.copied {
            sink.warn(format!(
                "{} was changed since it was installed: removed, and kept as {}",
                path.display(),
                copy.display()
            ));
        }
        for path in &withdrawn.restored {
            sink.note(format!("the kernel's own {} is back", path.display()));
        }
        if !withdrawn.was_installed {
            // An earlier call may have been stopped before its depmod.
            if install::due::is_due(&self.layout, &kernel.release)? {
                return Ok(Done::Placed);
            }
            return Ok(Done::Unchanged(format!("{package} is not installed for {}", kernel.release)));
        }
        if recipe.is_none_or(|recipe| !recipe.no_weak_modules) {
            self.weak_modules(Weak::Remove, kernel, &withdrawn.removed, sink);
        }
        if let Some((source, recipe)) = &readable {
            let post = recipe.post_remove.as_deref();
            if let Some(code @ 1..) = self.script("POST_REMOVE", post, package, Some(kernel), source, sink)? {
                sink.warn(format!("its POST_REMOVE script failed with code {code}"));
            }
        }
        Ok(Done::Placed)
    }

    /// As [`Engine::uninstall`], and drops what was built for the kernel.
    ///
    /// # Errors
    /// As [`Engine::uninstall`].
    pub fn unbuild(&self, package: &PackageId, kernel: &KernelId, order: &Order, sink: &mut dyn Sink) -> Result<Done> {
        self.source(package)?;
        let mut removed = Removed::default();
        self.take_off(package, kernel, order, &mut removed, sink)?;
        Ok(if !removed.placed.is_empty() {
            Done::Placed
        } else if !removed.unbuilt.is_empty() {
            Done::Changed
        } else {
            Done::Unchanged(format!("{package} is not built for {}", kernel.release))
        })
    }

    /// Takes a package off a kernel and drops what was built for it, so that nobody installs it in between.
    fn take_off(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        order: &Order,
        removed: &mut Removed,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        sink.phase(Phase::Installing);
        let _locks = self.lock_build_and_install(package, kernel, sink)?;
        let holding = Holding::begin(self, package, Some(kernel), order);
        let placed = self.withdraw(package, kernel, sink).map(|done| done == Done::Placed);
        let withdrawn = matches!(placed, Ok(true));
        // Before anything else can fail: its depmod is due.
        if withdrawn && !removed.placed.contains(kernel) {
            removed.placed.push(kernel.clone());
        }
        let unbuilt = placed.and_then(|_| self.drop_built(package, kernel));
        let dropped = matches!(unbuilt, Ok(true));
        if dropped && !removed.unbuilt.contains(kernel) {
            removed.unbuilt.push(kernel.clone());
        }
        holding.end(withdrawn || dropped, sink);
        unbuilt.map(drop)
    }

    /// Says whether there was something. The caller holds the locks of the build and of the kernel.
    fn drop_built(&self, package: &PackageId, kernel: &KernelId) -> Result<bool> {
        let built = self.layout.built_dir(package, kernel);
        let was_built = built.is_dir();
        // Other kernels that use it have nothing to use any more.
        let weak = tree::package(&self.layout, package)?.map(|found| found.weak).unwrap_or_default();
        for link in weak.iter().filter(|link| link.from == *kernel) {
            files::remove(&self.layout.installed_link(&package.name, &link.kernel))?;
        }
        remove_if_there(&built)?;
        // Another architecture may still be below it.
        let _ = fs::remove_dir(self.layout.kernel_dir(package, &kernel.release));
        tree::failures::clear(&self.layout, package, kernel)?;
        Ok(was_built)
    }

    /// Forgets a package: takes it off every kernel, each whatever becomes of the others, and drops what was built. Then
    /// settles those kernels ([`Engine::settle_kernels`]) and ends with [`Engine::post_transaction`]. Its source stays. Gives
    /// the kernels it was taken off.
    ///
    /// # Errors
    /// When the package is not in the tree; the first of what could not be done, after all the rest: it is not forgotten
    /// then. What else could not be done is a warning.
    pub fn remove(&self, package: &PackageId, order: &Order, sink: &mut dyn Sink) -> Result<Vec<KernelId>> {
        let Some(found) = tree::package(&self.layout, package)? else {
            return Err(Error::NotAdded { package: package.clone() });
        };
        let (mut removed, mut ended) = (Removed::default(), Ok(()));
        let mut note = |result: Result<()>, sink: &mut dyn Sink| match result {
            Err(error) if ended.is_ok() => ended = Err(error),
            Err(error) => sink.warn(error.to_string()),
            Ok(()) => {}
        };
        let mut all_off = true;
        for entry in found.entries {
            let off = self.take_off(package, &entry.kernel, order, &mut removed, sink);
            all_off &= off.is_ok();
            note(off, sink);
        }
        if all_off {
            let forgotten = self.forget(package, order, &mut removed, sink);
            note(forgotten, sink);
        }
        let settled = self.settle_kernels(&removed.placed, package, order.depmod, sink);
        note(settled, sink);
        let releases: Vec<_> = removed.placed.iter().map(|kernel| kernel.release.clone()).collect();
        self.post_transaction(&releases, sink);
        ended.map(|()| removed.placed)
    }

    /// Builds of it that are under way are waited for, and what they made goes too, as does what is installed meanwhile.
    fn forget(&self, package: &PackageId, order: &Order, removed: &mut Removed, sink: &mut dyn Sink) -> Result<()> {
        loop {
            let locks = self.lock_all(&[Wanted::package(&package.name), Wanted::entry(package)], sink)?;
            let left = tree::package(&self.layout, package)?.map(|found| found.entries).unwrap_or_default();
            if left.is_empty() {
                let holding = Holding::begin(self, package, None, order);
                let forgotten = tree::failures::clear_package(&self.layout, package)
                    .and_then(|()| tree::forget(&self.layout, package));
                holding.end(forgotten.is_ok(), sink);
                return forgotten;
            }
            drop(locks);
            for entry in left {
                self.take_off(package, &entry.kernel, order, removed, sink)?;
            }
        }
    }

    /// The classic remove: takes a package off the named kernels and drops what was built for them, each kernel whatever
    /// becomes of the others; when nothing built is left on any kernel, forgets it. Its source stays. On a kernel where
    /// there is nothing to do, it says so and goes on.
    ///
    /// # Errors
    /// When the package is not in the tree or broken. What the disk refuses is in the result.
    pub fn remove_from(
        &self,
        package: &PackageId,
        kernels: &[KernelId],
        order: &Order,
        sink: &mut dyn Sink,
    ) -> Result<Removed> {
        self.source(package)?;
        let mut removed = Removed::default();
        for kernel in kernels {
            if let Err(error) = self.remove_on(package, kernel, order, &mut removed, sink) {
                removed.failed.push(Failed::from(&error));
            }
        }
        if removed.failed.is_empty() {
            match self.forget_if_on_none(package, order, &mut removed, sink) {
                Ok(forgotten) => removed.forgotten = forgotten,
                Err(error) => removed.failed.push(Failed::from(&error)),
            }
        }
        Ok(removed)
    }

    fn remove_on(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        order: &Order,
        removed: &mut Removed,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let before = (removed.placed.len(), removed.unbuilt.len());
        self.take_off(package, kernel, order, removed, sink)?;
        if before == (removed.placed.len(), removed.unbuilt.len()) {
            sink.note(format!("{package} is not built for {}", kernel.release));
        }
        Ok(())
    }

    fn forget_if_on_none(
        &self,
        package: &PackageId,
        order: &Order,
        removed: &mut Removed,
        sink: &mut dyn Sink,
    ) -> Result<bool> {
        if tree::package(&self.layout, package)?.is_some_and(|found| !found.entries.is_empty()) {
            return Ok(false);
        }
        self.forget(package, order, removed, sink)?;
        Ok(true)
    }

    /// Drops what is left of a package on a kernel that is gone, and the kernel's folder when nobody else's files are
    /// in it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn clean(&self, package: &PackageId, kernel: &KernelId, sink: &mut dyn Sink) -> Result<Done> {
        sink.phase(Phase::Installing);
        let _locks = self.lock_build_and_install(package, kernel, sink)?;
        self.withdraw(package, kernel, sink)?;
        self.drop_built(package, kernel)?;
        let folder = self.layout.kernel_folder(&kernel.release);
        remove_leftover_folder(&folder)?;
        if !folder.exists() {
            install::due::clear(&self.layout, &kernel.release)?;
        }
        self.forget_failures_of_gone_kernels()?;
        Ok(Done::Changed)
    }

    /// Forgets what failed for kernels that are gone and that nothing is built for: no action is ever due there.
    pub(super) fn forget_failures_of_gone_kernels(&self) -> Result<()> {
        if kernels::install_tree_sound(&self.layout, None).is_err() {
            return Ok(());
        }
        for Failure { package, kernel, .. } in tree::failures::all(&self.layout)? {
            let found = kernels::kernel(&self.layout, kernel.clone(), &|_| false);
            let gone = found.presence == Presence::Bare && !found.foreign_files;
            let link = self.layout.installed_link(&package.name, &kernel);
            let left = self.layout.built_dir(&package, &kernel).exists() || fs::symlink_metadata(link).is_ok();
            if gone && !left {
                tree::failures::clear(&self.layout, &package, &kernel)?;
            }
        }
        Ok(())
    }
}

/// Removes a gone kernel's folder when nothing but depmod's own files is left in it.
fn remove_leftover_folder(folder: &Path) -> Result<()> {
    if !folder.is_dir() || kernels::left_over(folder, &|_| false) {
        return Ok(());
    }
    remove_if_there(folder)
}
