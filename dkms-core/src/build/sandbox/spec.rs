//! What a confined process is to do, and how that travels: on its standard input, as a line of JSON and then the bytes
//! that are the command's own input. Arguments would limit its size.

use std::fs::File;
use std::io::{self, BufRead, Read as _, Seek as _, Write};
use std::os::fd::RawFd;
use std::path::PathBuf;

use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::host::users::User;

/// What a confined process is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    pub(super) cwd: PathBuf,
    pub(super) user: Option<User>,
    /// Whether in namespaces of its own.
    pub(super) isolated: bool,
    /// Whether in a user namespace of its own as well.
    pub(super) own_users: bool,
    /// Whether it may use the network.
    pub(super) network: bool,
    /// Whether to say on its standard error what it left behind.
    pub(super) tells_left: bool,
    /// Folders to show at other places, writable: (what, where).
    pub(super) binds: Vec<(PathBuf, PathBuf)>,
    /// What must stay in sight, though it lies in a folder that is out of sight.
    pub(super) shown: Vec<PathBuf>,
    /// Folders and files that are out of sight.
    pub(super) hidden: Vec<PathBuf>,
    /// Descriptors that are held open while it runs, and that the command itself does not have.
    pub(super) withheld: Vec<RawFd>,
    /// How many bytes of input follow; the command has none at all when none.
    pub(super) input: Option<usize>,
}

impl Spec {
    /// The message; `input` are the bytes that [`Spec::input`] counts.
    pub(super) fn send(&self, input: &[u8], to: &mut impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self).map_err(io::Error::other)?;
        line.push(b'\n');
        to.write_all(&line)?;
        to.write_all(input)
    }

    /// Reads the message, and nothing after it.
    pub(super) fn receive(from: &mut impl BufRead) -> io::Result<(Self, Vec<u8>)> {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line)?;
        let spec: Self = serde_json::from_slice(&line).map_err(io::Error::other)?;
        let mut input = Vec::new();
        let wanted = spec.input.unwrap_or(0);
        from.take(wanted as u64).read_to_end(&mut input)?;
        if input.len() < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((spec, input))
    }
}

/// A nameless file in memory, to be read from its beginning.
pub(super) fn in_memory(write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("dkms-input", MemfdFlags::CLOEXEC)?);
    write(&mut file)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_any_size_arrives_whole() {
        let args = vec!["x".repeat(1 << 20), "line\nbreak".into()];
        let spec = Spec { program: "bash".into(), args, input: Some(3), ..Spec::default() };
        let file = in_memory(|file| spec.send(b"a\n\xff", file)).unwrap();
        let received = Spec::receive(&mut io::BufReader::new(file)).unwrap();
        assert_eq!(received, (spec, b"a\n\xff".to_vec()));
    }

    #[test]
    fn half_a_message_is_none() {
        let spec = Spec { input: Some(3), ..Spec::default() };
        let file = in_memory(|file| spec.send(b"a", file)).unwrap();
        assert!(Spec::receive(&mut io::BufReader::new(file)).is_err());
        assert!(Spec::receive(&mut io::empty()).is_err());
    }
}
