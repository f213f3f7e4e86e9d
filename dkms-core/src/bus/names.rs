//! Names that daemon, client, policy files and the XML share.

use zbus::{ObjectPath, OwnedObjectPath};

/// The name on the system bus.
pub const BUS_NAME: &str = "org.dkmsd1";
/// The manager's object.
pub const MANAGER_PATH: &str = "/org/dkmsd1";
/// The manager's interface.
pub const MANAGER_INTERFACE: &str = "org.dkmsd1.Manager";
/// The interface of a job.
pub const JOB_INTERFACE: &str = "org.dkmsd1.Job";
/// What every job's object begins with.
const JOB_PREFIX: &str = "/org/dkmsd1/job/_";
/// What every error name of ours begins with.
pub const ERROR_PREFIX: &str = "org.dkmsd1.Error";

/// The object of a job.
#[must_use]
pub fn job_path(id: u32) -> OwnedObjectPath {
    ObjectPath::from_string_unchecked(format!("{JOB_PREFIX}{id}")).into()
}

/// The id in a job's object path; `None` for any other path.
#[must_use]
pub fn job_id(path: &str) -> Option<u32> {
    let digits = path.strip_prefix(JOB_PREFIX)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/org/dkmsd1/job/_7", Some(7))]
    #[case("/org/dkmsd1/job/_4294967295", Some(u32::MAX))]
    #[case("/org/dkmsd1/job/_4294967296", None)]
    #[case("/org/dkmsd1/job/_", None)]
    #[case("/org/dkmsd1/job/_+7", None)]
    #[case("/org/dkmsd1/job/7", None)]
    #[case("/org/dkmsd1", None)]
    fn job_paths_parse(#[case] path: &str, #[case] id: Option<u32>) {
        assert_eq!(job_id(path), id);
        if let Some(id) = id {
            assert_eq!(job_path(id).as_str(), path);
            ObjectPath::try_from(path).unwrap();
        }
    }
}
