//! Two at once on one tree.

use super::*;
use crate::install;

/// Lets a build go on as soon as somebody waits for it.
struct LetsGo {
    go: PathBuf,
    waits: Vec<Event>,
}

impl Sink for LetsGo {
    fn emit(&mut self, event: Event) {
        match &event {
            Event::Waiting { .. } => {
                if self.waits.is_empty() {
                    fs::write(&self.go, "go").unwrap();
                }
                self.waits.push(event);
            }
            Event::Waited => self.waits.push(event),
            _ => {}
        }
    }
}

#[test]
fn what_is_held_meanwhile_is_left_alone_and_is_no_failure() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.engine().add(&package, &daemons(), &mut quiet()).unwrap();
    tree::holds::hold(machine.layout(), &package, Some(&machine.kernel), 0, 1).unwrap();
    let error = machine.engine().install(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap_err();
    assert!(matches!(error, Error::Held { .. }), "{error}");
    assert!(!machine.layout().module_dir(&package, &machine.kernel).exists());
    assert_eq!(tree::failures::all(machine.layout()).unwrap(), []);

    machine.engine().remove(&package, &by_hand(), &mut quiet()).unwrap();
    let error = machine.engine().install(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap_err();
    assert!(matches!(error, Error::Held { .. }), "{error}");
    assert!(!machine.layout().version_dir(&package).exists(), "it does not come back by itself");
    assert_eq!(machine.engine().install(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap(), Done::Placed);
}

#[test]
fn a_package_that_is_being_built_is_forgotten_after_it() {
    let machine = Machine::new();
    let [started, go] = ["started", "go"].map(|name| machine.tree.path(name));
    assert!(std::process::Command::new("mkfifo").args([&started, &go]).status().unwrap().success());
    let slow = format!("MAKE[0]=\"echo >{}; cat {}; cp prebuilt r8169.ko\"", started.display(), go.display());
    let package = machine.source("a/1", &slow);
    machine.engine().add(&package, &daemons(), &mut quiet()).unwrap();
    let mut remover = LetsGo { go: go.clone(), waits: Vec::new() };
    let built = std::thread::scope(|scope| {
        let build = scope.spawn(|| machine.engine().build(&package, &machine.kernel, &daemons(), &mut quiet()));
        fs::read_to_string(&started).unwrap();
        let removed = machine.engine().remove(&package, &by_hand(), &mut remover);
        if remover.waits.is_empty() {
            fs::write(&go, "go").unwrap();
        }
        removed.unwrap();
        build.join().unwrap()
    });
    assert_eq!(built.unwrap(), Done::Changed);
    let waits = remover.waits.as_slice();
    assert!(
        matches!(waits, [Event::Waiting { why: Some(why) }, Event::Waited] if why.contains("process")),
        "{waits:?}"
    );
    assert!(!machine.layout().version_dir(&package).exists(), "nothing of it is left");
}

/// A process that lives until this is dropped, and an engine as it would have.
struct Somebody {
    process: std::process::Child,
    owner: Option<Owner>,
}

impl Somebody {
    fn new() -> Self {
        let process = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let owner = Owner::of(Path::new("/proc"), process.id());
        assert!(owner.is_some());
        Self { process, owner }
    }

    fn engine(&self, machine: &Machine) -> Engine {
        Engine { owner: self.owner.clone(), ..machine.engine() }
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

impl Machine {
    fn under_way(&self, package: &PackageId) -> bool {
        install::under_way(self.layout(), &package.name, &self.kernel).unwrap().is_some()
    }

    fn marked(&self) -> bool {
        install::due::is_due(self.layout(), &self.kernel.release).unwrap()
    }

    /// What keeps depmod from succeeding while it is there.
    fn obstacle(&self) -> PathBuf {
        let index = self.layout().kernel_folder(&self.kernel.release).join("modules.dep.bin");
        let _ = fs::remove_file(&index);
        fs::create_dir_all(index.join("in the way")).unwrap();
        index
    }
}

#[test]
fn what_a_living_process_has_placed_is_its_own_to_finish_or_undo() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let batch = std::slice::from_ref(&package);
    let somebody = Somebody::new();
    let theirs = somebody.engine(&machine);
    assert_eq!(theirs.install(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap(), Done::Placed);

    let mut events = quiet();
    machine.engine().recover(&mut events).unwrap();
    assert_eq!((text(&events).as_str(), machine.under_way(&package), machine.marked()), ("", true, true));
    // Who asks for the same runs depmod, so that it is there when that one says so, and leaves the rest.
    assert_eq!(machine.engine().install(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap(), Done::Placed);
    machine.engine().settle_kernel(&machine.kernel, batch, Depmod::Run, &mut quiet()).unwrap();
    assert!(machine.indexed() && machine.under_way(&package));
    let index = machine.obstacle();
    machine.engine().settle_kernel(&machine.kernel, batch, Depmod::Run, &mut quiet()).unwrap_err();
    assert!(machine.installed_file().exists() && machine.under_way(&package));

    let error = theirs.settle_kernel(&machine.kernel, batch, Depmod::Run, &mut quiet()).unwrap_err();
    assert!(matches!(error, Error::Depmod { undone: true, .. }), "{error}");
    assert!(!machine.installed_file().exists() && !machine.under_way(&package));
    fs::remove_dir_all(index).unwrap();
}

#[rstest]
#[case::by_recover(true)]
#[case::by_another_install(false)]
fn what_a_dead_process_has_placed_is_finished(#[case] recover: bool) {
    let machine = Machine::new();
    let [package, other] = [machine.source("a/1", ""), machine.source("b/1", "DEST_MODULE_NAME=other")];
    let somebody = Somebody::new();
    somebody.engine(&machine).install(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap();
    drop(somebody);
    assert!(machine.under_way(&package));
    if recover {
        machine.engine().recover(&mut quiet()).unwrap();
    } else {
        machine.install_as(&other, &by_hand()).unwrap();
    }
    assert!(machine.indexed() && !machine.under_way(&package) && !machine.marked());
    assert!(machine.manifest(&package).installed.is_some());
}

/// With `--no-depmod`, our own change is nobody's to index; theirs still is.
#[test]
fn without_depmod_the_mark_of_somebody_else_stays() {
    let machine = Machine::new();
    let [package, other] = [machine.source("a/1", ""), machine.source("b/1", "DEST_MODULE_NAME=other")];
    let somebody = Somebody::new();
    somebody.engine(&machine).install(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap();
    let engine = machine.engine();
    engine.install(&other, &machine.kernel, &by_hand(), &mut quiet()).unwrap();
    engine.settle_kernel(&machine.kernel, &[other], Depmod::LeftToCaller, &mut quiet()).unwrap();
    assert!(machine.marked() && !machine.indexed() && machine.under_way(&package));
    drop(somebody);
    engine.recover(&mut quiet()).unwrap();
    assert!(!machine.marked() && machine.indexed() && !machine.under_way(&package));
}

/// Between taking a package off a kernel and dropping its build, nobody puts it back.
#[test]
fn nothing_is_installed_in_the_middle_of_an_unbuild() {
    let machine = Machine::new();
    let package = machine.source("a/1", "POST_REMOVE=again.sh");
    // Whoever withdraws it says so here, and goes on when somebody waits for the kernel or has it.
    let [withdrawn, go] = ["withdrawn", "go"].map(|name| machine.tree.path(name));
    assert!(std::process::Command::new("mkfifo").args([&withdrawn, &go]).status().unwrap().success());
    machine.script(&package, "again.sh", &format!("echo >{}; cat {}", withdrawn.display(), go.display()));
    machine.install(&package).unwrap();
    let order = Order { by_hand: false, ..classic() };
    let mut other = LetsGo { go, waits: Vec::new() };
    let unbuilt = std::thread::scope(|scope| {
        let unbuild = scope.spawn(|| machine.engine().unbuild(&package, &machine.kernel, &order, &mut quiet()));
        fs::read_to_string(&withdrawn).unwrap();
        let installed = machine.engine().install(&package, &machine.kernel, &order, &mut other);
        assert_eq!(installed.unwrap(), Done::Placed);
        unbuild.join().unwrap()
    });
    assert_eq!(unbuilt.unwrap(), Done::Placed);
    assert!(matches!(other.waits.first(), Some(Event::Waiting { why: Some(_) })), "{:?}", other.waits);
    assert!(machine.installed_file().exists() && machine.layout().module_dir(&package, &machine.kernel).is_dir());
}

/// Whatever is done at once to one package on one kernel, it comes to an end, and what is installed is built.
#[test]
fn any_number_at_once_come_to_an_end_and_leave_nothing_half_done() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.engine().add(&package, &by_hand(), &mut quiet()).unwrap();
    let order = Order { by_hand: false, ..classic() };
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (machine, package, order) = (&machine, &package, &order);
            scope.spawn(move || {
                let engine = machine.engine();
                let settle = |done: Done| {
                    if done == Done::Placed {
                        let batch = std::slice::from_ref(package);
                        engine.settle_kernel(&machine.kernel, batch, Depmod::Run, &mut quiet()).unwrap();
                    }
                };
                for _ in 0..3 {
                    match n {
                        0 | 1 => settle(engine.install(package, &machine.kernel, order, &mut quiet()).unwrap()),
                        2 => settle(engine.unbuild(package, &machine.kernel, order, &mut quiet()).unwrap()),
                        _ => drop(engine.autoinstall(&machine.kernel, order, &mut quiet()).unwrap()),
                    }
                }
            });
        }
    });
    let link = machine.layout().installed_link(&package.name, &machine.kernel);
    let installed = fs::symlink_metadata(link).is_ok();
    assert_eq!(machine.installed_file().exists(), installed);
    assert!(!installed || machine.layout().module_dir(&package, &machine.kernel).is_dir());
    assert!(!machine.under_way(&package) && !machine.marked());
    assert_eq!(machine.indexed(), installed);
}
