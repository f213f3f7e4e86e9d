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
