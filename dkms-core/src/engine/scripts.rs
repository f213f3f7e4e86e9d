//! Scripts of a package that run for the installed system: POST_ADD, PRE_INSTALL, POST_INSTALL, POST_REMOVE. As root and
//! outside the sandbox, as ever (design.md, decision 2); their folder is the source.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Engine;
use crate::build::commands::quote;
use crate::build::is_executable;
use crate::error::{Error, Result};
use crate::event::Sink;
use crate::model::{KernelId, PackageId};

impl Engine {
    /// Runs a script; its code, or none when there is none to run.
    pub(super) fn script(
        &self,
        directive: &str,
        value: Option<&str>,
        package: &PackageId,
        kernel: Option<&KernelId>,
        source: &Path,
        sink: &mut dyn Sink,
    ) -> Result<Option<i32>> {
        let Some(value) = value else { return Ok(None) };
        let name = value.split_whitespace().next().unwrap_or_default();
        let theirs = self.layout.override_dir(&package.name);
        let folder = if theirs.join(name).is_file() { theirs.as_path() } else { source };
        if !is_executable(&folder.join(name)) {
            sink.warn(format!("{directive}: {name} is not an executable file: not run"));
            return Ok(None);
        }
        let line = format!("{}/{value}", quote(&folder.to_string_lossy()));
        let mut command = Command::new("bash");
        command.args(["-c", "eval \"$1\"", "bash", &line]).current_dir(folder).stdin(Stdio::null());
        command.env("module", package.name.as_str()).env("module_version", package.version.as_str());
        if let Some(kernel) = kernel {
            command.env("kernelver", kernel.release.as_str()).env("arch", kernel.arch.as_str());
        }
        let output = command.output().map_err(|source| Error::Program {
            program: "bash".into(),
            source,
            hint: "install bash".into(),
        })?;
        for line in [&output.stdout, &output.stderr].into_iter().flat_map(|out| out.split(|b| *b == b'\n')) {
            if !line.is_empty() {
                sink.note(format!("{directive}: {}", String::from_utf8_lossy(line)));
            }
        }
        use std::os::unix::process::ExitStatusExt as _;
        Ok(Some(output.status.code().or_else(|| output.status.signal().map(|s| 128 + s)).unwrap_or(1)))
    }
}
