//! `dkms lint`, as a program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

fn lint(conf: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dkms.conf"), conf).unwrap();
    std::fs::write(folder.path().join("Makefile"), "obj-m := a.o\n").unwrap();
    run(folder.path(), more)
}

fn run(path: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dkms"));
    command.arg("lint").arg(path).args(["-k", "6.1.0-56-amd64/x86_64"]).args(more).output().unwrap()
}

const GOOD: &str =
    "PACKAGE_NAME=a\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME[0]=a\nDEST_MODULE_LOCATION[0]=/updates\nAUTOINSTALL=yes\n";

#[test]
fn a_good_conf_is_content() {
    let output = lint(GOOD, &["--strict"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nothing to complain about\n");
}

#[test]
fn warnings_count_only_when_asked_to() {
    let conf = format!("{GOOD}REMAKE_INITRD=yes\n");
    assert_eq!(lint(&conf, &[]).status.code(), Some(0));
    let output = lint(&conf, &["--strict"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("dkms.conf:6: warning: ") && text.contains("REMAKE_INITRD"), "{text}");
}

#[test]
fn errors_are_8_and_json_tells_all() {
    let output = lint("PACKAGE_NAME=a\nAUTOINSTALL=perhaps\nBUILT_MODULE_NAME=a\n", &["--json", "-m", "a/2"]);
    assert_eq!(output.status.code(), Some(8));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["findings"].as_array().unwrap().len() >= 2, "version, AUTOINSTALL: {report}");
    assert_eq!(report["values"]["BUILT_MODULE_NAME"], json!({"0": "a"}));
}

#[test]
fn json_has_its_shape() {
    let conf = format!("{GOOD}MAKE[0]=\"make K=\\$kernelver\"\nMAKE[3]=x\nMAKE_MATCH[3]=never\nREMAKE_INITRD=no\n");
    let output = lint(&conf, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "warnings only: {output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&report), ["findings", "recipe", "values"]);
    let values = json!({
        "PACKAGE_NAME": "a", "PACKAGE_VERSION": "1", "AUTOINSTALL": "yes", "REMAKE_INITRD": "no",
        "BUILT_MODULE_NAME": {"0": "a"}, "DEST_MODULE_LOCATION": {"0": "/updates"},
        // The second expansion sees what the first left of it.
        "MAKE": {"0": "make K=6.1.0-56-amd64", "3": "x"}, "MAKE_MATCH": {"3": "never"},
    });
    assert_eq!(report["values"], values);
    for finding in report["findings"].as_array().unwrap() {
        assert_eq!(keys(finding), ["file", "line", "severity", "why", "write"]);
        assert_eq!(finding["severity"], "warning");
    }
    let lines: Vec<_> = report["findings"].as_array().unwrap().iter().map(|f| f["line"].clone()).collect();
    assert_eq!(lines, [json!(7), json!(9)], "{report}");
    assert_eq!(report["recipe"]["package"], json!({"name": "a", "version": "1"}));
    assert_eq!(report["recipe"]["make"], "make K=6.1.0-56-amd64");
}

#[test]
fn module_and_version_are_what_is_asked_for() {
    let conf = GOOD.replace("PACKAGE_VERSION=1", "PACKAGE_VERSION=1\nPOST_ADD=\"$module-$module_version\"");
    let value = |more: &[&str]| {
        let output = lint(&conf, &[&["--json"], more].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report["values"]["POST_ADD"].clone())
    };
    // Without -m: what a first reading gives.
    assert_eq!(value(&[]), (Some(0), json!("a-1")));
    assert_eq!(value(&["-m", "a/1"]), (Some(0), json!("a-1")));
    assert_eq!(value(&["-m", "b/2"]), (Some(8), json!("b-2")), "it calls itself otherwise");
}

#[test]
fn a_file_of_another_name_and_one_in_a_folder_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["dkms.conf", "other"] {
        std::fs::write(folder.path().join(name), GOOD).unwrap();
    }
    for path in [folder.path().to_owned(), folder.path().join("dkms.conf"), folder.path().join("other")] {
        assert_eq!(run(&path, &["--strict"]).status.code(), Some(0), "{}", path.display());
    }
}

#[test]
fn a_file_that_looks_beside_itself_is_found_by_a_relative_path() {
    let folder = tempfile::tempdir().unwrap();
    let conf = format!("pushd `dirname $BASH_SOURCE`\n{GOOD}popd\n");
    std::fs::write(folder.path().join("dkms.conf"), conf).unwrap();
    for path in [".", "dkms.conf"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dkms"));
        command.args(["lint", path, "--strict", "-k", "6.1.0-56-amd64/x86_64"]).current_dir(folder.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn what_cannot_be_judged_says_why() {
    let empty = tempfile::tempdir().unwrap();
    for path in [Path::new("/nonexistent"), empty.path()] {
        let output = run(path, &[]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains(&*path.to_string_lossy()), "{output:?}");
    }
}

#[test]
fn what_is_no_kernel_and_no_package_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dkms.conf"), GOOD).unwrap();
    for (more, code) in [
        (["-k", "a/b/c"], 2),
        (["-k", ".."], 2),
        (["-k", ""], 16),
        (["-k", "6.1/"], 16),
        (["-m", "a"], 2),
        (["-m", "a/"], 2),
        (["-m", "a/../b"], 2),
        (["--unknown", "x"], 2),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dkms"));
        let output = command.arg("lint").arg(folder.path()).args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{more:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

#[test]
fn options_may_come_first_and_quiet_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dkms.conf"), "PACKAGE_NAME=a\n").unwrap();
    for (words, code, silent) in [
        (["--json", "lint"], 8, false),
        (["-q", "lint"], 8, true),
        (["lint", "--quiet"], 8, true),
        (["lint", "status"], 4, false),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_dkms")).args(words).arg(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert_eq!(output.stdout.is_empty() && output.stderr.is_empty(), silent, "{words:?}: {output:?}");
    }
}
