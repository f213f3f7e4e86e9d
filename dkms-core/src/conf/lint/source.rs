//! What can be seen beside the file: patches, scripts and Makefiles it promises.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Severity;
use super::checks::Lint;
use super::makefile::Makefile;
use crate::build::is_executable;
use crate::conf::{ModuleRecipe, Recipe};

/// More folders than any driver has; and deeper.
const MAX_FOLDERS: usize = 2000;
const MAX_DEPTH: usize = 8;

/// A source folder, and what its Makefiles build.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) folder: PathBuf,
    /// What kbuild reads in each folder, by path below the source folder.
    kbuild: BTreeMap<PathBuf, Makefile>,
}

impl Source {
    /// None for a dkms.conf by itself: nothing can be said about what is not there to be seen.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if fs::read_dir(folder).map_or(0, |entries| entries.flatten().count()) < 2 {
            return None;
        }
        let mut kbuild = BTreeMap::new();
        let mut open = vec![(PathBuf::new(), 0)];
        let mut seen = 0;
        while let Some((below, depth)) = open.pop() {
            seen += 1;
            if seen > MAX_FOLDERS {
                break;
            }
            let at = folder.join(&below);
            // kbuild takes Makefile only where there is no Kbuild.
            if let Some(text) = ["Kbuild", "Makefile"].iter().find_map(|name| read_small(&at.join(name))) {
                kbuild.insert(below.clone(), Makefile::parse(&text));
            }
            let folders = fs::read_dir(&at).into_iter().flatten().flatten();
            let folders = folders.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()) && depth < MAX_DEPTH);
            open.extend(folders.map(|e| (below.join(e.file_name()), depth + 1)));
        }
        Some(Self { folder: folder.to_owned(), kbuild })
    }

    /// Every folder that surely makes a module of that name.
    fn makers(&self, name: &str) -> Vec<&Path> {
        let makes = |m: &Makefile| m.objects.contains(name);
        self.kbuild.iter().filter(|(_, m)| makes(m)).map(|(below, _)| below.as_path()).collect()
    }

    /// Whether a Makefile further up makes a module in a folder below its own.
    fn made_from_above(&self, location: &Path, name: &str) -> bool {
        location.ancestors().skip(1).any(|above| {
            let below = location.strip_prefix(above).unwrap_or(location).join(name);
            self.kbuild.get(above).is_some_and(|m| m.objects.contains(&*below.to_string_lossy()) || m.moves_modules)
        })
    }

    /// What is wrong with a module's name and place, and what to write; none when it is built, or that cannot be told.
    fn missing(&self, module: &ModuleRecipe, is_plain: bool) -> Option<(String, String)> {
        let name = module.built_name.as_str();
        let location = Path::new(&module.built_location);
        if self.made_from_above(location, name) {
            return None;
        }
        let makers = self.makers(name);
        let other = |f: &Path| f != location;
        let elsewhere = makers.iter().find(|f| other(f)).map(|f| {
            let why = format!("{name}.ko is made in {}", self.folder.join(f).display());
            (why, format!("write BUILT_MODULE_LOCATION=\"{}\" for it", f.display()))
        });
        match self.kbuild.get(location) {
            Some(makefile) if makefile.objects.contains(name) || makefile.open || makefile.moves_modules => None,
            Some(makefile) if makefile.is_kbuild => {
                let all: Vec<&str> = makefile.objects.iter().map(String::as_str).collect();
                let swap = |n: &str| n.replace('-', "_");
                let near = all.iter().find(|o| swap(o) == swap(name));
                let why = format!("no obj-m in {} makes {name}.ko", self.folder.join(location).display());
                let write = match near {
                    Some(near) => format!("write {near}, as its object is called"),
                    None if elsewhere.is_some() => return elsewhere,
                    None => {
                        format!("make BUILT_MODULE_NAME and BUILT_MODULE_LOCATION agree with: obj-m: {}", all.join(" "))
                    }
                };
                Some((why, write))
            }
            // A Makefile of another kind may do anything, but a module that kbuild makes elsewhere stays there.
            Some(makefile) => elsewhere.filter(|_| !makefile.includes && !makefile.names(&format!("{name}.ko"))),
            None if is_plain => elsewhere,
            None => None,
        }
    }
}

/// A file's text; none when it is not there, is no file, or is longer than any Makefile.
pub(super) fn read_small(path: &Path) -> Option<String> {
    const LIMIT: u64 = 1 << 20;
    if !fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= LIMIT) {
        return None;
    }
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Checks a recipe against the source folder it came from.
pub(super) fn check(lint: &mut Lint<'_>, source: &Source, recipe: &Recipe) {
    patches(lint, source);
    scripts(lint, source, recipe);
    modules(lint, source, recipe);
}

/// Every patch, whichever kernel it is for.
fn patches(lint: &mut Lint<'_>, source: &Source) {
    let names: Vec<(u32, String)> = lint.values.elements("PATCH").map(|(i, n)| (i, n.to_owned())).collect();
    let folder = source.folder.join("patches");
    for (i, name) in names.into_iter().filter(|(_, n)| !n.is_empty()) {
        if !folder.join(&name).is_file() {
            let directive = format!("PATCH[{i}]");
            let why = format!("{directive}: {name} is not in {}", folder.display());
            let write = "put it there, or leave the directive out".to_owned();
            lint.at(lint.line_of(&directive), Severity::Error, why, write);
        }
    }
}

/// The first word of each names a file of the source; what is no executable file is not run.
fn scripts(lint: &mut Lint<'_>, source: &Source, recipe: &Recipe) {
    let scripts = [
        ("PRE_BUILD", &recipe.pre_build),
        ("POST_BUILD", &recipe.post_build),
        ("POST_ADD", &recipe.post_add),
        ("PRE_INSTALL", &recipe.pre_install),
        ("POST_INSTALL", &recipe.post_install),
        ("POST_REMOVE", &recipe.post_remove),
    ];
    for (directive, command) in scripts {
        let Some(script) = command.as_deref().and_then(|c| c.split_whitespace().next()) else { continue };
        let path = source.folder.join(script.trim_start_matches('/'));
        if is_executable(&path) {
            continue;
        }
        if path.is_file() {
            let why = format!("{directive}: {script} is not executable, so it is not run");
            lint.warn(directive, why, &format!("run chmod +x {script}"));
        } else {
            let why = format!("{directive}: {script} is no file of {}, so it is not run", source.folder.display());
            lint.warn(directive, why, "ship it as a script, and name that by its path below the source folder");
        }
    }
}

fn modules(lint: &mut Lint<'_>, source: &Source, recipe: &Recipe) {
    let command = recipe.make.as_str();
    let is_plain = recipe.pre_build.is_none() && command.starts_with("make ") && !command.contains([';', '&', '|']);
    if command.contains("obj-") || command.contains(".ko") || command.contains(" MO=") || touched(lint, source, recipe)
    {
        return;
    }
    for module in &recipe.modules {
        if let Some((why, write)) = source.missing(module, is_plain) {
            let line = lint.line_of_module(module);
            lint.at(line, Severity::Warning, why, write);
        }
    }
}

/// Whether a patch or PRE_BUILD may change what is built.
fn touched(lint: &Lint<'_>, source: &Source, recipe: &Recipe) -> bool {
    let about_make = |text: &str| ["Makefile", "Kbuild", "obj-", ".ko"].iter().any(|w| text.contains(w));
    let mut patches = lint.values.elements("PATCH").map(|(_, name)| source.folder.join("patches").join(name));
    if patches.any(|p| read_small(&p).is_none_or(|text| about_make(&text))) {
        return true;
    }
    recipe.pre_build.as_deref().and_then(|c| c.split_whitespace().next()).is_some_and(|script| {
        script.contains("configure") || read_small(&source.folder.join(script)).is_some_and(|t| about_make(&t))
    })
}
