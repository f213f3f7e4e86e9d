//! On modules of a real kernel, with real depmod.

mod interrupted;
mod placed;
mod withdrawn;

use super::*;
use crate::artifact::fixture::{self, REALTEK};
use crate::conf::{ModuleRecipe, Recipe};
use crate::error::Error;
use crate::event::Event;
use crate::install::depmod::DepmodOutcome;
use crate::model::EntryState;
use crate::tree::files::{self, stop_before};
use crate::tree::{self, Manifest};
use rstest::rstest;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A root with one kernel that has three modules, and packages that bring some of them.
struct World {
    root: tempfile::TempDir,
    layout: Layout,
    kernel: KernelId,
    modules_folder: Option<&'static str>,
    location: String,
    symlink: bool,
}

/// Two real modules stand in for the built ones: their bytes differ, and their versions do not matter.
const OURS: &str = "8139cp.ko";
const NEWER: &str = "8139too.ko";

impl World {
    fn new() -> Self {
        let root = fixture::scratch();
        let layout = Layout::under(root.path());
        let kernel = fixture::kernel();
        let folder = layout.kernel_folder(&kernel.release).join(REALTEK);
        fs::create_dir_all(&folder).unwrap();
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        for file in ["r8169.ko", "8139cp.ko"] {
            fs::copy(fixture::module(file), folder.join(file)).unwrap();
            let copy = fs::File::options().write(true).open(folder.join(file)).unwrap();
            copy.set_modified(old).unwrap();
        }
        fs::write(layout.kernel_folder(&kernel.release).join("modules.dep"), "").unwrap();
        let map = Path::new("boot").join(format!("System.map-{}", kernel.release));
        fs::create_dir_all(layout.boot()).unwrap();
        fs::copy(fixture::root().join(&map), root.path().join(map)).unwrap();
        let location = format!("/{REALTEK}");
        Self { root, layout, kernel, modules_folder: Some("/updates/dkms"), location, symlink: false }
    }

    fn with(folder: Option<&'static str>) -> Self {
        Self { modules_folder: folder, ..Self::new() }
    }

    fn package(&self, version: &str) -> PackageId {
        PackageId::new("r8169", version).unwrap()
    }

    fn recipe(&self, version: &str, modules: &[&str]) -> Recipe {
        let modules = modules.iter().map(|name| ModuleRecipe {
            built_name: name.parse().unwrap(),
            built_location: String::new(),
            dest_name: name.parse().unwrap(),
            dest_location: self.location.clone(),
            strip: true,
            exclusion: None,
        });
        Recipe {
            package: self.package(version),
            modules: modules.collect(),
            make: String::new(),
            patches: Vec::new(),
            pre_build: None,
            post_build: None,
            post_add: None,
            pre_install: None,
            post_install: None,
            post_remove: None,
            build_depends: Vec::new(),
            build_depends_rebuild: false,
            autoinstall: true,
            no_weak_modules: false,
            obsolete_by: None,
            exclusion: None,
            warnings: Vec::new(),
        }
    }

    /// Puts built modules into the tree: the name in the tree, and the real file that it is.
    fn built(&self, version: &str, modules: &[(&str, &str)]) -> PackageId {
        let package = self.package(version);
        fs::create_dir_all(self.layout.source(&package)).unwrap();
        tree::add(&self.layout, &package).unwrap();
        let folder = self.layout.module_dir(&package, &self.kernel);
        fs::create_dir_all(&folder).unwrap();
        for (name, file) in modules {
            fs::copy(fixture::module(file), folder.join(name)).unwrap();
        }
        package
    }

    fn target<'a>(&'a self, package: &'a PackageId, recipe: &'a Recipe) -> Target<'a> {
        Target {
            layout: &self.layout,
            package,
            kernel: &self.kernel,
            recipe,
            modules_folder: self.modules_folder,
            symlink: self.symlink,
            check_version: false,
            by_uid: 0,
            reason: "a test",
            owner: None,
        }
    }

    fn folder(&self) -> PathBuf {
        self.layout.kernel_folder(&self.kernel.release)
    }

    /// Everything in the root but locks, marks for depmod and what it makes: kind, bytes, mode, and time of what nobody may touch.
    fn snapshot(&self) -> Snapshot {
        let mut seen = BTreeMap::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for (name, kind) in files::list(&folder).unwrap() {
                let path = folder.join(&name);
                let inside = self.layout.inside(&path);
                let text = name.to_string_lossy();
                if text == ".dkmsd-locks"
                    || text.starts_with(Layout::DEPMOD_DUE)
                    || (text.starts_with("modules.") && !text.ends_with("builtin"))
                {
                    continue;
                }
                let what = if kind.is_dir() {
                    folders.push(path);
                    "folder".to_owned()
                } else if kind.is_symlink() {
                    format!("link to {}", fs::read_link(&path).unwrap().display())
                } else {
                    let found = fs::metadata(&path).unwrap();
                    let kernels_own = inside.to_string_lossy().contains("/realtek/") || text == "r8169.ko";
                    let time = found.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
                    let time = if kernels_own && time == 1_000_000_000 { "old" } else { "" };
                    let digest = files::sha256_file(&path).unwrap();
                    format!("{digest} {:o} {time}", found.permissions().mode() & 0o7777)
                };
                seen.insert(inside, what);
            }
        }
        seen
    }

    /// The whole of an install, with nothing in it that depends on the clock.
    fn install(&self, version: &str, modules: &[&str]) {
        let (package, recipe) = (self.package(version), self.recipe(version, modules));
        self.begin(&self.target(&package, &recipe)).unwrap();
        assert_eq!(depmod::run(&self.layout, &self.kernel.release).unwrap(), DepmodOutcome::Ran);
        commit(&self.layout, &package.name, &self.kernel).unwrap();
    }

    fn begin(&self, target: &Target<'_>) -> Result<(), Error> {
        let mut intent = plan::plan(target, &mut Vec::new()).unwrap().intent;
        intent.record.at = 7;
        place::carry_out(target, intent)
    }

    /// At any instant some r8169 can be loaded, and none is half written.
    fn has_a_whole_module(&self, when: &str) {
        let known = ["r8169.ko", OURS, NEWER].map(|file| files::sha256_file(&fixture::module(file)).unwrap());
        let modules = find::KernelModules::below(&self.folder()).unwrap();
        let found = modules.of(&"r8169".parse().unwrap());
        assert!(!found.is_empty(), "{when}: there is no r8169");
        for path in found {
            let target = fs::read_link(path).map_or_else(|_| path.clone(), |target| self.layout.host(target));
            assert!(known.contains(&files::sha256_file(&target).unwrap()), "{when}: {}", path.display());
        }
    }

    /// Where modprobe would find a module.
    fn indexed(&self, module: &str) -> Vec<String> {
        let index = fs::read_to_string(self.folder().join("modules.dep")).unwrap();
        let paths = index.lines().filter_map(|line| line.split(':').next());
        let mut paths: Vec<_> = paths.filter(|p| p.contains(&format!("/{module}.ko"))).map(str::to_owned).collect();
        paths.sort();
        paths
    }
}

type Snapshot = BTreeMap<PathBuf, String>;

#[track_caller]
fn same(now: &Snapshot, wanted: &Snapshot, when: &str) {
    let lines = |a: &Snapshot, b: &Snapshot, sign: char| -> Vec<String> {
        let differ = a.iter().filter(|(path, what)| b.get(*path) != Some(what));
        differ.map(|(path, what)| format!("{sign} {} {what}", path.display())).collect()
    };
    let difference = [lines(wanted, now, '-'), lines(now, wanted, '+')].concat();
    assert!(difference.is_empty(), "{when}:\n{}", difference.join("\n"));
}

/// What is there before, and the install that is interrupted.
#[derive(Debug, Clone, Copy)]
enum Case {
    /// Into a folder of its own.
    Fresh,
    /// Over the kernel's own file.
    InPlace,
    /// Over the kernel's own file, with another suffix.
    OtherSuffix,
    /// From a version with two modules to one with one.
    Upgrade,
    /// The same version once more, built anew.
    Again,
    /// Over a file that came with an upgrade of the kernel, and took our place.
    Retaken,
    /// Links instead of copies.
    Links,
}

/// The world before the install, and that install.
fn case(case: Case) -> (World, PackageId, Vec<&'static str>) {
    let folder = if matches!(case, Case::InPlace | Case::OtherSuffix) { None } else { Some("/updates/dkms") };
    let mut world = World::with(folder);
    match case {
        Case::Fresh | Case::InPlace => {
            let package = world.built("1", &[("r8169.ko", OURS)]);
            (world, package, vec!["r8169"])
        }
        Case::OtherSuffix => {
            let package = world.built("1", &[("r8169.ko.xz", OURS)]);
            (world, package, vec!["r8169"])
        }
        Case::Upgrade => {
            world.built("1", &[("r8169.ko", OURS), ("helper.ko", OURS)]);
            world.install("1", &["r8169", "helper"]);
            let package = world.built("2", &[("r8169.ko", NEWER)]);
            (world, package, vec!["r8169"])
        }
        Case::Again => {
            world.built("1", &[("r8169.ko", OURS)]);
            world.install("1", &["r8169"]);
            let package = world.built("1", &[("r8169.ko", NEWER)]);
            (world, package, vec!["r8169"])
        }
        Case::Retaken => {
            world.modules_folder = None;
            let package = world.built("1", &[("r8169.ko", OURS)]);
            world.install("1", &["r8169"]);
            fs::copy(fixture::module(NEWER), world.folder().join(REALTEK).join("r8169.ko")).unwrap();
            (world, package, vec!["r8169"])
        }
        Case::Links => {
            world.symlink = true;
            let package = world.built("1", &[("r8169.ko", OURS)]);
            (world, package, vec!["r8169"])
        }
    }
}
