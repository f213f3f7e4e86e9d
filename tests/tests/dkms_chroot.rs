//! Where nothing runs: a plain chroot without /proc, bus or daemon, and an image that is worked on from outside.

use dkmsd_tests::{Image, Machine, checkout};

/// A machine whose kernel is not the image's, with the image below `/srv/image`.
struct Beside {
    machine: Machine,
    _image: Image,
    kernel: String,
    older: String,
}

impl Beside {
    fn make() -> Self {
        let image = Image::make("image");
        let machine = Machine::start_with("chroot", &[&format!("--bind={}:/srv/image", image.root().display())]);
        let [kernel, older] = machine.two_kernels("cloud-amd64");
        image.sh(&format!(
            "{{ apt-get update -q && apt-get install -qy linux-headers-{kernel} linux-headers-{older}; }} > /dev/null"
        ));
        machine.put("/usr/sbin/dkms");
        machine.put("/srv/image/usr/sbin/dkms");
        Self { machine, _image: image, kernel, older }
    }

    /// A fresh source of hello-dkmsd in the image, and nothing else that DKMS could know.
    fn drop_source(&self) {
        self.machine.sh("rm -rf /srv/image/var/lib/dkms /srv/image/var/lib/dkmsd /srv/image/usr/src/hello-dkmsd-1.0");
        let fixture = checkout().join("tests/fixtures/hello-dkmsd-1.0");
        self.machine.copy(&fixture, "/srv/image/usr/src/hello-dkmsd-1.0");
    }

    /// Everything a package goes through; `dkms` is the command that works in the image, `prefix` how its lines say K.
    fn whole_life(&self, dkms: &str) {
        let Self { machine, kernel, older, .. } = self;
        self.drop_source();
        let file = format!("/srv/image/lib/modules/{kernel}/updates/dkms/hello_dkmsd.ko");
        let status = |wanted: &str| assert_eq!(machine.sh(&format!("{dkms} status")), wanted, "{dkms} status");
        status("");
        machine.sh(&format!("{dkms} add hello-dkmsd/1.0"));
        status("hello-dkmsd/1.0: added");
        machine.sh(&format!("{dkms} build hello-dkmsd/1.0 -k {kernel}"));
        status(&format!("hello-dkmsd/1.0, {kernel}, x86_64: built"));
        machine.sh(&format!("test ! -e {file}; {dkms} install hello-dkmsd/1.0 -k {kernel}"));
        status(&format!("hello-dkmsd/1.0, {kernel}, x86_64: installed"));
        let vermagic = machine.sh(&format!("modinfo -F vermagic {file}"));
        assert!(vermagic.starts_with(&format!("{kernel} ")), "{vermagic}");
        // No key is made where nobody asked for one: an image would carry it to every machine.
        assert_eq!(machine.sh(&format!("modinfo -F signer {file}; ls /srv/image/var/lib/dkms")), "hello-dkmsd");
        machine.sh(&format!("{dkms} autoinstall -k {older}"));
        status(&format!("hello-dkmsd/1.0, {older}, x86_64: installed\nhello-dkmsd/1.0, {kernel}, x86_64: installed"));
        machine.sh(&format!("{dkms} uninstall hello-dkmsd/1.0 -k {kernel}"));
        status(&format!("hello-dkmsd/1.0, {older}, x86_64: installed\nhello-dkmsd/1.0, {kernel}, x86_64: built"));
        machine.sh(&format!("{dkms} remove hello-dkmsd/1.0 --all"));
        status("");
        machine.sh(&format!(
            "cd /srv/image
             test -z \"$(ls -d var/lib/dkms/[!.]* lib/modules/{{{kernel},{older}}}/updates 2> /dev/null)\"
             test -e usr/src/hello-dkmsd-1.0/dkms.conf"
        ));
    }
}

#[test]
fn a_package_lives_in_a_chroot_and_in_an_image() {
    let beside = Beside::make();
    let machine = &beside.machine;
    let clean = "env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root";

    let bare = format!("chroot /srv/image {clean} dkms");
    machine.sh("test ! -e /srv/image/proc/self");
    beside.whole_life(&bare);

    machine.sh("mount -t proc proc /srv/image/proc");
    beside.whole_life(&bare);

    // The key and the signature are there when they are asked for.
    beside.drop_source();
    machine.sh(&format!(
        "mkdir -p /srv/image/etc/dkms; echo try_sign_modules=true > /srv/image/etc/dkms/framework.conf
         {bare} generate_mok -k {0}; {bare} install hello-dkmsd/1.0 -k {0}; rm /srv/image/etc/dkms/framework.conf
         test -s /srv/image/var/lib/dkms/mok.key",
        beside.kernel
    ));
    let signer =
        machine.sh(&format!("modinfo -F signer /srv/image/lib/modules/{}/updates/dkms/hello_dkmsd.ko", beside.kernel));
    assert_eq!(signer, "DKMS module signing key");
    machine.sh(&format!("{bare} remove hello-dkmsd/1.0 --all; umount /srv/image/proc"));

    // From outside. What the machine itself has is not touched, and its kernel is nobody's default.
    let before = machine.sh("ls -A /usr/src /lib/modules /var/lib | sort");
    beside.whole_life("dkms --root /srv/image");
    let refused = machine.try_sh("dkms --root /srv/image build hello-dkmsd/1.0");
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("-k"), "which kernel? {refused:?}");
    let refused = machine.try_sh(&format!("dkms --root /srv/image/usr build hello-dkmsd/1.0 -k {}", beside.kernel));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("/srv/image/usr") && refused.stderr.contains("proc"), "{refused:?}");

    // A package's script runs in the image, in the folder that is its source there.
    beside.drop_source();
    let source = "/srv/image/usr/src/hello-dkmsd-1.0";
    machine.sh(&format!(
        "echo POST_INSTALL=mark.sh >> {source}/dkms.conf; printf '#!/bin/sh\\npwd > /mark\\n' > {source}/mark.sh
         chmod +x {source}/mark.sh; dkms --root /srv/image install hello-dkmsd/1.0 -k {}
         test $(cat /srv/image/mark) = /usr/src/hello-dkmsd-1.0; test ! -e /mark
         dkms --root /srv/image remove hello-dkmsd/1.0 --all; rm /srv/image/mark",
        beside.kernel
    ));
    assert_eq!(machine.sh("ls -A /usr/src /lib/modules /var/lib | sort"), before);
}
