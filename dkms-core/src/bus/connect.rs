//! Finds the daemon: root by the private socket, which needs no bus, everyone else (and root where that socket is not
//! served) by the system bus.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zbus::Connection;
use zbus::connection::Builder;
use zbus::proxy::CacheProperties;

use super::error::BusError;
use super::proxies::{JobProxy, ManagerProxy};
use crate::layout::Layout;

/// Why the daemon could not be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody is there: no socket that answers, and nobody on the bus owns the name or could be started for it.
    #[error("dkmsd is not running ({why})")]
    NoDaemon {
        /// What was tried.
        why: String,
    },
    /// The daemon, or the bus, does not let this user in.
    #[error("dkmsd does not let you in: {why}")]
    Refused {
        /// Who said no, in its own words.
        why: String,
    },
    /// D-Bus itself failed.
    #[error("cannot talk to dkmsd: {0}")]
    Bus(zbus::Error),
}

/// Which way the daemon was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// The private peer-to-peer socket.
    Private(PathBuf),
    /// The system bus.
    SystemBus,
}

/// A connection to a daemon that answered.
#[derive(Debug, Clone)]
pub struct Link {
    connection: Connection,
    manager: ManagerProxy<'static>,
    via: Via,
}

impl Link {
    /// Which way the daemon was reached.
    #[must_use]
    pub fn via(&self) -> &Via {
        &self.via
    }

    /// The manager.
    #[must_use]
    pub fn manager(&self) -> &ManagerProxy<'static> {
        &self.manager
    }

    /// The connection itself.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A job, by its object path.
    ///
    /// # Errors
    /// When the path is not one, or the bus fails.
    pub async fn job(&self, path: impl Into<zbus::OwnedObjectPath>) -> zbus::Result<JobProxy<'static>> {
        JobProxy::builder(&self.connection).path(path.into()).build().await
    }
}

/// How long a call may take: long enough for a person to type a password for polkit, short enough that a script which
/// asks a daemon that hangs comes to an end.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// Connects and makes sure that a daemon answers. Has to be called inside a tokio runtime.
///
/// With a root other than `/` only the private socket below it is tried: the system bus belongs to this machine.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(layout: &Layout) -> Result<Link, ConnectError> {
    let here = layout.root() == Path::new("/");
    let root = rustix::process::geteuid().is_root();
    let socket = layout.private_socket();
    if !here || root {
        match UnixStream::connect(&socket) {
            Ok(stream) => {
                let builder = Builder::unix_stream(stream).p2p();
                return link(builder, Via::Private(socket)).await;
            }
            Err(e) if here && leads_to_the_bus(&e) => {}
            Err(e) => return Err(no_way(&e, format!("{}: {e}", socket.display()))),
        }
    }
    match connect_bus().await {
        Err(ConnectError::NoDaemon { why }) if root => {
            Err(ConnectError::NoDaemon { why: format!("nobody answers on {}; {why}", socket.display()) })
        }
        Err(ConnectError::NoDaemon { why }) if socket.exists() => {
            Err(ConnectError::Refused { why: format!("{why}, and without one dkmsd answers root only") })
        }
        other => other,
    }
}

/// As [`connect()`], by the private socket only: no bus is asked, so that none starts a daemon that was stopped.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect_private(layout: &Layout) -> Result<Link, ConnectError> {
    let socket = layout.private_socket();
    match UnixStream::connect(&socket) {
        Ok(stream) => link(Builder::unix_stream(stream).p2p(), Via::Private(socket)).await,
        Err(e) => Err(no_way(&e, format!("{}: {e}", socket.display()))),
    }
}

/// As [`connect()`], over the system bus only.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect_bus() -> Result<Link, ConnectError> {
    link(Builder::system(), Via::SystemBus).await
}

async fn link(builder: Builder<'_>, via: Via) -> Result<Link, ConnectError> {
    let connection = builder.method_timeout(CALL_TIMEOUT).build().await.map_err(ConnectError::from)?;
    let manager = ManagerProxy::builder(&connection)
        .cache_properties(CacheProperties::No)
        .build()
        .await
        .map_err(ConnectError::from)?;
    manager.version().await.map_err(ConnectError::from)?;
    Ok(Link { connection, manager, via })
}

/// The private socket is not served, or not to us; the bus may still be.
fn leads_to_the_bus(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied)
}

fn no_way(error: &io::Error, why: String) -> ConnectError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ConnectError::Refused { why },
        _ => ConnectError::NoDaemon { why },
    }
}

impl From<zbus::Error> for ConnectError {
    fn from(error: zbus::Error) -> Self {
        if let zbus::Error::Connection(io, _) = &error {
            return no_way(io, "there is no system bus".to_owned());
        }
        let error = BusError::ZBus(error);
        if error.is_refusal() {
            return Self::Refused { why: error.message() };
        }
        match error {
            error if error.is_absence() => Self::NoDaemon { why: error.message() },
            BusError::ZBus(error) => Self::Bus(error),
            other => Self::Refused { why: other.message() },
        }
    }
}
