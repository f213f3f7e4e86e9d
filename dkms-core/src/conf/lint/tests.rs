use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rstest::rstest;

use super::*;

fn report_as(conf: &str, files: &[(&str, &str)], package: Option<&PackageId>) -> Report {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("dkms.conf"), conf).unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let layout = Layout::default();
    let kernel = KernelId::new("6.1.0-56-amd64", "x86_64").unwrap();
    let request = LintRequest { path: folder.path(), kernel: &kernel, package, parallel_jobs: None };
    lint(&layout, &Evaluator::new(&layout), &request).unwrap()
}

fn report(conf: &str, files: &[(&str, &str)]) -> Report {
    report_as(conf, files, None)
}

/// The only finding of a good file with more lines, which begin at line 7.
fn only(more: &str, files: &[(&str, &str)]) -> Finding {
    let r = report(&format!("{GOOD}{more}\n"), files);
    assert_eq!(r.findings.len(), 1, "{:#?}", r.findings);
    r.findings.into_iter().next().unwrap()
}

const GOOD: &str = "PACKAGE_NAME=hello\nPACKAGE_VERSION=1.0\nBUILT_MODULE_NAME=hello\nDEST_MODULE_LOCATION=/extra\n\
                    MAKE=\"make -C $kernel_source_dir M=$dkms_tree/$module/$module_version/build\"\nAUTOINSTALL=yes\n";

#[test]
fn a_good_file_has_no_findings() {
    let r = report(GOOD, &[("Makefile", "obj-m := hello.o\n")]);
    assert_eq!(r.findings, []);
    assert_eq!(r.exit_code(true), 0);
    assert_eq!(
        r.values.at("MAKE", 0),
        Some("make -C /lib/modules/6.1.0-56-amd64/build M=/var/lib/dkms/hello/1.0/build")
    );
    let json = serde_json::to_value(&r).unwrap();
    assert_eq!(json["values"]["PACKAGE_NAME"], "hello");
    assert_eq!(json["recipe"]["package"]["version"], "1.0");
    assert!(json["findings"].as_array().unwrap().is_empty());
}

const MAKEFILE: (&str, &str) = ("Makefile", "obj-m := hello.o\n");

#[rstest]
#[case::initrd("REMAKE_INITRD=yes", 7, Severity::Warning, "REMAKE_INITRD")]
#[case::clean("CLEAN=\"make clean\"", 7, Severity::Warning, "CLEAN")]
#[case::obsolete("OBSOLETE_BY=6.12", 7, Severity::Warning, "OBSOLETE_BY")]
#[case::modules_conf("MODULES_CONF[0]=x", 7, Severity::Warning, "MODULES_CONF")]
#[case::modules_conf_other("\nMODULES_CONF_OBSOLETES[0]=x", 8, Severity::Warning, "MODULES_CONF_OBSOLETES")]
#[case::autoinstall("AUTOINSTALL=", 7, Severity::Warning, "AUTOINSTALL")]
#[case::autoinstall_word("AUTOINSTALL=true", 7, Severity::Error, "AUTOINSTALL")]
#[case::unsaid("\nMAKE=\"'make' all\"", 8, Severity::Warning, "which kernel")]
#[case::unsaid_second("MAKE=\"make -C a && make -C b\"", 7, Severity::Warning, "which kernel")]
#[case::fixed_headers("MAKE=\"make -C /usr/src/linux M=$PWD\"", 7, Severity::Warning, "/usr/src/linux")]
#[case::other_kernel("MAKE=\"make -C /lib/modules/5.4.0-1/build\"", 7, Severity::Warning, "kernel 5.4.0-1,")]
#[case::running("MAKE=\"'make' K=$(uname -r)\"", 7, Severity::Warning, "running kernel")]
#[case::running_long("V=`uname --kernel-release`", 7, Severity::Warning, "running kernel")]
#[case::dot("BUILD_EXCLUSIVE_KERNEL='^6.1[0-9]'", 7, Severity::Warning, "bare '.'")]
#[case::inside("BUILD_EXCLUSIVE_KERNEL='6\\.1\\.'", 7, Severity::Warning, "middle of a release")]
#[case::prefix("BUILD_EXCLUSIVE_KERNEL='^6\\.1'", 7, Severity::Warning, "6.10 to 6.19")]
#[case::empty("BUILD_EXCLUSIVE_KERNEL='^6\\.1\\.|'", 7, Severity::Warning, "matches everything")]
#[case::any_arch("BUILD_EXCLUSIVE_ARCH='.*'", 7, Severity::Warning, "matches everything")]
#[case::series("BUILD_EXCLUSIVE_KERNEL_MAX=6.1", 7, Severity::Warning, "leaves out")]
#[case::no_bound("BUILD_EXCLUSIVE_KERNEL_MIN='>=5.4'", 7, Severity::Warning, "no version")]
#[case::swapped(
    "BUILD_EXCLUSIVE_KERNEL_MIN=6.5\nBUILD_EXCLUSIVE_KERNEL_MAX=6.1.999",
    8,
    Severity::Warning,
    "no kernel is left"
)]
#[case::option("BUILD_EXCLUSIVE_CONFIG='CONFIG_A CONFIG_PCI=y'", 7, Severity::Warning, "CONFIG_PCI=y")]
#[case::network("X=\"get $(curl http://localhost/x)\"", 7, Severity::Warning, "no network")]
#[case::clone("X=\"sh -c 'git clone x'\"", 7, Severity::Warning, "git clone: while")]
#[case::tcp("exec 9<>/dev/tcp/127.0.0.1/9", 7, Severity::Warning, "/dev/tcp/: while")]
#[case::tilde("echo x > ~/file", 7, Severity::Warning, "no home folder")]
#[case::home("echo x > \"$HOME/file\"", 7, Severity::Warning, "$HOME: while")]
#[case::key("X=\"<$(cat /var/lib/dkms/mok.key)>\"", 7, Severity::Warning, "mok.key: while")]
#[case::blank("PACKAGE_VERSION=\"1 0\"", 7, Severity::Warning, "' '")]
#[case::colon("PACKAGE_VERSION=1:2.0", 7, Severity::Warning, "':', with which the kernel's Makefile")]
#[case::slash("PACKAGE_VERSION=1/2", 7, Severity::Error, "'1/2'")]
#[case::at("PATCH_MATCH[0]=\nMAKE[0]=\"make X=@VERSION@\"", 8, Severity::Error, "@VERSION@")]
#[case::through_a_variable("V=@VERSION@\nPACKAGE_VERSION=$V", 7, Severity::Error, "@VERSION@")]
#[case::dh_dkms("PACKAGE_VERSION=\"#MODULE_VERSION#\"", 7, Severity::Error, "#MODULE_VERSION#")]
#[case::plural("BUILT_MODULE_NAMES=x", 7, Severity::Warning, "no directive")]
#[case::short("AUTOINSTAL=x", 7, Severity::Warning, "no directive")]
#[case::swapped_letters("true && BULIT_MODULE_NAME[0]=x", 7, Severity::Warning, "no directive")]
#[case::of_a_family("BUILD_EXCLUSIVE_DISTRO=x", 7, Severity::Warning, "no directive")]
#[case::small("autoinstall=yes", 7, Severity::Warning, "no directive")]
#[case::patch("PATCH[0]=a.patch", 7, Severity::Error, "a.patch")]
#[case::patch_for_others("PATCH[0]=b.patch\nPATCH_MATCH[0]='^4\\.'", 7, Severity::Error, "b.patch")]
#[case::gap_in_patches("PATCH[1]=a.patch", 7, Severity::Warning, "never applied")]
#[case::gap_in_make("MAKE[2]=\"make x\"\nMAKE_MATCH[2]=amd64", 7, Severity::Warning, "never run")]
#[case::make_without_match("MAKE[1]=\"make x\"", 7, Severity::Warning, "only MAKE[0]")]
#[case::match_of_nothing("MAKE_MATCH[1]=amd64", 7, Severity::Warning, "there is no MAKE[1]")]
#[case::module_of_nothing("BUILD_EXCLUSIVE_ARCH[3]=x", 7, Severity::Warning, "there is no module 3")]
#[case::module_gap(
    "BUILT_MODULE_NAME[2]=x\nDEST_MODULE_LOCATION[2]=/extra",
    8,
    Severity::Error,
    "DEST_MODULE_LOCATION[1] is missing"
)]
#[case::ko("BUILT_MODULE_NAME[0]=hello.ko", 7, Severity::Error, "ends in .ko")]
#[case::place("DEST_MODULE_LOCATION[0]=/usr", 7, Severity::Error, "DEST_MODULE_LOCATION[0]")]
#[case::place_of_second("BUILT_MODULE_NAME[1]=b", 7, Severity::Error, "DEST_MODULE_LOCATION[1] is missing")]
#[case::lost("OTHER=1\nPOST_INSTALL='x.sh \"a b\"'", 8, Severity::Warning, "POST_INSTALL[0] is lost")]
#[case::lost_make("MAKE[0]='make CFLAGS=\"-O2 -g\"'", 7, Severity::Warning, "MAKE[0] is lost")]
#[case::object("BUILT_MODULE_NAME=other", 7, Severity::Warning, "obj-m")]
#[case::script("POST_INSTALL=\"absent.sh x\"", 7, Severity::Warning, "absent.sh is no file")]
#[case::script_mode("POST_BUILD=Makefile", 7, Severity::Warning, "not executable")]
#[case::ere("PATCH_MATCH[0]='('\nPATCH[0]=Makefile", 7, Severity::Warning, "extended regular expression")]
#[case::syntax("if true; then\n", 8, Severity::Error, "bash stops reading")]
#[case::hostile("echo x > /etc/dkmsd-pwned", 7, Severity::Warning, "Permission denied")]
#[case::windows("MAKE=\"make\"\r\nSTRIP=no\r", 7, Severity::Warning, "Windows")]
fn each_finding_has_its_line(#[case] more: &str, #[case] line: usize, #[case] severity: Severity, #[case] word: &str) {
    let r = report(&format!("{GOOD}{more}\n"), &[MAKEFILE]);
    let found = r.findings.iter().find(|f| f.why.contains(word)).unwrap_or_else(|| panic!("{:#?}", r.findings));
    assert_eq!((found.line, found.severity), (Some(line), severity), "{found}");
    assert!(r.findings.iter().all(|f| !f.why.is_empty() && !f.write.is_empty()), "{:#?}", r.findings);
    assert_eq!(r.exit_code(true), if r.worst() == Some(Severity::Error) { 8 } else { 1 });
    assert_eq!(r.exit_code(false), if r.worst() == Some(Severity::Error) { 8 } else { 0 });
}

#[rstest]
#[case::clean_true("CLEAN=true")]
#[case::autoinstall_off("AUTOINSTALL=no")]
#[case::default_make("unset MAKE")]
#[case::bare_make("MAKE=make")]
#[case::bare_make_all("MAKE=\"make all\"")]
#[case::told("MAKE=\"'make' KVER=$kernelver\"")]
#[case::told_headers("MAKE=\"(cd x; 'make' KDIR=$kernel_source_dir)\"")]
#[case::told_first("MAKE=\"KDIR=$kernel_source_dir make\"")]
#[case::own_script("MAKE=./build.sh")]
#[case::environment("MAKE=\"cd . && KVER=\\\\\\$kernelver make\"")]
#[case::default_only("K=${kernelver:-$(uname -r)}")]
#[case::default_only_long("if [ -z \"$kernelver\" ]; then\n kernelver=$(uname -r)\nfi")]
#[case::machine("A=$(uname -m)")]
#[case::comment("# uname -r, curl ~/x @VERSION@")]
#[case::comment_behind("X=1 # uname -r")]
#[case::not_network("X=\"curlew digit pull\"")]
#[case::kernel("BUILD_EXCLUSIVE_KERNEL='^6\\.'")]
#[case::kernels("BUILD_EXCLUSIVE_KERNEL='^(5\\.[6-9]\\.|5\\.[1-9][0-9]\\.|[6-9]\\.)'")]
#[case::arch("BUILD_EXCLUSIVE_ARCH='^x86_64$'")]
#[case::bounds("BUILD_EXCLUSIVE_KERNEL_MIN=5.4\nBUILD_EXCLUSIVE_KERNEL_MAX=6.12.999")]
#[case::option("BUILD_EXCLUSIVE_CONFIG='CONFIG_PCI !CONFIG_PREEMPT_RT'")]
#[case::version("PACKAGE_VERSION=0~20220829+git-1_2")]
#[case::helper("BUILT_MODULE_NAMES=(a b)\nfor n in ${BUILT_MODULE_NAMES[@]}; do :; done")]
#[case::far("PROCS_NUM=1\nOPTS=x\nKVER=y")]
#[case::make_match("MAKE[1]=\"make x\"\nMAKE_MATCH[1]='^6\\.'")]
#[case::strip("STRIP[0]=no")]
#[case::quotes("MAKE[0]=\"make X='a b'\"")]
#[case::quotes_kept("MAKE[0]='make X=\\\"a b\\\"'")]
fn what_is_right_is_no_finding(#[case] more: &str) {
    assert_eq!(report(&format!("{GOOD}{more}\n"), &[]).findings, []);
}

#[test]
fn what_the_file_itself_says_is_no_finding() {
    let says = "sed p /dev/null\nif ! grep -q ^CONFIG_X= $kernel_source_dir/.config; then echo 'no X here' >&2; fi";
    assert_eq!(report(&format!("{GOOD}{says}\n"), &[]).findings, []);
}

#[rstest]
#[case::assigned(
    "if true; then\n BUILD_EXCLUSIVE_ARCH=x\nelse\n BUILD_EXCLUSIVE_ARCH='.*'\nfi\nBUILD_EXCLUSIVE_ARCH='.*'",
    12
)]
#[case::second("STRIP=no; BUILD_EXCLUSIVE_ARCH='.*'", 7)]
#[case::not_taken("BUILD_EXCLUSIVE_ARCH='.*'\nif false; then\n BUILD_EXCLUSIVE_ARCH=x\nfi", 7)]
#[case::exported("export BUILD_EXCLUSIVE_ARCH='.*'", 7)]
#[case::indented("  BUILD_EXCLUSIVE_ARCH[0]='.*'", 7)]
#[case::mentioned(
    "echo 'BUILD_EXCLUSIVE_ARCH=x' >/dev/null\n# BUILD_EXCLUSIVE_ARCH='.*'\nBUILD_EXCLUSIVE_ARCH='.*'",
    9
)]
#[case::element("BUILD_EXCLUSIVE_ARCH=(\n '.*'\n)", 8)]
#[case::continued("X='a\nBUILD_EXCLUSIVE_ARCH=b'\nBUILD_EXCLUSIVE_ARCH='.*'", 9)]
fn the_line_is_the_one_that_counts(#[case] more: &str, #[case] line: usize) {
    assert_eq!(only(more, &[]).line, Some(line));
}

#[test]
fn like_values_at_computed_places_have_their_own_lines() {
    let patch = |n: u32| format!("PATCH[$j]=p{n}\nPATCH_MATCH[$j]='^5.4'\nj=$((j+1))\n");
    let more = format!("j=0\n{}{}PATCH[$j]=p3\nPATCH_MATCH[$j]='^5\\.4.4'", patch(1), patch(2));
    let r = report(&format!("{GOOD}{more}\n"), &[]);
    let lines: Vec<_> = r.findings.iter().map(|f| f.line).collect();
    // The same pattern is complained of once.
    assert_eq!(lines, [Some(9), Some(15)], "{:#?}", r.findings);
    assert!(r.findings[1].why.starts_with("PATCH_MATCH[2]"));
}

#[test]
fn each_module_of_a_loop_has_its_line() {
    let more = "i=1\nBUILT_MODULE_NAME[$i]=a\nDEST_MODULE_LOCATION[$i]=/extra\ni=$((i+1))\n\
                BUILT_MODULE_NAME[$i]=b\nDEST_MODULE_LOCATION[$i]=/extra";
    let found = only(more, &[("Makefile", "obj-m := hello.o a.o\n")]);
    assert_eq!(
        (found.line, found.write.as_str()),
        (Some(11), "make BUILT_MODULE_NAME and BUILT_MODULE_LOCATION agree with: obj-m: a hello")
    );
}

#[rstest]
#[case::not_m("", &[("Makefile", "obj-m := hi.o\n")], "no obj-m in")]
#[case::part("", &[("Makefile", "hi-objs := hello.o\nobj-m := hi.o\n")], "no obj-m in")]
#[case::dash("BUILT_MODULE_NAME=hel_lo", &[("Makefile", "obj-m := hel-lo.o\n")], "no obj-m in")]
#[case::kbuild_first("", &[("Kbuild", "obj-m := hi.o\n"), MAKEFILE], "no obj-m in")]
#[case::place("", &[("src/Makefile", "obj-m := hello.o\n")], "hello.ko is made in")]
#[case::place_above("", &[("src/Makefile", "obj-m := hello.o\n"), ("Makefile", "all:\n\tmake -C src\n")], "hello.ko is made in")]
#[case::place_below("BUILT_MODULE_LOCATION=sub", &[MAKEFILE, ("sub/Makefile", "obj-m := hi.o\n")], "hello.ko is made in")]
fn modules_that_are_never_built(#[case] more: &str, #[case] files: &[(&str, &str)], #[case] word: &str) {
    let found = only(more, files);
    assert!(found.why.contains(word), "{found}");
    assert_eq!(found.line, Some(if more.starts_with("BUILT_MODULE_NAME") { 7 } else { 3 }));
}

#[rstest]
#[case::plus("", &[("Makefile", "obj-m :=\nobj-m += hello.o\n")])]
#[case::config("", &[("Makefile", "obj-$(CONFIG_HELLO) += hello.o\n")])]
#[case::composite("", &[("Makefile", "obj-m := hello.o\nhello-y := main.o\n")])]
#[case::branch("", &[("Makefile", "ifdef X\nobj-m := hi.o\nelse\nobj-m := hello.o\nendif\n")])]
#[case::unknown("", &[("Makefile", "obj-m := $(NAME).o\n")])]
#[case::by_name("", &[("Makefile", "NAME = hello\nobj-m := $(NAME).o\n")])]
#[case::included("", &[("Makefile", "obj-m := hi.o\ninclude more.mk\n")])]
#[case::generated("", &[("Makefile.in", "obj-m := hi.o\n")])]
#[case::folder("BUILT_MODULE_LOCATION=a", &[("Makefile", "obj-m := a/\n"), ("a/Makefile", "obj-m := hello.o\n")])]
#[case::slash("BUILT_MODULE_LOCATION=./a/", &[("a/Kbuild", "obj-m := hello.o\n")])]
#[case::from_above("BUILT_MODULE_LOCATION=a", &[("Makefile", "obj-m := a/hello.o\n"), ("a/b.c", "")])]
#[case::in_the_name("BUILT_MODULE_NAME=a/hello\nDEST_MODULE_NAME=hello", &[("a/Kbuild", "obj-m := hello.o\n")])]
#[case::moved("", &[("Makefile", "obj-m := src/\nall:\n\tcp src/hello.ko .\n"), ("src/Kbuild", "obj-m := hello.o\n")])]
#[case::by_make("MAKE=\"make -C $kernel_source_dir M=x && mv src/hello.ko .\"", &[("src/Kbuild", "obj-m := hello.o\n")])]
#[case::patched("PATCH=a", &[("Makefile", "obj-m := hi.o\n"), ("patches/a", "+++ b/Makefile\n+obj-m := hello.o\n")])]
#[case::prepared("PRE_BUILD=./pre", &[("Makefile", "obj-m := hi.o\n"), ("pre", "#!/bin/sh\nsed -i s/hi/hello/ Makefile\n")])]
#[case::no_kbuild("", &[("Makefile", "all:\n\t./gen hello.ko\n")])]
fn modules_that_are_built_or_may_be(#[case] more: &str, #[case] files: &[(&str, &str)]) {
    assert_eq!(report(&format!("{GOOD}{more}\n"), files).findings, []);
}

const GUARDED: &str = "ifneq ($(KERNELRELEASE),)\nobj-m := hello.o\nelse\nall:\n\t$(MAKE) -C /lib/modules/$(shell uname -r)/build\nendif\n";

#[rstest]
#[case::asks("MAKE=make", &[("Makefile", "obj-m := hello.o\nK := $(shell uname -r)\nall:\n\tmake -C /lib/modules/$(K)/build\n")], "Makefile:2 asks `uname -r`, and does not look at KERNELRELEASE")]
#[case::other_name("MAKE=\"make KVER=$kernelver\"", &[("Makefile", "obj-m := hello.o\nall:\n\tmake -C /lib/modules/`uname -r`/build\n")], "does not look at KVER and KERNELRELEASE")]
#[case::below("MAKE=\"make -C src\"\nBUILT_MODULE_LOCATION=src", &[("src/Makefile", "obj-m := hello.o\nK := $(shell uname -r)\nall:\n\tmake -C /lib/modules/$(K)/build\n")], "src/Makefile:2")]
#[case::after_cd("MAKE=\"cd src; 'make'\"\nBUILT_MODULE_LOCATION=src", &[("src/Makefile", "obj-m := hello.o\nK := $(shell uname -r)\nall:\n\tmake -C /lib/modules/$(K)/build\n")], "does not look at nothing")]
#[case::named_file("MAKE=\"make -f dkms.mk\"", &[MAKEFILE, ("dkms.mk", "K := $(shell uname -r)\nall:\n\tmake -C /lib/modules/$(K)/build\n")], "dkms.mk:1")]
#[case::guarded("MAKE=\"make all\"", &[("Makefile", GUARDED)], "has no target")]
#[case::script("MAKE=./build.sh", &[MAKEFILE, ("build.sh", "#!/bin/sh\nmake -C /lib/modules/$(uname -r)/build M=$PWD\n")], "build.sh:2 asks")]
fn makes_for_the_running_kernel(#[case] more: &str, #[case] files: &[(&str, &str)], #[case] word: &str) {
    let found = only(more, files);
    assert!(found.why.contains(word), "{found}");
    assert_eq!(found.line, Some(7));
}

#[rstest]
#[case::default("unset MAKE", &[("Makefile", GUARDED)])]
#[case::quoted("MAKE=\"'make' KVER=$kernelver\"", &[("Makefile", "KVER ?= $(shell uname -r)\nobj-m := hello.o\nall:\n")])]
#[case::looks("MAKE=make", &[("Makefile", "KERNELRELEASE ?= $(shell uname -r)\nobj-m := hello.o\nall:\n")])]
#[case::environment("MAKE=\"'make'\"", &[("Makefile", "ifdef kernelver\nK := $(kernelver)\nelse\nK := $(shell uname -r)\nendif\nobj-m := hello.o\nall:\n")])]
#[case::installs("MAKE=make", &[("Makefile", "obj-m := hello.o\nD := /lib/modules/$(shell uname -r)/kernel/net\nall:\n")])]
#[case::kbuild("MAKE=\"make -C $kernel_source_dir M=$dkms_tree/$module/$module_version/build\"", &[("Makefile", GUARDED)])]
#[case::in_folder("MAKE=\"make -C $dkms_tree/$module/$module_version/build KDIR=$kernel_source_dir\"", &[("Makefile", "KDIR ?= /lib/modules/$(shell uname -r)/build\nobj-m := hello.o\nall:\n")])]
#[case::prepared("PRE_BUILD=\"conf.sh $kernelver\"\nMAKE=\"'make'\"", &[("Makefile", "K := $(shell uname -r)\nobj-m := hello.o\nall:\n"), ("conf.sh", "#!/bin/sh\n")])]
#[case::script("MAKE=./build.sh", &[MAKEFILE, ("build.sh", "#!/bin/sh\nK=${kernelver:-$(uname -r)}\n")])]
fn makes_for_the_asked_kernel(#[case] more: &str, #[case] files: &[(&str, &str)]) {
    assert_eq!(report(&format!("{GOOD}{more}\n"), files).findings, []);
}

#[rstest]
#[case("hello/2", 2, "it calls itself hello/1.0, and hello/2")]
#[case("other/1.0", 1, "it calls itself hello/1.0, and other/1.0")]
fn another_package_than_asked_is_an_error(#[case] asked: PackageId, #[case] line: usize, #[case] word: &str) {
    let r = report_as(GOOD, &[], Some(&asked));
    let [found] = &r.findings[..] else { panic!("{:#?}", r.findings) };
    assert!(found.why.contains(word), "{found}");
    assert_eq!((found.line, found.severity, r.exit_code(false)), (Some(line), Severity::Error, 8));
}

#[test]
fn the_asked_package_is_what_the_file_sees() {
    let conf = GOOD.replace("=hello\n", "=$module\n").replace("=1.0\n", "=$module_version\n");
    let asked = PackageId::new("hello", "7").unwrap();
    let r = report_as(&conf, &[], Some(&asked));
    assert_eq!(r.findings, []);
    assert_eq!(r.values.scalar("PACKAGE_VERSION"), Some("7"));
}

#[rstest]
#[case::no_text("MAKE=a\0b")]
#[case::no_end("while :; do :; done")]
fn a_file_that_cannot_be_evaluated_is_a_finding(#[case] conf: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("dkms.conf"), conf).unwrap();
    let layout = Layout::default();
    let kernel = KernelId::new("6.1.0-56-amd64", "x86_64").unwrap();
    let request = LintRequest { path: folder.path(), kernel: &kernel, package: None, parallel_jobs: None };
    let evaluator = Evaluator::new(&layout).with_timeout(std::time::Duration::from_secs(1));
    let report = lint(&layout, &evaluator, &request).unwrap();
    assert_eq!((report.findings.len(), report.exit_code(false)), (1, 8), "{report:?}");
    assert!(report.findings[0].why.starts_with("it cannot be evaluated: "), "{report:?}");
    assert_eq!((report.values, report.recipe), (Values::default(), None));
}

#[test]
fn a_file_without_a_name_still_has_values() {
    let r = report("MAKE=make\n", &[]);
    assert!(r.recipe.is_none());
    assert_eq!(r.values.at("MAKE", 0), Some("make"));
    assert_eq!(r.worst(), Some(Severity::Error));
}
