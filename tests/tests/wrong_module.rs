//! What make leaves in place of a module is looked at before it is installed: what is not fit for the kernel is refused,
//! told why, and nothing of it gets into the kernel's folder. A kernel whose compiler is missing is told before.

use dkmsd_tests::Machine;

const MODULE: &str = "hello_dkmsd.ko";

/// What becomes of the module that was made, the exit code, and why it is refused. ELF's number of the machine is at
/// byte 18; before the name of a symbol that is imported stands its version.
const WRONG: [(&str, &str, i32, &str); 9] = [
    (
        "other-machine",
        r"printf '\267' | dd of=$ko bs=1 seek=18 conv=notrunc",
        6,
        "it is for another machine (ELF machine 183",
    ),
    ("other-kernel", "sed -i 's/vermagic=6[.]/vermagic=5./' $ko", 6, "it was built for kernel 5."),
    ("other-options", "sed -i 's/SMP preempt mod_unload modv/SMP preempt_rt mod_unload m/' $ko", 6, "preempt_rt"),
    ("truncated", "truncate -s 5000 $ko", 6, "it is a damaged ELF file"),
    ("empty", "truncate -s 0 $ko", 6, "it is no ELF file"),
    ("not-elf", "echo '#!/bin/sh' > $ko", 6, "it is no ELF file"),
    ("other-name", "sed -i 's/name=hello_dkmsd/name=hello_dkmsx/' $ko", 6, "it calls itself hello_dkmsx"),
    (
        "other-symbols",
        r"perl -0777 -pi -e 's/.(.{7}module_layout\0)/\x5a$1/s' $ko",
        6,
        "the symbol module_layout in version",
    ),
    ("none", "rm $ko", 7, "made no hello_dkmsd.ko"),
];

/// A package whose make does as every other's, and then this to the module.
fn package(machine: &Machine, name: &str, deed: &str) {
    machine.sh(&format!(
        "cp -r /opt/dkmsd/tests/fixtures/hello-dkmsd-1.0 /usr/src/{name}-1.0 && cd /usr/src/{name}-1.0
         sed -i 's/^PACKAGE_NAME=.*/PACKAGE_NAME={name}/; s/^MAKE.*modules/& \\&\\& bash deed.sh/' dkms.conf
         cat > deed.sh <<'END'\nko={MODULE}\n{deed}\nEND"
    ));
}

/// A machine without the daemon, and a kernel with headers and modules of its own.
fn start(name: &str) -> (Machine, String) {
    let machine = Machine::start(name);
    machine.carry_checkout();
    machine.sh("/opt/dkmsd/systemd/install.sh --bin-dir /opt/dkmsd/bin --no-start");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    (machine, kernel)
}

#[test]
fn a_wrong_module_is_refused_and_told_why() {
    let (machine, kernel) = start("wrong");
    let here = || machine.sh(&format!("find /lib/modules/{kernel}/ /var/lib/dkms -name '*.ko*' | sort"));
    for (name, deed, code, why) in WRONG {
        package(&machine, name, deed);
        let answer = machine.try_sh(&format!("dkms install {name}/1.0 -k {kernel}"));
        assert_eq!(answer.code, code, "{name}: {answer:?}");
        assert!(answer.stderr.contains(why), "{name}: {why}: {answer:?}");
        assert_eq!(machine.sh(&format!("dkms status -m {name}")), format!("{name}/1.0: added"));
        assert_eq!(here().lines().filter(|file| !file.contains("/build/")).count(), 0, "{name}: {}", here());
    }
    package(&machine, "right", "true");
    machine.sh(&format!("dkms install right/1.0 -k {kernel}"));
    assert!(here().contains(&format!("/lib/modules/{kernel}/updates/dkms/{MODULE}")), "{}", here());
}

/// The compiler that Debian's headers name, and the programs that they bring.
#[test]
fn what_the_headers_need_is_told_before_anything_runs() {
    let (machine, kernel) = start("toolchain");
    package(&machine, "plain", "true");
    let build = format!("dkms build plain/1.0 -k {kernel}");
    let refused = |code: i32, words: &[&str]| {
        let answer = machine.try_sh(&build);
        assert_eq!(answer.code, code, "{answer:?}");
        assert!(words.iter().all(|word| answer.stderr.contains(word)), "{words:?}: {answer:?}");
        machine.sh("! ls /var/lib/dkms/plain/1.0/build /var/lib/dkmsd/logs/plain");
    };
    let compiler = machine
        .sh(&format!(r#"sed -nE 's/^CONFIG_CC_VERSION_TEXT="?([^ "]+).*/\1/p' /lib/modules/{kernel}/build/.config"#));
    machine.sh(&format!("mv $(command -v {compiler}) /var/tmp/compiler"));
    refused(10, &[&format!("{compiler} is not installed; install gcc-12")]);
    machine.sh(&format!("mv /var/tmp/compiler /usr/bin/{compiler}; mv /usr/bin/make /var/tmp/"));
    refused(10, &["make is not installed; install make"]);
    machine.sh("mv /var/tmp/make /usr/bin/");

    // As in headers that were made on another machine.
    let tool = machine.sh(&format!("readlink -f /lib/modules/{kernel}/build/scripts/basic/fixdep"));
    machine.sh(&format!("cp {tool} /var/tmp/ && printf '\\267' | dd of={tool} bs=1 seek=18 conv=notrunc 2>&1"));
    refused(21, &["fixdep is built for aarch64", "headers whose tools are for this machine"]);
    machine.sh(&format!("cp /var/tmp/fixdep {tool} && {build}"));
}
