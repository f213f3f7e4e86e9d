//! build: makes a package's modules for a kernel.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Done, Engine, Order, Tried, waiting};
use crate::build::jobserver::{self, JobServer};
use crate::build::sandbox::{self, Strength};
use crate::build::{self, Build};
use crate::conf::Recipe;
use crate::error::{Error, IoContext as _, Result};
use crate::event::Sink;
use crate::fingerprint::Fingerprint;
use crate::host::headers::{HeaderState, Headers};
use crate::host::users::{self, User};
use crate::model::{KernelId, PackageId};
use crate::observe;
use crate::settings::{Mistake, Priority};
use crate::tree::{self, Manifest, Wanted};

impl Engine {
    /// Builds, adding the package first when needed. What is built from the same inputs stays as it is, unless forced.
    ///
    /// # Errors
    /// Those of dkms-contract.md §2: excluded, no headers, a dependency that is missing, a build that failed. Failures
    /// are remembered until an input changes.
    pub fn build(&self, package: &PackageId, kernel: &KernelId, order: &Order, sink: &mut dyn Sink) -> Result<Done> {
        self.release_hold(package, kernel, order)?;
        let mut tried = self.inputs_now(package, kernel);
        let result = self
            .add_when_needed(package, order, sink)
            .and_then(|()| self.try_build(package, kernel, order, &mut tried, sink));
        self.settle_failure(package, kernel, tried, &result);
        result
    }

    pub(super) fn settle_failure<T>(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        tried: Option<Tried>,
        result: &Result<T>,
    ) {
        match result {
            Ok(_) => {
                if let Err(error) = tree::failures::clear(&self.layout, package, kernel) {
                    tracing::warn!("{error}");
                }
            }
            Err(error) => self.remember(package, kernel, tried, error),
        }
    }

    pub(super) fn release_hold(&self, package: &PackageId, kernel: &KernelId, order: &Order) -> Result<()> {
        if order.by_hand {
            tree::holds::release(&self.layout, package, Some(kernel))?;
        }
        Ok(())
    }

    /// What was taken away by hand after this was asked for, perhaps while it waited for a lock, stays away. Who takes it
    /// away writes the hold under the lock, so that asking under the lock tells.
    pub(super) fn not_held(&self, package: &PackageId, kernel: Option<&KernelId>, order: &Order) -> Result<()> {
        let whole_or_here = |h: &tree::Hold| h.kernel.is_none() || h.kernel.as_ref() == kernel;
        if !order.by_hand && tree::Holds::read(&self.layout)?.iter().any(|h| h.package == *package && whole_or_here(h))
        {
            return Err(Error::Held { package: package.clone() });
        }
        Ok(())
    }

    /// Everything that counts is read after the wait for the lock. `tried` is set to what is built from.
    pub(super) fn try_build(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        order: &Order,
        tried: &mut Option<Tried>,
        sink: &mut dyn Sink,
    ) -> Result<Done> {
        // Let go of in this order: who waits to forget the package then finds no build of it.
        let _locks = self.lock_all(&[Wanted::build(package, kernel), Wanted::entry_to_stay(package)], sink)?;
        self.not_held(package, Some(kernel), order)?;
        let source = self.source(package)?;
        if order.keep_built && !order.force && self.layout.module_dir(package, kernel).is_dir() {
            return Ok(Done::Unchanged(format!("{package} is built for {} already", kernel.release)));
        }
        let recipe = self.recipe(package, kernel)?;
        if let Some(reason) = recipe.exclusion.clone() {
            return Err(Error::Excluded { package: package.clone(), kernel: kernel.clone(), reason });
        }
        if fs::read_dir(&source).at("read", &source)?.next().is_none() {
            return Err(Error::EmptySource { package: package.clone(), path: source });
        }
        let headers = self.ready_headers(kernel)?;
        if !order.force {
            self.dependencies_installed(package, &recipe, kernel)?;
        }
        self.remove_leftovers(package, kernel);
        let inputs = self.observer.inputs(package, kernel, &source, &headers, &self.depends(&recipe, kernel))?;
        *tried = Some(Tried { inputs: inputs.clone(), header_stamp: headers.stamp.clone() });
        // What changes from here on is seen as a change, also in dkms.conf.
        let recipe = self.recipe(package, kernel)?;
        let there = self.layout.module_dir(package, kernel).is_dir();
        let why = match order.force {
            true => "it was asked for, whatever is there".to_owned(),
            false => match self.why_build(package, kernel, &recipe, &inputs, &headers)? {
                Some(why) => why,
                None => return Ok(Done::Unchanged(format!("{package} is built for {} already", kernel.release))),
            },
        };
        if there {
            sink.note(format!("built anew: {why}"));
        }
        let dependencies = if order.force { Vec::new() } else { self.dependencies_now(&recipe, kernel) };
        let ended = self.run_build(package, kernel, &recipe, &source, &headers, &inputs, (order, &why), sink);
        // A package whose POST_BUILD failed is built all the same.
        if matches!(ended, Ok(()) | Err(Error::Script { directive: "POST_BUILD", .. })) {
            self.record_dependencies(package, kernel, &dependencies)?;
        }
        ended.map(|()| Done::Changed)
    }

    #[expect(clippy::too_many_arguments, reason = "everything one build is made from, once")]
    fn run_build(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        recipe: &Recipe,
        source: &Path,
        headers: &Headers,
        inputs: &Fingerprint,
        (order, why): (&Order, &str),
        sink: &mut dyn Sink,
    ) -> Result<()> {
        // Without namespaces, all builds of a package have the one classic folder.
        let words = [package.name.as_str(), package.version.as_str()];
        let _turn = match sandbox::strength() {
            Strength::Namespaces => None,
            Strength::UserOnly => {
                let wait = &mut waiting(sink, "this package's build folder");
                Some(tree::locks::lock(&self.layout, "workspace", &words, wait)?)
            }
        };
        let cpus = u32::try_from(jobserver::cpus()).unwrap_or(u32::MAX);
        let limit = self.settings.package(&package.name).timeout.unwrap_or(self.settings.daemon.build_timeout);
        let user = self.builder(package)?;
        let build = Build {
            layout: &self.layout,
            settings: &self.settings,
            distro: self.observer.distro(),
            package,
            kernel,
            recipe,
            source,
            headers,
            user: user.as_ref(),
            // Somebody waits for what was asked for.
            priority: if order.by_hand { Priority::default() } else { self.settings.daemon.priority },
            jobserver: self.jobserver()?,
            jobs: self.settings.parallel_jobs.unwrap_or(cpus),
            limit,
            inputs,
            why,
            make_keys: !self.in_chroot,
        };
        let cached = self.cached(&build, sink);
        if let Some(cached) = cached.as_ref().filter(|_| !order.force)
            && cached.take(&build, sink)?
        {
            return Ok(());
        }
        build::run(&build, sink)?;
        if let Some(cached) = cached {
            self.keep_cached(&cached, &build, sink);
        }
        Ok(())
    }

    /// Made when the first build needs it.
    fn jobserver(&self) -> Result<&JobServer> {
        if let Some(there) = self.jobserver.get() {
            return Ok(there);
        }
        // Two threads may come at once; both then have the same one.
        let made = JobServer::open(&self.settings)?;
        Ok(self.jobserver.get_or_init(|| made))
    }

    /// Whom dkmsd.toml or this machine has build a package; none for whoever runs this: root, or somebody in a tree of
    /// their own, who cannot become another.
    fn builder(&self, package: &PackageId) -> Result<Option<User>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let set = self.settings.package(&package.name);
        match set.user.as_deref() {
            None => Ok(self.user.clone()),
            Some("root") => Ok(None),
            Some(name) => users::named(&self.layout, name).map(Some).ok_or_else(|| {
                let why = format!("[package.{}] names the user {name}, whom this machine does not know", package.name);
                let (path, line) = (Some(self.layout.config_dir().join("dkmsd.toml")), Some(set.user_line));
                Error::BadSettings { mistakes: vec![Mistake { path, line, why }] }
            }),
        }
    }

    fn ready_headers(&self, kernel: &KernelId) -> Result<Headers> {
        // Whether they have settled is the daemon's question; a person who asks now gets an answer now.
        let why = match self.observer.headers(kernel, SystemTime::now(), Duration::ZERO) {
            HeaderState::Ready(headers) => return Ok(headers),
            HeaderState::Settling { why, .. } => why,
            HeaderState::Unusable { why } => format!("{why}; install headers whose tools are for this machine"),
            HeaderState::Missing { why, package: Some(package) } => format!("{why}; install {package}"),
            HeaderState::Missing { why, package: None } => why,
        };
        Err(Error::NoHeaders { kernel: kernel.clone(), why })
    }

    fn dependencies_installed(&self, package: &PackageId, recipe: &Recipe, kernel: &KernelId) -> Result<()> {
        let there = |name: &_| fs::symlink_metadata(self.layout.installed_link(name, kernel)).is_ok();
        let missing: Vec<_> = recipe.build_depends.iter().filter(|name| !there(*name)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::DependsMissing { package: package.clone(), kernel: kernel.clone(), missing })
    }

    /// Why it is to be built; none when what is there is of these inputs.
    fn why_build(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        recipe: &Recipe,
        inputs: &Fingerprint,
        headers: &Headers,
    ) -> Result<Option<String>> {
        let folder = self.layout.module_dir(package, kernel);
        if !folder.is_dir() {
            return Ok(Some("it is not there yet".to_owned()));
        }
        let manifest = Manifest::read(&self.layout, package, kernel)?;
        // A classic tool that built it left no record of what from, but for its dependencies: it is taken as it is.
        let Some(manifest) = manifest.filter(|m| !m.built.fingerprint.is_empty()) else {
            return self.dependency_changed(package, recipe, kernel);
        };
        let mut why = observe::built_from(&manifest)
            .map(|then| inputs.changes_since(&then, recipe.build_depends_rebuild))
            .unwrap_or_default();
        why.extend(self.observer.sign_anew(&manifest.signing, &kernel.release, &headers.config));
        let lost = manifest.built.modules.iter().find(|module| !folder.join(&module.file_name).exists());
        why.extend(lost.map(|module| format!("{} is missing from the tree", module.file_name)));
        Ok((!why.is_empty()).then(|| why.join(", ")))
    }

    /// What a killed build of this package and kernel left behind.
    fn remove_leftovers(&self, package: &PackageId, kernel: &KernelId) {
        let Ok(entries) = fs::read_dir(self.layout.kernel_dir(package, &kernel.release)) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(build::STAGED_PREFIX)
                && let Err(error) = super::remove_if_there(&entry.path())
            {
                tracing::warn!("{error}");
            }
        }
    }
}
