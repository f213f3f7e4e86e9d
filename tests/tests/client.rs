//! dkmsctl, as people and scripts use it.

use std::time::Duration;

use dkmsd_tests::{Gate, Machine};

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn a_job_is_seen_followed_and_stopped() {
    let machine = Machine::with_dkmsd("client");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    let gate = Gate::of_builds(&machine);
    machine.drop_slow("slow-a");
    assert_eq!(gate.arrivals(1), ["slow-a"]);

    let jobs = machine.sh("dkmsctl jobs");
    assert!(jobs.contains("slow-a") && jobs.contains(&kernel), "{jobs}");
    let id = machine.call("ListJobs")[0][0][0].as_u64().unwrap();
    machine.sh(&format!("dkmsctl cancel {id}"));
    machine.wait_until(
        "no job is left",
        "busctl call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager ListJobs | grep -qx 'a(ussssso) 0'",
        LIMIT,
    );
    machine.sh("! pgrep -u dkms && ! pgrep -x make");
    let history = machine.sh("dkmsctl history");
    assert!(history.contains("canceled"), "{history}");
    gate.take_away();

    // Asked for by hand it is built, with its progress in plain lines, and the log can be read afterwards.
    let rebuilt = machine.sh(&format!("dkmsctl rebuild slow-a/1.0 -k {kernel} 2>&1"));
    assert!(rebuilt.contains("slow-a") && rebuilt.contains("installed"), "{rebuilt}");
    assert!(!rebuilt.contains('\u{1b}'), "no colours or cursor movements outside a terminal: {rebuilt:?}");
    assert_eq!(machine.row("slow-a", &kernel).state, "installed");
    let log = machine.sh("dkmsctl logs slow-a");
    assert!(log.contains("make"), "{log}");

    // What is so already is done, and said.
    let again = machine.sh(&format!("dkmsctl install slow-a/1.0 -k {kernel}"));
    assert!(again.contains("unchanged") && again.contains("is installed for") && again.contains("already"), "{again}");
    let added = machine.sh("dkmsctl add slow-a/1.0");
    assert!(added.contains("slow-a/1.0 was added already"), "{added}");

    // A removal that fails says why, and shows no log of a build that succeeded.
    let folder = format!("/lib/modules/{kernel}/updates");
    // A file system of its own, which is read-only to the daemon's view of it, too.
    machine.sh(&format!(
        "cp -a {folder} /srv/was && mount -t tmpfs tmpfs {folder} && cp -a /srv/was/. {folder}/ && mount -o remount,ro {folder}"
    ));
    let failed = machine.try_sh("dkmsctl remove slow-a/1.0");
    machine.sh(&format!("umount {folder}"));
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(said.contains("Read-only file system") && !said.contains("log:"), "{said}");
    let removed = machine.sh("dkmsctl remove slow-a/1.0");
    assert!(removed.contains("removed"), "{removed}");

    machine.drop_fixture("broken-dkmsd-1.0");
    machine.wait_for_status("broken-dkmsd has failed", LIMIT, |rows| rows.iter().any(|row| row.state == "failed"));
    let failed = machine.try_sh(&format!("dkmsctl rebuild broken-dkmsd -k {kernel}"));
    assert_eq!(failed.code, 1, "{failed:?}");
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert!(said.contains("this_function_is_in_no_kernel") && said.contains("/var/lib/dkmsd/logs/"), "{said}");

    let rows: serde_json::Value = serde_json::from_str(&machine.sh("dkmsctl status --json")).unwrap();
    assert_eq!(rows["packages"].as_array().unwrap().len(), machine.status().len());
}

#[test]
fn without_a_daemon_one_line_says_how_to_start_it() {
    let machine = Machine::with_dkmsd("no-daemon");
    machine.sh("systemctl disable --now dkmsd");
    for command in ["status", "kernels", "check", "jobs"] {
        let answer = machine.try_sh(&format!("dkmsctl {command}"));
        assert_eq!(answer.code, 3, "{command}: {answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
        assert!(answer.stderr.contains("systemctl") && answer.stdout.is_empty(), "{answer:?}");
    }
    machine.sh("systemctl enable dkmsd");
    // An enabled daemon is started by the first who asks for it on the bus.
    machine.sh("busctl call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager ListKernels && dkmsctl status");
}
