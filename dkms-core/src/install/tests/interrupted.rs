//! Stopped before any single change to the disk.

use super::*;

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
            let found = recover(&world.layout, None).unwrap();
            recovered = recovered.or_else(|| found.into_iter().next().map(|r| r.action));
            if stop_before(None) != Some(0) {
                break;
            }
        }
        let pending = under_way(&world.layout, &package.name, &world.kernel).unwrap();
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
        assert_eq!(recover(&world.layout, None).unwrap(), []);
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
        let recovered = recover(&world.layout, None).unwrap();
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
            withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
            wanted = Some(world.snapshot());
            let original = world.folder().join(REALTEK).join("r8169.ko");
            assert_eq!(fs::read(original).unwrap(), fs::read(fixture::module("r8169.ko")).unwrap());
            continue;
        }
        stop_before(n.map(|n: usize| n - 1));
        let ended = withdraw(&world.layout, &package, &world.kernel, None, None, None);
        stop_before(None);
        withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap();
        same(&world.snapshot(), wanted.as_ref().unwrap(), &format!("stopped before change {n:?}"));
        if ended.is_ok() {
            break;
        }
    }
}

/// The kernel's module is back in its place, and the record does not know yet.
#[test]
fn an_install_after_an_interrupted_uninstall_keeps_the_kernels_module() {
    for n in 0.. {
        let (world, package, modules) = case(Case::InPlace);
        world.install("1", &modules);
        stop_before(Some(n));
        let ended = withdraw(&world.layout, &package, &world.kernel, None, None, None);
        stop_before(None);
        let other = world.built("2", &[("r8169.ko.xz", NEWER)]);
        world.install("2", &modules);
        withdraw(&world.layout, &other, &world.kernel, None, None, None).unwrap();
        let original = fs::read(world.folder().join(REALTEK).join("r8169.ko")).unwrap();
        assert_eq!(original, fs::read(fixture::module("r8169.ko")).unwrap(), "stopped before change {n}");
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
    recover(&world.layout, None).unwrap();
    same(&world.snapshot(), &before, "afterwards");

    let world = World { kernel: KernelId::new("0.0.1", "x86_64").unwrap(), ..world };
    let package = world.built("1", &[("r8169.ko", OURS)]);
    let failed = place(&world.target(&package, &recipe), &mut Vec::new()).unwrap_err();
    assert!(matches!(failed, Error::NoKernel { .. }), "{failed}");
    assert_eq!(failed.exit_code(), 6);
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
    assert_eq!(recover(&world.layout, None).unwrap(), []);
    for failed in [
        undo(&world.layout, &package.name, &world.kernel).unwrap_err(),
        place(&world.target(&package, &recipe), &mut Vec::new()).unwrap_err(),
        withdraw(&world.layout, &package, &world.kernel, None, None, None).unwrap_err(),
    ] {
        assert!(matches!(failed, Error::NotUndone { .. }), "{failed}");
    }
    same(&world.snapshot(), &before, "afterwards");
}

/// Something an admin or a crash may do.
#[derive(Debug, Clone, Copy)]
enum Op {
    Install(usize),
    Withdraw(usize),
}

fn ops() -> impl proptest::strategy::Strategy<Value = Vec<(Op, Option<usize>)>> {
    use proptest::prelude::*;
    let op = prop_oneof![(0_usize..3).prop_map(Op::Install), (0_usize..3).prop_map(Op::Withdraw)];
    proptest::collection::vec((op, proptest::option::of(0_usize..90)), 1..7)
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 48, ..Default::default() })]

    /// Whatever is installed and uninstalled, and wherever it stops: in the end the kernel is as it was.
    #[test]
    fn the_kernel_always_gets_its_modules_back(ops in ops(), in_place: bool) {
        let world = World::with(if in_place { None } else { Some("/updates/dkms") });
        let versions = ["1", "2", "3"];
        world.built("1", &[("r8169.ko", OURS)]);
        world.built("2", &[("r8169.ko", NEWER), ("helper.ko", OURS)]);
        world.built("3", &[("r8169.ko.xz", OURS)]);
        let modules: [&[&str]; 3] = [&["r8169"], &["r8169", "helper"], &["r8169"]];
        let kernels_own = |world: &World| {
            let folder = world.layout.inside(&world.folder());
            world.snapshot().into_iter().filter(|(path, _)| path.starts_with(&folder)).collect::<Snapshot>()
        };
        let before = kernels_own(&world);
        for (op, stop) in &ops {
            let (Op::Install(n) | Op::Withdraw(n)) = *op;
            let package = world.package(versions[n]);
            let recipe = world.recipe(versions[n], modules[n]);
            stop_before(*stop);
            let _ = match op {
                Op::Install(_) => place(&world.target(&package, &recipe), &mut Vec::new()).map(drop)
                    .and_then(|()| commit(&world.layout, &package.name, &world.kernel)),
                Op::Withdraw(_) => withdraw(&world.layout, &package, &world.kernel, None, None, None).map(drop),
            };
            stop_before(None);
            for found in recover(&world.layout, None).unwrap() {
                if found.action == RecoverAction::AwaitsDepmod {
                    commit(&world.layout, &found.package.name, &world.kernel).unwrap();
                }
            }
            world.has_a_whole_module("between");
        }
        for version in versions {
            withdraw(&world.layout, &world.package(version), &world.kernel, None, None, None).unwrap();
        }
        same(&kernels_own(&world), &before, "in the end");
        let entries = tree::scan(&world.layout).unwrap().into_iter().flat_map(|p| p.entries).collect::<Vec<_>>();
        assert!(entries.iter().all(|e| e.built && !e.installed && !e.originals));
    }
}
