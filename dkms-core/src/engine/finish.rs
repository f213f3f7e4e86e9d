//! The second half of installs and uninstalls: one depmod a kernel, then they are final or undone; and what a crash left
//! of them.

use super::{Engine, waiting};
use crate::error::{Error, Result};
use crate::event::{Phase, Sink};
use crate::fingerprint::Fingerprint;
use crate::install::depmod::{self, DepmodOutcome};
use crate::install::{self, RecoverAction, UnderWay};
use crate::model::{KernelId, KernelRelease, PackageId, PackageName};
use crate::observe;
use crate::tree::{self, Manifest};

use super::Tried;
use super::weak::Weak;

/// Who runs depmod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depmod {
    /// We do.
    #[default]
    Run,
    /// The caller does, later (`--no-depmod`): what is placed is final without it, nothing can be rolled back, and nothing
    /// of ours remembers that the kernel's index is old.
    LeftToCaller,
}

impl Engine {
    /// [`Engine::settle_kernel`] with depmod, then [`Engine::post_transaction`] for this kernel alone.
    ///
    /// # Errors
    /// As [`Engine::settle_kernel`].
    pub fn finish_kernel(&self, kernel: &KernelId, batch: &[PackageId], sink: &mut dyn Sink) -> Result<()> {
        self.finish(kernel, batch, Depmod::Run, sink)
    }

    pub(super) fn finish(
        &self,
        kernel: &KernelId,
        batch: &[PackageId],
        depmod: Depmod,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        self.settle_kernel(kernel, batch, depmod, sink)?;
        self.post_transaction(std::slice::from_ref(&kernel.release), sink);
        Ok(())
    }

    /// Makes everything final that was placed on a kernel or taken off it. With [`Depmod::Run`], depmod runs once before,
    /// and when it fails the installs of the batch are undone.
    ///
    /// What another living process has placed meanwhile, be it a package of the batch, is that one's to finish or undo;
    /// what a dead one has is final too once depmod has run.
    ///
    /// `batch`: the packages, in the order in which they were placed. Several kernels are settled one after the other, and
    /// [`Engine::post_transaction`] follows once for all of them.
    ///
    /// # Errors
    /// [`Error::Depmod`]: the modules that were there before are back.
    pub fn settle_kernel(
        &self,
        kernel: &KernelId,
        batch: &[PackageId],
        depmod: Depmod,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let mut names: Vec<&PackageName> = batch.iter().map(|p| &p.name).collect();
        names.dedup();
        let installed = {
            let _lock = tree::lock_install(&self.layout, &kernel.release, &mut waiting(sink, "this kernel's folder"))?;
            if depmod == Depmod::Run && self.layout.kernel_folder(&kernel.release).is_dir() {
                self.index(kernel, &names, sink)?;
            }
            let mut installed = false;
            for name in self.left_to_us(&names, kernel) {
                installed |= install::under_way(&self.layout, name, kernel)?.is_some();
                install::commit(&self.layout, name, kernel)?;
            }
            if depmod == Depmod::Run {
                // This depmod has read what they placed.
                let others = install::awaiting(&self.layout, kernel)?;
                for name in self.left_to_us(&others.iter().collect::<Vec<_>>(), kernel) {
                    install::commit(&self.layout, name, kernel)?;
                }
                install::due::clear(&self.layout, &kernel.release)?;
            } else {
                install::due::take_back(&self.layout, &kernel.release, self.owner.as_ref())?;
            }
            installed
        };
        if installed && depmod == Depmod::Run {
            self.load_modules(&kernel.release, sink);
        }
        Ok(())
    }

    /// Those of which no other living process has an install under way.
    fn left_to_us<'n>(&self, names: &[&'n PackageName], kernel: &KernelId) -> Vec<&'n PackageName> {
        // What cannot be read is told by who goes on with it.
        let theirs = |name: &PackageName| {
            let under_way = install::under_way(&self.layout, name, kernel).ok().flatten();
            under_way.is_some_and(|under_way| !under_way.is_left_to(self.owner.as_ref()))
        };
        names.iter().copied().filter(|name| !theirs(name)).collect()
    }

    /// [`Engine::settle_kernel`] for each kernel that a package was taken off, whatever becomes of the others.
    ///
    /// # Errors
    /// The first one; those that follow it are warnings.
    pub fn settle_kernels(
        &self,
        kernels: &[KernelId],
        package: &PackageId,
        depmod: Depmod,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let mut ended = Ok(());
        for kernel in kernels {
            match self.settle_kernel(kernel, std::slice::from_ref(package), depmod, sink) {
                Err(error) if ended.is_ok() => ended = Err(error),
                Err(error) => sink.warn(error.to_string()),
                Ok(()) => {}
            }
        }
        ended
    }

    /// Runs depmod; when it fails, undoes the installs.
    fn index(&self, kernel: &KernelId, names: &[&PackageName], sink: &mut dyn Sink) -> Result<()> {
        sink.phase(Phase::Depmod);
        install::due::mark(&self.layout, &kernel.release, self.owner.as_ref())?;
        let why = match depmod::run(&self.layout, &kernel.release) {
            Ok(DepmodOutcome::Ran) => return Ok(()),
            Ok(DepmodOutcome::SkippedNoModulesDep) => {
                let folder = self.layout.kernel_folder(&kernel.release);
                sink.note(format!(
                    "depmod is not run: {} has no modules.dep (headers without a kernel)",
                    folder.display()
                ));
                return Ok(());
            }
            Err(Error::Depmod { why, .. }) => why,
            Err(other) => other.to_string(),
        };
        let names = self.left_to_us(names, kernel);
        let placed: Vec<UnderWay> =
            names.iter().filter_map(|name| install::under_way(&self.layout, name, kernel).ok().flatten()).collect();
        // The other way round than they were placed: one may have displaced another's file.
        let undone: Vec<_> = names.iter().rev().map(|name| install::undo(&self.layout, name, kernel)).collect();
        let files = placed.iter().filter_map(|p| p.placed.as_ref()).flat_map(|record| &record.files);
        self.weak_modules(Weak::Remove, kernel, &files.map(|file| file.path.clone()).collect::<Vec<_>>(), sink);
        // The old modules are the ones the old index was made from; a second failure changes nothing for them.
        let again = depmod::run(&self.layout, &kernel.release);
        let error = Error::Depmod { kernel: kernel.release.clone(), undone: !placed.is_empty(), why };
        // Else they would be due again at once, and fail again.
        placed.iter().for_each(|p| self.remember(&p.package, kernel, self.built_from(&p.package, kernel), &error));
        undone.into_iter().collect::<Result<()>>()?;
        if again.is_ok() {
            install::due::clear(&self.layout, &kernel.release)?;
        }
        Err(error)
    }

    /// What an install that failed after its build was made from.
    fn built_from(&self, package: &PackageId, kernel: &KernelId) -> Option<Tried> {
        let now = self.inputs_now(package, kernel)?;
        let manifest = Manifest::read(&self.layout, package, kernel).ok().flatten();
        let Some(then) = manifest.and_then(|manifest| observe::built_from(&manifest)) else { return Some(now) };
        // What it depends on may have been undone in the same batch.
        Some(Tried { inputs: Fingerprint { depends: now.inputs.depends, ..then }, ..now })
    }

    /// After a crash or a power cut: undoes installs that were cut short, finishes those that lack only depmod, and runs
    /// depmod for each kernel whose modules were changed without it. What another process has placed that is known to live
    /// is left to that one. Then forgets what nothing needs any more.
    ///
    /// # Errors
    /// When the tree cannot be read. What could not be recovered is a warning.
    pub fn recover(&self, sink: &mut dyn Sink) -> Result<()> {
        let mut waiting_for_depmod: Vec<(KernelId, PackageId)> = Vec::new();
        for found in install::recover(&self.layout, self.owner.as_ref())? {
            let (package, kernel) = (found.package, found.kernel);
            match found.action {
                RecoverAction::Undone => {
                    sink.note(format!("{package} for {kernel}: an install that was cut short is undone"))
                }
                RecoverAction::AwaitsDepmod => waiting_for_depmod.push((kernel, package)),
                RecoverAction::Failed { why } => sink.warn(format!("{package} for {kernel}: {why}")),
            }
        }
        waiting_for_depmod.sort();
        for batch in waiting_for_depmod.chunk_by(|a, b| a.0 == b.0) {
            let packages: Vec<PackageId> = batch.iter().map(|(_, package)| package.clone()).collect();
            let Some((kernel, _)) = batch.first() else { continue };
            match self.finish_kernel(kernel, &packages, sink) {
                Ok(()) => {
                    sink.note(format!("kernel {kernel}: installs that were cut short before depmod are finished"))
                }
                Err(Error::Depmod { why, .. }) => sink.warn(format!("kernel {kernel}: {why}")),
                Err(error) => return Err(error),
            }
        }
        for release in install::due::left(&self.layout, self.owner.as_ref())? {
            self.recover_index(release, sink)?;
        }
        crate::build::workspace::remove_abandoned(&self.layout);
        self.forget_failures_of_gone_kernels()
    }

    /// Runs the depmod that a kernel is marked for.
    fn recover_index(&self, release: KernelRelease, sink: &mut dyn Sink) -> Result<()> {
        if !self.layout.kernel_folder(&release).is_dir() {
            let _lock = tree::lock_install(&self.layout, &release, &mut waiting(sink, "this kernel's folder"))?;
            return install::due::clear(&self.layout, &release);
        }
        let kernel = KernelId { release, arch: self.observer.arch().clone() };
        match self.finish_kernel(&kernel, &[], sink) {
            Ok(()) => sink.note(format!(
                "kernel {}: modules were changed and depmod had not run since; now it has",
                kernel.release
            )),
            Err(Error::Depmod { kernel, why, .. }) => {
                sink.warn(format!("kernel {kernel}: depmod is due, and fails: {why}"))
            }
            Err(error) => sink.warn(format!("depmod is due: {error}")),
        }
        Ok(())
    }
}
