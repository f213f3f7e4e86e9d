//! The engine of dkmsd: everything that is known about out-of-tree kernel modules, and nothing about queues.
//!
//! Synchronous, without a runtime; the daemon and the `dkms` drop-in both run it. In the order of the flow:
//!
//! * [`model`]: the field's words as types that parse and print.
//! * [`layout`]: every path, under one injectable root; nothing else joins paths.
//! * [`settings`]: framework.conf and dkmsd.toml.
//! * [`conf`]: dkms.conf, from text to values to a validated [`conf::Recipe`] for one kernel.
//! * [`host`]: distribution, kernels, whether headers are ready, package-manager locks.
//! * [`tree`]: the state on disk: scan, manifests, locks, holds, failures.
//! * [`fingerprint`]: what makes a build stale.
//! * [`observe`]: one look at the disk, as the [`plan::World`] that the planner takes.
//! * [`plan`]: pure: world → the state of every package on every kernel, and the actions that are due.
//! * [`build`]: own folder, patches, make, log, first error.
//! * [`cache`]: finished builds, by the digest of all they are made from.
//! * [`artifact`]: a `.ko`: modinfo, strip, sign, compress, verify.
//! * [`install`]: place and restore modules, depmod.
//! * [`distribute`]: packages as archives: written, and unpacked whoever made them.
//! * [`engine`]: the verbs (add … remove, autoinstall, match) over the above.
//! * [`event`]: what a caller is told while a verb runs.
//! * [`error`]: one typed error, each variant with the classic exit code.
//! * [`bus`]: D-Bus names, wire types and proxies (feature `bus`).
//!
//! Below all of them: `shares`, work spread over the processors, and `sys`, the one module with unsafe code.

pub mod artifact;
pub mod build;
#[cfg(feature = "bus")]
pub mod bus;
pub mod cache;
pub mod conf;
pub mod distribute;
pub mod engine;
pub mod error;
pub mod event;
pub mod fingerprint;
pub mod host;
pub mod install;
pub mod layout;
pub mod model;
pub mod observe;
pub mod plan;
pub mod settings;
mod shares;
mod sys;
pub mod tree;

pub use error::{Error, Result};
