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
    let Signing::Unsigned { failed: Some(why) } = machine.manifest(&package).signing else { panic!() };
    assert!(why.contains("sign-file"), "{why}");
    let refusal = machine.look().refusal(&package, &machine.kernel).unwrap();
    assert!(refusal.starts_with("its modules are not signed: there is no sign-file"), "{refusal}");
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
