//! BUILD_DEPENDS: what comes first, and what becomes of those whose dependency is not there.

use super::*;

/// `b` needs `a`.
fn with(dependency: PackageView) -> Plan {
    plan(&world([dependency, depending("b/1", &["a"], |_| {})]))
}

#[rstest]
#[case::due(so(|_, _| {}), &["install a/1", "install b/1 after install a/1"])]
#[case::installed(so(|_, e| install(e)), &["install b/1"])]
#[case::stale(
    so(|_, e| { install(e); e.built_from = Some(inputs("old")); }),
    &["install a/1", "install b/1 after install a/1"]
)]
#[case::stale_and_failed(
    so(|_, e| { install(e); e.built_from = Some(inputs("old")); e.failure = Some(failure("s", STAMP)); }),
    &["install b/1"]
)]
#[case::installed_and_not_automatic(so(|p, e| { not_automatic(p, e); install(e); }), &["install b/1"])]
#[case::installed_and_broken(so(|p, e| { install(e); broken(p, e); }), &["install b/1"])]
#[case::installed_without_a_module_of_its_own(so(|_, e| { install(e); recipe(e).modules.clear(); }), &["install b/1"])]
#[case::excluded(so(|_, e| recipe(e).exclusion = Some("no".into())), &["install b/1"])]
#[case::not_added_yet(
    so(|p, _| p.source = SourceView::Unregistered),
    &["add a/1", "install a/1 after add a/1", "install b/1 after install a/1"]
)]
fn met(#[case] change: Change, #[case] due: &[&str]) {
    assert_eq!(actions(&with(package("a/1", change))), due);
}

#[rstest]
#[case::failed(so(|_, e| e.failure = Some(failure("s", STAMP))), EntryState::Failed, "it needs a, which is failed: make failed")]
#[case::held(so(|_, e| e.held = Some("by hand".into())), EntryState::Failed, "it needs a, which is held: by hand")]
#[case::broken(broken, EntryState::Failed, "it needs a, which is broken: its source /usr/src/gone is missing")]
#[case::not_automatic(not_automatic, EntryState::Failed, "it needs a, which is added: it does not ask for AUTOINSTALL")]
#[case::dormant(so(|_, e| recipe(e).dormant = Some("in it".into())), EntryState::Failed, "it needs a, which is dormant: in it")]
#[case::excluded_and_not_automatic(
    so(|p, e| { not_automatic(p, e); recipe(e).exclusion = Some("no".into()); }),
    EntryState::Failed, "it needs a, which is added"
)]
#[case::deferred(
    so(|_, e| recipe(e).depends = vec!["unknown".parse().unwrap()]),
    EntryState::Deferred, "it needs a, which is deferred: it needs unknown, which is not known here"
)]
#[case::not_in_the_tree_and_never_to_be(
    so(|p, e| { not_automatic(p, e); p.source = SourceView::Unregistered; }),
    EntryState::Deferred, "it needs a, which is not known here"
)]
fn not_met(#[case] change: Change, #[case] state: EntryState, #[case] reason: &str) {
    let plan = with(package("a/1", change));
    assert_eq!(actions(&plan), [""; 0]);
    let row = row(&plan, "b/1");
    assert_eq!((row.state, row.stale), (state, false));
    assert!(row.reason.starts_with(reason), "{}", row.reason);
    assert_eq!(row.problem(), Some(row.reason.as_str()));
}

#[test]
fn what_nobody_knows_defers() {
    let plan = plan(&world([depending("b/1", &["unknown"], |_| {})]));
    assert_eq!(actions(&plan), [""; 0]);
    assert_eq!(row(&plan, "b/1").state, EntryState::Deferred);
}

#[test]
fn what_is_installed_stays_so_whatever_it_needs() {
    let plan = plan(&world([depending("b/1", &["unknown"], install)]));
    assert_eq!((row(&plan, "b/1").state, row(&plan, "b/1").problem()), (EntryState::Installed, None));
}

#[test]
fn chains_and_diamonds_are_in_order() {
    let plan = plan(&world([
        depending("a/1", &["c", "d"], |_| {}),
        package("b/1", |_, _| {}),
        depending("c/1", &["b"], |_| {}),
        depending("d/1", &["b"], |_| {}),
    ]));
    assert_eq!(
        actions(&plan),
        [
            "install b/1",
            "install c/1 after install b/1",
            "install d/1 after install b/1",
            "install a/1 after install c/1, install d/1",
        ]
    );
}

#[rstest]
#[case::itself(&[("a/1", "a")])]
#[case::two(&[("a/1", "b"), ("b/1", "a")])]
#[case::three(&[("a/1", "b"), ("b/1", "c"), ("c/1", "a")])]
fn whoever_sits_in_a_circle_fails_and_nobody_else(#[case] circle: &[(&str, &str)]) {
    let packages = circle.iter().map(|(id, on)| depending(id, &[*on], |_| {}));
    let plan = plan(&world(packages.chain([package("z/1", |_, _| {})])));
    assert_eq!(actions(&plan), ["install z/1"]);
    for (id, _) in circle {
        let row = row(&plan, id);
        assert_eq!(row.state, EntryState::Failed);
        assert!(row.reason.contains("BUILD_DEPENDS go in a circle: "), "{}", row.reason);
    }
}

#[rstest]
#[case::it_asks_for_it(true, &["install b/1"])]
#[case::it_does_not(false, &[])]
fn another_version_of_a_dependency(#[case] asks: bool, #[case] due: &[&str]) {
    let b = depending("b/1", &["a"], |entry| {
        recipe(entry).depends_rebuild = asks;
        install(entry);
        entry.inputs = Some(Fingerprint { depends: "a=1".into(), ..inputs("s") });
        entry.built_from = Some(Fingerprint { depends: "a=0".into(), ..inputs("s") });
    });
    let plan = plan(&world([package("a/1", |_, e| install(e)), b]));
    assert_eq!(actions(&plan), due);
    if asks {
        assert_eq!(plan.actions[0].reason, "dependency a 0 → 1");
        assert_eq!(row(&plan, "b/1").reason, "dependency a 0 → 1");
    }
}

/// What failed for want of a dependency is tried again once that is there, with BUILD_DEPENDS_REBUILD or without.
#[test]
fn a_dependency_that_came_is_worth_another_try() {
    let then = Fingerprint { depends: "a=".into(), ..inputs("s") };
    let b = depending("b/1", &["a"], |entry| {
        entry.inputs = Some(Fingerprint { depends: "a=1".into(), ..inputs("s") });
        entry.failure = Some(FailureView { fingerprint: then.to_string(), ..failure("s", STAMP) });
    });
    let plan = plan(&world([package("a/1", |_, e| install(e)), b]));
    assert_eq!(actions(&plan), ["install b/1"]);
    assert_eq!(plan.actions[0].reason, "it failed before; since then dependency a 1 is new");
}
