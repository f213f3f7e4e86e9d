//! Small trees on one kernel: `auto("b/1", &["a"])` wants to be installed and needs a.

use proptest::prelude::*;
use rstest::rstest;

use super::super::Turns;
use super::*;
use crate::model::ModuleName;

fn auto(id: &str, needs: &[&str]) -> Version {
    Version { package: id.parse().unwrap(), conf: read(true, None, needs), installed: false, held: None }
}

fn read(autoinstall: bool, exclusion: Option<&str>, needs: &[&str]) -> Conf {
    let depends = needs.iter().map(|name| name.parse().unwrap()).collect();
    Conf::Read { autoinstall, exclusion: exclusion.map(ToOwned::to_owned), depends }
}

fn by_hand(id: &str) -> Version {
    Version { conf: read(false, None, &[]), ..auto(id, &[]) }
}

fn excluded(id: &str) -> Version {
    Version { conf: read(true, Some("not for it"), &[]), ..auto(id, &[]) }
}

fn bad(id: &str) -> Version {
    Version { conf: Conf::Bad { code: 8, why: "line 3".into() }, ..auto(id, &[]) }
}

fn broken(id: &str) -> Version {
    Version { conf: Conf::Broken { path: "/usr/src/gone".into() }, ..auto(id, &[]) }
}

fn installed(version: Version) -> Version {
    Version { installed: true, ..version }
}

fn held(version: Version) -> Version {
    Version { held: Some("held".into()), ..version }
}

/// `install b/1 after a/1`, `fail b/1 13: it needs …`, one a step.
fn shown(steps: &[Step]) -> Vec<String> {
    let one = |step: &Step| {
        let id = &step.package;
        match &step.task {
            Task::Install { after } if after.is_empty() => format!("install {id}"),
            Task::Install { after } => {
                let after: Vec<String> = after.iter().map(|place| steps[*place].package.to_string()).collect();
                format!("install {id} after {}", after.join(" "))
            }
            Task::Already => format!("already {id}"),
            Task::Skip { why } => format!("skip {id}: {why}"),
            Task::Fail { code, why } => format!("fail {id} {code}: {why}"),
            Task::Defer { why } => format!("defer {id}: {why}"),
            Task::Broken { .. } => format!("broken {id}"),
        }
    };
    steps.iter().map(one).collect()
}

#[rstest]
#[case::nothing(vec![], &[])]
#[case::not_automatic(vec![by_hand("a/1")], &[])]
#[case::one(vec![auto("a/1", &[])], &["install a/1"])]
#[case::there(vec![installed(auto("a/1", &[]))], &["already a/1"])]
#[case::newest(vec![auto("a/1.10", &[]), auto("a/1.9", &[])], &["install a/1.10"])]
#[case::upgrade(vec![installed(auto("a/1", &[])), auto("a/2", &[])], &["install a/2"])]
#[case::newest_is_there(vec![auto("a/1", &[]), installed(auto("a/2", &[]))], &["already a/2"])]
#[case::newest_that_wants(vec![auto("a/1", &[]), by_hand("a/2")], &["install a/1"])]
#[case::newer_by_hand_is_there(vec![auto("a/1", &[]), installed(by_hand("a/2"))], &["skip a/1: a/2 is newer, and installed"])]
#[case::older_by_hand_is_there(vec![installed(by_hand("a/1")), auto("a/2", &[])], &["install a/2"])]
#[case::excluded(vec![excluded("a/1")], &["skip a/1: not for it"])]
#[case::excluded_and_there(vec![installed(excluded("a/1"))], &["already a/1"])]
#[case::held(vec![held(auto("a/1", &[]))], &["skip a/1: held"])]
#[case::bad(vec![bad("a/1"), auto("b/1", &[])], &["fail a/1 8: line 3", "install b/1"])]
#[case::bad_and_there(vec![installed(bad("a/1"))], &["already a/1"])]
#[case::broken(vec![broken("a/1"), auto("b/1", &[])], &["broken a/1", "install b/1"])]
#[case::broken_beside_a_good_one(vec![broken("a/1"), auto("a/2", &[])], &["broken a/1", "install a/2"])]
#[case::broken_newer_is_there(vec![auto("a/1", &[]), installed(broken("a/2"))],
    &["broken a/2", "skip a/1: a/2 is newer, and installed"])]
fn each_package_by_itself(#[case] versions: Vec<Version>, #[case] wanted: &[&str]) {
    assert_eq!(shown(&autoinstall(&versions)), wanted);
}

#[rstest]
#[case::chain(vec![auto("a/1", &["b"]), auto("b/1", &["c"]), auto("c/1", &[])],
    &["install c/1", "install b/1 after c/1", "install a/1 after b/1"])]
#[case::diamond(vec![auto("a/1", &["b", "c"]), auto("b/1", &["d"]), auto("c/1", &["d"]), auto("d/1", &[])],
    &["install d/1", "install b/1 after d/1", "install c/1 after d/1", "install a/1 after b/1 c/1"])]
#[case::named_twice(vec![auto("a/1", &["b", "b"]), auto("b/1", &[])], &["install b/1", "install a/1 after b/1"])]
#[case::there(vec![auto("a/1", &["b"]), installed(auto("b/1", &[]))], &["already b/1", "install a/1"])]
#[case::there_by_hand(vec![auto("a/1", &["b"]), installed(by_hand("b/1"))], &["install a/1"])]
#[case::there_and_broken(vec![auto("a/1", &["b"]), installed(broken("b/1"))], &["broken b/1", "install a/1"])]
#[case::upgraded_first(vec![auto("a/1", &["b"]), installed(auto("b/1", &[])), auto("b/2", &[])],
    &["install b/2", "install a/1 after b/2"])]
#[case::excluded_is_met(vec![auto("a/1", &["b"]), excluded("b/1")], &["skip b/1: not for it", "install a/1"])]
#[case::not_automatic(vec![auto("a/1", &["b"]), by_hand("b/1")],
    &["fail a/1 13: it needs b, which is not installed, nor to be"])]
#[case::broken(vec![auto("a/1", &["b"]), broken("b/1")],
    &["broken b/1", "fail a/1 13: it needs b, which is broken"])]
#[case::held(vec![auto("a/1", &["b"]), held(auto("b/1", &[]))],
    &["fail a/1 13: it needs b, which is not installed: held", "skip b/1: held"])]
#[case::held_and_excluded(vec![auto("a/1", &["b"]), held(excluded("b/1"))],
    &["fail a/1 13: it needs b, which is not installed: held", "skip b/1: held"])]
#[case::held_beside_an_older_one(vec![auto("a/1", &["b"]), installed(auto("b/1", &[])), held(auto("b/2", &[]))],
    &["skip b/2: held", "install a/1"])]
#[case::failing(vec![auto("a/1", &["b"]), auto("b/1", &["c"]), bad("c/1")],
    &["fail a/1 13: it needs b, which fails: it needs c, which fails: line 3", "fail b/1 13: it needs c, which fails: line 3",
      "fail c/1 8: line 3"])]
#[case::unknown(vec![auto("a/1", &["zz"]), auto("b/1", &[])],
    &["defer a/1: it needs zz, which is not known here", "install b/1"])]
#[case::unknown_further_on(vec![auto("a/1", &["b"]), auto("b/1", &["zz"])],
    &["defer a/1: it needs b, which is deferred itself", "defer b/1: it needs zz, which is not known here"])]
#[case::failing_outweighs_unknown(vec![auto("a/1", &["zz", "b"]), bad("b/1")],
    &["fail a/1 13: it needs b, which fails: line 3", "fail b/1 8: line 3"])]
#[case::itself(vec![auto("a/1", &["a"])], &["fail a/1 13: BUILD_DEPENDS go in a circle: a needs a"])]
#[case::circle(vec![auto("a/1", &["b"]), auto("b/1", &["c"]), auto("c/1", &["a"]), auto("d/1", &["a"]), auto("e/1", &[])],
    &["fail a/1 13: BUILD_DEPENDS go in a circle: a needs b needs c needs a",
      "fail b/1 13: BUILD_DEPENDS go in a circle: b needs c needs a needs b",
      "fail c/1 13: BUILD_DEPENDS go in a circle: c needs a needs b needs c",
      "fail d/1 13: it needs a, which fails: BUILD_DEPENDS go in a circle: a needs b needs c needs a",
      "install e/1"])]
#[case::circle_that_is_there(vec![auto("a/1", &["b"]), installed(auto("b/1", &["a"]))], &["already b/1", "install a/1"])]
#[case::circle_with_an_unknown(vec![auto("a/1", &["b", "zz"]), auto("b/1", &["a"])],
    &["fail a/1 13: BUILD_DEPENDS go in a circle: a needs b needs a",
      "fail b/1 13: BUILD_DEPENDS go in a circle: b needs a needs b"])]
fn with_what_they_need(#[case] versions: Vec<Version>, #[case] wanted: &[&str]) {
    assert_eq!(shown(&autoinstall(&versions)), wanted);
}

#[rstest]
#[case::whatever_its_autoinstall(vec![by_hand("a/1"), auto("b/1", &[])], &["a/1"], &["install a/1"])]
#[case::an_older_one(vec![auto("a/1", &[]), installed(auto("a/2", &[]))], &["a/1"], &["install a/1"])]
#[case::there(vec![installed(auto("a/1", &[]))], &["a/1"], &["already a/1"])]
#[case::in_order(vec![auto("a/1", &["b"]), auto("b/1", &[])], &["a/1", "b/1"], &["install b/1", "install a/1 after b/1"])]
#[case::excluded(vec![excluded("a/1")], &["a/1"], &["install a/1"])]
#[case::broken(vec![broken("a/1")], &["a/1"], &["broken a/1"])]
#[case::without_what_it_needs(vec![auto("a/1", &["b", "zz"]), auto("b/1", &[])], &["a/1"],
    &["fail a/1 13: it needs b, which is not installed, nor to be"])]
#[case::unknown(vec![auto("a/1", &["zz"])], &["a/1"], &["fail a/1 13: it needs zz, which is not known here"])]
fn just_these(#[case] versions: Vec<Version>, #[case] asked: &[&str], #[case] wanted: &[&str]) {
    let asked: Vec<PackageId> = asked.iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(shown(&these(&versions, &asked)), wanted);
}

#[test]
fn what_can_run_at_once_is_ready_at_once_and_a_failure_takes_all_that_need_it() {
    let needs = [("a/1", vec!["b", "c"]), ("b/1", vec!["d"]), ("c/1", vec![]), ("d/1", vec![]), ("e/1", vec!["a"])];
    let versions: Vec<Version> = needs.iter().map(|(id, needs)| auto(id, needs)).collect();
    let steps = autoinstall(&versions);
    let named = |places: Vec<usize>| places.iter().map(|p| steps[*p].package.name.to_string()).collect::<String>();
    let place = |name: &str| steps.iter().position(|s| s.package.name.as_str() == name).unwrap();
    let mut turns = Turns::new(&steps);
    assert_eq!(named(turns.ready()), "cd");
    assert_eq!(named(turns.ready()), "");
    turns.met(place("d"));
    assert_eq!(named(turns.ready()), "b");
    let lost = turns.failed(place("c"));
    assert_eq!(lost, [(place("a"), place("c")), (place("e"), place("a"))]);
    turns.met(place("b"));
    assert_eq!(named(turns.ready()), "");
}

/// a and c bring one module, b another: c comes after a, and no failure of a's is c's.
#[test]
fn what_brings_the_same_module_runs_in_order_and_does_not_fail_together() {
    let steps = autoinstall(&[auto("a/1", &[]), auto("b/1", &[]), auto("c/1", &[])]);
    let modules = ["x", "y", "x"].map(|name| BTreeSet::from([ModuleName::new(name).unwrap()]));
    let mut turns = Turns::new(&steps);
    turns.keep_order(&modules);
    assert_eq!(turns.ready(), [0, 1]);
    assert_eq!(turns.ready(), [0; 0]);
    assert_eq!(turns.failed(0), []);
    assert_eq!(turns.ready(), [2]);
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn any_conf() -> impl Strategy<Value = Conf> {
    let needs = prop::collection::vec(prop::sample::select(&["a", "b", "c", "d", "e", "f", "zz"][..]), 0..3);
    let read = (prop::bool::weighted(0.8), prop::bool::weighted(0.1), needs)
        .prop_map(|(autoinstall, excluded, needs)| read(autoinstall, excluded.then_some("not for it"), &needs));
    prop_oneof![8 => read, 1 => Just(bad("a/1").conf), 1 => Just(broken("a/1").conf)]
}

/// At most one version of a package is installed, as on disk.
fn any_tree() -> impl Strategy<Value = Vec<Version>> {
    let package = (prop::collection::vec((any_conf(), prop::bool::weighted(0.1)), 0..3), 0..6_usize);
    prop::collection::vec(package, NAMES.len()).prop_map(|packages| {
        let mut tree = Vec::new();
        for (name, (versions, there)) in NAMES.iter().zip(packages) {
            for (n, (conf, held)) in versions.into_iter().enumerate() {
                let package = PackageId::new(*name, n.to_string()).unwrap();
                tree.push(Version { package, conf, installed: n == there, held: held.then(|| "held".to_owned()) });
            }
        }
        tree
    })
}

proptest! {
    #[test]
    fn no_package_is_lost_and_none_comes_twice(tree in any_tree()) {
        let steps = autoinstall(&tree);
        for name in NAMES {
            let of = |v: &&Version| v.package.name.as_str() == name;
            let wants = tree.iter().filter(of).any(|v| v.conf.wants());
            let broken = tree.iter().filter(of).filter(|v| matches!(v.conf, Conf::Broken { .. })).count();
            let steps = steps.iter().filter(|s| s.package.name.as_str() == name).count();
            prop_assert_eq!(steps, usize::from(wants) + broken);
        }
    }

    #[test]
    fn what_is_installed_comes_after_what_it_needs(tree in any_tree()) {
        let steps = autoinstall(&tree);
        for (place, step) in steps.iter().enumerate() {
            let Task::Install { after } = &step.task else { continue };
            let earlier = after.iter().all(|a| *a < place && matches!(steps[*a].task, Task::Install { .. }));
            prop_assert!(earlier, "{:#?}", shown(&steps));
            let version = tree.iter().find(|v| v.package == step.package).unwrap();
            for need in depends(version) {
                let there = tree.iter().any(|v| v.package.name == *need && v.installed);
                let before = after.iter().any(|a| steps[*a].package.name == *need);
                let excluded = tree.iter().any(|v| v.package.name == *need && super::excluded(v));
                prop_assert!(there || before || excluded, "{} without {need}: {:#?}", step.package, shown(&steps));
            }
        }
    }

    #[test]
    fn the_order_on_disk_does_not_count(tree in any_tree(), seed in any::<u64>()) {
        let mut shuffled = tree.clone();
        shuffled.sort_by_key(|v| (v.package.to_string().bytes().map(u64::from).sum::<u64>() ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        prop_assert_eq!(autoinstall(&tree), autoinstall(&shuffled));
    }

    #[test]
    fn only_an_unknown_package_defers(tree in any_tree()) {
        let known: BTreeSet<&PackageName> = tree.iter().map(|v| &v.package.name).collect();
        let all_known = tree.iter().flat_map(depends).all(|need| known.contains(need));
        let deferred = autoinstall(&tree).iter().any(|s| matches!(s.task, Task::Defer { .. }));
        prop_assert!(!(all_known && deferred));
    }

    /// Whatever fails, each install is either given out once, after what it needs, or lost once.
    #[test]
    fn every_install_gets_its_turn_or_is_lost(tree in any_tree(), fails in prop::collection::vec(any::<bool>(), 18)) {
        let steps = autoinstall(&tree);
        let mut turns = Turns::new(&steps);
        let (mut met, mut gone) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let ready = turns.ready();
            if ready.is_empty() {
                break;
            }
            for place in ready {
                let Task::Install { after } = &steps[place].task else { panic!("{:?}", steps[place]) };
                prop_assert!(after.iter().all(|a| met.contains(a)));
                prop_assert!(!gone.contains(&place));
                if fails[place % fails.len()] {
                    prop_assert!(gone.insert(place));
                    for (lost, _) in turns.failed(place) {
                        prop_assert!(gone.insert(lost));
                    }
                } else {
                    prop_assert!(met.insert(place));
                    turns.met(place);
                }
            }
        }
        let installs = steps.iter().filter(|s| matches!(s.task, Task::Install { .. })).count();
        prop_assert_eq!(met.len() + gone.len(), installs);
    }
}
