//! Packages as archives: what mktarball writes and ldtarball reads (dkms-contract.md §6).
//!
//! * [`name`]: what an archive is called, and what its name says about its compression.
//! * [`codec`]: compression, recognised by content when reading.
//! * [`pack`]: writes an archive.
//! * [`unpack`]: reads one, whoever made it: nothing leaves the folders that were made for it.
//! * [`links`]: whether a link of an archive leaves the folder it is in. Pure.
//! * [`inside`]: what an unpacked archive holds. Pure.
//! * [`place`]: puts a finished folder in the place of another.

mod codec;
mod inside;
mod links;
mod name;
mod pack;
mod place;
mod unpack;

pub(crate) use inside::{BINARIES_ONLY, Inside, MAIN_TREE, SOURCE_TREE, inside};
pub(crate) use links::{all_leaving, leaving};
pub use name::Contents;
pub(crate) use name::{SUFFIXES, archive_name, compression};
pub(crate) use pack::{Member, Packed, write};
pub(crate) use place::{same_tree, swap_in};
pub(crate) use unpack::{Limits, Places, Refused, make_links, unpack};
