//! Debian's own `*-dkms` packages over our files: their maintainer scripts, kernels that come and go, with the daemon and
//! without.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(600);

/// One Debian package, and what it is on a cloud kernel.
struct Driver {
    deb: &'static str,
    /// PACKAGE_NAME/PACKAGE_VERSION.
    id: &'static str,
    /// Nothing where it is only added: excluded there, or without AUTOINSTALL.
    modules: &'static [&'static str],
}

const fn driver(deb: &'static str, id: &'static str, modules: &'static [&'static str]) -> Driver {
    Driver { deb, id, modules }
}

const DRIVERS: [Driver; 5] = [
    driver("acpi-call-dkms", "acpi-call/1.2.2", &["acpi_call"]),
    driver("bbswitch-dkms", "bbswitch/0.8", &["bbswitch"]),
    driver("lime-forensics-dkms", "lime-forensics/1.9.1-5", &[]),
    driver("tp-smapi-dkms", "tp_smapi/0.43", &["hdaps", "thinkpad_ec", "tp_smapi"]),
    driver("v4l2loopback-dkms", "v4l2loopback/0.12.7", &[]),
];

/// What is to be there: packages, each on these kernels.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    drivers: &'a [&'a Driver],
    kernels: &'a [&'a str],
}

impl Wanted<'_> {
    fn status(&self) -> String {
        let mut lines = Vec::new();
        for Driver { id, modules, .. } in self.drivers {
            if modules.is_empty() || self.kernels.is_empty() {
                lines.push(format!("{id}: added"));
            } else {
                lines.extend(self.kernels.iter().map(|kernel| format!("{id}, {kernel}, x86_64: installed")));
            }
        }
        lines.join("\n")
    }

    /// The daemon may still have something to do: a package's own script builds a new version for the newest kernel alone.
    fn awaited(&self, machine: &Machine) {
        machine.rescan();
        let built = self.drivers.iter().filter(|driver| !driver.modules.is_empty());
        let names: Vec<_> = built.filter_map(|driver| Some(driver.id.split_once('/')?.0)).collect();
        for kernel in self.kernels {
            machine.wait_installed(kernel, &names, LIMIT);
        }
    }

    fn check(&self, machine: &Machine, when: &str) {
        assert_eq!(machine.sh("dkms status"), self.status(), "{when}\n{}", machine.story());
        let mut modules: Vec<_> = self.drivers.iter().flat_map(|driver| driver.modules).copied().collect();
        modules.sort_unstable();
        for kernel in self.kernels {
            let there = machine.sh(&format!("cd /lib/modules/{kernel}; ls updates/dkms | sed 's/\\.ko$//'"));
            assert_eq!(there.lines().collect::<Vec<_>>(), modules, "{when}: {kernel}");
            for module in &modules {
                let file = machine.sh(&format!("modinfo -k {kernel} -F filename {module}"));
                assert_eq!(file, format!("/lib/modules/{kernel}/updates/dkms/{module}.ko"), "{when}");
                let vermagic = machine.sh(&format!("modinfo -k {kernel} -F vermagic {module}"));
                assert!(vermagic.starts_with(&format!("{kernel} ")), "{when}: {module}: {vermagic}");
            }
        }
        for driver in &DRIVERS {
            let source = format!("/usr/src/{}", driver.id.replace('/', "-"));
            let name = driver.id.split('/').next().unwrap_or_default();
            let expected = self.drivers.iter().any(|d| d.deb == driver.deb);
            let there = machine.try_sh(&format!("test -e {source} -o -e /var/lib/dkms/{name}")).code == 0;
            assert_eq!(there, expected, "{when}: {source} or the tree's {name}");
        }
    }
}

/// apt-get, which has to succeed.
fn apt(machine: &Machine, text: &str) {
    machine.sh(&format!("apt-get {text} -qy 2>&1"));
}

#[test]
fn debians_packages_install_upgrade_reinstall_remove_and_purge() {
    let machine = Machine::with_dkmsd("packages");
    machine.stand_in_for_dkms("3.4.3");
    let [kernel, older] = machine.two_kernels("cloud-amd64");
    let both = [older.as_str(), kernel.as_str()];
    // An initramfs is made, as ever, but of little.
    machine.sh("mkdir -p /etc/initramfs-tools/conf.d; echo MODULES=list > /etc/initramfs-tools/conf.d/little");
    let with_kernel = |release: &str| format!("install linux-image-{release} linux-headers-{release}");
    apt(&machine, &with_kernel(&older));

    let mut drivers: Vec<&Driver> = DRIVERS.iter().collect();
    let debs: Vec<_> = drivers.iter().map(|driver| driver.deb).collect();
    apt(&machine, &format!("install {}", debs.join(" ")));
    Wanted { drivers: &drivers, kernels: &both[..1] }.check(&machine, "installed");

    apt(&machine, &with_kernel(&kernel));
    let wanted = Wanted { drivers: &drivers, kernels: &both };
    wanted.awaited(&machine);
    wanted.check(&machine, "kernel upgraded");

    let before = machine.sh(&format!("stat -c %z /lib/modules/{kernel}/updates/dkms/acpi_call.ko"));
    apt(&machine, "install --reinstall acpi-call-dkms");
    wanted.awaited(&machine);
    wanted.check(&machine, "package reinstalled");
    let after = machine.sh(&format!("stat -c %z /lib/modules/{kernel}/updates/dkms/acpi_call.ko"));
    assert_ne!(before, after, "a reinstalled package is built again");

    apt(&machine, "remove bbswitch-dkms");
    drivers.retain(|driver| driver.deb != "bbswitch-dkms");
    Wanted { drivers: &drivers, kernels: &both }.check(&machine, "package removed");
    apt(&machine, "purge v4l2loopback-dkms");
    drivers.retain(|driver| driver.deb != "v4l2loopback-dkms");
    // The daemon does not bring back what the packages took away.
    machine.rescan();
    Wanted { drivers: &drivers, kernels: &both }.check(&machine, "package purged");

    apt(&machine, &format!("purge linux-image-{older} linux-headers-{older}"));
    machine.wait_until(
        "everything of the purged kernel is gone",
        &format!("test ! -e /lib/modules/{older} && ! dkms status | grep -F {older}"),
        LIMIT,
    );
    Wanted { drivers: &drivers, kernels: &both[1..] }.check(&machine, "kernel purged");

    // The same without the daemon, so with nobody to wait for.
    machine.sh("systemctl disable --now dkmsd");
    apt(&machine, &with_kernel(&older));
    Wanted { drivers: &drivers, kernels: &both }.check(&machine, "kernel installed without the daemon");
    apt(&machine, "install bbswitch-dkms");
    let mut all = drivers.clone();
    all.insert(1, &DRIVERS[1]);
    Wanted { drivers: &all, kernels: &both }.check(&machine, "package installed without the daemon");
    apt(&machine, &format!("purge linux-image-{older} linux-headers-{older}"));
    Wanted { drivers: &all, kernels: &both[1..] }.check(&machine, "kernel purged without the daemon");
    machine.sh(&format!("test ! -e /lib/modules/{older}"));

    apt(&machine, "purge '.*-dkms'");
    Wanted { drivers: &[], kernels: &[] }.check(&machine, "every package purged");
    machine.sh(&format!("test ! -e /lib/modules/{kernel}/updates; ls /var/lib/dkms | {{ ! grep -v '^mok'; }}"));
}
