//! The daemon as a library; the program is a thin main over it.

pub mod watch;
