//! A package that does not compile.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);
const ERROR: &str = "this_function_is_in_no_kernel";

#[test]
fn others_are_installed_the_error_is_everywhere_and_only_a_change_tries_again() {
    let machine = Machine::with_dkmsd("broken");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("broken-dkmsd-1.0");
    machine.drop_fixture("hello-dkmsd-1.0");

    machine.wait_installed(&kernel, &["hello-dkmsd"], LIMIT);
    machine.wait_for_status("the failure is recorded", LIMIT, |rows| {
        rows.iter().any(|row| row.package == "broken-dkmsd" && row.state == "failed")
    });
    let row = machine.row("broken-dkmsd", &kernel);
    assert!(row.first_error.contains(ERROR), "{row:?}");
    let log = machine.sh(&format!("cat {}", row.log));
    assert!(log.contains(ERROR), "{log}");
    let status = machine.sh("dkmsctl status broken-dkmsd");
    assert!(status.contains("failed") && status.contains(ERROR), "{status}");
    let journal = machine.sh("journalctl -u dkmsd DKMS_PACKAGE=broken-dkmsd -o cat --no-pager");
    assert!(journal.contains(ERROR), "{journal}");
    let check = machine.try_sh(&format!("dkmsctl check -k {kernel}"));
    assert_eq!(check.code, 1, "{check:?}");
    assert!(format!("{}{}", check.stdout, check.stderr).contains("broken-dkmsd"), "{check:?}");

    // Neither a look, nor a restart, nor another package's arrival is a reason to try again.
    assert_eq!(machine.installs("broken-dkmsd"), ["failed"]);
    machine.rescan();
    machine.sh("systemctl restart dkmsd");
    machine.drop_slow("slow-a");
    machine.wait_installed(&kernel, &["slow-a"], LIMIT);
    machine.rescan();
    assert_eq!(machine.property("NJobs"), 0);
    assert_eq!(machine.installs("broken-dkmsd"), ["failed"]);

    machine.sh("sed -i 's/this_function_is_in_no_kernel()/0/' /usr/src/broken-dkmsd-1.0/broken_dkmsd.c");
    machine.wait_for_status("repaired, so installed", LIMIT, |rows| {
        rows.iter().any(|row| row.package == "broken-dkmsd" && row.state == "installed")
    });
    machine.sh(&format!("dkmsctl check -k {kernel}"));
    assert_eq!(machine.installs("broken-dkmsd"), ["failed", "done"]);
}
