//! install: puts built modules into a kernel's folder. What follows, once for all of them, is [`super::finish`].

use super::weak::Weak;
use super::{Done, Engine, Order, Tried, needs_root};
use crate::conf::Recipe;
use crate::error::{Error, Result};
use crate::event::{Phase, Sink};
use crate::fingerprint::Fingerprint;
use crate::install::forced::Forced;
use crate::install::{self, Target, UnderWay};
use crate::model::{EntryState, KernelId, PackageId};
use crate::observe;
use crate::tree::{self, InstallRecord, Manifest};

/// Which checks an install goes by.
#[derive(Debug, Clone, Copy)]
struct Checks {
    obsolescence: bool,
    version: bool,
}

impl Engine {
    /// Installs, building first when needed. [`Done::Placed`]: the modules stand, and [`Engine::finish_kernel`] is due.
    ///
    /// # Errors
    /// As [`Engine::build`]; PRE_INSTALL that says no; every module refused. Failures are remembered.
    pub fn install(&self, package: &PackageId, kernel: &KernelId, order: &Order, sink: &mut dyn Sink) -> Result<Done> {
        needs_root("installing modules")?;
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
        let checks = self.checks(package, order)?;
        // Before the build, which would be for nothing. What is not for this kernel at all is said first.
        if checks.obsolescence
            && recipe.exclusion.is_none()
            && let Some(reason) = recipe.obsolete_reason(&kernel.release)
            && !self.stands(package, kernel, None)?
        {
            return Err(Error::AllRefused {
                package: package.clone(),
                kernel: kernel.clone(),
                reasons: vec![reason],
                state: EntryState::Dormant,
            });
        }
        // The classic command builds only what is not built, however it is forced.
        let keep = order.keep_built && self.layout.module_dir(package, kernel).is_dir();
        let for_build = Order { force: order.force && !keep, ..order.clone() };
        let mut built_anew = None;
        let _locks = loop {
            let before = self.record(package, kernel)?;
            match self.try_build(package, kernel, &for_build, tried, sink)? {
                Done::Unchanged(_) => {}
                Done::Changed | Done::Placed => built_anew = Some(before),
            }
            if !order.force && built_anew.is_none() && self.stands(package, kernel, None)? {
                return self.stands_already(package, kernel);
            }
            self.kernel_folder_exists(kernel)?;
            sink.phase(Phase::Installing);
            let locks = self.lock_build_and_install(package, kernel, sink)?;
            self.not_held(package, Some(kernel), order)?;
            if self.layout.module_dir(package, kernel).is_dir() {
                break locks;
            }
            // Unbuilt between the two locks.
        };
        // Another process may have installed it meanwhile, be it what this one has built.
        if !order.force && self.stands(package, kernel, built_anew.as_ref())? {
            return self.stands_already(package, kernel);
        }
        // As it is since the build: were it older, what it says could differ from what the build was made from, unseen.
        let recipe = self.recipe(package, kernel)?;
        if let Some(reason) = recipe.exclusion {
            return Err(Error::Excluded { package: package.clone(), kernel: kernel.clone(), reason });
        }
        install::complete(&self.layout, package, kernel, &recipe)?;
        let before = self.inputs_if_scripts(package, kernel, &recipe);
        let placed = self.place_between_scripts(package, kernel, &recipe, (order, checks), sink);
        if let Some(before) = before {
            let accounted = self.account_for_scripts(package, kernel, &before.inputs, tried.as_mut());
            return placed.and(accounted).map(|()| Done::Placed);
        }
        placed.map(|()| Done::Placed)
    }

    /// What the order and `modules_to_force_install` leave of the checks.
    fn checks(&self, package: &PackageId, order: &Order) -> Result<Checks> {
        let forced = Forced::read(&self.layout)?;
        Ok(Checks {
            obsolescence: !order.force && !forced.install(&package.name),
            version: !order.force && !order.force_version_override && !forced.version(&package.name),
        })
    }

    fn stands_already(&self, package: &PackageId, kernel: &KernelId) -> Result<Done> {
        // An earlier call may have been stopped before its depmod.
        if install::due::is_due(&self.layout, &kernel.release)? {
            return Ok(Done::Placed);
        }
        Ok(Done::Unchanged(format!("{package} is installed for {} already", kernel.release)))
    }

    fn place_between_scripts(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        recipe: &Recipe,
        (order, checks): (&Order, Checks),
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let source = self.source(package)?;
        let run = |directive, script: Option<&String>, sink: &mut dyn Sink| {
            self.script(directive, script.map(String::as_str), package, Some(kernel), &source, sink)
        };
        // The classic command uninstalls first; what was installed stays in place here until its successor stands.
        let again = order.keep_built && order.force && self.stands(package, kernel, None)?;
        if again && let Some(code @ 1..) = run("POST_REMOVE", recipe.post_remove.as_ref(), sink)? {
            sink.warn(format!("its POST_REMOVE script failed with code {code}"));
        }
        if let Some(code @ 1..) = run("PRE_INSTALL", recipe.pre_install.as_ref(), sink)? {
            return Err(Error::PreInstall { package: package.clone(), kernel: kernel.clone(), code });
        }
        self.place(package, kernel, recipe, order, checks.version, sink)?;
        if let Some(code @ 1..) = run("POST_INSTALL", recipe.post_install.as_ref(), sink)? {
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
        // An admin's scripts run in a folder of their own.
        let same = |a: &Fingerprint, b: &Fingerprint| (&a.source, &a.scripts) == (&b.source, &b.scripts);
        if same(&now, before) {
            return Ok(());
        }
        if let Some(tried) = tried.filter(|tried| same(&tried.inputs, before)) {
            tried.inputs.source.clone_from(&now.source);
            tried.inputs.scripts.clone_from(&now.scripts);
        }
        let _lock = tree::lock_manifest(&self.layout, package, kernel)?;
        let Some(mut manifest) = Manifest::read(&self.layout, package, kernel)? else { return Ok(()) };
        let Some(built_from) = observe::built_from(&manifest).filter(|then| same(then, before)) else {
            return Ok(());
        };
        manifest.built.fingerprint = Fingerprint { source: now.source, scripts: now.scripts, ..built_from }.to_string();
        manifest.write(&self.layout)
    }

    fn place(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        recipe: &Recipe,
        order: &Order,
        check_version: bool,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let folder = self.observer.distro().modules_folder();
        let target = Target {
            layout: &self.layout,
            package,
            kernel,
            recipe,
            modules_folder: folder.as_deref(),
            symlink: self.settings.symlink_modules,
            check_version,
            by_uid: order.uid,
            reason: &order.reason,
            owner: self.owner.as_ref(),
        };
        let placed = install::place(&target, sink)?;
        for (module, reason) in placed.refused {
            sink.warn(format!("{module} is not installed: {reason}"));
        }
        for (original, other) in placed.displaced {
            let shown = original.display();
            sink.note(match other {
                Some(other) => {
                    format!("{other}'s {shown} is kept, and comes back on uninstall while {other} is installed")
                }
                None => format!("the kernel's own {shown} is kept, and comes back on uninstall"),
            });
        }
        if !recipe.no_weak_modules {
            let files: Vec<_> = placed.files.into_iter().map(|file| file.path).collect();
            self.weak_modules(Weak::Add, kernel, &files, sink);
        }
        Ok(())
    }

    /// Whether a package is installed or about to be, and every file of it is there and of the build that is there.
    /// `built_anew`: this process has just built it, and what was on record before is not of that build.
    fn stands(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        built_anew: Option<&Option<InstallRecord>>,
    ) -> Result<bool> {
        let entry = tree::package(&self.layout, package)?
            .and_then(|p| p.entries.into_iter().find(|e| e.kernel == *kernel && e.installed));
        let Some(entry) = entry else { return Ok(false) };
        let under_way = install::under_way(&self.layout, &package.name, kernel)?;
        if under_way.is_some_and(|under_way| under_way.placed.is_none() || under_way.package != *package) {
            return Ok(false);
        }
        let record = self.record(package, kernel)?;
        if built_anew.is_some_and(|before| *before == record) {
            return Ok(false);
        }
        // What an older tool has installed is taken as it is.
        let Some(InstallRecord { files, .. }) = &record else { return Ok(true) };
        for file in files {
            if tree::files::look(&self.layout.host(&file.path))?.is_none() {
                return Ok(false);
            }
        }
        let Some(manifest) = entry.manifest else { return Ok(true) };
        Ok(observe::outdated_files(&Manifest { installed: record, ..manifest }).is_empty())
    }

    /// What is on record of a package's install on a kernel, be it finished or not.
    fn record(&self, package: &PackageId, kernel: &KernelId) -> Result<Option<InstallRecord>> {
        let under_way = install::under_way(&self.layout, &package.name, kernel)?.filter(|u| u.package == *package);
        if let Some(UnderWay { placed: Some(record), .. }) = under_way {
            return Ok(Some(record));
        }
        Ok(Manifest::read(&self.layout, package, kernel)?.and_then(|manifest| manifest.installed))
    }
}
