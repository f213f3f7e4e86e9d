//! add, remove, hold and release.

use super::*;

fn held(machine: &Machine) -> Vec<Option<KernelId>> {
    tree::Holds::read(machine.layout()).unwrap().iter().map(|hold| hold.kernel.clone()).collect()
}

#[test]
fn adding_again_changes_nothing() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let engine = machine.engine();
    assert_eq!(engine.add(&package, &daemons(), &mut quiet()).unwrap(), Done::Changed);
    let again = engine.add(&package, &daemons(), &mut quiet()).unwrap();
    assert_eq!(again, Done::Unchanged("a/1 is in the tree already".into()));
    fs::remove_file(machine.layout().source_link(&package)).unwrap();
    assert_eq!(engine.add(&package, &daemons(), &mut quiet()).unwrap(), Done::Changed, "a missing link is restored");
}

#[rstest]
#[case::no_source("b/1", "", 2)]
#[case::bad_conf("a/1", "AUTOINSTALL=maybe", 8)]
#[case::another_name("a/1", "PACKAGE_NAME=b", 8)]
fn what_cannot_be_added_leaves_no_trace(#[case] asked: &str, #[case] lines: &str, #[case] code: i32) {
    let machine = Machine::new();
    machine.source("a/1", lines);
    let asked: PackageId = asked.parse().unwrap();
    let error = machine.engine().add(&asked, &daemons(), &mut quiet()).unwrap_err();
    assert_eq!(error.exit_code(), code, "{error}");
    assert!(!machine.layout().dkms_tree().join(&asked.name).exists());
}

#[test]
fn a_folder_elsewhere_is_copied_once_and_replaced_by_force() {
    let machine = Machine::new();
    let elsewhere = machine.layout().host("/srv/driver");
    machine.source_at(&elsewhere, "a/1", "");
    let engine = machine.engine();
    let add = |order| engine.add_folder(&elsewhere, &order, &mut quiet()).unwrap();
    let (package, done) = add(daemons());
    assert_eq!((package.to_string().as_str(), done), ("a/1", Done::Changed));
    let copy = machine.layout().source(&package).join("dkms.conf");
    machine.source_at(&elsewhere, "a/1", "STRIP[0]=no");
    assert!(matches!(add(daemons()).1, Done::Unchanged(_)));
    assert!(!fs::read_to_string(&copy).unwrap().contains("STRIP"));
    add(forced());
    assert!(fs::read_to_string(&copy).unwrap().contains("STRIP"));
    let left: Vec<_> = fs::read_dir(machine.layout().source_tree()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
    assert!(matches!(
        engine.add_folder(copy.parent().unwrap(), &daemons(), &mut quiet()).unwrap().1,
        Done::Unchanged(_)
    ));
}

/// The folder is a user's, and stays it; what is built from is root's.
#[test]
fn the_copy_of_a_users_folder_is_roots_alone() {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};
    let machine = Machine::new();
    let elsewhere = machine.layout().host("/srv/driver");
    machine.source_at(&elsewhere, "a/1", "");
    fs::create_dir(elsewhere.join("sub")).unwrap();
    fs::write(elsewhere.join("sub/run.sh"), "").unwrap();
    symlink("sub/run.sh", elsewhere.join("link")).unwrap();
    for (name, mode) in
        [("sub/run.sh", 0o6777), ("sub", 0o2775), ("dkms.conf", 0o666), ("prebuilt", 0o644), ("", 0o777)]
    {
        let path = elsewhere.join(name);
        chown(&path, Some(1234), Some(1234)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::lchown(elsewhere.join("link"), Some(1234), Some(1234)).unwrap();
    let mut events = quiet();
    let (package, _) = machine.engine().add_folder(&elsewhere, &daemons(), &mut events).unwrap();
    let copy = machine.layout().source(&package);
    let look =
        |name: &str| fs::symlink_metadata(copy.join(name)).map(|m| (m.uid(), m.gid(), m.mode() & 0o7777)).unwrap();
    assert_eq!(
        ["sub/run.sh", "sub", "dkms.conf", "prebuilt", ""].map(look),
        [(0, 0, 0o755), (0, 0, 0o755), (0, 0, 0o644), (0, 0, 0o644), (0, 0, 0o755)]
    );
    assert_eq!((look("link").0, fs::read_link(copy.join("link")).unwrap()), (0, PathBuf::from("sub/run.sh")));
    assert!(!text(&events).contains("Warning"), "{events:?}");
}

#[test]
fn a_source_that_others_can_change_is_warned_about() {
    let machine = Machine::new();
    let package = machine.source("a/1", "POST_ADD=hook.sh");
    machine.script(&package, "hook.sh", "exit 7");
    std::os::unix::fs::chown(machine.layout().source(&package), Some(1234), None).unwrap();
    let mut events = quiet();
    assert_eq!(machine.engine().add(&package, &daemons(), &mut events).unwrap(), Done::Changed);
    assert!(text(&events).contains("whoever can gets code into the kernel"), "{events:?}");
    assert!(text(&events).contains("its POST_ADD script hook.sh is not run as root"), "{events:?}");
}

#[test]
fn post_add_that_fails_ends_with_its_code_and_the_next_attempt_goes_on() {
    let machine = Machine::new();
    let package = machine.source("a/1", "POST_ADD=hook.sh");
    machine.script(&package, "hook.sh", "echo \"for $module $module_version\"; exit 7");
    let mut events = quiet();
    let error = machine.engine().add(&package, &daemons(), &mut events).unwrap_err();
    assert_eq!(error.exit_code(), 7);
    assert!(text(&events).contains("POST_ADD: for a 1"), "{events:?}");
    assert_eq!(verbs(&machine.look()), [Verb::Install(machine.kernel.clone())]);
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
}

#[test]
fn install_that_has_to_add_and_cannot_is_not_tried_for_ever() {
    let machine = Machine::new();
    let package = machine.source("a/1", "AUTOINSTALL=maybe");
    assert_eq!(machine.install(&package).unwrap_err().exit_code(), 8);
    let failure = tree::failures::read(machine.layout(), &package, &machine.kernel).unwrap().unwrap();
    assert!(!failure.fingerprint.is_empty(), "so that a change is worth another try");
    machine.source("a/1", "");
    assert_eq!(verbs(&machine.look()).len(), 2);
}

#[test]
fn what_is_not_there_cannot_be_taken_away() {
    let machine = Machine::new();
    let engine = machine.engine();
    let package = machine.source("a/1", "");
    for result in [
        engine.uninstall(&package, &machine.kernel, &by_hand(), &mut quiet()).map(drop),
        engine.unbuild(&package, &machine.kernel, &by_hand(), &mut quiet()).map(drop),
        engine.remove(&package, &by_hand(), &mut quiet()).map(drop),
    ] {
        assert_eq!(result.unwrap_err().exit_code(), 3);
    }
    assert_eq!(held(&machine), []);
    engine.add(&package, &daemons(), &mut quiet()).unwrap();
    let done = engine.uninstall(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap();
    assert!(matches!(done, Done::Unchanged(_)));
    let done = engine.unbuild(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap();
    assert!(matches!(done, Done::Unchanged(_)));
    assert_eq!(held(&machine), [], "what was not there is not kept away");
}

/// Else every kernel to come would be without a driver that its owner did not get rid of.
#[rstest]
#[case::uninstall(|engine: &Engine, package: &PackageId, kernel: &KernelId| engine.uninstall(package, kernel, &by_hand(), &mut quiet()).map(drop))]
#[case::unbuild(|engine: &Engine, package: &PackageId, kernel: &KernelId| engine.unbuild(package, kernel, &by_hand(), &mut quiet()).map(drop))]
#[case::remove(|engine: &Engine, package: &PackageId, _: &KernelId| engine.remove(package, &by_hand(), &mut quiet()).map(drop))]
fn what_could_not_be_taken_away_is_not_held(#[case] take_away: fn(&Engine, &PackageId, &KernelId) -> Result<()>) {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    // Full of something else, the mark that depmod is due cannot be made.
    let due = machine.layout().depmod_due(&machine.kernel.release);
    fs::create_dir_all(due.join("in the way")).unwrap();
    assert!(take_away(&machine.engine(), &package, &machine.kernel).is_err());
    assert_eq!((held(&machine), machine.installed_file().exists()), (vec![], true));
    fs::remove_dir_all(due).unwrap();
    take_away(&machine.engine(), &package, &machine.kernel).unwrap();
    assert_eq!((held(&machine).len(), machine.installed_file().exists()), (1, false));
}

/// A hold that cannot be written, as on a full disk, keeps nothing on the machine.
#[test]
fn what_is_taken_away_goes_though_it_cannot_be_held() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    fs::create_dir_all(machine.layout().holds().join("in the way")).unwrap();
    let mut events = quiet();
    machine.engine().remove(&package, &by_hand(), &mut events).unwrap();
    assert!(!machine.installed_file().exists() && !machine.layout().package_dir(&package.name).exists());
    assert!(text(&events).contains("a/1 may be put back by itself: "), "{events:?}");
}

#[test]
fn what_a_person_takes_away_stays_away_until_a_person_wants_it_back() {
    let machine = Machine::new();
    let engine = machine.engine();
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    engine.uninstall(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap();
    assert_eq!(held(&machine), [Some(machine.kernel.clone())]);
    let look = machine.look();
    assert_eq!((row(&look).state, verbs(&look)), (EntryState::Held, vec![]));
    engine.install(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap();
    assert_eq!(held(&machine), []);
    engine.finish_kernel(&machine.kernel, std::slice::from_ref(&package), &mut quiet()).unwrap();

    let kernels = engine.remove(&package, &by_hand(), &mut quiet()).unwrap();
    assert_eq!(kernels, std::slice::from_ref(&machine.kernel));
    assert_eq!(held(&machine), [None]);
    assert!(!machine.installed_file().exists() && !machine.layout().package_dir(&package.name).exists());
    let look = machine.look();
    assert_eq!((row(&look).state, verbs(&look)), (EntryState::Held, vec![]), "its source is still there");
    engine.add(&package, &by_hand(), &mut quiet()).unwrap();
    assert_eq!(held(&machine), []);
    assert_eq!(verbs(&machine.look()), [Verb::Install(machine.kernel.clone())]);
}

#[test]
fn a_new_version_is_not_held() {
    let machine = Machine::new();
    let engine = machine.engine();
    let package = machine.source("a/1", "");
    engine.add(&package, &daemons(), &mut quiet()).unwrap();
    engine.remove(&package, &by_hand(), &mut quiet()).unwrap();
    machine.source("a/2", "");
    let due: Vec<_> = machine.look().plan.actions.into_iter().map(|a| (a.verb, a.package.to_string())).collect();
    assert_eq!(due, [(Verb::Add, "a/2".into()), (Verb::Install(machine.kernel.clone()), "a/2".into())]);
}
