//! Sources that change, go and come back.

use std::time::Duration;

use dkmsd_tests::{Gate, Machine};

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
fn changed_headers_of_the_same_kernel_are_built_against_and_the_old_module_stays_until_then() {
    let machine = Machine::with_dkmsd("headers");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_slow("slow-a");
    machine.wait_installed(&kernel, &["slow-a"], LIMIT);
    let module = machine.sh(&format!("ls /lib/modules/{kernel}/updates/dkms/slow_a.ko*"));
    // What the compiler was told by the headers: a field of every module that was built to be safe from Spectre.
    let told = || machine.sh(&format!("modinfo -F retpoline {module}"));
    assert_eq!(told(), "Y");

    let gate = Gate::of_builds(&machine);
    machine.sh(&format!(
        "cd /lib/modules/{kernel}/build && echo '#undef CONFIG_RETPOLINE' >> include/generated/autoconf.h"
    ));
    assert_eq!(gate.arrivals(1), ["slow-a"]);
    let row = machine.row("slow-a", &kernel);
    assert_eq!(row.state, "building", "{row:?}");
    let job = machine.call("ListJobs")[0][0][0].take();
    let job = machine.properties(&format!("/org/dkmsd1/job/_{job}"), "org.dkmsd1.Job");
    assert_eq!(job["Reason"]["data"], "the kernel's headers changed", "{job}");
    assert_eq!(told(), "Y", "the module stays while its successor is built");
    gate.let_go();
    machine.wait_installed(&kernel, &["slow-a"], LIMIT);
    assert_eq!(told(), "", "built against the headers as they are now");
    assert_eq!(machine.installs("slow-a"), ["done", "done"]);
    assert_eq!(machine.history(1)[0].reason, "the kernel's headers changed");

    gate.take_away();
    machine.rescan();
    assert_eq!(machine.installs("slow-a").len(), 2, "once is enough");
}

#[test]
fn nothing_is_installed_by_itself_where_an_admin_turned_that_off() {
    let machine = Machine::with_dkmsd("off");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.sh("touch /etc/dkms/no-autoinstall");
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("hello-dkmsd-1.0");
    let is_ready = format!("dkmsctl kernels | grep -q '^{kernel} .* ready '");
    machine.wait_until("the headers are whole: nothing else is in the way", &is_ready, LIMIT);
    machine.rescan();
    assert_eq!(machine.property("NJobs"), 0);
    assert!(machine.history(0).is_empty(), "not even added: {:#?}", machine.history(0));

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
