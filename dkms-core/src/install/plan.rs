//! Which files an install changes, and what they are before. Reads only.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::artifact::Fitness;
use crate::conf::{ModuleRecipe, Recipe};
use crate::error::{Error, IoContext, Result};
use crate::event::Sink;
use crate::install::find::{self, KernelModules};
use crate::install::intent::{Change, Content, Intent, Previous, Source};
use crate::install::{Target, originals, owner, version_check};
use crate::layout::Layout;
use crate::model::{EntryState, KernelId, ModuleName, PackageId};
use crate::tree::{Displaced, InstallRecord, InstalledFile, Manifest, files, link_target};

/// What was found out.
pub(crate) struct Plan {
    pub(crate) intent: Intent,
    pub(crate) refused: Vec<(ModuleName, String)>,
}

/// Looks at everything that an install will touch.
pub(crate) fn plan(target: &Target<'_>, sink: &mut dyn Sink) -> Result<Plan> {
    let (layout, kernel) = (target.layout, target.kernel);
    let kernel_folder = layout.kernel_folder(&kernel.release);
    if !kernel_folder.is_dir() {
        return Err(Error::NoKernel { kernel: kernel.release.clone(), path: kernel_folder });
    }
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (by_uid, reason) = (target.by_uid, target.reason.to_owned());
    let record = InstallRecord { at, by_uid, reason, files: Vec::new(), displaced: Vec::new() };
    let mut planner = Planner {
        target,
        modules: KernelModules::below(&kernel_folder)?,
        owned: BTreeSet::new(),
        linked: false,
        intent: Intent::new(target.package.clone(), kernel.clone(), record, target.owner.cloned()),
        refused: Vec::new(),
    };
    planner.previous()?;
    for module in target.recipe.wanted() {
        planner.module(module, sink)?;
    }
    if planner.intent.record.files.is_empty() && !planner.refused.is_empty() {
        let reasons = planner.refused.iter().map(|(module, why)| format!("{module}: {why}")).collect();
        let (package, kernel) = (target.package.clone(), kernel.clone());
        return Err(Error::AllRefused { package, kernel, reasons, state: EntryState::KernelNewer });
    }
    planner.leftovers()?;
    Ok(Plan { intent: planner.intent, refused: planner.refused })
}

struct Planner<'a> {
    target: &'a Target<'a>,
    modules: KernelModules,
    /// Files that the version installed so far put in place.
    owned: BTreeSet<PathBuf>,
    /// The `kernel-…` link is there, to whatever version.
    linked: bool,
    intent: Intent,
    refused: Vec<(ModuleName, String)>,
}

impl Planner<'_> {
    /// Which version is installed so far, and which files are its.
    fn previous(&mut self) -> Result<()> {
        let Target { layout, package, kernel, .. } = *self.target;
        let link = layout.installed_link(&package.name, kernel);
        if files::look(&link)?.is_none() {
            return Ok(());
        }
        self.linked = true;
        let target = std::fs::read_link(&link).at("read the link", &link)?;
        if let Some((version, from)) = link_target(&target)
            && from == *kernel
        {
            let previous = PackageId { name: package.name.clone(), version };
            let record = Manifest::read(layout, &previous, kernel)?.and_then(|manifest| manifest.installed);
            self.owned = owned(layout, &previous, kernel, record.as_ref(), &self.modules)?;
            // What was moved away for it is kept on.
            let displaced = record.as_ref().map(|record| record.displaced.clone());
            self.intent.record.displaced = displaced.unwrap_or_default();
            self.intent.previous = Some(Previous { package: previous, record });
        }
        self.intent.link_before = Some(target);
        Ok(())
    }

    /// Plans one module, unless it is refused.
    fn module(&mut self, module: &ModuleRecipe, sink: &mut dyn Sink) -> Result<()> {
        let Target { layout, package, kernel, .. } = *self.target;
        let name = &module.dest_name;
        let built = built(layout, package, kernel, name)?;
        let below = self.target.modules_folder.unwrap_or(&module.dest_location);
        let destination =
            folder_below(&layout.kernel_folder(&kernel.release), below).ok_or_else(|| Error::BadModule {
                package: package.clone(),
                kernel: kernel.clone(),
                file: built.clone(),
                why: format!("its destination {below} leaves the kernel's folder"),
            })?;
        if let Some(why) = self.version_refusal(name, &built, &destination, sink)? {
            self.refused.push((name.clone(), why));
            return Ok(());
        }
        let path = destination.join(built.file_name().unwrap_or_default());
        let original = if self.linked { self.foreign(name, &destination)? } else { self.original(name, &destination)? };
        if let Some(original) = original {
            self.displace(name, &original)?;
        }
        // Another suffix of the same module beside it would compete with it.
        for other in find::in_folder(&destination, name)?.into_iter().filter(|other| *other != path) {
            self.change(&other)?;
        }
        let sha256 = files::sha256_file(&built)?;
        let from = layout.inside(&built);
        if self.target.symlink {
            self.becomes(&path, Content::Link { target: from }, None)?;
        } else {
            self.becomes(&path, Content::new_file(sha256.clone()), Some(Source::File(from)))?;
        }
        let path = layout.inside(&path);
        self.intent.record.files.push(InstalledFile { module: name.clone(), path, sha256 });
        Ok(())
    }

    fn version_refusal(
        &self,
        name: &ModuleName,
        built: &Path,
        destination: &Path,
        sink: &mut dyn Sink,
    ) -> Result<Option<String>> {
        if !self.target.check_version {
            return Ok(None);
        }
        // What stands at the destination of an installed package is its own, when no record says otherwise.
        let ours = |path: &Path| {
            self.owned.contains(path) || (self.linked && !self.on_record() && path.parent() == Some(destination))
        };
        let theirs: Vec<_> = self.modules.of(name).iter().filter(|path| !ours(path)).collect();
        match theirs.as_slice() {
            [] => Ok(None),
            [one] => {
                let shown = self.target.layout.inside(one).display().to_string();
                let whose = match self.other_owner(one)? {
                    Some(other) => format!("{other}'s {shown}"),
                    None => format!("the kernel's own {shown}"),
                };
                version_check::refusal(built, one, &whose)
            }
            several => {
                let list = several.iter().map(|p| self.target.layout.inside(p).display().to_string());
                let list = list.collect::<Vec<_>>().join(", ");
                sink.warn(format!("{name}: its version is not checked: the kernel has several of that name: {list}"));
                Ok(None)
            }
        }
    }

    /// The kernel's own module: the first of extra, updates, the destination, then anywhere.
    fn original(&self, name: &ModuleName, destination: &Path) -> Result<Option<PathBuf>> {
        let kernel_folder = self.target.layout.kernel_folder(&self.target.kernel.release);
        for folder in [kernel_folder.join("extra"), kernel_folder.join("updates"), destination.to_owned()] {
            if let Some(first) = find::in_folder(&folder, name)?.into_iter().next() {
                return Ok(Some(first));
            }
        }
        Ok(self.modules.of(name).first().cloned())
    }

    fn other_owner(&self, path: &Path) -> Result<Option<PackageId>> {
        let Target { layout, package, kernel, .. } = *self.target;
        owner::other_owner(layout, package, kernel, path)
    }

    /// Whether our own record says what is installed so far.
    fn on_record(&self) -> bool {
        self.intent.previous.as_ref().is_some_and(|previous| previous.record.is_some())
    }

    /// A module at the destination that came after we were installed, as when the kernel's package was upgraded over
    /// ours, or that an interrupted uninstall has put back: our record says that it is not ours.
    /// An original from elsewhere that is kept already is worth more.
    fn foreign(&self, name: &ModuleName, destination: &Path) -> Result<Option<PathBuf>> {
        let Target { layout, package, kernel, .. } = *self.target;
        if !self.on_record() {
            return Ok(None);
        }
        let kept = originals::kept(layout, &package.name, kernel)?;
        let mut of_this_module = kept.iter().filter(|kept| kept.is_of(name)).peekable();
        let free = of_this_module.peek().is_none();
        let origins: Vec<_> = of_this_module.filter_map(|kept| kept.origin.as_deref()).collect();
        for path in find::in_folder(destination, name)? {
            let is_file = matches!(Content::at(&path)?, Some(Content::File { .. }));
            let has_room = free || origins.contains(&layout.inside(&path).as_path());
            if is_file && has_room && !self.owned.contains(&path) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Plans to move a kernel's module into the tree, in place of what is kept there of the same module.
    fn displace(&mut self, name: &ModuleName, original: &Path) -> Result<()> {
        let Target { layout, package, kernel, .. } = *self.target;
        let other = self.other_owner(original)?;
        let change = self.change(original)?;
        let before = self.intent.changes.get(change).and_then(|change| change.before.clone());
        // A link into the tree is what an earlier install left, not a module of the kernel's.
        let Some(before @ Content::File { .. }) = before else { return Ok(()) };
        let folder = layout.originals_dir(&package.name, kernel);
        let kept = folder.join(original.file_name().unwrap_or_default());
        for other in find::in_folder(&folder, name)?.into_iter().filter(|other| *other != kept) {
            self.change(&other)?;
            self.change(&originals::origin_of(&other))?;
        }
        let origin = layout.inside(original);
        let others = &mut self.intent.record.displaced;
        others.retain(|other| other.origin != origin);
        if let Some(package) = other {
            others.push(Displaced { origin: origin.clone(), package });
        }
        let mut line = origin.as_os_str().as_bytes().to_owned();
        line.push(b'\n');
        let digest = files::sha256_bytes(&line);
        self.becomes(&originals::origin_of(&kept), Content::new_file(digest), Some(Source::Bytes(line)))?;
        self.becomes(&kept, before, Some(Source::Before(change)))?;
        self.intent.displaced.push(origin);
        Ok(())
    }

    /// What the version installed so far has and this one has not, goes.
    fn leftovers(&mut self) -> Result<()> {
        for path in std::mem::take(&mut self.owned) {
            self.change(&path)?;
        }
        Ok(())
    }

    /// Plans what is at a path from now on.
    fn becomes(&mut self, path: &Path, after: Content, from: Option<Source>) -> Result<()> {
        let layout = self.target.layout;
        for missing in path.parent().map(files::missing_folders).unwrap_or_default() {
            let missing = layout.inside(&missing);
            if !self.intent.folders.contains(&missing) {
                self.intent.folders.push(missing);
            }
        }
        let change = self.change(path)?;
        if let Some(change) = self.intent.changes.get_mut(change) {
            change.after = Some(after);
            change.from = from;
        }
        Ok(())
    }

    /// The place in the list of a file that changes; until more is said of it, it goes.
    fn change(&mut self, path: &Path) -> Result<usize> {
        let inside = self.target.layout.inside(path);
        if let Some(known) = self.intent.changes.iter().position(|change| change.path == inside) {
            return Ok(known);
        }
        let before = Content::at(path)?;
        self.intent.changes.push(Change { path: inside, before, after: None, from: None });
        Ok(self.intent.changes.len() - 1)
    }
}

/// Whether every module that is to be installed has been built, and is fit for the kernel.
///
/// # Errors
/// [`Error::BuiltModuleMissing`] when one has not been built; [`Error::BadModule`] when one is not fit for the kernel: it
/// may have come from an archive or another tool.
pub fn complete(layout: &Layout, package: &PackageId, kernel: &KernelId, recipe: &Recipe) -> Result<()> {
    let fitness = Fitness::of_installed(layout, kernel)?;
    for module in recipe.wanted() {
        let file = built(layout, package, kernel, &module.dest_name)?;
        if let Some(why) = fitness.check(&file, &[&module.built_name, &module.dest_name])? {
            return Err(Error::BadModule { package: package.clone(), kernel: kernel.clone(), file, why });
        }
    }
    Ok(())
}

fn built(layout: &Layout, package: &PackageId, kernel: &KernelId, name: &ModuleName) -> Result<PathBuf> {
    let folder = layout.module_dir(package, kernel);
    find::in_folder(&folder, name)?.into_iter().next().ok_or_else(|| Error::BuiltModuleMissing {
        package: package.clone(),
        kernel: kernel.clone(),
        file: folder.join(format!("{name}.ko")),
    })
}

/// A folder below the kernel's; none when the words lead out of it.
pub(crate) fn folder_below(kernel_folder: &Path, below: &str) -> Option<PathBuf> {
    let mut folder = kernel_folder.to_owned();
    for component in Path::new(below).components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(word) => folder.push(word),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(folder)
}

/// The files that an installed version put in place and nobody replaced since: those of its record, or without one
/// those that are byte for byte what the tree has built, or links to it.
pub(crate) fn owned(
    layout: &Layout,
    package: &PackageId,
    kernel: &KernelId,
    record: Option<&InstallRecord>,
    modules: &KernelModules,
) -> Result<BTreeSet<PathBuf>> {
    let mut owned = BTreeSet::new();
    if let Some(record) = record {
        for file in &record.files {
            let path = layout.host(&file.path);
            if is_ours(layout, package, kernel, &path, Some(&file.sha256))? {
                owned.insert(path);
            }
        }
        return Ok(owned);
    }
    for (name, _) in files::list(&layout.module_dir(package, kernel))? {
        let Some(module) = name.to_str().and_then(find::module_of) else { continue };
        let digest = files::sha256_file(&layout.module_dir(package, kernel).join(&name))?;
        for path in ModuleName::new(module).ok().iter().flat_map(|module| modules.of(module)) {
            if is_ours(layout, package, kernel, path, Some(&digest))? {
                owned.insert(path.clone());
            }
        }
    }
    Ok(owned)
}

/// Whether a file has this digest, or is a link to what the tree has built.
pub(crate) fn is_ours(
    layout: &Layout,
    package: &PackageId,
    kernel: &KernelId,
    path: &Path,
    sha256: Option<&str>,
) -> Result<bool> {
    Ok(match Content::at(path)? {
        None => false,
        Some(Content::File { sha256: found, .. }) => Some(found.as_str()) == sha256,
        Some(Content::Link { target }) => {
            layout.host(target).starts_with(layout.version_dir(package))
                && files::look(&layout.module_dir(package, kernel))?.is_some_and(|found| found.is_dir())
        }
    })
}
