//! What modules have to be. A wrong file where the module should be: it is refused, told why, and what stands stays.

use super::*;
use crate::artifact::certificate::Certificate;
use crate::artifact::modinfo;
use crate::artifact::signing::Signing;

/// A real module, without its signature, changed at one place.
fn changed(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = modinfo::unsigned(&fs::read(fixture::module("r8169.ko")).unwrap()).to_vec();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

fn part(bytes: usize) -> Vec<u8> {
    fs::read(fixture::module("r8169.ko")).unwrap()[..bytes].to_vec()
}

/// ELF's number of 64-bit Arm behind the file's kind.
fn other_machine() -> Vec<u8> {
    changed(&[1, 0, 62, 0], &[1, 0, 183, 0])
}

fn other_release() -> Vec<u8> {
    let release = fixture::kernel().release;
    let other = release.as_str().replacen("6.", "5.", 1);
    changed(format!("vermagic={release}").as_bytes(), format!("vermagic={other}").as_bytes())
}

fn other_options() -> Vec<u8> {
    changed(b" SMP preempt mod_unload modversions ", b" SMP preempt_rt mod_unload modversio")
}

#[rstest]
#[case::other_machine(other_machine(), "it is for another machine (ELF machine 183")]
#[case::other_width(changed(b"\x7fELF\x02", b"\x7fELF\x01"), "")]
#[case::other_release(other_release(), "it was built for kernel 5.")]
#[case::other_options(other_options(), "\"preempt_rt\"")]
#[case::empty(part(0), "it is no ELF file")]
#[case::truncated(part(50_000), "it is a damaged ELF file")]
#[case::no_elf(b"#!/bin/sh\n".to_vec(), "it is no ELF file")]
#[case::a_program(fs::read("/bin/true").unwrap(), ".modinfo")]
#[case::other_name(fs::read(fixture::module("8139too.ko")).unwrap(), "it calls itself 8139too")]
#[case::other_symbols(fs::read(fixture::module("r8169.ko")).unwrap(), "the symbol module_layout in version")]
fn a_wrong_file_in_place_of_the_module_is_refused(#[case] wrong: Vec<u8>, #[case] wanted: &str) {
    let machine = Machine::new();
    machine.write(
        &format!("{BUILD}/include/config/auto.conf"),
        "CONFIG_MODULES=y\nCONFIG_SMP=y\nCONFIG_PREEMPT_BUILD=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_MODVERSIONS=y\n",
    );
    let package = machine.source("a/1", "");
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let stands = fs::read(machine.installed_file()).unwrap();
    if wanted.contains("module_layout") {
        machine.write(&format!("{BUILD}/Module.symvers"), "0xfeedbeef\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n");
    }

    // As make's result.
    fs::write(machine.layout().source(&package).join("prebuilt"), &wrong).unwrap();
    let error = machine.install_as(&package, &forced()).unwrap_err();
    assert!(matches!(&error, Error::BadModule { why, .. } if why.contains(wanted)), "{error}");
    assert_eq!(error.exit_code(), 6);
    assert_eq!(fs::read(machine.installed_file()).unwrap(), stands);
    let failure = tree::failures::read(machine.layout(), &package, &machine.kernel).unwrap().unwrap();
    assert!(failure.error.contains(wanted), "{failure:?}");

    // In the tree, after the build.
    let built = machine.layout().module_dir(&package, &machine.kernel).join("r8169.ko");
    fs::write(&built, &wrong).unwrap();
    let error = machine.install_as(&package, &Order { keep_built: true, ..forced() }).unwrap_err();
    assert!(matches!(&error, Error::BadModule { why, .. } if why.contains(wanted)), "{error}");
    assert_eq!(fs::read(machine.installed_file()).unwrap(), stands);
}

#[test]
fn a_module_may_be_installed_under_another_name_than_it_calls_itself() {
    let machine = Machine::new();
    let package = machine.source("a/1", "DEST_MODULE_NAME=r8169-current");
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    assert!(machine.installed_file().with_file_name("r8169-current.ko").exists());
}

/// Headers of a kernel that signs, with a real tool.
fn signing_machine(tool: bool) -> Machine {
    let machine = Machine::new();
    let config = "CONFIG_MODULE_SIG_HASH=\"sha256\"\nCONFIG_MODULE_SIG_FORCE=y\n";
    machine.write(&format!("{BUILD}/include/config/auto.conf"), config);
    if tool {
        let place = machine.tree.path("usr/lib/linux-kbuild-6.1/scripts/sign-file");
        fs::copy(fixture::root().join("usr/lib/linux-kbuild-6.1/scripts/sign-file"), place).unwrap();
    }
    machine
}

#[test]
fn a_signature_is_on_record_and_a_kernel_that_does_not_trust_it_is_not_fit() {
    let machine = signing_machine(true);
    let package = machine.source("a/1", "");
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let mok = machine.engine().mok(&machine.kernel.release).unwrap();
    let certificate = mok.certificate.unwrap();
    let wanted = Signing::Signed { certificate: certificate.digest.clone(), key_id: certificate.key_id.clone() };
    assert_eq!(machine.manifest(&package).signing, wanted);
    let refusal = machine.look().refusal(&package, &machine.kernel).unwrap();
    assert!(refusal.contains("dkmsctl mok enroll") && refusal.contains("CONFIG_MODULE_SIG_FORCE"), "{refusal}");

    let keys = format!("1 I-- 1 perm 1f030000 0 0 asymmetri k: {}: X509.rsa 12345678 []\n", certificate.key_id);
    machine.write("proc/keys", &keys);
    let look = machine.look();
    assert_eq!(look.refusal(&package, &machine.kernel), None);
    let entry = &look.world.packages[0].entries[&machine.kernel];
    assert_eq!(look.boot.word(&entry.signing), "enrolled");
}

#[test]
fn what_could_not_be_signed_is_used_and_told() {
    let machine = signing_machine(false);
    let package = machine.source("a/1", "");
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let Signing::Unsigned { failed: Some(why), .. } = machine.manifest(&package).signing else { panic!() };
    assert!(why.contains("sign-file"), "{why}");
    let refusal = machine.look().refusal(&package, &machine.kernel).unwrap();
    assert!(refusal.starts_with("its modules are not signed: there is no sign-file"), "{refusal}");
    assert!(refusal.ends_with(&format!("; run dkmsctl rebuild a/1 -k {}", machine.kernel.release)), "{refusal}");
}

impl Machine {
    fn lose_key(&self) {
        for file in ["mok.key", "mok.pub"] {
            fs::remove_file(self.layout().host("/var/lib/dkms").join(file)).unwrap();
        }
    }

    /// A new key, whose certificate is given.
    fn new_key(&self) -> Certificate {
        self.engine().make_keys(&self.kernel.release).unwrap();
        self.engine().mok(&self.kernel.release).unwrap().certificate.unwrap()
    }

    /// The running kernel knows these certificates, and no others.
    fn trust(&self, certificates: &[&Certificate]) {
        let line = |c: &&Certificate| format!("1 I-- 1 perm 1f030000 0 0 asymmetri k: {}: X509.rsa 12 []\n", c.key_id);
        self.write("proc/keys", &certificates.iter().map(line).collect::<String>());
    }

    /// What is due, with its reason.
    fn reasons(&self) -> Vec<String> {
        self.look().plan.actions.into_iter().map(|action| action.reason).collect()
    }

    /// Installs what is due for this reason; then nothing is.
    fn install_because(&self, package: &PackageId, why: &str) {
        assert_eq!(self.reasons(), [why]);
        assert_eq!(self.install(package).unwrap(), Done::Placed);
        assert_eq!(self.manifest(package).built.why, why);
        assert_eq!(self.reasons(), [""; 0], "once is enough");
        assert!(matches!(self.install(package).unwrap(), Done::Unchanged(_)));
    }
}

const TO_SIGN: &str = "it is not signed, and there is a key to sign it with";
const OTHER_KEY: &str = "its signature is of another key than that of /var/lib/dkms/mok.pub";

/// An image is made in a chroot, where no key is; on the machine that boots it there is one.
#[test]
fn what_an_image_brings_is_signed_once_there_is_a_key() {
    let machine = signing_machine(true);
    let package = machine.source("a/1", "");
    let engine = Engine::new(Settings::load(machine.layout().root()).unwrap(), Some(true)).unwrap();
    engine.install(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    engine.finish_kernel(&machine.kernel, std::slice::from_ref(&package), &mut quiet()).unwrap();
    assert_eq!(machine.manifest(&package).signing, Signing::Unsigned { failed: None, tried: String::new() });
    assert_eq!(machine.reasons(), [""; 0]);
    let refusal = machine.look().refusal(&package, &machine.kernel).unwrap();
    assert!(refusal.starts_with("its modules are not signed; the kernel takes no others"), "{refusal}");
    assert!(refusal.ends_with(&format!("dkmsctl rebuild a/1 -k {}", machine.kernel.release)), "{refusal}");

    machine.new_key();
    machine.install_because(&package, TO_SIGN);
    assert!(
        matches!(machine.manifest(&package).signing, Signing::Signed { certificate, .. } if !certificate.is_empty())
    );
}

#[test]
fn what_is_not_to_be_signed_is_not_due() {
    let machine = signing_machine(true);
    machine.write("etc/dkms/framework.conf", "try_sign_modules=false\n");
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    machine.new_key();
    assert_eq!(machine.reasons(), [""; 0]);
    let refusal = machine.look().refusal(&package, &machine.kernel).unwrap();
    assert!(refusal.starts_with("its modules are not signed: try_sign_modules is off; "), "{refusal}");
    machine.write("etc/dkms/framework.conf", "");
    machine.install_because(&package, TO_SIGN);
}

#[test]
fn another_key_signs_anew() {
    let machine = signing_machine(true);
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    assert_eq!(machine.reasons(), [""; 0], "that the first build made the key is no change");
    machine.lose_key();
    assert_eq!(machine.reasons(), [""; 0], "there is nothing to sign with");
    let refusal = machine.look().refusal(&package, &machine.kernel).unwrap();
    assert!(refusal.contains("another key") && refusal.contains("dkmsctl rebuild a/1"), "{refusal}");
    let other = machine.new_key();
    machine.install_because(&package, OTHER_KEY);
    let wanted = Signing::Signed { certificate: other.digest.clone(), key_id: other.key_id.clone() };
    assert_eq!(machine.manifest(&package).signing, wanted);
}

/// A module that loads is not taken away for one that does not.
#[test]
fn a_signature_that_is_trusted_stays_until_the_new_key_is() {
    let machine = signing_machine(true);
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    let first = machine.engine().mok(&machine.kernel.release).unwrap().certificate.unwrap();
    machine.trust(&[&first]);
    machine.lose_key();
    let second = machine.new_key();
    assert_eq!(machine.reasons(), [""; 0]);
    assert!(matches!(machine.install(&package).unwrap(), Done::Unchanged(_)));
    assert_eq!(machine.look().refusal(&package, &machine.kernel), None);
    machine.trust(&[&first, &second]);
    machine.install_because(&package, OTHER_KEY);
}

#[test]
fn what_cannot_be_signed_is_tried_again_when_that_may_help() {
    let machine = signing_machine(false);
    let package = machine.source("a/1", "");
    let tool = machine.tree.path("usr/lib/linux-kbuild-6.1/scripts/sign-file");
    machine.write("usr/lib/linux-kbuild-6.1/scripts/sign-file", "#!/bin/sh\necho no >&2; exit 1\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    machine.install(&package).unwrap();
    assert!(matches!(machine.manifest(&package).signing, Signing::Unsigned { failed: Some(_), .. }));
    assert_eq!(machine.reasons(), [""; 0], "it would fail again");
    machine.lose_key();
    machine.new_key();
    machine.install_because(&package, TO_SIGN);
    assert!(matches!(machine.manifest(&package).signing, Signing::Unsigned { failed: Some(_), .. }));

    // A tool that says it has signed, and has not, is no reason to go on for ever either.
    fs::write(&tool, "#!/bin/sh\n").unwrap();
    machine.install_because(&package, TO_SIGN);
    assert!(matches!(machine.manifest(&package).signing, Signing::Unsigned { failed: None, .. }));
    fs::copy(fixture::root().join("usr/lib/linux-kbuild-6.1/scripts/sign-file"), &tool).unwrap();
    machine.install_because(&package, TO_SIGN);
    assert!(matches!(machine.manifest(&package).signing, Signing::Signed { .. }));
}

/// A classic tool leaves no record; what it has installed tells.
#[rstest]
#[case::unsigned("", true)]
#[case::of_somebody("STRIP[0]=no", false)]
fn what_another_tool_has_built_is_looked_at(#[case] conf: &str, #[case] refused: bool) {
    let machine = signing_machine(false);
    let package = machine.source("a/1", conf);
    machine.install(&package).unwrap();
    fs::remove_file(machine.layout().manifest(&package, &machine.kernel)).unwrap();
    let look = machine.look();
    assert_eq!(look.world.packages[0].entries[&machine.kernel].built_from, None);
    let refusal = look.refusal(&package, &machine.kernel);
    assert_eq!(refusal.is_some(), refused, "{refusal:?}");
    let word = if refused { "unsigned" } else { "signed" };
    assert_eq!(look.boot.word(&look.world.packages[0].entries[&machine.kernel].signing), word);
    assert_eq!(verbs(&look), [], "it is taken as it is");

    machine.new_key();
    assert_eq!(machine.reasons(), [""; 0]);
    machine.write(&format!("{BUILD}/include/config/auto.conf"), "CONFIG_MODULE_SIG_HASH=\"sha256\"\n");
    let look = machine.look();
    assert_eq!(look.world.packages[0].entries[&machine.kernel].signing, Signing::Unknown, "where nobody asks");
}

/// A module that its own build has signed with another key is left as it is, and not taken for ours.
#[test]
fn a_signature_of_somebody_else_is_not_ours() {
    let machine = Machine::new();
    let package = machine.source("a/1", "STRIP[0]=no");
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let Signing::Signed { certificate, .. } = machine.manifest(&package).signing else { panic!() };
    assert_eq!(certificate, "");
    assert_eq!(Certificate::read(&machine.layout().host("/var/lib/dkms/mok.pub")).unwrap(), None);
}
