//! The two machines: Debian's `dkms` in one, ours in the other, and the same kernel and sources in both.

use dkmsd_tests::Machine;

use crate::packages::Package;
use crate::timing::{Run, timed};

/// One package built by nothing but make.
pub(crate) struct Bare {
    pub(crate) package: &'static str,
    pub(crate) run: Run,
}

/// Both machines, and what is to be built in them.
pub(crate) struct Rig {
    peer: Machine,
    ours: Machine,
    kernel: String,
    packages: Vec<&'static Package>,
    cores: usize,
}

impl Rig {
    pub(crate) fn new(packages: &[&'static Package], cores: usize) -> Self {
        let (ours, peer) = (Machine::with_dkmsd("bench-ours"), Machine::start("bench-peer"));
        let kernel = ours.offered_kernels("6.1", "amd64").remove(0);
        ours.sh("systemctl stop dkmsd");
        let rig = Self { peer, ours, kernel, packages: packages.to_vec(), cores };
        rig.furnish(&rig.ours);
        rig.peer.sh("apt-get update -q > /dev/null");
        rig.furnish(&rig.peer);
        // Last, so that the hooks of the kernel's package do not build.
        rig.peer.sh("apt-get install -qy dkms 2>&1");
        for machine in [&rig.peer, &rig.ours] {
            for package in &rig.packages {
                machine.sh(&format!("dkms add {}", package.id));
            }
        }
        rig
    }

    /// The kernel with its headers, and the sources. Kernel and drivers are only unpacked: what their own scripts do (an
    /// initramfs, a build) is not measured. The compiler's first run reads it from disk: not measured either.
    fn furnish(&self, machine: &Machine) {
        let Self { kernel, packages, .. } = self;
        let debs: Vec<_> = packages.iter().map(|package| package.deb).collect();
        let debs = debs.join(" ");
        machine.sh(&format!(
            "set -e
             apt-get install -qy linux-headers-{kernel} 2>&1
             apt-get install -qy --download-only linux-image-{kernel} {debs} 2>&1
             for deb in linux-image-{kernel} {debs}; do
                 dpkg-deb --fsys-tarfile /var/cache/apt/archives/${{deb}}_*.deb |
                     tar -x -C / --keep-directory-symlink
             done
             depmod {kernel}
             find /usr/src/ /usr/lib/linux-kbuild-* /usr/lib/gcc -type f -exec cat {{}} + > /dev/null"
        ));
    }

    pub(crate) fn kernel(&self) -> &str {
        &self.kernel
    }

    pub(crate) fn peer_version(&self) -> String {
        self.peer.sh("dpkg-query -W -f '${Version}' dkms")
    }

    pub(crate) fn numbers(&self, script: &str) -> Vec<u128> {
        self.ours.numbers(script)
    }

    /// What a kernel sees that is new to the tree: all packages are added, none is built. `also`: more to forget.
    fn forget_builds(&self, machine: &Machine, also: &str) {
        let kernel = &self.kernel;
        machine.sh(&format!(
            "set -e
             rm -rf /lib/modules/{kernel}/updates /var/lib/dkms/*/*/{kernel} /var/lib/dkms/*/*/build {also}
             rm -f /var/lib/dkms/*/kernel-{kernel}-*
             depmod {kernel}
             sync"
        ));
        let left = machine.sh("dkms status | grep -vc ': added$' || true");
        assert_eq!(left, "0", "nothing is built any more");
    }

    fn all_installed(&self, machine: &Machine) {
        let status = machine.sh("dkms status");
        let installed = status.lines().filter(|line| line.contains(&self.kernel) && line.contains(": installed"));
        assert_eq!(installed.count(), self.packages.len(), "every package is installed:\n{status}");
    }

    pub(crate) fn autoinstall(&self) -> String {
        format!("dkms autoinstall -k {}", self.kernel)
    }

    pub(crate) fn status(&self) -> String {
        "dkms status".to_owned()
    }

    pub(crate) fn on_peer(&self, times: usize, command: &str) -> Vec<Run> {
        timed(&self.peer, times, command)
    }

    pub(crate) fn on_ours(&self, times: usize, command: &str) -> Vec<Run> {
        timed(&self.ours, times, command)
    }

    pub(crate) fn peer_autoinstall(&self) -> Run {
        self.forget_builds(&self.peer, "");
        let run = timed(&self.peer, 1, &self.autoinstall())[0];
        self.all_installed(&self.peer);
        run
    }

    /// Without the daemon.
    pub(crate) fn our_autoinstall(&self) -> Run {
        self.forget_builds(&self.ours, CACHE);
        let run = timed(&self.ours, 1, &self.autoinstall())[0];
        self.all_installed(&self.ours);
        run
    }

    /// A kernel's hook tells a warm daemon of headers that were not there before, and returns when all is built.
    pub(crate) fn daemon_autoinstall(&self) -> Run {
        let build = format!("/lib/modules/{}/build", self.kernel);
        self.forget_builds(&self.ours, CACHE);
        self.ours.sh(&format!("mv -T {build} {build}.aside"));
        self.start_daemon();
        let hook = format!("mv -T {build}.aside {build} && /etc/kernel/postinst.d/dkms {}", self.kernel);
        let run = timed(&self.ours, 1, &hook)[0];
        self.stop_daemon();
        self.all_installed(&self.ours);
        run
    }

    /// Each package after the other, each with all cores.
    pub(crate) fn bare_make(&self) -> Vec<Bare> {
        let headers = format!("/lib/modules/{}/build", self.kernel);
        let bare = |package: &&'static Package| {
            let copy = format!("/srv/bare/{}", package.name());
            self.ours.sh(&format!("rm -rf {copy}; mkdir -p /srv/bare; cp -aT {} {copy}; sync", package.source()));
            let make = |rest: &&str| format!("make -j{} -C {headers} {}", self.cores, rest.replace("$W", &copy));
            let makes: Vec<String> = package.makes.iter().map(make).collect();
            let run = timed(&self.ours, 1, &makes.join(" && "))[0];
            self.ours.sh(&format!("find {copy} -name '*.ko' | grep -q ."));
            Bare { package: package.name(), run }
        };
        self.packages.iter().map(bare).collect()
    }

    /// The same kernel installed again with everything as it was; none where no build is kept.
    pub(crate) fn again_from_cache(&self) -> Option<Vec<Run>> {
        if self.ours.try_sh(&format!("ls -A {CACHE}/* | grep -q .")).code != 0 {
            return None;
        }
        let again = || {
            self.forget_builds(&self.ours, "");
            let run = timed(&self.ours, 1, &self.autoinstall())[0];
            self.all_installed(&self.ours);
            run
        };
        Some((0..3).map(|_| again()).collect())
    }

    /// When this returns it has looked at the disk.
    pub(crate) fn start_daemon(&self) {
        self.ours.sh("systemctl start dkmsd");
        self.ours.rescan();
    }

    pub(crate) fn stop_daemon(&self) {
        self.ours.sh("systemctl stop dkmsd");
    }
}

/// Where finished builds are kept.
const CACHE: &str = "/var/lib/dkmsd/cache";
