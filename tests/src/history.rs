//! `ListHistory`: what the daemon did, read over the system bus.

use serde_json::Value;

use crate::Machine;

/// One finished job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its number.
    pub job: u64,
    /// install, uninstall, …
    pub operation: String,
    /// PACKAGE_NAME.
    pub package: String,
    /// Kernel release; empty for a job that concerns no kernel.
    pub kernel: String,
    /// done, failed, canceled, …
    pub result: String,
    /// Why the job was made.
    pub reason: String,
    /// Why it did not end as done.
    pub error: String,
    /// Nothing was compiled: the build came out of the cache.
    pub from_cache: bool,
}

impl Machine {
    /// The finished jobs, newest first; at most `max`, where that is not 0.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[must_use]
    pub fn history(&self, max: u32) -> Vec<Finished> {
        let reply = self.call(&format!("ListHistory u {max}"));
        parse(&reply).unwrap_or_else(|| panic!("not what ListHistory gives: {reply}"))
    }

    /// What every install of a package ended with, oldest first: its length says how often it was tried.
    ///
    /// # Panics
    /// As [`Machine::history`].
    #[must_use]
    pub fn installs(&self, package: &str) -> Vec<String> {
        let rows = self.history(0).into_iter().rev();
        rows.filter(|row| row.package == package && row.operation == "install").map(|row| row.result).collect()
    }
}

fn parse(reply: &Value) -> Option<Vec<Finished>> {
    reply[0].as_array()?.iter().map(finished).collect()
}

fn finished(value: &Value) -> Option<Finished> {
    let text = |key: &str| Some(value[key]["data"].as_str()?.to_owned());
    Some(Finished {
        job: value["job"]["data"].as_u64()?,
        operation: text("operation")?,
        package: text("package")?,
        kernel: text("kernel")?,
        result: text("result")?,
        reason: text("reason")?,
        error: text("error")?,
        from_cache: value["from-cache"]["data"].as_bool()?,
    })
}
