//! The rules about modules and about what is run to build them.

use std::collections::HashMap;

use super::{Check, ModuleRecipe};
use crate::conf::ere;
use crate::model::{ModuleName, PackageId, PackageName};

/// The most modules a package may have; a stray huge index is refused, not walked.
const MAX_MODULES: u32 = 4096;

impl Check<'_> {
    /// Every module, by index. The highest index of the four directives decides how many there are.
    pub(super) fn modules(&mut self, package: &PackageId) -> Vec<(u32, ModuleRecipe)> {
        let highest = ["BUILT_MODULE_NAME", "BUILT_MODULE_LOCATION", "DEST_MODULE_NAME", "DEST_MODULE_LOCATION"]
            .into_iter()
            .filter_map(|name| self.values.elements(name).last().map(|(i, _)| (i, name)))
            .max();
        let Some((highest, name)) = highest else {
            self.warnings.push(
                "it names no module, so nothing is installed; write BUILT_MODULE_NAME[0] and DEST_MODULE_LOCATION[0]"
                    .to_owned(),
            );
            return Vec::new();
        };
        if highest >= MAX_MODULES {
            self.problems.push(format!("{name}[{highest}]: more than {MAX_MODULES} modules; number them from 0"));
            return Vec::new();
        }
        let modules = (0..=highest).filter_map(|i| self.module(package, i, highest == 0)).collect::<Vec<_>>();
        self.duplicates(&modules);
        modules
    }

    fn module(&mut self, package: &PackageId, i: u32, single: bool) -> Option<(u32, ModuleRecipe)> {
        let set = |name: &str| self.values.at(name, i).filter(|t| !t.is_empty());
        let (built, dest) = (set("BUILT_MODULE_NAME"), set("DEST_MODULE_NAME"));
        let (built_at, dest_at) = (set("BUILT_MODULE_LOCATION"), set("DEST_MODULE_LOCATION"));
        let strip = set("STRIP").or_else(|| self.values.at("STRIP", 0)).unwrap_or_default();
        let strip = !strip.eq_ignore_ascii_case("no");

        // A folder in the name is one below the location: some old packages write it so.
        let (built_folder, built) = match built.map(|name| name.rsplit_once('/').unwrap_or(("", name))) {
            Some((folder, name)) => (folder, Some(name)),
            None => ("", None),
        };
        let built_name = match built {
            Some(name) => self.module_name("BUILT_MODULE_NAME", i, name),
            None if single => self.module_name("PACKAGE_NAME", i, package.name.as_str()),
            None => {
                self.problems.push(format!("BUILT_MODULE_NAME[{i}] is missing; write the module's name without .ko"));
                None
            }
        };
        let dest_name = match dest {
            Some(name) => self.module_name("DEST_MODULE_NAME", i, name),
            None => built_name.clone(),
        };
        let built_location = self.below_build(i, &format!("{}/{built_folder}", built_at.unwrap_or_default()));
        let dest_location = self.destination(i, dest_at.unwrap_or_default());
        let (built_name, dest_name) = (built_name?, dest_name?);
        Some((i, ModuleRecipe { built_name, built_location, dest_name, dest_location, strip, exclusion: None }))
    }

    fn module_name(&mut self, directive: &str, i: u32, name: &str) -> Option<ModuleName> {
        let at = if directive == "PACKAGE_NAME" { "PACKAGE_NAME".to_owned() } else { format!("{directive}[{i}]") };
        if let Some(bare) = name.strip_suffix(".ko").or_else(|| name.strip_suffix(".o")) {
            self.problems.push(format!("{at}=\"{name}\" ends in .ko or .o; write {directive}[{i}]=\"{bare}\""));
            return if self.input.strict { None } else { ModuleName::new(bare).ok() };
        }
        match ModuleName::new(name) {
            Ok(name) => Some(name),
            Err(why) => {
                self.problems.push(format!(
                    "{at}: {why}; a module's name is its file's name without .ko, folders go into {}",
                    if directive == "DEST_MODULE_NAME" { "DEST_MODULE_LOCATION" } else { "BUILT_MODULE_LOCATION" }
                ));
                None
            }
        }
    }

    fn below_build(&mut self, i: u32, location: &str) -> String {
        let parts = parts(location);
        if parts.contains(&"..") {
            self.problems.push(format!(
                "BUILT_MODULE_LOCATION[{i}]=\"{location}\" leaves the build folder; write a folder below it, without '..'"
            ));
            return String::new();
        }
        parts.join("/")
    }

    fn destination(&mut self, i: u32, location: &str) -> String {
        const PLACES: [&str; 3] = ["kernel", "updates", "extra"];
        let what = "write one that begins with /kernel, /updates or /extra";
        // `/kernel/../updates` is what many packages write, and means what it says.
        let place = parts(location).into_iter().try_fold(Vec::new(), |mut path, part| {
            if part == ".." {
                path.pop()?;
            } else {
                path.push(part);
            }
            Some(path)
        });
        if location.is_empty() {
            self.problems.push(format!("DEST_MODULE_LOCATION[{i}] is missing; {what}"));
        } else if !PLACES.iter().any(|p| location.strip_prefix('/').is_some_and(|l| l.starts_with(p))) {
            self.problems.push(format!("DEST_MODULE_LOCATION[{i}]=\"{location}\" is not a place for modules; {what}"));
        } else if place.as_ref().is_none_or(Vec::is_empty) {
            self.problems.push(format!("DEST_MODULE_LOCATION[{i}]=\"{location}\" leaves the kernel's folder; {what}"));
        }
        match place {
            Some(path) if !path.is_empty() => format!("/{}", path.join("/")),
            _ => "/extra".to_owned(),
        }
    }

    /// Two modules may have one built name when they lie apart, and never one installed name: the distribution's folder
    /// takes them all.
    fn duplicates(&mut self, modules: &[(u32, ModuleRecipe)]) {
        let mut built = HashMap::new();
        let mut dest = HashMap::new();
        for (i, m) in modules {
            if let Some(first) = built.insert((&m.built_location, &m.built_name), i) {
                self.problems.push(format!(
                    "BUILT_MODULE_NAME[{i}]=\"{}\" names the same module as index {first}; leave one out",
                    m.built_name
                ));
            } else if let Some(first) = dest.insert(&m.dest_name, i) {
                self.problems.push(format!(
                    "DEST_MODULE_NAME[{i}]=\"{}\" would overwrite that of index {first}; write another name",
                    m.dest_name
                ));
            }
        }
    }

    /// The last MAKE whose MAKE_MATCH hits; MAKE[0] without a match is the default. Walked to the element count.
    pub(super) fn make(&mut self, package: Option<&PackageId>) -> String {
        let lines: HashMap<u32, &str> = self.values.elements("MAKE").collect();
        let mut chosen = None;
        for i in 0..u32::try_from(lines.len()).unwrap_or(u32::MAX) {
            let Some(line) = lines.get(&i).filter(|l| !l.trim().is_empty()) else { continue };
            let hit = match self.values.at("MAKE_MATCH", i).filter(|m| !m.is_empty()) {
                Some(pattern) => self.matches(&format!("MAKE_MATCH[{i}]"), pattern),
                None => i == 0,
            };
            if hit {
                chosen = Some((*line).to_owned());
            }
        }
        chosen.unwrap_or_else(|| {
            let layout = self.input.layout;
            let headers = layout.kernel_source_inside(&self.input.kernel.release);
            let build = package.map(|p| layout.build_dir_inside(p)).unwrap_or_default();
            format!("make -C {} M={}", headers.display(), build.display())
        })
    }

    /// The patches whose PATCH_MATCH hits, in order. Walked to the element count.
    pub(super) fn patches(&mut self) -> Vec<String> {
        let names: HashMap<u32, &str> = self.values.elements("PATCH").collect();
        let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
        if let Some(lost) = names.keys().filter(|i| **i >= count).min() {
            self.warnings
                .push(format!("PATCH[{lost}] is never applied, since an index before it is free; number them from 0"));
        }
        let mut patches = Vec::new();
        for i in 0..count {
            let Some(name) = names.get(&i).filter(|n| !n.is_empty()) else { continue };
            let hit = match self.values.at("PATCH_MATCH", i).filter(|m| !m.is_empty()) {
                Some(pattern) => self.matches(&format!("PATCH_MATCH[{i}]"), pattern),
                None => true,
            };
            if hit {
                patches.push((*name).to_owned());
            }
        }
        patches
    }

    pub(super) fn build_depends(&mut self) -> Vec<PackageName> {
        let mut names = Vec::new();
        for (i, text) in self.values.elements("BUILD_DEPENDS") {
            for word in text.split_whitespace() {
                match PackageName::new(word) {
                    Ok(name) => names.push(name),
                    Err(why) => self.problems.push(format!("BUILD_DEPENDS[{i}]: {why}")),
                }
            }
        }
        names
    }

    /// Whether a pattern hits the kernel's release.
    fn matches(&mut self, directive: &str, pattern: &str) -> bool {
        self.hits(directive, pattern, self.input.kernel.release.as_str())
    }

    /// Whether a pattern hits a text. One that is not valid hits nothing, as in bash, and is worth a warning.
    pub(super) fn hits(&mut self, directive: &str, pattern: &str, text: &str) -> bool {
        ere::compile(pattern).map(|regex| regex.is_match(text)).unwrap_or_else(|why| {
            self.warnings.push(format!(
                "{directive}=\"{pattern}\" is not an extended regular expression ({why}), so it matches nothing; write one as for grep -E"
            ));
            false
        })
    }
}

/// The parts of a path that mean something.
fn parts(location: &str) -> Vec<&str> {
    location.split('/').filter(|p| !p.is_empty() && *p != ".").collect()
}
