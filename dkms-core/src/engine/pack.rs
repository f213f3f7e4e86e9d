//! mktarball: writes a package, and what is built of it, into an archive (dkms-contract.md §6).

use std::path::{Path, PathBuf};

use super::Engine;
use crate::distribute::{
    self, BINARIES_ONLY, Contents, MAIN_TREE, Member, Packed, SOURCE_TREE, SUFFIXES, all_leaving, archive_name,
    compression,
};
use crate::error::{Error, IoContext as _, Result};
use crate::event::Sink;
use crate::model::{KernelId, PackageId};
use crate::tree::{self, Wanted, files};

/// Which kernels' builds go into an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelChoice {
    /// Every one there is (`--all`).
    All,
    /// These, in this order.
    These(Vec<KernelId>),
}

/// What an archive is to hold, and where it goes.
#[derive(Debug, Clone)]
pub struct PackTarball {
    /// The package.
    pub package: PackageId,
    /// Whose builds; without meaning for [`Contents::SourceOnly`].
    pub kernels: KernelChoice,
    /// Source, builds, or both.
    pub contents: Contents,
    /// `--archive`: a bare name lies in the package's `tarball` folder, any other path is taken as it is. The suffix
    /// chooses the compression. None: the classic name.
    pub archive: Option<PathBuf>,
}

impl Engine {
    /// Makes an archive and gives its path. An archive that is there already is replaced, once the new one is whole.
    ///
    /// # Errors
    /// When the package is not in the tree (3) or broken (4), is not built for a kernel asked for (6), the destination
    /// cannot be written (9), or something could not be packed (6).
    pub fn make_tarball(&self, pack: &PackTarball, sink: &mut dyn Sink) -> Result<PathBuf> {
        let package = &pack.package;
        let unknown = pack.archive.as_deref().filter(|archive| compression(archive).is_none());
        if let Some(path) = unknown.map(Path::to_owned) {
            return Err(Error::Pack { package: package.clone(), path, why: no_suffix() });
        }
        self.source(package)?;
        let kernels = self.kernels_to_pack(pack)?;
        let mut wanted = vec![Wanted::package(&package.name)];
        wanted.extend(kernels.iter().map(|kernel| Wanted::build(package, kernel)));
        let _locks = self.lock_all(&wanted, sink)?;
        let source = self.source(package)?;
        for kernel in &kernels {
            if !self.layout.module_dir(package, kernel).is_dir() {
                return Err(Error::NotBuilt { package: package.clone(), kernel: kernel.clone() });
            }
        }
        let archive = self.destination(pack, &kernels)?;
        let failed = |why| Error::Pack { package: package.clone(), path: archive.clone(), why };
        let compression = compression(&archive).ok_or_else(|| failed(no_suffix()))?;
        let members = self.members(pack, &kernels, &source)?;
        let Packed { left_out, links } =
            distribute::write(&archive, compression, &members).map_err(|error| failed(error.to_string()))?;
        for path in left_out {
            sink.warn(format!("{} is left out: it is no file, folder or link", path.display()));
        }
        let top = Path::new(SOURCE_TREE);
        for (link, target) in all_leaving(&links, top) {
            let link = source.join(link.strip_prefix(top).unwrap_or(link));
            sink.warn(format!(
                "the link {} leads out of the source, to {}: what it leads to is not in the archive, and ldtarball \
                 refuses an archive with such a link; put the file itself in its place and pack again",
                link.display(),
                target.display()
            ));
        }
        Ok(archive)
    }

    fn kernels_to_pack(&self, pack: &PackTarball) -> Result<Vec<KernelId>> {
        if pack.contents == Contents::SourceOnly {
            return Ok(Vec::new());
        }
        let kernels: Vec<_> = match &pack.kernels {
            KernelChoice::These(kernels) => {
                // One that is named twice is there once.
                let first = |(n, kernel): &(usize, &KernelId)| kernels.iter().position(|k| k == *kernel) == Some(*n);
                kernels.iter().enumerate().filter(first).map(|(_, kernel)| kernel.clone()).collect()
            }
            KernelChoice::All => {
                let entries = tree::package(&self.layout, &pack.package)?.map(|p| p.entries).unwrap_or_default();
                entries.into_iter().filter(|entry| entry.built).map(|entry| entry.kernel).collect()
            }
        };
        if kernels.is_empty() {
            return Err(Error::NothingBuilt { package: pack.package.clone() });
        }
        Ok(kernels)
    }

    /// Where the archive goes; its folder exists then, and can be written. Only the package's own is made.
    fn destination(&self, pack: &PackTarball, kernels: &[KernelId]) -> Result<PathBuf> {
        let ours = self.layout.tarball_dir(&pack.package);
        let archive = match &pack.archive {
            None => ours.join(archive_name(&pack.package, pack.contents, kernels)),
            Some(bare) if bare.file_name() == Some(bare.as_os_str()) => ours.join(bare),
            Some(path) => path.clone(),
        };
        let folder = archive.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let there = if folder == ours {
            std::fs::create_dir_all(folder)
        } else if std::fs::exists(folder).unwrap_or(true) {
            Ok(())
        } else {
            let why = format!("there is no folder {}", folder.display());
            Err(std::io::Error::new(std::io::ErrorKind::NotFound, why))
        };
        // A file is made as a trial, because access(2) says nothing of a read-only or odd file system.
        let written = there.and_then(|()| tempfile::tempfile_in(folder));
        match written {
            Ok(_) => Ok(archive),
            Err(source) => Err(Error::Destination { path: archive, source }),
        }
    }

    fn members(&self, pack: &PackTarball, kernels: &[KernelId], source: &Path) -> Result<Vec<Member>> {
        let package = &pack.package;
        let mut members: Vec<_> = kernels
            .iter()
            .map(|kernel| Member::Tree {
                from: self.layout.built_dir(package, kernel),
                to: Path::new(MAIN_TREE).join(&kernel.release).join(&kernel.arch),
            })
            .collect();
        if pack.contents != Contents::BinariesOnly {
            members.push(Member::Tree { from: source.to_owned(), to: SOURCE_TREE.into() });
            return Ok(members);
        }
        let conf = source.join("dkms.conf");
        let conf =
            files::read(&conf)?.ok_or(std::io::ErrorKind::NotFound).map_err(std::io::Error::from).at("read", conf)?;
        let line = |word: &str| format!("{word}\n").into_bytes();
        let texts = [
            ("PACKAGE_NAME", line(package.name.as_str())),
            ("PACKAGE_VERSION", line(package.version.as_str())),
            ("dkms.conf", conf),
        ];
        members.extend(texts.map(|(name, text)| Member::Text { to: Path::new(BINARIES_ONLY).join(name), text }));
        Ok(members)
    }
}

fn no_suffix() -> String {
    format!("its suffix names no kind of archive that is written here; use {SUFFIXES}")
}
