//! What a driver's package calls when it is set up: /usr/lib/dkms/common.postinst; and what calls for all of them.

use std::time::Duration;

use dkmsd_tests::{Case, Kit, Machine};

const LIMIT: Duration = Duration::from_secs(300);
const POSTINST: &str = "/usr/lib/dkms/common.postinst";

#[test]
fn a_package_is_added_built_and_installed_once_with_the_daemon_beside_it() {
    let machine = Machine::with_dkmsd("postinst");
    let offered = machine.offered_kernels("6.1", "cloud-amd64");
    let [kernel, waiting, ..] = offered.as_slice() else { panic!("two kernels are needed: {offered:?}") };
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    // A kernel without headers is passed over.
    machine.sh(&format!("mkdir -p /lib/modules/{waiting}/kernel"));

    machine.drop_fixture("hello-dkmsd-1.0");
    let said = machine.sh(&format!("{POSTINST} hello-dkmsd 1.0 /usr/share/hello-dkmsd-dkms '' '' 2>&1"));
    assert!(said.contains(&format!("installed for {kernel}")), "{said}");
    let module = machine.sh(&format!("ls /lib/modules/{kernel}/updates/dkms/hello_dkmsd.ko*"));
    machine.wait_installed(kernel, &["hello-dkmsd"], LIMIT);
    machine.rescan();
    machine.wait_until("the daemon has nothing to do", "dkmsctl jobs | grep -qx 'no jobs'", LIMIT);
    assert_eq!(builds(&machine, "hello-dkmsd"), 1);

    // Set up again: what is there and fresh stays.
    let inode = format!("stat -c %i {module}");
    let before = machine.sh(&inode);
    machine.sh(&format!("{POSTINST} hello-dkmsd 1.0 '' '' 1.0"));
    assert_eq!((machine.sh(&inode), builds(&machine, "hello-dkmsd")), (before, 1));

    // A reinstall: its prerm takes it away, which holds it; its postinst lets that go.
    machine.sh("dkms remove hello-dkmsd/1.0 --all");
    machine.sh(&format!("test ! -e {module}"));
    machine.sh(&format!("{POSTINST} hello-dkmsd 1.0"));
    machine.sh(&format!("test -e {module}"));
    machine.rescan();
    assert_eq!(machine.row("hello-dkmsd", kernel).state, "installed");
}

#[test]
fn exit_codes() {
    let machine = Machine::with_dkmsd("postinst-codes");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.sh("systemctl stop dkmsd");
    let code = |arguments: &str| machine.try_sh(&format!("{POSTINST} {arguments}")).code;
    assert_eq!(code("hello-dkmsd"), 1, "no version");
    assert_eq!(code("nothing 1.0"), 2, "no source");
    machine.drop_fixture("hello-dkmsd-1.0");
    assert_eq!(code("hello-dkmsd 1.0"), 0, "no headers: added, and left so");
    machine.sh("test -L /var/lib/dkms/hello-dkmsd/1.0/source");

    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("broken-dkmsd-1.0");
    machine.sh("touch /etc/dkms/no-autoinstall");
    assert_eq!(code("broken-dkmsd 1.0"), 0);
    machine.sh("test ! -e /var/lib/dkms/broken-dkmsd; rm /etc/dkms/no-autoinstall");
    let failed = machine.try_sh(&format!("{POSTINST} broken-dkmsd 1.0"));
    assert_eq!(failed.code, 10, "{failed:?}");
    assert!(failed.stderr.contains("this_function_is_in_no_kernel"), "{failed:?}");

    // All that is missing on one kernel: the broken one is tried again, as classic does.
    let autoinstaller = |arguments: &str| machine.try_sh(&format!("/usr/lib/dkms/dkms_autoinstaller {arguments}")).code;
    assert_eq!(autoinstaller("start 9.9-no-such"), 0, "no headers");
    assert_eq!(autoinstaller(&format!("start {kernel}")), 1, "one of them failed");
    machine.sh(&format!("ls /lib/modules/{kernel}/updates/dkms/hello_dkmsd.ko*"));
    machine.sh("dkms remove broken-dkmsd/1.0 --all && rm -r /usr/src/broken-dkmsd-1.0");
    assert_eq!(autoinstaller(&format!("start {kernel}")), 0);

    // What was taken off by hand stays off until somebody asks by hand.
    machine.sh(&format!("dkms uninstall hello-dkmsd/1.0 -k {kernel}"));
    assert_eq!(autoinstaller(&format!("start {kernel}")), 0);
    machine.sh(&format!(
        "test -z \"$(ls /lib/modules/{kernel}/updates/dkms/hello_dkmsd.ko* 2>/dev/null)\"; dkms autoinstall -k {kernel}"
    ));
    machine.sh(&format!("ls /lib/modules/{kernel}/updates/dkms/hello_dkmsd.ko*"));

    machine.sh("mkdir /usr/src/by-hand-1.0 && cp /usr/src/hello-dkmsd-1.0/* /usr/src/by-hand-1.0/ && cd /usr/src/by-hand-1.0 &&
         sed -i 's/hello-dkmsd/by-hand/; /AUTOINSTALL/d' dkms.conf");
    assert_eq!(code("by-hand 1.0"), 0, "without AUTOINSTALL it is only added");
    machine.sh("test -L /var/lib/dkms/by-hand/1.0/source && ! ls -d /var/lib/dkms/by-hand/kernel-*");

    machine.sh("echo 'BUILD_EXCLUSIVE_KERNEL=^9' >> /usr/src/hello-dkmsd-1.0/dkms.conf");
    assert_eq!(code("hello-dkmsd 1.0"), 0, "excluded is no failure");
}

/// Two kernels that /boot and the install tree know, both with headers.
const BOTH: &str = "pkg t-one 1.0; touch /boot/config-$K /boot/config-$OLD";
/// So they are, and the kernel that runs is in the install tree, too, without headers.
const RUNNING: &str = "pkg t-one 1.0; touch /boot/config-$K /boot/config-$OLD; mkdir -p /lib/modules/$(running)/kernel";
/// The build for the older kernel, whose turn is first, fails.
const FIRST_FAILS: &str = "pkg t-one 1.0; rm -r /usr/src/t-one-1.0/ready/$OLD";
/// That for the newer one fails, too, with a code of its own.
const BOTH_FAIL: &str = "pkg t-one 1.0 PRE_BUILD=pre.sh; rm -r /usr/src/t-one-1.0/ready/$OLD
    script t-one-1.0 pre.sh \"test \\$kernelver != $K || exit 42\"";

const NEWEST: &str = "states \"t-one/1.0, $K, $A: installed\"";
const ALL: &str = "states \"t-one/1.0, $OLD, $A: installed\" \"t-one/1.0, $K, $A: installed\"";
const NONE: &str = "states t-one/1.0:\\ added";

/// framework.conf says for which kernels a package is built when it is set up, and whether one that fails is the last.
const SETTINGS: &[Case] = &[
    Case::new(0, "postinst ''").given(RUNNING).after(NEWEST),
    Case::new(0, "postinst '' autoinstall_all_kernels=no").given(RUNNING).after(NEWEST),
    Case::new(0, "postinst '' autoinstall_all_kernels=yes").given(RUNNING).after(ALL),
    Case::new(0, "postinst 0.9").given(BOTH).after(NEWEST),
    Case::new(0, "postinst 0.9 autoinstall_all_kernels=yes").given(BOTH).after(ALL),
    Case::new(10, "postinst ''").given(FIRST_FAILS).after(NEWEST),
    Case::new(10, "postinst '' continue_on_error=yes").given(FIRST_FAILS).after(NEWEST),
    Case::new(10, "postinst '' continue_on_error=no").given(FIRST_FAILS).after(NONE),
    Case::new(42, "postinst ''").given(BOTH_FAIL).after(NONE),
    Case::new(10, "postinst '' continue_on_error=no").given(BOTH_FAIL).after(NONE),
    Case::new(0, "postinst '' continue_on_error=no").given(BOTH).after(ALL),
];

#[test]
fn autoinstall_all_kernels_and_continue_on_error() {
    Kit::start("postinst-settings", &["1.0"]).check(SETTINGS);
}

/// How often a package was compiled.
fn builds(machine: &Machine, package: &str) -> usize {
    machine.sh(&format!("find /var/lib/dkmsd/logs/{package} -type f")).lines().count()
}
