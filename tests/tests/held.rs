//! What an admin takes away by hand stays away until an admin says otherwise.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn uninstalled_by_hand_is_held_until_installed_by_hand() {
    let machine = Machine::with_dkmsd("held");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.wait_installed(&kernel, &["hello-dkmsd"], LIMIT);

    machine.sh(&format!("dkmsctl uninstall hello-dkmsd/1.0 -k {kernel}"));
    let gone = format!("! find /lib/modules/{kernel}/ -name 'hello_dkmsd.ko*' | grep .");
    machine.sh(&gone);

    machine.rescan();
    machine.sh("systemctl restart dkmsd");
    // Something else is built meanwhile, so the daemon has looked and acted.
    machine.drop_slow("slow-a");
    machine.wait_installed(&kernel, &["slow-a"], LIMIT);
    machine.rescan();
    machine.sh(&gone);
    assert_eq!(machine.property("NJobs"), 0);
    assert_eq!(machine.installs("hello-dkmsd"), ["done"], "the one before it was taken away");
    let row = machine.row("hello-dkmsd", &kernel);
    assert_eq!(row.state, "held", "{row:?}");
    let shown = machine.sh("dkmsctl status hello-dkmsd");
    assert!(shown.contains("held"), "{shown}");
    machine.sh(&format!("dkmsctl check -k {kernel}"));

    machine.sh(&format!("dkmsctl install hello-dkmsd/1.0 -k {kernel}"));
    assert_eq!(machine.row("hello-dkmsd", &kernel).state, "installed");
    machine.rescan();
    assert_eq!(machine.row("hello-dkmsd", &kernel).state, "installed");
    assert_eq!(machine.installs("hello-dkmsd"), ["done", "done"]);
}
