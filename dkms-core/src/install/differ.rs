//! Whether what was built and what is installed are still the same (dkms-contract.md §2, the suffixes of status lines).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::conf::Recipe;
use crate::error::{IoContext, Result};
use crate::install::find;
use crate::install::plan::folder_below;
use crate::layout::Layout;
use crate::model::{KernelId, ModuleName, PackageId};
use crate::tree::{InstallRecord, files};

/// What is wrong with an installed package's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The tree has lost a built module.
    BuiltMissing,
    /// An installed module is missing or has other bytes than the built one.
    Differs,
}

/// Compares the modules that are built in the tree with those in the kernel's folder; the first difference decides.
///
/// Where a module is installed is what `record` says, else what the classic rules say: the distribution's folder
/// (`modules_folder`, as in [`crate::install::Target`]), else DEST_MODULE_LOCATION. Without record and recipe, the
/// modules are those in the tree.
///
/// # Errors
/// When something that is there cannot be read.
pub fn difference(
    layout: &Layout,
    package: &PackageId,
    kernel: &KernelId,
    record: Option<&InstallRecord>,
    recipe: Option<&Recipe>,
    modules_folder: Option<&str>,
) -> Result<Option<Difference>> {
    let tree = layout.module_dir(package, kernel);
    let kernel_folder = layout.kernel_folder(&kernel.release);
    // Each module, with the places where it may be installed.
    let mut modules = BTreeMap::<ModuleName, Vec<PathBuf>>::new();
    let in_folder = |below: &str, module: &ModuleName| -> Result<Vec<PathBuf>> {
        folder_below(&kernel_folder, below).map_or(Ok(Vec::new()), |folder| find::in_folder(&folder, module))
    };
    if let Some(record) = record {
        modules.extend(record.files.iter().map(|file| (file.module.clone(), vec![layout.host(&file.path)])));
    } else if let Some(recipe) = recipe {
        for module in recipe.wanted() {
            let mut places = Vec::new();
            for below in modules_folder.into_iter().chain([module.dest_location.as_str()]) {
                places.extend(in_folder(below, &module.dest_name)?);
            }
            modules.insert(module.dest_name.clone(), places);
        }
    } else {
        for (name, _) in files::list(&tree)? {
            let module = name.to_str().and_then(find::module_of).and_then(|name| ModuleName::new(name).ok());
            if let Some(module) = module {
                let places = modules_folder.map_or(Ok(Vec::new()), |below| in_folder(below, &module))?;
                modules.insert(module, places);
            }
        }
    }
    for (module, places) in modules {
        let Some(built) = find::in_folder(&tree, &module)?.into_iter().next() else {
            return Ok(Some(Difference::BuiltMissing));
        };
        let installed = places.into_iter().find(|place| place.symlink_metadata().is_ok());
        if !installed.map_or(Ok(false), |installed| same(layout, &built, &installed))? {
            return Ok(Some(Difference::Differs));
        }
    }
    Ok(None)
}

fn same(layout: &Layout, built: &Path, installed: &Path) -> Result<bool> {
    if files::look(installed)?.is_some_and(|found| found.is_symlink()) {
        let target = std::fs::read_link(installed).at("read the link", installed)?;
        return Ok(layout.host(target) == built);
    }
    let mut readers = Vec::new();
    let mut sizes = Vec::new();
    for path in [built, installed] {
        let file = File::open(path).at("read", path)?;
        sizes.push(file.metadata().at("look at", path)?.len());
        readers.push(BufReader::with_capacity(64 * 1024, file));
    }
    let ([a, b], [x, y]) = (readers.as_mut_slice(), sizes.as_slice()) else { return Ok(false) };
    if x != y {
        return Ok(false);
    }
    loop {
        let (left, right) = (a.fill_buf().at("read", built)?, b.fill_buf().at("read", installed)?);
        let n = left.len().min(right.len());
        if n == 0 {
            return Ok(left.len() == right.len());
        }
        if left.get(..n) != right.get(..n) {
            return Ok(false);
        }
        a.consume(n);
        b.consume(n);
    }
}
