//! Several at once on one tree: two `dkms autoinstall`, the daemon, and eight packages.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(200);
const PACKAGES: [&str; 8] = ["eins", "zwei", "drei", "vier", "fuenf", "sechs", "sieben", "acht"];

/// Every build stops in front of its compiler, having said its package's name. Who collects those is there before, and
/// ends with the machine.
const GATE: &str = "mkdir /srv/slow-gate && cd /srv/slow-gate && mkfifo -m 666 started go
    exec 3<> started; : > /srv/built; setsid cat <&3 >> /srv/built 2> /dev/null < started &";
/// Waits for the first of them.
const FIRST: &str = "exec 3< <(exec tail -n +1 -f /srv/built); read -r -t 240 line <&3; code=$?; kill $!; exit $code";
/// All go on, those who wait and those who come.
const OPEN: &str = "exec 3<> /srv/slow-gate/go; setsid yes >&3 2> /dev/null < /dev/null &";

/// A `dkms autoinstall` in a machine.
struct Autoinstall {
    child: Child,
    /// What it says, line by line; closed when it has ended.
    said: Receiver<String>,
    /// Its process id there.
    pid: String,
}

impl Autoinstall {
    fn start(machine: &Machine, kernel: &str) -> Self {
        let mut command = machine.command(&format!("echo $$; exec dkms autoinstall -k {kernel} 2>&1"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, said) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        let pid = said.recv_timeout(LIMIT).unwrap();
        Self { child, said, pid }
    }

    /// Returns when it says that it waits for this process.
    fn waits_for(&self, pid: &str) {
        let wanted = format!("waiting for process {pid} (dkms autoinstall");
        // When it says so no more, this fails by its limit.
        while !self.said.recv_timeout(LIMIT).unwrap().contains(&wanted) {}
    }

    fn ends_well(mut self, machine: &Machine) {
        let said: Vec<String> = self.said.iter().collect();
        assert!(self.child.wait().unwrap().success(), "{said:#?}\n{}", machine.story());
    }
}

#[test]
fn two_autoinstalls_and_the_daemon_build_each_module_once() {
    let machine = Machine::with_dkmsd("together");
    machine.sh("systemctl stop dkmsd");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.sh(GATE);
    for package in PACKAGES {
        machine.drop_slow(package);
        machine.sh(&format!("dkms add {package}/1.0"));
    }

    // The first is at its builds, the second wants the same ones, and so does the daemon.
    let first = Autoinstall::start(&machine, &kernel);
    machine.sh(FIRST);
    let second = Autoinstall::start(&machine, &kernel);
    second.waits_for(&first.pid);
    machine.sh("systemctl start dkmsd");
    let waits = format!("waiting for process {} (", first.pid);
    machine.wait_for_status("a job for each, and one waits for what dkms is at", LIMIT, |rows| {
        let has_job = |package: &&str| {
            rows.iter().any(|row| row.package == **package && ["queued", "building"].contains(&row.state.as_str()))
        };
        PACKAGES.iter().all(has_job) && rows.iter().any(|row| row.reason.starts_with(&waits))
    });
    machine.sh("! ls /lib/modules/*/updates");
    machine.sh(OPEN);

    let status: Vec<String> = {
        let mut lines: Vec<_> = PACKAGES.iter().map(|p| format!("{p}/1.0, {kernel}, x86_64: installed")).collect();
        lines.sort();
        lines
    };
    for autoinstall in [first, second] {
        autoinstall.ends_well(&machine);
    }
    // Both have said that everything is done.
    assert_eq!(machine.sh("dkms status").lines().collect::<Vec<_>>(), status);
    machine.wait_installed(&kernel, &PACKAGES, LIMIT);
    machine.wait_until("no job is left", "dkmsctl jobs | grep -qx 'no jobs'", LIMIT);

    let built = machine.sh("sort /srv/built");
    let mut once = PACKAGES.to_vec();
    once.sort_unstable();
    assert_eq!(built.lines().collect::<Vec<_>>(), once, "each was built once\n{}", machine.story());
    for package in PACKAGES {
        assert_eq!(machine.installs(package), ["done"], "{package}: the daemon's jobs");
        let file = format!("/lib/modules/{kernel}/updates/dkms/{}.ko", package.replace('-', "_"));
        machine.sh(&format!("cmp {file} /var/lib/dkms/{package}/1.0/{kernel}/x86_64/module/{package}.ko"));
        let logs = machine.sh(&format!("find /var/lib/dkmsd/logs/{package} -name '*.log' | wc -l"));
        assert_eq!(logs, "1", "{package}: attempts");
    }
    // Nothing was left half done.
    machine.sh("! find /var/lib/dkms -name '.tmp_*' -o -path '*/1.0/build' | grep .");
    machine.rescan();
    machine.sh("dkmsctl jobs | { ! grep -E 'queued|running'; }");
}
