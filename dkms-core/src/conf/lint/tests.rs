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
fn a_file_without_a_name_still_has_values() {
    let r = report("MAKE=make\n", &[]);
    assert!(r.recipe.is_none());
    assert_eq!(r.values.at("MAKE", 0), Some("make"));
    assert_eq!(r.worst(), Some(Severity::Error));
}
