//! The way out: removes what an install put in place, and puts back what it displaced.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::conf::Recipe;
use crate::error::{IoContext, Result};
use crate::host::process::Owner;
use crate::install::find::{self, KernelModules};
use crate::install::intent::Content;
use crate::install::plan::{folder_below, is_ours, owned};
use crate::install::{Withdrawn, due, originals, owner, undo};
use crate::layout::Layout;
use crate::model::{KernelId, ModuleName, PackageId};
use crate::tree::{InstallRecord, Manifest, files, link_target, lock_manifest};

/// Uninstalls a package from a kernel. What was built stays, and so does the work of depmod for the caller.
///
/// Removes the files in the manifest that are still ours, and keeps a copy of those that somebody changed since; without a
/// manifest, those that the classic rules name (`recipe` and `modules_folder`, as in [`crate::install::Target`], serve only
/// there). The kernel's folder may be gone. `owner`: who sees to depmod afterwards.
///
/// The mark that depmod is due comes first and the link goes last, so that after a stop at any instant it can be called
/// again.
///
/// # Errors
/// When the disk cannot be read or changed.
pub fn withdraw(
    layout: &Layout,
    package: &PackageId,
    kernel: &KernelId,
    recipe: Option<&Recipe>,
    modules_folder: Option<&str>,
    owner: Option<&Owner>,
) -> Result<Withdrawn> {
    let link = layout.installed_link(&package.name, kernel);
    if installed(&link, package, kernel)? || files::look(&layout.intent(&package.name, kernel))?.is_some() {
        due::mark(layout, &kernel.release, owner)?;
    }
    undo(layout, &package.name, kernel)?;
    let _lock = lock_manifest(layout, package, kernel)?;
    let mut manifest = Manifest::read(layout, package, kernel)?;
    let mut done = Withdrawn::default();
    if installed(&link, package, kernel)? {
        done.was_installed = true;
        let record = manifest.as_ref().and_then(|manifest| manifest.installed.as_ref());
        let way = Way { layout, package, kernel, recipe, modules_folder };
        let ours = way.ours(record, &mut done)?;
        way.restore(&ours, record, &mut done)?;
        way.remove(&ours, record, &mut done)?;
        originals::drop_folder(layout, &package.name, kernel)?;
        files::remove(&link)?;
    }
    if let Some(manifest) = manifest.as_mut().filter(|manifest| manifest.installed.is_some()) {
        manifest.installed = None;
        manifest.write(layout)?;
    }
    Ok(done)
}

fn installed(link: &Path, package: &PackageId, kernel: &KernelId) -> Result<bool> {
    if !files::look(link)?.is_some_and(|found| found.file_type().is_symlink()) {
        return Ok(false);
    }
    let target = std::fs::read_link(link).at("read the link", link)?;
    Ok(link_target(&target).is_some_and(|(version, from)| version == package.version && from == *kernel))
}

struct Way<'a> {
    layout: &'a Layout,
    package: &'a PackageId,
    kernel: &'a KernelId,
    recipe: Option<&'a Recipe>,
    modules_folder: Option<&'a str>,
}

impl Way<'_> {
    /// The files to remove, and notes on those that look like ours and are not.
    fn ours(&self, record: Option<&InstallRecord>, done: &mut Withdrawn) -> Result<BTreeSet<PathBuf>> {
        let kernel_folder = self.layout.kernel_folder(&self.kernel.release);
        let modules = if record.is_none() { KernelModules::below(&kernel_folder)? } else { KernelModules::default() };
        let mut ours = owned(self.layout, self.package, self.kernel, record, &modules)?;
        if let Some(record) = record {
            for file in &record.files {
                let path = self.layout.host(&file.path);
                if ours.contains(&path) {
                    // Of the same bytes, it may be another's as well.
                    if let Some(other) = owner::other_owner(self.layout, self.package, self.kernel, &path)? {
                        ours.remove(&path);
                        done.kept.push((file.path.clone(), format!("it is {other}'s by now")));
                    }
                    continue;
                }
                match Content::at(&path)? {
                    None => {}
                    Some(found) => match self.keep_copy(&path, &found)? {
                        Ok(copy) => {
                            done.copied.push((file.path.clone(), copy));
                            ours.insert(path);
                        }
                        Err(why) => done.kept.push((file.path.clone(), why)),
                    },
                }
            }
            return Ok(ours);
        }
        let kept = originals::kept(self.layout, &self.package.name, self.kernel)?;
        let displaced: BTreeSet<_> = kept.into_iter().filter_map(|kept| kept.origin).collect();
        for (module, location) in self.modules()? {
            let classic = self.modules_folder.into_iter().chain(location.as_deref());
            for folder in classic.filter_map(|below| folder_below(&kernel_folder, below)) {
                let found = find::in_folder(&folder, &module)?;
                let among_kernels = folder.starts_with(kernel_folder.join("kernel"));
                for path in found.iter().filter(|path| !ours.contains(*path)).cloned().collect::<Vec<_>>() {
                    let displaced_one = displaced.contains(&self.layout.inside(&path));
                    if among_kernels && !displaced_one {
                        let why = "it is not what was built, and may be the kernel's own".to_owned();
                        done.kept.push((self.layout.inside(&path), why));
                    } else {
                        ours.insert(path);
                    }
                }
                if !found.is_empty() {
                    break;
                }
            }
        }
        Ok(ours)
    }

    /// Keeps what somebody put in the place of an installed file; its copy, or why it has to stay.
    fn keep_copy(&self, path: &Path, found: &Content) -> Result<std::result::Result<PathBuf, String>> {
        let kernel_folder = self.layout.kernel_folder(&self.kernel.release);
        if path.starts_with(kernel_folder.join("kernel")) {
            return Ok(Err("it is not the file that was installed, and may be the kernel's own".to_owned()));
        }
        let Content::File { sha256, .. } = found else {
            return Ok(Err("it is a link, and not the file that was installed".to_owned()));
        };
        if let Some(other) = owner::other_owner(self.layout, self.package, self.kernel, path)? {
            return Ok(Err(format!("it is {other}'s by now")));
        }
        let folder = self.layout.displaced_dir(self.package, self.kernel);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", sha256.get(..12).unwrap_or(sha256)));
        let copy = folder.join(name);
        let kept =
            files::make_folders(&folder).and_then(|_| files::copy_atomic(path, &copy, 0o644, found.attributes()));
        Ok(match kept {
            Ok(_) => Ok(copy),
            Err(error) => Err(format!("it is not the file that was installed, and no copy could be kept: {error}")),
        })
    }

    /// The package's modules with their DEST_MODULE_LOCATION, as far as they are known.
    fn modules(&self) -> Result<Vec<(ModuleName, Option<String>)>> {
        if let Some(recipe) = self.recipe {
            return Ok(recipe.modules.iter().map(|m| (m.dest_name.clone(), Some(m.dest_location.clone()))).collect());
        }
        let built = files::list(&self.layout.module_dir(self.package, self.kernel))?;
        let names = built.iter().filter_map(|(name, _)| ModuleName::new(find::module_of(name.to_str()?)?).ok());
        Ok(names.map(|name| (name, None)).collect())
    }

    /// Puts the originals back. One whose place was taken by a newer module, as when the kernel's package was upgraded,
    /// or whose kernel is gone, is dropped; and so is another package's that is not installed any more.
    fn restore(&self, ours: &BTreeSet<PathBuf>, record: Option<&InstallRecord>, done: &mut Withdrawn) -> Result<()> {
        let others = record.map_or(&[][..], |record| &record.displaced);
        let kernel_folder = self.layout.kernel_folder(&self.kernel.release);
        let kernel_is_gone = !["kernel", "modules.builtin"].iter().any(|name| kernel_folder.join(name).exists());
        for kept in originals::kept(self.layout, &self.package.name, self.kernel)? {
            let Some(origin) = kept.origin.clone().or_else(|| self.likely_origin(&kept.file)) else {
                if kernel_is_gone {
                    originals::drop_kept(&kept.file)?;
                } else {
                    let why = "nothing says where this original module belongs".to_owned();
                    done.kept.push((self.layout.inside(&kept.file), why));
                }
                continue;
            };
            let place = self.layout.host(&origin);
            let taken = files::look(&place)?.is_some() && !self.is_ours(ours, &place)?;
            let other = others.iter().find(|other| other.origin == origin).map(|other| &other.package);
            let unwanted = match other {
                Some(other) => !owner::still_installs(self.layout, other, self.kernel, &origin)?,
                None => false,
            };
            if !taken && !unwanted && (!kernel_is_gone || place.parent().is_some_and(Path::is_dir)) {
                originals::put_back(&kept.file, &place)?;
                done.restored.push(origin);
            }
            originals::drop_kept(&kept.file)?;
        }
        Ok(())
    }

    fn is_ours(&self, ours: &BTreeSet<PathBuf>, place: &Path) -> Result<bool> {
        Ok(ours.contains(place) || is_ours(self.layout, self.package, self.kernel, place, None)?)
    }

    /// Where an original belongs that an older tool kept without saying so: where the kernel's package has it, by the list
    /// that comes with it; else DEST_MODULE_LOCATION.
    fn likely_origin(&self, kept: &Path) -> Option<PathBuf> {
        let file = kept.file_name()?;
        let module = find::module_of(file.to_str()?)?;
        let kernel_folder = self.layout.kernel_folder(&self.kernel.release);
        let order = files::read(&kernel_folder.join("modules.order")).ok().flatten().unwrap_or_default();
        let order = String::from_utf8_lossy(&order);
        let listed = order.lines().filter_map(|line| line.rsplit_once('/'));
        let below = listed.filter(|(_, name)| find::module_of(name) == Some(module)).map(|(folder, _)| folder).next();
        let below = match below {
            Some(below) => below,
            None => &self.recipe?.modules.iter().find(|m| m.dest_name.as_str() == module)?.dest_location,
        };
        Some(self.layout.inside(&folder_below(&kernel_folder, below)?.join(file)))
    }

    /// Removes the files, then the folders that are left empty, also where an earlier call came only that far.
    fn remove(&self, ours: &BTreeSet<PathBuf>, record: Option<&InstallRecord>, done: &mut Withdrawn) -> Result<()> {
        for path in ours {
            let inside = self.layout.inside(path);
            if !done.restored.contains(&inside) && files::remove(path)? {
                done.removed.push(inside);
            }
        }
        let kernel_folder = self.layout.kernel_folder(&self.kernel.release);
        let recorded = record.iter().flat_map(|record| &record.files).map(|file| self.layout.host(&file.path));
        let files = recorded.chain(ours.iter().cloned());
        let mut folders: BTreeSet<_> = files.filter_map(|path| path.parent().map(Path::to_owned)).collect();
        folders.extend(self.modules_folder.and_then(|below| folder_below(&kernel_folder, below)));
        folders.iter().try_for_each(|folder| files::remove_empty(folder, &kernel_folder))
    }
}
