//! mktarball and ldtarball, with real tar at the other end.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use super::*;
use crate::distribute::Contents;

/// What an archive is asked for with.
fn pack(package: &PackageId, kernels: &[KernelId], contents: Contents) -> PackTarball {
    PackTarball { package: package.clone(), kernels: KernelChoice::These(kernels.to_vec()), contents, archive: None }
}

impl Machine {
    /// A package that is built for the machine's kernel.
    fn built(&self, lines: &str) -> PackageId {
        let package = self.source("a/1", lines);
        self.engine().build(&package, &self.kernel, &daemons(), &mut quiet()).unwrap();
        package
    }

    fn archive(&self, contents: Contents) -> PathBuf {
        let package = self.built("");
        let archive = self
            .engine()
            .make_tarball(&pack(&package, std::slice::from_ref(&self.kernel), contents), &mut quiet())
            .unwrap();
        let kept = self.layout().host("/srv").join(archive.file_name().unwrap());
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::rename(archive, &kept).unwrap();
        kept
    }

    fn load(&self, archive: &Path, order: Order) -> Result<LoadedPackage> {
        self.load_told(archive, order).0
    }

    fn load_told(&self, archive: &Path, order: Order) -> (Result<LoadedPackage>, String) {
        let mut events = quiet();
        let loaded = self.engine().load_archive(archive, &order, &mut events).map(|loaded| match loaded {
            LoadedArchive::Package(package) => package,
            LoadedArchive::Rpm => panic!("no rpm"),
        });
        (loaded, text(&events))
    }

    /// The folder of the package, packed with tar, under a name that chooses the compression.
    fn tar(&self, folder: &Path, archive: &str) -> PathBuf {
        let archive = self.layout().host("/srv").join(archive);
        fs::create_dir_all(archive.parent().unwrap()).unwrap();
        let status = Command::new("tar").arg("-caf").arg(&archive).arg("-C").arg(folder).arg(".").status().unwrap();
        assert!(status.success());
        archive
    }

    /// Nothing of a load is left over, in the trees and beside them.
    fn assert_tidy(&self) {
        for tree in [self.layout().source_tree(), self.layout().dkms_tree()] {
            let left = fs::read_dir(&tree).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let left: Vec<_> = left.filter(|name| name.starts_with(".dkmsd-") && name != ".dkmsd-locks").collect();
            assert!(left.is_empty(), "{left:?} in {}", tree.display());
        }
    }
}

fn members(archive: &Path) -> Vec<String> {
    let output = Command::new("tar").arg("-tf").arg(archive).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn an_archive_holds_what_the_contract_says() {
    let machine = Machine::new();
    let package = machine.built("");
    let KernelId { release, arch } = &machine.kernel;
    let (engine, kernels) = (machine.engine(), [machine.kernel.clone()]);
    let make = |contents| engine.make_tarball(&pack(&package, &kernels, contents), &mut quiet()).unwrap();
    let tarballs = machine.layout().version_dir(&package).join("tarball");

    let everything = make(Contents::Everything);
    assert_eq!(everything, tarballs.join(format!("a-1-kernel{release}-{arch}.dkms.tar.gz")));
    let built = format!("dkms_main_tree/{release}/{arch}/");
    let found = members(&everything);
    let wanted = [built.clone(), format!("{built}module/r8169.ko"), format!("{built}log/make.log")];
    for wanted in wanted.iter().map(String::as_str).chain(["dkms_source_tree/dkms.conf", "dkms_source_tree/prebuilt"]) {
        assert!(found.iter().any(|name| name == wanted), "{wanted} is not in {found:?}");
    }
    assert!(!found.iter().any(|name| name.contains(".dkmsd-")), "{found:?}");

    let source = make(Contents::SourceOnly);
    assert_eq!(source, tarballs.join("a-1-source-only.dkms.tar.gz"));
    assert!(members(&source).iter().all(|name| name.starts_with("dkms_source_tree/")));

    let binaries = make(Contents::BinariesOnly);
    let found = members(&binaries);
    assert!(!found.iter().any(|name| name.starts_with("dkms_source_tree")));
    let text = |name: &str| {
        let output = Command::new("tar").arg("-xOf").arg(&binaries).arg(format!("dkms_binaries_only/{name}")).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!([text("PACKAGE_NAME"), text("PACKAGE_VERSION")], ["a\n", "1\n"]);
    assert!(text("dkms.conf").contains("BUILT_MODULE_NAME=r8169"));
    // Beside the kernels, the folder of archives is none.
    assert_eq!(tree::package(machine.layout(), &package).unwrap().unwrap().entries.len(), 1);
}

#[rstest]
#[case("x.tar.gz", [0x1f, 0x8b])]
#[case("x.tar.xz", [0xfd, b'7'])]
#[case("x.tar.bz2", *b"BZ")]
#[case("x.tar.zst", [0x28, 0xb5])]
#[case("x.tar", *b"dk")]
fn the_suffix_chooses_and_each_comes_back(#[case] name: &str, #[case] magic: [u8; 2]) {
    let machine = Machine::new();
    let package = machine.built("");
    let elsewhere = machine.layout().host("/srv/archives").join(name);
    fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    let order = PackTarball {
        archive: Some(elsewhere.clone()),
        kernels: KernelChoice::All,
        ..pack(&package, &[], Contents::Everything)
    };
    let archive = machine.engine().make_tarball(&order, &mut quiet()).unwrap();
    assert_eq!(archive, elsewhere);
    assert_eq!(fs::metadata(&archive).unwrap().mode() & 0o777, 0o644);
    assert!(fs::read(&archive).unwrap().starts_with(&magic));
    assert!(members(&archive).len() > 5);

    let other = Machine::new();
    let loaded = other.load(&archive, daemons()).unwrap();
    assert_eq!((loaded.built, loaded.kept), (vec![machine.kernel.clone()], vec![]));
    let same = |file: &dyn Fn(&Layout) -> PathBuf| {
        let read = |machine: &Machine| fs::read(file(machine.layout())).unwrap();
        read(&machine) == read(&other)
    };
    assert!(same(&|layout| layout.module_dir(&package, &machine.kernel).join("r8169.ko")));
    assert!(same(&|layout| layout.source(&package).join("prebuilt")));
    other.assert_tidy();
    assert_eq!(other.install(&package).unwrap(), Done::Placed);
    assert!(other.installed_file().is_file());
}

#[test]
fn a_bare_name_lies_in_the_tree() {
    let machine = Machine::new();
    let package = machine.built("");
    let order = PackTarball {
        archive: Some("mine.tar".into()),
        ..pack(&package, std::slice::from_ref(&machine.kernel), Contents::Everything)
    };
    let archive = machine.engine().make_tarball(&order, &mut quiet()).unwrap();
    assert_eq!(archive, machine.layout().version_dir(&package).join("tarball/mine.tar"));
    fs::write(&archive, "an older one").unwrap();
    machine.engine().make_tarball(&order, &mut quiet()).unwrap();
    assert!(members(&archive).len() > 5, "an older one is replaced");
    assert_eq!(fs::read_dir(archive.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_packed() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let engine = machine.engine();
    let code = |order: &PackTarball| engine.make_tarball(order, &mut quiet()).unwrap_err().exit_code();
    let here = [machine.kernel.clone()];
    let everything = pack(&package, &here, Contents::Everything);
    assert_eq!(code(&everything), 3, "not in the tree");
    engine.add(&package, &daemons(), &mut quiet()).unwrap();
    assert_eq!(code(&everything), 6, "not built");
    assert_eq!(code(&PackTarball { kernels: KernelChoice::All, ..everything.clone() }), 6, "built for nothing");
    assert_eq!(code(&pack(&package, &here, Contents::BinariesOnly)), 6);
    assert!(engine.make_tarball(&pack(&package, &here, Contents::SourceOnly), &mut quiet()).is_ok());
    engine.build(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    let other = KernelId::new("1.2.3", "x86_64").unwrap();
    assert_eq!(code(&pack(&package, &[machine.kernel.clone(), other], Contents::Everything)), 6);
    let to = |archive: &str| PackTarball { archive: Some(archive.into()), ..everything.clone() };
    assert_eq!(code(&to("/proc/self/a.tar.gz")), 9);
    let file = machine.layout().host("/etc/os-release/a.tar.gz");
    assert_eq!(code(&to(&file.to_string_lossy())), 9, "its folder is a file");
    let absent = machine.layout().host("/srv/absent/below/a.tar.gz");
    let error = engine.make_tarball(&to(&absent.to_string_lossy()), &mut quiet()).unwrap_err();
    assert_eq!(error.exit_code(), 9);
    assert!(error.to_string().contains("there is no folder"), "{error}");
    assert!(!machine.layout().host("/srv/absent").exists(), "nothing is made for a place that is not there");
    for unknown in ["a.tar.lzma", "a.zip", "/srv/a.zip"] {
        let error = engine.make_tarball(&to(unknown), &mut quiet()).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains(unknown) && error.to_string().contains(".tar.zst"), "{error}");
    }
    let folder = machine.layout().host("/srv/folder.tar");
    fs::create_dir_all(&folder).unwrap();
    assert_eq!(code(&to(&folder.to_string_lossy())), 6, "a folder has the name");
    fs::remove_dir_all(machine.layout().source(&package)).unwrap();
    assert_eq!(code(&everything), 4, "broken");
}

#[test]
fn what_no_archive_can_hold_is_left_out_and_links_come_along() {
    let machine = Machine::new();
    let package = machine.built("");
    let source = machine.layout().source(&package);
    symlink("prebuilt", source.join("link")).unwrap();
    let long = "long".repeat(40);
    fs::write(source.join(&long), "").unwrap();
    drop(std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap());
    let mut events = quiet();
    let archive = machine.engine().make_tarball(&pack(&package, &[], Contents::SourceOnly), &mut events).unwrap();
    assert!(text(&events).contains("socket is left out"), "{events:?}");
    let found = members(&archive);
    assert!(found.contains(&"dkms_source_tree/link".to_owned()) && found.contains(&format!("dkms_source_tree/{long}")));
    let other = Machine::new();
    other.load(&archive, daemons()).unwrap();
    assert_eq!(fs::read_link(other.layout().source(&package).join("link")).unwrap(), Path::new("prebuilt"));
}

#[test]
fn what_a_killed_load_leaves_is_swept_and_one_that_runs_is_not() {
    let machine = Machine::new();
    let trees = [machine.layout().source_tree(), machine.layout().dkms_tree()];
    let folders = |name: &str| trees.clone().map(|tree| tree.join(name));
    for folder in folders(".dkmsd-load-killed").iter().chain(&folders(".dkmsd-load-runs")).chain(&folders("a-1")) {
        fs::create_dir_all(folder.join("dkms_source_tree")).unwrap();
    }
    let held = folders(".dkmsd-load-runs").map(|folder| crate::build::workspace::hold(&folder).unwrap());
    machine.engine().recover(&mut quiet()).unwrap();
    let there = |name: &str| folders(name).map(|folder| folder.is_dir());
    assert_eq!((there(".dkmsd-load-killed"), there(".dkmsd-load-runs")), ([false; 2], [true; 2]));
    drop(held);
    machine.engine().recover(&mut quiet()).unwrap();
    assert_eq!((there(".dkmsd-load-runs"), there("a-1")), ([false; 2], [true; 2]));
}

#[test]
fn links_that_lead_out_of_the_source_are_named() {
    let machine = Machine::new();
    let package = machine.built("");
    let source = machine.layout().source(&package);
    fs::create_dir(source.join("sub")).unwrap();
    for (link, target) in
        [("fine", "prebuilt"), ("sub/up", "../prebuilt"), ("far", "/etc/hosts"), ("sub/out", "../../x")]
    {
        symlink(target, source.join(link)).unwrap();
    }
    let warnings = |contents| {
        let mut events = quiet();
        machine
            .engine()
            .make_tarball(&pack(&package, std::slice::from_ref(&machine.kernel), contents), &mut events)
            .unwrap();
        let warnings = events.into_iter().filter_map(|event| match event {
            Event::Warning { text } => Some(text),
            _ => None,
        });
        warnings.collect::<Vec<_>>()
    };
    let told = warnings(Contents::SourceOnly);
    assert_eq!(told.len(), 2, "{told:?}");
    for (told, (link, target)) in told.iter().zip([("far", "/etc/hosts"), ("sub/out", "../../x")]) {
        assert!(told.contains(&*source.join(link).to_string_lossy()) && told.contains(target), "{told}");
    }
    assert_eq!(warnings(Contents::BinariesOnly), Vec::<String>::new());
}

#[test]
fn what_is_added_already_is_refused_and_replaced_by_force() {
    let machine = Machine::new();
    let archive = machine.archive(Contents::Everything);
    let package: PackageId = "a/1".parse().unwrap();
    let module = machine.layout().module_dir(&package, &machine.kernel).join("r8169.ko");
    machine.install(&package).unwrap();
    let installed = machine.manifest(&package).installed;
    fs::write(&module, "another").unwrap();
    assert_eq!(machine.load(&archive, daemons()).unwrap_err().exit_code(), 8);
    assert_eq!(fs::read_to_string(&module).unwrap(), "another");
    let loaded = machine.load(&archive, forced()).unwrap();
    assert_eq!(loaded.built, std::slice::from_ref(&machine.kernel));
    assert_ne!(fs::read(&module).unwrap(), b"another");
    machine.assert_tidy();
    // What is installed is still known, so that it can be taken away.
    assert!(installed.is_some());
    assert_eq!(machine.manifest(&package).installed, installed);
    machine.engine().uninstall(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    assert!(!machine.installed_file().exists());
}

#[test]
fn what_is_built_already_is_kept() {
    let machine = Machine::new();
    let archive = machine.archive(Contents::Everything);
    let package: PackageId = "a/1".parse().unwrap();
    fs::remove_file(machine.layout().source_link(&package)).unwrap();
    fs::remove_dir_all(machine.layout().source(&package)).unwrap();
    let module = machine.layout().module_dir(&package, &machine.kernel).join("r8169.ko");
    fs::write(&module, "mine").unwrap();
    let (loaded, told) = machine.load_told(&archive, daemons());
    let loaded = loaded.unwrap();
    assert_eq!((loaded.built, loaded.kept), (vec![], vec![machine.kernel.clone()]));
    assert!(told.contains("Warning") && told.contains("stays as it is"), "{told}");
    assert_eq!(fs::read_to_string(module).unwrap(), "mine");
    let found = tree::package(machine.layout(), &package).unwrap().unwrap();
    assert!(matches!(found.source, SourceState::Present(_)));
}

#[test]
fn a_source_that_is_there_is_left_when_it_is_the_same_and_replaced_when_not() {
    let machine = Machine::new();
    let archive = machine.archive(Contents::Everything);
    let package: PackageId = "a/1".parse().unwrap();
    let source = machine.layout().source(&package);
    let inode = || fs::metadata(&source).unwrap().ino();
    let before = inode();
    machine.engine().remove(&package, &daemons(), &mut quiet()).unwrap();
    let (loaded, told) = machine.load_told(&archive, daemons());
    assert!(loaded.is_ok() && !told.contains("Warning"), "{told}");
    assert_eq!(inode(), before);
    machine.engine().remove(&package, &daemons(), &mut quiet()).unwrap();
    fs::write(source.join("Makefile"), "changed").unwrap();
    let (loaded, told) = machine.load_told(&archive, daemons());
    assert!(loaded.is_ok() && told.contains("was there already"), "{told}");
    assert!(!source.join("Makefile").exists());
    machine.assert_tidy();
}

#[test]
fn binaries_alone_are_loaded_and_said_to_be_alone() {
    let elsewhere = Machine::new();
    let archive = elsewhere.archive(Contents::BinariesOnly);
    let machine = Machine::new();
    let package: PackageId = "a/1".parse().unwrap();
    let error = machine.load(&archive, daemons()).unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    let found = tree::package(machine.layout(), &package).unwrap().unwrap();
    assert!(matches!(found.source, SourceState::Present(_)));
    assert!(found.entries.iter().any(|entry| entry.built && entry.kernel == machine.kernel));
    assert_eq!(machine.load(&archive, daemons()).unwrap_err().exit_code(), 8);
    assert_eq!(machine.install(&package).unwrap(), Done::Placed, "they can be installed");
    // The source that comes later is the one that counts.
    machine.source("a/1", "");
    assert!(machine.load(&archive, forced()).is_ok());
    let found = tree::package(machine.layout(), &package).unwrap().unwrap();
    assert_eq!(found.source, SourceState::Present(machine.layout().source(&package)));
    machine.assert_tidy();
}

/// DKMS 3.0.10 makes `source` a folder that holds dkms.conf.
#[test]
fn binaries_that_a_classic_tool_loaded_are_used_and_give_way_to_a_source() {
    let elsewhere = Machine::new();
    let archive = elsewhere.archive(Contents::Everything);
    let machine = Machine::new();
    let package: PackageId = "a/1".parse().unwrap();
    let folder = machine.layout().source_link(&package);
    machine.source_at(&folder, "a/1", "");
    let module = machine.layout().module_dir(&package, &machine.kernel);
    fs::create_dir_all(&module).unwrap();
    fs::copy(fixture::module("r8169.ko"), module.join("r8169.ko")).unwrap();
    assert_eq!(machine.install_as(&package, &classic()).unwrap(), Done::Placed);
    assert_eq!(machine.load(&archive, daemons()).unwrap_err().exit_code(), 8);
    machine.load(&archive, forced()).unwrap();
    let found = tree::package(machine.layout(), &package).unwrap().unwrap();
    assert_eq!(found.source, SourceState::Present(machine.layout().source(&package)));
    assert!(fs::symlink_metadata(&folder).unwrap().is_symlink());
}

#[test]
fn binaries_find_the_source_that_is_there() {
    let elsewhere = Machine::new();
    let archive = elsewhere.archive(Contents::BinariesOnly);
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    assert_eq!(machine.load(&archive, daemons()).unwrap().built, std::slice::from_ref(&machine.kernel));
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
}

#[rstest]
#[case::top("")]
#[case::below("driver-1.0/kernel")]
fn any_source_with_a_conf_is_loaded(#[case] below: &str) {
    let machine = Machine::new();
    let folder = machine.layout().host("/srv/unpacked");
    machine.source_at(&folder.join(below), "a/1", "POST_ADD=hook.sh");
    let hook = folder.join(below).join("hook.sh");
    fs::write(&hook, "#!/bin/sh\ntouch added\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir_all(folder.join("unrelated")).unwrap();
    std::os::unix::fs::chown(folder.join(below), Some(1234), Some(1234)).unwrap();
    let archive = machine.tar(&folder, "driver.tar.bz2");
    let loaded = machine.load(&archive, daemons()).unwrap();
    assert_eq!((loaded.package.to_string().as_str(), loaded.built, loaded.kept), ("a/1", vec![], vec![]));
    let source = machine.layout().source(&loaded.package);
    assert!(source.join("added").exists(), "POST_ADD ran");
    assert_eq!(source.join("unrelated").exists(), below.is_empty());
    let found = fs::metadata(&source).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o755));
    assert_eq!(machine.install(&loaded.package).unwrap(), Done::Placed);
    machine.assert_tidy();
}

#[rstest]
#[case::no_conf("", None, 3)]
#[case::no_name("dkms.conf", Some("PACKAGE_VERSION=1"), 7)]
#[case::bad_conf("dkms.conf", Some("PACKAGE_NAME=a\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=a"), 7)]
#[case::name_that_climbs(
    "dkms.conf",
    Some("PACKAGE_NAME=../a\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=a\nDEST_MODULE_LOCATION=/extra"),
    7
)]
#[case::version_that_climbs(
    "dkms.conf",
    Some("PACKAGE_NAME=a\nPACKAGE_VERSION=1/../../x\nBUILT_MODULE_NAME=a\nDEST_MODULE_LOCATION=/extra"),
    7
)]
#[case::version_of_the_trees_own(
    "dkms.conf",
    Some("PACKAGE_NAME=a\nPACKAGE_VERSION=original_module\nBUILT_MODULE_NAME=a\nDEST_MODULE_LOCATION=/extra"),
    7
)]
#[case::folder("dkms.conf/x", Some(""), 3)]
fn what_is_no_package_leaves_no_trace(#[case] name: &str, #[case] text: Option<&str>, #[case] code: i32) {
    let machine = Machine::new();
    let folder = machine.layout().host("/srv/unpacked");
    let file = folder.join(if name.is_empty() { "README" } else { name });
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text.unwrap_or_default()).unwrap();
    let archive = machine.tar(&folder, "driver.tar.gz");
    let before: Vec<_> =
        fs::read_dir(machine.layout().source_tree()).unwrap().map(|e| e.unwrap().file_name()).collect();
    let error = machine.load(&archive, forced()).unwrap_err();
    assert_eq!(error.exit_code(), code, "{error}");
    let after: Vec<_> = fs::read_dir(machine.layout().source_tree()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(before, after);
    assert!(tree::scan(machine.layout()).unwrap().is_empty());
    machine.assert_tidy();
}

#[rstest]
#[case::link_out("source", "../../etc/passwd", "leads out of it")]
#[case::absolute_link("source", "/etc/passwd", "leads out of it")]
#[case::link_among_what_is_built("built", "r8169.ko", "link among what is built")]
fn links_that_lead_elsewhere_are_refused(#[case] place: &str, #[case] target: &str, #[case] because: &str) {
    let machine = Machine::new();
    let folder = machine.layout().host("/srv/unpacked");
    machine.source_at(&folder.join("dkms_source_tree"), "a/1", "");
    let built = folder.join("dkms_main_tree/6.1/x86_64/module");
    fs::create_dir_all(&built).unwrap();
    symlink(target, if place == "built" { built.join("link") } else { folder.join("dkms_source_tree/link") }).unwrap();
    let error = machine.load(&machine.tar(&folder, "a.tar"), daemons()).unwrap_err();
    assert_eq!(error.exit_code(), 7);
    assert!(error.to_string().contains(because), "{error}");
    assert!(tree::scan(machine.layout()).unwrap().is_empty());
    machine.assert_tidy();
}

/// A manifest says what an uninstall removes: one from elsewhere must not be believed.
#[test]
fn an_archive_cannot_bring_records_of_ours() {
    let machine = Machine::new();
    let folder = machine.layout().host("/srv/unpacked");
    machine.source_at(&folder.join("dkms_source_tree"), "a/1", "");
    let KernelId { release, arch } = &machine.kernel;
    let built = folder.join("dkms_main_tree").join(release).join(arch);
    fs::create_dir_all(built.join("module")).unwrap();
    fs::copy(fixture::module("r8169.ko"), built.join("module/r8169.ko")).unwrap();
    fs::write(built.join(".dkmsd-manifest.json"), "{}").unwrap();
    fs::write(built.join("beside"), "").unwrap();
    let package = machine.load(&machine.tar(&folder, "a.tar.zst"), daemons()).unwrap().package;
    let placed = machine.layout().built_dir(&package, &machine.kernel);
    assert!(placed.join("module/r8169.ko").exists() && placed.join("beside").exists());
    assert!(!placed.join(".dkmsd-manifest.json").exists());
}

#[test]
fn archives_that_are_none() {
    let machine = Machine::new();
    let code = |path: &Path| machine.load(path, daemons()).unwrap_err().exit_code();
    assert_eq!(code(Path::new("/nowhere/a.tar.gz")), 2);
    assert_eq!(code(machine.layout().root()), 2, "a folder");
    let text = machine.layout().host("/srv/text.tar.gz");
    fs::create_dir_all(text.parent().unwrap()).unwrap();
    fs::write(&text, "no archive").unwrap();
    assert_eq!(code(&text), 7);
    let rpm = text.with_extension("rpm");
    fs::write(&rpm, "no rpm").unwrap();
    assert_eq!(code(&rpm), 9, "with rpm or without");
    machine.assert_tidy();
}

#[test]
fn a_person_who_loads_ends_the_hold() {
    let machine = Machine::new();
    let archive = machine.archive(Contents::Everything);
    let package: PackageId = "a/1".parse().unwrap();
    machine.engine().remove(&package, &by_hand(), &mut quiet()).unwrap();
    machine.load(&archive, by_hand()).unwrap();
    assert_eq!(tree::Holds::read(machine.layout()).unwrap().iter().count(), 0);
}
