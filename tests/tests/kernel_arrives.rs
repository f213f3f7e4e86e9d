//! The main job: a kernel arrives, and without any command every package is built for it and installed.

use std::time::Duration;

use dkmsd_tests::{Finished, Machine};
use serde_json::Value;

/// Debian package, PACKAGE_NAME, and the modules it is to bring.
const DRIVERS: [(&str, &str, &[&str]); 5] = [
    ("acpi-call-dkms", "acpi-call", &["acpi_call"]),
    ("bbswitch-dkms", "bbswitch", &["bbswitch"]),
    ("tp-smapi-dkms", "tp_smapi", &["hdaps", "thinkpad_ec", "tp_smapi"]),
    ("lime-forensics-dkms", "lime-forensics", &["lime"]),
    ("v4l2loopback-dkms", "v4l2loopback", &["v4l2loopback"]),
];
const LIMIT: Duration = Duration::from_secs(600);

/// Name and digest of every module below the folder of added modules.
fn modules(machine: &Machine, kernel: &str) -> String {
    machine.sh(&format!("cd /lib/modules/{kernel}/updates/dkms && sha256sum * | sort -k 2"))
}

/// One entry tells of the install that is done, and each of its fields says what the bus says.
fn the_journal_has_every_field(machine: &Machine, package: &str, kernel: &str) {
    let told = machine.sh(&format!(
        "journalctl -u dkmsd -o json --no-pager DKMS_PACKAGE={package} DKMS_KERNEL={kernel} DKMS_RESULT=done"
    ));
    let entries: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let history = machine.history(0);
    let is_its_install = |job: &&Finished| job.operation == "install" && job.package == package && job.kernel == kernel;
    let jobs: Vec<&Finished> = history.iter().filter(is_its_install).collect();
    assert_eq!((entries.len(), jobs.len()), (1, 1), "one install, one entry: {told}\n{jobs:#?}");
    let (entry, job) = (&entries[0], jobs[0]);
    for (field, value) in [
        ("DKMS_PACKAGE", package),
        ("DKMS_VERSION", &machine.row(package, kernel).version),
        ("DKMS_KERNEL", kernel),
        ("DKMS_ARCH", "x86_64"),
        ("DKMS_JOB", &job.job.to_string()),
        ("DKMS_RESULT", "done"),
        ("SYSLOG_IDENTIFIER", "dkmsd"),
    ] {
        assert_eq!(entry[field], value, "{field} of {entry:#}");
    }
    assert!(entry["MESSAGE"].as_str().is_some_and(|text| text.contains(package) && text.contains(kernel)), "{entry:#}");
}

#[test]
fn every_package_is_built_for_every_kernel_that_comes_and_goes_with_it() {
    let machine = Machine::with_dkmsd("arrives");
    let offered = machine.offered_kernels("6.1", "amd64");
    let [kernel, other, ..] = offered.as_slice() else { panic!("two kernels are needed: {offered:?}") };
    let packages: Vec<_> = DRIVERS.iter().map(|(_, package, _)| *package).collect();

    // lime-forensics has no AUTOINSTALL of its own: an admin turns it on the classic way.
    machine.sh("echo AUTOINSTALL=yes > /etc/dkms/lime-forensics.conf");
    machine.apt_install(&[&format!("linux-image-{kernel}"), &format!("linux-headers-{kernel}")]);
    let debs: Vec<_> = DRIVERS.iter().map(|(deb, _, _)| *deb).collect();
    machine.sh(&format!(
        "cd /var/tmp && apt-get download -q {} && for deb in *.deb; do dpkg -x $deb /; done",
        debs.join(" ")
    ));

    machine.wait_installed(kernel, &packages, LIMIT);
    for module in DRIVERS.iter().flat_map(|(_, _, modules)| *modules) {
        machine.sh(&format!("ls /lib/modules/{kernel}/updates/dkms/{module}.ko*"));
        let found = machine.sh(&format!("modinfo -k {kernel} -F filename {module}"));
        assert!(found.contains("/updates/dkms/"), "{module}: {found}");
        let vermagic = machine.sh(&format!("modinfo -k {kernel} -F vermagic {module}"));
        assert!(vermagic.starts_with(&format!("{kernel} ")), "{module}: {vermagic}");
    }
    machine.sh(&format!("dkmsctl check -k {kernel}"));
    let ready = machine.sh(&format!("busctl call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager CheckKernel s {kernel}"));
    assert_eq!(ready, "ba(ssss) true 0");
    for package in &packages {
        assert_eq!(machine.row(package, kernel).state, "installed");
        the_journal_has_every_field(&machine, package, kernel);
    }

    // Headers alone make a kernel that is built for.
    let before = modules(&machine, kernel);
    machine.apt_install(&[&format!("linux-headers-{other}")]);
    machine.wait_installed(other, &packages, LIMIT);
    assert_eq!(modules(&machine, other).lines().count(), before.lines().count());
    assert_eq!(modules(&machine, kernel), before, "a kernel that was done is left alone");

    machine.sh(&format!("apt-get purge -qy linux-headers-{other}"));
    machine.wait_until(
        "the kernel that was purged is gone, and everything built for it",
        &format!(
            "test -z \"$(ls -d /lib/modules/{other} /var/lib/dkms/*/kernel-{other}-* /var/lib/dkms/*/*/{other} 2> /dev/null)\""
        ),
        LIMIT,
    );
    assert_eq!(modules(&machine, kernel), before, "the other kernel's modules stay");
    machine.sh(&format!("dkmsctl check -k {kernel}"));
    assert!(machine.status().iter().all(|row| row.kernel != *other), "{:#?}", machine.status());
}
