//! What a look at the state wants to know of a package for each of many kernels: a part of its [`Recipe`], which is
//! found out once for all kernels where that is certain to be right ([`super::common`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::common::{Common, is_plain};
use super::loader::read_file;
use super::overrides::OwnOverrides;
use super::recipe::RecipeInput;
use super::{ConfFile, ConfLoader, Recipe, Request};
use crate::error::Result;
use crate::host::kconfig::KernelConfig;
use crate::model::{KernelId, ModuleName, PackageId, PackageName};

/// Directives that an outline does not depend on: none of them can break a rule, either.
const NOT_NEEDED: [&str; 16] = [
    "POST_ADD",
    "POST_BUILD",
    "POST_INSTALL",
    "POST_REMOVE",
    "PRE_BUILD",
    "PRE_INSTALL",
    "MAKE",
    "MAKE_MATCH",
    "PATCH",
    "PATCH_MATCH",
    "CLEAN",
    "REMAKE_INITRD",
    "MODULES_CONF",
    "MODULES_CONF_OBSOLETES",
    "MODULES_CONF_ALIAS_TYPE",
    "MODULES_CONF_OBSOLETE_ONLY",
];

/// What decides whether a package is built for a kernel, and what that brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    /// AUTOINSTALL.
    pub(crate) autoinstall: bool,
    /// Why it is not for this kernel (BUILD_EXCLUSIVE_*).
    pub(crate) exclusion: Option<String>,
    /// Why this kernel no longer needs it (OBSOLETE_BY).
    pub(crate) obsolete: Option<String>,
    /// BUILD_DEPENDS.
    pub(crate) build_depends: Vec<PackageName>,
    /// BUILD_DEPENDS_REBUILD.
    pub(crate) build_depends_rebuild: bool,
    /// The modules it installs.
    pub(crate) modules: Vec<ModuleName>,
}

impl Outline {
    fn of(recipe: Recipe, kernel: &KernelId) -> Self {
        Self {
            obsolete: recipe.obsolete_reason(&kernel.release),
            modules: recipe.wanted().map(|m| m.dest_name.clone()).collect(),
            autoinstall: recipe.autoinstall,
            exclusion: recipe.exclusion,
            build_depends: recipe.build_depends,
            build_depends_rebuild: recipe.build_depends_rebuild,
        }
    }
}

/// The outlines of one package.
#[derive(Debug)]
pub(crate) struct Outlines<'a> {
    loader: &'a ConfLoader,
    source: &'a Path,
    package: &'a PackageId,
    overrides: &'a OwnOverrides<'a>,
    /// What holds for every kernel; the outer one is none while nobody has asked.
    common: Option<Option<Arc<Common>>>,
    /// The outline of every kernel, once it is known.
    same: Option<Outline>,
}

impl<'a> Outlines<'a> {
    /// Those of the package whose dkms.conf is in a folder.
    pub(crate) fn new(
        loader: &'a ConfLoader,
        source: &'a Path,
        package: &'a PackageId,
        overrides: &'a OwnOverrides<'a>,
    ) -> Self {
        Self { loader, source, package, overrides, common: None, same: None }
    }

    /// The folder that holds dkms.conf.
    pub(crate) fn source(&self) -> &'a Path {
        self.source
    }

    /// The one for a kernel: what [`ConfLoader::load`] says of it, strictly.
    ///
    /// # Errors
    /// As that.
    pub(crate) fn of(&mut self, kernel: &KernelId) -> Result<Outline> {
        if is_plain(kernel) && !self.overrides.some_for(self.loader.layout(), kernel) {
            if let Some(same) = &self.same {
                return Ok(same.clone());
            }
            if let Some(common) = self.common(kernel) {
                return self.by_common(&common, kernel);
            }
        }
        let package = Some(self.package);
        let request = Request { source: self.source, conf: None, package, kernel, strict: true, directives: &[] };
        self.loader.load(&request).map(|loaded| Outline::of(loaded.recipe, kernel))
    }

    fn by_common(&mut self, common: &Common, kernel: &KernelId) -> Result<Outline> {
        let config = common.values.0.contains_key("BUILD_EXCLUSIVE_CONFIG").then(|| self.loader.kernel_config(kernel));
        let recipe = Recipe::from_values(&RecipeInput {
            values: &common.values,
            kernel,
            config: config.as_ref().map_or(&KernelConfig::default(), |config| &config.config),
            layout: self.loader.layout(),
            path: &self.conf(),
            package: Some(self.package),
            strict: true,
        })?;
        let outline = Outline::of(recipe, kernel);
        if !common.values.0.keys().any(|name| name.starts_with("BUILD_EXCLUSIVE_") || name == "OBSOLETE_BY") {
            self.same = Some(outline.clone());
        }
        Ok(outline)
    }

    /// What holds for every kernel. Where that cannot be found out, asking for one kernel says why.
    fn common(&mut self, kernel: &KernelId) -> Option<Arc<Common>> {
        if self.common.is_none() {
            self.common = Some(self.find_common(kernel));
        }
        self.common.clone().flatten()
    }

    fn find_common(&self, kernel: &KernelId) -> Option<Arc<Common>> {
        let overrides = self.overrides.general(self.loader.layout());
        // Whatever else stands there may be nothing to wait for.
        let conf = Some(self.conf()).filter(|conf| conf.is_file())?;
        let paths = std::iter::once(conf).chain(overrides);
        let files: Vec<ConfFile> = paths.map(read_file).collect::<Result<_>>().ok()?;
        let common = self.loader.common(&files, self.package, kernel).ok()??;
        common.varying.iter().all(|name| NOT_NEEDED.contains(name)).then_some(common)
    }

    fn conf(&self) -> PathBuf {
        self.source.join("dkms.conf")
    }
}

#[cfg(test)]
#[path = "outline_tests.rs"]
mod tests;
