//! The daemon as a service: what it tells systemd, and what systemd does when it falls silent.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn systemd_is_told_how_things_are_and_ends_a_daemon_that_hangs() {
    let machine = Machine::with_dkmsd("service");
    let show = |property: &str| machine.sh(&format!("systemctl show -P {property} dkmsd"));
    assert_eq!(
        (show("NotifyAccess"), show("WatchdogUSec"), show("Type")),
        ("main".into(), "10min".into(), "notify".into())
    );
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("broken-dkmsd-1.0");
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.wait_until(
        "the status line",
        "test \"$(systemctl show -P StatusText dkmsd)\" = '1 installed; 1 failed'",
        LIMIT,
    );
    let seen = machine.sh("systemctl status dkmsd --no-pager -n 0");
    assert!(seen.contains("1 installed; 1 failed"), "{seen}");

    // A daemon that is busy keeps its watchdog quiet, however much there is to tell; one that is idle, too.
    machine.sh("mkdir -p /run/systemd/system/dkmsd.service.d
         printf '[Service]\\nWatchdogSec=4\\n' > /run/systemd/system/dkmsd.service.d/watchdog.conf
         systemctl daemon-reload && systemctl restart dkmsd");
    let process = show("MainPID");
    let rescan = "busctl call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager Rescan";
    // A load for three of its periods, not a wait.
    machine.sh(&format!("end=$((SECONDS + 13)); while ((SECONDS < end)); do {rescan} || exit; done"));
    assert_eq!((show("MainPID"), show("NRestarts")), (process.clone(), "0".into()), "busy is not hung");

    machine.sh(&format!("kill -STOP {process}"));
    machine.wait_until("another daemon", "test $(systemctl show -P NRestarts dkmsd) = 1 && dkmsctl status", LIMIT);
    let journal = machine.sh("journalctl -u dkmsd -o cat --no-pager");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    machine.rescan();
    assert_eq!(machine.row("hello-dkmsd", &kernel).state, "installed");
    assert_eq!(machine.installs("broken-dkmsd"), ["failed"]);
}
