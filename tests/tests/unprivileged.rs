//! Anyone may look; only those whom polkit lets may change anything.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";
const MANAGER: &str = "busctl --json=short call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager";

#[test]
fn an_unprivileged_user_reads_everything_and_changes_nothing() {
    let machine = Machine::with_dkmsd("nobody");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.wait_installed(&kernel, &["hello-dkmsd"], LIMIT);
    let before = machine.status();

    for reading in
        ["ListStatus 'a{sv}' 0", "ListKernels", "ListJobs", "ListHistory u 0", &format!("CheckKernel s {kernel}")]
    {
        machine.sh(&format!("{NOBODY} {MANAGER} {reading}"));
    }
    machine.sh(&format!("{NOBODY} busctl introspect org.dkmsd1 /org/dkmsd1"));
    machine.sh(&format!("{NOBODY} busctl get-property org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager State"));
    machine.sh(&format!("{NOBODY} dkmsctl status && {NOBODY} dkmsctl kernels && {NOBODY} dkmsctl check -k {kernel}"));

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
        "CancelJob u 1".to_owned(),
    ] {
        let answer = machine.try_sh(&format!("{NOBODY} {MANAGER} {change}"));
        assert_ne!(answer.code, 0, "{change} was not refused: {answer:?}");
        assert!(answer.stderr.contains("65534"), "{change} was refused for another reason: {answer:?}");
    }
    assert_eq!(machine.status(), before);
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
    machine.sh(&format!("! {alice} {MANAGER} Uninstall 'ssssa{{sv}}' {entry} 2> /dev/null"));
    assert_eq!(machine.status(), before);
}
