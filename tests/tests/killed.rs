//! kill -9 of the daemon in the middle of its work.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);
const PACKAGES: [&str; 3] = ["slow-a", "slow-b", "slow-c"];

#[test]
fn builds_that_were_cut_off_end_installed_and_leave_nothing_behind() {
    let machine = Machine::with_dkmsd("killed");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.sh("printf '[daemon]\\nmax_jobs = 3\\n' > /etc/dkms/dkmsd.toml && systemctl reload dkmsd");
    machine.sh("mkdir -p /srv/slow-gate && cd /srv/slow-gate && mkfifo started go && chmod 666 started go");
    for package in PACKAGES {
        machine.drop_slow(package);
    }

    // Each build says that it runs, and waits.
    let running = machine.sh("exec 3<> /srv/slow-gate/started
         for _ in 1 2 3; do read -r -t 240 name <&3 || exit 1; echo \"$name\"; done | sort");
    assert_eq!(running.lines().collect::<Vec<_>>(), PACKAGES);
    // From here on a build goes straight through; those that run keep waiting on what they have open.
    let daemon = machine.sh("pid=$(systemctl show -P MainPID dkmsd)
         rm /srv/slow-gate/started /srv/slow-gate/go
         kill -KILL $pid && echo $pid");

    machine.wait_installed(&kernel, &PACKAGES, LIMIT);
    let after = machine.sh("systemctl show -P MainPID dkmsd");
    assert_ne!(daemon, after, "it was another daemon that finished the work");
    machine.wait_until(
        "no process of the first daemon is left",
        "! pgrep -u dkms && ! pgrep -x make && test $(pgrep -cx dkmsd) = 1",
        LIMIT,
    );
    let strays = machine.sh(&format!(
        "find /lib/modules/{kernel}/updates -type f ! -name '*.ko' ! -name '*.ko.xz'
         find /var/lib/dkms -name '.tmp*' -o -name '.dkmsd-intent-*' -o -name '.dkmsd-undo-*' -o -path '*/build'
         find /var/lib/dkmsd/work -mindepth 1"
    ));
    assert_eq!(strays, "");
    for package in PACKAGES {
        let module = package.replace('-', "_");
        let vermagic = machine.sh(&format!("modinfo -F vermagic /lib/modules/{kernel}/updates/dkms/{module}.ko*"));
        assert!(vermagic.starts_with(&format!("{kernel} ")), "{vermagic}");
    }
}
