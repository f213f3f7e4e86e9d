//! install: puts built modules into a kernel's folder; and the depmod that follows, once for all of them.

use std::process::{Command, Stdio};

use super::{Done, Engine, Order, Tried, needs_root, waiting};
use crate::conf::Recipe;
use crate::error::{Error, Result};
use crate::event::{Phase, Sink};
use crate::fingerprint::Fingerprint;
use crate::install::{self, RecoverAction, Target, depmod};
use crate::model::{EntryState, KernelId, KernelRelease, PackageId, PackageName};
use crate::observe;
use crate::tree::{self, Manifest};

impl Engine {
    /// Installs, building first when needed. [`Done::Placed`]: the modules stand, and [`Engine::finish_kernel`] is due.
    ///
    /// # Errors
    /// As [`Engine::build`]; PRE_INSTALL that says no; every module refused. Failures are remembered.
    pub fn install(&self, package: &PackageId, kernel: &KernelId, order: &Order, sink: &mut dyn Sink) -> Result<Done> {
        needs_root("installing modules")?;
        self.kernel_folder_exists(kernel)?;
        self.release_hold(package, kernel, order)?;
        let mut tried = self.inputs_now(package, kernel);
        let result = self
            .add_when_needed(package, order, sink)
            .and_then(|()| self.try_install(package, kernel, order, &mut tried, sink));
        self.settle_failure(package, kernel, tried, &result);
        result
    }

    fn try_install(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        order: &Order,
        tried: &mut Option<Tried>,
        sink: &mut dyn Sink,
    ) -> Result<Done> {
        let recipe = self.recipe(package, kernel)?;
        if let (Some(reason), false) = (recipe.obsolete_reason(&kernel.release), order.force) {
            return Err(Error::AllRefused {
                package: package.clone(),
                kernel: kernel.clone(),
                reasons: vec![reason],
                state: EntryState::Dormant,
            });
        }
        let built = self.try_build(package, kernel, order, tried, sink)?;
        if matches!(built, Done::Unchanged(_)) && !order.force && self.stands(package, kernel)? {
            // An earlier call may have been stopped before its depmod.
            if install::due::is_due(&self.layout, &kernel.release)? {
                return Ok(Done::Placed);
            }
            return Ok(Done::Unchanged(format!("{package} is installed for {} already", kernel.release)));
        }
        sink.phase(Phase::Installing);
        let _lock = tree::lock_install(&self.layout, &kernel.release, &mut waiting(sink, "this kernel's folder"))?;
        self.not_held(package, Some(kernel), order)?;
        // As it is since the build: were it older, what it says could differ from what the build was made from, unseen.
        let recipe = self.recipe(package, kernel)?;
        let before = self.inputs_if_scripts(package, kernel, &recipe);
        let placed = self.place_between_scripts(package, kernel, &recipe, order, sink);
        if let Some(before) = before {
            let accounted = self.account_for_scripts(package, kernel, &before.inputs, tried.as_mut());
            return placed.and(accounted).map(|()| Done::Placed);
        }
        placed.map(|()| Done::Placed)
    }

    fn place_between_scripts(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        recipe: &Recipe,
        order: &Order,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let source = self.source(package)?;
        let pre = recipe.pre_install.as_deref();
        if let Some(code @ 1..) = self.script("PRE_INSTALL", pre, package, Some(kernel), &source, sink)? {
            return Err(Error::PreInstall { package: package.clone(), kernel: kernel.clone(), code });
        }
        self.place(package, kernel, recipe, order, sink)?;
        let post = recipe.post_install.as_deref();
        if let Some(code @ 1..) = self.script("POST_INSTALL", post, package, Some(kernel), &source, sink)? {
            sink.warn(format!("its POST_INSTALL script failed with code {code}"));
        }
        Ok(())
    }

    /// The inputs, where a script is about to run in the source and may change it.
    fn inputs_if_scripts(&self, package: &PackageId, kernel: &KernelId, recipe: &Recipe) -> Option<Tried> {
        recipe.pre_install.as_ref().or(recipe.post_install.as_ref())?;
        self.inputs_now(package, kernel)
    }

    /// What a package's own scripts left in its source does not make its build stale, nor a failure worth another try:
    /// each would run them again.
    fn account_for_scripts(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        before: &Fingerprint,
        tried: Option<&mut Tried>,
    ) -> Result<()> {
        let Some(now) = self.inputs_now(package, kernel).map(|now| now.inputs) else { return Ok(()) };
        if now.source == before.source {
            return Ok(());
        }
        if let Some(tried) = tried.filter(|tried| tried.inputs.source == before.source) {
            tried.inputs.source.clone_from(&now.source);
        }
        let Some(mut manifest) = Manifest::read(&self.layout, package, kernel)? else { return Ok(()) };
        let Some(built_from) = observe::built_from(&manifest).filter(|then| then.source == before.source) else {
            return Ok(());
        };
        manifest.built.fingerprint = Fingerprint { source: now.source, ..built_from }.to_string();
        manifest.write(&self.layout)
    }

    fn place(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        recipe: &Recipe,
        order: &Order,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let folder = self.observer.distro().modules_folder();
        let target = Target {
            layout: &self.layout,
            package,
            kernel,
            recipe,
            modules_folder: folder.as_deref(),
            obsolete: None,
            symlink: self.settings.symlink_modules,
            force: order.force,
            force_version_override: false,
            by_uid: order.uid,
            reason: &order.reason,
        };
        let placed = install::place(&target, sink)?;
        for (module, reason) in placed.refused {
            sink.warn(format!("{module} is not installed: {reason}"));
        }
        for original in placed.displaced {
            sink.note(format!("the kernel's own {} is kept, and comes back on uninstall", original.display()));
        }
        Ok(())
    }

    /// Whether a package is installed, and every file of it is there and of the build that is there.
    fn stands(&self, package: &PackageId, kernel: &KernelId) -> Result<bool> {
        let entry = tree::package(&self.layout, package)?
            .and_then(|p| p.entries.into_iter().find(|e| e.kernel == *kernel && e.installed));
        let Some(entry) = entry else { return Ok(false) };
        let Some(manifest) = entry.manifest else { return Ok(true) };
        let whole = manifest.installed.iter().flat_map(|r| &r.files).all(|f| self.layout.host(&f.path).exists());
        Ok(whole && observe::outdated_files(&manifest).is_empty())
    }

    /// Runs depmod once for everything that was placed or taken away; then commits it, or puts everything back.
    ///
    /// # Errors
    /// [`Error::Depmod`]: the modules that were there before are back.
    pub fn finish_kernel(&self, kernel: &KernelId, batch: &[PackageId], sink: &mut dyn Sink) -> Result<()> {
        sink.phase(Phase::Depmod);
        let _lock = tree::lock_install(&self.layout, &kernel.release, &mut waiting(sink, "this kernel's folder"))?;
        let exists = self.layout.kernel_folder(&kernel.release).is_dir();
        if exists {
            install::due::mark(&self.layout, &kernel.release)?;
        }
        let mut names: Vec<&PackageName> = batch.iter().map(|p| &p.name).collect();
        names.dedup();
        if exists && let Err(error) = depmod::run(&self.layout, &kernel.release) {
            let placed = names.iter().filter_map(|name| install::pending(&self.layout, name, kernel).ok().flatten());
            let placed: Vec<PackageId> = placed.collect();
            // The other way round than they were placed: one may have displaced another's file.
            let undone: Vec<_> = names.iter().rev().map(|name| install::undo(&self.layout, name, kernel)).collect();
            // The old modules are the ones the old index was made from; a second failure changes nothing for them.
            let again = depmod::run(&self.layout, &kernel.release);
            // Else they would be due again at once, and fail again.
            placed.iter().for_each(|p| self.remember(p, kernel, self.built_from(p, kernel), &error));
            undone.into_iter().collect::<Result<()>>()?;
            if again.is_ok() {
                install::due::clear(&self.layout, &kernel.release)?;
            }
            return Err(error);
        }
        for name in names {
            install::commit(&self.layout, name, kernel)?;
        }
        install::due::clear(&self.layout, &kernel.release)?;
        self.post_transaction(&kernel.release, sink);
        Ok(())
    }

    /// What an install that failed after its build was made from.
    fn built_from(&self, package: &PackageId, kernel: &KernelId) -> Option<Tried> {
        let now = self.inputs_now(package, kernel)?;
        let manifest = Manifest::read(&self.layout, package, kernel).ok().flatten();
        let Some(then) = manifest.and_then(|manifest| observe::built_from(&manifest)) else { return Some(now) };
        // What it depends on may have been undone in the same batch.
        Some(Tried { inputs: Fingerprint { depends: now.inputs.depends, ..then }, ..now })
    }

    /// Runs framework.conf's post_transaction. That it failed is worth a warning, and changes nothing.
    fn post_transaction(&self, kernel: &KernelRelease, sink: &mut dyn Sink) {
        let Some(command) = self.settings.post_transaction.as_ref().map(|c| c.for_kernel(kernel)) else { return };
        if command.trim().is_empty() {
            return;
        }
        let path = self.layout.post_transaction_log();
        let run = || -> std::io::Result<_> {
            let log = std::fs::File::create(&path)?;
            let mut shell = Command::new("bash");
            shell.args(["-c", &command]).env("kernelver", kernel.as_str()).stdin(Stdio::null());
            shell.stdout(log.try_clone()?).stderr(log).status()
        };
        match run() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                sink.warn(format!("post_transaction ({command}) failed with {status}; log: {}", path.display()))
            }
            Err(error) => sink.warn(format!("post_transaction ({command}) could not run: {error}")),
        }
    }

    /// After a crash or a power cut: undoes installs that were cut short, finishes those that lack only depmod, and runs
    /// depmod for each kernel whose modules were changed without it. Then forgets what nothing needs any more.
    ///
    /// # Errors
    /// When the tree cannot be read. What could not be recovered is a warning.
    pub fn recover(&self, sink: &mut dyn Sink) -> Result<()> {
        let mut waiting_for_depmod: Vec<(KernelId, PackageId)> = Vec::new();
        for found in install::recover(&self.layout)? {
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
        for release in install::due::all(&self.layout)? {
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
            Err(Error::Depmod { kernel, why }) => {
                sink.warn(format!("kernel {kernel}: depmod is due, and fails: {why}"))
            }
            Err(error) => sink.warn(format!("depmod is due: {error}")),
        }
        Ok(())
    }
}
