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
    // tar asks it.
    machine.apt_install(&["bzip2"]);
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
        "test ! -e /lib/modules/{kernel}/updates; ls /var/lib/dkms | {{ ! grep -vE '^(mok|dkms_dbversion)'; }}
         ! grep updates/ /lib/modules/{kernel}/modules.dep"
    ));
}

fn line(id: &str, kernel: &str, state: &str) -> String {
    if state == "added" { format!("{id}: added") } else { format!("{id}, {kernel}, x86_64: {state}") }
}

/// What mktarball puts in, by its option, and what becomes of it: whether the source is there already when it is loaded,
/// the state it then has, and what ldtarball ends with.
const FORMS: [(&str, bool, &str, i32); 4] = [
    ("", false, "built", 0),
    ("--source-only", false, "added", 0),
    // The modules are loaded all the same.
    ("--binaries-only", false, "built", 1),
    ("--binaries-only", true, "built", 0),
];

/// What `--archive` ends with, and the program that knows whether it is that. Debian's dkms makes and takes all of them.
const COMPRESSIONS: [(&str, &str); 5] = [
    (".dkms.tar.gz", "gzip -t"),
    (".tar.xz", "xz -t"),
    (".tar.bz2", "bzip2 -t"),
    (".tar.zst", "zstd -q -t"),
    (".tar", "tar -tf"),
];

/// Archives of each form and compression that `maker` makes are loaded by `taker`.
fn archives_go_over(machine: &Machine, kernel: &str, maker: &str, taker: &str) {
    let (_, id) = DRIVERS[0];
    let named = id.replace('/', "-");
    let (tree, source) = (format!("/var/lib/dkms/{id}"), format!("/usr/src/{named}"));
    let built = format!("{tree}/{kernel}/x86_64");
    // Every file with its mode.
    let of_source = format!("cd {source} && find . -type f -printf '%m ' -exec sha256sum {{}} \\; | sort");
    machine.sh(&format!(
        "set -e; rm -rf /srv/archive; mkdir /srv/archive; cd /srv/archive; {maker} build {id} -k {kernel}
         cp -a {source} source; cp -a {built} built; ({of_source}) > sources"
    ));
    for (option, suffix, proof) in archives() {
        let archive = format!("/srv/archive/a{option}{suffix}");
        machine.sh(&format!("{maker} mktarball {id} -k {kernel} {option} --archive {archive} && {proof} {archive}"));
    }
    // Their own names and place are the same, too.
    let own =
        [format!("-kernel{kernel}-x86_64"), "-source-only".to_owned()].map(|what| format!("{named}{what}.dkms.tar.gz"));
    machine.sh(&format!("{maker} mktarball {id} -k {kernel} && {maker} mktarball {id} -k {kernel} --source-only"));
    assert_eq!(machine.sh(&format!("ls {tree}/tarball")), own.join("\n"), "{maker}");
    machine.sh(&format!("{maker} remove {id} --all && rm -rf {source}"));

    for (option, source_there, state, code) in FORMS {
        for (place, (suffix, _)) in COMPRESSIONS.into_iter().enumerate() {
            let what = format!("{maker} → {taker}: a{option}{suffix}, source there: {source_there}");
            if source_there {
                machine.sh(&format!("cp -a /srv/archive/source {source}"));
            }
            let loaded = machine.try_sh(&format!("{taker} ldtarball --archive /srv/archive/a{option}{suffix}"));
            assert_eq!(loaded.code, code, "{what}: {loaded:?}");
            assert_eq!(machine.sh(&format!("{taker} status")), line(id, kernel, state), "{what}");
            if code == 0 {
                machine.sh(&format!("test {tree}/source -ef {source} && ({of_source}) | diff - /srv/archive/sources"));
            } else {
                machine.sh(&format!("cmp {tree}/source/dkms.conf /srv/archive/source/dkms.conf && test ! -e {source}"));
            }
            if state == "built" {
                // What tells of the machine it was built on stays there.
                machine.sh(&format!("diff -r -x '.dkmsd-*' {built} /srv/archive/built"));
            }
            // What arrived has the same bytes in all of them.
            if place == 0 {
                machine.sh(&format!("{taker} install {id} -k {kernel} && modinfo -k {kernel} acpi_call"));
                assert_eq!(machine.sh(&format!("{maker} status")), line(id, kernel, "installed"), "{what}");
            }
            machine.sh(&format!("{taker} remove {id} --all && rm -rf {source} && ! modinfo -k {kernel} acpi_call"));
            assert_eq!(machine.sh(&format!("{maker} status")), "", "{what}");
        }
    }
}

/// Each option that mktarball is given with each suffix, and the proof of its compression.
fn archives() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let options = ["", "--source-only", "--binaries-only"];
    options.into_iter().flat_map(|option| COMPRESSIONS.map(|(suffix, proof)| (option, suffix, proof)))
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
    archives_go_over(&theirs, &kernel, CLASSIC, OURS);
    archives_go_over(&ours, &kernel, OURS, CLASSIC);
}
