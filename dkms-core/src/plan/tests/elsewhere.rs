//! Kernels that are gone or have no kernel, sources that are not in the tree yet, and autoinstall turned off.

use super::*;

/// A second kernel of this kind, for which the packages are as for the first.
fn with_kernel(mut world: World, release: &str, presence: KernelPresence) -> World {
    let headers = world.kernels[0].headers.clone();
    world.kernels.push(KernelView { id: kernel(release), presence, headers });
    for package in &mut world.packages {
        let entry = package.entries[&kernel(RELEASE)].clone();
        package.entries.insert(kernel(release), entry);
    }
    world
}

#[rstest]
#[case::installed(so(|_, e| install(e)), true)]
#[case::built(so(|_, e| e.built = true), true)]
#[case::broken(so(|p, e| { install(e); broken(p, e); }), true)]
#[case::held(so(|_, e| { install(e); e.held = Some("by hand".into()); }), true)]
#[case::nothing_there(so(|_, _| {}), false)]
#[case::failed(so(|_, e| e.failure = Some(failure("s", "other"))), false)]
fn for_a_gone_kernel_there_is_only_cleaning(#[case] change: Change, #[case] clean: bool) {
    let mut world = with_kernel(world([package("a/1", change)]), "5.10", KernelPresence::Gone);
    world.kernels.remove(0);
    for off in [false, true] {
        world.autoinstall_off = off;
        let plan = plan(&world);
        assert_eq!(actions(&plan), if clean { &["clean a/1"][..] } else { &[] });
        assert!(plan.actions.iter().all(|a| a.verb == Verb::Clean(kernel("5.10"))));
        assert_eq!(
            plan.rows.iter().any(|r| r.kernel.is_some()),
            clean,
            "a kernel that is gone is shown only for what is left of it"
        );
    }
}

#[test]
fn other_kernels_go_on_beside_a_gone_one() {
    let plan = plan(&with_kernel(world([package("a/1", |_, e| e.built = true)]), "5.10", KernelPresence::Gone));
    assert_eq!(actions(&plan), ["install a/1", "clean a/1"]);
}

#[test]
fn headers_without_a_kernel_are_built_for() {
    let world = with_kernel(world([package("a/1", |_, _| {})]), "6.12", KernelPresence::HeadersOnly);
    let verbs: Vec<Verb> = plan(&world).actions.into_iter().map(|a| a.verb).collect();
    assert_eq!(verbs, [Verb::Install(kernel(RELEASE)), Verb::Install(kernel("6.12"))]);
}

#[test]
fn kernels_are_judged_apart() {
    let mut world = with_kernel(world([package("a/1", |_, e| install(e))]), "6.12", KernelPresence::Installed);
    world.packages[0].entries.insert(
        kernel("6.12"),
        EntryView { held: Some("by hand".into()), ..package("a/1", |_, _| {}).entries[&kernel(RELEASE)].clone() },
    );
    let states: Vec<EntryState> = plan(&world).rows.iter().map(|r| r.state).collect();
    assert_eq!(states, [EntryState::Installed, EntryState::Held]);
}

fn unregistered(package: &mut PackageView, _: &mut EntryView) {
    package.source = SourceView::Unregistered;
}

#[test]
fn a_source_that_appeared_is_added_and_then_installed() {
    let plan = plan(&world([package("a/1", unregistered)]));
    assert_eq!(actions(&plan), ["add a/1", "install a/1 after add a/1"]);
    assert_eq!(row(&plan, "a/1").state, EntryState::Queued);
}

#[rstest]
#[case::not_automatic(so(|p, e| { unregistered(p, e); not_automatic(p, e); }))]
#[case::bad(so(|p, e| { unregistered(p, e); bad(p, e); }))]
#[case::unreadable(so(|p, e| { unregistered(p, e); p.autoinstall = Err("line 3".into()); e.recipe = None; }))]
fn other_sources_are_left_alone(#[case] change: Change) {
    let plan = plan(&world([package("a/1", change)]));
    assert_eq!(actions(&plan), [""; 0]);
    assert!(plan.rows.iter().all(|row| row.kernel.is_none() && row.problem().is_none()), "{:?}", plan.rows);
}

#[rstest]
#[case::waiting_for_a_kernel(so(|_, _| {}), EntryState::Added, "no kernel to build for", &[])]
#[case::not_automatic(not_automatic, EntryState::Added, NOT_AUTOMATIC, &[])]
#[case::appeared(unregistered, EntryState::Queued, "its source appeared", &["add a/1"])]
#[case::held(so(|p, e| { unregistered(p, e); p.held = Some("by hand".into()); }), EntryState::Held, "by hand", &[])]
#[case::broken(broken, EntryState::Broken, "is missing", &[])]
#[case::bad(bad, EntryState::Added, "line 3", &[])]
#[case::unreadable(so(|p, _| p.autoinstall = Err("line 3".into())), EntryState::Failed, "line 3", &[])]
fn without_any_kernel(#[case] change: Change, #[case] state: EntryState, #[case] reason: &str, #[case] due: &[&str]) {
    let mut world = world([package("a/1", change)]);
    world.kernels.clear();
    world.packages[0].entries.clear();
    let plan = plan(&world);
    assert_eq!(actions(&plan), due);
    assert_eq!((row(&plan, "a/1").state, row(&plan, "a/1").kernel.as_ref()), (state, None));
    assert!(row(&plan, "a/1").reason.contains(reason));
}

#[rstest]
#[case::new(so(|_, _| {}), EntryState::Added, TURNED_OFF)]
#[case::built(so(|_, e| e.built = true), EntryState::Built, TURNED_OFF)]
#[case::installed(so(|_, e| install(e)), EntryState::Installed, "")]
#[case::stale(so(|_, e| { install(e); e.built_from = Some(inputs("old")); }), EntryState::Installed, TURNED_OFF)]
#[case::failed(so(|_, e| e.failure = Some(failure("s", STAMP))), EntryState::Failed, "make failed")]
#[case::excluded(so(|_, e| recipe(e).exclusion = Some("no".into())), EntryState::Excluded, "no")]
#[case::source(unregistered, EntryState::Added, TURNED_OFF)]
fn with_autoinstall_off_nothing_is_due(#[case] change: Change, #[case] state: EntryState, #[case] reason: &str) {
    let mut world = world([package("a/1", change)]);
    world.autoinstall_off = true;
    let with_kernel = plan(&world);
    assert_eq!(actions(&with_kernel), [""; 0]);
    assert_eq!((row(&with_kernel, "a/1").state, row(&with_kernel, "a/1").reason.as_str()), (state, reason));
    world.kernels.clear();
    assert_eq!(actions(&plan(&world)), [""; 0]);
}

const TURNED_OFF: &str = "autoinstall is turned off by /etc/dkms/no-autoinstall";
