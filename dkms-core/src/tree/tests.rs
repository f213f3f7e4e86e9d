use std::fs;
use std::os::unix::fs::symlink;

use rstest::rstest;

use super::*;
use crate::model::KernelId;

fn setup() -> (tempfile::TempDir, Layout) {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::under(root.path());
    fs::create_dir_all(layout.dkms_tree()).unwrap();
    (root, layout)
}

fn id(text: &str) -> PackageId {
    text.parse().unwrap()
}

fn kernel(release: &str) -> KernelId {
    KernelId::new(release, "x86_64").unwrap()
}

fn manifest(package: &PackageId, kernel: &KernelId) -> Manifest {
    let built = BuiltRecord {
        at: 1,
        seconds: 2.5,
        fingerprint: "f".into(),
        source_stamp: "s".into(),
        modules: vec![BuiltModule { file_name: "r8169.ko".into(), sha256: "0".into() }],
        why: "it is not there yet".into(),
        from_cache: true,
    };
    Manifest::new(package.clone(), kernel.clone(), built)
}

fn built(layout: &Layout, package: &PackageId, release: &str) {
    fs::create_dir_all(layout.module_dir(package, &kernel(release))).unwrap();
}

fn installed(layout: &Layout, package: &PackageId, release: &str) {
    built(layout, package, release);
    let link = layout.installed_link(&package.name, &kernel(release));
    symlink(format!("{}/{release}/x86_64", package.version), link).unwrap();
}

#[test]
fn no_tree_has_no_packages() {
    let layout = Layout::under("/nonexistent");
    assert_eq!(scan(&layout).unwrap(), []);
    assert_eq!(package(&layout, &id("a/1")).unwrap(), None);
}

/// As DKMS 3.0.10 leaves modules that were loaded without their source.
#[test]
fn a_source_can_be_the_folder_itself() {
    let (_root, layout) = setup();
    let id = id("a/1");
    fs::create_dir_all(layout.source_link(&id)).unwrap();
    let source = package(&layout, &id).unwrap().map(|found| found.source);
    assert_eq!(source, Some(SourceState::Present(layout.source_link(&id))));
}

#[rstest]
#[case::added(true, Some("/usr/src/a-1"), Some(true))]
#[case::dangling(false, Some("/usr/src/a-1"), Some(false))]
#[case::elsewhere(true, Some("../../../../../usr/src/a-1"), Some(true))]
#[case::link_gone(true, None, Some(false))]
#[case::nothing(false, None, None)]
fn a_source_is_there_or_broken(#[case] source: bool, #[case] link: Option<&str>, #[case] present: Option<bool>) {
    let (_root, layout) = setup();
    let package_id = id("a/1");
    fs::create_dir_all(layout.version_dir(&package_id)).unwrap();
    if source {
        fs::create_dir_all(layout.source(&package_id)).unwrap();
    }
    if let Some(link) = link {
        symlink(link, layout.source_link(&package_id)).unwrap();
    }
    let found = package(&layout, &package_id).unwrap();
    let state = found.map(|p| match p.source {
        SourceState::Present(path) => {
            assert_eq!(path.canonicalize().unwrap(), layout.source(&package_id));
            true
        }
        SourceState::Broken(path) => {
            assert_eq!(path, layout.source(&package_id));
            false
        }
    });
    assert_eq!(state, present);
}

#[test]
fn what_is_built_and_installed_is_read_in_order_of_name() {
    let (_root, layout) = setup();
    for package in ["b/1", "a/2", "a/1"].map(id) {
        fs::create_dir_all(layout.source(&package)).unwrap();
        add(&layout, &package).unwrap();
    }
    installed(&layout, &id("a/1"), "6.1.0-56-amd64");
    built(&layout, &id("a/1"), "6.12.1-rt");
    built(&layout, &id("a/2"), "6.1.0-56-amd64");
    let record = manifest(&id("a/2"), &kernel("6.1.0-56-amd64"));
    record.write(&layout).unwrap();
    fs::create_dir_all(layout.originals_dir(&id("a/1").name, &kernel("6.1.0-56-amd64"))).unwrap();
    // Installed, and its built files are lost; weak; and what is none of a package's business.
    symlink("1/5.10/x86_64", layout.installed_link(&id("b/1").name, &kernel("5.10"))).unwrap();
    symlink("1/6.1.0-56-amd64/x86_64", layout.package_dir(&id("a/1").name).join("kernel-6.1.0-57-amd64-x86_64"))
        .unwrap();
    symlink("nonsense", layout.package_dir(&id("a/1").name).join("kernel-x")).unwrap();
    fs::create_dir_all(layout.version_dir(&id("a/1")).join("build")).unwrap();
    fs::create_dir_all(layout.version_dir(&id("a/1")).join("tarball/x86_64/module")).unwrap();
    fs::create_dir_all(layout.version_dir(&id("a/1")).join("6.2/.tmp_x86_64/module")).unwrap();
    fs::create_dir_all(layout.dkms_tree().join(".hidden/1/source")).unwrap();
    fs::write(layout.dkms_tree().join("mok.key"), "").unwrap();

    let found = scan(&layout).unwrap();
    let mut lines = Vec::new();
    for p in &found {
        for e in &p.entries {
            lines.push(format!("{}, {}: {} {} {}", p.id, e.kernel, e.built, e.installed, e.originals));
        }
        for w in &p.weak {
            lines.push(format!("{}, {} from {}", p.id, w.kernel.release, w.from.release));
        }
    }
    assert_eq!(
        lines,
        [
            "a/1, 6.1.0-56-amd64/x86_64: true true true",
            "a/1, 6.12.1-rt/x86_64: true false false",
            "a/1, 6.1.0-57-amd64 from 6.1.0-56-amd64",
            "a/2, 6.1.0-56-amd64/x86_64: true false true",
            "b/1, 5.10/x86_64: false true false",
        ]
    );
    assert_eq!(found.iter().map(|p| p.id.to_string()).collect::<Vec<_>>(), ["a/1", "a/2", "b/1"]);
    assert_eq!(package(&layout, &id("a/2")).unwrap().as_ref(), found.get(1));
    assert_eq!(found.get(1).unwrap().entries.first().unwrap().manifest.as_ref(), Some(&record));
}

#[rstest]
#[case::cut_short("{\"format\":1,\"pack")]
#[case::empty("")]
#[case::another_format("2")]
#[case::another_package("p")]
fn a_damaged_manifest_is_none(#[case] damage: &str) {
    let (_root, layout) = setup();
    let (package, kernel) = (id("a/1"), kernel("6.1"));
    built(&layout, &package, "6.1");
    let record = manifest(&package, &kernel);
    record.write(&layout).unwrap();
    assert_eq!(Manifest::read(&layout, &package, &kernel).unwrap(), Some(record.clone()));
    let path = layout.manifest(&package, &kernel);
    match damage {
        "2" => Manifest { format: 2, ..record }.write(&layout).unwrap(),
        "p" => Manifest { package: id("b/1"), ..record }.write_to(&path).unwrap(),
        text => fs::write(&path, text).unwrap(),
    }
    assert_eq!(Manifest::read(&layout, &package, &kernel).unwrap(), None);
}

#[test]
fn one_bad_entry_does_not_stop_the_rest() {
    let (_root, layout) = setup();
    for package in ["a/1", "b/1"].map(id) {
        fs::create_dir_all(layout.source(&package)).unwrap();
        add(&layout, &package).unwrap();
        built(&layout, &package, "6.1");
    }
    // A folder where the record should be is as unreadable to root as to anybody.
    fs::create_dir(layout.manifest(&id("a/1"), &kernel("6.1"))).unwrap();
    let found = scan(&layout).unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|p| p.entries.len() == 1));
}

#[test]
fn adding_mends_and_forgetting_leaves_other_versions() {
    let (_root, layout) = setup();
    for package in ["a/1", "a/2"].map(id) {
        add(&layout, &package).unwrap();
        assert!(matches!(super::package(&layout, &package).unwrap().unwrap().source, SourceState::Broken(_)));
        fs::create_dir_all(layout.source(&package)).unwrap();
        add(&layout, &package).unwrap();
        assert!(matches!(super::package(&layout, &package).unwrap().unwrap().source, SourceState::Present(_)));
        assert_eq!(fs::read_link(layout.source_link(&package)).unwrap(), layout.inside(&layout.source(&package)));
    }
    built(&layout, &id("a/1"), "6.1");
    forget(&layout, &id("a/1")).unwrap();
    forget(&layout, &id("a/1")).unwrap();
    assert_eq!(scan(&layout).unwrap().len(), 1);
    forget(&layout, &id("a/2")).unwrap();
    assert!(!layout.package_dir(&id("a/2").name).exists());
    assert!(layout.dkms_tree().is_dir());
    assert!(layout.source(&id("a/1")).is_dir());
}
