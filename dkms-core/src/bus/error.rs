//! The errors that travel over D-Bus.

use zbus::DBusError as _;

/// What a method of `org.dkmsd1` ends with when it does not succeed. Messages are fit to be shown as they are.
#[derive(Debug, Clone, PartialEq, zbus::DBusError)]
#[zbus(prefix = "org.dkmsd1.Error")]
pub enum BusError {
    /// D-Bus itself failed, or the error is not one of ours.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// No package, or no version, of this name.
    UnknownPackage(String),
    /// No kernel of this name.
    UnknownKernel(String),
    /// No job of this id is queued or runs.
    NoSuchJob(String),
    /// The kernel's headers are absent or not whole.
    HeadersMissing(String),
    /// dkms.conf breaks a rule.
    InvalidConf(String),
    /// It cannot be done just now.
    Busy(String),
    /// The caller may not do this.
    NotAuthorized(String),
    /// It was canceled before it was done.
    Cancelled(String),
    /// Anything else that went wrong.
    Failed(String),
}

impl BusError {
    /// The caller may not do this, whoever says so: the daemon, polkit, or the bus by its policy.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use zbus::fdo;
        match self {
            Self::NotAuthorized(_) => true,
            Self::ZBus(zbus::Error::FDO(e)) => matches!(
                **e,
                fdo::Error::AccessDenied(_)
                    | fdo::Error::AuthFailed(_)
                    | fdo::Error::InteractiveAuthorizationRequired(_)
            ),
            _ => false,
        }
    }

    /// There is nobody to answer: no daemon, or it went away while it was asked.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::ZBus(e) if is_absence(e))
    }

    /// What to show a person: the words without the error's D-Bus name.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::ZBus(zbus::Error::FDO(e)) => e.description().unwrap_or_default().to_owned(),
            Self::ZBus(zbus::Error::MethodError(_, Some(text), _)) => text.clone(),
            Self::ZBus(e) => e.to_string(),
            ours => ours.description().unwrap_or_default().to_owned(),
        }
    }
}

fn is_absence(error: &zbus::Error) -> bool {
    use zbus::fdo;
    match error {
        zbus::Error::FDO(e) => matches!(
            **e,
            fdo::Error::ServiceUnknown(_)
                | fdo::Error::NameHasNoOwner(_)
                | fdo::Error::NoReply(_)
                | fdo::Error::Disconnected(_)
                | fdo::Error::SpawnExecFailed(_)
                | fdo::Error::SpawnForkFailed(_)
                | fdo::Error::SpawnChildExited(_)
                | fdo::Error::SpawnChildSignaled(_)
                | fdo::Error::SpawnFailed(_)
                | fdo::Error::SpawnServiceNotFound(_)
        ),
        // A peer that went away: the reader ends, and every call that waits learns so as an I/O error.
        zbus::Error::InputOutput(e) => e.kind() != std::io::ErrorKind::TimedOut,
        // Activation that systemd refused: masked, or no such unit.
        zbus::Error::MethodError(name, ..) => name.as_str().starts_with("org.freedesktop.systemd1."),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ours() {
        let error = BusError::UnknownPackage("no package r8168".into());
        assert_eq!(error.name().as_str(), format!("{}.UnknownPackage", super::super::names::ERROR_PREFIX));
        assert_eq!(error.description(), Some("no package r8168"));
    }
}
