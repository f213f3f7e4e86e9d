//! Anyone may look; only those whom polkit lets may change anything.

use std::time::Duration;

use dkmsd_tests::{Gate, Machine};

const LIMIT: Duration = Duration::from_secs(300);
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";
const MANAGER: &str = "busctl --json=short call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager";

/// Refused, and because of who asks.
fn is_not_authorized(machine: &Machine, call: &str) {
    let refusal = machine.refusal(NOBODY, call);
    assert_eq!(refusal.name, "org.dkmsd1.Error.NotAuthorized", "{call}: {refusal:?}");
    assert!(refusal.message.contains("65534"), "{call}: {refusal:?}");
}

#[test]
fn an_unprivileged_user_reads_everything_and_changes_nothing() {
    let machine = Machine::with_dkmsd("nobody");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.wait_installed(&kernel, &["hello-dkmsd"], LIMIT);
    let before = machine.row("hello-dkmsd", &kernel);

    for reading in
        ["ListStatus 'a{sv}' 0", "ListKernels", "ListJobs", "ListHistory u 0", &format!("CheckKernel s {kernel}")]
    {
        machine.sh(&format!("{NOBODY} {MANAGER} {reading}"));
    }
    machine.sh(&format!("{NOBODY} busctl introspect org.dkmsd1 /org/dkmsd1"));
    machine.sh(&format!("{NOBODY} busctl get-property org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager State"));
    machine.sh(&format!("{NOBODY} dkmsctl status && {NOBODY} dkmsctl kernels && {NOBODY} dkmsctl check -k {kernel}"));

    // Something to cancel.
    let gate = Gate::of_builds(&machine);
    machine.drop_slow("slow-a");
    assert_eq!(gate.arrivals(1), ["slow-a"]);
    let id = machine.call("ListJobs")[0][0][0].as_u64().unwrap();
    let entry = format!("hello-dkmsd 1.0 {kernel} x86_64 0");
    for change in [
        "Add 'sa{sv}' /usr/src/hello-dkmsd-1.0 0".to_owned(),
        "Remove 'ssa{sv}' hello-dkmsd 1.0 0".to_owned(),
        format!("Build 'ssssa{{sv}}' {entry}"),
        format!("Install 'ssssa{{sv}}' {entry}"),
        format!("Uninstall 'ssssa{{sv}}' {entry}"),
        format!("Unbuild 'ssssa{{sv}}' {entry}"),
        format!("Rebuild 'sssa{{sv}}' hello-dkmsd 1.0 {kernel} 0"),
        format!("Autoinstall 'sa{{sv}}' {kernel} 0"),
        format!("KernelAdded s {kernel}"),
        format!("KernelRemoved s {kernel}"),
        "Rescan".to_owned(),
        "Reload".to_owned(),
        format!("CancelJob u {id}"),
    ] {
        is_not_authorized(&machine, &format!("/org/dkmsd1 org.dkmsd1.Manager {change}"));
    }
    // There is a job to end, and it is not ended.
    is_not_authorized(&machine, &format!("/org/dkmsd1/job/_{id} org.dkmsd1.Job Cancel 'a{{sv}}' 0"));
    assert_eq!(machine.properties(&format!("/org/dkmsd1/job/_{id}"), "org.dkmsd1.Job")["State"]["data"], "running");
    gate.let_go();
    machine.wait_installed(&kernel, &["slow-a"], LIMIT);
    assert_eq!(machine.installs("slow-a"), ["done"]);
    gate.take_away();
    let hello = || machine.row("hello-dkmsd", &kernel);
    assert_eq!(hello(), before);
    // The refusals are about who asks, not about what: root may.
    machine.sh(&format!("{MANAGER} Rescan && {MANAGER} KernelAdded s {kernel}"));

    let refused = machine.try_sh(&format!("{NOBODY} dkmsctl uninstall hello-dkmsd/1.0 -k {kernel}"));
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(!refused.stderr.is_empty(), "a refusal says why");
    // The socket for root is for root.
    machine.sh(&format!("test -w /run/dkmsd/private && ! {NOBODY} test -w /run/dkmsd/private"));

    // What polkit's rules allow a user is allowed, and nothing else.
    machine.sh("useradd alice && cat > /etc/polkit-1/rules.d/10-alice.rules <<'E'
polkit.addRule(function(action, subject) {
    if (action.id == \"org.dkmsd1.build\" && subject.user == \"alice\") return polkit.Result.YES;
});
E
        systemctl restart polkit");
    let alice = "setpriv --reuid=alice --regid=alice --clear-groups";
    machine.sh(&format!("{alice} {MANAGER} Rescan"));
    let refused = machine.refusal(alice, &format!("/org/dkmsd1 org.dkmsd1.Manager Uninstall 'ssssa{{sv}}' {entry}"));
    assert_eq!(refused.name, "org.dkmsd1.Error.NotAuthorized", "{refused:?}");
    assert_eq!(hello(), before);
    assert_eq!(machine.installs("hello-dkmsd"), ["done"]);
}
