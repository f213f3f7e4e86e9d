//! The index that modprobe reads, once a kernel after all its changes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::model::KernelRelease;
use crate::tree::files;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepmodOutcome {
    /// The index is new.
    Ran,
    /// The kernel has no index: headers without a kernel.
    SkippedNoModulesDep,
}

/// Runs `depmod -a` for a kernel, with its System.map where there is one. The new index is durable when this returns.
///
/// After a failure some of the index files may be new: undo the installs and run this again.
///
/// # Errors
/// When depmod is missing or fails.
pub fn run(layout: &Layout, kernel: &KernelRelease) -> Result<DepmodOutcome> {
    let folder = layout.kernel_folder(kernel);
    files::failpoint("run depmod in", &folder)?;
    if !folder.join("modules.dep").exists() {
        return Ok(DepmodOutcome::SkippedNoModulesDep);
    }
    let mut command = Command::new("depmod");
    command.arg("-a").stdin(Stdio::null()).env("LC_ALL", "C");
    if let Some(base) = base(layout) {
        command.arg("-b").arg(base);
    }
    let map = layout.boot().join(format!("System.map-{kernel}"));
    if map.exists() {
        command.arg("-F").arg(map);
    }
    // Its kernel's lock is free as soon as we are gone.
    crate::sys::end_with_us(&mut command);
    let output = command.arg(kernel.as_str()).output().map_err(|source| Error::Program {
        program: "depmod".to_owned(),
        source,
        hint: "install the package kmod".to_owned(),
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    if output.status.success() {
        lines.for_each(|line| tracing::debug!(kernel = %kernel, "depmod: {line}"));
        files::sync_files(&folder, |name| name.starts_with("modules."))?;
        return Ok(DepmodOutcome::Ran);
    }
    let why = lines.next().map_or_else(|| output.status.to_string(), |line| format!("{line} ({})", output.status));
    Err(Error::Depmod { kernel: kernel.clone(), undone: false, why })
}

/// What depmod has to be told so that its `lib/modules` is our install tree; none when it is by default, or cannot be.
fn base(layout: &Layout) -> Option<PathBuf> {
    let tree = layout.install_tree();
    let base = tree.parent().filter(|_| tree.ends_with("lib/modules"))?.parent()?;
    // /usr/lib/modules and /lib/modules are one folder wherever both exist.
    (base != Path::new("/") && base != Path::new("/usr")).then(|| base.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/", "/lib/modules", None)]
    #[case("/", "/usr/lib/modules", None)]
    #[case("/image", "/lib/modules", Some("/image"))]
    #[case("/image", "/usr/lib/modules", Some("/image/usr"))]
    #[case("/", "/srv/lib/modules", Some("/srv"))]
    #[case("/", "/srv/elsewhere", None)]
    fn depmod_is_led_to_the_install_tree(#[case] root: &str, #[case] tree: &str, #[case] wanted: Option<&str>) {
        let layout = Layout::under(root).with_trees(None, None, Some(tree.into()));
        assert_eq!(base(&layout), wanted.map(PathBuf::from));
    }
}
