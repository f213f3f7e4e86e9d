//! The second half of an install, and the way back from any point of it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::{Error, Result};
use crate::host::process::Owner;
use crate::install::intent::{Change, Content, Intent, Stage};
use crate::install::{RecoverAction, Recovered};
use crate::install::{due, find};
use crate::layout::Layout;
use crate::model::{Arch, KernelId, KernelRelease, PackageName};
use crate::tree::{BuiltModule, BuiltRecord, InstallRecord, Manifest, files, lock_install, lock_manifest};

/// Makes an install final, after depmod succeeded: the manifest says what was installed, and what was needed to undo it
/// goes. Does nothing when no install is under way.
///
/// A build that classic DKMS made gets a manifest here, with an empty fingerprint: it is not known what it was made from.
///
/// # Errors
/// When the install has not been placed whole, or the disk cannot be changed.
pub fn commit(layout: &Layout, name: &PackageName, kernel: &KernelId) -> Result<()> {
    let Some(intent) = Intent::read(layout, name, kernel)? else { return Ok(()) };
    if intent.stage != Stage::Placed {
        return Err(not_undone(layout, &intent, "it is not in place whole, so it cannot be made final".to_owned()));
    }
    {
        let _lock = lock_manifest(layout, &intent.package, kernel)?;
        let mut manifest = match Manifest::read(layout, &intent.package, kernel)? {
            Some(manifest) => manifest,
            None => adopt(layout, &intent)?,
        };
        manifest.installed = Some(intent.record.clone());
        manifest.write(layout)?;
    }
    if let Some(previous) = intent.previous.as_ref().filter(|previous| previous.package != intent.package) {
        let _lock = lock_manifest(layout, &previous.package, kernel)?;
        if let Some(mut manifest) = Manifest::read(layout, &previous.package, kernel)? {
            manifest.installed = None;
            manifest.write(layout)?;
        }
    }
    let kernel_folder = layout.kernel_folder(&kernel.release);
    for change in intent.changes.iter().filter(|change| change.after.is_none()) {
        let path = layout.host(&change.path);
        let folder = path.parent().unwrap_or(&path);
        // Folders of the kernel's own modules belong to its package.
        if folder.starts_with(&kernel_folder) && !folder.starts_with(kernel_folder.join("kernel")) {
            files::remove_empty(folder, &kernel_folder)?;
        }
    }
    files::remove(&layout.intent(name, kernel))?;
    files::remove_tree(&layout.undo_dir(name, kernel))
}

fn adopt(layout: &Layout, intent: &Intent) -> Result<Manifest> {
    let folder = layout.module_dir(&intent.package, &intent.kernel);
    let mut modules = Vec::new();
    for (file, _) in files::list(&folder)? {
        if let Some(file_name) = file.to_str().filter(|name| find::module_of(name).is_some()) {
            let sha256 = files::sha256_file(&folder.join(file_name))?;
            modules.push(BuiltModule { file_name: file_name.to_owned(), sha256 });
        }
    }
    let built = BuiltRecord { modules, ..BuiltRecord::default() };
    Ok(Manifest::new(intent.package.clone(), intent.kernel.clone(), built))
}

/// Puts everything back as it was before an install that is not final, wherever it stopped. Does nothing when none is
/// under way; can be repeated. A file that somebody else has changed meanwhile is left alone.
///
/// # Errors
/// When the disk cannot be changed, or a copy that is needed is not there: the intent record then stays.
pub fn undo(layout: &Layout, name: &PackageName, kernel: &KernelId) -> Result<()> {
    let Some(intent) = Intent::read(layout, name, kernel)? else {
        return sweep(layout, name, kernel);
    };
    // A kernel that was removed meanwhile must not come back to life as a folder with one old module.
    let kernel_folder = layout.kernel_folder(&kernel.release);
    let kernel_is_gone = !kernel_folder.is_dir();
    let mut outcome = Ok(());
    for (n, change) in intent.changes.iter().enumerate() {
        if kernel_is_gone && layout.host(&change.path).starts_with(&kernel_folder) {
            continue;
        }
        if let Err(e) = put_back(layout, &intent, n, change) {
            outcome = Err(e);
        }
    }
    outcome?;
    relink(layout, &intent)?;
    restore_records(layout, &intent)?;
    for folder in intent.folders.iter().rev() {
        let folder = layout.host(folder);
        files::remove_empty(&folder, folder.parent().unwrap_or(&folder))?;
    }
    files::remove_tree(&layout.undo_dir(name, kernel))?;
    files::remove(&layout.intent(name, kernel))?;
    sweep(layout, name, kernel)
}

fn put_back(layout: &Layout, intent: &Intent, n: usize, change: &Change) -> Result<()> {
    let path = layout.host(&change.path);
    remove_if_there(&files::beside(&path))?;
    let now = Content::at(&path)?;
    let same = |a: &Option<Content>, b: &Option<Content>| match (a, b) {
        (Some(a), Some(b)) => a.same(b),
        (None, None) => true,
        _ => false,
    };
    if same(&now, &change.before) {
        return Ok(());
    }
    if now.is_some() && !same(&now, &change.after) {
        tracing::warn!(path = %path.display(), "left alone: it was changed during the install that is undone");
        return Ok(());
    }
    match &change.before {
        None => files::remove(&path).map(drop),
        Some(Content::Link { target }) => {
            path.parent().map_or(Ok(Vec::new()), files::make_folders)?;
            files::link_atomic(target, &path)
        }
        Some(before @ Content::File { sha256, .. }) => {
            let copy = intent.copy(layout, n);
            if files::look(&copy)?.is_none() || files::sha256_file(&copy)? != *sha256 {
                return Err(not_undone(layout, intent, format!("the copy of {} is missing", change.path.display())));
            }
            path.parent().map_or(Ok(Vec::new()), files::make_folders)?;
            files::copy_atomic(&copy, &path, 0o644, before.attributes()).map(drop)
        }
    }
}

fn relink(layout: &Layout, intent: &Intent) -> Result<()> {
    let link = layout.installed_link(&intent.package.name, &intent.kernel);
    remove_if_there(&files::beside(&link))?;
    let now = Content::at(&link)?;
    match &intent.link_before {
        Some(target) if now.as_ref().is_some_and(|now| now.same(&Content::Link { target: target.clone() })) => Ok(()),
        Some(target) => files::link_atomic(target, &link),
        None if now.is_some() => files::remove(&link).map(drop),
        None => Ok(()),
    }
}

/// A commit that was interrupted may have written manifests already.
fn restore_records(layout: &Layout, intent: &Intent) -> Result<()> {
    let previous = intent.previous.as_ref();
    let before = previous.filter(|p| p.package == intent.package).and_then(|p| p.record.clone());
    let set = |package, wanted: Option<InstallRecord>| -> Result<()> {
        let _lock = lock_manifest(layout, package, &intent.kernel)?;
        remove_if_there(&files::beside(&layout.manifest(package, &intent.kernel)))?;
        match Manifest::read(layout, package, &intent.kernel)? {
            Some(mut manifest) if manifest.installed != wanted => {
                manifest.installed = wanted;
                manifest.write(layout)
            }
            _ => Ok(()),
        }
    };
    set(&intent.package, before)?;
    previous.filter(|p| p.package != intent.package).map_or(Ok(()), |p| set(&p.package, p.record.clone()))
}

/// What a stop before the intent record, or after its removal, leaves.
fn sweep(layout: &Layout, name: &PackageName, kernel: &KernelId) -> Result<()> {
    remove_if_there(&files::beside(&layout.intent(name, kernel)))?;
    remove_if_there(&files::beside(&layout.installed_link(name, kernel)))?;
    let copies = layout.undo_dir(name, kernel);
    if files::look(&copies)?.is_some() { files::remove_tree(&copies) } else { Ok(()) }
}

fn remove_if_there(path: &Path) -> Result<()> {
    if files::look(path)?.is_some() { files::remove(path).map(drop) } else { Ok(()) }
}

fn not_undone(layout: &Layout, intent: &Intent, why: String) -> Error {
    Error::NotUndone {
        package: intent.package.name.clone(),
        kernel: intent.kernel.clone(),
        why,
        copies: layout.undo_dir(&intent.package.name, &intent.kernel),
    }
}

/// Ends every install that a crash or a power cut interrupted: one that was not placed whole is undone, one that was is
/// reported, so that the caller runs depmod and then [`commit`]. Takes each kernel's lock, so that an install that is
/// under way in another process is waited for and not disturbed. One that is in place and that another living process
/// than `us` goes on with is passed over.
///
/// # Errors
/// When the tree is there and cannot be read. What concerns one install only is logged and reported.
pub fn recover(layout: &Layout, us: Option<&Owner>) -> Result<Vec<Recovered>> {
    let mut recovered = Vec::new();
    for (name, kernel) in traces(layout)? {
        match recover_one(layout, &name, &kernel, us) {
            Ok(one) => recovered.extend(one),
            Err(e) => tracing::error!(package = %name, kernel = %kernel, "{e}"),
        }
    }
    Ok(recovered)
}

/// The packages whose installs on a kernel are in place and await [`commit`], in order of name.
///
/// # Errors
/// When the tree is there and cannot be read.
pub fn awaiting(layout: &Layout, kernel: &KernelId) -> Result<Vec<PackageName>> {
    let traces = traces(layout)?.into_iter().filter(|(_, of)| of == kernel);
    let placed =
        |name: &PackageName| matches!(Intent::read(layout, name, kernel), Ok(Some(i)) if i.stage == Stage::Placed);
    Ok(traces.map(|(name, _)| name).filter(placed).collect())
}

/// What installs that are under way, or were cut short, have left in the tree.
fn traces(layout: &Layout) -> Result<BTreeSet<(PackageName, KernelId)>> {
    let mut found = BTreeSet::new();
    for (name, kind) in files::list(&layout.dkms_tree())? {
        let Some(name) = name.to_str().filter(|_| kind.is_dir()).and_then(|n| PackageName::new(n).ok()) else {
            continue;
        };
        match files::list(&layout.package_dir(&name)) {
            Ok(names) => found.extend(
                names.iter().filter_map(|(file, _)| interrupted(file.to_str()?)).map(|kernel| (name.clone(), kernel)),
            ),
            Err(e) => tracing::warn!(package = %name, "passed over: {e}"),
        }
    }
    Ok(found)
}

/// The kernel that a file or folder of an install under way is about. No architecture has a dash in its name.
fn interrupted(file: &str) -> Option<KernelId> {
    let middle = file
        .strip_prefix(".dkmsd-intent-")
        .and_then(|rest| rest.strip_suffix(".json"))
        .or_else(|| file.strip_prefix(".dkmsd-undo-"))
        .or_else(|| file.strip_prefix("..dkmsd-intent-").and_then(|rest| rest.strip_suffix(".json.dkmsd-new")))
        .or_else(|| file.strip_prefix(".kernel-").and_then(|rest| rest.strip_suffix(".dkmsd-new")))?;
    let (release, arch) = middle.rsplit_once('-')?;
    Some(KernelId { release: KernelRelease::new(release).ok()?, arch: Arch::new(arch).ok()? })
}

fn recover_one(
    layout: &Layout,
    name: &PackageName,
    kernel: &KernelId,
    us: Option<&Owner>,
) -> Result<Option<Recovered>> {
    // Nobody else need be waited for then.
    let theirs = |intent: &Intent| intent.stage == Stage::Placed && !due::is_left(intent.owner.as_ref(), us);
    if Intent::read(layout, name, kernel)?.is_some_and(|intent| theirs(&intent)) {
        return Ok(None);
    }
    let _lock = lock_install(layout, &kernel.release, &mut |holder| {
        tracing::info!(package = %name, kernel = %kernel, "an install is not finished; waiting for {holder}");
    })?;
    let Some(intent) = Intent::read(layout, name, kernel)? else {
        sweep(layout, name, kernel)?;
        return Ok(None);
    };
    if theirs(&intent) {
        return Ok(None);
    }
    // Whoever was changing files had the lock: that one is dead, or has given up.
    let action = if intent.stage == Stage::Placed {
        RecoverAction::AwaitsDepmod
    } else {
        match undo(layout, name, kernel) {
            Ok(()) => RecoverAction::Undone,
            Err(e) => RecoverAction::Failed { why: e.to_string() },
        }
    };
    Ok(Some(Recovered { package: intent.package, kernel: kernel.clone(), action }))
}
