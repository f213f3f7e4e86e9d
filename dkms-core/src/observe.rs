//! One look at the disk: everything that the planner needs, and what to watch and when to look again.
//!
//! Looking changes nothing. What was found out is remembered (header digests, evaluated confs, folder digests), so that
//! the next look reads only what has changed.

mod inputs;
mod packages;
mod present;
mod signatures;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::artifact::sign::Offer;
use crate::conf::{ConfLoader, Overrides};
use crate::error::{IoContext as _, Result};
use crate::fingerprint::{Fingerprint, FolderDigests};
use crate::host::chroot;
use crate::host::distro::Distro;
use crate::host::headers::{self, HeaderCache, HeaderState, Headers};
use crate::host::kconfig::KernelConfig;
use crate::host::kernels::{self, Kernel, Presence};
use crate::host::package_manager;
use crate::host::resolve::resolve;
use crate::host::secure_boot::SecureBoot;
use crate::install::forced::Forced;
use crate::layout::Layout;
use crate::model::{Arch, KernelId, KernelRelease, PackageId, PackageName, PackageVersion};
use crate::plan::{HeaderView, KernelPresence, KernelView, Plan, SourceView, Verb, World};
use crate::settings::Settings;
use crate::shares;
use crate::tree::{self, Failure, Holds, Manifest, SourceState, TreeEntry, TreePackage};
use packages::{Gathering, LEAST};
use present::Present;
pub use signatures::Enforcing;
use signatures::Signatures;

/// Fewer kernels than this are not worth a thread.
const LEAST_KERNELS: usize = 8;

/// What one look found.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// What is on disk.
    pub world: World,
    /// What follows from it.
    pub plan: Plan,
    /// Something changed a moment ago: look again then.
    pub look_again: Option<SystemTime>,
    /// Folders in which changes matter; true for those watched with everything below.
    pub watch: BTreeSet<(PathBuf, bool)>,
    /// The running kernel.
    pub running: KernelRelease,
    /// How long each package that is to be built will take, roughly.
    pub expected: BTreeMap<PackageId, Duration>,
    /// Why no kernel is called gone, when something is wrong with the install tree.
    pub unsound: Option<String>,
    /// Held packages of which neither the source nor the tree's entry is left: the hold has nothing to hold any more, and
    /// a source that comes later is a new one.
    pub ended_holds: Vec<PackageId>,
    /// What the firmware and the running kernel ask of modules.
    pub boot: SecureBoot,
    /// The kernels that something is installed on and that take signed modules only.
    pub enforcing: BTreeMap<KernelId, Enforcing>,
}

/// Looks at the disk, and remembers what it found out.
#[derive(Debug)]
pub struct Observer {
    layout: Layout,
    settings: Settings,
    in_chroot: bool,
    signatures: Signatures,
    quiet: Duration,
    distro: Distro,
    loader: ConfLoader,
    headers: HeaderCache,
    folders: FolderDigests,
    arch: Arch,
    running: KernelRelease,
    device_at_start: Option<u64>,
}

/// A kernel with its headers.
struct Target {
    view: KernelView,
    headers: Option<Headers>,
    /// The digest of them as an input of builds.
    headers_digest: Option<String>,
    /// What its modules would be signed with; none while the headers are not ready.
    offer: Option<Arc<Offer>>,
    /// When settling headers are worth another look.
    until: Option<SystemTime>,
}

impl Observer {
    /// An observer of a machine.
    ///
    /// # Errors
    /// When os-release is missing or this machine's kernel cannot be named.
    pub fn new(settings: &Settings) -> Result<Self> {
        let layout = settings.layout();
        let mut loader = ConfLoader::new(&layout);
        if let Some(jobs) = settings.parallel_jobs {
            loader = loader.with_parallel_jobs(jobs);
        }
        Ok(Self {
            settings: settings.clone(),
            in_chroot: chroot::in_chroot().unwrap_or(true),
            signatures: Signatures::default(),
            quiet: settings.daemon.quiet,
            distro: Distro::load(&layout)?,
            loader,
            headers: HeaderCache::default(),
            folders: FolderDigests::default(),
            arch: kernels::machine()?,
            running: kernels::running()?,
            device_at_start: kernels::install_tree_device(&layout),
            layout,
        })
    }

    /// The same, told whether this is a chroot.
    #[must_use]
    pub fn told(self, in_chroot: bool) -> Self {
        Self { in_chroot, ..self }
    }

    /// Where it looks.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Of which distribution the machine is.
    #[must_use]
    pub fn distro(&self) -> &Distro {
        &self.distro
    }

    /// Reads dkms.conf files for it.
    #[must_use]
    pub fn loader(&self) -> &ConfLoader {
        &self.loader
    }

    /// Takes every kernel's configuration from one file (`--config`).
    pub(crate) fn adjust_kernel_config(&mut self, file: Option<PathBuf>) {
        self.loader.adjust_kernel_config(file);
    }

    /// This machine's architecture.
    #[must_use]
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// The running kernel.
    #[must_use]
    pub fn running(&self) -> &KernelRelease {
        &self.running
    }

    /// Looks. `now` is the time by the clock that stamps files.
    ///
    /// # Errors
    /// When the trees cannot be read.
    pub fn look(&self, now: SystemTime) -> Result<Look> {
        let packages = tree::scan(&self.layout)?;
        let (targets, unsound) = self.kernels(&packages, now)?;
        let boot = SecureBoot::read(&self.layout);
        let holds = Holds::read(&self.layout)?;
        let left = |p: &PackageId| self.layout.source(p).exists() || self.layout.version_dir(p).exists();
        let mut ended_holds: Vec<PackageId> =
            holds.iter().map(|hold| hold.package.clone()).filter(|package| !left(package)).collect();
        ended_holds.dedup();
        let gathering = Gathering {
            observer: self,
            now,
            boot: &boot,
            targets: &targets,
            packages: &packages,
            installed: OnceLock::new(),
            holds,
            failures: failures(&self.layout)?,
            forced: Forced::read(&self.layout).unwrap_or_else(|error| {
                tracing::warn!("{error}");
                Forced::default()
            }),
            overrides: Overrides::list(&self.layout),
            present: Present::list(&self.layout, &packages),
        };
        let mut seen = shares::map(&packages, LEAST, |package| gathering.registered(package));
        seen.extend(gathering.unregistered(&packages));
        let changing = seen.iter().filter_map(|seen| seen.look_again);
        let look_again = targets.iter().filter_map(|t| t.until).chain(changing).min();
        let mut views: Vec<_> = seen.into_iter().filter_map(|seen| seen.view).collect();
        views.sort_by(|a, b| a.id.cmp(&b.id));
        let mut world = World {
            kernels: targets.into_iter().map(|t| t.view).collect(),
            packages: views,
            autoinstall_off: self.layout.no_autoinstall().exists(),
        };
        let watch = self.watch(&world, &packages);
        let plan = crate::plan::plan(&world);
        let expected = self.expected(&plan, &packages);
        let unsound = unsound.map(|why| why.to_string());
        let enforcing = self.enforcing(&boot, &packages);
        self.read_signatures(&mut world, &packages, &enforcing);
        let running = self.running.clone();
        Ok(Look { world, plan, look_again, watch, running, expected, unsound, ended_holds, boot, enforcing })
    }

    fn expected(&self, plan: &Plan, packages: &[TreePackage]) -> BTreeMap<PackageId, Duration> {
        let mut expected = BTreeMap::new();
        for action in plan.actions.iter().filter(|action| matches!(action.verb, Verb::Install(_))) {
            if !expected.contains_key(&action.package) {
                let source = self.layout.source_link(&action.package);
                let source = if source.exists() { source } else { self.layout.source(&action.package) };
                let time = crate::build::expected::expected(&action.package, packages, Some(&source));
                expected.insert(action.package.clone(), time);
            }
        }
        expected
    }

    /// A kernel's configuration: of its headers, else the one its package has in /boot.
    pub(crate) fn kernel_config(&self, kernel: &KernelRelease) -> Arc<KernelConfig> {
        let config = resolve(&self.layout, &self.layout.kernel_source(kernel)).map(|dir| self.headers.config(&dir));
        match config {
            Ok(config) if config.path.is_some() => config,
            _ => Arc::new(KernelConfig::at(&self.layout.host(format!("/boot/config-{kernel}")))),
        }
    }

    /// What the headers of a kernel are now.
    #[must_use]
    pub fn headers(&self, kernel: &KernelId, now: SystemTime, quiet: Duration) -> HeaderState {
        headers::inspect(&self.layout, kernel, &self.distro, now, quiet, &self.headers)
    }

    /// The digest of all that is in a folder.
    pub(crate) fn folder_digest(&self, folder: &Path) -> Result<String> {
        self.folders.of(folder).at("read", folder)
    }

    fn kernels(&self, packages: &[TreePackage], now: SystemTime) -> Result<(Vec<Target>, Option<kernels::Unsound>)> {
        let files = OnceCell::new();
        let owned = |path: &Path| files.get_or_init(|| self.owned_files(packages)).contains(path);
        let mut found = kernels::kernels(&self.layout, &self.arch, &owned)?;
        let built_for: BTreeSet<&KernelId> = packages.iter().flat_map(|p| &p.entries).map(|e| &e.kernel).collect();
        let absent: Vec<Kernel> = built_for
            .iter()
            .filter(|id| !found.iter().any(|k| k.id == ***id))
            .map(|id| kernels::kernel(&self.layout, (*id).clone(), &owned))
            .collect();
        found.extend(absent);
        let unsound = kernels::install_tree_sound(&self.layout, self.device_at_start).err();
        let look = |kernel: &Kernel| {
            let has_builds = built_for.contains(&kernel.id);
            let presence = match kernel.presence {
                Presence::Installed => KernelPresence::Installed,
                Presence::HeadersOnly => KernelPresence::HeadersOnly,
                // A folder that somebody else still uses for something is no kernel, and not gone either.
                Presence::Bare if kernel.foreign_files && has_builds => KernelPresence::HeadersOnly,
                Presence::Bare if has_builds && unsound.is_none() => KernelPresence::Gone,
                Presence::Bare => return None,
            };
            let state = match presence {
                KernelPresence::Gone => HeaderState::Missing { why: "the kernel is gone".into(), package: None },
                _ => self.headers(&kernel.id, now, self.quiet),
            };
            let mut target = target(kernel.id.clone(), presence, state);
            let release = &target.view.id.release;
            target.offer = target.headers.as_ref().and_then(|h| self.offer(release, &h.config)).map(Arc::new);
            Some(target)
        };
        let mut targets: Vec<Target> = shares::map(&found, LEAST_KERNELS, look).into_iter().flatten().collect();
        targets.sort_by(|a, b| a.view.id.cmp(&b.view.id));
        Ok((targets, unsound))
    }

    /// The module files below the install tree that are ours.
    fn owned_files(&self, packages: &[TreePackage]) -> HashSet<PathBuf> {
        let mut owned = HashSet::new();
        for package in packages {
            for entry in package.entries.iter().filter(|e| e.installed) {
                match entry.manifest.as_ref().and_then(|m| m.installed.as_ref()) {
                    Some(record) => owned.extend(record.files.iter().map(|f| self.layout.host(&f.path))),
                    None => owned.extend(self.classic_files(&package.id, entry)),
                }
            }
        }
        owned
    }

    /// Where a classic tool has put what it built.
    fn classic_files(&self, package: &PackageId, entry: &TreeEntry) -> Vec<PathBuf> {
        let folder = self.distro.modules_folder().unwrap_or_default();
        let below = self.layout.kernel_folder(&entry.kernel.release).join(folder.trim_start_matches('/'));
        let Ok(built) = fs::read_dir(self.layout.module_dir(package, &entry.kernel)) else { return Vec::new() };
        built.flatten().map(|file| below.join(file.file_name())).filter(|file| file.exists()).collect()
    }

    fn watch(&self, world: &World, packages: &[TreePackage]) -> BTreeSet<(PathBuf, bool)> {
        let layout = &self.layout;
        let mut watch: BTreeSet<(PathBuf, bool)> = BTreeSet::new();
        watch.extend([(layout.install_tree(), false), (layout.source_tree(), false), (layout.dkms_tree(), false)]);
        watch.insert((layout.config_dir(), true));
        for kernel in &world.kernels {
            watch.insert((layout.kernel_folder(&kernel.id.release), false));
            let source = layout.kernel_source(&kernel.id.release);
            // A compiler opens files all over the headers: once they are ready, only their top is watched.
            let probes = match kernel.headers {
                HeaderView::Ready { .. } => resolve(layout, &source).into_iter().collect(),
                _ => headers::probe_dirs(layout, &kernel.id),
            };
            watch.extend(probes.into_iter().map(|folder| (folder, false)));
        }
        watch.extend(self.certificate_folders(world).into_iter().map(|folder| (folder, false)));
        // A package manager that lets go of its lock has changed something.
        watch.extend(package_manager::lock_files(layout).into_iter().map(|lock| (lock, false)));
        // What other processes do to the tree: failures and holds lie apart from it.
        watch.extend([(layout.failures_dir(), true), (layout.state_dir(), false)]);
        for package in packages {
            watch.insert((layout.package_dir(&package.id.name), false));
            watch.insert((layout.version_dir(&package.id), false));
            if let SourceState::Present(source) = &package.source {
                watch.insert((source.clone(), true));
            }
        }
        for package in &world.packages {
            if package.source == SourceView::Unregistered {
                watch.insert((layout.source(&package.id), true));
            }
        }
        // A folder that is no source yet may become one: its dkms.conf is still to come, or to be mended.
        for folder in folders_in(&layout.source_tree()) {
            if !watch.contains(&(folder.clone(), true)) {
                watch.insert((folder, false));
            }
        }
        watch
    }
}

/// The folders directly in a folder; links are none.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

fn target(id: KernelId, presence: KernelPresence, state: HeaderState) -> Target {
    let mut target = Target {
        view: KernelView { id, presence, headers: HeaderView::Settling { why: String::new() } },
        headers: None,
        headers_digest: None,
        offer: None,
        until: None,
    };
    target.view.headers = match state {
        HeaderState::Ready(headers) => {
            let stamp = headers.stamp.clone();
            target.headers_digest = Some(inputs::headers_digest(&headers));
            target.headers = Some(headers);
            HeaderView::Ready { stamp }
        }
        HeaderState::Settling { until, why } => {
            target.until = Some(until);
            HeaderView::Settling { why }
        }
        HeaderState::Missing { why, package } => HeaderView::Missing { why, package },
        HeaderState::Unusable { why } => HeaderView::Unusable { why },
    };
    target
}

/// Which version of each package is installed on each kernel.
#[must_use]
pub fn installed_versions(packages: &[TreePackage]) -> HashMap<(PackageName, KernelId), PackageVersion> {
    let mut versions = HashMap::new();
    for package in packages {
        for entry in package.entries.iter().filter(|e| e.installed) {
            versions.insert((package.id.name.clone(), entry.kernel.clone()), package.id.version.clone());
        }
    }
    versions
}

fn failures(layout: &Layout) -> Result<HashMap<(PackageId, KernelId), Failure>> {
    Ok(tree::failures::all(layout)?.into_iter().map(|f| ((f.package.clone(), f.kernel.clone()), f)).collect())
}

/// Installed files whose bytes are not those of any built module, as seen from inside the root: what is built is of a
/// later build, which a kill or a failed depmod kept from being installed.
pub(crate) fn outdated_files(manifest: &Manifest) -> Vec<PathBuf> {
    let files = manifest.installed.iter().flat_map(|record| &record.files);
    let outdated = files.filter(|file| !manifest.built.modules.iter().any(|built| built.sha256 == file.sha256));
    outdated.map(|file| file.path.clone()).collect()
}

/// What a build was made from; none when a classic tool made it. A form of the string that is not known any more is a
/// difference in everything.
pub(crate) fn built_from(manifest: &Manifest) -> Option<Fingerprint> {
    let text = manifest.built.fingerprint.as_str();
    (!text.is_empty()).then(|| text.parse().unwrap_or_default())
}
