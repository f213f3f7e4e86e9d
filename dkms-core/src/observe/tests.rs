//! Looks at a machine in small: headers laid out as Debian's, sources, and a tree as classic DKMS leaves it.

mod inputs;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rstest::rstest;

use super::*;
use crate::fingerprint;
use crate::host::headers::tests::{BUILD, QUIET, RELEASE, Tree};
use crate::model::EntryState;
use crate::plan::{EntryView, Row, Verb};
use crate::tree::{BuiltModule, BuiltRecord, InstallRecord, InstalledFile};

/// A Debian machine with one kernel and its headers.
struct Machine {
    tree: Tree,
    kernel: KernelId,
}

impl Machine {
    fn new() -> Self {
        let kernel = KernelId { release: RELEASE.parse().unwrap(), arch: kernels::machine().unwrap() };
        let machine = Self { tree: Tree::new(), kernel };
        machine.write("etc/os-release", "ID=debian\n");
        machine.write(&format!("lib/modules/{RELEASE}/modules.builtin"), "kernel/a.ko\n");
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.tree.path(path)
    }

    fn write(&self, path: &str, text: &str) {
        self.tree.write(path, text);
    }

    /// The source of `a/1`, with these lines in its dkms.conf.
    fn source(&self, lines: &str) {
        let conf = format!(
            "PACKAGE_NAME=a\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=a\nDEST_MODULE_LOCATION=/kernel/drivers\n{lines}\n"
        );
        self.write("usr/src/a-1/a.c", "int a;\n");
        self.write("usr/src/a-1/dkms.conf", &conf);
    }

    fn link(&self, at: &str, target: &str) {
        let link = self.path(at);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
    }

    /// `a/1`, added, built and installed as classic DKMS does it.
    fn classic(&self) {
        self.source("AUTOINSTALL=yes");
        self.link("var/lib/dkms/a/1/source", "/usr/src/a-1");
        let arch = &self.kernel.arch;
        self.write(&format!("var/lib/dkms/a/1/{RELEASE}/{arch}/module/a.ko"), "built");
        self.link(&format!("var/lib/dkms/a/kernel-{RELEASE}-{arch}"), &format!("1/{RELEASE}/{arch}"));
        self.write(INSTALLED, "built");
    }

    /// The same as we do it.
    fn ours(&self, machine: &Observer) {
        self.classic();
        let built_from = entry(&self.later(machine)).inputs.clone().unwrap();
        self.manifest(&built_from.to_string(), "digest");
    }

    fn manifest(&self, built_from: &str, built: &str) {
        let record = BuiltRecord {
            fingerprint: built_from.into(),
            modules: vec![BuiltModule { file_name: "a.ko".into(), sha256: built.into() }],
            ..BuiltRecord::default()
        };
        let mut manifest = Manifest::new(a(), self.kernel.clone(), record);
        let path = Path::new("/").join(INSTALLED);
        let file = InstalledFile { module: "a".parse().unwrap(), path, sha256: "digest".into() };
        manifest.installed =
            Some(InstallRecord { at: 0, by_uid: 0, reason: String::new(), files: vec![file], displaced: Vec::new() });
        manifest.write(&self.tree.layout).unwrap();
    }

    fn observer(&self) -> Observer {
        Observer::new(&Settings::load(&self.path("")).unwrap()).unwrap()
    }

    /// As it will look once everything is quiet.
    fn later(&self, observer: &Observer) -> Look {
        observer.look(SystemTime::now() + QUIET).unwrap()
    }

    fn look(&self) -> Look {
        self.later(&self.observer())
    }

    fn remove_kernel(&self) {
        fs::remove_dir_all(self.path(&format!("lib/modules/{RELEASE}"))).unwrap();
    }
}

const INSTALLED: &str = "lib/modules/6.1.0-56-amd64/updates/dkms/a.ko";

fn a() -> PackageId {
    "a/1".parse().unwrap()
}

fn row(look: &Look) -> &Row {
    match &look.plan.rows[..] {
        [row] => row,
        rows => panic!("{rows:#?}"),
    }
}

fn state(look: &Look) -> EntryState {
    row(look).state
}

fn entry(look: &Look) -> &EntryView {
    look.world.packages[0].entries.values().next().unwrap()
}

fn verbs(look: &Look) -> Vec<Verb> {
    look.plan.actions.iter().map(|a| a.verb.clone()).collect()
}

#[test]
fn a_source_that_appears_is_left_alone_until_it_is_quiet() {
    let machine = Machine::new();
    let observer = machine.observer();
    machine.later(&observer);
    machine.source("AUTOINSTALL=yes");
    let written = fs::metadata(machine.path("usr/src/a-1/dkms.conf")).unwrap().modified().unwrap();
    let mut now = SystemTime::now();
    let mut look = observer.look(now).unwrap();
    while let Some(next) = look.look_again {
        assert_eq!(look.world.packages, []);
        assert!(next > now, "each look says when the next one is worth it");
        now = next;
        look = observer.look(now).unwrap();
    }
    assert!(now >= written + QUIET);
    assert_eq!(verbs(&look), [Verb::Add, Verb::Install(machine.kernel.clone())]);
    assert!(look.watch.contains(&(machine.path("usr/src/a-1"), true)));
}

#[test]
fn a_certificate_that_comes_is_worth_a_look() {
    let machine = Machine::new();
    machine.write("etc/os-release", "ID=ubuntu\n");
    let folder = (machine.path("var/lib/shim-signed/mok"), false);
    assert!(!machine.look().watch.contains(&folder), "it is not there");
    fs::create_dir_all(&folder.0).unwrap();
    assert!(machine.look().watch.contains(&folder));
    machine.write("etc/dkms/framework.conf", "mok_certificate=/srv/$kernelver/mok.der\n");
    let folder = machine.path(&format!("srv/{RELEASE}"));
    fs::create_dir_all(&folder).unwrap();
    assert!(machine.look().watch.contains(&(folder, false)));
}

#[test]
fn a_file_that_arrives_late_starts_the_quiet_period_anew() {
    let machine = Machine::new();
    let observer = machine.observer();
    machine.source("AUTOINSTALL=yes");
    assert_eq!(machine.later(&observer).world.packages.len(), 1);
    machine.write("usr/src/a-1/deep/down/late.c", "");
    assert_eq!(observer.look(SystemTime::now()).unwrap().world.packages, []);
}

#[rstest]
#[case::called_otherwise("usr/src/other-1/dkms.conf", "PACKAGE_NAME=a\nPACKAGE_VERSION=1\nAUTOINSTALL=yes\n")]
#[case::no_conf("usr/src/a-1/a.c", "")]
#[case::nameless("usr/src/a-1/dkms.conf", "AUTOINSTALL=yes\n")]
#[case::not_automatic(
    "usr/src/a-1/dkms.conf",
    "PACKAGE_NAME=a\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=a\nDEST_MODULE_LOCATION=/extra\n"
)]
fn other_folders_are_no_packages_and_may_become_some(#[case] file: &str, #[case] text: &str) {
    let machine = Machine::new();
    machine.write(file, text);
    let look = machine.look();
    assert_eq!((&look.plan.rows[..], &look.plan.actions[..]), (&[][..], &[][..]));
    let folder = machine.path(file).parent().unwrap().to_owned();
    assert!(look.watch.iter().any(|(watched, _)| *watched == folder), "{:?}", look.watch);
}

#[test]
fn headers_that_settle_are_waited_for() {
    let machine = Machine::new();
    let observer = machine.observer();
    machine.source("AUTOINSTALL=yes");
    let quiet = machine.later(&observer);
    assert_eq!(state(&quiet), EntryState::Queued);
    machine.write(&format!("{BUILD}/include/late.h"), "");
    let now = SystemTime::now();
    // The source is as old as the headers for this look.
    let look = observer.look(now).unwrap();
    assert!(matches!(look.world.kernels[0].headers, HeaderView::Settling { .. }));
    let until = look.look_again.unwrap();
    assert!(until <= now + QUIET, "no later than need be");
    assert_eq!(state(&machine.later(&observer)), EntryState::Queued);
}

#[rstest]
#[case::not_there(&format!("lib/modules/{RELEASE}/build"))]
#[case::not_whole(&format!("{BUILD}/Module.symvers"))]
fn headers_that_are_missing_are_waited_for(#[case] gone: &str) {
    let machine = Machine::new();
    machine.source("AUTOINSTALL=yes");
    fs::remove_file(machine.path(gone)).unwrap();
    let look = machine.look();
    assert_eq!(state(&look), EntryState::WaitingForHeaders);
    assert!(row(&look).reason.contains("install linux-headers-6.1.0-56-amd64"), "{}", row(&look).reason);
    assert!(look.watch.contains(&(machine.path(&format!("lib/modules/{RELEASE}")), false)));
    assert_eq!(look.look_again, None);
}

#[rstest]
#[case::gone(&["lib/modules/6.12/modules.builtin"], true)]
#[case::only_what_is_ours(&[INSTALLED, "lib/modules/6.1.0-56-amd64/modules.dep"], true)]
#[case::somebody_elses_module(&["lib/modules/6.1.0-56-amd64/updates/theirs.ko"], false)]
#[case::it_is_there(&["lib/modules/6.1.0-56-amd64/modules.order"], false)]
#[case::only_its_headers(&["lib/modules/6.1.0-56-amd64/build/Makefile"], false)]
#[case::nothing_is_mounted(&[], false)]
fn a_kernel_is_gone_when_nothing_is_left_but_ours(#[case] left: &[&str], #[case] gone: bool) {
    let machine = Machine::new();
    machine.classic();
    let observer = machine.observer();
    machine.remove_kernel();
    for file in left {
        machine.write(file, "built");
    }
    let look = machine.later(&observer);
    let clean = Verb::Clean(machine.kernel.clone());
    assert_eq!(verbs(&look).contains(&clean), gone, "{look:#?}");
    assert_eq!(look.unsound.is_some(), left.is_empty());
}

#[test]
fn nothing_is_gone_while_the_install_tree_is_not_there() {
    let machine = Machine::new();
    machine.classic();
    let observer = machine.observer();
    fs::rename(machine.path("lib"), machine.path("elsewhere")).unwrap();
    let look = machine.later(&observer);
    assert!(look.unsound.is_some() && look.plan.actions.is_empty(), "{look:#?}");
}

#[test]
fn what_a_classic_tool_installed_is_adopted() {
    let machine = Machine::new();
    machine.classic();
    let observer = machine.observer();
    let look = machine.later(&observer);
    assert_eq!((state(&look), row(&look).stale, verbs(&look)), (EntryState::Installed, false, vec![]));
    machine.write("usr/src/a-1/a.c", "int another;\n");
    let look = machine.later(&observer);
    assert_eq!((state(&look), row(&look).stale, verbs(&look)), (EntryState::Installed, false, vec![]));
}

#[rstest]
#[case::nothing(|_: &Machine| {}, "")]
#[case::source(|m: &Machine| m.write("usr/src/a-1/a.c", "int b;\n"), "its source changed")]
#[case::conf(|m: &Machine| m.source("AUTOINSTALL=yes\nNO_WEAK_MODULES=yes"), "its source changed")]
#[case::patch(|m: &Machine| m.write("etc/dkms/a/patches/fix.patch", "-a\n+b\n"), "its patches or scripts in /etc/dkms changed")]
#[case::override_conf(|m: &Machine| m.write("etc/dkms/a-1.conf", "STRIP[0]=no\n"), "its overrides in /etc/dkms changed")]
#[case::other_packages_override(|m: &Machine| m.write("etc/dkms/b.conf", "STRIP[0]=no\n"), "")]
#[case::symbols(|m: &Machine| m.write(&format!("{BUILD}/Module.symvers"), "0x2\tprintk\n"), "the kernel's headers changed")]
#[case::headers_touched(|m: &Machine| m.write(&format!("{BUILD}/include/other.h"), ""), "")]
#[case::file_removed(|m: &Machine| fs::remove_file(m.path(INSTALLED)).unwrap(), "/updates/dkms/a.ko is missing")]
#[case::rebuilt_and_not_installed(
    |m: &Machine| { let now = entry(&m.look()).inputs.clone().unwrap(); m.manifest(&now.to_string(), "newer"); },
    "/updates/dkms/a.ko is from an earlier build"
)]
#[case::form_of_another_program(|m: &Machine| m.manifest("0.s.c.h.d", "digest"), "it was built by another version of dkmsd")]
#[case::classic_build_that_we_installed(|m: &Machine| m.manifest("", "digest"), "")]
fn what_we_installed_is_stale_when(#[case] change: fn(&Machine), #[case] reason: &str) {
    let machine = Machine::new();
    let observer = machine.observer();
    machine.ours(&observer);
    assert_eq!(
        (state(&machine.later(&observer)), row(&machine.later(&observer)).stale),
        (EntryState::Installed, false)
    );
    change(&machine);
    let look = machine.later(&observer);
    assert_eq!(state(&look), EntryState::Installed);
    assert!(
        row(&look).reason.contains(reason) && reason.is_empty() == row(&look).reason.is_empty(),
        "{:?}",
        row(&look)
    );
    let due = if reason.is_empty() { vec![] } else { vec![Verb::Install(machine.kernel.clone())] };
    assert_eq!(verbs(&look), due);
}

#[test]
fn a_source_being_edited_is_not_built_from_yet() {
    let machine = Machine::new();
    let observer = machine.observer();
    machine.ours(&observer);
    machine.write("usr/src/a-1/a.c", "int half;\n");
    let look = observer.look(SystemTime::now()).unwrap();
    assert_eq!((row(&look).stale, verbs(&look)), (false, vec![]));
    assert!(look.look_again.is_some());
    assert!(row(&machine.later(&observer)).stale);
}

#[rstest]
#[case::for_all_kernels("etc/dkms/a.conf", true)]
#[case::for_this_kernel("etc/dkms/a--6.1.0-56-amd64.conf", true)]
#[case::for_another_kernel("etc/dkms/a--6.12.conf", false)]
#[case::for_another_version("etc/dkms/a-2.conf", false)]
fn an_override_alone_may_ask_for_autoinstall(#[case] file: &str, #[case] asked: bool) {
    let machine = Machine::new();
    machine.source("");
    assert_eq!(machine.look().plan.actions, []);
    machine.write(file, "AUTOINSTALL=yes\n");
    assert_eq!(machine.look().plan.actions.len(), if asked { 2 } else { 0 });
}

#[test]
fn an_override_may_exclude_a_kernel() {
    let machine = Machine::new();
    machine.source("AUTOINSTALL=yes");
    machine.write("etc/dkms/a.conf", "BUILD_EXCLUSIVE_KERNEL='^5'\n");
    assert_eq!(state(&machine.look()), EntryState::Excluded);
}

#[rstest]
#[case::source_removed("usr/src/a-1")]
#[case::link_removed("var/lib/dkms/a/1/source")]
fn what_lacks_its_source_is_broken(#[case] gone: &str) {
    let machine = Machine::new();
    machine.classic();
    fs::rename(machine.path(gone), machine.path("aside")).unwrap();
    let look = machine.look();
    assert_eq!((state(&look), verbs(&look)), (EntryState::Broken, vec![]));
    assert!(row(&look).reason.contains("usr/src/a-1"), "{}", row(&look).reason);
}

#[test]
fn what_cannot_be_read_says_why() {
    let machine = Machine::new();
    machine.source("AUTOINSTALL=maybe");
    machine.link("var/lib/dkms/a/1/source", "/usr/src/a-1");
    let look = machine.look();
    assert_eq!((state(&look), verbs(&look)), (EntryState::Failed, vec![]));
    assert!(row(&look).problem().is_some_and(|why| why.contains("AUTOINSTALL")), "{:?}", row(&look));
}

/// Somebody's folders that have to do with nothing: none of them is this machine's trouble.
#[rstest]
#[case::bad_and_not_automatic("DEST_MODULE_LOCATION=/nowhere", false, None)]
#[case::bad_and_automatic("DEST_MODULE_LOCATION=/nowhere\nAUTOINSTALL=yes", false, Some(EntryState::Failed))]
#[case::nobody_knows("AUTOINSTALL=maybe", false, None)]
#[case::registered_bad_and_not_automatic("DEST_MODULE_LOCATION=/nowhere", true, Some(EntryState::Added))]
#[case::registered_bad_and_automatic("DEST_MODULE_LOCATION=/nowhere\nAUTOINSTALL=yes", true, Some(EntryState::Failed))]
#[case::registered_and_nobody_knows("AUTOINSTALL=maybe", true, Some(EntryState::Failed))]
fn a_bad_conf_is_a_failure_only_of_what_wants_to_be_installed(
    #[case] lines: &str,
    #[case] registered: bool,
    #[case] wanted: Option<EntryState>,
) {
    let machine = Machine::new();
    machine.source(lines);
    if registered {
        machine.link("var/lib/dkms/a/1/source", "/usr/src/a-1");
    }
    let look = machine.look();
    assert_eq!(look.plan.rows.iter().map(|row| row.state).collect::<Vec<_>>(), Vec::from_iter(wanted));
    assert_eq!(verbs(&look), vec![]);
    for row in &look.plan.rows {
        assert!(row.reason.contains("DEST_MODULE_LOCATION") || row.reason.contains("AUTOINSTALL"), "{row:?}");
        assert_eq!(row.problem().is_some(), registered && wanted == Some(EntryState::Failed), "{row:?}");
    }
    // Mended, it is found.
    machine.source("AUTOINSTALL=yes");
    assert!(verbs(&machine.look()).contains(&Verb::Install(machine.kernel.clone())));
}

/// Somebody cross-compiles one package: that asks for nothing else.
#[test]
fn builds_for_another_machine_are_shown_and_ask_for_nothing() {
    let machine = Machine::new();
    machine.source("AUTOINSTALL=yes");
    machine.link("var/lib/dkms/b/1/source", "/usr/src/b-1");
    machine.write(
        "usr/src/b-1/dkms.conf",
        "PACKAGE_NAME=b\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=b\nDEST_MODULE_LOCATION=/extra\nAUTOINSTALL=yes\n",
    );
    machine.write(&format!("var/lib/dkms/b/1/{RELEASE}/riscv64/module/b.ko"), "built");
    let look = machine.look();
    let installs: Vec<_> = verbs(&look).into_iter().filter(|v| *v != Verb::Add).collect();
    assert_eq!(installs, vec![Verb::Install(machine.kernel.clone()); 2], "{:#?}", look.plan);
    let foreign = look.plan.rows.iter().find(|r| r.kernel.as_ref().is_some_and(|k| k.arch.as_str() == "riscv64"));
    assert_eq!(foreign.map(|r| (r.package.to_string(), r.state)), Some(("b/1".into(), EntryState::Built)));
}

#[test]
fn holds_failures_and_the_switch_are_seen() {
    let machine = Machine::new();
    machine.source("AUTOINSTALL=yes");
    let layout = &machine.tree.layout;
    let now = entry(&machine.look()).inputs.clone().unwrap();
    let HeaderView::Ready { stamp } = machine.look().world.kernels[0].headers.clone() else { panic!() };
    let failure = Failure {
        package: a(),
        kernel: machine.kernel.clone(),
        fingerprint: now.to_string(),
        header_stamp: stamp,
        state: None,
        code: 10,
        error: "make failed".into(),
        first_error: Some("a.c:1: error".into()),
        excerpt: Vec::new(),
        missing: Vec::new(),
        bounds: None,
        log: Some("/var/lib/dkmsd/logs/1".into()),
        at: 0,
        attempts: 1,
    };
    tree::failures::write(layout, &failure).unwrap();
    let look = machine.look();
    assert_eq!(state(&look), EntryState::Failed);
    assert_eq!(entry(&look).log.as_deref(), Some(Path::new("/var/lib/dkmsd/logs/1")));
    tree::holds::hold(layout, &a(), Some(&machine.kernel), 1000, 0).unwrap();
    let look = machine.look();
    assert_eq!(state(&look), EntryState::Held);
    assert!(row(&look).reason.contains("(uid 1000) on 1970-01-01"), "{}", row(&look).reason);
    tree::holds::release(layout, &a(), None).unwrap();
    machine.write("etc/dkms/no-autoinstall", "");
    assert!(machine.look().world.autoinstall_off);
}

#[test]
fn what_failed_is_due_again_when_it_may_do_more() {
    let machine = Machine::new();
    machine.source("AUTOINSTALL=yes");
    let layout = &machine.tree.layout;
    let HeaderView::Ready { stamp } = machine.look().world.kernels[0].headers.clone() else { panic!() };
    let failure = Failure {
        package: a(),
        kernel: machine.kernel.clone(),
        fingerprint: entry(&machine.look()).inputs.clone().unwrap().to_string(),
        header_stamp: stamp,
        state: None,
        code: 10,
        error: "make failed".into(),
        first_error: None,
        excerpt: Vec::new(),
        missing: Vec::new(),
        bounds: Some(Settings::load(&machine.path("")).unwrap().bounds(&a().name)),
        log: None,
        at: 0,
        attempts: 1,
    };
    tree::failures::write(layout, &failure).unwrap();
    assert_eq!(state(&machine.look()), EntryState::Failed);
    machine.write("etc/dkms/dkmsd.toml", "[package.other]\nnetwork = true\n");
    assert_eq!(state(&machine.look()), EntryState::Failed);
    machine.write("etc/dkms/dkmsd.toml", "[package.a]\nnetwork = true\n");
    assert_ne!(state(&machine.look()), EntryState::Failed);
}

/// What a package depends on counts by the version that is installed for the kernel.
#[test]
fn dependencies_are_part_of_the_inputs() {
    let machine = Machine::new();
    machine.source("AUTOINSTALL=yes\nBUILD_DEPENDS[0]=z");
    let observer = machine.observer();
    let before = entry(&machine.later(&observer)).inputs.clone().unwrap();
    let arch = machine.kernel.arch.clone();
    machine.link("var/lib/dkms/z/3/source", "/usr/src/z-3");
    fs::create_dir_all(machine.path("usr/src/z-3")).unwrap();
    machine.link(&format!("var/lib/dkms/z/kernel-{RELEASE}-{arch}"), &format!("3/{RELEASE}/{arch}"));
    let after = entry(&machine.later(&observer)).inputs.clone().unwrap();
    assert_ne!(before.depends, after.depends);
    assert_eq!(Fingerprint { depends: before.depends.clone(), ..after }, before);
}

#[test]
fn looking_changes_nothing() {
    let machine = Machine::new();
    machine.classic();
    machine.write("usr/src/b-1/dkms.conf", "PACKAGE_NAME=b\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=$(echo b)\nDEST_MODULE_LOCATION=/extra\nAUTOINSTALL=yes\n");
    let stamp = || fingerprint::Stamp::of(&machine.path("")).unwrap().digest;
    let before = stamp();
    let observer = machine.observer();
    let first = machine.later(&observer);
    assert_eq!(machine.later(&observer), first);
    assert_eq!(stamp(), before);
}

#[test]
fn a_hold_ends_with_its_source() {
    let machine = Machine::new();
    machine.source("AUTOINSTALL=yes\n");
    tree::holds::hold(&machine.tree.layout, &a(), None, 0, 0).unwrap();
    assert_eq!(machine.look().ended_holds, []);
    fs::remove_dir_all(machine.path("usr/src/a-1")).unwrap();
    assert_eq!(machine.look().ended_holds, [a()]);
}
