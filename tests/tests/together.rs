//! `dkms` and the daemon on one tree: each sees what the other did, and nothing is done twice.

use std::process::{Command, Stdio};
use std::time::Duration;

use dkmsd_tests::{Gate, Listener, Machine};

const LIMIT: Duration = Duration::from_secs(300);
/// The quiet period and a look, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

fn machine(name: &str) -> (Machine, String) {
    let machine = Machine::with_dkmsd(name);
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    (machine, kernel)
}

/// Runs `dkms` inside, to be started beside the test; its process id there is in /run/dkms.pid.
fn beside(machine: &Machine, arguments: &str) -> Command {
    let mut command = machine.command(&format!("echo $$ > /run/dkms.pid && exec dkms {arguments} > /srv/said 2>&1"));
    command.stdin(Stdio::null());
    command
}

#[test]
fn what_dkms_did_is_seen_signalled_and_left_alone() {
    let (machine, kernel) = machine("seen");
    // One that the daemon would not install by itself.
    machine.sh("cp -r /opt/dkmsd/tests/fixtures/hello-dkmsd-1.0 /var/tmp/ && sed -i /AUTOINSTALL/d /var/tmp/hello-dkmsd-1.0/dkms.conf
         mv /var/tmp/hello-dkmsd-1.0 /usr/src/");
    let mut listener = Listener::on(&machine);
    let mut becomes = |state: &'static str| {
        listener.wait_for(state, SOON, |s| {
            s.is("StatusChanged", "hello-dkmsd") && s.text(2) == kernel && s.text(5) == state
        });
        assert_eq!(machine.row("hello-dkmsd", &kernel).state, state);
    };
    machine.sh("dkms add hello-dkmsd/1.0");
    becomes("added");
    machine.sh(&format!("dkms build hello-dkmsd/1.0 -k {kernel}"));
    becomes("built");
    machine.sh(&format!("dkms install hello-dkmsd/1.0 -k {kernel}"));
    becomes("installed");
    machine.sh(&format!("dkms uninstall hello-dkmsd/1.0 -k {kernel}"));
    becomes("held");
    machine.sh("dkms remove hello-dkmsd/1.0 --all");
    listener.wait_for("gone", SOON, |s| s.is("StatusChanged", "hello-dkmsd") && s.text(5).is_empty());
    assert!(machine.history(0).is_empty(), "the daemon had nothing to do: {:#?}", machine.history(0));

    // One that it would.
    machine.drop_fixture("deps-below-1.0");
    machine.wait_installed(&kernel, &["deps-below"], LIMIT);
    machine.sh("dkms remove deps-below/1.0 --all");
    listener.wait_for("held", SOON, |s| s.is("StatusChanged", "deps-below") && s.text(5) == "held");
    machine.rescan();
    machine.sh("systemctl restart dkmsd");
    machine.rescan();
    assert_eq!(machine.row("deps-below", &kernel).state, "held");
    assert_eq!(machine.property("NJobs"), 0);
    assert_eq!(machine.installs("deps-below"), ["done"]);
    machine.sh(&format!("! find /lib/modules/{kernel}/ -name 'deps_below.ko*' | grep ."));
}

#[test]
fn a_build_that_dkms_is_at_is_waited_for_and_not_begun_again() {
    let (machine, kernel) = machine("beside");
    machine.sh("systemctl stop dkmsd");
    machine.drop_slow("slow-a");
    let gate = Gate::of_builds(&machine);
    let mut dkms = beside(&machine, &format!("install slow-a/1.0 -k {kernel}")).spawn().unwrap();
    assert_eq!(gate.arrivals(1), ["slow-a"]);

    machine.sh("systemctl start dkmsd");
    machine.wait_for_status("a job says for whom it waits", LIMIT, |rows| {
        rows.iter().any(|r| r.package == "slow-a" && r.state == "queued" && r.reason.starts_with("waiting for process"))
    });
    let pid = machine.sh("cat /run/dkms.pid");
    for said in [machine.sh("dkmsctl status slow-a"), machine.sh("dkmsctl jobs")] {
        assert!(said.contains(&format!("process {pid} (")) && said.contains("install slow-a/1.0"), "{said}");
    }
    gate.let_go();
    assert!(dkms.wait().unwrap().success(), "{}", machine.sh("cat /srv/said"));
    machine.wait_installed(&kernel, &["slow-a"], LIMIT);
    machine.wait_until("the daemon's job is over", "dkmsctl jobs | grep -qx 'no jobs'", SOON);
    assert_eq!(machine.installs("slow-a").len(), 1, "a depmod may have been left to do, no more");
    assert_eq!(machine.sh("ls /var/lib/dkmsd/logs/slow-a/1.0/* | wc -l"), "1", "one build");
}

#[test]
fn a_dkms_that_is_killed_leaves_its_lock_and_its_work_to_the_daemon() {
    let (machine, kernel) = machine("left");
    machine.sh("systemctl stop dkmsd");
    machine.drop_slow("slow-a");
    let gate = Gate::of_builds(&machine);
    let mut dkms = beside(&machine, &format!("install slow-a/1.0 -k {kernel}")).spawn().unwrap();
    assert_eq!(gate.arrivals(1), ["slow-a"]);
    machine.sh("systemctl start dkmsd");
    machine
        .wait_for_status("a job waits", LIMIT, |rows| rows.iter().any(|r| r.reason.starts_with("waiting for process")));
    machine.sh("kill -KILL $(cat /run/dkms.pid)");
    dkms.wait().unwrap();
    assert_eq!(gate.arrivals(1), ["slow-a"], "the daemon builds it");
    machine.wait_for_status("its job builds", LIMIT, |rows| rows.iter().any(|r| r.state == "building"));
    gate.let_go();
    machine.wait_installed(&kernel, &["slow-a"], LIMIT);
    machine.sh(&format!("dkmsctl check -k {kernel}"));
}

#[test]
fn what_dkms_takes_away_while_a_job_waits_for_it_stays_away() {
    let (machine, kernel) = machine("away");
    machine.drop_slow("slow-a");
    let gate = Gate::of_builds(&machine);
    // The daemon is at it when an admin decides otherwise.
    assert_eq!(gate.arrivals(1), ["slow-a"]);
    let mut dkms = beside(&machine, "remove slow-a/1.0 --all").spawn().unwrap();
    machine.wait_until("it waits for the build", "grep -q 'waiting for process' /srv/said", LIMIT);
    gate.let_go();
    assert!(dkms.wait().unwrap().success(), "{}", machine.sh("cat /srv/said"));
    machine.wait_until("no job is left", "dkmsctl jobs | grep -qx 'no jobs'", LIMIT);
    machine.rescan();
    assert_eq!(machine.property("NJobs"), 0);
    assert_eq!(machine.row("slow-a", &kernel).state, "held");
    machine.sh(&format!("! find /lib/modules/{kernel}/ -name 'slow_a.ko*' | grep ."));
}
