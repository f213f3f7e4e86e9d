//! `dkms lint`, as a program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

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
    assert_eq!(report["values"]["BUILT_MODULE_NAME"], serde_json::json!({"0": "a"}));
}

#[test]
fn what_cannot_be_judged_says_why() {
    let output = run(Path::new("/nonexistent"), &[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent"));
}
