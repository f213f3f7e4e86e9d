//! BUILD_EXCLUSIVE_*: which kernels a package, or one module of it, is for. Index 0 binds all modules, index i also
//! module i.

use super::{Check, ModuleRecipe};
use crate::conf::version;

impl Check<'_> {
    /// Marks the modules that are not for this kernel, and says why when none is left.
    pub(super) fn exclusions(
        &mut self,
        modules: Vec<(u32, ModuleRecipe)>,
        obsolete_by: Option<&str>,
    ) -> (Vec<ModuleRecipe>, Option<String>) {
        let all = self.excluded_at(0, obsolete_by);
        let judge = |(i, mut module): (u32, ModuleRecipe)| {
            module.exclusion = match (&all, i) {
                (Some(reason), _) => Some(reason.clone()),
                (None, 1..) => self.excluded_at(i, None),
                (None, 0) => None,
            };
            module
        };
        let modules: Vec<_> = modules.into_iter().map(judge).collect();
        let none_left = !modules.is_empty() && modules.iter().all(|m| m.exclusion.is_some());
        let exclusion = all.or_else(|| modules.first().and_then(|m| m.exclusion.clone()).filter(|_| none_left));
        (modules, exclusion)
    }

    fn excluded_at(&mut self, i: u32, obsolete_by: Option<&str>) -> Option<String> {
        let kernel = self.input.kernel;
        let release = kernel.release.as_str();
        let set = |name: &str| self.values.at(name, i).filter(|t| !t.is_empty());
        let (pattern, arch) = (set("BUILD_EXCLUSIVE_KERNEL"), set("BUILD_EXCLUSIVE_ARCH"));
        let (min, max) = (set("BUILD_EXCLUSIVE_KERNEL_MIN"), set("BUILD_EXCLUSIVE_KERNEL_MAX"));
        let config = set("BUILD_EXCLUSIVE_CONFIG");
        let max = match max {
            Some(max) => Some((format!("BUILD_EXCLUSIVE_KERNEL_MAX[{i}]"), max)),
            None => obsolete_by.map(|max| ("OBSOLETE_BY".to_owned(), max)),
        };

        if let Some(pattern) = pattern {
            let directive = format!("BUILD_EXCLUSIVE_KERNEL[{i}]");
            if !self.hits(&directive, pattern, release) {
                return Some(format!("{directive}=\"{pattern}\" does not match kernel {release}"));
            }
        }
        if let Some(min) = min
            && version::compare(release, min).is_lt()
        {
            return Some(format!("BUILD_EXCLUSIVE_KERNEL_MIN[{i}]=\"{min}\": kernel {release} is older"));
        }
        if let Some((directive, max)) = max
            && version::compare(release, max).is_gt()
        {
            return Some(format!("{directive}=\"{max}\": kernel {release} is newer"));
        }
        if let Some(pattern) = arch {
            let directive = format!("BUILD_EXCLUSIVE_ARCH[{i}]");
            if !self.hits(&directive, pattern, kernel.arch.as_str()) {
                return Some(format!("{directive}=\"{pattern}\" does not match {}", kernel.arch));
            }
        }
        config.and_then(|words| self.config_excludes(i, words))
    }

    /// Without the kernel's configuration nothing is excluded: its headers are what is missing then.
    fn config_excludes(&self, i: u32, words: &str) -> Option<String> {
        self.input.config.path.as_ref()?;
        words.split_whitespace().find_map(|word| {
            let (name, wanted) = word.strip_prefix('!').map_or((word, true), |name| (name, false));
            (self.input.config.enabled(name) != wanted).then(|| {
                let is = if wanted { "does not have" } else { "has" };
                format!("BUILD_EXCLUSIVE_CONFIG[{i}]=\"{words}\": kernel {} {is} {name}", self.input.kernel.release)
            })
        })
    }
}
