//! The example this project comes from: a patched r8169 in place of the kernel's own, until kernels no longer need it.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn a_patched_driver_replaces_the_kernels_own_and_sleeps_where_it_is_obsolete() {
    let machine = Machine::with_dkmsd("r8169");
    let old = machine.offered_kernels("6.1", "amd64").remove(0);
    let new = machine.offered_kernels("6.12", "cloud-amd64").remove(0);
    machine.apt_install(&[
        &format!("linux-image-{old}"),
        &format!("linux-headers-{old}"),
        &format!("linux-headers-{new}"),
    ]);
    let own = machine.sh(&format!("modinfo -k {old} -F filename r8169"));
    assert!(own.contains("/kernel/drivers/net/ethernet/realtek/"), "{own}");
    let own_digest = machine.sh(&format!("sha256sum < {own}"));

    machine.drop_fixture("r8169-2.2LK");
    machine.wait_installed(&old, &["r8169"], LIMIT);
    let installed = machine.sh(&format!("modinfo -k {old} -F filename r8169"));
    assert!(installed.contains("/updates/dkms/"), "{installed}");
    assert_eq!(machine.sh(&format!("modinfo -k {old} -F version r8169")), "2.2LK");
    let kept =
        machine.sh(&format!("find /var/lib/dkms/r8169/original_module/{old} -name 'r8169.ko*' ! -name '*.origin'"));
    assert_eq!(machine.sh(&format!("sha256sum < {kept}")), own_digest);
    machine.sh(&format!("test ! -e {own}"));

    machine.wait_for_status("dormant where it is obsolete", LIMIT, |rows| {
        rows.iter().any(|row| row.package == "r8169" && row.kernel == new && row.state == "dormant")
    });
    let reason = machine.row("r8169", &new).reason;
    assert!(reason.contains("OBSOLETE_BY") && reason.contains("6.12"), "{reason}");
    let shown = machine.sh(&format!("dkmsctl status r8169 -k {new}"));
    assert!(shown.contains("dormant") && shown.contains("OBSOLETE_BY"), "{shown}");
    machine.sh(&format!("dkmsctl check -k {new}"));
    machine.sh(&format!("! find /lib/modules/{new} -name 'r8169.ko*' | grep /updates/"));

    machine.sh(&format!("dkmsctl uninstall r8169/2.2LK -k {old}"));
    machine.sh(&format!("test ! -e {installed}"));
    assert_eq!(machine.sh(&format!("modinfo -k {old} -F filename r8169")), own);
    assert_eq!(machine.sh(&format!("sha256sum < {own}")), own_digest);
}
