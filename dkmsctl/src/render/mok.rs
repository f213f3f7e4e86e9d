//! `dkmsctl mok`: what signs modules, whether this machine trusts it, and what to type next.

use std::fmt::Write as _;

use dkms_core::engine::Mok;
use dkms_core::host::secure_boot::Trust;

use super::{Look, Paint, tame};

/// The lines, ending with the next command.
pub(crate) fn mok(mok: &Mok, look: Look) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str, paint: Paint| {
        let _ = writeln!(text, "{name:<12}{}", paint.apply(&tame(value), look));
    };
    line("Secure Boot", secure_boot(mok), Paint::Plain);
    line("Lockdown", mok.boot.lockdown.as_deref().unwrap_or("not known"), Paint::Plain);
    match &mok.enforced {
        Some(why) => line("Modules", &format!("signed ones only: {why}"), Paint::Attention),
        None => line("Modules", "any, signed or not", Paint::Plain),
    }
    let (there, paint) = if mok.key_exists { ("", Paint::Plain) } else { (" (missing)", Paint::Attention) };
    line("Key", &format!("{}{there}", mok.key.display()), paint);
    let (word, paint) = certificate(mok);
    line("Certificate", &format!("{} ({word})", mok.certificate_file.display()), paint);
    let _ = write!(text, "\n{}\n", next(mok));
    text
}

fn secure_boot(mok: &Mok) -> &'static str {
    match mok.boot.enabled {
        Some(true) => "on",
        Some(false) => "off",
        None => "not available: not started with UEFI",
    }
}

/// How far the certificate is trusted, in words.
pub(crate) fn certificate(mok: &Mok) -> (&'static str, Paint) {
    match mok.certificate.as_ref().map(|certificate| mok.boot.trust(certificate)) {
        None if mok.certificate_exists => ("no certificate in DER or PEM", Paint::Bad),
        None => ("missing", Paint::Attention),
        Some(Trust::Enrolled) => ("enrolled", Paint::Good),
        Some(Trust::Pending) => ("enrolled with the next boot", Paint::Attention),
        Some(Trust::None) if mok.enforced.is_some() => ("not enrolled", Paint::Bad),
        Some(Trust::None) => ("not enrolled", Paint::Plain),
    }
}

/// What to do, with the command to type at its end.
pub(crate) fn next(mok: &Mok) -> String {
    let file = mok.certificate_file.display();
    let trust = mok.certificate.as_ref().map(|certificate| mok.boot.trust(certificate));
    match trust {
        None if mok.certificate_exists => format!(
            "{file} is to hold a certificate in DER or PEM, and does not: put one there, or take the file away. \
             Then: dkmsctl mok generate"
        ),
        None if mok.key_exists && mok.key.to_string_lossy().starts_with("pkcs11:") => {
            format!("The key is on a token; put its certificate at {file}. Then: dkmsctl mok status")
        }
        None => "There is nothing to sign with yet. Next: dkmsctl mok generate".to_owned(),
        Some(_) if !mok.key_exists => format!(
            "The certificate has lost its key: put the key back at {}, or take the certificate away ({file}). Then: dkmsctl mok generate",
            mok.key.display()
        ),
        Some(Trust::Enrolled) => "All is set: what is signed with it loads. Next: dkmsctl status".to_owned(),
        Some(Trust::Pending) => {
            "At the next boot a blue screen asks: choose \"Enroll MOK\", and type the password that \
             mokutil was given. Next: systemctl reboot"
                .to_owned()
        }
        Some(Trust::None) if mok.boot.enabled.is_none() && mok.enforced.is_some() => format!(
            "The kernel takes only what is signed by keys it was built with, and there is no firmware to enroll others in: \
             build a kernel that trusts {file}. Then: dkmsctl mok status"
        ),
        Some(Trust::None) if mok.boot.enabled.is_none() => {
            "Nothing has to be done: this machine loads modules without asking. Next: dkmsctl status".to_owned()
        }
        Some(Trust::None) if mok.boot.enabled == Some(false) && mok.enforced.is_none() => {
            "Nothing has to be done: Secure Boot is off, and modules load without asking. Before it is turned on, have \
             the certificate enrolled: dkmsctl mok enroll. Next: dkmsctl status"
                .to_owned()
        }
        Some(Trust::None) => "This machine does not know the certificate yet. Next: dkmsctl mok enroll".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dkms_core::artifact::certificate::Certificate;
    use dkms_core::host::secure_boot::SecureBoot;
    use rstest::rstest;

    /// A certificate of nothing but what is looked for: a serial number and an issuer.
    fn a_certificate() -> Option<Certificate> {
        Certificate::parse(&[0x30, 9, 0x30, 7, 2, 1, 5, 0x30, 0, 0x30, 0])
    }

    fn mok(certificate: bool, key_exists: bool, secure_boot: Option<bool>, enforced: bool) -> Mok {
        let mut boot = SecureBoot::default();
        (boot.enabled, boot.lockdown) = (secure_boot, Some("none".into()));
        Mok {
            key: "/var/lib/dkms/mok.key".into(),
            certificate_file: "/var/lib/dkms/mok.pub".into(),
            key_exists,
            certificate_exists: certificate,
            certificate: if certificate { a_certificate() } else { None },
            boot,
            enforced: enforced.then(|| "it is locked down (integrity)".to_owned()),
        }
    }

    #[rstest]
    #[case::nothing(mok(false, false, Some(true), true), "Next: dkmsctl mok generate")]
    #[case::half(mok(false, true, Some(true), true), "Next: dkmsctl mok generate")]
    #[case::lost(mok(true, false, Some(true), true), "Then: dkmsctl mok generate")]
    #[case::unknown(mok(true, true, Some(true), true), "Next: dkmsctl mok enroll")]
    #[case::off(mok(true, true, Some(false), false), "dkmsctl mok enroll. Next: dkmsctl status")]
    #[case::off_and_enforced(mok(true, true, Some(false), true), "Next: dkmsctl mok enroll")]
    #[case::no_certificate(Mok { certificate_exists: true, ..mok(false, true, Some(true), true) }, "Then: dkmsctl mok generate")]
    #[case::no_uefi(mok(true, true, None, false), "Next: dkmsctl status")]
    #[case::no_way(mok(true, true, None, true), "Then: dkmsctl mok status")]
    #[case::token(Mok { key: "pkcs11:token=x".into(), ..mok(false, true, Some(true), true) }, "Then: dkmsctl mok status")]
    fn every_state_ends_with_a_command(#[case] mok: Mok, #[case] wanted: &str) {
        assert!(super::mok(&mok, Look::default()).trim_end().ends_with(wanted), "{}", next(&mok));
    }

    #[test]
    fn everything_is_told() {
        insta::assert_snapshot!(super::mok(&mok(true, true, Some(true), true), Look::default()), @r"
        Secure Boot on
        Lockdown    none
        Modules     signed ones only: it is locked down (integrity)
        Key         /var/lib/dkms/mok.key
        Certificate /var/lib/dkms/mok.pub (not enrolled)

        This machine does not know the certificate yet. Next: dkmsctl mok enroll
        ");
    }
}
