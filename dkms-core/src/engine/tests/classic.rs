//! The classic command's way: what is built is kept, and the codes and the order of dkms-contract.md §2 and §3.

use super::*;
use crate::artifact::fixture::REALTEK;
use crate::install::{self, difference};

impl Machine {
    /// A module of the kernel's own that says a version, which what the packages bring does not.
    fn kernels_own(&self) -> PathBuf {
        let folder = self.layout().kernel_folder(&self.kernel.release).join(REALTEK);
        fs::create_dir_all(&folder).unwrap();
        let own = folder.join("r8169.ko");
        fs::copy(fixture::module("8139cp.ko"), &own).unwrap();
        own
    }

    /// What the hooks of `hooks` have said so far.
    fn ran(&self) -> String {
        fs::read_to_string(self.tree.path("ran")).unwrap_or_default()
    }

    /// A package that says when it is made and which of its scripts run.
    fn telling(&self, id: &str, lines: &str) -> PackageId {
        let ran = self.tree.path("ran").display().to_string();
        let hooks = ["PRE_INSTALL", "POST_INSTALL", "POST_REMOVE"].map(|hook| format!("{hook}=\"hook.sh {hook}\""));
        let make = format!("MAKE[0]=\"echo MAKE >>{ran}; cp prebuilt r8169.ko\"");
        let package = self.source(id, &format!("{}\n{make}\n{lines}", hooks.join("\n")));
        self.script(&package, "hook.sh", &format!("echo $1 >>{ran}"));
        package
    }

    fn code(&self, package: &PackageId, order: &Order) -> i32 {
        self.install_as(package, order).map_or_else(|error| error.exit_code(), |_| 0)
    }
}

fn force_version() -> Order {
    Order { force_version_override: true, ..classic() }
}

fn force() -> Order {
    Order { force: true, ..classic() }
}

/// Read off the classic command: a forced install of what is built compiles nothing, and runs the scripts of an uninstall.
#[test]
fn repeating_does_nothing_and_force_installs_again_what_is_built() {
    let machine = Machine::new();
    let package = machine.telling("a/1", "");
    assert_eq!(machine.install_as(&package, &classic()).unwrap(), Done::Placed);
    assert_eq!(machine.ran(), "MAKE\nPRE_INSTALL\nPOST_INSTALL\n");
    machine.telling("a/1", "STRIP=no");
    assert!(matches!(machine.install_as(&package, &classic()).unwrap(), Done::Unchanged(_)));
    let built = machine.engine().build(&package, &machine.kernel, &classic(), &mut quiet()).unwrap();
    assert!(matches!(built, Done::Unchanged(_)));
    fs::remove_file(machine.tree.path("ran")).unwrap();
    assert_eq!(machine.install_as(&package, &force()).unwrap(), Done::Placed);
    assert_eq!(machine.ran(), "POST_REMOVE\nPRE_INSTALL\nPOST_INSTALL\n");
    // Another version takes its place without that.
    let newer = machine.telling("a/2", "");
    fs::remove_file(machine.tree.path("ran")).unwrap();
    assert_eq!(machine.install_as(&newer, &force()).unwrap(), Done::Placed);
    assert_eq!(machine.ran(), "MAKE\nPRE_INSTALL\nPOST_INSTALL\n");
    assert!(machine.layout().module_dir(&package, &machine.kernel).is_dir());
}

#[rstest]
#[case::kernels_is_newer("", "", classic(), 6)]
#[case::forced("", "", force(), 0)]
#[case::version_override("", "", force_version(), 0)]
#[case::by_name("", "a", classic(), 0)]
#[case::by_name_and_override("", "a_version-override", classic(), 0)]
#[case::another_by_name("", "b b_version-override", classic(), 6)]
#[case::obsolete("BUILD_EXCLUSIVE_KERNEL_MAX=99; OBSOLETE_BY=6.0", "", force_version(), 6)]
#[case::obsolete_by_name("BUILD_EXCLUSIVE_KERNEL_MAX=99; OBSOLETE_BY=6.0", "a", classic(), 0)]
#[case::obsolete_override("BUILD_EXCLUSIVE_KERNEL_MAX=99; OBSOLETE_BY=6.0", "a_version-override", classic(), 6)]
#[case::obsolete_forced("BUILD_EXCLUSIVE_KERNEL_MAX=99; OBSOLETE_BY=6.0", "", force(), 0)]
fn checks_and_what_overrules_them(#[case] lines: &str, #[case] words: &str, #[case] order: Order, #[case] code: i32) {
    let machine = Machine::new();
    let own = machine.kernels_own();
    let package = machine.source("a/1", lines);
    machine.write("usr/share/dkms/modules_to_force_install/a.conf", words);
    assert_eq!(machine.code(&package, &order), code);
    assert_eq!((machine.installed_file().exists(), own.exists()), (code == 0, code != 0));
    if code == 0 {
        assert_eq!(machine.code(&package, &classic()), 0, "what is installed is not refused any more");
    }
}

/// The planner would else never ask for it.
#[rstest]
#[case::not_named("", EntryState::Dormant, 1)]
#[case::named("a", EntryState::Queued, 2)]
fn the_daemon_installs_what_is_named_though_it_is_obsolete(
    #[case] words: &str,
    #[case] state: EntryState,
    #[case] actions: usize,
) {
    let machine = Machine::new();
    machine.source("a/1", "BUILD_EXCLUSIVE_KERNEL_MAX=99; OBSOLETE_BY=6.0");
    machine.write("usr/share/dkms/modules_to_force_install/a.conf", words);
    let look = machine.look();
    assert_eq!((row(&look).state, verbs(&look).len()), (state, actions));
}

/// Each is asked as the classic command asks, on a package that is not built; `force` changes nothing of these.
#[rstest]
#[case::excluded("BUILD_EXCLUSIVE_KERNEL='^2'", force(), 77)]
#[case::dependency("BUILD_DEPENDS[0]=b", classic(), 13)]
#[case::dependency_forced("BUILD_DEPENDS[0]=b", force(), 0)]
#[case::bad_conf("AUTOINSTALL=maybe", force(), 8)]
#[case::make("MAKE[0]=false", force(), 10)]
#[case::not_built("MAKE[0]=true", force(), 7)]
fn codes_of_a_build(#[case] lines: &str, #[case] order: Order, #[case] code: i32) {
    let machine = Machine::new();
    let package = machine.source("a/1", lines);
    assert_eq!(machine.code(&package, &order), code);
    assert_eq!(machine.installed_file().exists(), code == 0);
}

#[rstest]
#[case::kernel_folder_gone(6, |machine: &Machine, _: &PackageId| fs::remove_dir_all(machine.layout().kernel_folder(&machine.kernel.release)).unwrap())]
#[case::built_module_gone(6, |machine: &Machine, package: &PackageId| {
    fs::remove_file(machine.layout().module_dir(package, &machine.kernel).join("r8169.ko")).unwrap();
})]
#[case::excluded_by_now(77, |machine: &Machine, _: &PackageId| machine.write("etc/dkms/a.conf", "BUILD_EXCLUSIVE_KERNEL='^2'\n"))]
#[case::bad_by_now(8, |machine: &Machine, _: &PackageId| machine.write("etc/dkms/a.conf", "AUTOINSTALL=maybe\n"))]
fn codes_of_an_install_of_what_is_built(#[case] code: i32, #[case] damage: fn(&Machine, &PackageId)) {
    let machine = Machine::new();
    let package = machine.telling("a/1", "");
    machine.engine().build(&package, &machine.kernel, &classic(), &mut quiet()).unwrap();
    damage(&machine, &package);
    assert_eq!(machine.code(&package, &force()), code);
    assert_eq!(machine.ran(), "MAKE\n", "no script of the install has run");
    assert!(!machine.layout().installed_link(&package.name, &machine.kernel).exists());
}

#[test]
fn without_headers_the_build_comes_first() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    fs::remove_dir_all(machine.layout().kernel_folder(&machine.kernel.release)).unwrap();
    assert_eq!(machine.code(&package, &classic()), 21);
    assert_eq!(tree::failures::all(machine.layout()).unwrap(), [], "which is no failure of the package");
}

/// `add` alone mends it.
#[rstest]
#[case::link_missing(|machine: &Machine, package: &PackageId| {
    fs::remove_file(machine.layout().source_link(package)).unwrap();
})]
#[case::source_missing(|machine: &Machine, package: &PackageId| {
    fs::rename(machine.layout().source(package), machine.tree.path("aside")).unwrap();
})]
fn a_broken_package_is_refused(#[case] damage: fn(&Machine, &PackageId)) {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.install_as(&package, &classic()).unwrap();
    damage(&machine, &package);
    let (engine, kernel, order) = (machine.engine(), &machine.kernel, &force());
    for result in [
        engine.build(&package, kernel, order, &mut quiet()).map(drop),
        engine.install(&package, kernel, order, &mut quiet()).map(drop),
        engine.uninstall(&package, kernel, order, &mut quiet()).map(drop),
        engine.unbuild(&package, kernel, order, &mut quiet()).map(drop),
        engine.remove_from(&package, std::slice::from_ref(kernel), order, &mut quiet()).map(drop),
    ] {
        assert_eq!(result.unwrap_err().exit_code(), 4);
    }
    assert!(machine.installed_file().exists() && held_none(&machine));
    if machine.layout().source(&package).exists() {
        engine.add(&package, &classic(), &mut quiet()).unwrap();
        assert!(matches!(machine.install_as(&package, &classic()).unwrap(), Done::Unchanged(_)));
    }
}

fn held_none(machine: &Machine) -> bool {
    tree::Holds::read(machine.layout()).unwrap().iter().next().is_none()
}

#[test]
fn links_instead_of_copies_and_back() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let engine = |links: bool| {
        let mut settings = Settings::load(machine.layout().root()).unwrap();
        settings.symlink_modules = links;
        Engine::new(settings, Some(false)).unwrap()
    };
    let install = |links: bool, order: &Order| {
        let done = engine(links).install(&package, &machine.kernel, order, &mut quiet()).unwrap();
        engine(links).finish_kernel(&machine.kernel, std::slice::from_ref(&package), &mut quiet()).unwrap();
        done
    };
    let differs = || {
        let record = machine.manifest(&package).installed;
        difference(machine.layout(), &package, &machine.kernel, record.as_ref(), None, None).unwrap()
    };
    let built = machine.layout().module_dir(&package, &machine.kernel).join("r8169.ko");
    let is_link = || fs::read_link(machine.installed_file()).is_ok_and(|to| machine.layout().host(to) == built);
    assert_eq!(install(true, &classic()), Done::Placed);
    assert!(is_link());
    assert_eq!(differs(), None);
    assert!(matches!(install(true, &classic()), Done::Unchanged(_)));
    assert!(matches!(install(false, &classic()), Done::Unchanged(_)), "what stands, stands");
    assert_eq!(install(false, &force()), Done::Placed);
    assert!(fs::symlink_metadata(machine.installed_file()).unwrap().is_file() && differs().is_none());
    assert_eq!(install(true, &force()), Done::Placed);
    assert!(is_link() && differs().is_none());
    // What it points to is built anew: the link shows it at once, and the record follows.
    machine.source("a/1", "STRIP=no");
    assert_eq!(install(true, &daemons()), Done::Placed);
    assert!(is_link() && differs().is_none());
    assert_eq!(engine(true).uninstall(&package, &machine.kernel, &classic(), &mut quiet()).unwrap(), Done::Placed);
    assert!(fs::symlink_metadata(machine.installed_file()).is_err() && built.exists());
}

/// Whoever comes second sees what the first has built and placed.
#[rstest]
#[case::not_finished_yet(false)]
#[case::finished(true)]
fn what_another_process_installs_meanwhile_is_not_placed_twice(#[case] finished: bool) {
    let machine = Machine::new();
    let package = machine.telling("a/1", "");
    machine.engine().build(&package, &machine.kernel, &classic(), &mut quiet()).unwrap();
    let lock = tree::lock_install(machine.layout(), &machine.kernel.release, &mut |_| {}).unwrap();
    let [waits, go] = [std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>()];
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut sink = OnWait(Some(waits.0));
            machine.engine().install(&package, &machine.kernel, &classic(), &mut sink)
        });
        waits.1.recv().unwrap();
        drop((lock, go));
        let first = machine.install_first(&package, finished);
        (first, second.join().unwrap().unwrap())
    });
    // Whoever of the two came first with the lock, the scripts ran once.
    assert_eq!(machine.ran(), "MAKE\nPRE_INSTALL\nPOST_INSTALL\n", "{second:?}");
    machine.engine().finish_kernel(&machine.kernel, std::slice::from_ref(&package), &mut quiet()).unwrap();
    assert!(machine.indexed() && machine.manifest(&package).installed.is_some());
    assert_eq!(install::under_way(machine.layout(), &package.name, &machine.kernel).unwrap(), None);
}

struct OnWait(Option<std::sync::mpsc::Sender<()>>);

impl Sink for OnWait {
    fn emit(&mut self, event: Event) {
        if matches!(&event, Event::Waiting { why: Some(_) })
            && let Some(told) = self.0.take()
        {
            told.send(()).unwrap();
        }
    }
}

impl Machine {
    fn install_first(&self, package: &PackageId, finish: bool) -> Done {
        let engine = self.engine();
        let done = engine.install(package, &self.kernel, &classic(), &mut quiet()).unwrap();
        if finish {
            engine.finish_kernel(&self.kernel, std::slice::from_ref(package), &mut quiet()).unwrap();
        }
        done
    }
}

/// As when two `dkms autoinstall` and a daemon run at once.
#[test]
fn at_once_each_module_is_built_once_and_placed_once() {
    let machine = Machine::new();
    let package = machine.telling("a/1", "");
    machine.engine().add(&package, &classic(), &mut quiet()).unwrap();
    std::thread::scope(|scope| {
        for order in [classic(), classic(), daemons()] {
            let (machine, package) = (&machine, &package);
            scope.spawn(move || machine.install_as(package, &order).unwrap());
        }
    });
    assert_eq!(machine.ran(), "MAKE\nPRE_INSTALL\nPOST_INSTALL\n");
    assert!(machine.indexed() && machine.manifest(&package).installed.is_some());
}
