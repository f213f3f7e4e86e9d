//! On copies of a small tree laid out as Debian's, with real programs, and on real headers where there are any.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::time::Instant;

use rstest::rstest;

use super::*;

pub(crate) const RELEASE: &str = "6.1.0-56-amd64";
pub(crate) const BUILD: &str = "usr/src/linux-headers-6.1.0-56-amd64";
pub(crate) const COMMON: &str = "usr/src/linux-headers-6.1.0-56-common";
pub(crate) const KBUILD: &str = "usr/lib/linux-kbuild-6.1";
pub(crate) const QUIET: Duration = Duration::from_secs(2);

/// Debian's headers in small, under a root that everybody may enter.
pub(crate) struct Tree {
    root: tempfile::TempDir,
    pub(crate) layout: Layout,
    cache: HeaderCache,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let tree = Self { layout: Layout::under(root.path()), root, cache: HeaderCache::default() };
        for (path, text) in [
            (format!("{BUILD}/Makefile"), format!("include /{COMMON}/Makefile\n")),
            (format!("{BUILD}/include/generated/autoconf.h"), "#define CONFIG_ACPI 1\n".to_owned()),
            (format!("{BUILD}/include/config/auto.conf"), "CONFIG_ACPI=y\n".to_owned()),
            (format!("{BUILD}/Module.symvers"), "0x1\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n".to_owned()),
            (format!("{COMMON}/Makefile"), "VERSION = 6\n".to_owned()),
            (format!("{COMMON}/include/linux/deep/down/module.h"), String::new()),
        ] {
            tree.write(&path, &text);
        }
        for tool in ["scripts/basic/fixdep", "scripts/mod/modpost"] {
            tree.program(tool, &fs::read("/bin/true").unwrap());
        }
        for (link, target) in [
            (format!("lib/modules/{RELEASE}/build"), format!("/{BUILD}")),
            (format!("{BUILD}/scripts"), "../../lib/linux-kbuild-6.1/scripts".to_owned()),
            (format!("{COMMON}/scripts"), "../../lib/linux-kbuild-6.1/scripts".to_owned()),
        ] {
            let link = tree.path(&link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
        }
        tree
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Writes a file, so that the ctime of what changes is another one: times are as coarse as the clock's ticks, and
    /// a test is quicker.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        let changes = path.ancestors().find(|p| p.exists()).unwrap();
        let ctime = || fs::metadata(changes).map(|m| (m.ctime(), m.ctime_nsec())).unwrap();
        let before = ctime();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        while ctime() == before {
            fs::set_permissions(changes, fs::metadata(changes).unwrap().permissions()).unwrap();
        }
    }

    /// Another process writes the program: one that this process has open, or a process that a test beside this one
    /// forks at that moment, cannot be executed.
    fn program(&self, name: &str, bytes: &[u8]) {
        let (path, bytes_at) = (self.path(&format!("{KBUILD}/{name}")), self.path("bytes"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&bytes_at, bytes).unwrap();
        fs::set_permissions(&bytes_at, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new("cp").arg(&bytes_at).arg(&path).status().unwrap().success());
    }

    fn at(&self, now: SystemTime) -> HeaderState {
        inspect(&self.layout, &kernel(), &Distro::parse("ID=debian", None), now, QUIET, &self.cache)
    }

    /// As it will be seen once the quiet period is over.
    fn later(&self) -> HeaderState {
        self.at(SystemTime::now() + QUIET)
    }

    fn ready(&self) -> Headers {
        match self.later() {
            HeaderState::Ready(headers) => headers,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn kernel() -> KernelId {
    KernelId::new(RELEASE, "x86_64").unwrap()
}

#[test]
fn whole_settled_headers_are_ready() {
    let tree = Tree::new();
    let headers = tree.ready();
    assert_eq!(headers.dir, tree.path(BUILD));
    assert!(headers.config.enabled("CONFIG_ACPI"));
    assert_eq!(headers, tree.ready());
}

#[rstest]
#[case::build_link(&format!("lib/modules/{RELEASE}/build"), "there is no /lib/modules/6.1.0-56-amd64/build")]
#[case::build_folder(BUILD, "leads to /usr/src/linux-headers-6.1.0-56-amd64")]
#[case::makefile(&format!("{BUILD}/Makefile"), "lacks Makefile")]
#[case::autoconf(&format!("{BUILD}/include/generated/autoconf.h"), "lacks include/generated/autoconf.h")]
#[case::auto_conf(&format!("{BUILD}/include/config/auto.conf"), "lacks include/config/auto.conf")]
#[case::symvers(&format!("{BUILD}/Module.symvers"), "lacks Module.symvers")]
#[case::kbuild(KBUILD, "lacks scripts/basic/fixdep, scripts/mod/modpost")]
#[case::modpost(&format!("{KBUILD}/scripts/mod/modpost"), "lacks scripts/mod/modpost")]
#[case::common(COMMON, "lacks /usr/src/linux-headers-6.1.0-56-common/Makefile")]
fn whatever_is_missing_is_named_with_its_package(#[case] gone: &str, #[case] named: &str) {
    let tree = Tree::new();
    assert!(matches!(tree.later(), HeaderState::Ready(_)));
    let gone = tree.path(gone);
    fs::rename(&gone, tree.path("aside")).unwrap();
    match tree.later() {
        HeaderState::Missing { why, package } => {
            assert!(why.contains(named), "{why}");
            assert_eq!(package.as_deref(), Some("linux-headers-6.1.0-56-amd64"));
        }
        other => panic!("{other:?}"),
    }
    fs::rename(tree.path("aside"), &gone).unwrap();
    assert!(matches!(tree.later(), HeaderState::Ready(_)));
}

#[test]
fn settling_ends_when_the_last_change_is_old_enough() {
    let tree = Tree::new();
    let HeaderState::Settling { until, .. } = tree.at(SystemTime::now()) else { panic!("not settling") };
    assert!(matches!(tree.at(until - Duration::from_millis(1)), HeaderState::Settling { until: u, .. } if u == until));
    assert!(matches!(tree.at(until), HeaderState::Ready(_)));
}

#[rstest]
#[case::deep_in_common(&format!("{COMMON}/include/linux/deep/down/late.h"))]
#[case::behind_a_link(&format!("{KBUILD}/scripts/late.sh"))]
#[case::new_folder(&format!("{COMMON}/arch/x86/include/late.h"))]
#[case::sentinel_in_place(&format!("{BUILD}/Module.symvers"))]
#[case::included_makefile_in_place(&format!("{COMMON}/Makefile"))]
fn a_late_file_anywhere_settles_anew_and_changes_the_stamp(#[case] late: &str) {
    let tree = Tree::new();
    let before = tree.ready();
    tree.write(late, "late, and longer than before ................................\n");
    assert!(matches!(tree.at(SystemTime::now()), HeaderState::Settling { .. }));
    let after = tree.ready();
    assert_ne!(before.stamp, after.stamp);
}

/// Ubuntu links folders of the second level to another package's; a link upwards is no part of the tree.
#[test]
fn links_of_the_second_level_are_followed_and_links_upwards_are_not() {
    let tree = Tree::new();
    tree.write("usr/src/linux-headers-6.1.0-56/include/linux/deep/a.h", "");
    tree.write("usr/src/unrelated/a.h", "");
    symlink("../../linux-headers-6.1.0-56/include/linux", tree.path(&format!("{BUILD}/include/linux"))).unwrap();
    symlink("/usr/src", tree.path(&format!("{BUILD}/source"))).unwrap();
    let before = tree.ready().stamp;
    tree.write("usr/src/unrelated/b.h", "");
    assert_eq!(before, tree.ready().stamp);
    tree.write("usr/src/linux-headers-6.1.0-56/include/linux/deep/b.h", "");
    assert_ne!(before, tree.ready().stamp);
}

/// Package managers set mtimes back to the package's; only ctime tells that something arrived just now.
#[test]
fn old_mtimes_do_not_pass_for_settled() {
    let tree = Tree::new();
    let before = tree.ready();
    let folder = tree.path(&format!("{COMMON}/include/linux/deep/down"));
    let old = fs::metadata(&folder).unwrap().modified().unwrap();
    tree.write(&format!("{COMMON}/include/linux/deep/down/late.h"), "");
    fs::File::open(&folder).unwrap().set_modified(old).unwrap();
    assert!(matches!(tree.at(SystemTime::now()), HeaderState::Settling { .. }));
    assert_ne!(before.stamp, tree.ready().stamp);
}

#[rstest]
#[case::clock_set_back(Duration::from_secs(3600), true)]
#[case::just_now(Duration::from_millis(1500), false)]
fn times_far_ahead_of_the_clock_do_not_hold_up(#[case] back: Duration, #[case] ready: bool) {
    let tree = Tree::new();
    let state = tree.at(SystemTime::now() - back);
    assert_eq!(matches!(state, HeaderState::Ready(_)), ready, "{state:?}");
}

#[rstest]
#[case::symvers(&format!("{BUILD}/Module.symvers"), true)]
#[case::config(&format!("{BUILD}/include/config/auto.conf"), true)]
#[case::dot_config(&format!("{BUILD}/.config"), true)]
#[case::common_makefile(&format!("{COMMON}/Makefile"), true)]
#[case::any_other(&format!("{COMMON}/include/linux/module.h"), false)]
fn the_identity_is_of_what_modules_are_built_from(#[case] file: &str, #[case] changes: bool) {
    let tree = Tree::new();
    let before = tree.ready().identity;
    tree.write(file, "CONFIG_OTHER=y\n");
    assert_eq!(before != tree.ready().identity, changes);
}

#[test]
fn the_identity_survives_a_reinstallation_of_the_same() {
    let (one, other) = (Tree::new(), Tree::new());
    assert_eq!(one.ready().identity, other.ready().identity);
}

#[test]
fn another_machines_programs_are_unusable() {
    let tree = Tree::new();
    let mut program = fs::read("/bin/true").unwrap();
    // e_machine, little-endian: s390, which is nothing that this machine could run.
    program[18..20].copy_from_slice(&22u16.to_le_bytes());
    tree.program("scripts/mod/modpost", &program);
    let HeaderState::Unusable { why } = tree.later() else { panic!("{:?}", tree.later()) };
    assert!(why.contains("scripts/mod/modpost is built for s390x"), "{why}");
}

#[test]
fn a_missing_interpreter_is_named() {
    let tree = Tree::new();
    let mut program = fs::read("/bin/true").unwrap();
    let at = program.windows(4).position(|w| w == b"/ld-" || w == b"/lib").unwrap();
    program[at..at + 4].copy_from_slice(b"/nix");
    tree.program("scripts/basic/fixdep", &program);
    let HeaderState::Unusable { why } = tree.later() else { panic!("{:?}", tree.later()) };
    assert!(why.contains("scripts/basic/fixdep needs /nix"), "{why}");
}

#[test]
fn what_dpkg_has_half_in_place_is_not_whole() {
    let tree = Tree::new();
    assert!(matches!(tree.later(), HeaderState::Ready(_)));
    for (package, whole) in
        [("linux-kbuild-6.1", false), ("linux-headers-6.1.0-56-common", false), ("linux-perf", true)]
    {
        tree.write("var/lib/dpkg/status", &format!("Package: {package}\nStatus: install reinstreq half-installed\n"));
        let state = tree.later();
        assert_eq!(matches!(state, HeaderState::Ready(_)), whole, "{package}: {state:?}");
    }
}

#[test]
fn probes_are_real_folders_wherever_sentinels_arrive() {
    let tree = Tree::new();
    let probes = probe_dirs(&tree.layout, &kernel());
    for wanted in [
        format!("lib/modules/{RELEASE}"),
        BUILD.to_owned(),
        format!("{BUILD}/include/generated"),
        format!("{BUILD}/include/config"),
        COMMON.to_owned(),
        format!("{KBUILD}/scripts/basic"),
        format!("{KBUILD}/scripts/mod"),
    ] {
        assert!(probes.contains(&tree.path(&wanted)), "{wanted} not in {probes:?}");
    }
    fs::remove_file(tree.path(&format!("lib/modules/{RELEASE}/build"))).unwrap();
    assert_eq!(probe_dirs(&tree.layout, &kernel()), [tree.path(&format!("lib/modules/{RELEASE}"))]);
}

/// The headers of this machine, or those below `DKMSD_TEST_HEADERS_ROOT`; says how long looking at them takes.
#[test]
fn real_headers_look_the_same_each_time() {
    use std::io::Write as _;

    let root = std::env::var_os("DKMSD_TEST_HEADERS_ROOT").map_or_else(|| "/".into(), PathBuf::from);
    let layout = Layout::under(root);
    let distro = Distro::load(&Layout::default()).unwrap_or_default();
    let arch = crate::host::kernels::machine().unwrap();
    for found in crate::host::kernels::kernels(&layout, &arch, &|_| false).unwrap() {
        let cache = HeaderCache::default();
        let mut states = Vec::new();
        for _ in 0..3 {
            let start = Instant::now();
            states.push(inspect(&layout, &found.id, &distro, SystemTime::now(), QUIET, &cache));
            writeln!(io::stderr(), "{}: {:?}", found.id, start.elapsed()).unwrap();
        }
        states.dedup();
        assert_eq!(states.len(), 1, "{states:?}");
    }
}
