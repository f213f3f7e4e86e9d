//! On modules of a real kernel, with real depmod.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rstest::rstest;

use super::*;
use crate::artifact::fixture::{self, REALTEK};
use crate::conf::{ModuleRecipe, Recipe};
use crate::error::Error;
use crate::event::Event;
use crate::install::depmod::DepmodOutcome;
use crate::model::EntryState;
use crate::tree::files::{self, stop_before};
use crate::tree::{self, Manifest};

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
            obsolete: None,
            symlink: self.symlink,
            force: true,
            force_version_override: false,
            by_uid: 0,
            reason: "a test",
        }
    }

    fn folder(&self) -> PathBuf {
        self.layout.kernel_folder(&self.kernel.release)
    }

    /// Everything in the root but locks and what depmod makes: kind, bytes, mode, and time of what nobody may touch.
    fn snapshot(&self) -> Snapshot {
        let mut seen = BTreeMap::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for (name, kind) in files::list(&folder).unwrap() {
                let path = folder.join(&name);
                let inside = self.layout.inside(&path);
                let text = name.to_string_lossy();
                if text == ".dkmsd-locks" || (text.starts_with("modules.") && !text.ends_with("builtin")) {
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

#[test]
fn an_install_displaces_the_kernels_module_and_an_uninstall_brings_it_back() {
    let world = World::new();
    let package = world.built("1", &[("r8169.ko", OURS)]);
    let recipe = world.recipe("1", &["r8169"]);
    let before = world.snapshot();

    let placed = place(&world.target(&package, &recipe), &mut Vec::new()).unwrap();
    let installed = world.folder().join("updates/dkms/r8169.ko");
    let original = world.folder().join(REALTEK).join("r8169.ko");
    assert_eq!(placed.displaced, [world.layout.inside(&original)]);
    assert_eq!(placed.files.len(), 1);
    assert_eq!(pending(&world.layout, &package.name, &world.kernel).unwrap(), Some(package.clone()));
    depmod::run(&world.layout, &world.kernel.release).unwrap();
    commit(&world.layout, &package.name, &world.kernel).unwrap();
    assert_eq!(pending(&world.layout, &package.name, &world.kernel).unwrap(), None);

    assert_eq!(fs::read(&installed).unwrap(), fs::read(fixture::module(OURS)).unwrap());
    assert_eq!(fs::metadata(&installed).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(!original.exists());
    let kept = world.layout.originals_dir(&package.name, &world.kernel);
    assert_eq!(fs::read(kept.join("r8169.ko")).unwrap(), fs::read(fixture::module("r8169.ko")).unwrap());
    let origin = fs::read_to_string(kept.join("r8169.ko.origin")).unwrap();
    assert_eq!(Path::new(origin.trim()), world.layout.inside(&original));
    assert_eq!(world.indexed("r8169"), ["updates/dkms/r8169.ko"]);
    let entry = tree::package(&world.layout, &package).unwrap().unwrap().entries.remove(0);
    assert!(entry.installed && entry.built && entry.originals);
    assert_eq!(entry.manifest.unwrap().installed.unwrap().files, placed.files);

    let gone = withdraw(&world.layout, &package, &world.kernel, None, None).unwrap();
    assert_eq!(gone.removed, [world.layout.inside(&installed)]);
    assert_eq!(gone.restored, [world.layout.inside(&original)]);
    assert_eq!(gone.kept, []);
    depmod::run(&world.layout, &world.kernel.release).unwrap();
    assert_eq!(world.indexed("r8169"), [format!("{REALTEK}/r8169.ko")]);
    let mut after = world.snapshot();
    after.remove(&world.layout.inside(&world.layout.manifest(&package, &world.kernel)));
    same(&after, &before, "afterwards");
    let again = withdraw(&world.layout, &package, &world.kernel, None, None).unwrap();
    assert_eq!(again, Withdrawn::default());
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

#[rstest]
fn an_install_that_stops_anywhere_is_undone_or_finished(
    #[values(Case::Fresh, Case::InPlace, Case::OtherSuffix, Case::Upgrade, Case::Again, Case::Retaken, Case::Links)]
    which: Case,
) {
    let finished = {
        let (world, package, modules) = case(which);
        let before = world.snapshot();
        world.install(package.version.as_str(), &modules);
        assert_ne!(world.snapshot(), before);
        world.snapshot()
    };
    let (mut undone, mut done) = (0, 0);
    for n in 0.. {
        let (world, package, modules) = case(which);
        let before = world.snapshot();
        let recipe = world.recipe(package.version.as_str(), &modules);
        stop_before(Some(n));
        let ended = world.begin(&world.target(&package, &recipe));
        stop_before(None);
        world.has_a_whole_module(&format!("stopped before change {n}"));

        // Recovery may be interrupted as well, later each time.
        let mut recovered = None;
        for m in 0.. {
            stop_before(Some(m));
            let found = recover(&world.layout).unwrap();
            recovered = recovered.or_else(|| found.into_iter().next().map(|r| r.action));
            if stop_before(None) != Some(0) {
                break;
            }
        }
        let pending = pending(&world.layout, &package.name, &world.kernel).unwrap();
        if pending.is_some() {
            assert_eq!(recovered, Some(RecoverAction::AwaitsDepmod), "stopped before change {n}");
            depmod::run(&world.layout, &world.kernel.release).unwrap();
            commit(&world.layout, &package.name, &world.kernel).unwrap();
            same(&world.snapshot(), &finished, &format!("stopped before change {n}"));
            done += 1;
        } else {
            same(&world.snapshot(), &before, &format!("stopped before change {n}"));
            undone += 1;
        }
        assert_eq!(recover(&world.layout).unwrap(), []);
        if ended.is_ok() {
            break;
        }
    }
    assert!(undone > 10 && done > 0, "{undone} {done}");
}

#[rstest]
fn a_commit_that_stops_anywhere_can_be_repeated_or_undone(
    #[values(Case::Fresh, Case::InPlace, Case::Upgrade, Case::Again)] which: Case,
    #[values(true, false)] depmod_works: bool,
) {
    let finished = {
        let (world, package, modules) = case(which);
        world.install(package.version.as_str(), &modules);
        world.snapshot()
    };
    for n in 0.. {
        let (world, package, modules) = case(which);
        let before = world.snapshot();
        let recipe = world.recipe(package.version.as_str(), &modules);
        world.begin(&world.target(&package, &recipe)).unwrap();
        stop_before(Some(n));
        let ended = commit(&world.layout, &package.name, &world.kernel);
        stop_before(None);
        let recovered = recover(&world.layout).unwrap();
        if recovered.is_empty() {
            same(&world.snapshot(), &finished, &format!("stopped before change {n}"));
        } else if depmod_works {
            commit(&world.layout, &package.name, &world.kernel).unwrap();
            same(&world.snapshot(), &finished, &format!("stopped before change {n}"));
        } else {
            undo(&world.layout, &package.name, &world.kernel).unwrap();
            let mut after = world.snapshot();
            let adopted = world.layout.manifest(&package, &world.kernel);
            if !before.contains_key(&world.layout.inside(&adopted)) {
                after.remove(&world.layout.inside(&adopted));
            }
            same(&after, &before, &format!("stopped before change {n}"));
        }
        if ended.is_ok() {
            assert!(n > 3);
            break;
        }
    }
}

#[rstest]
fn an_uninstall_that_stops_anywhere_can_be_repeated(
    #[values(Case::Fresh, Case::InPlace, Case::OtherSuffix, Case::Upgrade, Case::Links)] which: Case,
) {
    let mut wanted = None;
    for n in (0..).map(Some).chain([None]) {
        let (world, package, modules) = case(which);
        world.install(package.version.as_str(), &modules);
        if wanted.is_none() {
            withdraw(&world.layout, &package, &world.kernel, None, None).unwrap();
            wanted = Some(world.snapshot());
            let original = world.folder().join(REALTEK).join("r8169.ko");
            assert_eq!(fs::read(original).unwrap(), fs::read(fixture::module("r8169.ko")).unwrap());
            continue;
        }
        stop_before(n.map(|n: usize| n - 1));
        let ended = withdraw(&world.layout, &package, &world.kernel, None, None);
        stop_before(None);
        withdraw(&world.layout, &package, &world.kernel, None, None).unwrap();
        same(&world.snapshot(), wanted.as_ref().unwrap(), &format!("stopped before change {n:?}"));
        if ended.is_ok() {
            break;
        }
    }
}

#[test]
fn a_failed_depmod_leads_back_to_what_worked() {
    let (world, package, modules) = case(Case::Upgrade);
    let before = world.snapshot();
    let recipe = world.recipe("2", &modules);
    place(&world.target(&package, &recipe), &mut Vec::new()).unwrap();
    let index = world.folder().join("modules.dep.bin");
    fs::remove_file(&index).unwrap();
    fs::create_dir_all(index.join("in the way")).unwrap();
    let failed = depmod::run(&world.layout, &world.kernel.release);
    assert!(matches!(failed, Err(Error::Depmod { .. })), "{failed:?}");
    undo(&world.layout, &package.name, &world.kernel).unwrap();
    fs::remove_dir_all(&index).unwrap();
    depmod::run(&world.layout, &world.kernel.release).unwrap();
    same(&world.snapshot(), &before, "afterwards");
    assert_eq!(world.indexed("helper"), ["updates/dkms/helper.ko"]);
}

#[test]
fn what_cannot_be_installed_leaves_no_trace() {
    let world = World::new();
    let package = world.built("1", &[("r8169.ko", OURS)]);
    // Its second module was never built.
    let recipe = world.recipe("1", &["r8169", "lost"]);
    let before = world.snapshot();
    let failed = place(&world.target(&package, &recipe), &mut Vec::new()).unwrap_err();
    assert!(matches!(&failed, Error::BuiltModuleMissing { file, .. } if file.ends_with("lost.ko")), "{failed}");

    let recipe = world.recipe("1", &["r8169"]);
    // The place of the file is taken by a folder that is not empty.
    let way = world.folder().join("updates/dkms/.r8169.ko.dkmsd-new/x");
    fs::create_dir_all(&way).unwrap();
    place(&world.target(&package, &recipe), &mut Vec::new()).unwrap_err();
    fs::remove_dir_all(world.folder().join("updates")).unwrap();
    // The undo met the same obstacle; the next start finishes it.
    recover(&world.layout).unwrap();
    same(&world.snapshot(), &before, "afterwards");

    let world = World { kernel: KernelId::new("0.0.1", "x86_64").unwrap(), ..world };
    let package = world.built("1", &[("r8169.ko", OURS)]);
    let failed = place(&world.target(&package, &recipe), &mut Vec::new()).unwrap_err();
    assert!(matches!(failed, Error::NoKernel { .. }), "{failed}");
    assert_eq!(failed.exit_code(), 6);
}

#[rstest]
#[case::leaves_the_kernel("/../../../etc")]
#[case::within("/updates/../../x")]
fn a_destination_outside_the_kernel_is_refused(#[case] folder: &'static str) {
    let world = World::with(Some(folder));
    let package = world.built("1", &[("r8169.ko", OURS)]);
    let recipe = world.recipe("1", &["r8169"]);
    let before = world.snapshot();
    let failed = place(&world.target(&package, &recipe), &mut Vec::new()).unwrap_err();
    assert!(matches!(failed, Error::BadModule { .. }), "{failed}");
    same(&world.snapshot(), &before, "afterwards");
}

/// `(file that the package builds as 8139cp, kernel's own 8139cp is there)`, forced, refused as.
#[rstest]
#[case::same("8139cp.ko", None, (false, false), Some(EntryState::KernelNewer))]
#[case::kernel_has_a_version_and_ours_none("r8169.ko", None, (false, false), Some(EntryState::KernelNewer))]
#[case::overridden("8139cp.ko", None, (false, true), None)]
#[case::forced("r8169.ko", None, (true, false), None)]
#[case::obsolete("8139too.ko", Some("6.1 has it"), (false, false), Some(EntryState::Dormant))]
#[case::obsolete_overridden("8139too.ko", Some("6.1 has it"), (false, true), Some(EntryState::Dormant))]
#[case::obsolete_forced("8139too.ko", Some("6.1 has it"), (true, false), None)]
fn a_module_may_be_refused(
    #[case] file: &str,
    #[case] obsolete: Option<&str>,
    #[case] (force, force_version_override): (bool, bool),
    #[case] wanted: Option<EntryState>,
) {
    let world = World::new();
    let package = world.built("1", &[("8139cp.ko", file)]);
    let recipe = world.recipe("1", &["8139cp"]);
    let obsolete = obsolete.map(str::to_owned);
    let before = world.snapshot();
    let target = Target { force, force_version_override, obsolete, ..world.target(&package, &recipe) };
    match (place(&target, &mut Vec::new()), wanted) {
        (Ok(placed), None) => assert_eq!(placed.files.len(), 1),
        (Err(Error::AllRefused { state, reasons, .. }), Some(wanted)) => {
            assert_eq!((state, reasons.len()), (wanted, 1));
            same(&world.snapshot(), &before, "afterwards");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_refused_module_does_not_stop_the_other() {
    let world = World::new();
    let package = world.built("1", &[("8139cp.ko", "8139cp.ko"), ("r8169.ko", OURS)]);
    let recipe = world.recipe("1", &["8139cp", "r8169"]);
    let target = Target { force: false, ..world.target(&package, &recipe) };
    let mut events = Vec::new();
    let placed = place(&target, &mut events).unwrap();
    assert_eq!(placed.files.iter().map(|f| f.module.as_str()).collect::<Vec<_>>(), ["r8169"]);
    assert_eq!(placed.refused.iter().map(|(m, _)| m.as_str()).collect::<Vec<_>>(), ["8139cp"]);
    assert!(matches!(events.as_slice(), [Event::Warning { text }] if text.contains("8139cp")), "{events:?}");
    // What is installed is not compared with itself: a downgrade is the admin's to ask for.
    commit(&world.layout, &package.name, &world.kernel).unwrap();
    let older = world.built("0", &[("r8169.ko", "r8169.ko")]);
    let recipe = world.recipe("0", &["r8169"]);
    place(&Target { force: false, ..world.target(&older, &recipe) }, &mut Vec::new()).unwrap();
}

#[rstest]
#[case::damaged("{")]
#[case::of_another_format("")]
fn a_record_that_makes_no_sense_costs_no_copies(#[case] text: &str) {
    let (world, package, modules) = case(Case::InPlace);
    let recipe = world.recipe("1", &modules);
    world.begin(&world.target(&package, &recipe)).unwrap();
    let record = world.layout.intent(&package.name, &world.kernel);
    let text = match text {
        "" => fs::read_to_string(&record).unwrap().replace("\"format\": 1", "\"format\": 2"),
        text => text.to_owned(),
    };
    fs::write(record, text).unwrap();
    let before = world.snapshot();
    assert_eq!(recover(&world.layout).unwrap(), []);
    for failed in [
        undo(&world.layout, &package.name, &world.kernel).unwrap_err(),
        place(&world.target(&package, &recipe), &mut Vec::new()).unwrap_err(),
        withdraw(&world.layout, &package, &world.kernel, None, None).unwrap_err(),
    ] {
        assert!(matches!(failed, Error::NotUndone { .. }), "{failed}");
    }
    same(&world.snapshot(), &before, "afterwards");
}

#[test]
fn a_file_that_somebody_replaced_stays() {
    let (world, package, modules) = case(Case::Fresh);
    world.install("1", &modules);
    let installed = world.folder().join("updates/dkms/r8169.ko");
    fs::copy(fixture::module(NEWER), &installed).unwrap();
    let done = withdraw(&world.layout, &package, &world.kernel, None, None).unwrap();
    assert_eq!(done.kept.iter().map(|(p, _)| p.clone()).collect::<Vec<_>>(), [world.layout.inside(&installed)]);
    assert!(installed.exists() && done.removed.is_empty());
}

#[test]
fn a_kernel_that_was_upgraded_keeps_its_newer_module() {
    let (world, package, modules) = case(Case::Fresh);
    world.install("1", &modules);
    let place = world.folder().join(REALTEK).join("r8169.ko");
    fs::copy(fixture::module(NEWER), &place).unwrap();
    let done = withdraw(&world.layout, &package, &world.kernel, None, None).unwrap();
    assert_eq!(done.restored, Vec::<PathBuf>::new());
    assert_eq!(fs::read(place).unwrap(), fs::read(fixture::module(NEWER)).unwrap());
    assert!(!world.layout.originals_dir(&package.name, &world.kernel).exists());
}

#[test]
fn an_upgraded_kernels_module_that_took_our_place_is_kept_in_turn() {
    let (world, package, modules) = case(Case::InPlace);
    world.install("1", &modules);
    let place = world.folder().join(REALTEK).join("r8169.ko");
    fs::copy(fixture::module(NEWER), &place).unwrap();
    world.install("1", &modules);
    assert_eq!(fs::read(&place).unwrap(), fs::read(fixture::module(OURS)).unwrap());
    let done = withdraw(&world.layout, &package, &world.kernel, None, None).unwrap();
    assert_eq!(done.restored, [world.layout.inside(&place)]);
    assert_eq!(fs::read(&place).unwrap(), fs::read(fixture::module(NEWER)).unwrap());
}

#[rstest]
#[case::all_of_it(true)]
#[case::all_but_our_module(false)]
fn a_kernel_that_is_gone_is_not_brought_back(#[case] all: bool) {
    let (world, package, modules) = case(Case::Fresh);
    world.install("1", &modules);
    fs::remove_dir_all(if all { world.folder() } else { world.folder().join("kernel") }).unwrap();
    let done = withdraw(&world.layout, &package, &world.kernel, None, None).unwrap();
    assert!(done.was_installed && done.restored.is_empty() && done.kept.is_empty(), "{done:?}");
    assert!(!world.folder().join("kernel").exists() && !world.folder().join("updates").exists());
    assert!(!world.layout.installed_link(&package.name, &world.kernel).exists());
    assert!(!world.layout.originals_dir(&package.name, &world.kernel).exists());
}

/// As classic DKMS leaves it: no manifest; perhaps no `.origin`.
#[rstest]
#[case::in_the_distributions_folder(Some("/updates/dkms"), true, true)]
#[case::over_the_kernels_own(None, true, true)]
#[case::without_origin(Some("/updates/dkms"), false, true)]
#[case::replaced_in_the_distributions_folder(Some("/updates/dkms"), true, false)]
fn what_classic_dkms_installed_is_withdrawn(
    #[case] folder: Option<&'static str>,
    #[case] origin: bool,
    #[case] as_built: bool,
) {
    let world = World::with(folder);
    let package = world.built("1", &[("r8169.ko", OURS)]);
    let before = world.snapshot();
    world.install("1", &["r8169"]);
    fs::remove_file(world.layout.manifest(&package, &world.kernel)).unwrap();
    if !origin {
        fs::remove_file(world.layout.originals_dir(&package.name, &world.kernel).join("r8169.ko.origin")).unwrap();
    }
    if !as_built {
        fs::copy(fixture::module(NEWER), world.folder().join("updates/dkms/r8169.ko")).unwrap();
    }
    let recipe = world.recipe("1", &["r8169"]);
    let done = withdraw(&world.layout, &package, &world.kernel, Some(&recipe), folder).unwrap();
    assert_eq!(done.kept, []);
    same(&world.snapshot(), &before, "afterwards");
}

#[test]
fn an_original_of_unknown_origin_is_not_thrown_away() {
    let (world, package, modules) = case(Case::Fresh);
    world.install("1", &modules);
    let kept = world.layout.originals_dir(&package.name, &world.kernel).join("r8169.ko");
    fs::remove_file(kept.with_extension("ko.origin")).unwrap();
    let done = withdraw(&world.layout, &package, &world.kernel, None, None).unwrap();
    assert_eq!(done.kept.len(), 1);
    assert!(kept.exists());
}

#[test]
fn another_version_is_not_withdrawn() {
    let (world, _, modules) = case(Case::Upgrade);
    let (old, new) = (world.package("1"), world.package("2"));
    world.install("2", &modules);
    assert_eq!(Manifest::read(&world.layout, &old, &world.kernel).unwrap().unwrap().installed, None);
    let before = world.snapshot();
    let done = withdraw(&world.layout, &old, &world.kernel, None, None).unwrap();
    assert!(!done.was_installed);
    same(&world.snapshot(), &before, "afterwards");
    assert!(tree::package(&world.layout, &new).unwrap().unwrap().entries.iter().all(|e| e.installed));
}

#[test]
fn headers_without_a_kernel_need_no_depmod() {
    let world = World::new();
    fs::remove_file(world.folder().join("modules.dep")).unwrap();
    let outcome = depmod::run(&world.layout, &world.kernel.release).unwrap();
    assert_eq!(outcome, DepmodOutcome::SkippedNoModulesDep);
}

#[rstest]
#[case::whole(Case::Fresh, "", None)]
#[case::links(Case::Links, "", None)]
#[case::in_place(Case::InPlace, "", None)]
#[case::built_gone(Case::Fresh, "built", Some(Difference::BuiltMissing))]
#[case::installed_gone(Case::Fresh, "installed", Some(Difference::Differs))]
#[case::installed_replaced(Case::Fresh, "replaced", Some(Difference::Differs))]
#[case::one_byte(Case::InPlace, "one byte", Some(Difference::Differs))]
fn built_and_installed_are_compared(#[case] which: Case, #[case] damage: &str, #[case] wanted: Option<Difference>) {
    let (world, package, modules) = case(which);
    world.install("1", &modules);
    let manifest = Manifest::read(&world.layout, &package, &world.kernel).unwrap().unwrap();
    let record = manifest.installed.unwrap();
    let installed = world.layout.host(&record.files.first().unwrap().path);
    match damage {
        "built" => fs::remove_file(world.layout.module_dir(&package, &world.kernel).join("r8169.ko")).unwrap(),
        "installed" => fs::remove_file(&installed).unwrap(),
        "replaced" => fs::copy(fixture::module(NEWER), &installed).map(drop).unwrap(),
        "one byte" => {
            let mut bytes = fs::read(&installed).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&installed, bytes).unwrap();
        }
        _ => {}
    }
    let recipe = world.recipe("1", &modules);
    let (layout, kernel, folder) = (&world.layout, &world.kernel, world.modules_folder);
    assert_eq!(difference(layout, &package, kernel, Some(&record), None, None).unwrap(), wanted);
    assert_eq!(difference(layout, &package, kernel, None, Some(&recipe), folder).unwrap(), wanted);
}
