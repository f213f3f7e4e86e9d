//! What a package's own scripts may do with `dkms`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

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

/// What a word names, where the current folder has a folder of that name.
#[test]
fn a_source_in_the_current_folder_is_its_package_to_status() {
    let root = tempfile::tempdir().unwrap();
    for version in ["1", "2"] {
        source(root.path(), version, None);
        assert_eq!(dkms(root.path(), &["add", &format!("a/{version}")]).status.code(), Some(0));
    }
    let other = root.path().join("src/b-1");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("dkms.conf"), "PACKAGE_NAME=b\nPACKAGE_VERSION=1\nDEST_MODULE_LOCATION=/updates\n").unwrap();
    assert_eq!(dkms(root.path(), &["add", "b/1"]).status.code(), Some(0));
    let here = root.path().join("here");
    fs::create_dir(&here).unwrap();
    for (folder, version) in [("a", "1"), ("driver", "2")] {
        fs::create_dir(here.join(folder)).unwrap();
        fs::copy(root.path().join(format!("src/a-{version}/dkms.conf")), here.join(folder).join("dkms.conf")).unwrap();
    }
    fs::create_dir(here.join("b")).unwrap();
    fs::write(here.join("b/dkms.conf"), "PACKAGE_NAME=\n").unwrap();
    let status = |word: &str| {
        let mut command = Command::new(DKMS);
        command.args(["status", word]).current_dir(&here);
        command.arg("--dkmstree").arg(root.path().join("tree")).arg("--sourcetree").arg(root.path().join("src"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(status("a"), "a/1: added\na/2: added\n", "a name that is known is that name");
    assert_eq!(status("./a"), "a/1: added\n", "a path is the source there");
    assert_eq!(status("driver"), "a/2: added\n", "and so is a word that is no name here");
    assert_eq!(status("driver/dkms.conf"), "a/2: added\n");
    assert_eq!(status("b"), "b/1: added\n");
    assert_eq!(status("./b"), "", "nothing is known of what does not say its name");
}

/// Else what stands below it, as an exclusion, is lost in silence.
#[test]
fn a_conf_that_bash_reads_in_part_is_told_each_time() {
    let root = tempfile::tempdir().unwrap();
    source(root.path(), "1", None);
    let conf = root.path().join("src/a-1/dkms.conf");
    fs::write(&conf, fs::read_to_string(&conf).unwrap() + "if then\nBUILD_EXCLUSIVE_KERNEL=^5\n").unwrap();
    let what = format!("{}:5: syntax error", conf.display());
    for (action, code) in [("add", 0), ("build", 21), ("build", 21)] {
        let output = dkms(root.path(), &[action, "a/1", "-k", "6.1.0-absent"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.matches(&what).count()), (Some(code), 1), "{said}");
        assert!(said.contains("what follows that is not read"), "{said}");
    }
    let lint = Command::new(DKMS).arg("lint").arg(&conf).output().unwrap();
    let found = String::from_utf8_lossy(&lint.stdout);
    assert_eq!(found.lines().filter(|line| line.contains("dkms.conf:5:")).count(), 1, "{found}");
}

#[test]
fn a_folder_without_a_conf_is_told_as_such() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("drivers/x")).unwrap();
    for action in ["add", "build"] {
        let mut command = Command::new(DKMS);
        command.args([action, "drivers/x", "-k", "6.1"]).current_dir(root.path());
        command.arg("--dkmstree").arg(root.path().join("tree")).arg("--sourcetree").arg(root.path().join("src"));
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("the folder drivers/x is there, and has no dkms.conf"), "{told}");
        assert!(told.contains("src/drivers-x"), "{told}");
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

/// As without /proc: nothing tells any more whose child it is.
#[test]
fn so_does_one_whose_descent_nobody_can_tell() {
    let root = tempfile::tempdir().unwrap();
    let (tree, src) = (root.path().join("tree"), root.path().join("src"));
    let done = fifo(root.path(), "done");
    let call = format!("{DKMS} add a/2 --dkmstree {} --sourcetree {}", tree.display(), src.display());
    source(root.path(), "1", Some(&format!("( (\n{call}\necho $? >{0}) & )\nread code <{0}; exit $code", done)));
    source(root.path(), "2", None);
    let added = dkms(root.path(), &["add", "a/1"]);
    assert_eq!(added.status.code(), Some(0), "{added:?}");
    let status = dkms(root.path(), &["status"]);
    assert_eq!(String::from_utf8_lossy(&status.stdout), "a/1: added\na/2: added\n", "{status:?}");
}

fn fifo(root: &Path, name: &str) -> String {
    let path = root.join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path.display().to_string()
}

/// A `dkms` that has just been started.
fn adding(root: &Path) -> Child {
    let mut command = Command::new(DKMS);
    command.args(["add", "a/1", "--dkmstree"]).arg(root.join("tree")).arg("--sourcetree").arg(root.join("src"));
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// What is locked stays so until the script, which is given time, is gone.
#[rstest::rstest]
#[case::terminated(15, "TERM")]
#[case::interrupted(2, "INT")]
#[case::hung_up(1, "HUP")]
fn told_to_end_it_ends_its_script_first(#[case] signal: i32, #[case] name: &str) {
    let root = tempfile::tempdir().unwrap();
    let [started, told, go] = ["started", "told", "go"].map(|name| fifo(root.path(), name));
    source(
        root.path(),
        "1",
        Some(&format!(
            "trap 'echo told >{told}; read line <{go}; exit' TERM\necho started >{started}\nsleep 777 & wait"
        )),
    );
    let mut child = adding(root.path());
    fs::read_to_string(started).unwrap();
    assert!(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success());
    fs::read_to_string(told).unwrap();
    let lock = root.path().join("tree/.dkmsd-locks/package@a");
    let free = || Command::new("flock").arg("-n").arg(&lock).arg("true").status().unwrap().success();
    assert!(!free(), "its script has not ended");
    fs::write(go, "go\n").unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(signal));
    assert!(free());
}

#[test]
fn a_script_that_does_not_listen_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let started = fifo(root.path(), "started");
    let alive = fifo(root.path(), "alive");
    let lines = format!("trap '' TERM\nexec 3>{alive}\necho started >{started}\nsleep 777");
    source(root.path(), "1", Some(&lines));
    let mut child = adding(root.path());
    // Ends when all of the script has.
    let held = std::thread::spawn(move || fs::read_to_string(alive));
    fs::read_to_string(started).unwrap();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    held.join().unwrap().unwrap();
}

/// Nothing can be done about KILL but to have the system end the script too.
#[test]
fn killed_it_takes_its_script_with_it() {
    let root = tempfile::tempdir().unwrap();
    let started = fifo(root.path(), "started");
    let alive = fifo(root.path(), "alive");
    source(root.path(), "1", Some(&format!("exec 3>{alive}\necho started >{started}\nexec sleep 777")));
    let mut child = adding(root.path());
    let held = std::thread::spawn(move || fs::read_to_string(alive));
    fs::read_to_string(started).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    held.join().unwrap().unwrap();
}
