use std::fs;

use rstest::rstest;

use super::*;

fn report(conf: &str, files: &[(&str, &str)]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("dkms.conf"), conf).unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let layout = Layout::default();
    let kernel = KernelId::new("6.1.0-56-amd64", "x86_64").unwrap();
    let request = LintRequest { path: folder.path(), kernel: &kernel, package: None, parallel_jobs: None };
    lint(&layout, &Evaluator::new(&layout), &request).unwrap()
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

#[rstest]
#[case("REMAKE_INITRD=yes", 7, Severity::Warning, "REMAKE_INITRD")]
#[case("CLEAN=\"make clean\"", 7, Severity::Warning, "CLEAN")]
#[case("AUTOINSTALL=", 6, Severity::Warning, "AUTOINSTALL")]
#[case("\nMAKE=\"./build.sh\"", 5, Severity::Warning, "which kernel")]
#[case("PRE_BUILD=\"prepare $(uname -r)\"", 7, Severity::Warning, "running kernel")]
#[case("BUILD_EXCLUSIVE_KERNEL='^6.1'", 7, Severity::Warning, "bare '.'")]
#[case("BUILD_EXCLUSIVE_KERNEL='6\\.1'", 7, Severity::Warning, "middle of a release")]
#[case("BUILD_EXCLUSIVE_KERNEL='^6\\.1|'", 7, Severity::Warning, "matches everything")]
#[case("BUILD_EXCLUSIVE_ARCH='.*'", 7, Severity::Warning, "matches everything")]
#[case("PRE_BUILD=\"get $(curl http://localhost/x)\"", 7, Severity::Warning, "no network")]
#[case("PRE_BUILD=\"sh -c 'git clone x'\"", 7, Severity::Warning, "git clone: while")]
#[case("exec 9<>/dev/tcp/127.0.0.1/9", 7, Severity::Warning, "/dev/tcp/: while")]
#[case("echo x > ~/file", 7, Severity::Warning, "no home folder")]
#[case("echo x > \"$HOME/file\"", 7, Severity::Warning, "$HOME: while")]
#[case("PRE_BUILD=\"<$(cat /var/lib/dkms/mok.key)>\"", 7, Severity::Warning, "mok.key: while")]
#[case("PACKAGE_VERSION=\"1 0\"", 2, Severity::Warning, "' '")]
#[case("PRE_BUILD=\"x @VERSION@\"", 7, Severity::Error, "@VERSION@")]
#[case("BUILT_MODULE_NAMES=x", 7, Severity::Warning, "no directive")]
#[case("AUTOINSTAL=x", 7, Severity::Warning, "no directive")]
#[case("PATCH[0]=a.patch", 7, Severity::Error, "a.patch")]
#[case("BUILT_MODULE_NAME=other", 3, Severity::Warning, "obj-m")]
#[case("DEST_MODULE_LOCATION=/usr", 4, Severity::Error, "DEST_MODULE_LOCATION[0]")]
#[case("PATCH_MATCH[0]='('\nPATCH[0]=x", 7, Severity::Error, "extended regular expression")]
#[case("if true; then\n", 8, Severity::Error, "bash stops reading")]
#[case("echo x > /etc/dkmsd-pwned", 7, Severity::Warning, "Permission denied")]
#[case("MAKE=\"make\"\r\nSTRIP=no\r", 1, Severity::Warning, "Windows")]
fn each_finding_has_its_line(#[case] more: &str, #[case] line: usize, #[case] severity: Severity, #[case] word: &str) {
    let r = report(&format!("{GOOD}{more}\n"), &[("Makefile", "obj-m := hello.o\n")]);
    let found = r.findings.iter().find(|f| f.why.contains(word)).unwrap_or_else(|| panic!("{:#?}", r.findings));
    assert_eq!((found.line, found.severity), (Some(line), severity), "{found}");
    assert_eq!(r.exit_code(true), if r.worst() == Some(Severity::Error) { 8 } else { 1 });
}

#[test]
fn what_lies_elsewhere_by_design_is_no_finding() {
    let more = "# curl ~/x\nPRE_BUILD=\"curlew digit pull\"\nBUILD_EXCLUSIVE_KERNEL='^6\\.'\nBUILD_EXCLUSIVE_ARCH='^x86_64$'\n";
    assert_eq!(report(&format!("{GOOD}{more}"), &[]).findings, []);
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
