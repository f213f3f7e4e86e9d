//! One look at the disk: everything that the planner needs, and what to watch and when to look again.
//!
//! Looking changes nothing. What was found out is remembered (header digests, evaluated confs, folder digests), so that
//! the next look reads only what has changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::conf::{ConfLoader, Recipe, Request};
use crate::error::{IoContext as _, Result};
use crate::fingerprint::{Fingerprint, FolderDigests, digest};
use crate::host::distro::Distro;
use crate::host::headers::{self, HeaderCache, HeaderState, Headers};
use crate::host::kernels::{self, Kernel, Presence};
use crate::host::package_manager;
use crate::layout::Layout;
use crate::model::{Arch, KernelId, KernelRelease, PackageId, PackageName, PackageVersion};
use crate::plan::{
    EntryView, FailureView, HeaderView, KernelPresence, KernelView, PackageView, Plan, RecipeView, SourceView, World,
};
use crate::settings::Settings;
use crate::tree::{self, Failure, Holds, Manifest, SourceState, TreeEntry, TreePackage};

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
    /// Why no kernel is called gone, when something is wrong with the install tree.
    pub unsound: Option<String>,
}

/// Looks at the disk, and remembers what it found out.
#[derive(Debug)]
pub struct Observer {
    layout: Layout,
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
        let mut gathering = Gathering {
            observer: self,
            now,
            targets: &targets,
            installed: installed_versions(&packages),
            holds: Holds::read(&self.layout)?,
            failures: failures(&self.layout)?,
            look_again: None,
            views: Vec::new(),
        };
        for package in &packages {
            gathering.registered(package);
        }
        gathering.unregistered(&packages)?;
        gathering.views.sort_by(|a, b| a.id.cmp(&b.id));
        let settling = targets.iter().any(|t| matches!(t.view.headers, HeaderView::Settling { .. }));
        let look_again = gathering.look_again.or_else(|| settling.then(|| now + self.quiet));
        let views = gathering.views;
        let world = World {
            kernels: targets.into_iter().map(|t| t.view).collect(),
            packages: views,
            autoinstall_off: self.layout.no_autoinstall().exists(),
        };
        let watch = self.watch(&world, &packages);
        let plan = crate::plan::plan(&world);
        let unsound = unsound.map(|why| why.to_string());
        Ok(Look { world, plan, look_again, watch, running: self.running.clone(), unsound })
    }

    /// What the headers of a kernel are now.
    #[must_use]
    pub fn headers(&self, kernel: &KernelId, now: SystemTime, quiet: Duration) -> HeaderState {
        headers::inspect(&self.layout, kernel, &self.distro, now, quiet, &self.headers)
    }

    /// The inputs of a build as they are now.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn inputs(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        source: &Path,
        headers: &Headers,
        depends: &str,
    ) -> Result<Fingerprint> {
        let overrides = self.layout.override_dir(&package.name);
        let of = |folder: &Path| self.folders.of(folder).at("read", folder);
        let (source, overrides) = (of(source)?, of(&overrides)?);
        let confs: Vec<Vec<u8>> =
            self.layout.override_confs(package, kernel).iter().map(|p| fs::read(p).unwrap_or_default()).collect();
        Ok(Fingerprint {
            source: digest([source.as_bytes(), overrides.as_bytes()]),
            conf: digest(confs.iter().map(Vec::as_slice)),
            headers: digest([headers.identity.as_bytes()]),
            depends: depends.to_owned(),
        })
    }

    fn kernels(&self, packages: &[TreePackage], now: SystemTime) -> Result<(Vec<Target>, Option<kernels::Unsound>)> {
        let owned = self.owned_files(packages);
        let mut found = kernels::kernels(&self.layout, &self.arch, &owned)?;
        let built_for: BTreeSet<&KernelId> = packages.iter().flat_map(|p| &p.entries).map(|e| &e.kernel).collect();
        let absent: Vec<Kernel> = built_for
            .iter()
            .filter(|id| !found.iter().any(|k| k.id == ***id))
            .map(|id| kernels::kernel(&self.layout, (*id).clone(), &owned))
            .collect();
        found.extend(absent);
        let unsound = kernels::install_tree_sound(&self.layout, self.device_at_start).err();
        let mut targets = Vec::new();
        for kernel in found {
            let has_builds = built_for.contains(&kernel.id);
            let presence = match kernel.presence {
                Presence::Installed => KernelPresence::Installed,
                Presence::HeadersOnly => KernelPresence::HeadersOnly,
                // A folder that somebody else still uses for something is no kernel, and not gone either.
                Presence::Bare if kernel.foreign_files && has_builds => KernelPresence::HeadersOnly,
                Presence::Bare if has_builds && unsound.is_none() => KernelPresence::Gone,
                Presence::Bare => continue,
            };
            let state = match presence {
                KernelPresence::Gone => HeaderState::Missing { why: "the kernel is gone".into(), package: None },
                _ => self.headers(&kernel.id, now, self.quiet),
            };
            targets.push(target(kernel.id, presence, state));
        }
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
                HeaderView::Ready { .. } => fs::canonicalize(source).into_iter().collect(),
                _ => headers::probe_dirs(layout, &kernel.id),
            };
            watch.extend(probes.into_iter().map(|folder| (folder, false)));
        }
        // A package manager that lets go of its lock has changed something.
        watch.extend(package_manager::lock_files(layout).into_iter().map(|lock| (lock, false)));
        for package in packages {
            watch.insert((layout.package_dir(&package.id.name), false));
            if let SourceState::Present(source) = &package.source {
                watch.insert((source.clone(), true));
            }
        }
        for package in &world.packages {
            if package.source == SourceView::Unregistered {
                watch.insert((layout.source(&package.id), true));
            }
        }
        watch
    }
}

fn target(id: KernelId, presence: KernelPresence, state: HeaderState) -> Target {
    let (headers, found) = match state {
        HeaderState::Ready(headers) => (HeaderView::Ready { stamp: headers.stamp.clone() }, Some(headers)),
        HeaderState::Settling { why, .. } => (HeaderView::Settling { why }, None),
        HeaderState::Missing { why, package } => (HeaderView::Missing { why, package }, None),
        HeaderState::Unusable { why } => (HeaderView::Unusable { why }, None),
    };
    Target { view: KernelView { id, presence, headers }, headers: found }
}

/// The look under way.
struct Gathering<'o> {
    observer: &'o Observer,
    now: SystemTime,
    targets: &'o [Target],
    installed: HashMap<(PackageName, KernelId), PackageVersion>,
    holds: Holds,
    failures: HashMap<(PackageId, KernelId), Failure>,
    look_again: Option<SystemTime>,
    views: Vec<PackageView>,
}

impl Gathering<'_> {
    fn registered(&mut self, package: &TreePackage) {
        let (source, folder) = match &package.source {
            SourceState::Present(folder) => (SourceView::Registered, Some(folder.as_path())),
            SourceState::Broken(path) => (SourceView::Broken { path: path.clone() }, None),
        };
        self.view(&package.id, source, folder, &package.entries);
    }

    /// Sources below the source tree that are not in the tree.
    fn unregistered(&mut self, packages: &[TreePackage]) -> Result<()> {
        let observer = self.observer;
        let known: HashSet<PathBuf> = packages.iter().map(|p| observer.layout.source(&p.id)).collect();
        let source_tree = observer.layout.source_tree();
        let Ok(entries) = fs::read_dir(&source_tree) else { return Ok(()) };
        for entry in entries.flatten() {
            let folder = entry.path();
            if known.contains(&folder) || !folder.join("dkms.conf").is_file() {
                continue;
            }
            if let Some(id) = self.name_of(&folder) {
                if observer.layout.source(&id) == folder && !packages.iter().any(|p| p.id == id) {
                    self.view(&id, SourceView::Unregistered, Some(&folder), &[]);
                } else {
                    tracing::debug!("{} calls itself {id}: the folder has to be called so", folder.display());
                }
            }
        }
        Ok(())
    }

    fn name_of(&self, folder: &Path) -> Option<PackageId> {
        let kernel = self.kernel_to_ask_for();
        let request = Request { source: folder, package: None, kernel: &kernel, strict: false, directives: &[] };
        match self.observer.loader.load(&request) {
            Ok(loaded) => Some(loaded.recipe.package),
            Err(error) => {
                tracing::debug!("{} is not a driver source that can be used: {error}", folder.display());
                None
            }
        }
    }

    /// The kernel that a conf is read for where none is named.
    fn kernel_to_ask_for(&self) -> KernelId {
        let newest = self.targets.iter().rev().find(|t| t.view.presence != KernelPresence::Gone);
        newest.map_or_else(
            || KernelId { release: self.observer.running.clone(), arch: self.observer.arch.clone() },
            |t| t.view.id.clone(),
        )
    }

    fn view(&mut self, id: &PackageId, source: SourceView, folder: Option<&Path>, built: &[TreeEntry]) {
        let settled = folder.is_none_or(|folder| self.settled(folder));
        if !settled && source == SourceView::Unregistered {
            return;
        }
        let mut entries = BTreeMap::new();
        let (mut autoinstall, mut trouble) = (false, None);
        for target in self.targets {
            let kernel = &target.view.id;
            let tree = built.iter().find(|e| e.kernel == *kernel);
            let mut entry = self.entry(id, kernel, tree);
            if let (Some(folder), false) = (folder, target.view.presence == KernelPresence::Gone) {
                match self.recipe(id, folder, kernel) {
                    Ok(recipe) => {
                        autoinstall |= recipe.autoinstall;
                        let depends = self.depends(&recipe, kernel);
                        if let (Some(headers), true) = (&target.headers, settled) {
                            entry.inputs = self.observer.inputs(id, kernel, folder, headers, &depends).ok();
                        }
                        entry.recipe = Some(recipe_view(&recipe, kernel));
                    }
                    Err(error) => trouble = Some(error.to_string()),
                }
            }
            entries.insert(kernel.clone(), entry);
        }
        if entries.values().all(|e| e.recipe.is_none())
            && trouble.is_none()
            && let Some(folder) = folder
        {
            match self.recipe(id, folder, &self.kernel_to_ask_for()) {
                Ok(recipe) => autoinstall = recipe.autoinstall,
                Err(error) => trouble = Some(error.to_string()),
            }
        }
        let held = self.holds.iter().find(|h| h.package == *id && h.kernel.is_none()).map(held_sentence);
        let autoinstall = trouble.map_or(Ok(autoinstall), Err);
        self.views.push(PackageView { id: id.clone(), source, autoinstall, held, entries });
    }

    fn entry(&self, id: &PackageId, kernel: &KernelId, tree: Option<&TreeEntry>) -> EntryView {
        let layout = &self.observer.layout;
        let manifest = tree.and_then(|e| e.manifest.as_ref());
        let failure = self.failures.get(&(id.clone(), kernel.clone()));
        let built_log = layout.built_log(id, kernel);
        let log = failure.and_then(|f| f.log.clone()).or_else(|| built_log.exists().then_some(built_log));
        EntryView {
            built: tree.is_some_and(|e| e.built),
            installed: tree.is_some_and(|e| e.installed),
            missing: manifest.map(|m| missing_files(layout, m)).unwrap_or_default(),
            outdated: manifest.map(|m| outdated_files(m)).unwrap_or_default(),
            recipe: None,
            inputs: None,
            built_from: manifest.and_then(built_from),
            failure: failure.map(|f| FailureView {
                fingerprint: f.fingerprint.clone(),
                header_stamp: f.header_stamp.clone(),
                error: f.error.clone(),
                first_error: f.first_error.clone(),
                state: f.state,
            }),
            held: self.holds.is_held(id, kernel).map(held_sentence),
            log,
        }
    }

    fn recipe(&self, id: &PackageId, folder: &Path, kernel: &KernelId) -> Result<Recipe> {
        let request = Request { source: folder, package: Some(id), kernel, strict: true, directives: &[] };
        self.observer.loader.load(&request).map(|loaded| loaded.recipe)
    }

    fn depends(&self, recipe: &Recipe, kernel: &KernelId) -> String {
        depends_digest(&recipe.build_depends, |name| {
            self.installed.get(&(name.clone(), kernel.clone())).map(ToString::to_string)
        })
    }

    /// Whether nothing in a source was touched for the quiet period; else remembers when to look again.
    fn settled(&mut self, folder: &Path) -> bool {
        let Some(newest) = newest_change(folder) else { return true };
        let until = newest + self.observer.quiet;
        // A time in the future would never pass: such a source counts as settled.
        if until <= self.now || newest > self.now + self.observer.quiet {
            return true;
        }
        self.look_again = Some(self.look_again.map_or(until, |other| other.max(until)));
        false
    }
}

/// A digest of the versions of what a package depends on, as installed for the kernel; empty when it depends on nothing.
#[must_use]
pub fn depends_digest(depends: &[PackageName], version: impl Fn(&PackageName) -> Option<String>) -> String {
    if depends.is_empty() {
        return String::new();
    }
    let words: Vec<String> = depends.iter().map(|n| format!("{n}={}", version(n).unwrap_or_default())).collect();
    digest(words.iter().map(String::as_bytes))
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

fn missing_files(layout: &Layout, manifest: &Manifest) -> Vec<PathBuf> {
    let files = manifest.installed.iter().flat_map(|record| &record.files);
    files.map(|file| file.path.clone()).filter(|path| fs::symlink_metadata(layout.host(path)).is_err()).collect()
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

fn recipe_view(recipe: &Recipe, kernel: &KernelId) -> RecipeView {
    RecipeView {
        autoinstall: recipe.autoinstall,
        exclusion: recipe.exclusion.clone(),
        dormant: recipe.obsolete_reason(&kernel.release),
        depends: recipe.build_depends.clone(),
        depends_rebuild: recipe.build_depends_rebuild,
        modules: recipe.wanted().map(|m| m.dest_name.clone()).collect(),
    }
}

fn held_sentence(hold: &tree::Hold) -> String {
    let time = i64::try_from(hold.at).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    let when = time.map(|t| t.strftime(" on %Y-%m-%d at %H:%M UTC").to_string()).unwrap_or_default();
    format!("removed by hand (uid {}){when}; install it to end that", hold.by_uid)
}

/// The newest change (ctime) of anything in a folder.
fn newest_change(folder: &Path) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt as _;
    let changed = |m: &fs::Metadata| {
        let since = Duration::new(u64::try_from(m.ctime()).ok()?, u32::try_from(m.ctime_nsec()).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    };
    let mut newest = changed(&fs::metadata(folder).ok()?);
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            newest = newest.max(changed(&metadata));
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    newest
}
