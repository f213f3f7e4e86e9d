//! Whether a kernel's headers are whole, settled and usable here (design.md, decision 11), and what identifies them.
//!
//! Whole: every file of [`SENTINELS`] is there, and so is every Makefile that theirs includes from elsewhere.
//! Settled: neither a folder of the tree nor one of these files has changed for the quiet period, by ctime, as
//! package managers set mtimes back. Usable: `fixdep` and `modpost` run on this machine.

mod cache;
mod tools;
mod tree;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::host::distro::Distro;
use crate::host::kconfig::KernelConfig;
use crate::host::resolve::resolve;
use crate::layout::Layout;
use crate::model::KernelId;

pub use cache::HeaderCache;
use tools::Verdict;

/// What a header folder has to hold before anything is built against it.
pub const SENTINELS: [&str; 6] = [
    "Makefile",
    "include/generated/autoconf.h",
    "include/config/auto.conf",
    "Module.symvers",
    "scripts/basic/fixdep",
    "scripts/mod/modpost",
];

/// The programs among them that every build runs.
const TOOLS: [&str; 2] = ["scripts/basic/fixdep", "scripts/mod/modpost"];

/// A program that a build runs where the kernel's configuration wants it; its libraries are the package manager's.
const OBJTOOL: &str = "tools/objtool/objtool";

/// What makes an existing build stale when it changes, beside the Makefiles.
const IDENTITY: [&str; 6] = [
    "include/config/auto.conf",
    "include/generated/autoconf.h",
    "include/generated/uapi/linux/version.h",
    "Module.symvers",
    ".config",
    // Debian's choice of compiler.
    ".kernelvariables",
];

/// Where the files of [`SENTINELS`] arrive.
const PROBES: [&str; 7] =
    ["", "include", "include/generated", "include/config", "scripts", "scripts/basic", "scripts/mod"];

/// Whether a kernel's headers can be built against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderState {
    /// They can.
    Ready(Headers),
    /// They are whole, and something changed a moment ago.
    Settling {
        /// When to look again.
        until: SystemTime,
        /// What has changed.
        why: String,
    },
    /// They are absent or not whole.
    Missing {
        /// What is missing.
        why: String,
        /// The package that brings it, where that is known.
        package: Option<String>,
    },
    /// They are whole, and their programs do not run on this machine.
    Unusable {
        /// Which, and why.
        why: String,
    },
}

/// Headers that can be built against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// Their folder, with every link followed.
    pub dir: PathBuf,
    /// Every folder that they are spread over, that one first.
    pub roots: Vec<PathBuf>,
    /// The kernel's configuration.
    pub config: Arc<KernelConfig>,
    /// Digest (hex) of what a module is built from: configuration, symbol versions, Makefiles. A build made from
    /// another one is stale.
    pub identity: String,
    /// Digest (hex) over the tree's folders, the names in them and the sentinels' size and time: cheap, and another
    /// one whenever the tree changes. A failed build is worth another try when it does.
    pub stamp: String,
}

/// Looks at the headers that a kernel's `build` leads to: [`Inspection::kernel`].
#[must_use]
pub fn inspect(
    layout: &Layout,
    kernel: &KernelId,
    distro: &Distro,
    now: SystemTime,
    quiet: Duration,
    cache: &HeaderCache,
) -> HeaderState {
    Inspection { layout, distro, now, quiet, cache }.kernel(kernel)
}

/// What is asked of a header tree, and by whose clock.
#[derive(Debug, Clone, Copy)]
pub struct Inspection<'a> {
    /// Where everything lies.
    pub layout: &'a Layout,
    /// Names the package that brings missing headers.
    pub distro: &'a Distro,
    /// The time, by the clock that stamps files.
    pub now: SystemTime,
    /// How long nothing may have changed.
    pub quiet: Duration,
    /// Keeps what was found out, so that looking again starts no process and reads no large file.
    pub cache: &'a HeaderCache,
}

impl Inspection<'_> {
    /// Looks at the headers that a kernel's `build` leads to.
    #[must_use]
    pub fn kernel(&self, kernel: &KernelId) -> HeaderState {
        let link = self.layout.kernel_source(&kernel.release);
        let package = self.distro.headers_package(&kernel.release);
        match resolve(self.layout, &link) {
            Ok(dir) if dir.is_dir() => self.folder(&dir, package),
            Ok(_) => {
                let why = format!("{} does not lead to a folder", self.shown(&link));
                HeaderState::Missing { why, package }
            }
            Err(e) => HeaderState::Missing { why: self.unresolved(&link, &e), package },
        }
    }

    /// Looks at a header folder, wherever it lies; `package` is what brings it.
    #[must_use]
    pub fn folder(&self, dir: &Path, package: Option<String>) -> HeaderState {
        match self.look(dir) {
            Err(NotReady::Missing(why)) => HeaderState::Missing { why, package },
            Err(NotReady::Settling { until, why }) => HeaderState::Settling { until, why },
            Err(NotReady::Unusable(why)) => HeaderState::Unusable { why },
            Ok(headers) => HeaderState::Ready(headers),
        }
    }

    fn look(&self, dir: &Path) -> Result<Headers, NotReady> {
        let found = tree::find(self.layout, dir);
        if !found.missing.is_empty() {
            return Err(NotReady::Missing(format!("{} lacks {}", self.shown(dir), found.missing.join(", "))));
        }
        let known = self.cache.walk(dir);
        let walk = known.unwrap_or_else(|| Arc::new(tree::walk(self.layout, &found)));
        if let Some(why) = self.cache.half_unpacked(self.layout, &walk.roots) {
            return Err(NotReady::Missing(format!("{why}; should it stay so, run: dpkg --configure -a")));
        }
        self.settled(&walk)?;
        self.cache.keep_walk(dir, &walk);
        let objtool = resolve(self.layout, &dir.join(OBJTOOL)).ok().filter(|tool| tool.is_file());
        let tools = TOOLS.iter().filter_map(|name| Some((*name, found.sentinels.get(*name)?)));
        for (name, tool) in tools.chain(objtool.as_ref().map(|tool| (OBJTOOL, tool))) {
            match self.cache.tool(tool) {
                Verdict::Runs => {}
                Verdict::Fails(why) => return Err(NotReady::Unusable(format!("{}/{name} {why}", self.shown(dir)))),
                Verdict::BeingWritten => {
                    let why = format!("{}/{name} is being written", self.shown(dir));
                    return Err(NotReady::Settling { until: self.now + self.quiet, why });
                }
            }
        }
        let read = IDENTITY.iter().map(|name| dir.join(name)).chain(found.makefiles.iter().cloned());
        Ok(Headers {
            dir: dir.to_owned(),
            roots: walk.roots.clone(),
            config: self.cache.config(dir),
            identity: self.cache.identity(self.layout, read),
            stamp: walk.stamp.clone(),
        })
    }

    /// A time ahead of the clock is one from before the clock was set back; it says nothing about now.
    fn settled(&self, walk: &tree::Walk) -> Result<(), NotReady> {
        let latest =
            walk.seen.iter().filter(|seen| seen.changed <= self.now + self.quiet).max_by_key(|seen| seen.changed);
        match latest {
            Some(seen) if seen.changed + self.quiet > self.now => {
                let why = format!("{} has just changed", self.shown(&seen.path));
                Err(NotReady::Settling { until: seen.changed + self.quiet, why })
            }
            _ if walk.moving => {
                let why = "folders are being removed".to_owned();
                Err(NotReady::Settling { until: self.now + self.quiet, why })
            }
            _ => Ok(()),
        }
    }

    fn unresolved(&self, link: &Path, error: &io::Error) -> String {
        match std::fs::read_link(link) {
            Ok(target) => {
                format!("{} leads to {}, which cannot be reached ({error})", self.shown(link), target.display())
            }
            Err(_) => format!("there is no {}", self.shown(link)),
        }
    }

    /// The path as those inside the root know it.
    fn shown(&self, path: &Path) -> String {
        self.layout.inside(path).display().to_string()
    }
}

enum NotReady {
    Missing(String),
    Settling { until: SystemTime, why: String },
    Unusable(String),
}

/// The folders to watch, flat, so as to learn that headers which are not whole become so: the kernel's folder and
/// those that sentinels arrive in, as far as they exist. Links are followed, so that a watch may be set on each as it
/// is. Every compiler opens files below these, so they are worth watching only until the headers are ready.
#[must_use]
pub fn probe_dirs(layout: &Layout, kernel: &KernelId) -> Vec<PathBuf> {
    let mut probes = BTreeSet::new();
    probes.extend(resolve(layout, &layout.kernel_folder(&kernel.release)).ok().filter(|p| p.is_dir()));
    if let Ok(dir) = resolve(layout, &layout.kernel_source(&kernel.release)) {
        let included = tree::find(layout, &dir).included_folders();
        for root in std::iter::once(dir).chain(included) {
            probes.extend(PROBES.iter().filter_map(|p| resolve(layout, &root.join(p)).ok()).filter(|p| p.is_dir()));
        }
    }
    probes.into_iter().collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests;
