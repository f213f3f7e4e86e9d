//! Builds that fail, and what is remembered of them.

use super::*;

fn log_of(error: &Error) -> String {
    fs::read_to_string(error.log().unwrap()).unwrap()
}

#[test]
fn in_another_root_the_kernel_there_says_for_what_it_is() {
    let machine = Machine::new();
    machine.write(&format!("{BUILD}/include/config/auto.conf"), "CONFIG_MODULES=y\nCONFIG_64BIT=y\nCONFIG_ARM64=y\n");
    let release = &machine.kernel.release;
    let elsewhere = machine.engine().adjusted(Adjustments { in_other_root: true, ..Adjustments::default() });
    assert_eq!(elsewhere.arch_of(release).as_str(), "aarch64");
    assert_eq!(machine.engine().arch_of(release), machine.kernel.arch);
}

#[test]
fn a_user_that_is_not_there_and_a_folder_are_told() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let build = |toml: &str| {
        machine.write("etc/dkms/dkmsd.toml", toml);
        let mut events = Vec::new();
        let ended = machine.engine().build(&package, &machine.kernel, &forced(), &mut events);
        (ended, events)
    };
    machine.engine().add(&package, &by_hand(), &mut quiet()).unwrap();
    let (ended, events) = build("[package.a]\nwritable = [\"/srv/absent\"]\n");
    ended.unwrap();
    assert!(text(&events).contains("/srv/absent is not there"), "{events:?}");
    let (ended, _) = build("[daemon]\n\n[package.a]\nuser = \"nobody-here\"\n");
    let said = ended.unwrap_err().to_string();
    assert!(said.contains("dkmsd.toml:4") && said.contains("nobody-here"), "{said}");
}

#[test]
fn a_failed_make_is_remembered_until_something_changes() {
    let machine = Machine::new();
    let package =
        machine.source("a/1", "MAKE[0]=\"echo half >half.o; echo 'a.c:3:1: error: no such thing' >&2; false\"");
    let error = machine.install(&package).unwrap_err();
    assert_eq!(error.exit_code(), 10);
    assert!(error.to_string().contains("a.c:3:1: error: no such thing"), "{error}");
    assert!(log_of(&error).contains("no such thing") && log_of(&error).contains("# exit code: 1"));
    let left = machine.layout().build_dir(&package);
    assert_eq!(fs::read_to_string(left.join("half.o")).unwrap(), "half\n");
    assert_eq!(fs::read_to_string(left.join("make.log")).unwrap(), log_of(&error));

    let look = machine.look();
    assert_eq!((row(&look).state, verbs(&look)), (EntryState::Failed, vec![]));
    let failure = tree::failures::read(machine.layout(), &package, &machine.kernel).unwrap().unwrap();
    assert_eq!((failure.code, failure.attempts), (10, 1));
    assert_eq!(failure.first_error.as_deref(), Some("a.c:3:1: error: no such thing"));
    assert_eq!(failure.excerpt, ["> a.c:3:1: error: no such thing"]);
    assert_eq!(look.world.packages[0].entries[&machine.kernel].log.as_deref(), error.log());

    machine.install(&package).unwrap_err();
    let failure = tree::failures::read(machine.layout(), &package, &machine.kernel).unwrap().unwrap();
    assert_eq!(failure.attempts, 2);
    machine.source("a/1", "");
    assert_eq!(verbs(&machine.look()), [Verb::Install(machine.kernel.clone())]);
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    assert_eq!(tree::failures::all(machine.layout()).unwrap(), []);
    assert!(!left.exists(), "nothing is left of a build that succeeded");
}

/// As the nvidia packages of Debian have it: modprobe goes by the file, whatever the module calls itself.
#[test]
fn a_module_is_installed_under_the_name_that_dest_module_name_gives_it() {
    let machine = Machine::new();
    let package = machine.source("a/1", "DEST_MODULE_NAME[0]=r8169-current");
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let folder = machine.layout().kernel_folder(&machine.kernel.release).join(UPDATES);
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].to_string_lossy().starts_with("r8169-current.ko"), "{files:?}");
}

#[rstest]
#[case::module_missing("MAKE[0]=true", 7, "r8169.ko")]
#[case::module_elsewhere("BUILT_MODULE_LOCATION=sub", 7, "sub/r8169.ko")]
#[case::no_module("MAKE[0]=\"echo text >r8169.ko\"", 6, "r8169.ko")]
#[case::a_link_out("MAKE[0]=\"ln -s /etc/hostname r8169.ko\"", 7, "r8169.ko")]
#[case::pre_build("PRE_BUILD=hook.sh", 9, "PRE_BUILD")]
#[case::patch_missing("PATCH[0]=absent.patch", 5, "absent.patch")]
#[case::patch_outside("PATCH[0]=../dkms.conf", 5, "..")]
#[case::patch_does_not_fit("PATCH[0]=fix.patch", 6, "fix.patch")]
fn what_is_wrong_is_told_by_code_and_name(#[case] lines: &str, #[case] code: i32, #[case] named: &str) {
    let machine = Machine::new();
    let package = machine.source("a/1", lines);
    machine.script(&package, "hook.sh", "exit 9");
    let patches = machine.layout().source(&package).join("patches");
    fs::create_dir(&patches).unwrap();
    fs::write(patches.join("fix.patch"), "--- a/gone.c\n+++ b/gone.c\n@@ -1 +1 @@\n-a\n+b\n").unwrap();
    let error = machine.install(&package).unwrap_err();
    assert_eq!(error.exit_code(), code, "{error}");
    assert!(error.to_string().contains(named), "{error}");
    assert!(!machine.layout().module_dir(&package, &machine.kernel).exists());
    let look = machine.look();
    assert_eq!((row(&look).state, verbs(&look)), (EntryState::Failed, vec![]));
}

/// Nothing runs without the compiler; once it is there, that is worth another try.
#[test]
fn a_missing_compiler_is_named_and_awaited() {
    let machine = Machine::new();
    let compiler = machine.tree.path("usr/bin/gcc-99");
    let named = compiler.to_str().unwrap();
    machine.write(
        &format!("{BUILD}/include/config/auto.conf"),
        &format!("CONFIG_CC_VERSION_TEXT=\"{named} (Debian) 99.1\"\nCONFIG_CC_IS_GCC=y\n"),
    );
    machine.write(&format!("{BUILD}/.kernelvariables"), &format!("CC = $(CROSS_COMPILE) {named}\n"));
    let package = machine.source("a/1", "PRE_BUILD=hook.sh");
    machine.script(&package, "hook.sh", "touch ran");
    let error = machine.install(&package).unwrap_err();
    assert_eq!(error.exit_code(), 10);
    assert!(error.to_string().contains(&format!("{named} is not installed; install gcc-99")), "{error}");
    assert!(!machine.layout().build_dir(&package).exists());
    let look = machine.look();
    assert_eq!((row(&look).state, verbs(&look)), (EntryState::Failed, vec![]));
    assert!(row(&look).reason.contains("install gcc-99"), "{:?}", row(&look));
    machine.write("usr/bin/gcc-99", "");
    assert_eq!(verbs(&machine.look()), [Verb::Install(machine.kernel.clone())]);
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
}

#[test]
fn headers_whose_tools_run_elsewhere_are_refused() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let fixdep = machine.tree.path("usr/lib/linux-kbuild-6.1/scripts/basic/fixdep");
    fs::remove_file(&fixdep).unwrap();
    let mut foreign = fs::read("/bin/true").unwrap();
    foreign[18..20].copy_from_slice(&22u16.to_le_bytes());
    fs::write(&fixdep, foreign).unwrap();
    fs::set_permissions(&fixdep, fs::Permissions::from_mode(0o755)).unwrap();
    let error = machine.install(&package).unwrap_err();
    assert_eq!(error.exit_code(), 21);
    assert!(error.to_string().contains("fixdep is built for s390x, and this machine is"), "{error}");
    assert!(error.to_string().contains("install headers whose tools are for this machine"), "{error}");
}

#[test]
fn a_module_of_another_kernel_is_refused() {
    let mut machine = Machine::new();
    machine.kernel = KernelId::new("6.99.0-other", machine.kernel.arch.as_str()).unwrap();
    machine.kernel_folder(&machine.kernel.clone());
    let package = machine.source("a/1", "");
    let error = machine.install(&package).unwrap_err();
    let release = fixture::kernel().release;
    assert!(
        matches!(&error, Error::BadModule { why, .. } if why.contains(&format!("built for kernel {release}"))),
        "{error}"
    );
    assert!(!machine.layout().module_dir(&package, &machine.kernel).exists());
}

#[rstest]
#[case::excluded("BUILD_EXCLUSIVE_KERNEL='^2'", 77, EntryState::Excluded)]
#[case::obsolete("OBSOLETE_BY=9.9", 0, EntryState::Queued)]
#[case::dependency("BUILD_DEPENDS[0]=b", 13, EntryState::Deferred)]
fn what_is_not_to_be_built(#[case] lines: &str, #[case] code: i32, #[case] state: EntryState) {
    let machine = Machine::new();
    let package = machine.source("a/1", lines);
    assert_eq!(row(&machine.look()).state, state);
    assert_eq!(machine.install(&package).map_or_else(|e| e.exit_code(), |_| 0), code);
    let after = if code == 0 { EntryState::Installed } else { state };
    assert_eq!(row(&machine.look()).state, after);
}

/// What ruled it out is gone: nothing that was remembered may keep it away.
#[test]
fn an_exclusion_ends_with_its_override_even_without_headers() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let exclusion = machine.layout().config_dir().join("a.conf");
    fs::create_dir_all(machine.layout().config_dir()).unwrap();
    fs::write(&exclusion, "BUILD_EXCLUSIVE_KERNEL='^2'\n").unwrap();
    let build = machine.layout().kernel_source(&machine.kernel.release);
    fs::remove_file(&build).unwrap();
    assert_eq!(machine.install(&package).unwrap_err().exit_code(), 77);
    fs::remove_file(&exclusion).unwrap();
    assert_eq!(machine.install(&package).unwrap_err().exit_code(), 21);
    machine.kernel_folder(&machine.kernel);
    assert_eq!(verbs(&machine.look()), [Verb::Install(machine.kernel.clone())]);
}

#[test]
fn patches_are_applied_in_order_and_an_admins_win() {
    let machine = Machine::new();
    let package = machine
        .source("a/1", "PATCH[0]=one.patch; PATCH[1]=two.patch; MAKE[0]=\"grep -x three a.c && cp prebuilt r8169.ko\"");
    let source = machine.layout().source(&package);
    let patch = |folder: &Path, name: &str, from: &str, to: &str| {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), format!("--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-{from}\n+{to}\n")).unwrap();
    };
    fs::write(source.join("a.c"), "one\n").unwrap();
    patch(&source.join("patches"), "one.patch", "one", "two");
    patch(&source.join("patches"), "two.patch", "two", "wrong");
    patch(&machine.layout().override_patches(&package.name), "two.patch", "two", "three");
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    assert_eq!(fs::read_to_string(source.join("a.c")).unwrap(), "one\n", "the source stays as it was");
}

/// POST_BUILD fails after the modules stand: the package is built, and the failure is known.
#[test]
fn post_build_that_fails_leaves_the_package_built() {
    let machine = Machine::new();
    let package = machine.source("a/1", "POST_BUILD=hook.sh");
    machine.script(&package, "hook.sh", "exit 9");
    assert_eq!(machine.install(&package).unwrap_err().exit_code(), 9);
    assert!(machine.layout().module_dir(&package, &machine.kernel).join("r8169.ko").exists());
    let look = machine.look();
    assert_eq!((row(&look).state, verbs(&look)), (EntryState::Failed, vec![]));
}

/// As zfs does: files beside the modules. As whoever builds here; the sandbox's own test runs it apart.
#[rstest]
#[case::as_ourselves(false)]
#[case::as_the_build_user(true)]
fn post_build_may_add_to_the_result(#[case] with_user: bool) {
    let machine = Machine::new();
    if with_user && rustix::process::geteuid().is_root() {
        machine.tree.write("etc/passwd", "dkms:x:65534:65534::/:/bin/false\n");
    }
    let package =
        machine.source("a/1", "POST_BUILD=\"hook.sh ${dkms_tree}/${module}/${module_version}/${kernelver}/${arch}\"");
    // The tree's own root is not in the words that dkms.conf knows.
    let hook = format!(
        "cd {}$1 && ls module && echo a >zfs_config.h && mkdir sub && echo b >module/extra && chmod 6777 module/extra &&
        ln -s /etc/passwd link && mkfifo pipe",
        machine.layout().root().display()
    );
    machine.script(&package, "hook.sh", &hook);
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let place = machine.layout().built_dir(&package, &machine.kernel);
    assert_eq!(fs::read_to_string(place.join("zfs_config.h")).unwrap(), "a\n");
    for (name, mode) in [("", 0o755), ("module", 0o755), ("module/extra", 0o755), ("module/r8169.ko", 0o644)] {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(place.join(name)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, mode, "{name}");
        assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw(), "{name}");
    }
    assert!(fs::symlink_metadata(place.join("link")).is_err() && !place.join("pipe").exists());
    assert!(place.join("log/make.log").exists());
    let row = machine.look();
    assert_eq!(super::row(&row).state, EntryState::Installed);
}

#[test]
fn a_module_that_post_build_changes_is_looked_at_again() {
    let machine = Machine::new();
    let package = machine.source("a/1", "STRIP=no; POST_BUILD=hook.sh");
    let place = machine.layout().module_dir(&package, &machine.kernel);
    machine.script(&package, "hook.sh", &format!("strip -g {0}/r8169.ko && xz {0}/r8169.ko", place.display()));
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let stripped = fs::read(place.join("r8169.ko")).unwrap();
    assert_ne!(stripped, fs::read(fixture::module("r8169.ko")).unwrap());
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    let digest = tree::files::sha256_file(&place.join("r8169.ko")).unwrap();
    assert_eq!(machine.manifest(&package).built.modules[0].sha256, digest);

    let package = machine.source("b/1", "POST_BUILD=hook.sh");
    let place = machine.layout().module_dir(&package, &machine.kernel);
    machine.script(&package, "hook.sh", &format!("echo text >{}/r8169.ko", place.display()));
    let engine = machine.engine();
    let error = engine.build(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap_err();
    assert!(matches!(&error, Error::BadModule { .. }), "{error}");
    assert!(fs::metadata(place.join("r8169.ko")).unwrap().len() > 1000, "what make made is there");
}

/// Lets the first build go on as soon as the second one waits for it.
struct Starter {
    go: PathBuf,
    waited: bool,
}

impl Sink for Starter {
    fn emit(&mut self, event: Event) {
        if matches!(&event, Event::Waiting { why: Some(why) } if why.starts_with("waiting for")) && !self.waited {
            self.waited = true;
            fs::write(&self.go, "go").unwrap();
        }
    }
}

/// Tests run without namespaces, where all builds of a package share its classic folder.
#[test]
fn builds_of_one_package_for_two_kernels_take_turns() {
    let machine = Machine::new();
    let other = KernelId::new("6.99.0-other", machine.kernel.arch.as_str()).unwrap();
    machine.kernel_folder(&other);
    let [started, go] = ["started", "go"].map(|name| machine.tree.path(name));
    assert!(std::process::Command::new("mkfifo").args([&started, &go]).status().unwrap().success());
    let slow = format!("echo >{}; cat {}; cp prebuilt r8169.ko", started.display(), go.display());
    let package = machine.source("a/1", &format!("MAKE[0]=\"{slow}\"; MAKE[1]=\"false\"; MAKE_MATCH[1]='^6.99'"));
    machine.engine().add(&package, &daemons(), &mut quiet()).unwrap();
    let (first, second, waited) = std::thread::scope(|scope| {
        let first = scope.spawn(|| machine.engine().build(&package, &machine.kernel, &daemons(), &mut quiet()));
        fs::read_to_string(&started).unwrap();
        let mut starter = Starter { go: go.clone(), waited: false };
        let second = machine.engine().build(&package, &other, &daemons(), &mut starter);
        if !starter.waited {
            fs::write(&go, "go").unwrap();
        }
        (first.join().unwrap(), second, starter.waited)
    });
    assert_eq!(first.unwrap(), Done::Changed);
    assert_eq!(second.unwrap_err().exit_code(), 10);
    assert!(waited);
}

/// A person mends the source while the broken one is still being compiled.
#[test]
fn a_source_that_is_mended_while_it_fails_is_tried_again() {
    let machine = Machine::new();
    let [started, go] = ["started", "go"].map(|name| machine.tree.path(name));
    assert!(std::process::Command::new("mkfifo").args([&started, &go]).status().unwrap().success());
    let failing = format!("MAKE[0]=\"echo >{}; cat {}; false\"", started.display(), go.display());
    let package = machine.source("a/1", &failing);
    let error = std::thread::scope(|scope| {
        let install = scope.spawn(|| machine.install(&package));
        fs::read_to_string(&started).unwrap();
        machine.source("a/1", "");
        fs::write(&go, "go").unwrap();
        install.join().unwrap().unwrap_err()
    });
    assert_eq!(error.exit_code(), 10, "{error}");
    assert_eq!(verbs(&machine.look()), [Verb::Install(machine.kernel.clone())]);
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
}

/// Each attempt would change the source once more, and so be worth another.
#[test]
fn what_a_script_that_says_no_leaves_in_its_source_is_no_reason_to_try_again() {
    let machine = Machine::new();
    let package = machine.source("a/1", "PRE_INSTALL=hook.sh");
    machine.script(&package, "hook.sh", "echo \"$$\" >>ran; exit 1");
    assert_eq!(machine.install(&package).unwrap_err().exit_code(), 101);
    let look = machine.look();
    assert_eq!((row(&look).state, verbs(&look)), (EntryState::Failed, vec![]), "{:?}", row(&look));
}
