//! framework.conf and options that name files, as `dkms` takes them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use rstest::rstest;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn dkms(words: &[&str], root: &Path) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dkms")).args(words).arg("--root").arg(root).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, told)
}

/// What stands before a mistake counts, and so do the other files.
#[rstest]
#[case::a_syntax_error("dkms_tree=/srv/dkms\nif then\nsource_tree=/nowhere\n", 2, "not read")]
#[case::an_open_quote("dkms_tree=/srv/dkms\nverbose=\"yes\n\n", 2, "not read")]
#[case::a_command_of_nobodys("dkms_tree=/srv/dkms\nno-such-command\nverbose=yes\n", 2, "no-such-command")]
fn a_mistake_in_framework_conf_is_told_with_its_line(#[case] text: &str, #[case] line: usize, #[case] word: &str) {
    let root = tempfile::tempdir().unwrap();
    let conf = root.path().join("etc/dkms/framework.conf");
    write(&conf, text);
    write(&root.path().join("etc/dkms/framework.conf.d/more.conf"), "source_tree=/srv/src\n");
    write(&root.path().join("srv/src/a-1/dkms.conf"), "PACKAGE_NAME=a\nPACKAGE_VERSION=1\n");
    fs::create_dir_all(root.path().join("srv/dkms/a/1")).unwrap();
    symlink("/srv/src/a-1", root.path().join("srv/dkms/a/1/source")).unwrap();
    let (output, told) = dkms(&["status"], root.path());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a/1: added\n", "{told}");
    assert!(told.contains(&format!("warning: {}:{line}: ", conf.display())) && told.contains(word), "{told}");
    let (output, told) = dkms(&["status", "-q"], root.path());
    assert!(output.stdout.is_empty() && told.is_empty(), "{told}");
}

#[test]
fn a_value_that_is_not_understood_is_told_with_file_and_line() {
    let root = tempfile::tempdir().unwrap();
    write(&root.path().join("etc/dkms/framework.conf"), "verbose=no\ntry_sign_modules=true\n");
    let more = root.path().join("etc/dkms/framework.conf.d/more.conf");
    write(&more, "\n\ntry_sign_modules=\"maybe\"\n");
    let (_, told) = dkms(&["status"], root.path());
    let wanted = format!("dkms: {}:3: try_sign_modules=\"maybe\"; write true", more.display());
    assert!(told.contains(&wanted), "{told}");
}

#[test]
fn parallel_jobs_of_the_environment_is_told_as_such() {
    let root = tempfile::tempdir().unwrap();
    let mut status = Command::new(env!("CARGO_BIN_EXE_dkms"));
    let output = status.args(["status", "--root"]).arg(root.path()).env("parallel_jobs", "few").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.starts_with("dkms: the environment: parallel_jobs=\"few\" is not a number"), "{told}");
}

#[rstest]
#[case::absent("absent", "no such folder")]
#[case::no_system("", "proc")]
fn a_root_that_cannot_be_entered_says_so(#[case] below: &str, #[case] why: &str) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join(below);
    let (output, told) = dkms(&["build", "a/1", "-k", "6.1"], &root);
    if rustix::process::geteuid().is_root() {
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(&*root.to_string_lossy()) && told.contains(why), "{told}");
    } else {
        assert!(told.contains("root"), "{told}");
    }
    let (output, told) = dkms(&["build", "a/1"], &root);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("-k"), "the kernel is asked for before anything else: {told}");
}

/// The key that is there already takes no openssl in that root.
#[rstest]
#[case::by_default("", "var/lib/dkms/mok", "", 0)]
#[case::set("mok_signing_key=/etc/keys/own.key\nmok_certificate=/etc/keys/own.pub\n", "etc/keys/own", "", 0)]
#[case::a_kernel_s(
    "mok_signing_key=/etc/keys/$kernelver.key\nmok_certificate=/etc/keys/$kernelver.pub\n",
    "etc/keys/6.1",
    "-k 6.1",
    0
)]
#[case::which_kernel_s(
    "mok_signing_key=/etc/keys/$kernelver.key\nmok_certificate=/etc/keys/$kernelver.pub\n",
    "etc/keys/6.1",
    "",
    1
)]
fn the_key_of_another_root_needs_a_kernel_only_where_its_path_does(
    #[case] conf: &str,
    #[case] key: &str,
    #[case] more: &str,
    #[case] code: i32,
) {
    let root = tempfile::tempdir().unwrap();
    for folder in ["proc", "dev"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    write(&root.path().join("etc/os-release"), "ID=debian\n");
    write(&root.path().join("etc/dkms/framework.conf"), conf);
    write(&root.path().join(format!("{key}.key")), "key");
    write(&root.path().join(format!("{key}.pub")), "certificate");
    let words: Vec<_> = ["generate_mok"].into_iter().chain(more.split_whitespace()).collect();
    let (output, told) = dkms(&words, root.path());
    if !rustix::process::geteuid().is_root() {
        assert!(told.contains("root"), "{told}");
        return;
    }
    assert_eq!(output.status.code(), Some(code), "{told}");
    let said = String::from_utf8_lossy(&output.stdout);
    if code == 0 {
        assert!(said.contains("there already") && said.contains(&format!("/{key}.key")), "{said}");
    } else {
        assert!(told.contains("which kernel?"), "{told}");
    }
}

#[rstest]
#[case::said("", false)]
#[case::verbose("--verbose", true)]
fn a_kernel_configuration_that_is_missing_is_named(#[case] more: &str, #[case] phases: bool) {
    let folder = tempfile::tempdir().unwrap();
    let at = |below: &str| folder.path().join(below);
    write(
        &at("src/a-1/dkms.conf"),
        "PACKAGE_NAME=a\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=a\nDEST_MODULE_LOCATION=/updates\n",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_dkms"));
    command.args(["build", "a/1", "-k", "0.0-none"]).args((!more.is_empty()).then_some(more));
    for (option, below) in [("--dkmstree", "tree"), ("--sourcetree", "src"), ("--config", "no-such-config")] {
        command.arg(option).arg(at(below));
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(21), "{told}");
    assert!(told.contains("--config") && told.contains("no-such-config"), "{told}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.contains("a/1: adding") || said.contains(": adding"), phases, "{said}");
}
