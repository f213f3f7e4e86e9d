//! The verbs: add, build, install, uninstall, unbuild, remove, clean, and finishing a kernel (dkms-contract.md §2, §3);
//! and those that go through many packages: autoinstall, match, a kernel's own hooks.
//!
//! Each can be repeated: it says whether it changed anything. Each takes the locks it needs, so that the daemon's
//! workers and the drop-in take turns. Installing is two steps, so that many installs share one depmod:
//! [`Engine::install`] puts modules in place, [`Engine::settle_kernel`] runs depmod and commits or rolls back. An action
//! on several kernels settles each and ends with one [`Engine::post_transaction`]; [`Engine::finish_kernel`] is both for one.

mod add;
pub mod autoinstall;
mod cached;
mod dependents;
mod finish;
mod holding;
mod install;
mod kernel_hooks;
mod keys;
mod load;
mod make;
mod matching;
mod pack;
mod remove;
mod rpm_upgrade;
mod scripts;
#[cfg(test)]
mod tests;
mod transaction;
mod trust;
mod weak;

pub use finish::Depmod;
pub use kernel_hooks::Cleared;
pub use keys::{Keys, Mok};
pub use load::{LoadedArchive, LoadedPackage};
pub use pack::{KernelChoice, PackTarball};
pub use remove::Removed;
pub use scripts::stop;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::build::first_error::{self, FirstError};
use crate::build::jobserver::JobServer;
use crate::conf::{Recipe, Request};
use crate::error::{Error, IoContext as _, Result};
use crate::event::{Event, Sink};
use crate::fingerprint::{self, Fingerprint};
use crate::host::distro::Family;
use crate::host::process::Owner;
use crate::host::users::{self, User};
use crate::host::{chroot, kernels};
use crate::layout::Layout;
use crate::model::{Arch, EntryState, KernelId, KernelRelease, PackageId};
use crate::observe::Observer;
use crate::settings::Settings;
use crate::tree::{self, Failure, Holder, Lock, SourceState, Wanted};

/// Who asks, and how.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Also when it is there, or a check says no.
    pub force: bool,
    /// Install in spite of the version check (`--force-version-override`).
    pub force_version_override: bool,
    /// What is built stays, whatever it was made from: the classic command's way. Else it is built anew when an input
    /// changed.
    pub keep_built: bool,
    /// Who runs depmod where a verb sees to it itself (autoinstall, match, the kernels' hooks).
    pub depmod: Depmod,
    /// A person asked: what is removed is held, and a hold ends with what is installed.
    pub by_hand: bool,
    /// Who.
    pub uid: u32,
    /// Why, in a sentence.
    pub reason: String,
}

/// What a caller has other than the machine's settings say, for all it asks of one engine.
#[derive(Debug, Clone, Default)]
pub struct Adjustments {
    /// `--directive NAME=VALUE`: read after dkms.conf and its overrides.
    pub directives: Vec<(String, String)>,
    /// `-c`: a dkms.conf elsewhere than at the root of the source.
    pub conf: Option<PathBuf>,
    /// `--config`: a kernel's configuration elsewhere than in its headers.
    pub kernel_config: Option<PathBuf>,
    /// This process has entered another root (`--root`): nothing of the running kernel's goes for it.
    pub in_other_root: bool,
}

/// Whether anything changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It did.
    Changed,
    /// It did, and the kernel's depmod is due: [`Engine::finish_kernel`].
    Placed,
    /// It was so already; in a sentence.
    Unchanged(String),
}

/// What an attempt is made from, seen before it reads any of it: what changes while it runs is worth another one.
#[derive(Debug, Clone)]
struct Tried {
    inputs: Fingerprint,
    header_stamp: String,
}

/// The engine of one machine.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    layout: Layout,
    observer: Observer,
    user: Option<User>,
    in_chroot: bool,
    /// What is changed is not what runs here: nothing may be started that acts on this machine.
    in_other_root: bool,
    adjustments: Adjustments,
    /// The budget of compilers, once something is built.
    jobserver: OnceLock<JobServer>,
    /// Who sees to depmod for what is placed here.
    owner: Option<Owner>,
}

impl Engine {
    /// An engine for a machine. `in_chroot`: what the daemon found out; asked here when none.
    ///
    /// # Errors
    /// When the machine cannot be read.
    pub fn new(settings: Settings, in_chroot: Option<bool>) -> Result<Self> {
        let layout = settings.layout();
        let in_chroot = match in_chroot {
            Some(known) => known,
            None => chroot::in_chroot().unwrap_or(true),
        };
        let (observer, user) = (Observer::new(&settings)?.told(in_chroot), users::build_user(&layout));
        Ok(Self {
            observer,
            user,
            in_chroot,
            in_other_root: false,
            layout,
            settings,
            adjustments: Adjustments::default(),
            jobserver: OnceLock::new(),
            owner: Owner::this(),
        })
    }

    /// The same engine, for another process that sees to depmod: what is placed here is that one's to finish, for as long
    /// as it lives.
    #[must_use]
    pub fn on_behalf_of(self, pid: u32) -> Self {
        Self { owner: Owner::of_process(pid), ..self }
    }

    /// The same engine, with what its caller has otherwise.
    #[must_use]
    pub fn adjusted(mut self, adjustments: Adjustments) -> Self {
        self.observer.adjust_kernel_config(adjustments.kernel_config.clone());
        self.in_other_root |= adjustments.in_other_root;
        self.adjustments = adjustments;
        self
    }

    /// What a package's dkms.conf is asked for.
    fn request<'a>(
        &'a self,
        source: &'a Path,
        package: Option<&'a PackageId>,
        kernel: &'a KernelId,
        strict: bool,
    ) -> Request<'a> {
        let conf = self.adjustments.conf.as_deref();
        Request { source, conf, package, kernel, strict, directives: &self.adjustments.directives }
    }

    /// Where it works.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Which package the dkms.conf in a folder describes.
    ///
    /// # Errors
    /// When there is none, or it cannot be evaluated or breaks a rule.
    pub fn identify(&self, folder: &Path) -> Result<PackageId> {
        let kernel = KernelId { release: self.observer.running().clone(), arch: self.observer.arch().clone() };
        Ok(self.observer.loader().load(&self.request(folder, None, &kernel, true))?.recipe.package)
    }

    /// Takes locks, and says for whom they are waited for.
    fn lock_all(&self, wanted: &[Wanted], sink: &mut dyn Sink) -> Result<Vec<Lock>> {
        let mut wait = Wait { sink, waited: false };
        tree::lock_all(&self.layout, wanted, &mut |holder, what| wait.begin(holder, what))
    }

    /// Keeps a package from being built, installed or unbuilt for a kernel by anybody else.
    fn lock_build_and_install(&self, package: &PackageId, kernel: &KernelId, sink: &mut dyn Sink) -> Result<Vec<Lock>> {
        self.lock_all(&[Wanted::build(package, kernel), Wanted::install(&kernel.release)], sink)
    }

    /// A kernel's architecture where none is named: this machine's; in another root, what the kernel there is
    /// configured for; on systems of rpm, what the kernel's package is for (dkms-contract.md §2).
    #[must_use]
    pub fn arch_of(&self, kernel: &KernelRelease) -> Arch {
        let ours = || self.observer.arch().clone();
        if self.in_other_root {
            return self.observer.kernel_config(kernel).arch().unwrap_or_else(ours);
        }
        if matches!(self.observer.distro().family(), Family::Fedora | Family::Suse) {
            return kernels::package_arch(&self.layout, kernel).unwrap_or_else(ours);
        }
        ours()
    }

    /// The folder of a package's source, when the package is in the tree and whole.
    fn source(&self, package: &PackageId) -> Result<PathBuf> {
        match tree::package(&self.layout, package)?.map(|p| p.source) {
            Some(SourceState::Present(folder)) => Ok(folder),
            Some(SourceState::Broken(path)) => Err(broken(package, path)),
            None => Err(Error::NotAdded { package: package.clone() }),
        }
    }

    /// What dkms.conf says, every broken rule being an error.
    fn recipe(&self, package: &PackageId, kernel: &KernelId) -> Result<Recipe> {
        let source = self.source(package)?;
        let request = self.request(&source, Some(package), kernel, true);
        Ok(self.observer.loader().load(&request)?.recipe)
    }

    /// What dkms.conf says, for taking away: whatever is wrong with it must not keep a module installed.
    fn recipe_if_readable(&self, package: &PackageId, kernel: &KernelId) -> Option<(PathBuf, Recipe)> {
        let source = self.source(package).ok()?;
        let request = self.request(&source, Some(package), kernel, false);
        let recipe = self.observer.loader().load(&request).ok()?.recipe;
        Some((source, recipe))
    }

    fn kernel_folder_exists(&self, kernel: &KernelId) -> Result<()> {
        let path = self.layout.kernel_folder(&kernel.release);
        if path.is_dir() { Ok(()) } else { Err(Error::NoKernel { kernel: kernel.release.clone(), path }) }
    }

    /// Remembers a failure until an input changes (design.md, decision 8). `tried`: what the attempt was made from.
    fn remember(&self, package: &PackageId, kernel: &KernelId, tried: Option<Tried>, error: &Error) {
        let state = match error {
            Error::Canceled
            | Error::Held { .. }
            | Error::NoHeaders { .. }
            | Error::NoSource { .. }
            | Error::NotAdded { .. }
            | Error::NoKernel { .. }
            | Error::Broken { .. }
            | Error::Unlinked { .. } => return,
            // The package is in the tree by then, and the next attempt goes on from there.
            Error::Script { directive: "POST_ADD", .. } => return,
            // What dkms.conf itself rules out is read from it each time: remembered, it would outlive a change.
            Error::Excluded { .. } | Error::AllRefused { state: EntryState::Dormant, .. } => return,
            Error::AllRefused { state, .. } => *state,
            _ => EntryState::Failed,
        };
        let (fingerprint, header_stamp) =
            tried.map(|tried| (tried.inputs.to_string(), tried.header_stamp)).unwrap_or_default();
        let attempts = tree::failures::read(&self.layout, package, kernel).ok().flatten().map_or(0, |f| f.attempts);
        let found = error.log().and_then(first_error::in_file);
        let first_error = match error {
            Error::BuildFailed { first, .. } | Error::PatchFailed { first, .. } => Some(first.clone()),
            _ => found.as_ref().map(|found| found.text.clone()),
        };
        let missing = match error {
            Error::NoToolchain { missing, .. } => missing.iter().map(|m| m.program.clone()).collect(),
            _ => Vec::new(),
        };
        let failure = Failure {
            package: package.clone(),
            kernel: kernel.clone(),
            fingerprint,
            header_stamp,
            code: error.exit_code(),
            state: Some(state),
            error: error.to_string(),
            first_error,
            excerpt: found.map(FirstError::explained).unwrap_or_default(),
            missing,
            bounds: Some(self.settings.bounds(&package.name)),
            log: error.log().map(ToOwned::to_owned),
            at: now_in_seconds(),
            attempts: attempts + 1,
        };
        if let Err(error) = tree::failures::write(&self.layout, &failure) {
            tracing::warn!("the failure of {package} for {kernel} could not be remembered: {error}");
        }
    }

    /// What an attempt would be made from now; none while the headers are not ready.
    fn inputs_now(&self, package: &PackageId, kernel: &KernelId) -> Option<Tried> {
        use crate::host::headers::HeaderState;
        let HeaderState::Ready(headers) = self.observer.headers(kernel, SystemTime::now(), Duration::ZERO) else {
            return None;
        };
        // What could not even be added has its source all the same.
        let source = self.source(package).unwrap_or_else(|_| self.layout.source(package));
        let request = self.request(&source, Some(package), kernel, false);
        let recipe = self.observer.loader().load(&request).map(|loaded| loaded.recipe);
        let depends = recipe.map(|r| self.depends(&r, kernel)).unwrap_or_default();
        let inputs = self.observer.inputs(package, kernel, &source, &headers, &depends).ok()?;
        Some(Tried { inputs, header_stamp: headers.stamp })
    }

    fn depends(&self, recipe: &Recipe, kernel: &KernelId) -> String {
        if recipe.build_depends.is_empty() {
            return String::new();
        }
        let packages = tree::scan(&self.layout).unwrap_or_default();
        let versions = crate::observe::installed_versions(&packages);
        fingerprint::dependencies(&recipe.build_depends, |name| {
            versions.get(&(name.clone(), kernel.clone())).map(ToString::to_string)
        })
    }
}

fn broken(package: &PackageId, path: PathBuf) -> Error {
    let package = package.clone();
    if path.is_dir() { Error::Unlinked { package, path } } else { Error::Broken { package, path } }
}

fn now_in_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// What the command line of a worker of the daemon ends with.
const WORKER: &str = "worker";

/// Says for whom one waits, and, as it is dropped once the lock is taken, that the wait is over.
struct Wait<'s> {
    sink: &'s mut dyn Sink,
    waited: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.waited {
            self.sink.emit(Event::Waited);
        }
    }
}

impl Wait<'_> {
    fn begin(&mut self, holder: &Holder, what: &str) {
        self.waited = true;
        // Workers of one daemon take turns all the time. Whoever else waits for one is told.
        let ours = std::env::args_os().next_back();
        let turn = holder.command.rsplit(' ').next() == Some(WORKER) && ours.is_some_and(|last| last == WORKER);
        let why = (!turn).then(|| format!("waiting for {holder}, which has {what}"));
        self.sink.emit(Event::Waiting { why });
    }
}

/// What a lock is taken with: see [`Wait`].
fn waiting(sink: &mut dyn Sink, what: &str) -> impl FnMut(&Holder) {
    let mut wait = Wait { sink, waited: false };
    move |holder| wait.begin(holder, what)
}

fn needs_root(what: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Error::NotRoot { what: what.into() }) }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}
