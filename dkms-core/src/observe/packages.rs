//! What a look finds out about packages: those of the tree, then the sources that are not in it yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use super::inputs::PackageInputs;
use super::present::Present;
use super::{Observer, Target, built_from, installed_versions, outdated_files};
use crate::artifact::sign::Offer;
use crate::build::toolchain;
use crate::conf::{Outline, Outlines, Overrides, Request};
use crate::error::Error;
use crate::fingerprint::{self, Stamp};
use crate::host::secure_boot::SecureBoot;
use crate::install::forced::Forced;
use crate::model::{KernelId, PackageId, PackageName, PackageVersion};
use crate::plan::{EntryView, FailureView, KernelPresence, PackageView, RecipeView, SourceView};
use crate::shares;
use crate::tree::{self, Failure, Holds, Manifest, SourceState, TreeEntry, TreePackage};

/// Fewer packages than this are not worth a thread.
pub(super) const LEAST: usize = 32;

/// The look under way.
pub(super) struct Gathering<'o> {
    pub(super) observer: &'o Observer,
    pub(super) now: SystemTime,
    pub(super) boot: &'o SecureBoot,
    pub(super) targets: &'o [Target],
    pub(super) packages: &'o [TreePackage],
    /// Which version of each is installed on each kernel, once that matters.
    pub(super) installed: OnceLock<HashMap<(PackageName, KernelId), PackageVersion>>,
    pub(super) holds: Holds,
    pub(super) failures: HashMap<(PackageId, KernelId), Failure>,
    pub(super) forced: Forced,
    pub(super) overrides: Overrides,
    pub(super) present: Present,
}

/// What was found out about one package.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// None where it is passed over.
    pub(super) view: Option<PackageView>,
    /// Its source changed a moment ago: look again then.
    pub(super) look_again: Option<SystemTime>,
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
    pub(super) fn registered(&self, package: &TreePackage) -> Seen {
        let (source, folder) = match &package.source {
            SourceState::Present(folder) => (SourceView::Registered, Some(folder.as_path())),
            SourceState::Broken(path) => (SourceView::Broken { path: path.clone() }, None),
        };
        self.view(&package.id, source, folder, &package.entries)
    }

    /// Sources below the source tree that are not in the tree.
    pub(super) fn unregistered(&self, packages: &[TreePackage]) -> Vec<Seen> {
        let layout = &self.observer.layout;
        let known: HashSet<PathBuf> = packages.iter().map(|p| layout.source(&p.id)).collect();
        let Ok(entries) = fs::read_dir(layout.source_tree()) else { return Vec::new() };
        let folders = entries.flatten().map(|entry| entry.path()).filter(|folder| !known.contains(folder));
        let sources: Vec<PathBuf> = folders.filter(|folder| folder.join("dkms.conf").is_file()).collect();
        let seen = shares::map(&sources, LEAST, |folder| {
            let id = self.name_of(folder)?;
            if layout.source(&id) == *folder {
                // No package of the tree: its source would be known.
                return Some(self.view(&id, SourceView::Unregistered, Some(folder), &[]));
            }
            tracing::debug!("{} calls itself {id}: the folder has to be called so", folder.display());
            None
        });
        seen.into_iter().flatten().collect()
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

    fn view(&self, id: &PackageId, source: SourceView, folder: Option<&Path>, built: &[TreeEntry]) -> Seen {
        let stamp = folder.and_then(|folder| Stamp::of(folder).ok());
        let look_again = stamp.as_ref().and_then(|stamp| self.unsettled(stamp));
        if look_again.is_some() && source == SourceView::Unregistered {
            return Seen { view: None, look_again };
        }
        let overrides = self.overrides.of(id);
        let mut outlines = folder.map(|folder| Outlines::new(&self.observer.loader, folder, id, &overrides));
        // Nothing is built from a source that still changes.
        let inputs = folder.zip(stamp.as_ref()).filter(|_| look_again.is_none());
        let inputs = inputs.and_then(|(folder, stamp)| self.observer.package_inputs(id, folder, stamp).ok());
        // A log lies in a kernel's folder.
        let folders = fs::read_dir(self.observer.layout.version_dir(id));
        let folders: HashSet<OsString> = folders.into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        let built: HashMap<&KernelId, &TreeEntry> = built.iter().map(|e| (&e.kernel, e)).collect();
        let mut entries = BTreeMap::new();
        let (mut autoinstall, mut trouble) = (false, Trouble::default());
        for target in self.targets {
            let kernel = &target.view.id;
            let tree = built.get(kernel).copied();
            // Somebody builds for another machine: that is theirs to do.
            let foreign = kernel.arch != self.observer.arch;
            if foreign && tree.is_none() {
                continue;
            }
            let mut entry = self.entry(id, kernel, tree, folders.contains(OsStr::new(kernel.release.as_str())));
            if let (Some(outlines), false) = (&mut outlines, target.view.presence == KernelPresence::Gone) {
                match outlines.of(kernel) {
                    Ok(mut outline) => {
                        outline.autoinstall &= !foreign;
                        autoinstall |= outline.autoinstall;
                        if let (Some(headers), None) = (&target.headers_digest, look_again) {
                            let depends = self.depends(&outline, kernel);
                            let of_kernel = |inputs: &PackageInputs| {
                                self.observer.kernel_inputs(inputs, id, kernel, &overrides, headers, depends)
                            };
                            entry.inputs = inputs.as_ref().map(of_kernel);
                            let lost = |offer: &Arc<Offer>| self.boot.would_lose(&entry.signing, &offer.certificate);
                            entry.offer = target.offer.clone().filter(|offer| !lost(offer));
                        }
                        entry.recipe = Some(self.recipe_view(id, outline));
                    }
                    Err(error) => self.judge_trouble(id, outlines.source(), kernel, &error, &mut trouble),
                }
            }
            entries.insert(kernel.clone(), entry);
        }
        if entries.values().all(|e| e.recipe.is_none())
            && trouble == Trouble::default()
            && let Some(outlines) = &mut outlines
        {
            let kernel = self.kernel_to_ask_for();
            match outlines.of(&kernel) {
                Ok(outline) => autoinstall = outline.autoinstall,
                Err(error) => self.judge_trouble(id, outlines.source(), &kernel, &error, &mut trouble),
            }
        }
        if trouble.unknown && source == SourceView::Unregistered {
            // A source that nobody has added, and that does not clearly ask for anything.
            tracing::debug!("{id} is passed over: {}", trouble.wanted.unwrap_or_default());
            return Seen { view: None, look_again };
        }
        let held = self.holds.iter().find(|h| h.package == *id && h.kernel.is_none()).map(held_sentence);
        let autoinstall = trouble.wanted.map_or(Ok(autoinstall), Err);
        let view = PackageView { id: id.clone(), source, autoinstall, trouble: trouble.unwanted, held, entries };
        Seen { view: Some(view), look_again }
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

    fn entry(&self, id: &PackageId, kernel: &KernelId, tree: Option<&TreeEntry>, may_have_log: bool) -> EntryView {
        let layout = &self.observer.layout;
        let manifest = tree.and_then(|e| e.manifest.as_ref());
        let failure = self.failures.get(&(id.clone(), kernel.clone()));
        let built_log = || Some(layout.built_log(id, kernel)).filter(|log| may_have_log && log.exists());
        let log = failure.and_then(|f| f.log.clone()).or_else(built_log);
        EntryView {
            built: tree.is_some_and(|e| e.built),
            installed: tree.is_some_and(|e| e.installed),
            missing: manifest.map(|m| self.missing_files(m)).unwrap_or_default(),
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

    fn depends(&self, outline: &Outline, kernel: &KernelId) -> String {
        fingerprint::dependencies(&outline.build_depends, |name| {
            let installed = self.installed.get_or_init(|| installed_versions(self.packages));
            installed.get(&(name.clone(), kernel.clone())).map(ToString::to_string)
        })
    }

    fn recipe_view(&self, id: &PackageId, outline: Outline) -> RecipeView {
        RecipeView {
            autoinstall: outline.autoinstall,
            exclusion: outline.exclusion,
            dormant: outline.obsolete.filter(|_| !self.forced.install(&id.name)),
            depends: outline.build_depends,
            depends_rebuild: outline.build_depends_rebuild,
            modules: outline.modules,
        }
    }

    fn missing_files(&self, manifest: &Manifest) -> Vec<PathBuf> {
        let files = manifest.installed.iter().flat_map(|record| &record.files).map(|file| &file.path);
        files.filter(|path| !self.present.has(&self.observer.layout, path)).cloned().collect()
    }

    /// When to look again at a source in which something was touched within the quiet period.
    fn unsettled(&self, stamp: &Stamp) -> Option<SystemTime> {
        let until = stamp.newest + self.observer.quiet;
        // A time in the future would never pass: such a source counts as settled.
        (until > self.now && stamp.newest <= self.now + self.observer.quiet).then_some(until)
    }
}

fn held_sentence(hold: &tree::Hold) -> String {
    let time = i64::try_from(hold.at).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    let when = time.map(|t| t.strftime(" on %Y-%m-%d at %H:%M UTC").to_string()).unwrap_or_default();
    format!("removed by hand (uid {}){when}; install it to end that", hold.by_uid)
}
