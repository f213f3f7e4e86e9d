//! Why the program ends with another code than 0.

use dkms_core::build::first_error::{self, FirstError};
use dkms_core::engine::autoinstall::Failed;
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
    fn from(Failed { code, why, log }: Failed) -> Self {
        let excerpt = log.as_deref().and_then(first_error::in_file).map(FirstError::explained).unwrap_or_default();
        let log = log.map(|log| format!("\nThe whole log: {}", log.display())).unwrap_or_default();
        Self { excerpt, ..Self::new(u8::try_from(code).unwrap_or(1), why + &log) }
    }
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
