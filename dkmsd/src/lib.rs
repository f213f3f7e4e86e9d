//! The daemon as a library; the program is a thin main over it.

pub mod history;
pub mod queue;
pub mod snapshot;
pub mod watch;
