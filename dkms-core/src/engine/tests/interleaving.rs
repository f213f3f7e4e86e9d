//! Two at once on one tree.

use super::*;

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
