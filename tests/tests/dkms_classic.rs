//! Against Debian's own `dkms`, seen from outside only: the same packages give the same result, and each works with what
//! the other has made.

use dkmsd_tests::Machine;

/// Debian package and NAME/VERSION; the last one is not for this kernel.
const DRIVERS: [(&str, &str); 4] = [
    ("acpi-call-dkms", "acpi-call/1.2.2"),
    ("bbswitch-dkms", "bbswitch/0.8"),
    ("tp-smapi-dkms", "tp_smapi/0.43"),
    ("v4l2loopback-dkms", "v4l2loopback/0.12.7"),
];

/// Where each of the two lies, whichever of them the packages use.
const OURS: &str = "/opt/dkmsd/bin/dkms";
const CLASSIC: &str = "/opt/classic/usr/sbin/dkms";

/// A machine with one whole kernel and the packages, by the `dkms` that `bring` brings.
fn machine_with(name: &str, bring: impl FnOnce(&Machine)) -> (Machine, String) {
    let machine = Machine::start(name);
    machine.carry_checkout();
    machine.put(OURS);
    let [kernel, _] = machine.two_kernels("cloud-amd64");
    machine.sh(&format!(
        "apt-get update -q > /dev/null; cd /var/cache/apt/archives
         apt-get download -q dkms linux-image-{kernel}; dpkg -x dkms_*.deb /opt/classic
         dpkg --fsys-tarfile linux-image-{kernel}_*.deb | tar -C / --keep-directory-symlink -x; depmod -a {kernel}"
    ));
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    bring(&machine);
    machine.apt_install(&DRIVERS.map(|(deb, _)| deb));
    (machine, kernel)
}

fn classic() -> (Machine, String) {
    machine_with("classic", |machine| {
        machine.apt_install(&["dkms"]);
        let version = machine.sh("dkms --version");
        assert!(version.starts_with("dkms-3.0"), "{version}");
    })
}

fn ours() -> (Machine, String) {
    machine_with("ours", |machine| {
        machine.stand_in_for_dkms("3.4.3");
        machine.sh("/opt/dkmsd/systemd/install.sh --bin-dir /opt/dkmsd/bin --no-start");
    })
}

/// Everything that has to be the same, whoever did it.
#[derive(Debug, PartialEq, Eq)]
struct Result {
    status: String,
    files: String,
    modules: String,
}

fn result(machine: &Machine, kernel: &str) -> Result {
    Result {
        status: machine.sh("dkms status"),
        files: machine.sh(&format!("cd /lib/modules/{kernel}; find . -path ./kernel -prune -o -print | sort")),
        // Each makes a key of its own.
        modules: machine.sh(&format!(
            "cd /lib/modules/{kernel}/updates/dkms; for module in *; do
                 echo \"$module\"; modinfo \"$module\" | grep -vE '^(filename|sig[a-z_]*):|^[[:space:]]'
             done"
        )),
    }
}

/// What `dkms` is asked to do with a tree that another one made, and with the kernel's folder.
fn takes_over(machine: &Machine, kernel: &str, dkms: &str, other: &str) {
    let status = |wanted: &[(&str, &str)], when: &str| {
        let lines: Vec<_> = wanted.iter().map(|(id, state)| line(id, kernel, state)).collect();
        for program in [dkms, other] {
            assert_eq!(machine.sh(&format!("{program} status")), lines.join("\n"), "{when}: {program}");
        }
    };
    let [call, switch, smapi, loopback] = DRIVERS.map(|(_, id)| id);
    status(&[(call, "installed"), (switch, "installed"), (smapi, "installed"), (loopback, "added")], "as it was made");

    machine.sh(&format!("{dkms} uninstall {switch} -k {kernel}; ! modinfo -k {kernel} bbswitch"));
    status(&[(call, "installed"), (switch, "built"), (smapi, "installed"), (loopback, "added")], "uninstalled");
    machine.sh(&format!("{dkms} install {switch} -k {kernel}; modinfo -k {kernel} bbswitch"));
    status(&[(call, "installed"), (switch, "installed"), (smapi, "installed"), (loopback, "added")], "installed");
    machine.sh(&format!("{dkms} unbuild {switch} -k {kernel} || {dkms} remove {switch} -k {kernel}"));
    machine.sh(&format!("{dkms} install --force {call} -k {kernel}; modinfo -k {kernel} acpi_call"));

    // Of what one has taken over, the other takes over the rest.
    machine.sh(&format!("{other} remove {call} --all; {dkms} remove {smapi} --all; {dkms} remove {loopback} --all"));
    machine.sh(&format!("{dkms} status | grep -q ^bbswitch && {dkms} remove {switch} --all || true"));
    status(&[], "removed");
    machine.sh(&format!(
        "! test -e /lib/modules/{kernel}/updates; ls /var/lib/dkms | {{ ! grep -vE '^(mok|dkms_dbversion)'; }}
         ! grep updates/ /lib/modules/{kernel}/modules.dep"
    ));
}

fn line(id: &str, kernel: &str, state: &str) -> String {
    if state == "added" { format!("{id}: added") } else { format!("{id}, {kernel}, x86_64: {state}") }
}

/// An archive that `maker` makes, with modules and without, is loaded by `taker`.
fn archive_goes_over(machine: &Machine, kernel: &str, maker: &str, taker: &str) {
    let (_, id) = DRIVERS[0];
    let source = format!("/usr/src/{}", id.replace('/', "-"));
    machine.sh(&format!(
        "set -e; rm -rf /srv/archive; mkdir /srv/archive; cp -a {source} /srv/archive/source
         {maker} build {id} -k {kernel}; sha256sum < /var/lib/dkms/{id}/{kernel}/x86_64/module/acpi_call.ko > /srv/archive/sum
         {maker} mktarball {id} -k {kernel} --archive /srv/archive/whole.tar.gz
         {maker} mktarball {id} --source-only -k {kernel} --archive /srv/archive/source.tar.gz
         {maker} remove {id} --all; rm -rf {source}
         find /srv/archive /var/lib/dkms -name '*.tar.gz' >&2"
    ));
    machine.sh(&format!("{taker} ldtarball --archive /srv/archive/whole.tar.gz"));
    assert_eq!(machine.sh(&format!("{taker} status")), line(id, kernel, "built"), "{maker} → {taker}");
    machine.sh(&format!(
        "set -e; sha256sum < /var/lib/dkms/{id}/{kernel}/x86_64/module/acpi_call.ko | cmp - /srv/archive/sum
         diff -r {source} /srv/archive/source
         {taker} install {id} -k {kernel}; modinfo -k {kernel} acpi_call; {taker} remove {id} --all; rm -rf {source}
         {taker} ldtarball --archive /srv/archive/source.tar.gz"
    ));
    assert_eq!(machine.sh(&format!("{taker} status")), line(id, kernel, "added"), "{maker} → {taker}, source only");
    machine.sh(&format!("{taker} remove {id} --all; diff -r {source} /srv/archive/source"));
}

#[test]
fn what_one_makes_is_what_the_other_makes_and_takes() {
    let ((theirs, kernel), (ours, same)) = std::thread::scope(|scope| {
        let theirs = scope.spawn(classic);
        let ours = ours();
        (theirs.join().expect("the other machine is made too"), ours)
    });
    assert_eq!(kernel, same);
    let (a, b) = (result(&theirs, &kernel), result(&ours, &kernel));
    assert_eq!(a.status, b.status);
    assert_eq!(a.files, b.files);
    assert_eq!(a.modules, b.modules);

    takes_over(&theirs, &kernel, OURS, CLASSIC);
    takes_over(&ours, &kernel, CLASSIC, OURS);
    archive_goes_over(&theirs, &kernel, CLASSIC, OURS);
    archive_goes_over(&ours, &kernel, OURS, CLASSIC);
}
