//! The key that modules are signed with: every state of it ends with the command to type next; what could not be signed is
//! on record and told, and where the kernel takes signed modules only, it is not called ready.

use std::time::Duration;

use dkmsd_tests::{Answer, Machine};

const LIMIT: Duration = Duration::from_secs(300);
const KEY: &str = "/var/lib/dkms/mok.key";
const CERTIFICATE: &str = "/var/lib/dkms/mok.pub";

/// What a firmware with Secure Boot shows the kernel, with shim's list of enrolled certificates.
const SECURE_BOOT: &str = "
    mountpoint -q /sys/firmware || mount -t tmpfs tmpfs /sys/firmware
    mkdir -p /sys/firmware/efi/efivars && cd /sys/firmware/efi/efivars
    printf '\\6\\0\\0\\0\\1' > SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Puts our certificate into that list: an EFI_SIGNATURE_LIST with one entry.
const ENROLLED: &str = "
    perl -e 'open F, \"/var/lib/dkms/mok.pub\"; binmode F; local $/; $c = <F>; $size = 16 + length $c;
             print \"\\6\\0\\0\\0\", pack(\"H32\", \"a159c0a5e494a74a87b5ab155c2bf072\"), pack(\"V3\", 28 + $size, 0, $size),
                   \"\\0\" x 16, $c' > /sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23";

struct Signing {
    machine: Machine,
    kernel: String,
}

impl Signing {
    /// A machine with a driver built for a kernel that signs.
    fn start(name: &str) -> Self {
        let machine = Machine::with_dkmsd(name);
        let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
        machine.apt_install(&[&format!("linux-headers-{kernel}")]);
        Self { machine, kernel }
    }

    /// `dkmsctl mok …`, which ends with this exit code and this command.
    fn mok(&self, what: &str, code: i32, next: &str) -> Answer {
        let answer = self.machine.try_sh(&format!("dkmsctl mok {what}"));
        let said = if code == 0 { &answer.stdout } else { &answer.stderr };
        assert!(answer.code == code && said.trim_end().ends_with(next), "mok {what}: {next}: {answer:?}");
        answer
    }

    /// Builds it anew, and gives what `dkmsctl status` says of it.
    fn rebuilt(&self) -> String {
        self.machine.sh(&format!("dkmsctl rebuild hello-dkmsd/1.0 -k {}", self.kernel));
        let row = self.machine.row("hello-dkmsd", &self.kernel);
        assert_eq!(row.state, "installed");
        self.machine.sh("dkmsctl status")
    }

    fn check(&self) -> Answer {
        self.machine.rescan();
        self.machine.try_sh(&format!("dkmsctl check -k {} 2>&1", self.kernel))
    }

    fn signer(&self) -> String {
        self.machine.sh(&format!("modinfo -F signer /lib/modules/{}/updates/dkms/hello_dkmsd.ko*", self.kernel))
    }
}

#[test]
fn a_key_is_made_once_and_each_state_says_what_to_type() {
    let signing = Signing::start("mok");
    let machine = &signing.machine;
    let none = signing.mok("status", 0, "Next: dkmsctl mok generate");
    assert!(none.stdout.contains(&format!("{KEY} (missing)")), "{none:?}");
    signing.mok("enroll", 1, "dkmsctl mok generate");
    let refused = machine.try_sh("setpriv --reuid=65534 --regid=65534 --clear-groups dkmsctl mok generate");
    assert!(refused.code != 0 && refused.stderr.contains("sudo dkmsctl mok generate"), "{refused:?}");
    machine.sh(&format!("test ! -e {KEY}"));

    // Whatever the caller's umask is.
    machine.sh("umask 0 && dkmsctl mok generate");
    assert_eq!(machine.sh(&format!("stat -c %a,%U {KEY} {CERTIFICATE}")), "600,root\n644,root");
    assert_eq!(machine.sh("ls -A /var/lib/dkms | grep key"), "mok.key", "nothing is left of its making");
    let digests = machine.sh(&format!("sha256sum {KEY} {CERTIFICATE}"));
    let again = signing.mok("generate", 0, "");
    assert!(again.stdout.contains("there already"), "{again:?}");
    assert_eq!(machine.sh(&format!("sha256sum {KEY} {CERTIFICATE}")), digests);
    assert!(machine.sh(&format!("openssl pkey -in {KEY} -noout -text")).contains("2048 bit"));

    // No firmware to enroll it in.
    let machines = machine.try_sh("test -e /sys/firmware/efi/efivars");
    if machines.code != 0 {
        signing.mok("enroll", 1, "dkmsctl mok status");
        signing.mok("status", 0, "Next: dkmsctl status");
    }
    machine.sh(SECURE_BOOT);
    let unknown = signing.mok("status", 0, "Next: dkmsctl mok enroll");
    assert!(unknown.stdout.contains("Secure Boot on"), "{unknown:?}");
    let absent = signing.mok("enroll", 1, "dkmsctl mok enroll");
    assert!(absent.stderr.contains("install the package mokutil"), "{absent:?}");
    machine.apt_install(&["mokutil"]);
    // The real one finds that the firmware is none.
    let failed = signing.mok("enroll", 1, "try it again");
    assert!(failed.stderr.contains("mokutil --import /var/lib/dkms/mok.pub"), "{failed:?}");
    machine.sh(ENROLLED);
    let all = signing.mok("status", 0, "Next: dkmsctl status");
    assert!(all.stdout.contains("(enrolled)"), "{all:?}");

    // The certificate may be enrolled: a lost key is not made anew beside it.
    machine.sh(&format!("mv {KEY} /srv/"));
    signing.mok("status", 0, "Then: dkmsctl mok generate");
    let lost = machine.try_sh("dkmsctl mok generate");
    assert!(lost.code != 0 && lost.stderr.contains(KEY), "{lost:?}");
    machine.sh(&format!("test ! -e {KEY}"));
}

#[test]
fn what_could_not_be_signed_is_told_and_not_ready_where_signatures_count() {
    let signing = Signing::start("signing");
    let machine = &signing.machine;
    // What is changed among the headers counts at once.
    machine.sh("printf '[daemon]\\nquiet_seconds = 0\\n' > /etc/dkms/dkmsd.toml && systemctl reload dkmsd");
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.wait_installed(&signing.kernel, &["hello-dkmsd"], LIMIT);
    assert_eq!(signing.signer(), "DKMS module signing key");
    let sign_file = machine.sh("ls /usr/lib/linux-kbuild-6.1/scripts/sign-file");

    // What goes wrong, the way back, and what is said of it.
    for (spoil, mend, why) in [
        (format!("mv {KEY} /srv/key"), format!("mv /srv/key {KEY}"), "find the key of this certificate"),
        (format!("cp {KEY} /srv/key && echo broken > {KEY}"), format!("cp /srv/key {KEY}"), "sign-file"),
        (format!("mv {sign_file} /srv/tool"), format!("mv /srv/tool {sign_file}"), "there is no sign-file"),
    ] {
        machine.sh(&spoil);
        let status = signing.rebuilt();
        assert!(status.contains(why) && status.contains("unsigned"), "{why}: {status}");
        assert_eq!(signing.signer(), "");
        let told =
            machine.sh("journalctl --sync; journalctl -u dkmsd -p warning --output=cat DKMS_PACKAGE=hello-dkmsd");
        assert!(told.lines().last().is_some_and(|line| line.contains(why)), "{why}: {told}");
        // This kernel takes it all the same.
        let ready = signing.check();
        assert_eq!(ready.code, 0, "{ready:?}");
        machine.sh(&mend);
        signing.rebuilt();
        assert_eq!(signing.signer(), "DKMS module signing key");
    }

    // Under Secure Boot it locks itself down, and knows of no key of ours.
    machine.sh(SECURE_BOOT);
    machine.sh("systemctl restart dkmsd");
    let refused = signing.check();
    assert!(refused.code == 1 && refused.stdout.contains("dkmsctl mok enroll"), "{refused:?}");
    assert!(machine.sh("dkmsctl status").contains("dkmsctl mok status"));
    machine.sh(&format!("mv {KEY} /srv/key"));
    signing.rebuilt();
    let refused = signing.check();
    assert!(refused.code == 1 && refused.stdout.contains("its modules are not signed"), "{refused:?}");
    machine.sh(&format!("mv /srv/key {KEY}"));
    signing.rebuilt();
    machine.sh(ENROLLED);
    let ready = signing.check();
    assert_eq!(ready.code, 0, "{ready:?}");
    machine.sh("umount /sys/firmware && systemctl restart dkmsd");
    assert_eq!(signing.check().code, 0);

    // A kernel that takes signed modules only by its own configuration, whatever the firmware is.
    let config = format!("/lib/modules/{}/build/include/config/auto.conf", signing.kernel);
    machine.sh(&format!("echo CONFIG_MODULE_SIG_FORCE=y >> $(readlink -f {config})"));
    machine.rescan();
    machine.wait_installed(&signing.kernel, &["hello-dkmsd"], LIMIT);
    let refused = signing.check();
    assert!(refused.code == 1 && refused.stdout.contains("dkmsctl mok enroll"), "{refused:?}");
}

/// A key on a token: the tool of the kernel's headers gets its name as it is. Debian's has no driver for tokens, and says so.
#[test]
fn a_key_on_a_token_is_passed_through() {
    let signing = Signing::start("token");
    let machine = &signing.machine;
    machine.sh("cd /srv && mkdir -p /etc/dkms/framework.conf.d
        openssl req -new -x509 -newkey rsa:2048 -nodes -subj '/CN=a token' -keyout /dev/null -outform DER -out token.der
        cat > /etc/dkms/framework.conf.d/token.conf <<'END'
mok_signing_key='pkcs11:token=modules;object=signer;type=private?pin-value=1234'
mok_certificate=/srv/token.der
END
        systemctl reload dkmsd");
    let status = signing.mok("status", 0, "");
    assert!(status.stdout.contains("pkcs11:token=modules;object=signer"), "{status:?}");
    assert!(!status.stdout.contains("missing"), "{status:?}");
    let made = signing.mok("generate", 0, "");
    assert!(made.stdout.contains("there already"), "{made:?}");
    machine.drop_fixture("hello-dkmsd-1.0");
    machine.wait_installed(&signing.kernel, &["hello-dkmsd"], LIMIT);
    assert!(machine.sh("dkmsctl status").contains("sign-file: OSSL_PROVIDER_try_load(pkcs11)"));

    machine.sh("mv /srv/token.der /srv/elsewhere");
    signing.mok("status", 0, "Then: dkmsctl mok status");
    assert!(signing.rebuilt().contains("the certificate /srv/token.der is missing"));
    machine.sh(&format!("test ! -e {KEY} && test ! -e {CERTIFICATE}"));
}
