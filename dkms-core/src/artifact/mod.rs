//! One `.ko`: what it says of itself, and what is done to it between make and install.
//!
//! * [`modinfo`]: reads it.
//! * [`verify`]: whether it is fit for a kernel, by [`vermagic`] and [`symbols`] among others.
//! * [`strip`], [`sign`], [`compress`]: in this order.
//! * [`keys`], [`certificate`]: the signing key and its certificate.
//! * [`signing`]: what is on record of a build's signatures.

pub mod certificate;
pub mod compress;
pub mod keys;
pub mod modinfo;
pub mod sign;
pub mod signing;
pub mod strip;
pub mod symbols;
mod tool;
pub mod verify;
pub mod vermagic;

#[cfg(test)]
pub(crate) mod fixture;

/// How large a module may be, in bytes, uncompressed: what is more is no driver, and is read into nobody's memory.
pub(crate) const MOST_BYTES: u64 = 1024 * 1024 * 1024;

pub use compress::{CompressOptions, Suffix};
pub use modinfo::{ElfClass, ModInfo};
pub use sign::{SignOutcome, SignSettings, Signer};
pub use verify::Fitness;
