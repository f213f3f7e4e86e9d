//! Unpacks an archive that anybody may have made.
//!
//! Only folders, files and links come out, at relative paths without `..`. Links are made last ([`make_links`]), so that
//! nothing is ever written through one; everything belongs to whoever unpacks, and others cannot write it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::codec;
use super::inside::MAIN_TREE;
use crate::error::{Error, IoContext as _};

/// The most that is read of a name, in bytes: longer ones are no paths.
const LONGEST_NAME: u64 = 16 << 10;
/// The most that is read of one extended header, in bytes.
const LONGEST_HEADER: u64 = 1 << 20;
/// Folders in folders.
const DEEPEST: usize = 100;
/// What is left free, in bytes.
const LEFT_FREE: u64 = 64 << 20;

/// One thing in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A folder.
    Folder,
    /// A file, unpacked.
    File,
    /// A link to this, not made yet.
    Link(PathBuf),
}

/// What an archive holds, by path in it.
pub(crate) type Nodes = BTreeMap<PathBuf, Node>;

/// How much of an archive is unpacked before it is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of everything in it, headers too.
    pub(crate) bytes: u64,
    /// Files, folders, links and headers.
    pub(crate) members: usize,
}

impl Limits {
    /// What the places have room for, and what no driver package comes near.
    ///
    /// # Errors
    /// When a place cannot be looked at.
    pub(crate) fn of(places: &Places<'_>) -> crate::error::Result<Self> {
        let mut bytes = 8 << 30;
        for place in [places.source, places.tree] {
            let found = rustix::fs::statvfs(place).at("look at the free space of", place)?;
            bytes = bytes.min(found.f_bavail.saturating_mul(found.f_frsize).saturating_sub(LEFT_FREE));
        }
        Ok(Self { bytes, members: 250_000 })
    }
}

/// Where things go; empty folders that nobody else writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    /// For `dkms_main_tree`, so that it can be renamed into the tree.
    pub(crate) tree: &'a Path,
    /// For everything else.
    pub(crate) source: &'a Path,
}

impl Places<'_> {
    /// Where something of the archive lies.
    pub(crate) fn of(&self, path: &Path) -> PathBuf {
        if path.starts_with(MAIN_TREE) { self.tree.join(path) } else { self.source.join(path) }
    }
}

/// Why it stopped.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The archive is at fault; in a sentence.
    Archive(String),
    /// The machine is.
    Machine(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Machine(error)
    }
}

fn damaged(error: io::Error) -> Refused {
    Refused::Archive(match error.get_ref() {
        Some(inner) if inner.is::<TooMuch>() => inner.to_string(),
        _ => format!("it is no whole archive: {error}"),
    })
}

/// Unpacks everything but links; gives what there is, links too.
///
/// # Errors
/// When the archive is damaged, would leave its places, or is too large; when a place cannot be written.
pub(crate) fn unpack(archive: impl Read, places: &Places<'_>, limits: Limits) -> Result<Nodes, Refused> {
    let plain = codec::decompress(BufReader::with_capacity(128 << 10, archive)).map_err(damaged)?;
    let mut bounded = Bounded { from: plain, left: limits.bytes, limit: limits.bytes };
    let mut unpacking = Unpacking { places, nodes: Nodes::new() };
    let mut archive = Archive::new(&mut bounded);
    let mut ahead = Ahead::default();
    // Raw, because what describes the next member is read into memory, however long it is.
    for (n, entry) in archive.entries().map_err(damaged)?.raw(true).enumerate() {
        if n >= limits.members {
            return Err(Refused::Archive(format!("it has more than {} members", limits.members)));
        }
        let mut entry = entry.map_err(damaged)?;
        if !ahead.take(&mut entry)? {
            let member = std::mem::take(&mut ahead).describe(&entry)?;
            unpacking.member(member, &mut entry)?;
        }
    }
    if !ahead.is_empty() {
        return Err(Refused::Archive("it ends before the file that it announces".into()));
    }
    // Its checksum is at the end.
    io::copy(&mut bounded, &mut io::sink()).map_err(damaged)?;
    Ok(unpacking.nodes)
}

/// Makes the links below a folder of the archive. Where they lead must have been looked at.
///
/// # Errors
/// When one cannot be made.
pub(crate) fn make_links(nodes: &Nodes, root: &Path, places: &Places<'_>) -> crate::error::Result<()> {
    for (path, node) in nodes.range(root.to_owned()..).take_while(|(path, _)| path.starts_with(root)) {
        if let Node::Link(target) = node {
            let place = places.of(path);
            std::os::unix::fs::symlink(target, &place).at("make the link", &place)?;
        }
    }
    Ok(())
}

/// Reads no more than it may.
struct Bounded<R> {
    from: R,
    left: u64,
    limit: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {} MiB, which is what there is room for here", .0 >> 20)]
struct TooMuch(u64);

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(into)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| io::Error::other(TooMuch(self.limit)))?;
        Ok(n)
    }
}

/// What headers said about the member that follows them.
#[derive(Debug, Default)]
struct Ahead {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Vec<u8>>,
}

/// One member, as all its headers describe it.
struct Member {
    name: Vec<u8>,
    link: Option<Vec<u8>>,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_link.is_none() && self.pax.is_none()
    }

    /// Takes a header that is no member itself.
    fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<bool, Refused> {
        let (slot, longest) = match entry.header().entry_type() {
            EntryType::GNULongName => (&mut self.long_name, LONGEST_NAME),
            EntryType::GNULongLink => (&mut self.long_link, LONGEST_NAME),
            EntryType::XHeader => (&mut self.pax, LONGEST_HEADER),
            EntryType::XGlobalHeader => return Ok(true),
            _ => return Ok(false),
        };
        if slot.is_some() || entry.size() > longest {
            return Err(Refused::Archive("a header in it is too long, or there twice".into()));
        }
        let mut text = Vec::new();
        entry.take(longest).read_to_end(&mut text).map_err(damaged)?;
        *slot = Some(text);
        Ok(true)
    }

    fn describe(self, entry: &Entry<'_, impl Read>) -> Result<Member, Refused> {
        let until_nul = |mut text: Vec<u8>| {
            text.truncate(text.iter().position(|b| *b == 0).unwrap_or(text.len()));
            text
        };
        let mut name = self.long_name.map_or_else(|| entry.header().path_bytes().into_owned(), until_nul);
        let mut link =
            self.long_link.map(until_nul).or_else(|| entry.header().link_name_bytes().map(|bytes| bytes.into_owned()));
        for record in PaxExtensions::new(self.pax.as_deref().unwrap_or_default()) {
            let record = record.map_err(damaged)?;
            match record.key_bytes() {
                b"path" => name = record.value_bytes().to_owned(),
                b"linkpath" => link = Some(record.value_bytes().to_owned()),
                b"size" if record.value().ok().and_then(|v| v.parse().ok()) != Some(entry.size()) => {
                    return Err(Refused::Archive("a file in it has two sizes".into()));
                }
                key if key.starts_with(b"GNU.sparse.") => return Err(unfit(&name, "a file with holes")),
                _ => {}
            }
        }
        Ok(Member { name, link })
    }
}

fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn unfit(name: &[u8], what: &str) -> Refused {
    Refused::Archive(format!("{} in it is {what}, which no driver package needs", shown(name)))
}

/// A path in an archive, below wherever it is unpacked; none for that place itself.
fn clean(name: &[u8]) -> Result<Option<PathBuf>, Refused> {
    let refuse = |why: &str| Err(Refused::Archive(format!("{} in it {why}", shown(name))));
    if name.starts_with(b"/") {
        return refuse("has an absolute path");
    }
    if name.contains(&0) {
        return refuse("has a path with a NUL in it");
    }
    let mut path = PathBuf::new();
    let mut depth = 0;
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return refuse("leads out of the archive"),
            part if part.len() > 255 => return refuse("has a longer name than a file may have"),
            part => {
                path.push(OsStr::from_bytes(part));
                depth += 1;
            }
        }
    }
    if depth > DEEPEST {
        return refuse("lies too deep");
    }
    Ok((depth > 0).then_some(path))
}

struct Unpacking<'a> {
    places: &'a Places<'a>,
    nodes: Nodes,
}

impl Unpacking<'_> {
    fn member(&mut self, member: Member, entry: &mut Entry<'_, impl Read>) -> Result<(), Refused> {
        let Member { name, link } = member;
        let kind = match entry.header().entry_type() {
            // As archives from before there was a kind for folders have it.
            EntryType::Regular if name.ends_with(b"/") => EntryType::Directory,
            kind => kind,
        };
        let Some(path) = clean(&name)? else {
            return if kind.is_dir() { Ok(()) } else { Err(unfit(&name, "a file without a name")) };
        };
        if kind.is_dir() {
            return self.folder(&path);
        }
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        match self.nodes.get(&path) {
            None => {}
            Some(Node::Folder) => {
                return Err(Refused::Archive(format!("{} in it is a folder and something else", shown(&name))));
            }
            // The last one counts, as when an archive was appended to.
            Some(Node::File) => {
                let place = self.places.of(&path);
                fs::remove_file(&place).at("replace", &place)?;
            }
            Some(Node::Link(_)) => {}
        }
        self.nodes.remove(&path);
        let node = match kind {
            EntryType::Regular | EntryType::Continuous => {
                self.file(&path, entry)?;
                Node::File
            }
            EntryType::Symlink => match link {
                Some(target) if !target.is_empty() && !target.contains(&0) => {
                    Node::Link(OsString::from_vec(target).into())
                }
                _ => return Err(unfit(&name, "a link to nothing")),
            },
            EntryType::Link => {
                self.second_name(&path, &name, &link.unwrap_or_default())?;
                Node::File
            }
            EntryType::Char | EntryType::Block => return Err(unfit(&name, "a device")),
            EntryType::Fifo => return Err(unfit(&name, "a pipe")),
            EntryType::GNUSparse => return Err(unfit(&name, "a file with holes")),
            _ => return Err(unfit(&name, "of an unknown kind")),
        };
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Makes a folder and those above it.
    fn folder(&mut self, path: &Path) -> Result<(), Refused> {
        let above: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
        for folder in above.into_iter().rev() {
            match self.nodes.get(folder) {
                Some(Node::Folder) => {}
                Some(_) => {
                    let name = shown(folder.as_os_str().as_bytes());
                    return Err(Refused::Archive(format!("{name} in it is a folder and something else")));
                }
                None => {
                    let place = self.places.of(folder);
                    fs::create_dir(&place).at("make", &place)?;
                    fs::set_permissions(&place, Permissions::from_mode(0o755)).at("open", &place)?;
                    self.nodes.insert(folder.to_owned(), Node::Folder);
                }
            }
        }
        Ok(())
    }

    fn file(&self, path: &Path, entry: &mut Entry<'_, impl Read>) -> Result<(), Refused> {
        let place = self.places.of(path);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&place).at("write", &place)?;
        let mut chunk = vec![0; 64 << 10];
        loop {
            let n = entry.read(&mut chunk).map_err(damaged)?;
            if n == 0 {
                break;
            }
            file.write_all(chunk.get(..n).unwrap_or_default()).at("write", &place)?;
        }
        let header = entry.header();
        let mode = header.mode().map_err(damaged)? & 0o755 | 0o600;
        file.set_permissions(Permissions::from_mode(mode)).at("set the mode of", &place)?;
        // A file of the future would keep make from building what depends on it.
        let now = SystemTime::now();
        let then = UNIX_EPOCH.checked_add(Duration::from_secs(header.mtime().unwrap_or_default())).unwrap_or(now);
        file.set_times(FileTimes::new().set_modified(then.min(now))).at("set the time of", &place)?;
        Ok(())
    }

    /// Another name for a file that is unpacked already.
    fn second_name(&self, path: &Path, name: &[u8], first: &[u8]) -> Result<(), Refused> {
        let first = clean(first)?.filter(|first| self.nodes.get(first) == Some(&Node::File));
        let Some(first) = first else {
            return Err(unfit(name, "a second name of something that is no file before it"));
        };
        let place = self.places.of(path);
        fs::hard_link(self.places.of(&first), &place).at("make", &place)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
