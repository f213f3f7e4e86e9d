//! The inputs of builds as they are now: those of a package, and with them those on one kernel.

use std::fs;
use std::path::Path;

use super::Observer;
use crate::conf::OwnOverrides;
use crate::error::{IoContext as _, Result};
use crate::fingerprint::{Fingerprint, Stamp, behind_links, digest};
use crate::host::headers::Headers;
use crate::model::{KernelId, PackageId};

/// What every build of a package is made from.
#[derive(Debug)]
pub(super) struct PackageInputs {
    source: String,
    scripts: String,
    /// The digest of its overrides of dkms.conf, where there are none for any kernel.
    no_confs: String,
}

impl Observer {
    /// The inputs of a build as they are now.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn inputs(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        source: &Path,
        headers: &Headers,
        depends: &str,
    ) -> Result<Fingerprint> {
        Ok(Fingerprint {
            source: self.folder_digest(source)?,
            scripts: self.scripts(package)?,
            conf: self.confs(package, kernel),
            headers: headers_digest(headers),
            depends: depends.to_owned(),
        })
    }

    /// Those of them that are the same for every kernel, of a source that was stamped a moment ago.
    pub(super) fn package_inputs(&self, package: &PackageId, source: &Path, stamp: &Stamp) -> Result<PackageInputs> {
        Ok(PackageInputs {
            source: self.folders.with(source, stamp).at("read", source)?,
            scripts: self.scripts(package)?,
            no_confs: digest([&[][..]; CONFS]),
        })
    }

    /// All of them on one kernel.
    pub(super) fn kernel_inputs(
        &self,
        of_package: &PackageInputs,
        package: &PackageId,
        kernel: &KernelId,
        overrides: &OwnOverrides<'_>,
        headers: &str,
        depends: String,
    ) -> Fingerprint {
        Fingerprint {
            source: of_package.source.clone(),
            scripts: of_package.scripts.clone(),
            conf: if overrides.are_none() { of_package.no_confs.clone() } else { self.confs(package, kernel) },
            headers: headers.to_owned(),
            depends,
        }
    }

    /// The digest of an admin's patches and scripts.
    fn scripts(&self, package: &PackageId) -> Result<String> {
        let folder = self.layout.override_dir(&package.name);
        let linked = behind_links(&folder).at("read", &folder)?;
        let scripts = self.folder_digest(&folder)?;
        if linked.is_empty() {
            return Ok(scripts);
        }
        Ok(digest(std::iter::once(scripts.as_bytes()).chain(linked.iter().map(String::as_bytes))))
    }

    /// The digest of an admin's overrides of dkms.conf; one that is not there counts as empty.
    fn confs(&self, package: &PackageId, kernel: &KernelId) -> String {
        let confs = self.layout.override_confs(package, kernel);
        let confs: Vec<Vec<u8>> = confs.iter().map(|path| fs::read(path).unwrap_or_default()).collect();
        digest(confs.iter().map(Vec::as_slice))
    }
}

/// How many overrides of dkms.conf there may be for a package on a kernel.
const CONFS: usize = 6;

/// The digest of a kernel's headers as an input.
pub(super) fn headers_digest(headers: &Headers) -> String {
    digest([headers.identity.as_bytes()])
}
