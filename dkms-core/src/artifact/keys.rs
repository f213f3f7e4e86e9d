//! The key and certificate that modules are signed with, made once when they are not there (dkms-contract.md §4).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::artifact::tool;
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;
use crate::tree::{files, locks};

/// What openssl is told, so that no configuration of the machine's is needed.
const REQUEST: &str = "[req]
distinguished_name = name
prompt = no
x509_extensions = extensions
[name]
CN = DKMS module signing key
[extensions]
basicConstraints = critical,CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = codeSigning
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
";

/// How a key is made: in words that OpenSSL 1.1.1 knows, too. What it prints meanwhile is caught.
const GENPKEY: &[&str] = &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"];

/// How its certificate is made. It is good for a hundred years: a module outlives its certificate otherwise.
const REQ: &[&str] =
    &["req", "-new", "-x509", "-utf8", "-sha256", "-batch", "-days", "36500", "-outform", "DER", "-config"];

/// Makes what is missing of the two: an RSA key (PEM, for root alone) and its certificate (DER, X.509). Gives whether
/// anything was made. Two processes that do so at once make one key.
///
/// A certificate without its key is left alone: the key may lie on a medium that is not there now, and the certificate
/// may be enrolled in the firmware.
///
/// # Errors
/// When openssl is missing or fails, the disk cannot be changed, or there is a certificate without a key.
pub fn make(layout: &Layout, key: &Path, certificate: &Path) -> Result<bool> {
    let there = || -> Result<(bool, bool)> { Ok((files::look(key)?.is_some(), files::look(certificate)?.is_some())) };
    if there()? == (true, true) {
        return Ok(false);
    }
    let _lock =
        locks::lock(layout, "keys", &[], &mut |holder| tracing::info!("a key is being made; waiting for {holder}"))?;
    let (has_key, has_certificate) = there()?;
    if has_certificate {
        return if has_key {
            Ok(false)
        } else {
            Err(Error::Io {
                action: "find the key of this certificate, which would be",
                path: key.to_owned(),
                source: std::io::ErrorKind::NotFound.into(),
            })
        };
    }
    if !has_key {
        in_place(key, 0o600, |new, _| {
            let mut command = Command::new("openssl");
            command.args(GENPKEY).arg(new);
            command
        })?;
    }
    in_place(certificate, 0o644, |new, request| {
        let mut command = Command::new("openssl");
        command.args(REQ).arg(request).arg("-key").arg(key).arg("-out").arg(new);
        command
    })?;
    Ok(true)
}

/// Has a program write a file in a folder that only root can enter, then moves it to its place.
fn in_place(path: &Path, mode: u32, program: impl FnOnce(&Path, &Path) -> Command) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    files::make_folders(folder)?;
    let private = tempfile::Builder::new().prefix(".dkmsd-key-").tempdir_in(folder).at("make a folder in", folder)?;
    let (new, request) = (private.path().join("new"), private.path().join("request"));
    fs::write(&request, REQUEST).at("write", &request)?;
    tool::run(program(&new, &request), path, "openssl")?;
    let file = fs::File::open(&new).at("read", &new)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).at("set the mode of", &new)?;
    file.sync_all().at("write", &new)?;
    fs::rename(&new, path).at("write", path)?;
    files::sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::fixture;

    #[test]
    fn many_who_need_a_key_make_one() {
        let root = fixture::scratch();
        let layout = Layout::under(root.path());
        let (key, certificate) = (layout.host("/var/lib/dkms/mok.key"), layout.host("/var/lib/dkms/mok.pub"));
        let made = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..3).map(|_| scope.spawn(|| make(&layout, &key, &certificate).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).filter(|made| *made).count()
        });
        assert_eq!(made, 1);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&certificate).unwrap().permissions().mode() & 0o777, 0o644);
        let mut names: Vec<_> = files::list(key.parent().unwrap()).unwrap().into_iter().map(|(name, _)| name).collect();
        names.retain(|name| name != ".dkmsd-locks");
        assert_eq!(names, ["mok.key", "mok.pub"]);

        let mut openssl = Command::new("openssl");
        openssl
            .args(["x509", "-inform", "DER", "-noout", "-subject", "-ext", "extendedKeyUsage", "-in"])
            .arg(&certificate);
        let said = String::from_utf8(openssl.output().unwrap().stdout).unwrap();
        assert!(said.contains("DKMS module signing key") && said.contains("Code Signing"), "{said}");
    }

    /// What the manual pages genpkey(1) and req(1) of OpenSSL 1.1.1 list, of what could be of use here.
    #[test]
    fn openssl_of_older_distributions_knows_every_option() {
        const GENPKEY_OF_1_1_1: &[&str] = &["-algorithm", "-out", "-outform", "-pass", "-pkeyopt"];
        const REQ_OF_1_1_1: &[&str] =
            &["-batch", "-config", "-days", "-new", "-nodes", "-outform", "-sha256", "-utf8", "-verbose", "-x509"];
        for (words, known) in [(GENPKEY, GENPKEY_OF_1_1_1), (REQ, REQ_OF_1_1_1)] {
            for option in words.iter().filter(|word| word.starts_with('-')) {
                assert!(known.contains(option), "{option} of {words:?}");
            }
        }
    }

    #[test]
    fn a_lost_certificate_is_made_again_and_a_lost_key_is_not() {
        let root = fixture::scratch();
        let layout = Layout::under(root.path());
        let (key, certificate) = (layout.host("/key"), layout.host("/certificate"));
        assert!(make(&layout, &key, &certificate).unwrap());
        let first = fs::read(&key).unwrap();
        fs::remove_file(&certificate).unwrap();
        assert!(make(&layout, &key, &certificate).unwrap());
        assert_eq!(fs::read(&key).unwrap(), first);
        fs::remove_file(&key).unwrap();
        let enrolled = fs::read(&certificate).unwrap();
        make(&layout, &key, &certificate).unwrap_err();
        assert_eq!(fs::read(&certificate).unwrap(), enrolled);
    }
}
