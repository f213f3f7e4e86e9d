//! Builds a package for a kernel: own folder, patches, make, log, first error.

pub mod commands;
pub mod first_error;
pub mod log;
pub mod make_line;
pub mod sandbox;
pub mod toolchain;
pub mod workspace;
