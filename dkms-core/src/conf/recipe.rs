//! From values to a validated description of one package for one kernel.

mod build;
mod exclusive;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::values::Values;
use super::version;
use crate::error::{Error, Result};
use crate::host::kconfig::KernelConfig;
use crate::layout::Layout;
use crate::model::{KernelId, KernelRelease, ModuleName, PackageId, PackageName};

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

/// What a recipe is made from.
#[derive(Debug, Clone, Copy)]
pub struct RecipeInput<'a> {
    /// The values of dkms.conf and its overrides.
    pub values: &'a Values,
    /// The kernel it is for.
    pub kernel: &'a KernelId,
    /// That kernel's configuration; empty without a path when its headers are not there.
    pub config: &'a KernelConfig,
    /// Where the trees are.
    pub layout: &'a Layout,
    /// dkms.conf itself, for errors.
    pub path: &'a Path,
    /// Which package it should be.
    pub package: Option<&'a PackageId>,
    /// Whether a broken rule is an error, or is read around and becomes a warning.
    pub strict: bool,
}

impl Recipe {
    /// Checks every rule of dkms-contract.md §3.
    ///
    /// # Errors
    /// Strict: all the rules that are broken, each with directive, index and what to write instead. Lenient: only when
    /// nothing says which package it is.
    pub fn from_values(input: &RecipeInput<'_>) -> Result<Self> {
        let mut check = Check::new(input);
        let package = check.package();
        let modules = match &package {
            Some(package) => check.modules(package),
            None => Vec::new(),
        };
        let obsolete_by = check.text("OBSOLETE_BY");
        let (modules, exclusion) = check.exclusions(modules, obsolete_by.as_deref());
        let make = check.make(package.as_ref());
        let patches = check.patches();
        let build_depends = check.build_depends();
        let autoinstall = check.yes("AUTOINSTALL");
        let build_depends_rebuild = check.yes("BUILD_DEPENDS_REBUILD");
        let no_weak_modules = check.yes("NO_WEAK_MODULES");
        check.deprecated();
        let bad = |problems| Error::BadConf { path: input.path.to_owned(), problems };
        let Some(package) = package else { return Err(bad(check.problems)) };
        if input.strict && !check.problems.is_empty() {
            return Err(bad(check.problems));
        }
        let mut warnings = check.warnings;
        warnings.extend(check.problems);
        let text = |name| text(input.values, name);
        Ok(Self {
            package,
            modules,
            make,
            patches,
            pre_build: text("PRE_BUILD"),
            post_build: text("POST_BUILD"),
            post_add: text("POST_ADD"),
            pre_install: text("PRE_INSTALL"),
            post_install: text("POST_INSTALL"),
            post_remove: text("POST_REMOVE"),
            build_depends,
            build_depends_rebuild,
            autoinstall,
            no_weak_modules,
            obsolete_by,
            exclusion,
            warnings,
        })
    }

    /// The modules that are built for this kernel.
    pub fn wanted(&self) -> impl Iterator<Item = &ModuleRecipe> {
        self.modules.iter().filter(|m| m.exclusion.is_none())
    }

    /// Why a kernel no longer needs this package: it is at or past OBSOLETE_BY, `VERSION[-ABI]`. Asked at install time,
    /// where force may overrule it.
    #[must_use]
    pub fn obsolete_reason(&self, kernel: &KernelRelease) -> Option<String> {
        let bound = self.obsolete_by.as_deref()?;
        let (bound_version, bound_abi) = bound.split_once('-').map_or((bound, None), |(v, a)| (v, Some(a)));
        let mut parts = kernel.as_str().splitn(3, '-');
        let (version, abi) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let past = match version::compare(version, bound_version) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => bound_abi.is_none_or(|b| version::compare(abi, b).is_ge()),
        };
        past.then(|| format!("OBSOLETE_BY={bound}: kernel {kernel} has this driver itself"))
    }
}

/// A directive's text; none when it is unset or empty.
fn text(values: &Values, name: &str) -> Option<String> {
    values.scalar(name).filter(|t| !t.is_empty()).map(str::to_owned)
}

/// The rules, and which of them were broken.
struct Check<'a> {
    input: &'a RecipeInput<'a>,
    values: &'a Values,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Check<'a> {
    fn new(input: &'a RecipeInput<'a>) -> Self {
        Self { input, values: input.values, problems: Vec::new(), warnings: Vec::new() }
    }

    fn text(&self, name: &str) -> Option<String> {
        text(self.values, name)
    }

    /// Which package it is; none when nothing says so, which is a problem by then.
    fn package(&mut self) -> Option<PackageId> {
        let asked = self.input.package;
        let (name, version) = (self.text("PACKAGE_NAME"), self.text("PACKAGE_VERSION"));
        for (directive, value) in [("PACKAGE_NAME", &name), ("PACKAGE_VERSION", &version)] {
            if value.is_none() {
                self.problems.push(format!("{directive} is missing; write {directive}=\"…\""));
            }
        }
        let (Some(name), Some(version)) = (name, version) else { return asked.cloned() };
        let said = match PackageId::new(&name, &version) {
            Ok(said) => said,
            Err(why) => {
                self.problems.push(format!("PACKAGE_NAME and PACKAGE_VERSION become folder names: {why}"));
                return asked.cloned();
            }
        };
        match asked {
            Some(asked) if *asked != said => {
                self.problems.push(format!(
                    "it calls itself {said}, and {asked} was asked for; make PACKAGE_NAME and PACKAGE_VERSION agree with that"
                ));
                Some(asked.clone())
            }
            _ => Some(said),
        }
    }

    /// A yes/no directive.
    fn yes(&mut self, name: &str) -> bool {
        let Some(value) = self.text(name) else { return false };
        if value.eq_ignore_ascii_case("yes") {
            return true;
        }
        if !value.eq_ignore_ascii_case("no") {
            self.problems
                .push(format!("{name}=\"{value}\" is neither yes nor no; write {name}=\"yes\" or leave it out"));
        }
        false
    }

    fn deprecated(&mut self) {
        if let Some(clean) = self.text("CLEAN")
            && clean != "true"
        {
            self.warnings
                .push("CLEAN is deprecated and does nothing: every build has a fresh folder; leave it out".to_owned());
        }
        if self.text("OBSOLETE_BY").is_some() {
            self.warnings.push("OBSOLETE_BY is deprecated; write BUILD_EXCLUSIVE_KERNEL_MAX".to_owned());
        }
        if self.text("REMAKE_INITRD").is_some() {
            self.warnings.push("REMAKE_INITRD is deprecated and does nothing; leave it out".to_owned());
        }
        let conf = self.values.0.keys().find(|name| name.starts_with("MODULES_CONF")).cloned();
        if let Some(name) = conf {
            self.warnings
                .push(format!("{name} is deprecated and does nothing; ship a file for /etc/modprobe.d instead"));
        }
    }
}

#[cfg(test)]
mod tests;
