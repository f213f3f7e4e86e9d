//! Where a sandbox cannot be had, a build goes its way as the user `dkms`, or as root where there is no such user, and
//! `dkmsctl status` says so.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);
const SAID: &str = "builds are not kept apart from the system: they run";

#[test]
fn a_missing_sandbox_is_told_and_stops_nothing() {
    let machine = Machine::with_dkmsd("unconfined");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.sh("echo 'PRE_BUILD=who.sh' >> /usr/src/hello-dkmsd-1.0/dkms.conf && cd /usr/src/hello-dkmsd-1.0 &&
        printf '#!/bin/sh\\nid -un; readlink /proc/self/ns/net' > who.sh && chmod +x who.sh");
    let ours = machine.sh("readlink /proc/self/ns/net");
    let built = || {
        machine.wait_installed(&kernel, &["hello-dkmsd"], LIMIT);
        machine.sh(&format!("dkmsctl rebuild hello-dkmsd/1.0 -k {kernel}"));
        let log = machine.sh(&format!("cat {}", machine.row("hello-dkmsd", &kernel).log));
        (log, machine.sh("dkmsctl status"))
    };
    let (log, status) = built();
    assert!(log.contains("\ndkms\nnet:") && !log.contains(&ours), "{log}");
    assert!(!status.contains(SAID), "{status}");

    machine.sh("mkdir -p /etc/systemd/system/dkmsd.service.d && systemctl stop dkmsd
        printf '[Service]\\nRestrictNamespaces=yes\\n' > /etc/systemd/system/dkmsd.service.d/refused.conf
        systemctl daemon-reload && systemctl start dkmsd");
    let (log, status) = built();
    assert!(log.contains(&format!("\ndkms\n{ours}")), "{log}");
    assert!(status.contains(&format!("{SAID} as the user dkms, without namespaces of their own: ")), "{status}");
    assert!(status.contains("Operation not permitted"), "{status}");

    machine.sh("systemctl stop dkmsd; userdel dkms; systemctl start dkmsd");
    let (log, status) = built();
    assert!(log.contains(&format!("\nroot\n{ours}")), "{log}");
    assert!(status.contains(&format!("{SAID} as root")), "{status}");

    // Namespaces without the user.
    machine.sh("rm -r /etc/systemd/system/dkmsd.service.d; systemctl daemon-reload; systemctl restart dkmsd");
    let (log, status) = built();
    assert!(log.contains("\nroot\nnet:") && !log.contains(&ours), "{log}");
    assert!(status.contains(&format!("{SAID} as root")), "{status}");
}
