//! `org.dkmsd1`: what other programs see and may do. The contract is `dbus/org.dkmsd1.xml`.
//!
//! * [`resolve`]: pure: from a request's words to tasks.
//! * [`auth`]: who may change what.
//! * [`manager`], [`job`]: the objects.
//! * [`publish`]: connections, signals, objects that come and go.
//!
//! Objects read a published snapshot and send commands: nothing a client does can hold up the daemon.

pub mod auth;
#[cfg(test)]
mod contract;
pub mod job;
pub mod manager;
pub mod publish;
pub mod resolve;

use dkms_core::bus::BusError;
use dkms_core::layout::Layout;
use tokio::sync::{mpsc, watch};

use crate::queue::coordinator::Shared;
use crate::queue::messages::Ask;

/// What every object holds.
#[derive(Debug, Clone)]
pub struct Context {
    /// The coordinator.
    pub shared: Shared,
    /// The reconciler.
    pub ask: mpsc::Sender<Ask>,
    /// The folders that are watched.
    pub watching: watch::Receiver<Vec<String>>,
    /// Whoever reads the settings again; told how that went.
    pub reload: mpsc::Sender<tokio::sync::oneshot::Sender<Result<(), String>>>,
    /// The running kernel.
    pub running: String,
    /// Where everything lies.
    pub layout: Layout,
}

/// The daemon is stopping: nobody takes the request any more.
fn stopping<E>(_: E) -> BusError {
    BusError::Failed("dkmsd is stopping; try again when it has started".into())
}
