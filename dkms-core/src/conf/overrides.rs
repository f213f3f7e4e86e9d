//! The files in /etc/dkms that may override a dkms.conf: listed once, where a look asks about many packages and kernels.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::layout::Layout;
use crate::model::{KernelId, PackageId};

/// Which of them there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// Names; none when the folder cannot be listed, so that each has to be looked for.
    names: Option<BTreeSet<String>>,
}

/// Those that concern one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnOverrides<'o> {
    package: &'o PackageId,
    names: Option<Vec<&'o str>>,
}

impl Overrides {
    /// Lists them.
    pub(crate) fn list(layout: &Layout) -> Self {
        let names = match fs::read_dir(layout.config_dir()) {
            // Names of packages and kernels are text, so those of their files are.
            Ok(entries) => entries.map(|e| Ok(e?.file_name().into_string().ok())).collect::<std::io::Result<Vec<_>>>(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e),
        };
        let confs = |names: Vec<Option<String>>| names.into_iter().flatten().filter(|n| n.ends_with(".conf")).collect();
        Self { names: names.ok().map(confs) }
    }

    /// What is known of a folder that cannot be listed.
    #[cfg(test)]
    pub(crate) fn unknown() -> Self {
        Self { names: None }
    }

    /// Those that may be a package's, and those of others that are called much like it.
    pub(crate) fn of<'o>(&'o self, package: &'o PackageId) -> OwnOverrides<'o> {
        let name = package.name.as_str();
        let names = self.names.as_ref().map(|names| {
            names.range(name.to_owned()..).map(String::as_str).take_while(|other| other.starts_with(name)).collect()
        });
        OwnOverrides { package, names }
    }
}

impl OwnOverrides<'_> {
    /// Whether there is none for any kernel.
    pub(crate) fn are_none(&self) -> bool {
        self.names.as_ref().is_some_and(Vec::is_empty)
    }

    /// The files for every kernel, in the order in which they are read.
    pub(crate) fn general(&self, layout: &Layout) -> Vec<PathBuf> {
        if self.are_none() { Vec::new() } else { self.those_there(layout.general_override_confs(self.package)) }
    }

    /// Whether one kernel has files of its own.
    pub(crate) fn some_for(&self, layout: &Layout, kernel: &KernelId) -> bool {
        !self.are_none() && !self.those_there(layout.own_override_confs(self.package, kernel)).is_empty()
    }

    fn those_there(&self, mut files: Vec<PathBuf>) -> Vec<PathBuf> {
        let listed = |path: &PathBuf| match &self.names {
            Some(names) => path.file_name().is_some_and(|name| names.iter().any(|other| name == *other)),
            None => true,
        };
        files.retain(|path| listed(path) && path.is_file());
        files
    }
}
