//! Files that want more than they may have: refused or answered in bounded time and memory, and without effect.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rstest::rstest;

use super::*;

const LIMIT: Duration = Duration::from_secs(2);

fn evaluate(text: &str) -> Result<Values> {
    let kernel = KernelId::new("6.1.0-56-amd64", "x86_64").unwrap();
    Evaluator::new(&Layout::default()).with_timeout(LIMIT).evaluate(&EvalInput {
        files: &[ConfFile { path: "/usr/src/hostile-1/dkms.conf".into(), text: text.as_bytes().to_vec() }],
        directives: &[],
        kernel: &kernel,
        module: None,
        module_version: None,
        kernel_source_dir: Path::new("/lib/modules/6.1.0-56-amd64/build"),
        dkms_tree: Path::new("/var/lib/dkms"),
        source_tree: Path::new("/usr/src"),
        install_tree: Path::new("/lib/modules"),
        parallel_jobs: 1,
    })
}

#[rstest]
#[case::endless("while :; do :; done".to_owned())]
#[case::endless_function("f() { f; }; f".to_owned())]
#[case::nested_substitutions("x=".to_owned() + &"$(echo ".repeat(20_000))]
#[case::nested_arithmetic(format!("x=$(({}1{}))", "(".repeat(50_000), ")".repeat(50_000)))]
#[case::nested_groups("{ ".repeat(50_000))]
#[case::nested_conditions(format!("[[ {} -n a {} ]]", "( ".repeat(20_000), ")".repeat(20_000)))]
#[case::nested_patterns(format!("case a in {}a{}) ;; esac", "@(".repeat(20_000), ")".repeat(20_000)))]
#[case::slow_pattern("case aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa in *(*(*(*(*(a)))))b) ;; esac".to_owned())]
#[case::doubling("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done".to_owned())]
#[case::growing("while :; do MAKE+=(a); done".to_owned())]
#[case::huge_list("MAKE=({1..100000000})".to_owned())]
#[case::stray_parenthesis("for i in $s) a; do :; done".to_owned())]
#[case::sleeper("sleep 1000".to_owned())]
#[case::talker("yes >&2".to_owned())]
#[case::big_values("for i in {1..200000}; do MAKE[i]=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done".to_owned())]
fn what_is_too_much_ends_in_time(#[case] text: String) {
    let started = Instant::now();
    // Whether bash gets through some of these in its time is its own affair.
    let _ = evaluate(&text);
    assert!(started.elapsed() < LIMIT * 5, "{:?}", started.elapsed());
}

#[rstest]
#[case("while :; do :; done")]
#[case("sleep 1000")]
#[case("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done")]
#[case("MAKE=a\0b")]
fn what_does_not_end_is_an_error(#[case] text: &str) {
    assert!(matches!(evaluate(text), Err(Error::Evaluation { .. })));
}

#[test]
fn a_file_of_50_megabytes_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("dkms.conf")).unwrap();
    file.set_len(50 << 20).unwrap();
    let started = Instant::now();
    let error = ConfLoader::new(&Layout::under(folder.path())).load(&Request {
        source: folder.path(),
        conf: None,
        package: None,
        kernel: &KernelId::new("6.1", "x86_64").unwrap(),
        strict: false,
        directives: &[],
    });
    assert!(error.unwrap_err().to_string().contains("longer than"));
    assert!(started.elapsed() < Duration::from_secs(1));
}

/// Only root has somebody else to be.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_hostile_file_changes_and_learns_nothing() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("mok.key");
    fs::write(&key, "SECRET").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let key = key.display();
    let folder = folder.path().display();
    let text = format!(
        "CLEAN=\"$(touch {folder}/pwned /etc/dkmsd-pwned)ok\"\necho x > {folder}/pwned\n\
         PRE_BUILD=\"<$(cat {key})>\"\nPOST_BUILD=\"<$(<{key})>\"\n. {key}\n\
         [ -r {key} ] && MAKE=readable\nid -u > /dev/null || :\nPOST_ADD=\"$(id -u)\"\n"
    );
    let values = evaluate(&text).unwrap();
    assert_eq!(values.scalar("CLEAN"), Some("ok"));
    assert_eq!((values.scalar("PRE_BUILD"), values.scalar("POST_BUILD")), (Some("<>"), Some("<>")));
    assert_eq!(values.scalar("MAKE"), None);
    assert_ne!(values.scalar("POST_ADD"), Some("0"));
    assert!(!Path::new(&format!("{folder}/pwned")).exists() && !Path::new("/etc/dkmsd-pwned").exists());
}

#[test]
fn what_root_alone_may_read_is_not_read_natively_either() {
    if !is_root() {
        return;
    }
    let values =
        evaluate("CLEAN=\"<$(cat /etc/shadow)>\"\n[ -r /etc/shadow ] && MAKE=readable\n. /etc/shadow\n").unwrap();
    assert_eq!((values.scalar("CLEAN"), values.scalar("MAKE")), (Some("<>"), None));
}

#[test]
fn what_it_leaves_behind_is_killed() {
    let mark = format!("7{}.25", std::process::id());
    let values = evaluate(&format!("sleep {mark} &\n(sleep {mark} &)\nMAKE=made\n")).unwrap();
    assert_eq!(values.scalar("MAKE"), Some("made"));
    // Killed, each of them ends by itself; what was not would sleep on.
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let pid = entry.file_name().to_string_lossy().parse().ok().and_then(rustix::process::Pid::from_raw);
        if let (true, Some(pid)) = (String::from_utf8_lossy(&line).contains(&mark), pid)
            && let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        {
            let mut fds = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
            let wait = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
            assert_eq!(rustix::event::poll(&mut fds, Some(&wait)).unwrap(), 1, "{pid:?} sleeps on");
        }
    }
}
