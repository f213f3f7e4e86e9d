//! When to look at the disk: what inotify hears, and how long to wait until it makes sense to look.
//!
//! Events never say what to do, only that it is time to look (design.md, "The flow").

pub mod reconcile;
pub mod settle;
pub mod source;
