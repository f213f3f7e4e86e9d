//! What a look finds out about packages: those of the tree, then the sources that are not in it yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Observer, Target, built_from, outdated_files};
use crate::artifact::sign::Offer;
use crate::build::toolchain;
use crate::conf::{Recipe, Request};
use crate::error::{Error, Result};
use crate::fingerprint;
use crate::host::secure_boot::SecureBoot;
use crate::install::forced::Forced;
use crate::layout::Layout;
use crate::model::{KernelId, PackageId, PackageName, PackageVersion};
use crate::plan::{EntryView, FailureView, KernelPresence, PackageView, RecipeView, SourceView};
use crate::tree::{self, Failure, Holds, Manifest, SourceState, TreeEntry, TreePackage};

/// The look under way.
pub(super) struct Gathering<'o> {
    pub(super) observer: &'o Observer,
    pub(super) now: SystemTime,
    pub(super) boot: &'o SecureBoot,
    pub(super) targets: &'o [Target],
    pub(super) installed: HashMap<(PackageName, KernelId), PackageVersion>,
    pub(super) holds: Holds,
    pub(super) failures: HashMap<(PackageId, KernelId), Failure>,
    pub(super) forced: Forced,
    pub(super) look_again: Option<SystemTime>,
    pub(super) views: Vec<PackageView>,
}

/// What is wrong with a conf.
#[derive(Debug, Default, PartialEq)]
struct Trouble {
    /// Of a package that wants to be installed by itself, or may.
    wanted: Option<String>,
    /// Of one that does not.
    unwanted: Option<String>,
    /// Whether nothing tells which of both it is.
    unknown: bool,
}

impl Gathering<'_> {
    pub(super) fn registered(&mut self, package: &TreePackage) {
        let (source, folder) = match &package.source {
            SourceState::Present(folder) => (SourceView::Registered, Some(folder.as_path())),
            SourceState::Broken(path) => (SourceView::Broken { path: path.clone() }, None),
        };
        self.view(&package.id, source, folder, &package.entries);
    }

    /// Sources below the source tree that are not in the tree.
    pub(super) fn unregistered(&mut self, packages: &[TreePackage]) -> Result<()> {
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
        let request =
            Request { source: folder, conf: None, package: None, kernel: &kernel, strict: false, directives: &[] };
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
        let (mut autoinstall, mut trouble) = (false, Trouble::default());
        for target in self.targets {
            let kernel = &target.view.id;
            let tree = built.iter().find(|e| e.kernel == *kernel);
            // Somebody builds for another machine: that is theirs to do.
            let foreign = kernel.arch != self.observer.arch;
            if foreign && tree.is_none() {
                continue;
            }
            let mut entry = self.entry(id, kernel, tree);
            if let (Some(folder), false) = (folder, target.view.presence == KernelPresence::Gone) {
                match self.recipe(id, folder, kernel) {
                    Ok(mut recipe) => {
                        recipe.autoinstall &= !foreign;
                        autoinstall |= recipe.autoinstall;
                        let depends = self.depends(&recipe, kernel);
                        if let (Some(headers), true) = (&target.headers, settled) {
                            entry.inputs = self.observer.inputs(id, kernel, folder, headers, &depends).ok();
                            let lost = |offer: &Arc<Offer>| self.boot.would_lose(&entry.signing, &offer.certificate);
                            entry.offer = target.offer.clone().filter(|offer| !lost(offer));
                        }
                        entry.recipe = Some(recipe_view(&recipe, kernel, &self.forced));
                    }
                    Err(error) => self.judge_trouble(id, folder, kernel, &error, &mut trouble),
                }
            }
            entries.insert(kernel.clone(), entry);
        }
        if entries.values().all(|e| e.recipe.is_none())
            && trouble == Trouble::default()
            && let Some(folder) = folder
        {
            let kernel = self.kernel_to_ask_for();
            match self.recipe(id, folder, &kernel) {
                Ok(recipe) => autoinstall = recipe.autoinstall,
                Err(error) => self.judge_trouble(id, folder, &kernel, &error, &mut trouble),
            }
        }
        if trouble.unknown && source == SourceView::Unregistered {
            // A source that nobody has added, and that does not clearly ask for anything.
            tracing::debug!("{id} is passed over: {}", trouble.wanted.unwrap_or_default());
            return;
        }
        let held = self.holds.iter().find(|h| h.package == *id && h.kernel.is_none()).map(held_sentence);
        let autoinstall = trouble.wanted.map_or(Ok(autoinstall), Err);
        self.views.push(PackageView { id: id.clone(), source, autoinstall, trouble: trouble.unwanted, held, entries });
    }

    /// A conf breaks a rule: whether that keeps something from being installed depends on what it asks for all the same.
    fn judge_trouble(&self, id: &PackageId, folder: &Path, kernel: &KernelId, error: &Error, trouble: &mut Trouble) {
        let request = Request { source: folder, conf: None, package: Some(id), kernel, strict: false, directives: &[] };
        let asks = self.observer.loader.load(&request).map(|loaded| loaded.recipe);
        let unknown = asks.as_ref().map_or(true, |r| r.warnings.iter().any(|w| w.starts_with("AUTOINSTALL=")));
        trouble.unknown |= unknown;
        match asks {
            Ok(recipe) if !recipe.autoinstall && !unknown => trouble.unwanted = Some(error.to_string()),
            _ => trouble.wanted = Some(error.to_string()),
        }
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
            outdated: manifest.map(outdated_files).unwrap_or_default(),
            recipe: None,
            inputs: None,
            built_from: manifest.and_then(built_from),
            failure: failure.map(|f| FailureView {
                fingerprint: if self.mended(f) { String::new() } else { f.fingerprint.clone() },
                header_stamp: f.header_stamp.clone(),
                error: f.error.clone(),
                first_error: f.first_error.clone(),
                excerpt: f.excerpt.clone(),
                state: f.state,
            }),
            held: self.holds.is_held(id, kernel).map(held_sentence),
            log,
            signing: manifest.map(|m| m.signing.clone()).unwrap_or_default(),
            offer: None,
        }
    }

    /// Whether what an attempt lacked has been installed or allowed since: as if it had been made from something else.
    fn mended(&self, failure: &Failure) -> bool {
        let installed = || failure.missing.iter().all(|program| toolchain::on_path(program));
        let allowed = |then: &String| *then != self.observer.settings.bounds(&failure.package.name);
        (!failure.missing.is_empty() && installed()) || failure.bounds.as_ref().is_some_and(allowed)
    }

    fn recipe(&self, id: &PackageId, folder: &Path, kernel: &KernelId) -> Result<Recipe> {
        let request = Request { source: folder, conf: None, package: Some(id), kernel, strict: true, directives: &[] };
        self.observer.loader.load(&request).map(|loaded| loaded.recipe)
    }

    fn depends(&self, recipe: &Recipe, kernel: &KernelId) -> String {
        fingerprint::dependencies(&recipe.build_depends, |name| {
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
        self.look_again = Some(self.look_again.map_or(until, |other| other.min(until)));
        false
    }
}

fn missing_files(layout: &Layout, manifest: &Manifest) -> Vec<PathBuf> {
    let files = manifest.installed.iter().flat_map(|record| &record.files);
    files.map(|file| file.path.clone()).filter(|path| fs::symlink_metadata(layout.host(path)).is_err()).collect()
}

fn recipe_view(recipe: &Recipe, kernel: &KernelId, forced: &Forced) -> RecipeView {
    RecipeView {
        autoinstall: recipe.autoinstall,
        exclusion: recipe.exclusion.clone(),
        dormant: recipe.obsolete_reason(&kernel.release).filter(|_| !forced.install(&recipe.package.name)),
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
