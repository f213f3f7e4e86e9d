//! `org.dkmsd1` on the system bus: what it tells, what it shows, and what it does when asked.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helper functions too")]

use std::time::Duration;

use dkmsd_tests::{Gate, Listener, Machine, Signal};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(300);
const MANAGER: &str = "/org/dkmsd1 org.dkmsd1.Manager";
const ERROR: &str = "this_function_is_in_no_kernel";

fn no_process_of_a_build(machine: &Machine) {
    machine.sh("! pgrep -u dkms && ! pgrep -x make && test $(pgrep -cx dkmsd) = 1");
}

/// The number in a job's signal.
fn job_of(signal: &Signal) -> u64 {
    signal.args[0].as_u64().unwrap()
}

/// Waits until a build of a package stands at the gate, and gives its job.
fn at_the_gate(machine: &Machine, gate: &Gate<'_>, package: &str) -> u64 {
    assert_eq!(gate.arrivals(1), [package]);
    let jobs = machine.call("ListJobs");
    let job = jobs[0].as_array().unwrap().iter().find(|job| job[2] == package);
    job.expect("a build at the gate is a job in the list")[0].as_u64().unwrap()
}

#[test]
fn the_bus_tells_shows_and_does_what_the_contract_says() {
    let machine = Machine::with_dkmsd("bus");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.rescan();

    a_failure_is_told_in_order(&machine, &kernel);
    a_running_job_is_shown_canceled_and_not_begun_again(&machine, &kernel);
    settings_are_read_again_or_refused(&machine, &kernel);
    a_hooks_word_replaces_the_package_managers_lock(&machine, &kernel);
}

fn a_failure_is_told_in_order(machine: &Machine, kernel: &str) {
    let mut bus = Listener::on(machine);
    machine.drop_fixture("broken-dkmsd-1.0");
    let removed =
        bus.wait_for("the end of its install", LIMIT, |s| s.is("JobRemoved", "broken-dkmsd") && s.text(4) == kernel);
    let (id, path) = (job_of(&removed), format!("/org/dkmsd1/job/_{}", job_of(&removed)));
    assert_eq!(
        removed.args,
        [json!(id), json!(path), json!("broken-dkmsd"), json!("1.0"), json!(kernel), json!("failed")]
    );

    // Everything about this entry: its state from the last one before the build on, its job, its failure.
    let about: Vec<&Signal> = bus.heard().iter().filter(|s| s.args.contains(&json!("broken-dkmsd"))).collect();
    let place = |what: &str, wanted: &dyn Fn(&Signal) -> bool| {
        let places: Vec<usize> = (0..about.len()).filter(|place| wanted(about[*place])).collect();
        assert_eq!(places.len(), 1, "{what}, once: {about:#?}");
        places[0]
    };
    let new = place("JobNew", &|s| s.member == "JobNew" && job_of(s) == id);
    let building =
        place("building", &|s| s.member == "StatusChanged" && s.text(2) == kernel && s.text(5) == "building");
    let failed = place("failed", &|s| s.member == "StatusChanged" && s.text(2) == kernel && s.text(5) == "failed");
    let error = place("BuildFailed", &|s| s.member == "BuildFailed");
    let removed = place("JobRemoved", &|s| s.member == "JobRemoved" && job_of(s) == id);
    assert!(new < building && building < failed && failed < error && error < removed, "{about:#?}");
    assert_eq!(about[new].args[1..], [json!(path), json!("broken-dkmsd"), json!("1.0"), json!(kernel)]);
    assert_eq!(about[failed].text(4), "building", "{about:#?}");
    assert_eq!((about[error].text(2), about[error].text(3)), (kernel, "x86_64"));
    assert!(about[error].text(4).contains(ERROR), "the compiler's line: {about:#?}");
    assert!(!about[error].text(4).contains('\n'), "{about:#?}");
    assert_eq!(machine.property("State"), "degraded");

    let history = machine.call("ListHistory u 1");
    assert_eq!(history[0].as_array().unwrap().len(), 1, "{history}");
    assert_eq!(machine.history(1)[0].job, id, "the newest first");
    machine.sh("rm -r /usr/src/broken-dkmsd-1.0 && dkmsctl remove broken-dkmsd/1.0");
}

fn a_running_job_is_shown_canceled_and_not_begun_again(machine: &Machine, kernel: &str) {
    let gate = Gate::of_builds(machine);
    let mut bus = Listener::on(machine);
    machine.drop_slow("slow-a");
    let id = at_the_gate(machine, &gate, "slow-a");
    let path = machine.call(&format!("GetJob u {id}"))[0].as_str().unwrap().to_owned();

    let job = machine.properties(&path, "org.dkmsd1.Job");
    for (name, value) in [
        ("Id", json!(id)),
        ("Operation", json!("install")),
        ("Package", json!("slow-a")),
        ("PackageVersion", json!("1.0")),
        ("Kernel", json!(kernel)),
        ("Arch", json!("x86_64")),
        ("StartedByUid", json!(0)),
        ("State", json!("running")),
        ("Phase", json!("building")),
        ("ProgressValid", json!(false)),
        ("Cancelable", json!(true)),
    ] {
        assert_eq!(job[name]["data"], value, "{name} of {job}");
    }
    assert_ne!(job["Reason"]["data"], "", "{job}");
    let phase = machine.sh(&format!("busctl get-property org.dkmsd1 {path} org.dkmsd1.Job Phase"));
    assert_eq!(phase, "s \"building\"");
    bus.wait_for("its phase", LIMIT, |s| {
        s.member == "PropertiesChanged" && s.path == path && s.args[1]["Phase"]["data"] == "building"
    });
    let manager = machine.properties("/org/dkmsd1", "org.dkmsd1.Manager");
    // One prepares while another compiles; the jobserver bounds the compilers.
    let processors: u64 = machine.sh("nproc").parse().unwrap();
    assert_eq!((&manager["NJobs"]["data"], &manager["State"]["data"]), (&json!(1), &json!("building")), "{manager}");
    assert_eq!(manager["MaxJobs"]["data"], json!(2 * processors));
    assert_eq!(manager["RunningKernel"]["data"], json!(machine.sh("uname -r")));
    let watching = manager["Watching"]["data"].as_array().unwrap();
    assert!(watching.contains(&json!("/usr/src")), "{manager}");

    // busctl takes no descriptors; dkmsctl reads a running job's log by the one that OpenLog gives, whoever asks.
    let log = machine.sh(&format!("setpriv --reuid=65534 --regid=65534 --clear-groups dkmsctl logs {id}"));
    assert!(log.contains("make"), "{log}");
    let log = machine.sh(&format!("busctl call org.dkmsd1 {path} org.dkmsd1.Job OpenLog"));
    assert!(log.starts_with("h "), "{log}");

    let unknown = machine.refusal("", &format!("{MANAGER} GetJob u 4000000000"));
    assert_eq!(unknown.name, "org.dkmsd1.Error.NoSuchJob", "{unknown:?}");

    machine.call(&format!("CancelJob u {id}"));
    let removed = bus.wait_for("its end", LIMIT, |s| s.member == "JobRemoved" && job_of(s) == id);
    assert_eq!(removed.text(5), "canceled");
    no_process_of_a_build(machine);
    let gone = machine.refusal("", &format!("{path} org.dkmsd1.Job Cancel 'a{{sv}}' 0"));
    assert_eq!(gone.name, "org.freedesktop.DBus.Error.UnknownObject", "{gone:?}");
    let gone = machine.refusal("", &format!("{MANAGER} CancelJob u {id}"));
    assert_eq!(gone.name, "org.dkmsd1.Error.NoSuchJob", "{gone:?}");

    // It stays so over a look, a restart, and the work on another package.
    machine.rescan();
    assert_eq!(machine.property("NJobs"), 0);
    machine.sh("systemctl restart dkmsd");
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.wait_installed(kernel, &["hello-dkmsd"], LIMIT);
    machine.rescan();
    assert_eq!(machine.installs("slow-a"), ["canceled"]);
    let row = machine.row("slow-a", kernel);
    assert!(row.state != "installed" && row.reason.contains("canceled"), "{row:?}");

    // By its object, too; and a queued job never starts.
    let mut bus = Listener::on(machine);
    machine.sh(&format!("dkmsctl rebuild slow-a/1.0 -k {kernel} --no-wait"));
    let id = at_the_gate(machine, &gate, "slow-a");
    let queued = &machine.call(&format!("Uninstall 'ssssa{{sv}}' slow-a 1.0 {kernel} x86_64 0"))[0];
    let state = machine.properties(&format!("/org/dkmsd1/job/_{queued}"), "org.dkmsd1.Job");
    assert_eq!(
        (&state["State"]["data"], &state["Operation"]["data"]),
        (&json!("queued"), &json!("uninstall")),
        "{state}"
    );
    machine.call(&format!("CancelJob u {queued}"));
    let removed =
        bus.wait_for("the queued one's end", LIMIT, |s| s.member == "JobRemoved" && json!(job_of(s)) == *queued);
    assert_eq!(removed.text(5), "canceled");
    machine.sh(&format!("busctl call org.dkmsd1 /org/dkmsd1/job/_{id} org.dkmsd1.Job Cancel 'a{{sv}}' 0"));
    let removed = bus.wait_for("the running one's end", LIMIT, |s| s.member == "JobRemoved" && job_of(s) == id);
    assert_eq!(removed.text(5), "canceled");
    no_process_of_a_build(machine);
    machine.rescan();
    assert_eq!(machine.installs("slow-a"), ["canceled", "canceled"]);

    gate.take_away();
    machine.sh(&format!("dkmsctl rebuild slow-a/1.0 -k {kernel}"));
    assert_eq!(machine.installs("slow-a"), ["canceled", "canceled", "done"]);
    assert_eq!(machine.row("slow-a", kernel).state, "installed");
    assert_eq!(machine.property("State"), "idle");
}

fn settings_are_read_again_or_refused(machine: &Machine, kernel: &str) {
    let (file, process) = ("/etc/dkms/dkmsd.toml", machine.sh("systemctl show -P MainPID dkmsd"));
    machine.sh(&format!("printf '[daemon]\\nmax_jobs = 3\\n' > {file}"));
    let mut bus = Listener::on(machine);
    machine.call("Reload");
    assert_eq!(machine.property("MaxJobs"), 3);
    bus.wait_for("the new value", LIMIT, |s| s.member == "PropertiesChanged" && s.args[1]["MaxJobs"]["data"] == 3);

    machine.sh(&format!("printf '[daemon]\\nmax_jobs = 4\\nmax_jbos = 5\\n' > {file}"));
    let refused = machine.refusal("", &format!("{MANAGER} Reload"));
    assert_eq!(refused.name, "org.dkmsd1.Error.Failed", "{refused:?}");
    assert!(refused.message.contains(&format!("{file}:3")) && refused.message.contains("max_jbos"), "{refused:?}");
    assert_eq!(machine.property("MaxJobs"), 3, "the old settings stay");

    machine.sh(&format!("printf '[daemon]\\n\\nmax_jobs = 0\\n\\n' > {file}; systemctl reload dkmsd"));
    machine.wait_until(
        "the refusal",
        &format!("journalctl -u dkmsd -p err -o cat | grep '{file}:3.*max_jobs is 0'"),
        LIMIT,
    );
    assert_eq!(machine.property("MaxJobs"), 3);
    machine.sh("systemctl --quiet is-active dkmsd");
    machine.sh(&format!("dkmsctl rebuild hello-dkmsd/1.0 -k {kernel}"));

    machine.sh(&format!("printf '[daemon]\\nmax_jobs = 2\\n' > {file} && systemctl reload dkmsd"));
    bus.wait_for("reloaded", LIMIT, |s| s.member == "PropertiesChanged" && s.args[1]["MaxJobs"]["data"] == 2);
    assert_eq!(machine.sh("systemctl show -P MainPID dkmsd"), process, "one daemon all along");
}

/// Nothing is begun while a package manager works; a kernel's hook runs under it, and its word is enough.
fn a_hooks_word_replaces_the_package_managers_lock(machine: &Machine, kernel: &str) {
    let dpkg = Gate::closed(machine, "/srv/dpkg-gate");
    let mut holder = machine
        .command(
            "exec perl -MFcntl -e '
                open my $lock, \">>\", \"/var/lib/dpkg/lock-frontend\" or die;
                my $whole = pack \"s s q q i x4\", F_WRLCK, 0, 0, 0, 0;
                fcntl $lock, F_SETLK, $whole or die;
                open my $started, \">\", \"/srv/dpkg-gate/started\" or die;
                print $started \"held\\n\"; close $started;
                open my $go, \"<\", \"/srv/dpkg-gate/go\" or die; <$go>'",
        )
        .spawn()
        .unwrap();
    assert_eq!(dpkg.arrivals(1), ["held"]);
    machine.drop_slow("slow-b");
    // A job that a person asks for runs all the same, and the look after it sees the new package.
    machine.sh(&format!("dkmsctl rebuild hello-dkmsd/1.0 -k {kernel}"));
    assert_eq!(machine.property("NJobs"), 0);
    assert!(machine.installs("slow-b").is_empty());
    assert_eq!(machine.property("State"), "settling");

    machine.call(&format!("KernelAdded s {kernel}"));
    machine.wait_installed(kernel, &["slow-b"], LIMIT);
    assert!(holder.try_wait().unwrap().is_none(), "the lock was held all along");
    dpkg.let_go();
    assert!(holder.wait().unwrap().success());

    let unknown = machine.refusal("", &format!("{MANAGER} KernelAdded s no/kernel"));
    assert_eq!(unknown.name, "org.dkmsd1.Error.UnknownKernel", "{unknown:?}");
}
