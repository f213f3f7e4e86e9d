//! What a package's own scripts may do with `dkms`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const DKMS: &str = env!("CARGO_BIN_EXE_dkms");

fn dkms(root: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(DKMS);
    command.args(words).arg("--dkmstree").arg(root.join("tree")).arg("--sourcetree").arg(root.join("src"));
    command.output().unwrap()
}

/// A source with a POST_ADD of these lines, or none.
fn source(root: &Path, version: &str, post_add: Option<&str>) {
    let source = root.join(format!("src/a-{version}"));
    fs::create_dir_all(&source).unwrap();
    let directive = if post_add.is_some() { "POST_ADD=more.sh\n" } else { "" };
    let conf = format!(
        "PACKAGE_NAME=a\nPACKAGE_VERSION={version}\nBUILT_MODULE_NAME=a\nDEST_MODULE_LOCATION=/updates\n{directive}"
    );
    fs::write(source.join("dkms.conf"), conf).unwrap();
    if let Some(lines) = post_add {
        let script = source.join("more.sh");
        fs::write(&script, format!("#!/bin/sh\n{lines}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn what_a_script_says_gives_the_terminal_no_orders() {
    let root = tempfile::tempdir().unwrap();
    source(root.path(), "1", Some("printf 'red \\033[31m and back\\r'"));
    let added = dkms(root.path(), &["add", "a/1"]);
    let said = String::from_utf8_lossy(&added.stdout);
    assert!(said.contains("red  [31m and back"), "{said:?}");
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
}

/// POST_ADD runs while the package is locked; the lock is one a name, and another version has the same.
#[test]
fn a_script_that_calls_dkms_for_its_own_package_waits_for_nobody() {
    let root = tempfile::tempdir().unwrap();
    let (tree, src) = (root.path().join("tree"), root.path().join("src"));
    let call = format!("exec {DKMS} add a/2 --dkmstree {} --sourcetree {}", tree.display(), src.display());
    source(root.path(), "1", Some(&call));
    source(root.path(), "2", None);
    let added = dkms(root.path(), &["add", "a/1"]);
    assert_eq!(added.status.code(), Some(0), "{added:?}");
    let status = dkms(root.path(), &["status"]);
    assert_eq!(String::from_utf8_lossy(&status.stdout), "a/1: added\na/2: added\n", "{status:?}");
}
