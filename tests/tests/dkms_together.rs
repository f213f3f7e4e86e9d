//! Several at once on one tree: two `dkms autoinstall`, the daemon, and eight packages.

use std::process::Stdio;
use std::time::Duration;

use dkmsd_tests::{Answer, Machine};

const LIMIT: Duration = Duration::from_secs(300);
const PACKAGES: [&str; 8] = ["eins", "zwei", "drei", "vier", "fuenf", "sechs", "sieben", "acht"];

#[test]
fn two_autoinstalls_and_the_daemon_build_each_module_once() {
    let machine = Machine::with_dkmsd("together");
    machine.sh("systemctl stop dkmsd");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    // Whoever builds says its package's name here; the reader is there before, and ends with the machine.
    machine.sh("mkdir /srv/slow-gate && cd /srv/slow-gate && mkfifo -m 666 started
         exec 3<> started; setsid cat <&3 > /srv/built 2> /dev/null < started &");
    for package in PACKAGES {
        machine.drop_slow(package);
        machine.sh(&format!("dkms add {package}/1.0"));
    }

    let autoinstall = || {
        let mut command = machine.command(&format!("dkms autoinstall -k {kernel}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("machine.sh runs")
    };
    let both = [autoinstall(), autoinstall()];
    machine.sh("systemctl start dkmsd");
    let status: Vec<String> = {
        let mut lines: Vec<_> = PACKAGES.iter().map(|p| format!("{p}/1.0, {kernel}, x86_64: installed")).collect();
        lines.sort();
        lines
    };
    for child in both {
        let answer = Answer::from(child.wait_with_output().expect("it ends"));
        assert_eq!(answer.code, 0, "{answer:?}\n{}", machine.story());
    }
    // Both have said that everything is done.
    assert_eq!(machine.sh("dkms status").lines().collect::<Vec<_>>(), status);
    machine.wait_installed(&kernel, &PACKAGES, LIMIT);

    let built = machine.sh("sort /srv/built");
    let mut once = PACKAGES.to_vec();
    once.sort_unstable();
    assert_eq!(built.lines().collect::<Vec<_>>(), once, "each was built once\n{}", machine.story());
    for package in PACKAGES {
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
