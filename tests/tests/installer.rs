//! install.sh: from nothing to a daemon that has shown what it does, and back.

use dkmsd_tests::Machine;

const INSTALL: &str = "/opt/dkmsd/systemd/install.sh --bin-dir /opt/dkmsd/bin";
/// What packages and kernels call is there.
const DROP_IN: &str =
    "test -x /usr/sbin/dkms -a -x /usr/lib/dkms/common.postinst -a -x /usr/lib/dkms/dkms_autoinstaller \
     -a -x /usr/lib/kernel/install.d/40-dkms.install &&
     for when in preinst postinst prerm header_postinst; do test -x /etc/kernel/$when.d/dkms || exit 1; done";
const SAMPLE: &str = "find /lib/modules/ -name 'hello_dkmsd.ko*'";

/// Installs, upgrades in place, shows the sample driver twice, takes it away and uninstalls.
fn all_of_it(machine: &Machine, is_running: &str) {
    let first = machine.sh(&format!("{INSTALL} 2>&1"));
    assert!(first.contains("dkmsd runs"), "{first}");
    machine.sh(is_running);
    machine.sh(DROP_IN);
    assert_eq!(machine.sh("dkms --version"), "dkms-3.4.3");
    machine.sh("echo '# mine' >> /etc/dkms/dkmsd.toml");

    let demo = machine.sh(&format!("{INSTALL} --demo 2>&1"));
    assert!(demo.contains("installed") && demo.contains("vermagic:"), "{demo}");
    machine.sh(&format!("{SAMPLE} | grep /updates/dkms/"));
    machine.sh(is_running);

    machine.sh(&format!("{INSTALL} --demo --remove 2>&1"));
    machine.sh(&format!("! {SAMPLE} | grep . && test ! -e /usr/src/hello-dkmsd-1.0"));
    let again = machine.sh(&format!("{INSTALL} --demo 2>&1"));
    assert!(again.contains("vermagic:"), "{again}");

    machine.sh(&format!("{INSTALL} --uninstall 2>&1"));
    machine.sh(&format!("! ({is_running})"));
    machine.sh("! pgrep -x dkmsd");
    let left = machine.sh("find /usr /etc -name '*dkms*' ! -path '/usr/src/*' ! -path '/usr/lib/modules/*' | sort");
    assert_eq!(left, "/etc/dkms\n/etc/dkms/dkmsd.toml", "settings that somebody changed stay, nothing else does");
    machine.sh("grep -q '# mine' /etc/dkms/dkmsd.toml");
    machine.sh(&format!("{SAMPLE} | grep ."));
}

#[test]
fn under_systemd() {
    let machine = Machine::start("install");
    machine.carry_checkout();
    all_of_it(&machine, "systemctl --quiet is-active dkmsd && systemctl --quiet is-enabled dkmsd");
}

#[test]
fn without_systemd() {
    let machine = Machine::start("install-alone");
    machine.carry_checkout();
    // What sd_booted(3) looks at: for every program this is a machine without systemd from here on, and without a bus.
    machine.sh("systemctl stop dbus.socket dbus.service && mv /run/systemd/system /run/systemd/hidden");
    all_of_it(&machine, "kill -0 $(cat /run/dkmsd/dkmsd.pid) && dkmsctl status");
}

#[test]
fn below_another_root() {
    let machine = Machine::start("install-destdir");
    machine.carry_checkout();
    machine.sh(&format!("{INSTALL} --destdir /srv/image --prefix /usr/local"));
    machine.sh("test -x /srv/image/usr/local/sbin/dkmsd && test -x /srv/image/usr/local/bin/dkmsctl");
    machine.sh("grep -q '^ExecStart=/usr/local/sbin/dkmsd$' /srv/image/usr/lib/systemd/system/dkmsd.service");
    machine.sh("! pgrep -x dkmsd && test ! -e /usr/local/sbin/dkmsd && ! id dkms");
    machine.sh(&format!("{INSTALL} --destdir /srv/image --prefix /usr/local --uninstall"));
    assert_eq!(machine.sh("find /srv/image -type f"), "");
}

#[test]
fn beside_the_distributions_dkms() {
    let machine = Machine::start("install-beside");
    machine.carry_checkout();
    machine.apt_install(&["dkms"]);
    let files = "dpkg -L dkms | xargs -d '\\n' sha256sum 2> /dev/null | sort";
    let before = machine.sh(files);
    let said = machine.sh(&format!("{INSTALL} 2>&1"));
    let warning = said.lines().find(|line| line.contains("dkms package") || line.contains("package dkms"));
    assert!(warning.is_some(), "{said}");
    assert_eq!(machine.sh(files), before, "its files are left alone");
    machine.sh("test ! -e /usr/lib/dkms/kernel-hook && systemctl --quiet is-active dkmsd");
    machine.sh(&format!("{INSTALL} --uninstall 2>&1"));
    assert_eq!(machine.sh(files), before, "by the uninstallation, too");

    // As the warning says: without that package, its place is ours.
    machine.sh("apt-get remove -qy dkms 2>&1");
    let said = machine.sh(&format!("{INSTALL} 2>&1"));
    assert!(!said.contains("package dkms"), "{said}");
    machine.sh(DROP_IN);
    assert_eq!(machine.sh("dkms --version"), "dkms-3.4.3");
}
