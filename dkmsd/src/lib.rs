//! The daemon as a library; the program is a thin main over it.

pub mod app;
pub mod bus;
pub mod history;
pub mod queue;
pub mod service;
pub mod snapshot;
pub mod watch;
pub mod worker;
