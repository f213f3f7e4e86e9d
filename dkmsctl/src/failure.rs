//! Why a command ended early, and the exit code and words for it.

use std::path::Path;

use dkms_core::bus::{BusError, ConnectError};

/// The exit codes of `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or fit.
    Done = 0,
    /// Something failed, or is not fit.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No daemon.
    NoDaemon = 3,
    /// Not allowed.
    Refused = 4,
    /// SIGINT, as shells have it.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answers.
    #[error("dkmsd is not running ({why}); start it with: {}", how_to_start())]
    NoDaemon { why: String },
    /// Somebody is there and says nothing.
    #[error("dkmsd has not answered for {seconds} seconds; see its journal: journalctl -u dkmsd")]
    Silent { seconds: u64 },
    /// It answered, and then went away.
    #[error("dkmsd went away; {after}; start it with: {}", how_to_start())]
    Gone { after: String },
    /// Somebody said no.
    #[error("not authorised: {why}; {}", how_to_be_allowed())]
    Refused { why: String },
    /// The daemon's answer, or ours, in full.
    #[error("{0}")]
    Failed(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The answer cannot be written, or signals not be listened to.
    #[error("cannot go on: {0}")]
    Io(#[from] std::io::Error),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoDaemon { .. } | Self::Silent { .. } | Self::Gone { .. } => Exit::NoDaemon,
            Self::Refused { .. } => Exit::Refused,
            Self::Usage(_) => Exit::Usage,
            Self::Failed(_) | Self::Io(_) => Exit::Failed,
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NoDaemon { why } => Self::NoDaemon { why },
            ConnectError::Refused { why } => Self::Refused { why },
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        let why = error.message();
        if error.is_refusal() {
            Self::Refused { why }
        } else if error.is_absence() {
            Self::Gone { after: "what it was asked may or may not be done".into() }
        } else {
            Self::Failed(why)
        }
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        BusError::ZBus(error).into()
    }
}

/// systemd's own test of whether it runs the machine (sd_booted(3)).
fn how_to_start() -> &'static str {
    if Path::new("/run/systemd/system").is_dir() { "systemctl start dkmsd" } else { "dkmsd" }
}

fn how_to_be_allowed() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "dkmsd's journal may say more"
    } else {
        "try it as root: sudo dkmsctl …"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(BusError::NotAuthorized("polkit says no".into()), Exit::Refused)]
    #[case(BusError::UnknownPackage("no package x".into()), Exit::Failed)]
    #[case(BusError::ZBus(zbus::fdo::Error::AccessDenied("policy".into()).into()), Exit::Refused)]
    #[case(BusError::ZBus(zbus::fdo::Error::ServiceUnknown("nobody".into()).into()), Exit::NoDaemon)]
    #[case(BusError::ZBus(zbus::fdo::Error::NoReply("died".into()).into()), Exit::NoDaemon)]
    #[case(BusError::ZBus(zbus::Error::InvalidReply), Exit::Failed)]
    fn bus_errors_have_their_exit_codes(#[case] error: BusError, #[case] exit: Exit) {
        assert_eq!(Failure::from(error).exit(), exit);
    }
}
