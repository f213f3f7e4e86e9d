//! The certificate that modules are signed with: whether a module bears its signature, and by what firmware and kernel
//! know it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::artifact::modinfo;
use crate::error::Result;
use crate::tree::files;

/// An X.509 certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The whole in DER, as firmware wants it.
    pub der: Vec<u8>,
    /// SHA-256 of that, in hexadecimal.
    pub digest: String,
    /// Its subject key identifier, in hexadecimal; empty when it has none. Kernel keyrings list keys by it.
    pub key_id: String,
    /// Issuer and serial number as they stand in a signature (PKCS #7, IssuerAndSerialNumber).
    issuer_and_serial: Vec<u8>,
    identifier: Vec<u8>,
}

/// DER: SEQUENCE, INTEGER, OCTET STRING, and X.509's version field.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const VERSION: u8 = 0xa0;
/// 2.5.29.14, the subject key identifier.
const SUBJECT_KEY: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x0e];

/// One DER element: its tag, its content, all of it, and what follows.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
    rest: &'a [u8],
}

fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (&[tag, first], after) = bytes.split_first_chunk::<2>()?;
    let (length, after) = match first {
        short @ ..0x80 => (usize::from(short), after),
        long => {
            let (length, after) = after.split_at_checked(usize::from(long & 0x7f)).filter(|(l, _)| l.len() <= 4)?;
            (length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)), after)
        }
    };
    let (content, rest) = after.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - rest.len())?;
    Some(Element { tag, content, whole, rest })
}

fn element_of(bytes: &[u8], tag: u8) -> Option<Element<'_>> {
    element(bytes).filter(|element| element.tag == tag)
}

impl Certificate {
    /// Reads a certificate file, in DER or PEM as sign-file takes it; none when it is not there or neither of them.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(file: &Path) -> Result<Option<Self>> {
        Ok(files::read(file)?.and_then(|bytes| Self::parse(&bytes).or_else(|| Self::parse(&unarmoured(&bytes)?))))
    }

    /// Takes the bytes of a certificate in DER.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let fields = element_of(element_of(der, SEQUENCE)?.content, SEQUENCE)?.content;
        let serial = element_of(element_of(fields, VERSION).map_or(fields, |version| version.rest), INTEGER)?;
        let issuer = element_of(element_of(serial.rest, SEQUENCE)?.rest, SEQUENCE)?;
        let identifier = subject_key(fields).unwrap_or_default().to_vec();
        Some(Self {
            der: der.to_vec(),
            digest: hex(&Sha256::digest(der)),
            key_id: hex(&identifier),
            issuer_and_serial: [issuer.whole, serial.whole].concat(),
            identifier,
        })
    }

    /// Whether an uncompressed module bears a signature that names this certificate. Whether the signature is right is
    /// the kernel's to tell.
    #[must_use]
    pub fn signed(&self, module: &[u8]) -> bool {
        let signature = module.get(modinfo::unsigned(module).len()..).unwrap_or_default();
        let names = |part: &[u8]| !part.is_empty() && signature.windows(part.len()).any(|window| window == part);
        names(&self.issuer_and_serial) || names(&self.identifier)
    }
}

/// What the first certificate of a PEM file (RFC 7468) holds; a key or words may stand around it.
fn unarmoured(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

/// What follows the identifier's name: an OCTET STRING that holds another.
fn subject_key(fields: &[u8]) -> Option<&[u8]> {
    let at = fields.windows(SUBJECT_KEY.len()).position(|window| window == SUBJECT_KEY)?;
    let outer = element_of(fields.get(at + SUBJECT_KEY.len()..)?, OCTETS)?;
    Some(element_of(outer.content, OCTETS)?.content)
}

/// SHA-256 of a certificate, as [`Certificate::digest`].
#[must_use]
pub fn digest(der: &[u8]) -> String {
    hex(&Sha256::digest(der))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{fixture, keys, sign};
    use crate::host::kconfig::KernelConfig;
    use crate::layout::Layout;
    use std::fs;
    use std::process::Command;

    /// A key, its certificate and a module, signed by the kernel's own tool.
    #[test]
    fn a_signature_is_told_by_its_certificate() {
        let root = fixture::scratch();
        let layout = Layout::under(root.path());
        let (mine, other) = (root.path().join("mine.der"), root.path().join("other.der"));
        keys::make(&layout, &root.path().join("mine.key"), &mine).unwrap();
        keys::make(&layout, &root.path().join("other.key"), &other).unwrap();
        let (certificate, another) =
            (Certificate::read(&mine).unwrap().unwrap(), Certificate::read(&other).unwrap().unwrap());

        let module = root.path().join("r8169.ko");
        fs::write(&module, modinfo::unsigned(&fs::read(fixture::module("r8169.ko")).unwrap())).unwrap();
        assert!(!certificate.signed(&fs::read(&module).unwrap()));
        let kernel = fixture::kernel().release;
        let config = KernelConfig::below(&fixture::headers(&kernel));
        let settings = sign::SignSettings {
            key: Some("/mine.key".into()),
            certificate: Some("/mine.der".into()),
            sign_file: Some("/sign-file".into()),
            ..sign::SignSettings::default()
        };
        let tool = fixture::root().join("usr/lib/linux-kbuild-6.1/scripts/sign-file");
        fs::copy(tool, root.path().join("sign-file")).unwrap();
        let signer = sign::signer(&layout, &kernel, &config, &settings).unwrap();
        assert_eq!(signer.sign(&module), sign::SignOutcome::Signed);
        let signed = fs::read(&module).unwrap();
        assert!(certificate.signed(&signed) && !another.signed(&signed));
        assert!(!certificate.signed(&fs::read(fixture::module("r8169.ko")).unwrap()), "Debian's own signature");
    }

    /// openssl is the judge.
    #[test]
    fn openssl_reads_the_same() {
        let root = fixture::scratch();
        let file = root.path().join("mine.der");
        keys::make(&Layout::under(root.path()), &root.path().join("mine.key"), &file).unwrap();
        let ask = |what: &[&str]| {
            let mut openssl = Command::new("openssl");
            openssl.args(["x509", "-inform", "DER", "-noout", "-in"]).arg(&file).args(what);
            String::from_utf8(openssl.output().unwrap().stdout).unwrap().to_lowercase().replace(':', "")
        };
        let certificate = Certificate::read(&file).unwrap().unwrap();
        assert!(ask(&["-fingerprint", "-sha256"]).contains(&certificate.digest));
        assert!(ask(&["-ext", "subjectKeyIdentifier"]).contains(&certificate.key_id));
        assert_eq!(certificate.key_id.len(), 40);
        let serial = hex(&certificate.issuer_and_serial);
        assert!(serial.ends_with(ask(&["-serial"]).trim().trim_start_matches("serial=")), "{serial}");
        assert_eq!(digest(&fs::read(&file).unwrap()), certificate.digest);
    }

    #[test]
    fn pem_is_read_as_well() {
        let root = fixture::scratch();
        let (der, pem) = (root.path().join("mine.der"), root.path().join("mine.pem"));
        keys::make(&Layout::under(root.path()), &root.path().join("mine.key"), &der).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-inform", "DER", "-text", "-in"]).arg(&der).arg("-out").arg(&pem);
        assert!(openssl.status().unwrap().success());
        assert!(fs::read_to_string(&pem).unwrap().starts_with("Certificate:\n"), "words come first");
        let wanted = Certificate::read(&der).unwrap();
        assert_eq!(Certificate::read(&pem).unwrap(), wanted);
        assert_eq!(wanted.unwrap().der, fs::read(&der).unwrap());
        fs::write(&pem, "-----BEGIN CERTIFICATE-----\nno!\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(Certificate::read(&pem).unwrap(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fall(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Certificate::parse(&bytes);
            let _ = Certificate::parse(&[&[SEQUENCE, 0x82, 1, 0, SEQUENCE, 0x81, 200], &bytes[..]].concat());
        }
    }
}
