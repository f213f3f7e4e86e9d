//! The signing key, made when a person asks for it (dkms-contract.md §4).

use std::path::PathBuf;

use super::Engine;
use crate::artifact::{keys, sign};
use crate::error::Result;
use crate::model::KernelRelease;

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

impl Engine {
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
