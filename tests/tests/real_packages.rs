//! Debian's drivers that no other scenario builds, each in the sandbox, for a real kernel's headers. None of them needs a
//! setting.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(900);

/// Debian package, PACKAGE_NAME, one of its modules, and how many there are.
const DRIVERS: [(&str, &str, &str, usize); 6] = [
    ("digimend-dkms", "digimend", "hid-uclogic", 4),
    ("dpdk-kmods-dkms", "dpdk-kmods", "igb_uio", 1),
    ("evdi-dkms", "evdi", "evdi", 1),
    ("jool-dkms", "jool-dkms", "jool", 3),
    ("langford-dkms", "langford", "langford", 1),
    ("xtables-addons-dkms", "xtables-addons", "xt_ECHO", 23),
];

#[test]
fn every_driver_builds_in_the_sandbox() {
    let machine = Machine::with_dkmsd("drivers");
    machine.stand_in_for_dkms("3.4.3");
    let kernel = machine.offered_kernels("6.1", "amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    let debs: Vec<_> = DRIVERS.iter().map(|(deb, ..)| *deb).collect();
    machine.apt_install(&debs);
    machine.rescan();
    machine.wait_installed(&kernel, &DRIVERS.map(|(_, package, ..)| package), LIMIT);

    for (_, package, module, count) in DRIVERS {
        let there = format!("ls /var/lib/dkms/{package}/kernel-{kernel}-x86_64/module");
        let modules = machine.sh(&format!("{there} | grep '\\.ko'"));
        assert_eq!(modules.lines().count(), count, "{package}: {modules}");
        let vermagic = machine.sh(&format!("modinfo -F vermagic /lib/modules/{kernel}/updates/dkms/{module}.ko*"));
        assert!(vermagic.starts_with(&format!("{kernel} ")), "{package}: {vermagic}");
        // Made by the user who builds, with nothing denied on the way.
        let log = machine.sh(&format!("cat /var/lib/dkms/{package}/kernel-{kernel}-x86_64/log/make.log"));
        for word in ["Read-only file system", "Permission denied", "Network is unreachable", "left behind"] {
            assert!(!log.contains(word), "{package}: {word}: {log}");
        }
    }
    let unconfined = machine.sh("busctl get-property org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager Unconfined");
    assert_eq!(unconfined, "s \"\"");

    // This one does not build for this kernel, sandbox or not, and says the same either way.
    machine
        .sh("cd /var/tmp && apt-get download -q openrazer-driver-dkms && dpkg -x openrazer-driver-dkms*.deb razer &&
        cp -r razer/usr/src/* /usr/src/");
    let first = || {
        machine.rescan();
        machine.wait_for_status("it has failed", LIMIT, |rows| {
            rows.iter().any(|row| row.package == "openrazer-driver" && row.state == "failed")
        });
        machine.row("openrazer-driver", &kernel).first_error
    };
    let confined = first();
    assert!(confined.contains("error: "), "{confined}");
    machine.sh("printf '[package.openrazer-driver]\\nuser = \"root\"\\nnetwork = true\\n' > /etc/dkms/dkmsd.toml
        systemctl reload dkmsd");
    assert_ne!(machine.try_sh(&format!("dkmsctl rebuild openrazer-driver -k {kernel}")).code, 0);
    assert_eq!(first(), confined);
}
