//! Sources that change, go and come back.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn a_changed_source_is_rebuilt_and_a_missing_one_is_left_alone() {
    let machine = Machine::with_dkmsd("changes");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.wait_installed(&kernel, &["hello-dkmsd"], LIMIT);
    let module = machine.sh(&format!("ls /lib/modules/{kernel}/updates/dkms/hello_dkmsd.ko*"));

    machine.sh("sed -i 's/Sample driver of dkmsd/Changed by hand/' /usr/src/hello-dkmsd-1.0/hello_dkmsd.c");
    machine.wait_until("rebuilt", &format!("modinfo -F description {module} | grep -qx 'Changed by hand'"), LIMIT);
    machine.wait_installed(&kernel, &["hello-dkmsd"], LIMIT);

    machine.sh("mv /usr/src/hello-dkmsd-1.0 /var/tmp/");
    machine.wait_for_status("broken without its source", LIMIT, |rows| {
        rows.iter().any(|row| row.package == "hello-dkmsd" && row.state == "broken")
    });
    machine.rescan();
    machine.sh(&format!("test -e {module} && test -e /var/lib/dkms/hello-dkmsd/kernel-{kernel}-x86_64"));

    machine.sh("mv /var/tmp/hello-dkmsd-1.0 /usr/src/");
    machine.wait_installed(&kernel, &["hello-dkmsd"], LIMIT);
    machine.sh(&format!("dkmsctl check -k {kernel}"));
}

#[test]
fn nothing_is_installed_by_itself_where_an_admin_turned_that_off() {
    let machine = Machine::with_dkmsd("off");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.sh("touch /etc/dkms/no-autoinstall");
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.rescan();
    assert_eq!(machine.sh("busctl call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager ListJobs"), "a(ussssso) 0");

    // By hand it still works.
    machine.sh(&format!("dkmsctl add hello-dkmsd/1.0; dkmsctl install hello-dkmsd/1.0 -k {kernel}"));
    assert_eq!(machine.row("hello-dkmsd", &kernel).state, "installed");
}

#[test]
fn an_override_that_comes_later_asks_for_autoinstall() {
    let machine = Machine::with_dkmsd("override");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.sh("cp -r /opt/dkmsd/tests/fixtures/hello-dkmsd-1.0 /var/tmp/ && sed -i /AUTOINSTALL/d /var/tmp/hello-dkmsd-1.0/dkms.conf
         mv /var/tmp/hello-dkmsd-1.0 /usr/src/");
    machine.rescan();
    assert!(machine.status().is_empty(), "nobody asked for it");

    machine.sh("mkdir -p /etc/dkms && echo AUTOINSTALL=yes > /etc/dkms/hello-dkmsd.conf");
    machine.wait_installed(&kernel, &["hello-dkmsd"], LIMIT);
}
