//! BUILD_DEPENDS_REBUILD.

use super::*;

impl Machine {
    /// A package that brings another module, with these lines in its dkms.conf.
    fn dependent(&self, lines: &str) -> PackageId {
        let other = "BUILT_MODULE_NAME=8139cp; MAKE[0]=\"cp other 8139cp.ko\"";
        let package = self.source("a/1", &format!("{other}; {lines}"));
        fs::copy(fixture::module("8139cp.ko"), self.layout().source(&package).join("other")).unwrap();
        package
    }

    fn record(&self, package: &PackageId) -> Option<String> {
        let record = self.layout().dependency_record(package, &self.kernel, &"base".parse().unwrap());
        fs::read_to_string(record).ok()
    }

    fn dependents(&self, package: &PackageId) -> Vec<String> {
        let found = self.engine().dependents_to_rebuild(package, &self.kernel).unwrap();
        found.iter().map(ToString::to_string).collect()
    }
}

const REBUILDS: &str = "BUILD_DEPENDS[0]=base; BUILD_DEPENDS_REBUILD=yes";

#[rstest]
#[case::as_asked(REBUILDS, classic(), Some("1\n"))]
#[case::forced(REBUILDS, forced(), None)]
#[case::not_asked("BUILD_DEPENDS[0]=base", classic(), None)]
fn what_a_build_was_made_with_is_on_record(#[case] lines: &str, #[case] order: Order, #[case] wanted: Option<&str>) {
    let machine = Machine::new();
    let base = machine.source("base/1", "");
    machine.install_as(&base, &classic()).unwrap();
    let package = machine.dependent(lines);
    machine.install_as(&package, &order).unwrap();
    assert_eq!(machine.record(&package).as_deref(), wanted);
    assert_eq!(machine.dependents(&base), [""; 0]);
    let newer = machine.source("base/2", "");
    machine.install_as(&newer, &classic()).unwrap();
    assert_eq!(machine.dependents(&newer), Vec::from_iter(wanted.map(|_| "a/1")));
}

#[rstest]
#[case::made_by_us(false)]
#[case::made_by_classic_dkms(true)]
fn a_dependent_is_built_anew_against_the_new_version(#[case] by_classic: bool) {
    let machine = Machine::new();
    machine.install_as(&machine.source("base/1", ""), &classic()).unwrap();
    let package = machine.dependent(REBUILDS);
    machine.install_as(&package, &classic()).unwrap();
    if by_classic {
        fs::remove_file(machine.layout().manifest(&package, &machine.kernel)).unwrap();
    }
    let newer = machine.source("base/2", "");
    machine.install_as(&newer, &classic()).unwrap();
    let log = || fs::metadata(machine.layout().built_log(&package, &machine.kernel)).unwrap().modified().unwrap();
    let before = log();
    assert!(matches!(machine.install_as(&package, &classic()).unwrap(), Done::Unchanged(_)), "what is there is kept");
    assert_eq!(machine.dependents(&newer), ["a/1"]);
    let rebuild = Order { keep_built: false, ..classic() };
    assert_eq!(machine.install_as(&package, &rebuild).unwrap(), Done::Placed);
    assert_eq!((machine.record(&package).as_deref(), log() > before), (Some("2\n"), true));
    assert_eq!(machine.dependents(&newer), [""; 0]);
    assert_eq!(verbs(&machine.look()), []);
}

/// Installing what a person has taken away would bring it back.
#[test]
fn a_dependent_that_is_only_built_is_left_alone() {
    let machine = Machine::new();
    machine.install_as(&machine.source("base/1", ""), &classic()).unwrap();
    let package = machine.dependent(REBUILDS);
    machine.engine().build(&package, &machine.kernel, &classic(), &mut quiet()).unwrap();
    assert_eq!(machine.record(&package).as_deref(), Some("1\n"));
    let newer = machine.source("base/2", "");
    machine.install_as(&newer, &classic()).unwrap();
    assert_eq!(machine.dependents(&newer), [""; 0]);
}

#[test]
fn post_build_that_fails_leaves_the_record_all_the_same() {
    let machine = Machine::new();
    machine.install_as(&machine.source("base/1", ""), &classic()).unwrap();
    let package = machine.dependent(&format!("{REBUILDS}; POST_BUILD=hook.sh"));
    machine.script(&package, "hook.sh", "exit 9");
    assert_eq!(machine.install_as(&package, &classic()).unwrap_err().exit_code(), 9);
    assert_eq!(machine.record(&package).as_deref(), Some("1\n"));
}

/// What is there when an autoinstall begins and built anew in its course is in its report once.
#[test]
fn a_dependent_that_is_built_anew_is_reported_once() {
    let machine = Machine::new();
    machine.install_as(&machine.source("base/1", ""), &classic()).unwrap();
    machine.install_as(&machine.dependent(REBUILDS), &classic()).unwrap();
    let newer = machine.source("base/2", "");
    machine.engine().add(&newer, &classic(), &mut quiet()).unwrap();
    let report = machine.engine().autoinstall(&machine.kernel, &classic(), &mut quiet()).unwrap();
    let told: Vec<_> = report.packages.iter().map(|p| (p.package.to_string(), p.outcome.clone())).collect();
    use autoinstall::Outcome::Installed;
    assert_eq!(told, [("base/2".into(), Installed), ("a/1".into(), Installed)]);
}

#[test]
fn a_dependent_that_is_canceled_has_not_failed() {
    let machine = Machine::new();
    machine.install_as(&machine.source("base/1", ""), &classic()).unwrap();
    machine.install_as(&machine.dependent(REBUILDS), &classic()).unwrap();
    let newer = machine.source("base/2", "");
    machine.install_as(&newer, &classic()).unwrap();
    let (mut batch, mut reports) = (vec![newer.clone()], Vec::new());
    tree::files::stop_before(Some(0));
    let rebuilt =
        machine.engine().rebuild_dependents(&mut batch, &machine.kernel, &classic(), &mut reports, &mut quiet());
    tree::files::stop_before(None);
    assert!(matches!(rebuilt, Err(Error::Canceled)), "{rebuilt:?}");
    assert_eq!((batch, reports), (vec![newer], Vec::new()));
}
