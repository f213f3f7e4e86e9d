//! One `.ko`: what it says of itself, and what is done to it between make and install.
//!
//! * [`modinfo`]: reads it.
//! * [`verify`]: whether it is fit for a kernel.
//! * [`strip`], [`sign`], [`compress`]: in this order.
//! * [`keys`]: the signing key and its certificate.

pub mod compress;
pub mod keys;
pub mod modinfo;
pub mod sign;
pub mod strip;
mod tool;
pub mod verify;

#[cfg(test)]
pub(crate) mod fixture;

pub use compress::{CompressOptions, Suffix};
pub use modinfo::{ElfClass, ModInfo};
pub use sign::{SignOutcome, SignSettings, Signer};
