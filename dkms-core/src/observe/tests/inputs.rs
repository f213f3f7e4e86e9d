//! What a look takes from a package once, for all kernels.

use super::*;

#[rstest]
#[case::none(&[])]
#[case::for_every_kernel(&["a.conf"])]
#[case::for_one_kernel(&["a-1-6.1.0-56-amd64.conf"])]
#[case::of_another(&["a-2.conf", "ab.conf"])]
#[case::scripts_too(&["a/patches/x.patch", "a--6.1.0-56-amd64.conf"])]
fn a_look_takes_the_inputs_that_a_build_takes(#[case] overrides: &[&str]) {
    let machine = Machine::new();
    machine.source("AUTOINSTALL=yes");
    for file in overrides {
        machine.write(&format!("etc/dkms/{file}"), "CLEAN=x\n");
    }
    let observer = machine.observer();
    let later = SystemTime::now() + QUIET;
    let look = observer.look(later).unwrap();
    let HeaderState::Ready(headers) = observer.headers(&machine.kernel, later, QUIET) else { panic!("not ready") };
    let inputs = observer.inputs(&a(), &machine.kernel, &machine.path("usr/src/a-1"), &headers, "").unwrap();
    assert_eq!(entry(&look).inputs, Some(inputs));
}

#[test]
fn a_log_is_told_wherever_one_lies() {
    let machine = Machine::new();
    machine.classic();
    assert_eq!(entry(&machine.look()).log, None);
    let log = format!("var/lib/dkms/a/1/{RELEASE}/{}/log/make.log", machine.kernel.arch);
    machine.write(&log, "built\n");
    assert_eq!(entry(&machine.look()).log, Some(machine.path(&log)));
    // Without what it is the log of.
    let kernel = machine.path(&format!("var/lib/dkms/a/1/{RELEASE}/{}", machine.kernel.arch));
    fs::remove_dir_all(kernel.join("module")).unwrap();
    fs::remove_file(machine.path(&format!("var/lib/dkms/a/kernel-{RELEASE}-{}", machine.kernel.arch))).unwrap();
    assert_eq!(entry(&machine.look()).log, Some(machine.path(&log)));
}
