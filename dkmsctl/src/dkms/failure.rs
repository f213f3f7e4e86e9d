//! Why the program ends with another code than 0.

use dkms_core::engine::autoinstall::Failed;

use std::io::ErrorKind;

use dkms_core::error::Error;

/// What is said on standard error, and the classic exit code (dkms-contract.md §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// Empty when there is nothing to say.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The code alone.
    pub(crate) fn silent(self) -> Self {
        Self { message: String::new(), ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::Io { source, .. } => hint(source.kind(), rustix::process::geteuid().is_root()),
            _ => None,
        };
        let mut failed = Failed::from(&error);
        failed.why.extend(hint.map(|hint| format!("; {hint}")));
        failed.into()
    }
}

impl From<Failed> for Failure {
    fn from(Failed { code, why, log }: Failed) -> Self {
        let log = log.map(|log| format!("\nThe whole log: {}", log.display())).unwrap_or_default();
        Self::new(u8::try_from(code).unwrap_or(1), why + &log)
    }
}

/// What to do where the system refused.
fn hint(kind: ErrorKind, is_root: bool) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::PermissionDenied if !is_root => {
            "this needs a tree that you may change: try sudo, or name one of your own with --dkmstree"
        }
        ErrorKind::ReadOnlyFilesystem => "mount it writable, and try again",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room there, and try again",
        _ => return None,
    })
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::new(2, format!("{error}; dkms --help lists the options"))
    }
}

impl From<dkms_core::model::InvalidName> for Failure {
    fn from(error: dkms_core::model::InvalidName) -> Self {
        Self::new(1, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(ErrorKind::PermissionDenied, false, Some("sudo"))]
    #[case(ErrorKind::PermissionDenied, true, None)]
    #[case(ErrorKind::ReadOnlyFilesystem, true, Some("writable"))]
    #[case(ErrorKind::StorageFull, true, Some("room"))]
    #[case(ErrorKind::NotFound, true, None)]
    fn a_refusal_of_the_system_says_what_to_do(
        #[case] kind: ErrorKind,
        #[case] root: bool,
        #[case] word: Option<&str>,
    ) {
        let said = hint(kind, root);
        assert_eq!(said.is_some(), word.is_some());
        assert!(said.unwrap_or_default().contains(word.unwrap_or_default()), "{said:?}");
    }
}
