//! The cache of finished builds: what was built once is installed without a compiler, and is the same however it was built.

use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);
const TAKEN: &str = "taken from the cache";
/// Takes gcc off the machine, as far as anybody who calls it can tell.
const NO_COMPILER: &str =
    "mkdir -p /var/tmp/cc && mv /usr/bin/*gcc* /usr/bin/cc /usr/bin/c89* /usr/bin/c99* /var/tmp/cc/
    ! command -v gcc && ! ls /usr/bin/gcc-*";
const COMPILER: &str = "mv /var/tmp/cc/* /usr/bin/ && command -v gcc";

#[test]
fn a_kernel_that_comes_back_takes_no_compiler() {
    let machine = Machine::with_dkmsd("cached");
    let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
    let headers = format!("linux-headers-{kernel}");
    machine.apt_install(&[&headers]);
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.drop_fixture("deps-below-1.0");
    machine.drop_fixture("deps-above-1.0");
    let all = ["hello-dkmsd", "deps-below", "deps-above"];
    machine.wait_installed(&kernel, &all, LIMIT);
    let digests = || machine.sh(&format!("cd /lib/modules/{kernel}/updates/dkms && sha256sum *"));
    let before = digests();
    assert!(machine.history(0).iter().all(|job| !job.from_cache));
    assert_eq!(machine.sh("stat -c %a,%U /var/lib/dkmsd/cache/builds"), "700,root");

    machine.sh(&format!("apt-get purge -qy {headers} >/dev/null 2>&1"));
    machine.wait_until("the kernel's builds are gone", &format!("! ls -d /var/lib/dkms/*/1.0/{kernel}"), LIMIT);
    machine.sh(NO_COMPILER);
    machine.apt_install(&[&headers]);
    machine.wait_installed(&kernel, &all, LIMIT);

    assert_eq!(digests(), before);
    let again: Vec<_> =
        machine.history(0).into_iter().filter(|job| job.operation == "install" && job.from_cache).collect();
    assert_eq!(again.len(), all.len(), "{:#?}", machine.history(0));
    machine.sh(&format!("journalctl -u dkmsd DKMS_PACKAGE=hello-dkmsd | grep -q '{TAKEN}'"));
    machine.sh(&format!("grep -q '{TAKEN}' /var/lib/dkms/hello-dkmsd/1.0/{kernel}/x86_64/log/make.log"));
    machine.sh("dkmsctl history | grep -q cached");

    // Whoever forces it asks for a compiler, and is told that there is none.
    let forced = machine.try_sh(&format!("dkms build hello-dkmsd/1.0 -k {kernel} --force"));
    assert_ne!(forced.code, 0, "{forced:?}");
    machine.sh(&format!("test -e /lib/modules/{kernel}/updates/dkms/hello_dkmsd.ko*"));

    // Nor is it of use where it is turned off.
    machine.sh("printf '[daemon]\\ncache_megabytes = 0\\n' > /etc/dkms/dkmsd.toml");
    machine.sh(&format!("dkms unbuild hello-dkmsd/1.0 -k {kernel}"));
    assert_ne!(machine.try_sh(&format!("dkms build hello-dkmsd/1.0 -k {kernel}")).code, 0);
    assert_eq!(machine.sh("find /var/lib/dkmsd/cache/builds -name '*.ko*'"), "");
    machine.sh(COMPILER);
    machine.sh(&format!("dkms build hello-dkmsd/1.0 -k {kernel}"));
}

#[test]
fn modules_are_the_same_however_they_were_built() {
    const PACKAGES: [&str; 5] = ["hello-dkmsd/1.0", "deps-below/1.0", "deps-above/1.0", "slow-a/1.0", "r8169/2.2LK"];
    let machine = Machine::with_dkmsd("same");
    let kernel = machine.offered_kernels("6.1", "amd64").remove(0);
    machine.apt_install(&[&format!("linux-headers-{kernel}")]);
    for fixture in ["hello-dkmsd-1.0", "deps-below-1.0", "deps-above-1.0", "r8169-2.2LK"] {
        machine.drop_fixture(fixture);
    }
    machine.drop_slow("slow-a");
    // Their bytes without what was appended to sign them.
    let digests = || {
        machine.sh(&format!(
            "cd /var/lib/dkms && for ko in */*/{kernel}/x86_64/module/*.ko; do
                 objcopy $ko /var/tmp/unsigned && echo $(sha256sum < /var/tmp/unsigned) $ko
             done"
        ))
    };
    let forget = |all: bool| {
        for package in PACKAGES.iter().rev() {
            machine.sh(&format!("dkms remove {package} --all"));
        }
        if all {
            machine.sh("rm -r /var/lib/dkmsd/cache");
        }
    };

    let names = PACKAGES.map(|package| package.split('/').next().expect("a name comes first"));
    machine.wait_installed(&kernel, &names, LIMIT);
    let by_daemon = digests();
    assert_eq!(by_daemon.lines().count(), PACKAGES.len(), "{by_daemon}");
    let jobs = machine.history(0);
    for name in names {
        let installs = jobs.iter().filter(|job| job.package == name && job.operation == "install");
        let installs: Vec<_> = installs.map(|job| (job.result.as_str(), job.from_cache)).collect();
        assert_eq!(installs, [("done", false)], "{name}: {jobs:#?}");
    }
    machine.sh("systemctl stop dkmsd");

    forget(true);
    for package in PACKAGES {
        let said = machine.sh(&format!("dkms install {package} -k {kernel} -j 1"));
        assert!(!said.contains(TAKEN), "{said}");
    }
    let alone = digests();
    assert_eq!(alone, by_daemon, "alone, by `dkms`");

    forget(true);
    machine.sh(&format!("dkms install deps-below/1.0 -k {kernel}"));
    let others = PACKAGES.map(|package| format!("dkms install {package} -k {kernel} & pids+=($!)\n")).concat();
    machine.sh(&format!("{others} for pid in ${{pids[@]}}; do wait $pid || exit; done"));
    assert_eq!(digests(), alone, "in parallel");

    forget(false);
    machine.sh(NO_COMPILER);
    for package in PACKAGES {
        let said = machine.sh(&format!("dkms install {package} -k {kernel}"));
        assert!(said.contains(TAKEN), "{said}");
    }
    assert_eq!(digests(), alone, "from the cache");
    machine.sh(COMPILER);

    forget(false);
    for package in PACKAGES {
        let said = machine.sh(&format!("dkms install {package} -k {kernel} --force"));
        assert!(!said.contains(TAKEN), "{said}");
    }
    assert_eq!(digests(), alone, "anew, where the cache has it");
}
