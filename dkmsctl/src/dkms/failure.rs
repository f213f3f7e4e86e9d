//! Why the program ends with another code than 0.

use dkms_core::build::first_error::{self, FirstError};
use dkms_core::engine::autoinstall::Failed;

use std::io::ErrorKind;

use dkms_core::error::Error;

/// What is said on standard error, and the classic exit code (dkms-contract.md §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// Empty when there is nothing to say.
    pub(crate) message: String,
    /// Lines of the build's log that follow it: see [`FirstError::explained`].
    pub(crate) excerpt: Vec<String>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), excerpt: Vec::new() }
    }

    /// The code alone.
    pub(crate) fn silent(self) -> Self {
        Self { message: String::new(), excerpt: Vec::new(), ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failed::from(&error).into()
    }
}

impl From<Failed> for Failure {
    fn from(Failed { code, mut why, log, refused }: Failed) -> Self {
        let hint = refused.and_then(|kind| hint(kind, rustix::process::geteuid().is_root()));
        why.extend(hint.map(|hint| format!("; {hint}")));
        let excerpt = log.as_deref().and_then(first_error::in_file).map(FirstError::explained).unwrap_or_default();
        let log = log.map(|log| format!("\nThe whole log: {}", log.display())).unwrap_or_default();
        Self { excerpt, ..Self::new(u8::try_from(code).unwrap_or(1), why + &log) }
    }
}

/// What to do where the system refused.
fn hint(kind: ErrorKind, is_root: bool) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::PermissionDenied if !is_root => {
            "try sudo; without it, a tree of your own (--dkmstree) and a source that you may read are needed"
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

    /// Whether the engine gives up at once or goes on with other kernels.
    #[test]
    fn what_to_do_is_said_of_one_of_several_too() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let error = Error::Io { action: "write", path: "/var/lib/dkms/x".into(), source: full };
        let one_of_several = Failure::from(Failed::from(&error));
        assert!(one_of_several.message.ends_with("; make room there, and try again"), "{one_of_several:?}");
        assert_eq!(Failure::from(error), one_of_several);
    }
}
