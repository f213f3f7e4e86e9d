//! Writes an archive: members in order, all of them root's, the file under its name only when it is whole.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::codec::{self, Compression};
use super::unpack::{Node, Nodes};
use crate::tree::files;

/// What is written.
#[derive(Debug)]
pub(crate) enum Member {
    /// A folder with everything in it but names that begin with `.dkmsd-`: those are ours, and tell of this machine.
    Tree {
        /// Where it is.
        from: PathBuf,
        /// Its path in the archive.
        to: PathBuf,
    },
    /// A file of this text.
    Text {
        /// Its path in the archive.
        to: PathBuf,
        /// What it says.
        text: Vec<u8>,
    },
}

/// What is worth knowing of an archive that was written.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    /// What was left out because an archive cannot hold it.
    pub(crate) left_out: Vec<PathBuf>,
    /// The links in it, by path in it.
    pub(crate) links: Nodes,
}

/// Writes an archive into a folder that exists.
///
/// # Errors
/// When something cannot be read or written, or changes meanwhile.
pub(crate) fn write(archive: &Path, compression: Compression, members: &[Member]) -> io::Result<Packed> {
    let folder = archive.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(".dkmsd-").tempfile_in(folder)?;
    let mut packed = Packed::default();
    let written = codec::compress(compression, BufWriter::new(file), |into| {
        let mut packing = Packing { builder: Builder::new(into), packed: &mut packed };
        for member in members {
            packing.member(member)?;
        }
        packing.builder.into_inner()?.flush()
    })?;
    let file = written.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(archive).map_err(|error| error.error)?;
    files::sync_parent(archive).map_err(io::Error::other)?;
    Ok(packed)
}

struct Packing<'a, 'b> {
    builder: Builder<&'a mut dyn Write>,
    packed: &'b mut Packed,
}

impl Packing<'_, '_> {
    fn member(&mut self, member: &Member) -> io::Result<()> {
        match member {
            Member::Tree { from, to } => {
                let found = File::open(from)?.metadata()?;
                self.folder(to, &found)?;
                self.below(from, to)
            }
            Member::Text { to, text } => {
                let mut header = Header::new_gnu();
                header.set_entry_type(EntryType::Regular);
                header.set_mode(0o644);
                header.set_size(text.len() as u64);
                self.builder.append_data(&mut header, to, text.as_slice())
            }
        }
    }

    fn below(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        for (name, kind) in files::list(from).map_err(io::Error::other)? {
            if name.to_string_lossy().starts_with(".dkmsd-") {
                continue;
            }
            let (from, to) = (from.join(&name), to.join(&name));
            let explain = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
            let found = std::fs::symlink_metadata(&from).map_err(explain)?;
            if kind.is_dir() {
                self.folder(&to, &found)?;
                self.below(&from, &to)?;
            } else if kind.is_symlink() {
                let mut header = header(EntryType::Symlink, &found);
                header.set_size(0);
                let target = std::fs::read_link(&from).map_err(explain)?;
                self.builder.append_link(&mut header, &to, &target).map_err(explain)?;
                self.packed.links.insert(to, Node::Link(target));
            } else if kind.is_file() {
                self.file(&from, &to).map_err(explain)?;
            } else {
                self.packed.left_out.push(from);
            }
        }
        Ok(())
    }

    fn folder(&mut self, to: &Path, found: &Metadata) -> io::Result<()> {
        let mut header = header(EntryType::Directory, found);
        header.set_size(0);
        // The name of a folder ends in a slash.
        self.builder.append_data(&mut header, to.join(""), io::empty())
    }

    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let file = File::open(from)?;
        let found = file.metadata()?;
        let mut header = header(EntryType::Regular, &found);
        header.set_size(found.len());
        let mut bytes = Counted { from: file.take(found.len()), read: 0 };
        self.builder.append_data(&mut header, to, &mut bytes)?;
        // Its size is written before it: what is shorter would make the rest unreadable.
        if bytes.read != found.len() {
            return Err(io::Error::other("it changed while it was read"));
        }
        Ok(())
    }
}

fn header(kind: EntryType, found: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(found.permissions().mode() & 0o777);
    header.set_mtime(u64::try_from(found.mtime()).unwrap_or_default());
    // Whose it is here means nothing elsewhere.
    header.set_uid(0);
    header.set_gid(0);
    header
}

struct Counted<R> {
    from: R,
    read: u64,
}

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(into)?;
        self.read += n as u64;
        Ok(n)
    }
}
