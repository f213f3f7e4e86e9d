//! BUILD_DEPENDS_REBUILD: with which versions of its dependencies a package was built, and who has to be built anew after
//! another version was installed (dkms-contract.md §1 and §3).

use super::Engine;
use crate::conf::Recipe;
use crate::error::Result;
use crate::model::{KernelId, PackageId, PackageName, PackageVersion};
use crate::observe;
use crate::tree::{self, files};

impl Engine {
    /// The packages installed on a kernel that were built, with BUILD_DEPENDS_REBUILD, against another version of `package`
    /// than this one, in order of name. Each is built anew by installing it with an [`super::Order`] that has neither
    /// `force` nor `keep_built`. Where the daemon plans, their fingerprints say so already.
    ///
    /// # Errors
    /// When the tree or a record in it cannot be read.
    pub fn dependents_to_rebuild(&self, package: &PackageId, kernel: &KernelId) -> Result<Vec<PackageId>> {
        let mut dependents = Vec::new();
        for other in tree::scan(&self.layout)? {
            let installed = other.entries.iter().any(|entry| entry.kernel == *kernel && entry.installed);
            if installed
                && self.built_with(&other.id, kernel, &package.name)?.is_some_and(|v| v != package.version.as_str())
            {
                dependents.push(other.id);
            }
        }
        Ok(dependents)
    }

    /// Which version a package that is built depends on by now, where it is another than it was built with.
    pub(super) fn dependency_changed(
        &self,
        package: &PackageId,
        recipe: &Recipe,
        kernel: &KernelId,
    ) -> Result<Option<String>> {
        for (name, version) in self.dependencies_now(recipe, kernel) {
            if let Some(then) = self.built_with(package, kernel, &name)?.filter(|then| then != version.as_str()) {
                return Ok(Some(format!("dependency {name} {then} → {version}")));
            }
        }
        Ok(None)
    }

    /// The versions that are installed of what a package asks to be rebuilt for.
    pub(super) fn dependencies_now(&self, recipe: &Recipe, kernel: &KernelId) -> Vec<(PackageName, PackageVersion)> {
        if !recipe.build_depends_rebuild {
            return Vec::new();
        }
        let packages = tree::scan(&self.layout).unwrap_or_default();
        let mut versions = observe::installed_versions(&packages);
        let version = |name: &PackageName| Some((name.clone(), versions.remove(&(name.clone(), kernel.clone()))?));
        recipe.build_depends.iter().filter_map(version).collect()
    }

    /// Writes down what a build was made with.
    pub(super) fn record_dependencies(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        dependencies: &[(PackageName, PackageVersion)],
    ) -> Result<()> {
        for (name, version) in dependencies {
            let record = self.layout.dependency_record(package, kernel, name);
            files::write_atomic(&record, format!("{version}\n").as_bytes(), 0o644)?;
        }
        Ok(())
    }

    fn built_with(&self, package: &PackageId, kernel: &KernelId, dependency: &PackageName) -> Result<Option<String>> {
        let record = files::read(&self.layout.dependency_record(package, kernel, dependency))?;
        Ok(record.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }
}
