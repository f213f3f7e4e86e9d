//! The signing key, made when a person asks for it (dkms-contract.md §4).

use std::path::PathBuf;

use super::Engine;
use crate::artifact::certificate::Certificate;
use crate::artifact::{keys, sign};
use crate::error::Result;
use crate::host::secure_boot::SecureBoot;
use crate::model::KernelRelease;
use crate::settings::PerKernel;
use crate::tree::files;

/// Where the signing key and its certificate are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// A path, or a `pkcs11:` URI.
    pub key: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Whether they were made just now.
    pub made: bool,
}

/// The signing key and its certificate, and what this machine thinks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mok {
    /// A path, or a `pkcs11:` URI.
    pub key: PathBuf,
    /// The certificate's place.
    pub certificate_file: PathBuf,
    /// Whether the key is there; a URI's is taken to be.
    pub key_exists: bool,
    /// Whether there is a file at that place.
    pub certificate_exists: bool,
    /// The certificate; none where the file is not there or holds none.
    pub certificate: Option<Certificate>,
    /// What the firmware and the running kernel say.
    pub boot: SecureBoot,
    /// Why the kernel takes signed modules only, when it does.
    pub enforced: Option<String>,
}

impl Engine {
    /// What signs the modules of a kernel, and whether it is trusted. Changes nothing.
    ///
    /// # Errors
    /// When the certificate is there and cannot be read.
    pub fn mok(&self, kernel: &KernelRelease) -> Result<Mok> {
        let settings = sign::SignSettings::of(&self.settings, self.observer.distro(), self.in_chroot, kernel);
        let (key, certificate_file) = sign::key_paths(&self.layout, kernel, &settings);
        let boot = SecureBoot::read(&self.layout);
        let config = self.observer.kernel_config(kernel);
        let enforced = boot.enforces(&config, kernel == self.observer.running());
        let key_exists = sign::is_uri(&key.to_string_lossy()) || files::look(&key)?.is_some();
        let certificate_exists = files::look(&certificate_file)?.is_some();
        let certificate = Certificate::read(&certificate_file)?;
        Ok(Mok { key, certificate_file, key_exists, certificate_exists, certificate, boot, enforced })
    }

    /// Whether each kernel has a key or a certificate of its own.
    #[must_use]
    pub fn keys_are_per_kernel(&self) -> bool {
        let set = [&self.settings.mok_signing_key, &self.settings.mok_certificate];
        set.into_iter().flatten().any(PerKernel::names_kernel)
    }

    /// Makes key and certificate where they are not there, in a chroot too: it was asked for.
    ///
    /// # Errors
    /// When openssl is missing or fails, or the disk cannot be changed.
    pub fn make_keys(&self, kernel: &KernelRelease) -> Result<Keys> {
        let settings = sign::SignSettings::of(&self.settings, self.observer.distro(), self.in_chroot, kernel);
        let (key, certificate) = sign::key_paths(&self.layout, kernel, &settings);
        let made = !sign::is_uri(&key.to_string_lossy()) && keys::make(&self.layout, &key, &certificate)?;
        Ok(Keys { key, certificate, made })
    }
}
