//! One `.ko`: what it says of itself, and what is done to it between make and install.
//!
//! * [`modinfo`]: reads it.
//! * [`verify`]: whether it is fit for a kernel, by [`vermagic`] and [`symbols`] among others.
//! * [`strip`], [`sign`], [`compress`]: in this order.
//! * [`keys`]: the signing key and its certificate.

pub mod compress;
pub mod keys;
pub mod modinfo;
pub mod sign;
pub mod strip;
pub mod symbols;
mod tool;
pub mod verify;
pub mod vermagic;

#[cfg(test)]
pub(crate) mod fixture;

pub use compress::{CompressOptions, Suffix};
pub use modinfo::{ElfClass, ModInfo};
pub use sign::{SignOutcome, SignSettings, Signer};
pub use verify::Fitness;
