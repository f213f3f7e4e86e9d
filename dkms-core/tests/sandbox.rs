//! The sandbox with real namespaces, as root; without them and as somebody else, too. A program of its own, because a
//! confined process is the program itself, started again.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "a test program")]

use libtest_mimic::{Arguments, Trial};
use std::fs::{self, Permissions};
use std::io::BufRead as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dkms_core::build::jobserver::JobServer;
use dkms_core::build::sandbox::{self, Confined, Ended, Strength};
use dkms_core::build::workspace::Workspace;
use dkms_core::conf::{ConfFile, EvalInput, Evaluator};
use dkms_core::engine::{Engine, Order};
use dkms_core::event::Event;
use dkms_core::host::users::User;
use dkms_core::layout::Layout;
use dkms_core::model::{KernelId, PackageId};
use dkms_core::settings::{IoPriority, Priority, Settings};
use dkms_core::tree::Manifest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

/// The argument with which this program runs itself as somebody who may not have namespaces.
const UNPRIVILEGED: &str = "unprivileged";
/// The argument with which this program runs a command until somebody kills it.
const KILLED: &str = "killed";

fn main() {
    sandbox::enter_if_asked();
    if std::env::args().nth(1).as_deref() == Some(UNPRIVILEGED) {
        assert_eq!(sandbox::strength(), Strength::UserOnly);
        run("nothing_of_it_is_left", nothing_of_it_is_left);
        run("its_own_code_and_output_arrive", its_own_code_and_output_arrive);
        run("what_it_leaves_behind_is_named", what_it_leaves_behind_is_named);
        run("nothing_outlives_this_program", nothing_outlives_this_program);
        run("past_its_time_it_is_asked_first", past_its_time_it_is_asked_first);
        run("make_takes_part_from_inside", make_takes_part_from_inside);
        return;
    }
    if std::env::args().nth(1).as_deref() == Some(KILLED) {
        let script = format!("setsid sleep {} & echo $!; wait", std::env::args().nth(2).unwrap());
        let running = sh(&script).spawn().unwrap();
        let _ = running.follow(None, |e| e, |_, bytes| std::io::Write::write_all(&mut std::io::stdout(), bytes));
        return;
    }
    let mut arguments = Arguments::from_args();
    // They make and remove what belongs to the whole machine.
    arguments.test_threads = Some(1);
    let root = rustix::process::geteuid().is_root();
    let (mut apart, mut tests) = (false, Vec::new());
    if root {
        tests.push(trial("without_namespaces", without_namespaces));
        apart = sandbox::strength() == Strength::Namespaces;
    }
    for (name, test) in [
        ("its_own_code_and_output_arrive", its_own_code_and_output_arrive as fn()),
        ("it_stands_behind_others", it_stands_behind_others),
        ("nothing_of_it_is_left", nothing_of_it_is_left),
        ("what_it_leaves_behind_is_named", what_it_leaves_behind_is_named),
        ("past_its_time_it_is_asked_first", past_its_time_it_is_asked_first),
        ("make_takes_part_from_inside", make_takes_part_from_inside),
        ("the_network_is_refused", the_network_is_refused),
        ("the_system_is_read_only_for_root_too", the_system_is_read_only_for_root_too),
        ("root_has_no_capabilities_that_count", root_has_no_capabilities_that_count),
        ("a_key_is_out_of_sight", a_key_is_out_of_sight),
        ("services_and_homes_are_out_of_sight", services_and_homes_are_out_of_sight),
        ("tmp_is_its_own", tmp_is_its_own),
        ("a_fork_bomb_is_refused_and_leaves_nothing", a_fork_bomb_is_refused_and_leaves_nothing),
        ("one_that_forks_takes_nothing_from_another", one_that_forks_takes_nothing_from_another),
        ("no_file_grows_without_end_and_no_core_is_left", no_file_grows_without_end_and_no_core_is_left),
        ("memory_is_refused_and_it_is_the_first_to_go", memory_is_refused_and_it_is_the_first_to_go),
        ("only_its_own_build_folder_is_there", only_its_own_build_folder_is_there),
        ("a_failed_builds_log_leads_nowhere", a_failed_builds_log_leads_nowhere),
        ("of_two_failures_at_once_one_is_kept_whole", of_two_failures_at_once_one_is_kept_whole),
        ("nothing_outlives_this_program", nothing_outlives_this_program),
        ("post_build_writes_the_result", post_build_writes_the_result),
        ("dkms_conf_is_evaluated_apart", dkms_conf_is_evaluated_apart),
        ("what_lies_below_dev_can_be_shown", what_lies_below_dev_can_be_shown),
        ("a_place_that_is_not_there_can_be_shown", a_place_that_is_not_there_can_be_shown),
    ] {
        tests.push(trial(name, test).with_ignored_flag(!apart));
    }
    if !arguments.list && !apart {
        eprintln!("SKIPPED: tests of the sandbox; they take root, and a machine that allows namespaces");
    }
    libtest_mimic::run(&arguments, tests).exit();
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn run(name: &str, test: fn()) {
    test();
    println!("test {name} ... ok");
}

fn nobody() -> User {
    User { name: "nobody".into(), uid: 65534, gid: 65534 }
}

fn sh(script: &str) -> Confined {
    Confined::new("/", "bash", ["-c", script])
}

fn told(confined: &Confined) -> (Ended, String) {
    let mut text = Vec::new();
    let ended = confined
        .spawn()
        .unwrap()
        .follow(
            Some(Instant::now() + Duration::from_secs(60)),
            |error| error,
            |_, bytes| {
                text.extend_from_slice(bytes);
                Ok(())
            },
        )
        .unwrap();
    (ended, String::from_utf8_lossy(&text).into_owned())
}

fn says(confined: &Confined) -> String {
    let (ended, text) = told(confined);
    assert_eq!(ended, Ended::Code(0), "{text}");
    text
}

/// Runs part of these tests as a user that has no namespaces to give.
fn without_namespaces() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("sandbox");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let status = Command::new(&program).arg(UNPRIVILEGED).uid(65534).gid(65534).current_dir("/").status().unwrap();
    assert!(status.success());
}

fn its_own_code_and_output_arrive() {
    let (ended, text) = told(&sh("cat; exit 7").input(vec![b'x'; 200_000]));
    assert_eq!((ended, text.len()), (Ended::Code(7), 200_000));
    assert_eq!(told(&sh("kill -9 $$")).0, Ended::Code(137));
    let large = format!(": {}; echo done", "x".repeat(120_000));
    assert_eq!(says(&sh(&large)), "done\n");
}

fn it_stands_behind_others() {
    let idle = Priority { nice: 7, io: IoPriority::Idle };
    assert_eq!(says(&sh("nice; ionice").priority(idle)), "7\nidle\n");
    let low = Priority { nice: 0, io: IoPriority::Low };
    assert_eq!(says(&sh("nice; ionice").priority(low)), "0\nbest-effort: prio 7\n");
}

/// What heeds it has a moment; what does not is killed.
fn past_its_time_it_is_asked_first() {
    let late = |script: &str| {
        let (mut said, begun) = (Vec::new(), Instant::now());
        let running = sh(script).spawn().unwrap();
        let ended = running
            .follow(
                Some(Instant::now() + Duration::from_millis(500)),
                |error| error,
                |_, bytes| {
                    said.extend_from_slice(bytes);
                    Ok(())
                },
            )
            .unwrap();
        assert_eq!(ended, Ended::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(60));
        String::from_utf8(said).unwrap()
    };
    // The shell says what became of what it ran.
    let heeded = late("trap 'echo heeded; exit 143' TERM; sleep 1000");
    assert!(heeded.ends_with("heeded\n"), "{heeded}");
    assert_eq!(late("trap '' TERM; sleep 1000"), "");
}

/// As another user, without a sight of /run, and gives back what it took.
fn make_takes_part_from_inside() {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::under(root.path());
    fs::create_dir_all(layout.run_dir()).unwrap();
    let server = JobServer::shared(&layout, 2).unwrap();
    let (held, slot) = (server.hold().unwrap(), server.enter(1, &mut || {}).unwrap());
    let jobs = slot.share().unwrap();
    let meet =
        "mkfifo a b && printf 'all: x y\\nx:\\n\\t@echo >a; read n <b\\ny:\\n\\t@read n <a; echo >b\\n' | make -f -";
    let root = rustix::process::geteuid().is_root();
    let user = nobody();
    let confined = sh(&format!("cd $(mktemp -d) && {meet}")).env("MAKEFLAGS", jobs.flags()).user(root.then_some(&user));
    says(&jobs.descriptors().fold(confined, Confined::inherit));
    assert_eq!(rustix::io::ioctl_fionread(&held).unwrap(), 1);
}

/// A process that left the command's session and lets go of its output.
fn nothing_of_it_is_left() {
    let mark = format!("1000{}", std::process::id());
    let started = format!("(setsid sleep {mark} >/dev/null 2>&1 &) ; setsid sleep {mark} & sleep 0");
    says(&sh(&started));
    assert!(!runs(&mark), "it outlived its command");
    let running = sh(&format!("{started}; echo ready; sleep 1000")).spawn().unwrap();
    let ended = running.follow(Some(Instant::now() + Duration::from_millis(500)), |e| e, |_, _| Ok(()));
    assert_eq!(ended.unwrap(), Ended::TimedOut);
    assert!(!runs(&mark), "it outlived the time limit");
}

/// Also where it has no namespaces.
fn what_it_leaves_behind_is_named() {
    let line = |command: &str| says(&sh(command).tell_left());
    let said = line("setsid sleep 900 >/dev/null 2>&1 & setsid sleep 900 & echo over");
    assert_eq!(said, format!("over\n{}2 processes: sleep (2)\n", sandbox::LEFT));
    assert_eq!(line("sleep 0 & exec > >(cat >/dev/null); echo over"), "");
    assert_eq!(line("sleep 0 & wait; echo over"), "over\n");
}

fn runs(mark: &str) -> bool {
    find(&format!("sleep\0{mark}\0")).is_some()
}

/// The process with this command line, as this program sees it.
fn find(line: &str) -> Option<Pid> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|process| {
        let found = fs::read(process.path().join("cmdline")).is_ok_and(|there| there == line.as_bytes());
        found.then(|| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).flatten()
    })
}

/// As when a worker is killed: whatever its command had started ends.
fn nothing_outlives_this_program() {
    let mark = format!("3000{}", std::process::id());
    let mut program =
        Command::new(std::env::current_exe().unwrap()).args([KILLED, &mark]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufReader::new(program.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    let started = || find(&format!("sleep\0{mark}\0"));
    // Between fork and exec it is not yet called what it will be.
    let left = std::iter::repeat_with(started).take(10_000).flatten().next().unwrap();
    let left = rustix::process::pidfd_open(left, rustix::process::PidfdFlags::empty()).unwrap();
    program.kill().unwrap();
    program.wait().unwrap();
    let wait = Timespec { tv_sec: 20, tv_nsec: 0 };
    let mut fds = [PollFd::new(&left, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&wait)).unwrap(), 1, "it goes on without us");
}

fn the_network_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}", listener.local_addr().unwrap().port());
    assert_ne!(told(&sh(&script)).0, Ended::Code(0));
    says(&sh(&script).network(true));
}

fn the_system_is_read_only_for_root_too() {
    let probe = "/etc/dkmsd-sandbox-test";
    for place in [probe, "/usr/dkmsd-sandbox-test", "/dev/dkmsd-sandbox-test", "/proc/sys/kernel/core_pattern"] {
        let (ended, text) = told(&sh(&format!("echo x > {place}")));
        assert!(ended != Ended::Code(0) && text.contains("Read-only"), "{place}: {ended:?} {text}");
    }
    assert!(!Path::new(probe).exists());
    says(&sh("echo x > /dev/null; read -r line < <(echo /dev/fd works); [[ $line ]]"));
    let (ended, text) = told(&sh("mount -o remount,rw,bind / || umount /tmp"));
    assert_ne!(ended, Ended::Code(0), "{text}");
}

fn root_has_no_capabilities_that_count() {
    let script = "grep -E '^(CapEff|NoNewPrivs)' /proc/self/status";
    assert_eq!(says(&sh(script)), "CapEff:\t000000000000000b\nNoNewPrivs:\t1\n");
    assert_eq!(says(&sh(script).user(Some(&nobody()))), "CapEff:\t0000000000000000\nNoNewPrivs:\t1\n");
    assert_eq!(says(&sh("compgen -G '/dev/[sv]d*' || true")), "");
}

fn a_key_is_out_of_sight() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("my.key");
    fs::write(&key, "secret").unwrap();
    let look = sh(&format!("cat {}", key.display())).show(folder.path());
    assert_eq!(says(&look), "secret");
    let look = look.hide(&key).hide(folder.path().join(".").join("my.key"));
    assert_eq!(says(&look), "", "root reads nothing");
    let (ended, text) = told(&look.user(Some(&nobody())));
    assert!(ended != Ended::Code(0) && text.contains("Permission denied"), "{text}");
    assert_eq!(says(&sh("ls -A /dev/.[a-z]* 2>/dev/null || true")), "");
}

fn services_and_homes_are_out_of_sight() {
    assert_eq!(says(&sh("ls -A /root /home /run | grep -v ':$' | grep . || true")), "");
    let (ended, text) = told(&sh("echo x > /root/x"));
    assert!(ended != Ended::Code(0) && text.contains("Read-only"), "{text}");
}

fn a_fork_bomb_is_refused_and_leaves_nothing() {
    // Not bash, which would try again and again.
    let bomb = "i=0; while [ $i -lt 100000 ]; do sleep 777.5 & i=$((i+1)); done";
    let (ended, text) = told(&Confined::new("/", "dash", ["-c", bomb]).user(Some(&nobody())));
    assert_ne!(ended, Ended::Code(0));
    assert!(text.contains("fork"), "{text}");
    assert!(!runs("777.5"));
}

fn one_that_forks_takes_nothing_from_another() {
    // Not bash, which would try again and again.
    let dash = |script| Confined::new("/", "prlimit", ["--nproc=50", "dash", "-c", script]).user(Some(&nobody()));
    let many = dash("i=0; while [ $i -lt 40 ]; do sleep 777.6 & i=$((i+1)); done; echo all; wait").spawn().unwrap();
    let few =
        "i=0; while [ $i -lt 20 ]; do sleep 0 & i=$((i+1)); done; wait; ls -ld /etc/passwd /proc/self/ | cut -d' ' -f3";
    let mut said = None;
    let followed = many.follow(
        None,
        |error| error,
        |_, bytes| {
            assert_eq!(String::from_utf8_lossy(bytes), "all\n");
            said = Some(told(&dash(few)));
            Err(std::io::ErrorKind::Other.into())
        },
    );
    assert!(followed.is_err());
    assert_eq!(said, Some((Ended::Code(0), "root\nnobody\n".to_owned())));
}

fn no_file_grows_without_end_and_no_core_is_left() {
    let (ended, text) = told(&sh("truncate -s 1T /tmp/big 2>&1; ulimit -c"));
    assert_eq!(ended, Ended::Code(0));
    assert!(text.contains("big") && text.ends_with("\n0\n"), "{text}");
}

fn memory_is_refused_and_it_is_the_first_to_go() {
    let (ended, text) = told(&sh("cat /proc/self/oom_score_adj; ulimit -d"));
    assert_eq!(ended, Ended::Code(0));
    let mut numbers = text.lines();
    assert_eq!(numbers.next(), Some("500"));
    let kilobytes: u64 = numbers.next().unwrap().parse().unwrap();
    assert!(kilobytes >= 1 << 20);
}

fn tmp_is_its_own() {
    let ours = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    let theirs = format!("/tmp/dkmsd-sandbox-{}", std::process::id());
    says(&sh(&format!("[[ ! -e {} ]] && echo x > {theirs}", ours.path().display())).user(Some(&nobody())));
    assert!(!Path::new(&theirs).exists());
}

fn what_lies_below_dev_can_be_shown() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(folder.path().join("a"), "there").unwrap();
    let script = format!("cd {}; cat a; ! echo x 2>/dev/null > b", folder.path().display());
    assert_eq!(says(&sh(&script).show(folder.path())), "there");
}

fn dkms_conf_is_evaluated_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mark, theirs) = (format!("2000{}", std::process::id()), format!("/tmp/dkmsd-conf-{}", std::process::id()));
    let text = format!(
        "(setsid sleep {mark} >/dev/null 2>&1 &)\necho x > {theirs}\n\
         MAKE[0]=\"by-$UID-$(id -u) $(exec 3<>/dev/tcp/127.0.0.1/{port} && echo net) $(ls -A /home /run/ | wc -w)\"\n"
    );
    let kernel = KernelId::new("6.1", "x86_64").unwrap();
    let files = [ConfFile { path: "/usr/src/a-1/dkms.conf".into(), text: text.into_bytes() }];
    let values = Evaluator::new(&Layout::default())
        .evaluate(&EvalInput {
            files: &files,
            directives: &[],
            kernel: &kernel,
            module: None,
            module_version: None,
            kernel_source_dir: Path::new("/"),
            dkms_tree: Path::new("/"),
            source_tree: Path::new("/"),
            install_tree: Path::new("/"),
            parallel_jobs: 1,
        })
        .unwrap();
    let values = format!("{values:?}");
    assert!(values.contains("by-") && !values.contains("by-0") && !values.contains("net"), "{values}");
    assert!(!runs(&mark) && !Path::new(&theirs).exists());
}

struct Package {
    _root: tempfile::TempDir,
    layout: Layout,
    package: PackageId,
    source: PathBuf,
}

impl Package {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let layout = Layout::under(root.path());
        let source = root.path().join("usr/src/a-1");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("a.c"), "int a;\n").unwrap();
        Self { layout, package: PackageId::new("a", "1").unwrap(), source, _root: root }
    }

    fn workspace(&self) -> Workspace {
        Workspace::prepare(&self.layout, &self.package, &self.source, None, Some(&nobody())).unwrap()
    }

    fn sh(&self, workspace: &Workspace, script: &str) -> Confined {
        let (what, place) = workspace.bind().unwrap();
        Confined::new(workspace.classic(), "bash", ["-c", script])
            .user(Some(&nobody()))
            .show(self.layout.root())
            .bind(what, place)
    }
}

fn only_its_own_build_folder_is_there() {
    let package = Package::new();
    let (one, other) = (package.workspace(), package.workspace());
    says(&package.sh(&one, "echo mine >> a.c; mkdir sub; echo x > made"));
    assert!(one.folder().join("made").exists());
    assert!(!other.folder().join("made").exists());
    let others = other.folder().join("a.c");
    let (ended, text) = told(&package.sh(&one, &format!("cat {0} || echo x > {0}", others.display())));
    assert!(ended != Ended::Code(0) && text.contains("Permission denied"), "{text}");
    assert_eq!(fs::read_to_string(others).unwrap(), "int a;\n");
}

fn a_failed_builds_log_leads_nowhere() {
    let package = Package::new();
    let log = package.layout.root().join("log");
    fs::write(&log, "it failed").unwrap();
    let victim = package.layout.root().join("victim");
    for trap in [format!("ln -s {} make.log", victim.display()), "mkfifo make.log".into()] {
        let workspace = package.workspace();
        says(&package.sh(&workspace, &trap));
        let classic = workspace.classic().to_owned();
        workspace.keep_failed(&log).unwrap();
        assert!(!victim.exists());
        assert_eq!(fs::read_to_string(classic.join("make.log")).unwrap(), "it failed");
    }
}

fn of_two_failures_at_once_one_is_kept_whole() {
    let package = Package::new();
    for _ in 0..5 {
        let failed = ["one", "other"].map(|name| {
            let (log, workspace) = (package.layout.root().join(name), package.workspace());
            fs::write(&log, name).unwrap();
            says(&package.sh(&workspace, &format!("touch {name}-{{1..300}}")));
            (log, workspace)
        });
        std::thread::scope(|scope| {
            for (log, workspace) in failed {
                scope.spawn(move || workspace.keep_failed(&log).unwrap());
            }
        });
        let kept = package.layout.build_dir(&package.package);
        let kept_log = fs::read_to_string(kept.join("make.log")).unwrap();
        let files: Vec<_> = kept.read_dir().unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(files.iter().filter(|name| name.starts_with(&format!("{kept_log}-"))).count(), 300);
        assert_eq!(files.len(), 302, "files of both are there");
    }
}

/// A machine in small, with a real module that "make" copies; as zfs does, POST_BUILD writes beside it.
fn post_build_writes_the_result() {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-kernel/root");
    let Some(release) = fs::read_dir(kernels.join("lib/modules")).ok().and_then(|mut k| k.next()) else {
        eprintln!("SKIPPED: POST_BUILD in namespaces; cargo test --lib fetches the kernel's modules that it needs");
        return;
    };
    let release = release.unwrap().file_name().into_string().unwrap();
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    let write = |path: &str, text: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    };
    for file in ["Makefile", "include/generated/autoconf.h", "include/config/auto.conf", "Module.symvers"] {
        write(&format!("usr/src/headers/{file}"), b"");
    }
    for tool in ["scripts/basic/fixdep", "scripts/mod/modpost"] {
        write(&format!("usr/src/headers/{tool}"), &fs::read("/bin/true").unwrap());
    }
    write(&format!("lib/modules/{release}/modules.dep"), b"");
    std::os::unix::fs::symlink("/usr/src/headers", root.path().join(format!("lib/modules/{release}/build"))).unwrap();
    write("etc/os-release", b"ID=debian\n");
    write("etc/passwd", b"dkms:x:65534:65534::/:/bin/false\n");
    let module = format!("lib/modules/{release}/kernel/drivers/net/ethernet/realtek/r8169.ko");
    write("usr/src/a-1/prebuilt", &fs::read(kernels.join(module)).unwrap());
    write(
        "usr/src/a-1/dkms.conf",
        b"PACKAGE_NAME=a\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=r8169\nDEST_MODULE_LOCATION=/kernel/net\n\
          MAKE[0]=\"cp prebuilt r8169.ko\"\nPOST_BUILD=hook.sh\n",
    );
    let arch = String::from_utf8(Command::new("uname").arg("-m").output().unwrap().stdout).unwrap();
    let kernel = KernelId::new(&release, arch.trim()).unwrap();
    let engine = Engine::new(Settings::load(root.path()).unwrap(), Some(false)).unwrap();
    let package: PackageId = "a/1".parse().unwrap();
    let place = engine.layout().built_dir(&package, &kernel);
    let hook = format!(
        "#!/bin/sh\ncd {0} && echo $(id -u) >config.h && echo x >module/beside && ln -s /etc/shadow bad && \
         strip -g module/r8169.ko && ! echo x >../other",
        place.display()
    );
    write("usr/src/a-1/hook.sh", hook.as_bytes());
    let order = Order { reason: "a test".into(), ..Order::default() };
    let mut events: Vec<Event> = Vec::new();
    engine.build(&package, &kernel, &order, &mut events).unwrap();
    assert_eq!(fs::read_to_string(place.join("config.h")).unwrap(), "65534\n");
    assert!(fs::symlink_metadata(place.join("bad")).is_err() && place.join("module/r8169.ko").exists());
    for file in ["", "config.h", "module", "module/beside", "module/r8169.ko"] {
        assert_eq!(fs::metadata(place.join(file)).unwrap().uid(), 0, "{file}");
    }
    let manifest = Manifest::read(engine.layout(), &package, &kernel).unwrap().unwrap();
    let digest = Command::new("sha256sum").arg(place.join("module/r8169.ko")).output().unwrap().stdout;
    assert!(digest.starts_with(manifest.built.modules[0].sha256.as_bytes()), "the manifest is of what is there");
}

fn a_place_that_is_not_there_can_be_shown() {
    let package = Package::new();
    let (kernel, what) = (package.layout.root().join("kernel"), package.layout.root().join("result"));
    for folder in [&kernel, &what] {
        fs::create_dir(folder).unwrap();
    }
    std::os::unix::fs::chown(&what, Some(65534), Some(65534)).unwrap();
    let script = format!("echo x > {0}/arch/made && [[ $(ls -A {0}) == arch ]]", kernel.display());
    fs::write(kernel.join("other"), "").unwrap();
    says(
        &sh(&script).user(Some(&nobody())).show(package.layout.root()).hide(&kernel).bind(&what, &kernel.join("arch")),
    );
    assert!(what.join("made").exists() && !kernel.join("arch").exists());
}
