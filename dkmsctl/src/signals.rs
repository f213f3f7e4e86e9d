//! Everything the daemon says by itself, in its own order, and that it went away.
//!
//! One match rule carries all signals, so that a job's progress and its end cannot overtake each other. The stream is
//! drained from the moment it stands: D-Bus stops reading for the whole connection when one stream is not, and the reply
//! to the very call whose jobs are awaited would wait behind it.

use std::collections::HashMap;

use dkms_core::bus::names::{BUS_NAME, JOB_INTERFACE, MANAGER_INTERFACE, MANAGER_PATH, job_id};
use dkms_core::bus::{BuildFailed, JobNew, JobRemoved, Link, StatusChanged, Via};
use futures_util::StreamExt;
use tokio::signal::unix;
use tokio::sync::mpsc;
use zbus::message::Type;
use zbus::{MatchRule, Message, MessageStream, OwnedVariant, fdo};

use crate::failure::Failure;

/// What the daemon said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Signal {
    JobNew {
        id: u32,
        package: String,
        version: String,
        kernel: String,
    },
    JobRemoved {
        id: u32,
        package: String,
        version: String,
        kernel: String,
        result: String,
    },
    Status {
        package: String,
        version: String,
        kernel: String,
        old: String,
        new: String,
    },
    BuildFailed {
        package: String,
        version: String,
        kernel: String,
        error: String,
    },
    /// Properties of a job.
    Job {
        id: u32,
        changes: Changes,
    },
    /// The manager's State.
    State(String),
    /// It went away.
    Gone,
}

/// What changed of a job.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) state: Option<String>,
    pub(crate) phase: Option<String>,
    pub(crate) progress: Option<f64>,
    pub(crate) progress_valid: Option<bool>,
}

/// Ctrl-C, from the moment this returns: one that comes between two looks is not lost.
pub(crate) fn interrupts() -> Result<unix::Signal, Failure> {
    Ok(unix::signal(unix::SignalKind::interrupt())?)
}

/// The signals, from the moment this returns.
pub(crate) async fn listen(link: &Link) -> Result<mpsc::UnboundedReceiver<Signal>, Failure> {
    let connection = link.connection();
    let rule = MatchRule::builder().msg_type(Type::Signal).sender(BUS_NAME).path_namespace(MANAGER_PATH).build()?;
    let mut signals = MessageStream::for_match_rule(rule, connection, None).await?;
    let mut owners = match link.via() {
        Via::SystemBus => {
            let bus = fdo::DBusProxy::new(connection).await?;
            Some(bus.receive_name_owner_changed_with_args(&[(0, BUS_NAME)]).await?)
        }
        Via::Private(_) => None,
    };
    let connection = connection.clone();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let owner_lost = async {
            match &mut owners {
                Some(owners) => {
                    owners.next().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(owner_lost);
        loop {
            let signal = tokio::select! {
                // What was said before the end comes before the end.
                biased;
                message = signals.next() => match message {
                    Some(Ok(message)) => decode(&message),
                    Some(Err(_)) => None,
                    None => Some(Signal::Gone),
                },
                () = &mut owner_lost => Some(Signal::Gone),
                () = connection.closed() => Some(Signal::Gone),
                () = sender.closed() => return,
            };
            let gone = signal == Some(Signal::Gone);
            if signal.is_some_and(|s| sender.send(s).is_err()) || gone {
                return;
            }
        }
    });
    Ok(receiver)
}

fn decode(message: &Message) -> Option<Signal> {
    let header = message.header();
    let (interface, member) = (header.interface()?.as_str(), header.member()?.as_str());
    if (interface, member) == ("org.freedesktop.DBus.Properties", "PropertiesChanged") {
        let body = message.body();
        let (interface, changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) = body.deserialize().ok()?;
        return match interface.as_str() {
            JOB_INTERFACE => {
                Some(Signal::Job { id: job_id(header.path()?.as_str())?, changes: Changes::from(&changed) })
            }
            MANAGER_INTERFACE => text(&changed, "State").map(Signal::State),
            _ => None,
        };
    }
    if interface != MANAGER_INTERFACE {
        return None;
    }
    let message = message.clone();
    match member {
        "JobNew" => {
            let signal = JobNew::from_message(message)?;
            let a = signal.args().ok()?;
            Some(Signal::JobNew {
                id: a.id,
                package: a.package.into(),
                version: a.version.into(),
                kernel: a.kernel.into(),
            })
        }
        "JobRemoved" => {
            let signal = JobRemoved::from_message(message)?;
            let a = signal.args().ok()?;
            Some(Signal::JobRemoved {
                id: a.id,
                package: a.package.into(),
                version: a.version.into(),
                kernel: a.kernel.into(),
                result: a.result.into(),
            })
        }
        "StatusChanged" => {
            let signal = StatusChanged::from_message(message)?;
            let a = signal.args().ok()?;
            Some(Signal::Status {
                package: a.package.into(),
                version: a.version.into(),
                kernel: a.kernel.into(),
                old: a.old.into(),
                new: a.new.into(),
            })
        }
        "BuildFailed" => {
            let signal = BuildFailed::from_message(message)?;
            let a = signal.args().ok()?;
            Some(Signal::BuildFailed {
                package: a.package.into(),
                version: a.version.into(),
                kernel: a.kernel.into(),
                error: a.error.into(),
            })
        }
        _ => None,
    }
}

impl From<&HashMap<String, OwnedVariant>> for Changes {
    fn from(changed: &HashMap<String, OwnedVariant>) -> Self {
        Self {
            state: text(changed, "State"),
            phase: text(changed, "Phase"),
            progress: changed.get("Progress").and_then(|v| v.downcast_ref::<f64>().ok()),
            progress_valid: changed.get("ProgressValid").and_then(|v| v.downcast_ref::<bool>().ok()),
        }
    }
}

/// A property of type `s`.
pub(crate) fn text(properties: &HashMap<String, OwnedVariant>, name: &str) -> Option<String> {
    properties.get(name).and_then(|v| v.downcast_ref::<&str>().ok()).map(str::to_owned)
}
