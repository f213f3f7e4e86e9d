//! Whether the machine takes unsigned modules: UEFI Secure Boot, the kernel's lockdown, and the certificates that shim
//! (MOK, machine owner keys) and the kernel trust. Everything is read from /sys and /proc; `mokutil` is not needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::artifact::certificate::{self, Certificate};
use crate::artifact::signing::Signing;
use crate::host::kconfig::KernelConfig;
use crate::layout::Layout;

/// EFI_GLOBAL_VARIABLE, of the UEFI specification.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// shim's own.
const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";
/// EFI_CERT_X509_GUID, as it lies in memory.
const X509: [u8; 16] = [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
/// More lists than any firmware has room for.
const MOST_LISTS: usize = 64;

/// What the machine that runs asks of modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecureBoot {
    /// Whether Secure Boot is on and shim checks what it loads; none without UEFI, or where it cannot be told.
    pub enabled: Option<bool>,
    /// The running kernel's lockdown: `none`, `integrity`, `confidentiality`; none where it cannot be told.
    pub lockdown: Option<String>,
    /// The running kernel takes signed modules only (module.sig_enforce).
    pub enforced: bool,
    /// Digests of the enrolled certificates.
    enrolled: BTreeSet<String>,
    /// Digests of those whose enrolment waits for the next boot.
    pending: BTreeSet<String>,
    /// Identifiers of the keys that the running kernel lists.
    keyring: BTreeSet<String>,
}

/// Why a kernel that takes signed modules only does not take those of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong with them.
    pub what: String,
    /// What helps.
    pub mend: Mend,
}

/// What helps against a [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// Building them again, which signs them.
    Rebuild,
    /// Enrolling the certificate.
    Enroll,
    /// Confirming the certificate at the next boot.
    Reboot,
}

/// How far a certificate is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// shim or the kernel knows it.
    Enrolled,
    /// It will be, when it is confirmed at the next boot.
    Pending,
    /// Nobody knows it.
    None,
}

impl SecureBoot {
    /// Reads what the machine says. What cannot be read says nothing.
    #[must_use]
    pub fn read(layout: &Layout) -> Self {
        let variable = |name: &str, owner: &str| {
            let bytes = fs::read(layout.host(format!("/sys/firmware/efi/efivars/{name}-{owner}"))).ok()?;
            // Four bytes of attributes come first.
            Some(bytes.get(4..)?.to_vec())
        };
        let one = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| bytes.first().map(|byte| *byte == 1));
        // shim may be told to check nothing (mokutil --disable-validation).
        let unchecked = one(variable("MokSBStateRT", SHIM)) == Some(true);
        let text = |path: &str| fs::read_to_string(layout.host(path)).ok();
        Self {
            enabled: one(variable("SecureBoot", GLOBAL)).map(|on| on && !unchecked),
            lockdown: text("/sys/kernel/security/lockdown").and_then(|text| chosen(&text)),
            enforced: text("/sys/module/module/parameters/sig_enforce").is_some_and(|text| text.trim() == "Y"),
            enrolled: enrolled(layout, &variable),
            pending: variable("MokNew", SHIM).map(|list| certificates(&list)).unwrap_or_default(),
            keyring: text("/proc/keys").map(|text| keys(&text)).unwrap_or_default(),
        }
    }

    /// Why a kernel takes signed modules only; none when it takes any. `running`: it is the one that runs.
    #[must_use]
    pub fn enforces(&self, config: &KernelConfig, running: bool) -> Option<String> {
        let on = |name: &str| config.enabled(name);
        if on("CONFIG_MODULE_SIG_FORCE") {
            return Some("its configuration has CONFIG_MODULE_SIG_FORCE".to_owned());
        }
        if running && self.enforced {
            return Some("it was started so that it takes signed modules only (module.sig_enforce)".to_owned());
        }
        if running && let Some(lockdown) = self.lockdown.as_deref().filter(|lockdown| *lockdown != "none") {
            return Some(format!("it is locked down ({lockdown})"));
        }
        if on("CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY") || on("CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY") {
            return Some("its configuration locks it down".to_owned());
        }
        // What this one does under Secure Boot is known; of another one its configuration tells.
        let locks = on("CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT") && !(running && self.lockdown.is_some());
        (self.enabled == Some(true) && locks).then(|| "Secure Boot is on, under which it locks itself down".to_owned())
    }

    /// How far a certificate is trusted.
    #[must_use]
    pub fn trust(&self, certificate: &Certificate) -> Trust {
        self.trust_in(&certificate.digest, &certificate.key_id)
    }

    fn trust_in(&self, digest: &str, key_id: &str) -> Trust {
        if self.enrolled.contains(digest) || self.keyring.contains(key_id) {
            Trust::Enrolled
        } else if self.pending.contains(digest) {
            Trust::Pending
        } else {
            Trust::None
        }
    }

    /// The word for a build's signature: `unsigned`, `signed`, `enrolled`; empty when it is not known.
    #[must_use]
    pub fn word(&self, signing: &Signing) -> &'static str {
        match signing {
            Signing::Unknown => "",
            Signing::Unsigned { .. } => "unsigned",
            Signing::Signed { certificate, key_id } => match self.trust_in(certificate, key_id) {
                Trust::Enrolled => "enrolled",
                Trust::Pending | Trust::None => "signed",
            },
        }
    }

    /// Why a kernel that takes signed modules only does not take this build's; none when it does, or when that is not
    /// known. `current`: the digest of the certificate that is signed with now; `unwanted`: why nothing is signed now.
    #[must_use]
    pub fn refusal(&self, signing: &Signing, current: Option<&str>, unwanted: Option<&str>) -> Option<Refusal> {
        let refusal = |what: String, mend| Some(Refusal { what, mend });
        match signing {
            Signing::Unknown => None,
            Signing::Unsigned { failed, .. } => match failed.as_deref().or(unwanted) {
                Some(why) => refusal(format!("its modules are not signed: {why}"), Mend::Rebuild),
                None => refusal("its modules are not signed".to_owned(), Mend::Rebuild),
            },
            Signing::Signed { certificate, .. } if certificate.is_empty() => None,
            Signing::Signed { certificate, key_id } => match self.trust_in(certificate, key_id) {
                Trust::Enrolled => None,
                Trust::Pending => refusal(
                    "its modules are signed, and the certificate is enrolled with the next boot".to_owned(),
                    Mend::Reboot,
                ),
                Trust::None if current == Some(certificate) => {
                    refusal("its modules are signed, and the certificate is not enrolled".to_owned(), Mend::Enroll)
                }
                Trust::None => refusal(
                    "its modules are signed with another key than today's, and its certificate is not enrolled"
                        .to_owned(),
                    Mend::Rebuild,
                ),
            },
        }
    }

    /// Whether signing with another certificate would take away a trust that a build has: it stays as it is until that
    /// certificate is enrolled, too.
    #[must_use]
    pub fn would_lose(&self, signing: &Signing, other: &Certificate) -> bool {
        let Signing::Signed { certificate, key_id } = signing else { return false };
        self.trust_in(certificate, key_id) == Trust::Enrolled && self.trust(other) != Trust::Enrolled
    }
}

/// `none [integrity] confidentiality`: the word in brackets.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

/// shim's list, which may be in several variables; whole where the kernel keeps a copy of it.
fn enrolled(layout: &Layout, variable: &impl Fn(&str, &str) -> Option<Vec<u8>>) -> BTreeSet<String> {
    let whole = |name: &str| fs::read(layout.host(PathBuf::from("/sys/firmware/efi/mok-variables").join(name))).ok();
    let names = (0..MOST_LISTS).map(|n| if n == 0 { "MokListRT".to_owned() } else { format!("MokListRT{n}") });
    let lists = names.map_while(|name| whole(&name).or_else(|| variable(&name, SHIM)));
    lists.flat_map(|list| certificates(&list)).collect()
}

/// The digests of the X.509 certificates in a chain of EFI_SIGNATURE_LISTs: type, three sizes (list, header, entry),
/// header, and entries of an owner's GUID and the certificate.
fn certificates(mut lists: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let number = |bytes: &[u8], at: usize| {
        let bytes = <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    while let (Some(kind), Some(size), Some(header), Some(entry)) =
        (lists.get(..16), number(lists, 16), number(lists, 20), number(lists, 24))
    {
        let Some((list, rest)) = lists.split_at_checked(size).filter(|_| size >= 28) else { break };
        if kind == X509
            && entry > 16
            && let Some(entries) = list.get(28..).and_then(|entries| entries.get(header..))
        {
            found.extend(entries.chunks_exact(entry).filter_map(|entry| entry.get(16..)).map(certificate::digest));
        }
        lists = rest;
    }
    found
}

/// The identifiers in /proc/keys: `… asymmetri DKMS module signing key: 5c1f…: X509.rsa 9d2e… []`.
fn keys(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| line.contains(" asymmetri ") || line.contains(" asymmetric "));
    let words = lines.flat_map(|line| line.split([' ', ':']));
    words.filter(|word| word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::artifact::keys;
    use rstest::rstest;
    use std::path::Path;

    /// Writes what a firmware says below a root.
    pub(crate) fn efi(root: &Path, name: &str, owner: &str, value: &[u8]) {
        let folder = root.join("sys/firmware/efi/efivars");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}-{owner}")), [&[6, 0, 0, 0], value].concat()).unwrap();
    }

    /// A list as shim makes it.
    pub(crate) fn list(certificates: &[&[u8]]) -> Vec<u8> {
        let one = |der: &&[u8]| {
            let size = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
            let entry = 16 + der.len();
            [&X509[..], &size(28 + entry), &size(0), &size(entry), &[7; 16], der].concat()
        };
        certificates.iter().flat_map(one).collect()
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A real certificate, and its bytes.
    fn certificate(root: &Path) -> (Certificate, Vec<u8>) {
        let file = root.join("mok.pub");
        keys::make(&Layout::under(root), &root.join("mok.key"), &file).unwrap();
        (Certificate::read(&file).unwrap().unwrap(), fs::read(file).unwrap())
    }

    #[rstest]
    #[case::no_uefi(None, None, None)]
    #[case::on(Some(1), None, Some(true))]
    #[case::off(Some(0), None, Some(false))]
    #[case::shim_checks_nothing(Some(1), Some(1), Some(false))]
    #[case::shim_checks(Some(1), Some(0), Some(true))]
    fn the_firmware_tells(#[case] firmware: Option<u8>, #[case] shim: Option<u8>, #[case] wanted: Option<bool>) {
        let root = tempfile::tempdir().unwrap();
        if let Some(value) = firmware {
            efi(root.path(), "SecureBoot", GLOBAL, &[value]);
        }
        if let Some(value) = shim {
            efi(root.path(), "MokSBStateRT", SHIM, &[value]);
        }
        assert_eq!(SecureBoot::read(&Layout::under(root.path())).enabled, wanted);
    }

    #[rstest]
    #[case::enrolled("MokListRT", Trust::Enrolled)]
    #[case::waits_for_the_boot("MokNew", Trust::Pending)]
    #[case::forbidden("MokListXRT", Trust::None)]
    fn certificates_are_found_in_shims_lists(#[case] variable: &str, #[case] wanted: Trust) {
        let root = tempfile::tempdir().unwrap();
        let (ours, der) = certificate(root.path());
        efi(root.path(), variable, SHIM, &list(&[b"another certificate", &der]));
        assert_eq!(SecureBoot::read(&Layout::under(root.path())).trust(&ours), wanted);
    }

    #[test]
    fn lists_may_be_split_and_kept_by_the_kernel() {
        let root = tempfile::tempdir().unwrap();
        let (ours, der) = certificate(root.path());
        efi(root.path(), "MokListRT", SHIM, &list(&[b"another"]));
        let read = || SecureBoot::read(&Layout::under(root.path())).trust(&ours);
        assert_eq!(read(), Trust::None);
        efi(root.path(), "MokListRT1", SHIM, &list(&[&der]));
        assert_eq!(read(), Trust::Enrolled);
        fs::remove_dir_all(root.path().join("sys/firmware/efi/efivars")).unwrap();
        let kept = root.path().join("sys/firmware/efi/mok-variables");
        fs::create_dir_all(&kept).unwrap();
        fs::write(kept.join("MokListRT"), list(&[&der])).unwrap();
        assert_eq!(read(), Trust::Enrolled);
    }

    #[test]
    fn a_key_of_the_kernels_own_is_trusted() {
        let root = tempfile::tempdir().unwrap();
        let (ours, _) = certificate(root.path());
        let line = format!(
            "1c2 I------     1 perm 1f030000     0     0 asymmetri DKMS module signing key: {}: X509.rsa 12345678 []\n",
            ours.key_id
        );
        write(root.path(), "proc/keys", &line);
        assert_eq!(SecureBoot::read(&Layout::under(root.path())).trust(&ours), Trust::Enrolled);
    }

    const DEBIAN: &str = "CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT=y\n";

    #[rstest]
    #[case::nothing(SecureBoot::default(), DEBIAN, true, None)]
    #[case::forced(SecureBoot::default(), "CONFIG_MODULE_SIG_FORCE=y\n", false, Some("CONFIG_MODULE_SIG_FORCE"))]
    #[case::another_kernel(SecureBoot { enabled: Some(true), ..SecureBoot::default() }, DEBIAN, false, Some("Secure Boot is on"))]
    #[case::a_kernel_that_does_not_care(SecureBoot { enabled: Some(true), ..SecureBoot::default() }, "", false, None)]
    #[case::secure_boot_is_off(SecureBoot { enabled: Some(false), ..SecureBoot::default() }, DEBIAN, false, None)]
    #[case::locked_down(SecureBoot { lockdown: Some("integrity".into()), ..SecureBoot::default() }, "", true, Some("locked down (integrity)"))]
    #[case::of_the_running_one_only(SecureBoot { lockdown: Some("integrity".into()), ..SecureBoot::default() }, "", false, None)]
    #[case::what_it_does_counts(SecureBoot { enabled: Some(true), lockdown: Some("none".into()), ..SecureBoot::default() }, DEBIAN, true, None)]
    #[case::by_command_line(SecureBoot { enforced: true, ..SecureBoot::default() }, "", true, Some("sig_enforce"))]
    #[case::by_configuration(
        SecureBoot::default(),
        "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y\n",
        false,
        Some("configuration locks")
    )]
    fn a_kernel_enforces_signatures(
        #[case] boot: SecureBoot,
        #[case] config: &str,
        #[case] running: bool,
        #[case] wanted: Option<&str>,
    ) {
        let said = boot.enforces(&KernelConfig::parse(config), running);
        assert_eq!(said.is_some(), wanted.is_some(), "{said:?}");
        assert!(wanted.is_none_or(|wanted| said.as_ref().unwrap().contains(wanted)), "{said:?}");
    }

    #[rstest]
    #[case("none [integrity] confidentiality\n", Some("integrity"))]
    #[case("[none] integrity confidentiality\n", Some("none"))]
    #[case("", None)]
    fn the_lockdown_is_the_word_in_brackets(#[case] text: &str, #[case] wanted: Option<&str>) {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "sys/kernel/security/lockdown", text);
        assert_eq!(SecureBoot::read(&Layout::under(root.path())).lockdown.as_deref(), wanted);
    }

    #[test]
    fn each_state_has_its_word_and_its_reason() {
        let root = tempfile::tempdir().unwrap();
        let (ours, der) = certificate(root.path());
        let current = Some(ours.digest.as_str());
        let signed = Signing::Signed { certificate: ours.digest.clone(), key_id: ours.key_id.clone() };
        let failed = Signing::Unsigned { failed: Some("there is no sign-file".into()), tried: String::new() };
        let nobody = SecureBoot::default();
        assert_eq!((nobody.word(&Signing::Unknown), nobody.refusal(&Signing::Unknown, current, None)), ("", None));
        assert_eq!((nobody.word(&failed), nobody.word(&signed)), ("unsigned", "signed"));
        let refusal = nobody.refusal(&failed, current, None).unwrap();
        assert!(refusal.what.contains("there is no sign-file") && refusal.mend == Mend::Rebuild, "{refusal:?}");
        assert_eq!(nobody.refusal(&signed, current, None).unwrap().mend, Mend::Enroll);
        efi(root.path(), "MokNew", SHIM, &list(&[&der]));
        let waiting = SecureBoot::read(&Layout::under(root.path()));
        assert_eq!(waiting.refusal(&signed, current, None).unwrap().mend, Mend::Reboot);
        efi(root.path(), "MokListRT", SHIM, &list(&[&der]));
        let knows = SecureBoot::read(&Layout::under(root.path()));
        assert_eq!((knows.word(&signed), knows.refusal(&signed, current, None)), ("enrolled", None));
    }

    /// Enrolling the certificate of today does not help what was signed with the one of yesterday.
    #[rstest]
    #[case::another_key(Some("of today"), Mend::Rebuild)]
    #[case::no_key(None, Mend::Rebuild)]
    #[case::the_same(Some("c"), Mend::Enroll)]
    fn a_key_that_is_gone_is_not_to_be_enrolled(#[case] current: Option<&str>, #[case] mend: Mend) {
        let signed = Signing::Signed { certificate: "c".into(), key_id: "k".into() };
        assert_eq!(SecureBoot::default().refusal(&signed, current, None).unwrap().mend, mend);
    }

    #[test]
    fn what_was_not_to_be_signed_says_why_as_long_as_that_is_so() {
        let unsigned = Signing::Unsigned { failed: None, tried: String::new() };
        let what = |unwanted| SecureBoot::default().refusal(&unsigned, None, unwanted).unwrap().what;
        assert_eq!(what(Some("try_sign_modules is off")), "its modules are not signed: try_sign_modules is off");
        assert_eq!(what(None), "its modules are not signed");
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_it_fall(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), size in 0_u32..300) {
            let _ = certificates(&[&X509[..], &size.to_le_bytes(), &bytes].concat());
        }
    }
}
