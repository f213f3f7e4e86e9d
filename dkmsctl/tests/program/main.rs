//! The program against a real D-Bus service, over the private socket and over a bus: what it prints and ends with.

#![expect(clippy::unwrap_used, reason = "these are tests; clippy knows only functions that carry the attribute")]

mod service;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use dkms_core::bus::names::{BUS_NAME, MANAGER_PATH};
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use service::{KERNEL, Manager};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use zbus::connection::Builder;
use zbus::{Connection, Guid};

/// Longer than any machine needs; a program that waits for ever fails its test instead of the run.
const PATIENCE: Duration = Duration::from_secs(40);

fn dkmsctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dkmsctl"));
    command.stdin(Stdio::null()).kill_on_drop(true).env_remove("DBUS_SYSTEM_BUS_ADDRESS").env("TZ", "UTC");
    command
}

async fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A service on the private socket below a root of its own.
struct Private {
    root: TempDir,
    manager: Manager,
}

impl Private {
    fn start(manager: Manager) -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket(root.path())).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let served = manager.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let manager = served.clone();
                let stream = stream.into_std().unwrap();
                tokio::spawn(async move {
                    let die = manager.die.clone();
                    let connection = Builder::unix_stream(stream)
                        .server(Guid::generate())
                        .p2p()
                        .serve_at(MANAGER_PATH, manager)
                        .build()
                        .await
                        .unwrap();
                    tokio::select! {
                        () = connection.closed() => {}
                        () = die.notified() => connection.close().await.unwrap(),
                    }
                });
            }
        });
        Self { root, manager }
    }

    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(dkmsctl().arg("--root").arg(self.root.path()).args(args)).await
    }
}

fn socket(root: &Path) -> PathBuf {
    let folder = root.join("run/dkmsd");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("private")
}

/// A bus of our own.
struct Bus {
    _daemon: Child,
    _folder: TempDir,
    address: String,
}

impl Bus {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("bus.conf");
        let text = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={}/socket</listen>
  <policy context="default">
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <deny send_destination="org.dkmsd1" send_interface="org.dkmsd1.Manager" send_member="Unbuild"/>
  </policy>
</busconfig>"#,
            folder.path().display()
        );
        std::fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(daemon.stdout.take().unwrap());
        let address = stdout.lines().next_line().await.unwrap().unwrap();
        Self { _daemon: daemon, _folder: folder, address }
    }

    async fn serve(&self, manager: Manager) -> Connection {
        Builder::address(self.address.as_str()).serve_at(MANAGER_PATH, manager).name(BUS_NAME).build().await.unwrap()
    }

    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(dkmsctl().env("DBUS_SYSTEM_BUS_ADDRESS", &self.address).arg("--system-bus").args(args)).await
    }
}

#[rstest]
#[case::nothing_there(false)]
#[case::a_socket_nobody_answers(true)]
#[tokio::test]
async fn no_daemon_is_one_clear_line_and_3(#[case] dead_socket: bool) {
    let root = tempfile::tempdir().unwrap();
    if dead_socket {
        drop(UnixListener::bind(socket(root.path())).unwrap());
    }
    let (code, stdout, stderr) = run(dkmsctl().arg("--root").arg(root.path()).arg("status")).await;
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("dkmsd is not running") && stderr.contains("start it with: "), "{stderr}");
}

#[tokio::test]
async fn no_bus_and_nobody_on_the_bus_are_3() {
    let nowhere = tempfile::tempdir().unwrap();
    let address = format!("unix:path={}/socket", nowhere.path().display());
    let (code, _, stderr) =
        run(dkmsctl().env("DBUS_SYSTEM_BUS_ADDRESS", address).args(["--system-bus", "check"])).await;
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("there is no system bus"), "{stderr}");

    let (code, _, stderr) = Bus::start().await.run(&["check"]).await;
    assert_eq!(code, 3, "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[tokio::test]
async fn status_in_both_forms() {
    let private = Private::start(Manager::default());
    let (code, stdout, stderr) = private.run(&["status", "bad"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("bad      1.0") && stdout.contains("error: unknown type name"), "{stdout}");
    assert!(!stdout.contains("good") && !stdout.contains('\x1b'), "{stdout}");

    let (code, stdout, _) = private.run(&["status", "--json"]).await;
    let parsed: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &parsed["format"], parsed["packages"].as_array().unwrap().len()), (0, &1.into(), 7));

    let empty = Private::start(Manager { empty: true, ..Manager::default() });
    let (code, stdout, _) = empty.run(&[]).await;
    assert_eq!(code, 0);
    assert!(stdout.starts_with("no packages yet"), "{stdout}");
}

#[tokio::test]
async fn a_reader_that_went_away_is_no_panic() {
    let private = Private::start(Manager::default());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = dkmsctl()
        .arg("--root")
        .arg(private.root.path())
        .args(["check", "-k", KERNEL])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), b"".as_slice()));
}

#[rstest]
#[case::done(&["install", "good"], 0, "installed    good/1.0 on 6.1.0-56-amd64", "")]
#[case::failed(&["install", "bad"], 1, "bad.c:3:1: error: unknown type name", "")]
#[case::log_path(&["install", "bad/1.0"], 1, "log: /var/lib/dkmsd/logs/bad/1.0/make.log", "")]
#[case::what_next(&["install", "bad"], 1, "To try now: dkmsctl rebuild bad/1.0 -k 6.1.0-56-amd64", "")]
#[case::skipped(&["install", "odd"], 1, "skipped      odd/1.0", "")]
#[case::skipped_and_why(&["install", "odd"], 1, "BUILD_EXCLUSIVE_KERNEL is ^5", "")]
#[case::so_already(&["install", "there"], 0, "unchanged    there/1.0", "")]
#[case::so_already_and_what(&["install", "there"], 0, "there/1.0 is installed for 6.1.0-56-amd64 already", "")]
#[case::not_removed(&["remove", "stuck/1.0"], 1, "cannot remove /usr/lib/modules/x/stuck.ko: Read-only file system", "")]
#[case::added(&["add", "good/1.0"], 0, "added good/1.0", "")]
#[case::added_already(&["add", "there/1.0"], 0, "there/1.0 was added already", "")]
#[case::refused(&["install", "locked"], 4, "", "not authorised: org.dkmsd1.install is for administrators")]
#[case::unknown(&["install", "goood"], 1, "", "no package goood; did you mean good; see dkmsctl status")]
#[case::let_the_daemon_look(&["install", "odder/2"], 1, "", "no package odder; did you mean odd; see")]
#[case::unknown_kernel(&["install", "good", "-k", "6.12.2-amd64"], 1, "", "did you mean 6.12.1-amd64")]
#[case::no_wait(&["install", "good", "--no-wait"], 0, "queued as job 1", "")]
#[case::version_needed(&["remove", "good"], 2, "", "dkmsctl remove good/1.0")]
#[case::fit(&["check", "-k", "6.12.1-amd64"], 0, "ready: 6.12.1-amd64", "")]
#[case::not_fit(&["check"], 1, "bad/1.0: failed, bad.c:3:1: error", "")]
#[case::no_such_kernel(&["check", "-k", "5.4"], 1, "", "no kernel 5.4")]
#[case::no_such_job(&["cancel", "3"], 1, "", "no job 3")]
#[case::nonsense(&["frobnicate"], 2, "", "frobnicate")]
#[tokio::test]
async fn every_way_out(#[case] args: &[&str], #[case] code: i32, #[case] says: &str, #[case] complains: &str) {
    let private = Private::start(Manager::default());
    let (got, stdout, stderr) = private.run(args).await;
    assert_eq!(got, code, "{stdout}{stderr}");
    assert!(stdout.contains(says), "{stdout}");
    assert!(stderr.contains(complains) && stderr.is_empty() == complains.is_empty(), "{stderr}");
}

/// The log of a successful build, which the status has, is not the log of a removal that failed.
#[tokio::test]
async fn a_job_that_built_nothing_names_no_log() {
    let private = Private::start(Manager::default());
    let (_, stdout, _) = private.run(&["remove", "stuck/1.0"]).await;
    assert!(!stdout.contains("log:"), "{stdout}");
}

#[tokio::test]
async fn what_was_typed_arrives() {
    let private = Private::start(Manager::default());
    private.run(&["install", "good", "--force"]).await;
    private.run(&["install", "good/1.0", "-k", "6.12.1-amd64"]).await;
    private.run(&["rebuild", "good"]).await;
    private.run(&["rebuild", "--all-kernels"]).await;
    assert_eq!(
        private.manager.asked(),
        [
            "install good/1.0 6.1.0-56-amd64/x86_64 force=true",
            "install good/1.0 6.12.1-amd64/x86_64 force=false",
            "rebuild good/1.0 6.1.0-56-amd64",
            "rebuild / ",
        ]
    );
}

#[tokio::test]
async fn several_jobs_are_followed_in_plain_lines() {
    let private = Private::start(Manager::default());
    let (code, stdout, stderr) = private.run(&["rebuild"]).await;
    assert_eq!((code, stderr.as_str()), (1, ""), "{stdout}");
    assert!(stdout.starts_with("rebuilding every package with AUTOINSTALL for kernel 6.1.0-56-amd64\n"), "{stdout}");
    assert!(stdout.contains("building     good/1.0 on 6.1.0-56-amd64\n"), "{stdout}");
    assert!(stdout.ends_with("2 done, 1 unchanged, 1 skipped, 2 failed\n"), "{stdout}");
}

#[tokio::test]
async fn a_terminal_gets_lines_that_are_drawn_over() {
    let private = Private::start(Manager::default());
    let on_a_terminal = |extra: &str| {
        let line = format!(
            "stty cols 30; {extra} {} --root {} --no-ask-password rebuild bad",
            env!("CARGO_BIN_EXE_dkmsctl"),
            private.root.path().display()
        );
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR").stdin(Stdio::null());
        script
    };
    let (code, stdout, _) = run(&mut on_a_terminal("")).await;
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("waiting      bad/1.0 on 6.1.0…\r\n"), "{stdout:?}");
    assert!(stdout.contains("\x1b[1A\r\x1b[J"), "{stdout:?}");
    assert!(stdout.contains("\x1b[1;31mfailed     \x1b[0m  bad/1.0 on 6.1.0-56-amd64"), "{stdout:?}");

    let (_, stdout, _) = run(&mut on_a_terminal("NO_COLOR=1")).await;
    assert!(stdout.contains("failed       bad/1.0") && !stdout.contains("[1;31m"), "{stdout:?}");
}

#[rstest]
#[case(&["logs", "7", "-f"], "the first line\nthe last line\n")]
#[tokio::test]
async fn logs_come_by_descriptor(#[case] args: &[&str], #[case] wanted: &str) {
    let (code, stdout, stderr) = Private::start(Manager::default()).run(args).await;
    assert_eq!((code, stdout.as_str()), (0, wanted), "{stderr}");
}

#[tokio::test]
async fn the_same_over_the_bus() {
    let bus = Bus::start().await;
    let manager = Manager::default();
    let (die, gone) = (manager.die.clone(), manager.die.clone());
    let connection = bus.serve(manager).await;
    let (code, stdout, stderr) = bus.run(&["install", "good"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("installed    good/1.0"), "{stdout}");

    // The bus itself says no to this one.
    let (code, _, stderr) = bus.run(&["unbuild", "good"]).await;
    assert_eq!(code, 4, "{stderr}");

    tokio::spawn(async move {
        die.notified().await;
        connection.close().await.unwrap();
    });
    let mut command = dkmsctl();
    command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address).arg("--system-bus");
    dies_while_waiting(&mut command, &gone).await;
}

#[tokio::test]
async fn interrupting_the_wait_leaves_the_jobs_alone() {
    let private = Private::start(Manager::default());
    let mut child = dkmsctl()
        .arg("--root")
        .arg(private.root.path())
        .args(["rebuild", "fatal"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().unwrap().starts_with("waiting      fatal/1.0") {}
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let last = lines.next_line().await.unwrap().unwrap();
    assert_eq!(last, "not waiting any longer: job 10 goes on; see dkmsctl jobs, dkmsctl cancel");
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
}

#[tokio::test]
async fn monitor_tells_until_the_daemon_goes() {
    let private = Private::start(Manager::default());
    let mut child = dkmsctl()
        .arg("--root")
        .arg(private.root.path())
        .arg("monitor")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().unwrap().ends_with("  dkmsd is idle"));
    private.manager.die.notify_one();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn a_daemon_that_dies_is_noticed() {
    let private = Private::start(Manager::default());
    let mut command = dkmsctl();
    command.arg("--root").arg(private.root.path());
    dies_while_waiting(&mut command, &private.manager.die).await;
}

/// Ends the service when the program has shown that it waits.
async fn dies_while_waiting(command: &mut Command, die: &Notify) {
    let mut child = command.args(["rebuild", "fatal"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().unwrap().starts_with("waiting      fatal/1.0") {}
    die.notify_one();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("dkmsd went away; a job was not finished"), "{stderr}");
}

/// The service has no property SecureBoot, as a daemon of an earlier version.
#[tokio::test]
async fn status_tells_of_a_lockdown() {
    for (locked_down, footer, json) in [
        (true, "\nlockdown is integrity; more: dkmsctl mok status\n", "\"lockdown\":\"integrity\""),
        (false, "", "\"lockdown\":\"none\""),
    ] {
        let private = Private::start(Manager { locked_down, ..Manager::default() });
        let status = |args: &'static [&'static str]| {
            let mut command = dkmsctl();
            command.arg("--root").arg(private.root.path()).arg("status").args(args);
            async move { run(&mut command).await }
        };
        let (code, out, err) = status(&[]).await;
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.ends_with(footer) && out.contains("lockdown") == locked_down, "{out}");
        let (_, out, _) = status(&["--json"]).await;
        assert!(out.contains(json) && out.contains("\"secure_boot\":null"), "{out}");
    }
}

/// No daemon is asked: what signs modules is a matter of root, firmware and kernel.
#[tokio::test]
async fn mok_ends_with_the_next_command() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    std::fs::write(root.path().join("etc/os-release"), "ID=debian\n").unwrap();
    let mok = |args: &'static [&'static str]| {
        let mut command = dkmsctl();
        command.arg("--root").arg(root.path()).arg("mok").args(args);
        async move { run(&mut command).await }
    };
    let (code, out, err) = mok(&[]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("not started with UEFI") && out.ends_with("Next: dkmsctl mok generate\n"), "{out}");
    let (code, _, err) = mok(&["enroll"]).await;
    assert!(code == 2 && err.contains("--root"), "{err}");

    let root_user = rustix::process::geteuid().is_root();
    let (code, out, err) = mok(&["generate"]).await;
    if !root_user {
        assert!(code == 4 && err.contains("sudo dkmsctl mok generate"), "{err}");
        return;
    }
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("made: ") && out.ends_with("Next: dkmsctl status\n"), "{out}");
    let key = std::fs::metadata(root.path().join("var/lib/dkms/mok.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);

    // Firmware with Secure Boot, which does not know the certificate.
    let variables = root.path().join("sys/firmware/efi/efivars");
    std::fs::create_dir_all(&variables).unwrap();
    std::fs::write(variables.join("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"), [6, 0, 0, 0, 1]).unwrap();
    let (_, out, _) = mok(&["status"]).await;
    assert!(out.contains("Secure Boot on") && out.ends_with("Next: dkmsctl mok enroll\n"), "{out}");
    let (_, out, _) = mok(&["--json"]).await;
    assert!(out.contains("\"secure_boot\": true") || out.contains("\"secure_boot\":true"), "{out}");

    // The same certificate in PEM, and something that is none.
    let file = root.path().join("var/lib/dkms/mok.pub");
    let pem = root.path().join("mok.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-inform", "DER", "-in"]).arg(&file).arg("-out").arg(&pem);
    assert!(openssl.status().await.unwrap().success());
    std::fs::rename(&pem, &file).unwrap();
    let (_, out, _) = mok(&["status"]).await;
    assert!(out.contains("mok.pub (not enrolled)") && out.ends_with("Next: dkmsctl mok enroll\n"), "{out}");
    std::fs::write(&file, "no certificate").unwrap();
    let (_, out, _) = mok(&["status"]).await;
    assert!(out.contains("no certificate in DER or PEM") && out.ends_with("Then: dkmsctl mok generate\n"), "{out}");
}
