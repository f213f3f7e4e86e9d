//! `org.dkmsd1` from both ends: what the daemon, the client and other programs must agree on stands here once.
//!
//! The contract itself is `dkmsd/dbus/org.dkmsd1.xml`; a test holds the proxies against it.
//!
//! * [`names`]: bus name, object paths, interface names.
//! * [`types`]: dictionaries and structures that travel, as Rust types.
//! * [`BusError`]: the errors that travel.
//! * [`ManagerProxy`], [`JobProxy`]: the client's view of the objects.
//! * [`connect()`]: finds the daemon, by the private socket or the system bus.

mod connect;
mod error;
pub mod names;
mod proxies;
pub mod types;

#[cfg(test)]
mod contract;

pub use connect::{ConnectError, Link, Via, connect, connect_bus, connect_private};
pub use error::BusError;
pub use proxies::{
    BuildFailed, BuildFailedStream, JobNew, JobNewStream, JobProxy, JobRemoved, JobRemovedStream, ManagerProxy,
    StatusChanged, StatusChangedStream,
};
pub use types::{CheckProblem, HistoryRow, JobRow, KernelRow, Options, StatusFilter, StatusRow};
