//! From a source to a module that modprobe finds, and back.

use super::*;

#[test]
fn from_source_to_module_and_back() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    assert!(machine.installed_file().exists() && machine.indexed());
    let manifest = machine.manifest(&package);
    let record = manifest.installed.unwrap();
    assert_eq!(record.files.len(), 1);
    assert_eq!(machine.layout().host(&record.files[0].path), machine.installed_file());
    assert_eq!(record.files[0].sha256, manifest.built.modules[0].sha256);
    let log = fs::read_to_string(machine.layout().built_log(&package, &machine.kernel)).unwrap();
    assert!(log.contains("# command: cp prebuilt r8169.ko"), "{log}");
    assert!(!machine.layout().build_dir(&package).exists());
    let look = machine.look();
    assert_eq!((row(&look).state, row(&look).stale, verbs(&look)), (EntryState::Installed, false, vec![]));

    let again = machine.install(&package).unwrap();
    assert!(matches!(&again, Done::Unchanged(why) if why.contains("installed")), "{again:?}");
    assert!(matches!(
        machine.engine().build(&package, &machine.kernel, &daemons(), &mut quiet()),
        Ok(Done::Unchanged(_))
    ));

    let engine = machine.engine();
    assert_eq!(engine.uninstall(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap(), Done::Placed);
    engine.finish_kernel(&machine.kernel, std::slice::from_ref(&package), &mut quiet()).unwrap();
    assert!(!machine.installed_file().exists() && !machine.indexed());
    let look = machine.look();
    assert_eq!(row(&look).reason, "it is built and not installed");
    engine.unbuild(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    assert!(!machine.layout().kernel_dir(&package, &machine.kernel.release).exists());
}

#[test]
fn a_stale_rebuild_replaces_the_build_and_then_the_module() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    let before = machine.manifest(&package);
    let other = fixture::module("8139cp.ko");
    machine.source("a/1", "STRIP[0]=no\nPOST_INSTALL=absent.sh");
    assert_eq!(row(&machine.look()).reason, "its source changed");

    // As far as a kill right after the build would let it come.
    assert_eq!(machine.engine().build(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap(), Done::Changed);
    let between = machine.manifest(&package);
    assert_eq!(between.installed, before.installed);
    assert_ne!(between.built.modules, before.built.modules, "{}", other.display());
    let look = machine.look();
    assert!(row(&look).stale && row(&look).reason.contains("from an earlier build"), "{:?}", row(&look));
    assert_eq!(verbs(&look), [Verb::Install(machine.kernel.clone())]);

    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let after = machine.manifest(&package);
    assert_eq!(after.installed.unwrap().files[0].sha256, between.built.modules[0].sha256);
    assert_eq!(verbs(&machine.look()), []);
}

#[test]
fn a_removed_file_comes_back_without_a_build() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    let built = machine.manifest(&package).built;
    fs::remove_file(machine.installed_file()).unwrap();
    assert_eq!(verbs(&machine.look()), [Verb::Install(machine.kernel.clone())]);
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    assert!(machine.installed_file().exists());
    assert_eq!(machine.manifest(&package).built, built);
}

/// As when a build is killed between moving the old one away and its own into place.
#[test]
fn a_build_that_is_lost_is_made_again() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    fs::remove_dir_all(machine.layout().built_dir(&package, &machine.kernel)).unwrap();
    let look = machine.look();
    assert!(row(&look).stale && machine.installed_file().exists(), "{:?}", row(&look));
    assert_eq!(verbs(&look), [Verb::Install(machine.kernel.clone())]);
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    assert_eq!((row(&machine.look()).stale, verbs(&machine.look())), (false, vec![]));
    machine.engine().uninstall(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    assert!(!machine.installed_file().exists());
}

/// The index cannot be replaced: a folder that is not empty stands where it would go.
#[rstest]
#[case::first_install(false)]
#[case::rebuild(true)]
fn depmod_that_fails_puts_everything_back_and_is_not_repeated(#[case] rebuild: bool) {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    if rebuild {
        machine.install(&package).unwrap();
        machine.source("a/1", "STRIP[0]=no");
    }
    let module = || fs::read(machine.installed_file()).ok();
    let before = module();
    let index = machine.layout().kernel_folder(&machine.kernel.release).join("modules.dep.bin");
    let _ = fs::remove_file(&index);
    fs::create_dir_all(index.join("in the way")).unwrap();
    assert!(matches!(machine.install(&package), Err(Error::Depmod { .. })));
    assert_eq!(module(), before);
    assert_eq!(machine.layout().installed_link(&package.name, &machine.kernel).exists(), rebuild);
    let look = machine.look();
    assert_eq!((row(&look).state, row(&look).stale, verbs(&look)), (EntryState::Failed, rebuild, vec![]));

    fs::remove_dir_all(&index).unwrap();
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    assert!(machine.indexed() && module() != before);
    assert_eq!(row(&machine.look()).problem(), None);
}

/// Each rebuild would run the scripts again.
#[test]
fn what_a_packages_own_scripts_leave_in_its_source_does_not_make_it_stale() {
    let machine = Machine::new();
    let package = machine.source("a/1", "PRE_INSTALL=hook.sh\nPOST_INSTALL=hook.sh");
    machine.script(&package, "hook.sh", "echo \"$kernelver $$\" >>ran");
    machine.install(&package).unwrap();
    let look = machine.look();
    assert_eq!((row(&look).state, verbs(&look)), (EntryState::Installed, vec![]), "{:?}", row(&look));
    fs::write(machine.layout().source(&package).join("a.c"), "int a;").unwrap();
    assert_eq!(verbs(&machine.look()), [Verb::Install(machine.kernel.clone())]);
}

#[rstest]
#[case::pre_install("PRE_INSTALL", Some(101))]
#[case::post_install("POST_INSTALL", None)]
fn scripts_around_an_install(#[case] directive: &str, #[case] code: Option<i32>) {
    let machine = Machine::new();
    let package = machine.source("a/1", &format!("{directive}=\"hook.sh now\""));
    machine.script(&package, "hook.sh", "echo \"$1 $kernelver $PWD\"; exit 3");
    let mut events = quiet();
    let done = machine.engine().install(&package, &machine.kernel, &daemons(), &mut events);
    assert_eq!(done.err().map(|e| e.exit_code()), code);
    let said = format!("now {} {}", machine.kernel.release, machine.layout().source(&package).display());
    assert!(text(&events).contains(&said), "{events:?}");
    assert_eq!(machine.installed_file().exists(), code.is_none());
}

#[rstest]
#[case::script("PRE_INSTALL", "hook.sh", true)]
#[case::folder("PRE_INSTALL", "", true)]
#[case::conf("PRE_INSTALL", "dkms.conf", true)]
#[case::post_install("POST_INSTALL", "hook.sh", false)]
fn a_script_that_others_can_change_does_not_run_as_root(
    #[case] directive: &str,
    #[case] open: &str,
    #[case] stops: bool,
) {
    let machine = Machine::new();
    let package = machine.source("a/1", &format!("{directive}=hook.sh"));
    machine.script(&package, "hook.sh", "echo it ran");
    let open = machine.layout().source(&package).join(open);
    std::os::unix::fs::chown(&open, Some(1234), None).unwrap();
    let mut events = quiet();
    let done = machine.engine().install(&package, &machine.kernel, &daemons(), &mut events);
    assert!(!text(&events).contains("it ran"), "{events:?}");
    let said = done.as_ref().map_or_else(ToString::to_string, |_| text(&events));
    let wanted = format!("{} belongs to uid 1234", open.canonicalize().unwrap().display());
    assert!(said.contains(&wanted) && said.contains("chown -R root:root"), "{said}");
    assert_eq!((done.is_err(), machine.installed_file().exists()), (stops, !stops));
    assert_eq!(verbs(&machine.look()), [], "it is not tried for ever");
    std::os::unix::fs::chown(&open, Some(0), None).unwrap();
    let mut events = quiet();
    machine.engine().install(&package, &machine.kernel, &forced(), &mut events).unwrap();
    assert!(text(&events).contains("it ran"), "{events:?}");
}

/// Its output stays open, and the kernel's folder must not stay locked.
#[test]
fn a_script_that_leaves_something_in_the_background_does_not_hold_an_install() {
    let machine = Machine::new();
    let package = machine.source("a/1", "POST_INSTALL=hook.sh");
    let [ask, answer] = ["ask", "answer"].map(|name| machine.tree.path(name));
    assert!(std::process::Command::new("mkfifo").args([&ask, &answer]).status().unwrap().success());
    let background = format!("(read line <{}; echo \"$line\" >{}) & echo done", ask.display(), answer.display());
    machine.script(&package, "hook.sh", &background);
    let mut events = quiet();
    let done = machine.engine().install(&package, &machine.kernel, &daemons(), &mut events);
    assert_eq!(done.unwrap(), Done::Placed);
    assert!(text(&events).contains("POST_INSTALL: done"), "{events:?}");
    fs::write(ask, "still here\n").unwrap();
    assert_eq!(fs::read_to_string(answer).unwrap(), "still here\n");
}

#[test]
fn an_install_that_was_cut_short_before_depmod_is_finished() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.engine().install(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    assert!(!machine.indexed());
    let mut events = quiet();
    machine.engine().recover(&mut events).unwrap();
    assert!(machine.indexed() && text(&events).contains("are finished"), "{events:?}");
    assert!(machine.manifest(&package).installed.is_some());
    let mut again = quiet();
    machine.engine().recover(&mut again).unwrap();
    assert_eq!(text(&again), "");
}

#[test]
fn a_gone_kernel_is_cleaned_up_after_by_every_package() {
    let machine = Machine::new();
    let packages = [machine.source("a/1", ""), machine.source("b/1", "DEST_MODULE_NAME=r8169\n")];
    let folder = machine.layout().kernel_folder(&machine.kernel.release);
    machine.install(&packages[0]).unwrap();
    machine.engine().add(&packages[1], &daemons(), &mut quiet()).unwrap();
    machine.engine().build(&packages[1], &machine.kernel, &daemons(), &mut quiet()).unwrap();
    // Its package was removed; another kernel is there.
    fs::create_dir_all(machine.layout().install_tree().join("6.99/kernel")).unwrap();
    for file in ["modules.builtin", "modules.order", "build"] {
        fs::remove_file(folder.join(file)).unwrap();
    }
    let clean = Verb::Clean(machine.kernel.clone());
    assert_eq!(verbs(&machine.look()), [clean.clone(), clean]);
    for package in &packages {
        machine.engine().clean(package, &machine.kernel, &mut quiet()).unwrap();
        assert!(!machine.layout().kernel_dir(package, &machine.kernel.release).exists());
    }
    assert!(!folder.exists());
    assert!(machine.look().plan.actions.is_empty());
    machine.engine().clean(&packages[0], &machine.kernel, &mut quiet()).unwrap();
}

/// Nothing is planned for a kernel that is gone and that nothing is built for.
#[rstest]
#[case::at_the_next_start(false)]
#[case::with_what_another_package_had_there(true)]
fn what_failed_for_a_gone_kernel_is_forgotten(#[case] cleaned: bool) {
    let machine = Machine::new();
    let other = KernelId::new("6.99.0-other", machine.kernel.arch.as_str()).unwrap();
    machine.kernel_folder(&other);
    let fails = machine.source("a/1", "MAKE[0]=false");
    let there = machine.source("b/1", "");
    for kernel in [&machine.kernel, &other] {
        machine.engine().build(&fails, kernel, &daemons(), &mut quiet()).unwrap_err();
    }
    machine.install(&there).unwrap();
    let failed_for = || -> Vec<KernelId> {
        tree::failures::all(machine.layout()).unwrap().into_iter().map(|failure| failure.kernel).collect()
    };
    machine.engine().recover(&mut quiet()).unwrap();
    assert_eq!(failed_for(), [machine.kernel.clone(), other.clone()]);
    fs::remove_dir_all(machine.layout().kernel_folder(&machine.kernel.release)).unwrap();
    if cleaned {
        machine.engine().clean(&there, &machine.kernel, &mut quiet()).unwrap();
    } else {
        machine.engine().recover(&mut quiet()).unwrap();
    }
    assert_eq!(failed_for(), [other]);
}

#[test]
fn what_failed_is_remembered_while_the_install_tree_is_not_mounted() {
    let machine = Machine::new();
    let package = machine.source("a/1", "MAKE[0]=false");
    machine.install(&package).unwrap_err();
    fs::rename(machine.layout().install_tree(), machine.tree.path("aside")).unwrap();
    fs::create_dir(machine.layout().install_tree()).unwrap();
    machine.engine().recover(&mut quiet()).unwrap();
    assert_eq!(tree::failures::all(machine.layout()).unwrap().len(), 1);
}

#[test]
fn what_somebody_else_has_in_a_gone_kernels_folder_stays() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let folder = machine.layout().kernel_folder(&machine.kernel.release);
    machine.install(&package).unwrap();
    fs::write(folder.join("updates/theirs.ko"), "").unwrap();
    machine.engine().clean(&package, &machine.kernel, &mut quiet()).unwrap();
    assert!(folder.join("updates/theirs.ko").exists() && !machine.installed_file().exists());
}

/// A script of an image would else change the machine that makes the image.
#[test]
fn in_another_root_without_a_shell_no_script_runs() {
    let machine = Machine::new();
    let package = machine.source("a/1", "POST_INSTALL=\"hook.sh now\"");
    let mark = machine.tree.path("mark");
    machine.script(&package, "hook.sh", &format!("echo \"$1 $PWD $kernelver\" >{}", mark.display()));
    let engine = Engine { in_other_root: true, ..machine.engine() };
    let mut events = quiet();
    engine.install(&package, &machine.kernel, &daemons(), &mut events).unwrap();
    assert!(machine.installed_file().exists() && !mark.exists());
    assert!(text(&events).contains("hook.sh now is not run"), "{events:?}");
}

/// Two packages that bring a module of one name; both orders of taking them away.
#[rstest]
#[case::the_first_goes_first(true)]
#[case::the_first_outlives_the_other(false)]
fn a_module_of_another_package_is_not_the_kernels_own(#[case] first_goes_first: bool) {
    let machine = Machine::new();
    let (one, two) = (machine.source("one/1", ""), machine.source("two/1", ""));
    machine.install(&one).unwrap();
    let refused = machine.install(&two).unwrap_err().to_string();
    assert!(refused.contains("one/1's /"), "{refused}");
    let mut events = quiet();
    let engine = machine.engine();
    engine.install(&two, &machine.kernel, &forced(), &mut events).unwrap();
    assert!(text(&events).contains("comes back on uninstall while one/1 is installed"), "{events:?}");
    let batch = std::slice::from_ref(&two);
    engine.settle_kernel(&machine.kernel, batch, Depmod::Run, &mut quiet()).unwrap();

    let (first, last) = if first_goes_first { (&one, &two) } else { (&two, &one) };
    engine.remove(first, &by_hand(), &mut quiet()).unwrap();
    assert!(machine.installed_file().exists(), "{last} is still installed");
    let entry = &tree::package(machine.layout(), last).unwrap().unwrap().entries[0];
    let record = entry.manifest.as_ref().and_then(|manifest| manifest.installed.as_ref()).unwrap();
    let there = tree::files::sha256_file(&machine.installed_file()).unwrap();
    assert_eq!(record.files[0].sha256, there);
    engine.remove(last, &by_hand(), &mut quiet()).unwrap();
    assert!(!machine.installed_file().exists(), "nobody has it any more");
}
