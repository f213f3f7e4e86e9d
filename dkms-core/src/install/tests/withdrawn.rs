//! What an uninstall takes away, puts back and leaves.

use super::*;

/// The contract has it removed; what somebody made of it is not lost by that.
#[test]
fn of_a_file_that_somebody_replaced_a_copy_is_kept() {
    let (world, package, modules) = case(Case::Fresh);
    world.install("1", &modules);
    let installed = world.folder().join("updates/dkms/r8169.ko");
    fs::copy(fixture::module(NEWER), &installed).unwrap();
    let done = withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
    assert_eq!((done.kept, done.removed), (vec![], vec![world.layout.inside(&installed)]));
    let copies = world.layout.displaced_dir(&package, &world.kernel);
    let found: Vec<_> = files::list(&copies).unwrap().into_iter().map(|(name, _)| copies.join(name)).collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].file_name().unwrap().to_str().unwrap().starts_with("r8169.ko."));
    assert_eq!(fs::read(&found[0]).unwrap(), fs::read(fixture::module(NEWER)).unwrap());
    assert!(!installed.exists() && world.folder().join(REALTEK).join("r8169.ko").exists());
}

#[rstest]
#[case::among_the_kernels_own(None, |_: &World, place: &Path| { fs::copy(fixture::module(NEWER), place).unwrap(); })]
#[case::a_link(Some("/updates/dkms"), |_: &World, place: &Path| {
    fs::remove_file(place).unwrap();
    std::os::unix::fs::symlink("/srv/r8169.ko", place).unwrap();
})]
#[case::no_room_for_a_copy(Some("/updates/dkms"), |world: &World, place: &Path| {
    fs::copy(fixture::module(NEWER), place).unwrap();
    fs::create_dir_all(world.layout.state_dir().parent().unwrap()).unwrap();
    fs::write(world.layout.state_dir(), "").unwrap();
})]
#[case::another_packages(Some("/updates/dkms"), |world: &World, place: &Path| {
    let other = PackageId::new("other", "1").unwrap();
    fs::create_dir_all(world.layout.source(&other)).unwrap();
    tree::add(&world.layout, &other).unwrap();
    let built = world.layout.module_dir(&other, &world.kernel);
    fs::create_dir_all(&built).unwrap();
    fs::copy(fixture::module(NEWER), built.join("r8169.ko")).unwrap();
    let target = built.parent().unwrap().strip_prefix(world.layout.package_dir(&other.name)).unwrap().to_owned();
    std::os::unix::fs::symlink(target, world.layout.installed_link(&other.name, &world.kernel)).unwrap();
    fs::copy(fixture::module(NEWER), place).unwrap();
})]
fn a_file_that_somebody_replaced_stays_where_it_may_be_needed(
    #[case] folder: Option<&'static str>,
    #[case] replace: fn(&World, &Path),
) {
    let world = World::with(folder);
    let package = world.built("1", &[("r8169.ko", OURS)]);
    world.install("1", &["r8169"]);
    let place = match folder {
        Some(_) => world.folder().join("updates/dkms/r8169.ko"),
        None => world.folder().join(REALTEK).join("r8169.ko"),
    };
    replace(&world, &place);
    let found = intent::Content::at(&place).unwrap();
    let done = withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
    assert_eq!(done.kept.iter().map(|(p, _)| p.clone()).collect::<Vec<_>>(), [world.layout.inside(&place)]);
    assert_eq!(intent::Content::at(&place).unwrap(), found);
    assert!(done.removed.is_empty());
}

#[test]
fn a_kernel_that_was_upgraded_keeps_its_newer_module() {
    let (world, package, modules) = case(Case::Fresh);
    world.install("1", &modules);
    let place = world.folder().join(REALTEK).join("r8169.ko");
    fs::copy(fixture::module(NEWER), &place).unwrap();
    let done = withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
    assert_eq!(done.restored, Vec::<PathBuf>::new());
    assert_eq!(fs::read(place).unwrap(), fs::read(fixture::module(NEWER)).unwrap());
    assert!(!world.layout.originals_dir(&package.name, &world.kernel).exists());
}

#[rstest]
#[case::all_of_it(true)]
#[case::all_but_our_module(false)]
fn a_kernel_that_is_gone_is_not_brought_back(#[case] all: bool) {
    let (world, package, modules) = case(Case::Fresh);
    world.install("1", &modules);
    fs::remove_dir_all(if all { world.folder() } else { world.folder().join("kernel") }).unwrap();
    let done = withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
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
    let done = withdraw(&world.layout, &package, &world.kernel, Some(&recipe), folder, None).unwrap();
    assert_eq!(done.kept, []);
    same(&world.snapshot(), &before, "afterwards");
}

#[test]
fn an_original_of_unknown_origin_is_not_thrown_away() {
    let (world, package, modules) = case(Case::Fresh);
    world.install("1", &modules);
    let kept = world.layout.originals_dir(&package.name, &world.kernel).join("r8169.ko");
    fs::remove_file(kept.with_extension("ko.origin")).unwrap();
    let done = withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
    assert_eq!(done.kept.len(), 1);
    assert!(kept.exists());
}

/// The kernel's package lists its modules; DEST_MODULE_LOCATION is but the author's guess.
#[rstest]
#[case::same_suffix("r8169.ko")]
#[case::another_suffix("r8169.ko.xz")]
fn an_original_of_unknown_origin_goes_where_the_kernels_package_has_it(#[case] listed: &str) {
    let mut world = World::new();
    world.location = "/kernel/elsewhere".to_owned();
    let order = format!("kernel/net/xr8169.ko\n{REALTEK}/{listed}\nkernel/lib/r8169/x.ko\n");
    fs::write(world.folder().join("modules.order"), order).unwrap();
    let package = world.built("1", &[("r8169.ko", OURS)]);
    let before = world.snapshot();
    world.install("1", &["r8169"]);
    fs::remove_file(world.layout.manifest(&package, &world.kernel)).unwrap();
    fs::remove_file(world.layout.originals_dir(&package.name, &world.kernel).join("r8169.ko.origin")).unwrap();
    let recipe = world.recipe("1", &["r8169"]);
    let done = withdraw(&world.layout, &package, &world.kernel, Some(&recipe), world.modules_folder, None).unwrap();
    assert_eq!(done.kept, []);
    same(&world.snapshot(), &before, "afterwards");
}

#[test]
fn another_version_is_not_withdrawn() {
    let (world, _, modules) = case(Case::Upgrade);
    let (old, new) = (world.package("1"), world.package("2"));
    world.install("2", &modules);
    assert_eq!(Manifest::read(&world.layout, &old, &world.kernel).unwrap().unwrap().installed, None);
    let before = world.snapshot();
    let done = withdraw(&world.layout, &old, &world.kernel, None, None, None).unwrap();
    assert!(!done.was_installed);
    same(&world.snapshot(), &before, "afterwards");
    assert!(tree::package(&world.layout, &new).unwrap().unwrap().entries.iter().all(|e| e.installed));
}
