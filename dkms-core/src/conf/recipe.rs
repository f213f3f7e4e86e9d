//! From values to a validated description of one package for one kernel.

use serde::{Deserialize, Serialize};

use crate::model::{ModuleName, PackageId, PackageName};

/// One package for one kernel, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// PACKAGE_NAME and PACKAGE_VERSION.
    pub package: PackageId,
    /// Every module, by index; those excluded for this kernel say why.
    pub modules: Vec<ModuleRecipe>,
    /// The chosen MAKE line, with jobs and KERNELRELEASE not yet inserted; the default when no MAKE was given.
    pub make: String,
    /// The PATCH names that match this kernel, in order.
    pub patches: Vec<String>,
    /// PRE_BUILD: script and arguments.
    pub pre_build: Option<String>,
    /// POST_BUILD.
    pub post_build: Option<String>,
    /// POST_ADD.
    pub post_add: Option<String>,
    /// PRE_INSTALL.
    pub pre_install: Option<String>,
    /// POST_INSTALL.
    pub post_install: Option<String>,
    /// POST_REMOVE.
    pub post_remove: Option<String>,
    /// BUILD_DEPENDS.
    pub build_depends: Vec<PackageName>,
    /// BUILD_DEPENDS_REBUILD.
    pub build_depends_rebuild: bool,
    /// AUTOINSTALL.
    pub autoinstall: bool,
    /// NO_WEAK_MODULES.
    pub no_weak_modules: bool,
    /// OBSOLETE_BY, as written.
    pub obsolete_by: Option<String>,
    /// Why the whole package is excluded for this kernel, when it is (BUILD_EXCLUSIVE_*, all modules).
    pub exclusion: Option<String>,
    /// Deprecated directives and the like: one line each, with the directive and what to write instead.
    pub warnings: Vec<String>,
}

/// One module of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRecipe {
    /// BUILT_MODULE_NAME: the file make leaves, without `.ko`.
    pub built_name: ModuleName,
    /// BUILT_MODULE_LOCATION: folder below the build folder; empty for its top.
    pub built_location: String,
    /// DEST_MODULE_NAME: what it is installed as.
    pub dest_name: ModuleName,
    /// DEST_MODULE_LOCATION as written (the distribution's folder may replace it): begins with a slash.
    pub dest_location: String,
    /// STRIP.
    pub strip: bool,
    /// Why it is left out on this kernel, when it is.
    pub exclusion: Option<String>,
}

impl Recipe {
    /// The modules that are built for this kernel.
    pub fn wanted(&self) -> impl Iterator<Item = &ModuleRecipe> {
        self.modules.iter().filter(|m| m.exclusion.is_none())
    }
}
