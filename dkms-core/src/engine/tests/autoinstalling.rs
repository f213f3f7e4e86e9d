//! Several packages at once: autoinstall, a kernel's own hooks, match. Each package brings another real module.

use super::*;
use crate::engine::autoinstall::{Outcome, Report};
use crate::event::Phase;
use crate::install::due;

/// The modules that packages of these names bring; `r8169` is what any other brings.
const MODULES: [(&str, &str); 3] = [("a", "r8169"), ("b", "8139cp"), ("c", "8139too")];

impl Machine {
    /// In the tree, with a module of its own.
    fn added(&self, id: &str, lines: &str) -> PackageId {
        let name = id.split('/').next().unwrap();
        let module = MODULES.iter().find(|(package, _)| *package == name).map_or("r8169", |(_, module)| module);
        let lines = format!("BUILT_MODULE_NAME={module}\nMAKE[0]=\"cp prebuilt {module}.ko\"\n{lines}");
        let package = self.source(id, &lines);
        fs::copy(fixture::module(&format!("{module}.ko")), self.layout().source(&package).join("prebuilt")).unwrap();
        self.engine().add(&package, &daemons(), &mut quiet()).unwrap();
        package
    }

    fn autoinstall(&self) -> (Report, Vec<Event>) {
        let mut events = quiet();
        let report = self.engine().autoinstall(&self.kernel, &daemons(), &mut events).unwrap();
        (report, events)
    }

    fn is_installed(&self, package: &PackageId) -> bool {
        let entries = tree::package(self.layout(), package).unwrap().unwrap().entries;
        entries.iter().any(|e| e.kernel == self.kernel && e.installed)
    }

    fn index(&self) -> String {
        fs::read_to_string(self.layout().kernel_folder(&self.kernel.release).join("modules.dep")).unwrap()
    }

    fn attempts(&self, package: &PackageId) -> usize {
        fs::read_dir(self.layout().attempt_logs(package, &self.kernel)).unwrap().count()
    }

    fn without_headers(&self) {
        fs::remove_file(self.layout().kernel_source(&self.kernel.release)).unwrap();
    }
}

/// `a/1 installed`, `b/1 failed 13`, one a package.
fn shown(report: &Report) -> Vec<String> {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Installed => "installed".to_owned(),
        Outcome::Already => "already".to_owned(),
        Outcome::Skipped { .. } => "skipped".to_owned(),
        Outcome::Failed(failed) => format!("failed {}", failed.code),
        Outcome::Deferred { .. } => "deferred".to_owned(),
        Outcome::Broken { .. } => "broken".to_owned(),
    };
    report.packages.iter().map(|p| format!("{} {}", p.package, one(&p.outcome))).collect()
}

/// Keeps each line with what it is about.
#[derive(Default)]
struct Told {
    about: String,
    lines: Vec<String>,
}

impl Sink for Told {
    fn emit(&mut self, event: Event) {
        if let Event::Note { text } | Event::Warning { text } = event {
            self.lines.push(format!("{}: {text}", self.about));
        }
    }

    fn about(&mut self, package: Option<&PackageId>, _: &KernelId) {
        self.about = package.map_or("all".to_owned(), ToString::to_string);
    }
}

fn depmods(events: &[Event]) -> usize {
    events.iter().filter(|event| **event == Event::Phase { phase: Phase::Depmod }).count()
}

#[test]
fn everything_that_is_due_is_installed_in_order_with_one_depmod() {
    let machine = Machine::new();
    machine.added("a/1", "BUILD_DEPENDS[0]=b\nBUILD_DEPENDS[1]=c");
    machine.added("b/1", "BUILD_DEPENDS[0]=c");
    machine.added("c/1", "");
    let by_hand = machine.added("d/1", "AUTOINSTALL=no");
    let (report, events) = machine.autoinstall();
    assert_eq!(shown(&report), ["c/1 installed", "b/1 installed", "a/1 installed"], "{events:?}");
    assert_eq!((report.exit_code(), depmods(&events)), (0, 1));
    assert!(!machine.is_installed(&by_hand));
    for (_, module) in MODULES {
        assert!(machine.index().contains(&format!("{UPDATES}/{module}.ko:")), "{}", machine.index());
    }
    let (report, events) = machine.autoinstall();
    assert_eq!(shown(&report), ["a/1 already", "b/1 already", "c/1 already"]);
    assert_eq!((report.exit_code(), report.nothing_to_do(), depmods(&events)), (0, true, 0));
}

/// What it needs is there before it is built, though depmod comes later.
#[test]
fn a_dependent_sees_what_its_dependency_built() {
    let machine = Machine::new();
    let symvers = "MAKE[0]=\"cp prebuilt 8139cp.ko; echo '0x1 f b EXPORT_SYMBOL' >Module.symvers\"";
    let (a, b) = (machine.added("a/1", ""), machine.added("b/1", symvers));
    let built = machine.layout().installed_link(&b.name, &machine.kernel).join("module/Module.symvers");
    machine.added("a/1", &format!("BUILD_DEPENDS=b\nMAKE[0]=\"grep f {} && cp prebuilt r8169.ko\"", built.display()));
    let (report, events) = machine.autoinstall();
    assert_eq!(shown(&report), ["b/1 installed", "a/1 installed"], "{events:?}");
    assert!(machine.is_installed(&a));
}

#[test]
fn a_failure_takes_only_those_with_it_that_need_it() {
    let machine = Machine::new();
    machine.added("a/1", "MAKE[0]=false");
    machine.added("b/1", "BUILD_DEPENDS=a");
    let c = machine.added("c/1", "");
    let (report, events) = machine.autoinstall();
    assert_eq!(shown(&report), ["a/1 failed 10", "b/1 failed 13", "c/1 installed"]);
    assert_eq!((report.exit_code(), report.first_code(), depmods(&events)), (11, 10, 1));
    assert!(report.failed().next().is_some_and(|(_, failed)| failed.log.as_ref().is_some_and(|log| log.exists())));
    assert!(machine.is_installed(&c) && machine.index().contains("8139too.ko:"));
}

#[test]
fn what_is_told_says_which_package_it_is_about() {
    let machine = Machine::new();
    let broken = machine.added("e/1", "");
    fs::remove_dir_all(machine.layout().source(&broken)).unwrap();
    machine.added("a/1", "POST_INSTALL=absent.sh");
    machine.added("b/1", "MAKE[0]=false");
    machine.added("c/1", "BUILD_DEPENDS=b");
    machine.added("d/1", "BUILD_DEPENDS=zz");
    let mut told = Told::default();
    machine.engine().autoinstall(&machine.kernel, &daemons(), &mut told).unwrap();
    // Whether there is the user that builds is this machine's affair.
    told.lines.retain(|line| !line.contains("built as root"));
    // What needs no run is told first; a and b run at once.
    told.lines.get_mut(2..).unwrap().sort();
    let starts = [
        "e/1: broken, and passed over: its source ",
        "d/1: put off: it needs zz",
        "a/1: POST_INSTALL",
        "b/1: not installed: b/1 does not build",
        "c/1: not installed: it needs b, which failed",
    ];
    assert!(starts.len() == told.lines.len(), "{:#?}", told.lines);
    assert!(starts.iter().zip(&told.lines).all(|(start, line)| line.starts_with(start)), "{:#?}", told.lines);
    assert!(told.lines.iter().any(|line| line.contains("; the whole log: /")), "{:#?}", told.lines);
    assert_eq!(told.about, "all");
}

#[rstest]
#[case::excluded("BUILD_EXCLUSIVE_KERNEL='^2'", &["b/1 skipped", "a/1 failed 13"], 11)]
#[case::unknown("BUILD_DEPENDS=zz", &["a/1 deferred", "b/1 deferred"], 0)]
#[case::circle("BUILD_DEPENDS=a", &["a/1 failed 13", "b/1 failed 13"], 11)]
#[case::not_automatic("AUTOINSTALL=no", &["a/1 failed 13"], 11)]
#[case::bad_conf("DEST_MODULE_LOCATION=/elsewhere", &["a/1 failed 13", "b/1 failed 8"], 11)]
#[case::bad_and_not_automatic("AUTOINSTALL=no\nDEST_MODULE_LOCATION=/elsewhere", &["a/1 failed 13"], 11)]
#[case::who_knows_whether_automatic("AUTOINSTALL=maybe", &["a/1 failed 13", "b/1 failed 8"], 11)]
fn what_it_needs_is_not_to_be_had(#[case] lines: &str, #[case] wanted: &[&str], #[case] code: i32) {
    let machine = Machine::new();
    machine.added("a/1", "BUILD_DEPENDS=b");
    let b = machine.added("b/1", "");
    let conf = machine.layout().source(&b).join("dkms.conf");
    fs::write(&conf, format!("{}\n{lines}\n", fs::read_to_string(&conf).unwrap())).unwrap();
    let (report, events) = machine.autoinstall();
    assert_eq!(
        (shown(&report), report.exit_code()),
        (wanted.iter().map(|s| (*s).to_owned()).collect(), code),
        "{events:?}"
    );
    assert_eq!(depmods(&events), 0);
}

#[test]
fn a_broken_package_is_told_and_passed_over() {
    let machine = Machine::new();
    let broken = machine.added("b/1", "");
    machine.added("a/1", "");
    fs::remove_dir_all(machine.layout().source(&broken)).unwrap();
    let (report, events) = machine.autoinstall();
    assert_eq!(shown(&report), ["b/1 broken", "a/1 installed"]);
    assert!(report.exit_code() == 0 && text(&events).contains("broken, and passed over"), "{events:?}");
}

#[test]
fn a_newer_version_takes_the_place_of_the_one_that_is_installed() {
    let machine = Machine::new();
    let older = machine.added("a/1.9", "");
    machine.autoinstall();
    let newer = machine.added("a/1.10", "STRIP[0]=no");
    let (report, _) = machine.autoinstall();
    assert_eq!(shown(&report), ["a/1.10 installed"]);
    assert!(machine.is_installed(&newer) && !machine.is_installed(&older));
    assert_eq!(
        machine.manifest(&newer).built.modules[0].sha256,
        machine.manifest(&newer).installed.unwrap().files[0].sha256
    );
    assert!(machine.manifest(&older).installed.is_none());
}

#[test]
fn without_headers_nothing_is_begun_when_something_is_to_be_built() {
    let machine = Machine::new();
    let (a, b) = (machine.added("a/1", ""), machine.added("b/1", ""));
    machine.engine().build(&a, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    machine.without_headers();
    let order = Order { keep_built: true, ..daemons() };
    let mut events = quiet();
    let error = machine.engine().autoinstall(&machine.kernel, &order, &mut events).unwrap_err();
    assert_eq!((error.exit_code(), events), (21, vec![]));
    assert!(!machine.is_installed(&a));
    // What is built takes none.
    machine.engine().remove(&b, &daemons(), &mut quiet()).unwrap();
    let report = machine.engine().autoinstall(&machine.kernel, &order, &mut quiet()).unwrap();
    assert_eq!(shown(&report), ["a/1 installed"]);
    assert_eq!(machine.autoinstall().0.exit_code(), 0);
}

#[test]
fn with_autoinstall_turned_off_nothing_happens() {
    let machine = Machine::new();
    machine.added("a/1", "");
    machine.without_headers();
    let off = machine.layout().no_autoinstall();
    fs::create_dir_all(off.parent().unwrap()).unwrap();
    fs::write(&off, "").unwrap();
    let (report, events) = machine.autoinstall();
    assert_eq!((report.exit_code(), report.turned_off.as_ref(), events), (0, Some(&off), vec![]));
}

/// The index cannot be replaced: a folder that is not empty stands where it would go.
#[test]
fn depmod_that_fails_takes_all_back() {
    let machine = Machine::new();
    let packages = [machine.added("a/1", "BUILD_DEPENDS=b"), machine.added("b/1", "")];
    machine.added("c/1", "MAKE[0]=false");
    let index = machine.layout().kernel_folder(&machine.kernel.release).join("modules.dep.bin");
    fs::create_dir_all(index.join("in the way")).unwrap();
    let (report, _) = machine.autoinstall();
    assert_eq!(shown(&report), ["b/1 failed 6", "a/1 failed 6", "c/1 failed 10"]);
    assert_eq!(report.exit_code(), 11);
    assert!(packages.iter().all(|package| !machine.is_installed(package)) && !machine.installed_file().exists());
    fs::remove_dir_all(&index).unwrap();
    assert_eq!(shown(&machine.autoinstall().0), ["b/1 installed", "a/1 installed", "c/1 failed 10"]);
    assert!(packages.iter().all(|package| machine.attempts(package) == 1), "they are built");
}

#[test]
fn two_at_once_build_each_module_once() {
    let machine = Machine::new();
    let packages = [machine.added("a/1", "BUILD_DEPENDS=b"), machine.added("b/1", ""), machine.added("c/1", "")];
    let start = std::sync::Barrier::new(2);
    let engines = [machine.engine(), machine.engine()];
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let run = |engine: Engine| {
            let (start, kernel) = (&start, &machine.kernel);
            scope.spawn(move || {
                start.wait();
                engine.autoinstall(kernel, &Order { keep_built: true, ..daemons() }, &mut quiet()).unwrap().exit_code()
            })
        };
        engines.map(run).map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(codes, [0, 0]);
    for package in &packages {
        assert!(machine.is_installed(package) && machine.attempts(package) == 1, "{package}");
        assert!(machine.manifest(package).installed.is_some(), "{package} is final");
    }
    assert!(MODULES.iter().all(|(_, module)| machine.index().contains(&format!("{module}.ko:"))));
    assert!(!due::is_due(machine.layout(), &machine.kernel.release).unwrap());
}

#[test]
fn what_was_cut_short_before_depmod_is_finished() {
    let machine = Machine::new();
    let package = machine.added("a/1", "");
    machine.engine().install(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    assert!(!machine.indexed());
    assert_eq!(shown(&machine.autoinstall().0), ["a/1 already"]);
    assert!(machine.indexed() && machine.manifest(&package).installed.is_some());
}

#[test]
fn what_was_taken_away_by_hand_comes_back_by_hand() {
    let machine = Machine::new();
    let package = machine.added("a/1", "");
    machine.autoinstall();
    machine.engine().uninstall(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap();
    let (report, events) = machine.autoinstall();
    assert!(shown(&report) == ["a/1 skipped"] && text(&events).contains("removed by hand (uid 1000)"), "{events:?}");
    let report = machine.engine().autoinstall(&machine.kernel, &by_hand(), &mut quiet()).unwrap();
    assert_eq!(shown(&report), ["a/1 installed"]);
    assert_eq!(tree::Holds::read(machine.layout()).unwrap().iter().count(), 0);
}

#[test]
fn before_a_kernel_is_installed_what_installs_itself_goes_and_comes_back() {
    let machine = Machine::new();
    let (a, b) = (machine.added("a/1", ""), machine.added("b/1", "AUTOINSTALL=no"));
    machine.install(&a).unwrap();
    machine.install(&b).unwrap();
    let mut events = quiet();
    let cleared = machine.engine().kernel_preinst(&machine.kernel, &by_hand(), &mut events).unwrap();
    assert_eq!((cleared.packages.as_slice(), cleared.exit_code(), depmods(&events)), ([a.clone()].as_slice(), 0, 1));
    assert!(!machine.layout().built_dir(&a, &machine.kernel).exists() && machine.is_installed(&b));
    assert!(!machine.index().contains("r8169.ko") && machine.index().contains("8139cp.ko:"));
    let report = machine.engine().kernel_postinst(&machine.kernel, &by_hand(), &mut quiet()).unwrap();
    assert_eq!(shown(&report), ["a/1 installed"], "nothing is held");
}

#[test]
fn before_a_kernel_is_removed_everything_goes() {
    let machine = Machine::new();
    let other = KernelId::new("6.99.0-other", machine.kernel.arch.as_str()).unwrap();
    let (a, b, c) = (machine.added("a/1", ""), machine.added("b/1", "AUTOINSTALL=no"), machine.added("c/1", ""));
    machine.install(&a).unwrap();
    machine.install(&c).unwrap();
    machine.engine().build(&b, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    fs::remove_dir_all(machine.layout().source(&c)).unwrap();
    let folder = machine.layout().kernel_folder(&machine.kernel.release);
    fs::create_dir_all(folder.join("kernel/left/empty")).unwrap();
    let theirs = machine.tree.path("theirs");
    fs::create_dir_all(theirs.join("empty")).unwrap();
    std::os::unix::fs::symlink(&theirs, folder.join("link")).unwrap();

    assert_eq!(machine.engine().kernel_prerm(&other, &by_hand(), &mut quiet()).unwrap().packages, []);
    let mut events = quiet();
    let cleared = machine.engine().kernel_prerm(&machine.kernel, &by_hand(), &mut events).unwrap();
    assert_eq!((cleared.packages.len(), cleared.exit_code(), depmods(&events)), (3, 0, 1), "{events:?}");
    for package in [&a, &b, &c] {
        assert!(!machine.layout().kernel_dir(package, &machine.kernel.release).exists(), "{package}");
    }
    assert!(!folder.join("updates").exists() && !folder.join("kernel").exists());
    assert!(folder.join("modules.order").exists() && theirs.join("empty").exists());
    assert_eq!(tree::Holds::read(machine.layout()).unwrap().iter().count(), 0);
}

#[test]
fn a_kernels_folder_goes_when_nothing_is_left_in_it() {
    let machine = Machine::new();
    let package = machine.added("a/1", "");
    machine.install(&package).unwrap();
    let folder = machine.layout().kernel_folder(&machine.kernel.release);
    for file in fs::read_dir(&folder).unwrap().flatten().filter(|file| file.file_name() != "updates") {
        fs::remove_file(file.path()).unwrap();
    }
    let cleared = machine.engine().kernel_prerm(&machine.kernel, &daemons(), &mut quiet()).unwrap();
    assert_eq!(cleared.exit_code(), 0);
    assert!(!folder.exists() && machine.layout().install_tree().exists());
    assert!(!due::is_due(machine.layout(), &machine.kernel.release).unwrap());
}

#[test]
fn a_package_that_cannot_be_taken_off_does_not_keep_the_rest() {
    let machine = Machine::new();
    let (a, b) = (machine.added("a/1", ""), machine.added("b/1", ""));
    machine.autoinstall();
    let record = machine.layout().manifest(&a, &machine.kernel);
    fs::remove_file(&record).unwrap();
    fs::create_dir(&record).unwrap();
    let cleared = machine.engine().kernel_prerm(&machine.kernel, &daemons(), &mut quiet()).unwrap();
    assert_eq!((cleared.packages.as_slice(), cleared.exit_code()), ([b].as_slice(), 14));
    assert_eq!(cleared.failed.iter().map(|(package, _)| package).collect::<Vec<_>>(), [&a]);
}

#[test]
fn a_kernel_gets_what_another_has() {
    let machine = Machine::new();
    let template = KernelId::new("6.99.0-other", machine.kernel.arch.as_str()).unwrap();
    let older = machine.added("a/1", "AUTOINSTALL=no\nBUILD_DEPENDS=b");
    let (newer, b) = (machine.added("a/2", ""), machine.added("b/1", ""));
    machine.added("c/1", "");
    for package in [&older, &b] {
        let link = machine.layout().installed_link(&package.name, &template);
        let target = format!("{}/{}/{}", package.version, template.release, template.arch);
        std::os::unix::fs::symlink(target, link).unwrap();
    }
    let engine = machine.engine();
    let matching = |only: Option<&str>| {
        let only = only.map(|name| name.parse().unwrap());
        engine.matching(&template, &machine.kernel, only.as_ref())
    };
    assert_eq!(matching(None).unwrap(), [older.clone(), b.clone()]);
    assert_eq!(matching(Some("b")).unwrap(), [b]);
    assert_eq!(matching(Some("c")).unwrap(), []);
    assert_eq!(matching(Some("zz")).unwrap_err().exit_code(), 3);
    assert_eq!(engine.matching(&template, &template, None).unwrap_err().exit_code(), 2);

    let mut events = quiet();
    let install =
        |events: &mut Vec<Event>| engine.install_matching(&template, &machine.kernel, None, &by_hand(), events);
    let report = install(&mut events).unwrap();
    assert_eq!((shown(&report), depmods(&events)), (vec!["b/1 installed".into(), "a/1 installed".into()], 1));
    assert!(machine.is_installed(&older) && !machine.is_installed(&newer));
    assert_eq!(shown(&install(&mut quiet()).unwrap()), ["a/1 already", "b/1 already"]);
}
