//! What an install puts in place, refuses and displaces.

use super::*;

#[test]
fn an_install_displaces_the_kernels_module_and_an_uninstall_brings_it_back() {
    let world = World::new();
    let package = world.built("1", &[("r8169.ko", OURS)]);
    let recipe = world.recipe("1", &["r8169"]);
    let before = world.snapshot();

    let placed = place(&world.target(&package, &recipe), &mut Vec::new()).unwrap();
    let installed = world.folder().join("updates/dkms/r8169.ko");
    let original = world.folder().join(REALTEK).join("r8169.ko");
    assert_eq!(placed.displaced, [(world.layout.inside(&original), None)]);
    assert_eq!(placed.files.len(), 1);
    let pending = || under_way(&world.layout, &package.name, &world.kernel).unwrap();
    assert_eq!(pending().map(|u| (u.package, u.placed.is_some())), Some((package.clone(), true)));
    depmod::run(&world.layout, &world.kernel.release).unwrap();
    commit(&world.layout, &package.name, &world.kernel).unwrap();
    assert_eq!(pending(), None);

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

    let gone = withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
    assert_eq!(gone.removed, [world.layout.inside(&installed)]);
    assert_eq!(gone.restored, [world.layout.inside(&original)]);
    assert_eq!(gone.kept, []);
    depmod::run(&world.layout, &world.kernel.release).unwrap();
    assert_eq!(world.indexed("r8169"), [format!("{REALTEK}/r8169.ko")]);
    let mut after = world.snapshot();
    after.remove(&world.layout.inside(&world.layout.manifest(&package, &world.kernel)));
    same(&after, &before, "afterwards");
    let again = withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
    assert_eq!(again, Withdrawn::default());
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

/// `(file that the package builds as 8139cp, kernel's own 8139cp is there)`, checked, refused as.
#[rstest]
#[case::same("8139cp.ko", true, Some(EntryState::KernelNewer))]
#[case::kernel_has_a_version_and_ours_none("r8169.ko", true, Some(EntryState::KernelNewer))]
#[case::overridden("8139cp.ko", false, None)]
fn a_module_may_be_refused(#[case] file: &str, #[case] check_version: bool, #[case] wanted: Option<EntryState>) {
    let world = World::new();
    let package = world.built("1", &[("8139cp.ko", file)]);
    let recipe = world.recipe("1", &["8139cp"]);
    let before = world.snapshot();
    let target = Target { check_version, ..world.target(&package, &recipe) };
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
    let target = Target { check_version: true, ..world.target(&package, &recipe) };
    let placed = place(&target, &mut Vec::new()).unwrap();
    assert_eq!(placed.files.iter().map(|f| f.module.as_str()).collect::<Vec<_>>(), ["r8169"]);
    assert_eq!(placed.refused.iter().map(|(m, _)| m.as_str()).collect::<Vec<_>>(), ["8139cp"]);
    // What is installed is not compared with itself: a downgrade is the admin's to ask for.
    commit(&world.layout, &package.name, &world.kernel).unwrap();
    let older = world.built("0", &[("r8169.ko", "r8169.ko")]);
    let recipe = world.recipe("0", &["r8169"]);
    place(&Target { check_version: true, ..world.target(&older, &recipe) }, &mut Vec::new()).unwrap();
}

#[test]
fn an_upgraded_kernels_module_that_took_our_place_is_kept_in_turn() {
    let (world, package, modules) = case(Case::InPlace);
    world.install("1", &modules);
    let place = world.folder().join(REALTEK).join("r8169.ko");
    fs::copy(fixture::module(NEWER), &place).unwrap();
    world.install("1", &modules);
    assert_eq!(fs::read(&place).unwrap(), fs::read(fixture::module(OURS)).unwrap());
    let done = withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
    assert_eq!(done.restored, [world.layout.inside(&place)]);
    assert_eq!(fs::read(&place).unwrap(), fs::read(fixture::module(NEWER)).unwrap());
}

#[rstest]
#[case::in_the_distributions_folder(Some("/updates/dkms"))]
#[case::over_the_kernels_own(None)]
fn what_classic_dkms_installed_does_not_refuse_its_successor(#[case] folder: Option<&'static str>) {
    let world = World::with(folder);
    let package = world.built("1", &[("r8169.ko", OURS)]);
    let before = world.snapshot();
    world.install("1", &["r8169"]);
    fs::remove_file(world.layout.manifest(&package, &world.kernel)).unwrap();
    // Built anew; the installed file has the higher version, and is no longer what the tree has.
    world.built("1", &[("r8169.ko", "r8169.ko")]);
    let recipe = world.recipe("1", &["r8169"]);
    let target = Target { check_version: true, ..world.target(&package, &recipe) };
    place(&target, &mut Vec::new()).unwrap();
    undo(&world.layout, &package.name, &world.kernel).unwrap();
    // And taken away as classic DKMS would, though its bytes are not known.
    let done = withdraw(&world.layout, &package, &world.kernel, Some(&recipe), folder, None).unwrap();
    assert_eq!(done.kept, []);
    world.built("1", &[("r8169.ko", OURS)]);
    same(&world.snapshot(), &before, "afterwards");
}

#[test]
fn several_of_a_name_are_not_compared() {
    let world = World::new();
    let second = world.folder().join("extra/8139cp.ko");
    fs::create_dir_all(second.parent().unwrap()).unwrap();
    fs::copy(fixture::module("8139cp.ko"), second).unwrap();
    let package = world.built("1", &[("8139cp.ko", "r8169.ko")]);
    let recipe = world.recipe("1", &["8139cp"]);
    let mut events = Vec::new();
    let target = Target { check_version: true, ..world.target(&package, &recipe) };
    let placed = place(&target, &mut events).unwrap();
    assert_eq!(placed.displaced, [(world.layout.inside(&world.folder().join("extra/8139cp.ko")), None)]);
    assert!(matches!(events.as_slice(), [Event::Warning { text }] if text.contains("extra")), "{events:?}");
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
