//! BUILD_DEPENDS: what another package needs is built and installed first.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn a_dependency_is_there_before_what_needs_it() {
    let machine = Machine::with_dkmsd("depends");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.drop_fixture("deps-above-1.0");
    machine.drop_fixture("deps-below-1.0");
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.wait_installed(&kernel, &["deps-above", "deps-below"], LIMIT);
    let needs = machine.sh(&format!("modinfo -F depends /lib/modules/{kernel}/updates/dkms/deps_above.ko*"));
    assert_eq!(needs, "deps_below");
}
