//! Finished builds, kept by the digest of all that they were made from, so that the same one is never made twice.
//!
//! * [`key`]: the digest, and whether a build is one that can be kept at all. Pure.
//! * [`header_tree`]: what a kernel's headers contribute to it.
//! * [`tools`]: which compiler made a build, and whether that is still the one that is here.
//! * [`store`]: the folder of builds: bounded, shared by processes, never trusted.
//!
//! An entry holds what the tree holds below `<kernel>/<arch>`, but for our own records. It is nobody's but root's, and
//! each of its files is compared with its digest as it is used. Nothing depends on an entry being there: what cannot be
//! kept is a warning, and what is damaged is thrown away and built.

pub mod header_tree;
pub mod key;
pub mod store;
pub mod tools;

pub use key::{Ingredients, Key};
pub use store::{Cache, Entry, Kept, Place, Stored};
pub use tools::Tools;
