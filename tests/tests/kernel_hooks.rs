//! A kernel's own package, with the daemon and without: its postinst waits for the modules that can be built now, for
//! nothing else, and never fails because of one.

use dkmsd_tests::Machine;

/// Where a hook that runs where an initramfs is made says what it found of hello-dkmsd: its folder, or nothing.
const FOUND: &str = "/srv/found";

/// A machine with everything but the kernels: a driver that builds, one that does not, and what kernels' packages need.
fn prepared(name: &str) -> (Machine, Vec<String>) {
    let machine = Machine::with_dkmsd(name);
    let offered = machine.offered_kernels("6.1", "cloud-amd64");
    let kernels: Vec<String> = offered.into_iter().take(2).collect();
    machine.apt_install(&["initramfs-tools", "linux-base", "linux-kbuild-6.1", "linux-compiler-gcc-12-x86"]);
    // Made in every postinst, and nobody boots it here.
    machine.sh("echo 'update_initramfs=no' > /etc/initramfs-tools/update-initramfs.conf");
    machine.sh(&format!(
        "printf '%s\n' '#!/bin/sh' 'modinfo -k $1 -F filename hello_dkmsd > {FOUND}-$1 2> /dev/null' 'exit 0' \
             > /etc/kernel/postinst.d/initramfs-of-the-test
         chmod +x /etc/kernel/postinst.d/initramfs-of-the-test"
    ));
    for kernel in &kernels {
        machine.sh(&format!(
            "mkdir -p /var/tmp/{kernel} && cd /var/tmp/{kernel} &&
             apt-get download -q linux-image-{kernel} linux-headers-{kernel} \
                 linux-headers-{}-common",
            kernel.trim_end_matches("-cloud-amd64")
        ));
    }
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.drop_fixture("broken-dkmsd-1.0");
    // Sources have to settle before anything is built of them.
    let known = "test $(dkms status | grep -c ': added$') = 2";
    machine.wait_until("both are in the tree", known, std::time::Duration::from_secs(60));
    (machine, kernels)
}

/// Installs a kernel with its headers in one transaction, the kernel being set up first.
fn install_kernel(machine: &Machine, kernel: &str) -> String {
    machine.sh(&format!("cd /var/tmp/{kernel} && dpkg -i linux-image-*.deb linux-headers-*.deb 2>&1"))
}

fn found(machine: &Machine, kernel: &str) -> String {
    machine.sh(&format!("cat {FOUND}-{kernel}"))
}

fn is_in_place(found: &str, kernel: &str) -> bool {
    found.contains(kernel) && found.contains("/updates/dkms/hello_dkmsd.ko")
}

#[test]
fn the_modules_are_there_before_the_initramfs_and_a_broken_driver_stops_nothing() {
    let (machine, kernels) = prepared("hooks");
    let [with, without] = kernels.as_slice() else { panic!("two kernels are needed: {kernels:?}") };

    let said = install_kernel(&machine, with);
    assert!(is_in_place(&found(&machine, with), with), "{said}");
    assert!(said.contains("broken-dkmsd") && said.contains(&format!("dkmsctl check -k {with}")), "{said}");
    assert_eq!(machine.row("hello-dkmsd", with).state, "installed");
    assert_eq!(machine.row("broken-dkmsd", with).state, "failed");
    assert_eq!(machine.try_sh(&format!("dkmsctl check -k {with}")).code, 1);
    assert_eq!(machine.installs("hello-dkmsd"), ["done"], "once");
    assert_eq!(machine.installs("broken-dkmsd"), ["failed"]);

    machine.sh("systemctl stop dkmsd");
    let said = install_kernel(&machine, without);
    assert!(is_in_place(&found(&machine, without), without), "{said}");
    assert!(said.contains("broken-dkmsd"), "{said}");
    machine.sh("! systemctl --quiet is-active dkmsd");

    // What the hook did without the daemon is done.
    machine.sh("systemctl start dkmsd");
    machine.rescan();
    assert_eq!(machine.row("hello-dkmsd", without).state, "installed");
    assert_eq!(machine.row("broken-dkmsd", without).state, "failed");
    assert_eq!(machine.try_sh(&format!("dkmsctl check -k {without}")).code, 1);
    assert_eq!(machine.property("NJobs"), 0);
    assert_eq!(machine.installs("hello-dkmsd"), ["done"]);
    assert_eq!(machine.installs("broken-dkmsd"), ["failed"]);

    // A kernel goes, and what was built for it goes with it: told to the daemon, or done by the hook itself.
    for (kernel, stop) in [(with, "true"), (without, "systemctl stop dkmsd")] {
        machine.sh(stop);
        machine.sh(&format!("apt-get purge -qy linux-image-{kernel} linux-headers-{kernel} 2>&1"));
        machine.wait_until(
            "the kernel is gone, and everything that was built for it",
            &format!("test -z \"$(ls -d /lib/modules/{kernel} /var/lib/dkms/*/kernel-{kernel}-* /var/lib/dkms/*/*/{kernel} 2> /dev/null)\""),
            std::time::Duration::from_secs(120),
        );
    }
    machine.sh("systemctl start dkmsd");
    machine.rescan();
    let rows = machine.status();
    assert!(rows.iter().all(|row| row.state != "held"), "a kernel that is removed holds nothing: {rows:#?}");
}

#[test]
fn headers_that_are_unpacked_after_their_kernel_deadlock_nothing() {
    let (machine, kernels) = prepared("hooks-late");
    let [with, without] = kernels.as_slice() else { panic!("two kernels are needed: {kernels:?}") };
    // As apt does it: one lock over several calls of dpkg.
    machine.sh("cat > /usr/local/bin/transaction <<'END'
#!/usr/bin/perl
use Fcntl;
open(my $lock, '>>', '/var/lib/dpkg/lock-frontend') or die;
my $whole = pack('s s x4 q q i x4', F_WRLCK, 0, 0, 0, 0);
fcntl($lock, F_SETLK, $whole) or die \"locked: $!\";
$ENV{DPKG_FRONTEND_LOCKED} = 1;
exit(system('bash', '-c', $ARGV[0]) >> 8);
END
         chmod +x /usr/local/bin/transaction");
    for (kernel, before) in [(with, "true"), (without, "systemctl stop dkmsd")] {
        machine.sh(before);
        let said = machine.sh(&format!(
            "cd /var/tmp/{kernel} && timeout 300 transaction '
                 dpkg -i linux-image-*.deb 2>&1 && echo THE KERNEL IS THERE && dpkg -i linux-headers-*.deb 2>&1
                 modinfo -k {kernel} -F filename hello_dkmsd > {FOUND}-{kernel}-at-the-end'"
        ));
        let (kernels_own, _) = said.split_once("THE KERNEL IS THERE").expect("dpkg went on");
        assert!(kernels_own.contains("has no headers yet"), "{said}");
        assert_eq!(found(&machine, kernel), "", "nothing could be built for it then");
        let at_the_end = machine.sh(&format!("cat {FOUND}-{kernel}-at-the-end"));
        assert!(is_in_place(&at_the_end, kernel), "the headers' own package waited for it: {said}");
    }
    machine.sh("systemctl start dkmsd");
    machine.rescan();
    assert_eq!(machine.installs("hello-dkmsd"), ["done"], "the other one was built by the hook");
    assert_eq!(machine.row("hello-dkmsd", without).state, "installed");
}

/// systemd's kernel-install comes by another way than Debian's packages; a chroot may share the host's /run.
#[test]
fn kernel_install_and_a_chroot_that_shares_run() {
    let machine = Machine::with_dkmsd("hooks-ways");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.sh("touch /etc/dkms/no-autoinstall");
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.sh("dkms add hello-dkmsd/1.0 && rm /etc/dkms/no-autoinstall && systemctl stop dkmsd");
    let plugin = "/usr/lib/kernel/install.d/40-dkms.install";
    let link = format!("/var/lib/dkms/hello-dkmsd/kernel-{kernel}-x86_64");
    machine.sh(&format!("{plugin} add {kernel} /boot/x && test -L {link}"));
    machine.sh(&format!("{plugin} remove {kernel} /boot/x && test ! -e {link}"));
    machine.sh(&format!("{plugin} inspect {kernel} && test ! -e {link}"));

    machine.sh("systemctl start dkmsd");
    machine.sh(&format!("dkmsctl kernel-added {kernel} --wait 120"));
    assert_eq!(machine.row("hello-dkmsd", &kernel).state, "installed", "what a kernel's removal took away is not held");
    let told = || machine.sh("journalctl -u dkmsd -o cat --no-pager | grep -c 'a kernel was added, says its hook'");
    let before = told();
    machine.sh(
        "mkdir /srv/other && mount -t tmpfs tmpfs /srv/other && cd /srv/other && mkdir usr etc run proc dev sys var
         for folder in usr etc run proc dev var; do mount --bind /$folder $folder; done
         for folder in bin sbin lib lib64; do ln -s usr/$folder $folder; done",
    );
    let in_chroot = machine.try_sh(&format!("chroot /srv/other dkmsctl kernel-added {kernel} --wait 120"));
    assert_eq!(in_chroot.code, 3, "that daemon is another root's: {in_chroot:?}");
    assert_eq!(told(), before);
}
