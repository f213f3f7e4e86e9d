//! kill -9 in the middle of the daemon's work: of the daemon alone, and of everything it had started.

use std::time::Duration;

use dkmsd_tests::{Gate, Machine};

const LIMIT: Duration = Duration::from_secs(300);
const PACKAGES: [&str; 3] = ["slow-a", "slow-b", "slow-c"];
const THREE_AT_ONCE: &str = "printf '[daemon]\\nmax_jobs = 3\\n' > /etc/dkms/dkmsd.toml && systemctl reload dkmsd";

/// The daemon and nothing else.
const DAEMON: &str = "kill -KILL $daemon";

/// The daemon, its workers and what those run, at once.
const EVERYTHING: &str = "
    tree() { echo $1; for child in $(pgrep -P $1); do tree $child; done; }
    kill -KILL $(tree $daemon)";

/// Kills, and waits until systemd has started another daemon.
fn kill(machine: &Machine, what: &str) {
    let daemon = machine.sh("systemctl show -P MainPID dkmsd");
    machine.sh(&format!("daemon={daemon}; {what}"));
    machine.wait_until(
        "another daemon",
        &format!("systemctl --quiet is-active dkmsd && test $(systemctl show -P MainPID dkmsd) != {daemon}"),
        LIMIT,
    );
}

fn nothing_is_left_behind(machine: &Machine, kernel: &str) {
    machine.wait_until(
        "no process of the first daemon is left",
        "! pgrep -u dkms && ! pgrep -x make && test $(pgrep -cx dkmsd) = 1",
        LIMIT,
    );
    let strays = machine.sh(&format!(
        "find /lib/modules/{kernel}/updates -type f ! -name '*.ko' ! -name '*.ko.xz'
         find /lib/modules/{kernel}/ -name '.*'
         find /var/lib/dkms -name '.tmp*' -o -name '.dkmsd-intent-*' -o -name '.dkmsd-undo-*' -o -path '*/build'
         find /var/lib/dkmsd/work -mindepth 1"
    ));
    assert_eq!(strays, "");
}

/// Each package's module is where the index says, built for this kernel.
fn the_index_knows(machine: &Machine, kernel: &str, packages: &[&str]) {
    let module = |package: &&str| package.replace('-', "_");
    for module in packages.iter().map(module) {
        let found = machine.sh(&format!("modinfo -k {kernel} -F filename {module}"));
        assert!(found.starts_with(&format!("/lib/modules/{kernel}/updates/dkms/{module}.ko")), "{found}");
        let vermagic = machine.sh(&format!("modinfo -k {kernel} -F vermagic {module}"));
        assert!(vermagic.starts_with(&format!("{kernel} ")), "{vermagic}");
        let name = found.trim_start_matches(&format!("/lib/modules/{kernel}/"));
        machine.sh(&format!("grep -q '^{name}:' /lib/modules/{kernel}/modules.dep"));
    }
    // And nothing that is not there.
    machine.sh(&format!(
        "cd /lib/modules/{kernel} && cut -d : -f 1 modules.dep | while read -r file; do test -e $file || exit 1; done"
    ));
}

#[test]
fn builds_that_were_cut_off_end_installed_and_leave_nothing_behind() {
    let machine = Machine::with_dkmsd("killed");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.sh(THREE_AT_ONCE);
    let gate = Gate::of_builds(&machine);
    for package in PACKAGES {
        machine.drop_slow(package);
    }
    // A CPU each; the others wait for theirs.
    let processors: usize = machine.sh("nproc").parse().expect("a number");
    let at_work = gate.arrivals(processors.min(PACKAGES.len()));
    assert!(at_work.iter().all(|package| PACKAGES.contains(&package.as_str())), "{at_work:?}");
    // From here on a build goes straight through; those that run keep waiting on what they have open.
    gate.take_away();
    kill(&machine, DAEMON);

    machine.wait_installed(&kernel, &PACKAGES, LIMIT);
    nothing_is_left_behind(&machine, &kernel);
    for package in PACKAGES {
        let module = package.replace('-', "_");
        let vermagic = machine.sh(&format!("modinfo -F vermagic /lib/modules/{kernel}/updates/dkms/{module}.ko*"));
        assert!(vermagic.starts_with(&format!("{kernel} ")), "{vermagic}");
    }
}

/// A machine whose kernel has modules and an index of its own, and whose depmod stops at gates: /srv/before before it
/// has done anything, /srv/after when it has done all.
fn with_a_kernel(name: &str) -> (Machine, String) {
    let machine = Machine::with_dkmsd(name);
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    // The image is unpacked, not installed: nothing here boots it, and an initramfs takes its time.
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.sh(&format!(
        "cd /var/tmp && apt-get download -q linux-image-{kernel} 2>&1 && dpkg -x linux-image-*.deb image
         cp -r image/lib/modules/{kernel}/. /lib/modules/{kernel}/ && depmod {kernel} && rm -r image"
    ));
    machine.sh(&format!(
        "cat > /usr/local/sbin/depmod <<'E'\n#!/bin/sh\n{}\n/sbin/depmod \"$@\" || exit\n{}\nE\nchmod +x /usr/local/sbin/depmod",
        Gate::script("/srv/before"),
        Gate::script("/srv/after")
    ));
    (machine, kernel)
}

#[test]
fn installs_that_were_cut_off_anywhere_end_installed() {
    let (machine, kernel) = with_a_kernel("killed-install");
    machine.sh(THREE_AT_ONCE);
    let index = machine.sh(&format!("sha256sum < /lib/modules/{kernel}/modules.dep"));
    // In the order of the work: one job stands before its modules are placed, or after; then depmod, for all of them.
    for (place, folder) in
        [("PRE_INSTALL", "/srv/pre"), ("POST_INSTALL", "/srv/post"), ("", "/srv/before"), ("", "/srv/after")]
    {
        let gate = Gate::closed(&machine, folder);
        for package in PACKAGES {
            machine.drop_slow(package);
        }
        if !place.is_empty() {
            // Changes the source as well, which nothing has seen yet, or is built again from.
            machine.sh(&format!(
                "cd /usr/src/slow-b-1.0 && echo '{place}=gate.sh' >> dkms.conf
                 printf '#!/bin/sh\\n%s\\n' '{}' > gate.sh && chmod +x gate.sh",
                Gate::script(folder)
            ));
        }
        assert_eq!(gate.arrivals(1), [folder], "{place}");
        gate.take_away();
        kill(&machine, EVERYTHING);

        machine.wait_installed(&kernel, &PACKAGES, LIMIT);
        nothing_is_left_behind(&machine, &kernel);
        the_index_knows(&machine, &kernel, &PACKAGES);
        machine.sh(&format!("dkmsctl check -k {kernel}"));

        for package in PACKAGES {
            machine.sh(&format!("dkmsctl remove {package}/1.0 && rm -r /usr/src/{package}-1.0"));
        }
        // The daemon sees that the sources are gone: what comes next is another package to it, and not held.
        machine.rescan();
        assert_eq!(machine.sh(&format!("sha256sum < /lib/modules/{kernel}/modules.dep")), index, "{place} {folder}");
    }
}

#[test]
fn an_uninstall_that_was_cut_off_anywhere_gives_the_kernel_its_own_module_back() {
    let (machine, kernel) = with_a_kernel("killed-uninstall");
    let own = machine.sh(&format!("modinfo -k {kernel} -F filename veth"));
    let digest = machine.sh(&format!("sha256sum < {own}"));
    let index = machine.sh(&format!("sha256sum < /lib/modules/{kernel}/modules.dep"));
    // A package whose module takes the place of the kernel's own.
    machine.drop_slow("veth");
    machine.wait_installed(&kernel, &["veth"], LIMIT);
    for folder in ["/srv/before", "/srv/after"] {
        the_index_knows(&machine, &kernel, &["veth"]);
        machine.sh(&format!("test ! -e {own}"));
        let gate = Gate::closed(&machine, folder);
        machine.sh(&format!("dkmsctl uninstall veth/1.0 -k {kernel} --no-wait"));
        assert_eq!(gate.arrivals(1), [folder]);
        gate.take_away();
        kill(&machine, EVERYTHING);

        machine.rescan();
        let shown = || machine.sh(&format!("modinfo -k {kernel} -F filename veth"));
        machine.wait_until(
            "the index is right",
            &format!("test \"$(modinfo -k {kernel} -F filename veth)\" = {own}"),
            LIMIT,
        );
        assert_eq!(shown(), own);
        assert_eq!(machine.sh(&format!("sha256sum < {own}")), digest, "{folder}");
        assert_eq!(machine.sh(&format!("sha256sum < /lib/modules/{kernel}/modules.dep")), index, "{folder}");
        machine.sh(&format!("! find /lib/modules/{kernel}/updates -name 'veth.ko*' 2> /dev/null | grep ."));
        nothing_is_left_behind(&machine, &kernel);
        assert_eq!(machine.row("veth", &kernel).state, "held", "what was asked for by hand is not forgotten");

        machine.sh(&format!("dkmsctl install veth/1.0 -k {kernel}"));
    }
}
