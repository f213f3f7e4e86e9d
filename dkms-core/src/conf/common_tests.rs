//! What is said to hold for every kernel, against reading the file for each of them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rstest::rstest;

use super::*;
use crate::conf::ConfFile;
use crate::conf::native_tests::{one_of, statement};
use crate::layout::Layout;

fn kernel(release: &str) -> KernelId {
    KernelId::new(release, "x86_64").unwrap()
}

/// Asks for what a file says for a kernel.
fn asked<T>(text: &[u8], kernel: &KernelId, ask: impl FnOnce(&Evaluator, &EvalInput<'_>) -> T) -> T {
    let files = [ConfFile { path: PathBuf::from("/usr/src/hello-1.0/dkms.conf"), text: text.to_vec() }];
    let kernel_source_dir = Path::new("/lib/modules").join(kernel.release.as_str()).join("build");
    let input = EvalInput {
        files: &files,
        directives: &[],
        kernel,
        module: Some("hello"),
        module_version: Some("1.0"),
        kernel_source_dir: &kernel_source_dir,
        dkms_tree: Path::new("/var/lib/dkms"),
        source_tree: Path::new("/usr/src"),
        install_tree: Path::new("/lib/modules"),
        parallel_jobs: 4,
    };
    ask(&Evaluator::new(&Layout::default()), &input)
}

fn common(text: &str, release: &str) -> Option<Common> {
    asked(text.as_bytes(), &kernel(release), Evaluator::common).unwrap()
}

/// What is said to hold for all after reading the file for one kernel has to be what reading it for another gives.
fn holds(text: &[u8], common: &Common, other: &KernelId) -> std::result::Result<(), String> {
    let mut values = asked(text, other, Evaluator::evaluate).map_err(|why| why.to_string())?;
    values.0.retain(|name, _| !common.varying.contains(name.as_str()));
    if values == common.values { Ok(()) } else { Err(format!("{other}: {values:?}\nall: {:?}", common.values)) }
}

/// Kernels whose names differ in length, in what they begin and end with, and in what they have in common.
const RELEASES: [&str; 7] =
    ["6.1.0-56-amd64", "6.1.0-56-cloud-amd64", "5.10.0", "6.12.0-rc1+", "4.18.0-553.el8_10.x86_64", "export", "7"];

#[rstest]
#[case::nothing_of_the_kernel("AUTOINSTALL=yes\nPACKAGE_NAME=hello", &[])]
#[case::plain_words("MAKE=\"make -C $kernel_source_dir M=$dkms_tree\"\nCLEAN=x", &["MAKE"])]
#[case::another_variable("k=$kernelver; b=\"$k-x\"; MAKE[1]=${b}; PATCH=$arch; CLEAN=x", &["MAKE", "PATCH"])]
#[case::appended("MAKE=a; MAKE+=\" $kernelver\"; CLEAN=$MAKE", &["CLEAN", "MAKE"])]
#[case::an_element("m[3]=$kernelver; MAKE=\"${m[3]}\"", &["MAKE"])]
#[case::at_the_second_reading("MAKE='make -C $kernel_source_dir'; CLEAN='$MAKE'; PRE_BUILD='$AUTOINSTALL'", &["CLEAN", "MAKE"])]
#[case::what_is_set_anew("MAKE=$kernelver; MAKE=plain", &["MAKE"])]
#[case::the_machine_is_the_same_for_all("MAKE=\"$(uname -r) $(nproc)\"", &[])]
fn what_differs_is_known(#[case] text: &str, #[case] varying: &[&str]) {
    for release in RELEASES {
        let found = common(text, release).unwrap_or_else(|| panic!("{release} decides: {text}"));
        assert_eq!(found.varying.iter().copied().collect::<Vec<_>>(), varying, "{text}");
        for other in RELEASES {
            holds(text.as_bytes(), &found, &kernel(other)).unwrap();
        }
    }
}

/// Anything but a plain assignment may make something else of the kernel's name than its text.
#[rstest]
#[case("[[ $kernelver == 6.* ]] && MAKE=x")]
#[case("if [ \"$arch\" = x86_64 ]; then MAKE=x; fi")]
#[case("case $kernelver in 5.*) MAKE=x;; esac")]
#[case("MAKE=${kernelver%%-*}")]
#[case("MAKE=${#kernelver}")]
#[case("MAKE=${kernelver:+x}")]
#[case("MAKE=$(echo $kernelver)")]
#[case("for k in $kernelver; do MAKE=x; done")]
#[case("f() { MAKE=$1; }; f $kernelver")]
#[case("k=kernelver; MAKE=${!k}")]
#[case("k=$kernelver; ( [[ $k ]] ); MAKE=x")]
#[case("k=$kernelver; MAKE=(\"$k\")")]
#[case("k=$kernelver; read -r a b <<< \"$k\"")]
#[case("k=$kernelver; export K=$k")]
#[case("k=$kernelver; x=a; MAKE=${x[k]}")]
#[case("k=7; k+=$kernelver; x=a; MAKE=${x[AUTOINSTALL=k]}")]
#[case("k=$kernelver; MAKE[k]=a")]
#[case("printf -v MAKE %s $kernelver")]
#[case("local k=$kernelver")]
#[case::its_folder("[ -e $kernel_source_dir/x ] && MAKE=x")]
#[case::any_folder("[ -d /usr ] && MAKE=x")]
#[case::read_as_bash("MAKE=\"make X=\\\"$kernelver\\\"\"")]
#[case::read_as_bash("MAKE=\"make -C $kernelver M=\\$dkms_tree\"")]
#[case::held_against_files("MAKE=\"make -C $kernelver x* \"")]
fn whatever_the_kernel_may_decide_is_for_that_kernel_only(#[case] text: &str) {
    // One that is a number: every word of it is certain.
    let kernel = kernel("7");
    assert_eq!(asked(text.as_bytes(), &kernel, Evaluator::common).unwrap(), None, "{text}");
    assert!(asked(text.as_bytes(), &kernel, Evaluator::evaluate_without_bash).unwrap().is_some(), "{text}");
}

#[rstest]
#[case("6.1.0 x")]
#[case("6.1.0\"x")]
#[case("6.1.0$x")]
#[case("6.1.0*")]
#[case("6.1.0~x")]
#[case("6.1.0(x")]
#[case("é")]
fn a_kernel_whose_name_may_mean_something_is_on_its_own(#[case] release: &str) {
    assert!(!is_plain(&kernel(release)));
    assert_eq!(common("MAKE=x", release), None);
}

/// Lines that put the kernel's name beside other things, and look at what comes of it.
fn line() -> BoxedStrategy<String> {
    prop_oneof![
        8 => one_of(&[
            "MAKE=\"make -C $kernel_source_dir M=$v\"",
            "MAKE[1]='make -C $kernel_source_dir $CLEAN'",
            "k=$kernelver",
            "k=\"a${k}b\"",
            "v=\"$k\"",
            "w=\"$w/${kernelver}/$arch\"",
            "MAKE+=\" $k $kernelver\"",
            "CLEAN='$MAKE'",
            "PRE_BUILD='$PRE_INSTALL'\"$k\"",
            "BUILT_MODULE_NAME[0]=$x",
            "DEST_MODULE_LOCATION=\"/extra/$x\"",
            "AUTOINSTALL=yes",
            "POST_INSTALL='${AUTOINSTALL:=no}'",
            "OBSOLETE_BY=$k",
            "STRIP=\"$x\"; x=$k",
            "x=no",
            "arr[1]=$kernelver",
            "PATCH[2]=\"${arr[1]}\"",
            "k=$k\\\"; MAKE=$k",
            "PATCH[0]=\"$k*\"",
            "MAKE=$k'$('",
        ]),
        1 => one_of(&[
            "[[ $k == *6* ]] && OBSOLETE_BY=1",
            "[ -n \"$v\" ] && STRIP=no",
            "x=$(echo $k)",
            "x=${k#6}",
            "for i in $k; do CLEAN=$i; done",
            "f() { local k=$kernelver; MAKE=$k; }; f; PATCH[1]=$k",
            "( v=$k; [[ $v ]] )",
            "unset k",
        ]),
        1 => statement(),
    ]
    .boxed()
}

#[test]
#[allow(clippy::print_stderr)] // How much of it was compared is what makes this test worth something.
fn random_files_say_the_same_for_every_kernel_where_they_are_said_to() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let (shared, varied) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let releases = prop::sample::subsequence(RELEASES.to_vec(), 2).prop_shuffle();
    let files = (prop::collection::vec(line(), 1..8).prop_map(|lines| lines.join("\n")), releases);
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 1500, ..Config::default() });
    runner
        .run(&files, |(text, releases)| {
            if let Some(common) = common(&text, releases[0]) {
                shared.fetch_add(1, Ordering::Relaxed);
                varied.fetch_add(usize::from(!common.varying.is_empty()), Ordering::Relaxed);
                holds(text.as_bytes(), &common, &kernel(releases[1]))
                    .map_err(|why| TestCaseError::fail(format!("{why}\n{text}")))?;
            }
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    let (shared, varied) = (shared.into_inner(), varied.into_inner());
    eprintln!("{shared} of {cases} files say something for all kernels, {varied} of them with the kernel's name in it");
    assert!(varied * 8 > cases as usize, "too few are shared for this test to mean something");
}

#[test]
#[allow(clippy::print_stderr, reason = "the share is what this test is run for")]
fn real_files_say_the_same_for_every_kernel_where_they_are_said_to() {
    let Some(folder) = std::env::var_os("DKMSD_CORPUS").map(PathBuf::from) else {
        // Straight to the terminal: what a test prints that passes is kept back.
        let _ = io::stderr().write_all(b"SKIPPED: real files; DKMSD_CORPUS names no folder of them\n");
        return;
    };
    let confs: Vec<_> =
        fs::read_dir(folder.join("conf")).unwrap().map(|e| e.unwrap().path().join("dkms.conf")).collect();
    let (mut native, mut shared, mut wrong) = (0, 0, Vec::new());
    for path in &confs {
        let text = fs::read(path).unwrap();
        let without_bash = asked(&text, &kernel(RELEASES[0]), Evaluator::evaluate_without_bash);
        native += usize::from(without_bash.is_ok_and(|values| values.is_some()));
        let Ok(Some(common)) = asked(&text, &kernel(RELEASES[0]), Evaluator::common) else { continue };
        shared += 1;
        let differ = |other: &&str| holds(&text, &common, &kernel(other)).err();
        wrong.extend(RELEASES.iter().filter_map(differ).map(|why| format!("{}: {why}", path.display())));
    }
    eprintln!("{} files, {native} natively, {shared} for all kernels at once, {} wrong", confs.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(shared * 10 >= native * 7, "only {shared} of {native} are read for all kernels at once");
}
