//! The completion scripts in the shells themselves: typed into bash and zsh on a terminal, and asked of fish.
//!
//! They need zsh (whose zpty is the terminal), bash and fish; tests/run.sh installs what is missing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rstest::rstest;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/usr/share").canonicalize().unwrap()
}

/// A root with two packages: `hello` 1.0 built for 6.1, `r8169` 2.2LK installed on 6.12; the source `vpoll` 0.1 is not added.
/// 6.1 and 6.12 have headers. The folder it is in holds what paths are completed from.
fn machine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let make = |path: &str| fs::create_dir_all(root.join(path)).unwrap();
    for (name, version) in [("hello", "1.0"), ("r8169", "2.2LK"), ("vpoll", "0.1")] {
        let source = format!("usr/src/{name}-{version}");
        make(&source);
        let conf = format!("PACKAGE_NAME={name}\nPACKAGE_VERSION={version}\n");
        fs::write(root.join(&source).join("dkms.conf"), conf).unwrap();
        if name != "vpoll" {
            make(&format!("var/lib/dkms/{name}/{version}"));
            symlink(format!("/{source}"), root.join(format!("var/lib/dkms/{name}/{version}/source"))).unwrap();
        }
    }
    make("var/lib/dkms/hello/1.0/6.1/x86_64/module");
    make("var/lib/dkms/r8169/2.2LK/6.12/x86_64/module");
    symlink("2.2LK/6.12/x86_64", root.join("var/lib/dkms/r8169/kernel-6.12-x86_64")).unwrap();
    make("usr/src/headers/include");
    for (kernel, headers) in [("6.1", true), ("6.12", true), ("6.13", false)] {
        make(&format!("lib/modules/{kernel}/kernel"));
        if headers {
            symlink("/usr/src/headers", root.join(format!("lib/modules/{kernel}/build"))).unwrap();
        }
    }
    fs::write(folder.path().join("archive one.tar.gz"), "").unwrap();
    fs::create_dir(folder.path().join("driver")).unwrap();
    folder
}

fn run(folder: &Path, command: &mut Command) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_dkms")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    // Nobody's own settings, and none that are left behind.
    command.current_dir(folder).env("PATH", path).env("HOME", folder).env("XDG_CONFIG_HOME", folder).env("LC_ALL", "C");
    let program = command.get_program().to_string_lossy().into_owned();
    command.output().unwrap_or_else(|e| panic!("{program}: {e}; install it, or use tests/run.sh"))
}

/// The words offered at the end of a line, and what the line has become after a TAB.
fn typed(shell: &str, line: &str) -> (Vec<String>, String) {
    let folder = machine();
    let drive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/completion/drive.zsh");
    let output = run(folder.path(), Command::new("zsh").arg("-f").arg(drive).arg(scripts()).args([shell, line]));
    let text = String::from_utf8(output.stdout).unwrap();
    let (words, becomes) =
        text.split_once('=').filter(|(w, _)| w.is_empty() || w.ends_with('\n')).unwrap_or_else(|| {
            // A word can hold the sign itself; the line comes last.
            text.rsplit_once("\n=")
                .unwrap_or_else(|| panic!("{shell}: {text:?} {}", String::from_utf8_lossy(&output.stderr)))
        });
    let mut words: Vec<String> = words.lines().map(str::to_owned).collect();
    words.sort();
    words.dedup();
    (words, becomes.trim_end_matches('\n').to_owned())
}

#[rstest]
#[case("dkms ins", "install", "dkms install ")]
#[case("dkms --root root remove ", "hello/1.0 r8169/2.2LK", "dkms --root root remove ")]
#[case("dkms --root root remove r", "r8169/2.2LK", "dkms --root root remove r8169/2.2LK ")]
#[case("dkms --root=root uninstall ", "r8169/2.2LK", "dkms --root=root uninstall r8169/2.2LK ")]
#[case("dkms --root root install -k 6", "6.1 6.12", "dkms --root root install -k 6.1")]
#[case("dkms --root root install -m hello -v ", "1.0", "dkms --root root install -m hello -v 1.0 ")]
#[case("dkms install --directive POST_A", "POST_ADD=", "dkms install --directive POST_ADD=")]
#[case("dkms --root root add vp", "vpoll/0.1", "dkms --root root add vpoll/0.1 ")]
#[case("dkms --root ro", "root", "dkms --root root/")]
#[case("dkms --root=ro", "", "dkms --root=root/")]
#[case("dkms ldtarball ar", "", "dkms ldtarball archive\\ one.tar.gz ")]
#[case("dkms nonsense", "", "dkms nonsense")]
#[case("dkms status --js", "--json", "dkms status --json ")]
#[case("dkms lint --str", "--strict", "dkms lint --strict ")]
#[case("dkmsctl reb", "rebuild", "dkmsctl rebuild ")]
#[case("dkmsctl --root root unbuild h", "hello/1.0", "dkmsctl --root root unbuild hello/1.0 ")]
#[case("dkmsctl rebuild --all", "--all-kernels", "dkmsctl rebuild --all-kernels ")]
#[case("dkmsctl --root root build hello --kernel ", "6.1 6.12", "dkmsctl --root root build hello --kernel 6.1")]
#[case("dkmsctl add dri", "", "dkmsctl add driver/")]
#[case("dkmsctl mok ", "enroll generate status", "dkmsctl mok ")]
#[case("dkmsctl mok e", "enroll", "dkmsctl mok enroll ")]
fn on_a_terminal(
    #[values("bash", "zsh")] shell: &str,
    #[case] line: &str,
    #[case] wanted: &str,
    #[case] becomes: &str,
) {
    let (words, line) = typed(shell, line);
    // Names of files are offered in each shell's own way: what becomes of the line tells.
    if !wanted.is_empty() {
        assert_eq!(words.join(" "), wanted);
    }
    assert_eq!(line, becomes);
}

/// The word as bash splits it, and as zsh does not.
#[rstest]
#[case("bash", "6.1 6.12")]
#[case("zsh", "--kernelver=6.1 --kernelver=6.12")]
fn a_value_behind_its_sign(#[case] shell: &str, #[case] wanted: &str) {
    let (words, line) = typed(shell, "dkms --root root build --kernelver=6");
    assert_eq!((words.join(" ").as_str(), line.as_str()), (wanted, "dkms --root root build --kernelver=6.1"));
    let (words, _) = typed(shell, "dkms --root root build --kernelver=");
    assert_eq!(words.join(" "), wanted);
}

#[rstest]
#[case("dkms ins", "install\tInstall on a kernel, building first when needed")]
#[case("dkms --root root uninstall ", "r8169/2.2LK\tinstalled on 6.12")]
#[case("dkms --root=root remove -m h", "hello\t1.0, built for 6.1")]
#[case("dkms --root root build --kernelver=6.12", "--kernelver=6.12")]
#[case("dkms --root root add ./dri", "./driver/")]
#[case("dkms --root=ro", "--root=root/")]
#[case("dkms --root root add vp", "vpoll/0.1\tnot added")]
#[case("dkms status --js", "--json\tPrint JSON")]
#[case("dkms nonsense", "")]
#[case("dkmsctl reb", "rebuild\tBuild and install again, whatever was there and whatever failed before")]
#[case("dkmsctl --root root uninstall ", "r8169/2.2LK\tinstalled on 6.12")]
#[case("dkmsctl mok g", "generate\tMake key and certificate where they are missing")]
fn in_fish(#[case] line: &str, #[case] wanted: &str) {
    let folder = machine();
    let program = line.split(' ').find(|word| word.starts_with("dkms")).unwrap();
    let script = scripts().join(format!("fish/vendor_completions.d/{program}.fish"));
    let ask = format!("source {}; complete -C '{line}'", script.display());
    let output = run(folder.path(), Command::new("fish").args(["-N", "-c", &ask]));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n'), wanted);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Whatever the disk is like, completion says nothing on standard error and ends with 0.
#[rstest]
#[case::no_root(&["--root", "nowhere", "remove", ""])]
#[case::a_file_for_a_tree(&["--dkmstree", "/etc/passwd", "remove", ""])]
#[case::unreadable(&["--root", "/proc/1", "add", ""])]
#[case::no_words(&[])]
fn never_complains(#[case] words: &[&str], #[values("dkms", "dkmsctl")] program: &str) {
    let folder = machine();
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_dkms")).with_file_name(program));
    let output = run(folder.path(), command.arg("--complete").args(words));
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    assert!(output.stdout.starts_with(b"words\n") || output.stdout.starts_with(b"f"), "{output:?}");
}

/// A dkms.conf and a framework.conf that only bash can read are not run: names come from folders, trees from habit.
#[test]
fn bash_is_not_started() {
    let folder = machine();
    let root = folder.path().join("root");
    let trap = folder.path().join("bash was here");
    let conf = format!("PACKAGE_NAME=$(touch '{0}'; echo vpoll)\nPACKAGE_VERSION=0.1\n", trap.display());
    fs::write(root.join("usr/src/vpoll-0.1/dkms.conf"), &conf).unwrap();
    fs::create_dir_all(root.join("etc/dkms")).unwrap();
    fs::write(root.join("etc/dkms/framework.conf"), format!("dkms_tree=$(touch '{}')\n", trap.display())).unwrap();
    let begin = Instant::now();
    let words = ["--complete", "--root", "root", "add", ""];
    let output = run(folder.path(), Command::new(env!("CARGO_BIN_EXE_dkms")).args(words));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "files\nvpoll/0.1\tnot added\n");
    assert!(!trap.exists());
    // A hundred times what it takes: this is no benchmark.
    assert!(begin.elapsed() < Duration::from_secs(2));
}

/// framework.conf moves the trees for completion, too.
#[test]
fn settings_count() {
    let folder = machine();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("etc/dkms/framework.conf.d")).unwrap();
    fs::rename(root.join("var/lib/dkms"), root.join("srv")).unwrap();
    fs::write(root.join("etc/dkms/framework.conf.d/trees.conf"), "dkms_tree=/srv\n").unwrap();
    let words = ["--complete", "--root", "root", "uninstall", ""];
    let output = run(folder.path(), Command::new(env!("CARGO_BIN_EXE_dkms")).args(words));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "words\nr8169/2.2LK\tinstalled on 6.12\n");
}
