//! Shell completion for `dkms` and `dkmsctl`: one place decides what fits where the cursor is, and three thin shell
//! scripts ask it (`systemd/usr/share/{bash-completion,zsh,fish}`).
//!
//! A program describes its command line once ([`Grammar`]); [`Line`] is the half-written one, understood; [`Line::offer`]
//! is pure but for the [`Tree`] that it looks at: what the machine has is read only where a word depends on it.
//!
//! The scripts call `PROGRAM --complete WORD…` with the words behind the program's name up to the one at the cursor,
//! which is the last, cut off at the cursor, and may be empty. [`answer`] prints, a line each: `words`, `files` or
//! `folders` (the shell's own paths go with the words, or do not), then every candidate as a whole word, a tab, and
//! what it is. A candidate that ends in `=` takes no blank behind it. Completion never complains: what cannot be read
//! is not offered, and bash is never started for a dkms.conf.

mod disk;
mod grammar;
mod line;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

pub use disk::Disk;
pub use grammar::{Action, Choice, Grammar, Kind, Place};
pub use line::{Candidate, Line, Offer, Paths};

/// What completion looks at.
pub trait Tree {
    /// Every version of every package in the tree.
    fn packages(&self) -> Vec<Package>;
    /// Name and version of every driver source that could be added, added ones included.
    fn sources(&self) -> Vec<(String, String)>;
    /// The kernels of the install tree.
    fn kernels(&self) -> Vec<Kernel>;
    /// This machine's architecture.
    fn arch(&self) -> String;
}

/// One version of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// PACKAGE_NAME.
    pub name: String,
    /// PACKAGE_VERSION.
    pub version: String,
    /// Its source is missing.
    pub broken: bool,
    /// What is built or installed of it.
    pub entries: Vec<Entry>,
}

/// One version of a package on one kernel: built, at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The kernel's release.
    pub kernel: String,
    /// Its architecture.
    pub arch: String,
    /// Whether it is installed, too.
    pub installed: bool,
}

/// A kernel of the install tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its release.
    pub release: String,
    /// Whether there is something to build against.
    pub headers: bool,
}

/// Prints what fits at the end of `words`, on the disk that the words themselves name.
///
/// # Errors
/// When it cannot be printed.
pub fn answer(grammar: &Grammar, words: &[String], out: &mut impl Write) -> io::Result<()> {
    let line = Line::new(grammar, words);
    let offer = line.offer(&Disk::of(&line));
    writeln!(out, "{}", offer.paths.as_str())?;
    for Candidate { word, help } in &offer.candidates {
        writeln!(out, "{word}\t{help}")?;
    }
    out.flush()
}
