//! A tree that is not the machine's (`--dkmstree`): whoever may change it can build in it, and nothing of it is held
//! against the machine's own packages.

use dkmsd_tests::Machine;

/// A machine without the daemon, with `dkms`, the build user, headers, and the driver hello-dkmsd.
fn machine(name: &str) -> (Machine, String) {
    let machine = Machine::start(name);
    machine.put("/usr/sbin/dkms");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.sh("useradd --system dkms; useradd --create-home joe");
    (machine, kernel)
}

#[test]
fn who_owns_a_tree_builds_in_it_and_what_is_removed_there_is_not_held_here() {
    let (machine, kernel) = machine("own-tree");
    machine.sh("install -d -o joe /home/joe/tree /home/joe/src; cp -r /usr/src/hello-dkmsd-1.0 /home/joe/src");
    let dkms = |action: &str| {
        machine.sh(&format!(
            "su joe -c 'dkms {action} hello-dkmsd/1.0 --dkmstree /home/joe/tree --sourcetree /home/joe/src' 2>&1"
        ))
    };
    dkms("add");
    let said = dkms(&format!("build -k {kernel}"));
    assert!(!said.contains('\x1b'), "no colours where nobody sees them: {said:?}");
    let said = dkms("status");
    assert!(said.ends_with(&format!("hello-dkmsd/1.0, {kernel}, x86_64: built")), "{said}");
    dkms(&format!("mktarball -k {kernel}"));
    dkms("remove --all");
    machine.sh("test ! -e /home/joe/tree/hello-dkmsd");

    machine.sh("dkms add hello-dkmsd/1.0 --dkmstree /srv/tree; dkms remove hello-dkmsd/1.0 --all --dkmstree /srv/tree");
    machine.sh("test -s /srv/tree/.dkmsd-state/holds.json; test ! -e /var/lib/dkmsd/holds.json");

    // What only the machine's own tree allows is refused with what to do.
    let refused = machine.try_sh("su joe -c 'dkms add hello-dkmsd/1.0'");
    assert_eq!((refused.code, refused.stderr.contains("--dkmstree")), (1, true), "{}", refused.stderr);
}
