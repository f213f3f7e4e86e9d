//! framework.conf (dkms-contract.md §4) and dkmsd.toml: what an administrator decides.

mod daemon;
mod mistake;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use daemon::{DaemonSettings, IoPriority, PackageSettings, Priority};
pub use mistake::Mistake;

use crate::conf::{ConfFile, Evaluator};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;
use crate::model::{KernelRelease, PackageName};

/// The names of framework.conf that take effect; whatever else it assigns stays in it.
pub const NAMES: &[&str] = &[
    "source_tree",
    "dkms_tree",
    "install_tree",
    "tmp_location",
    "verbose",
    "symlink_modules",
    "autoinstall_all_kernels",
    "modprobe_on_install",
    "parallel_jobs",
    "compress_gzip_opts",
    "compress_xz_opts",
    "compress_zstd_opts",
    "build_environment",
    "post_transaction",
    "sign_file",
    "mok_signing_key",
    "mok_certificate",
    "try_sign_modules",
    "continue_on_error",
];

/// A value of framework.conf that is not understood.
struct Problem {
    name: &'static str,
    value: String,
    /// What is wrong with it and what to write; stands right behind it.
    what: &'static str,
}

impl Problem {
    /// With the line that it comes from; `parallel_jobs` may come from the environment.
    fn placed(self, files: &[ConfFile]) -> Mistake {
        let Self { name, value, what } = self;
        let main = || files.first().filter(|_| name != "parallel_jobs").map(|file| file.path.clone());
        let (path, line) = match mistake::place_of(files, name, &value) {
            Some((path, line)) => (Some(path), Some(line)),
            None => (main(), None),
        };
        Mistake { path, line, why: format!("{name}=\"{value}\"{what}") }
    }
}

/// Stands for the kernel in settings, until [`PerKernel::for_kernel`] puts one in.
const KERNEL: &str = "$kernelver";

/// What is wrong with a folder that is named so.
const NO_FULL_PATH: &str = " is not a full path; write one that begins with /";

/// Whether modules are signed, where the kernel's configuration wants signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum TrySign {
    /// Always.
    Yes,
    /// Never.
    No,
    /// Unless this is a chroot.
    #[default]
    NotInChroot,
}

/// A setting in which `$kernelver` may stand.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PerKernel(String);

impl PerKernel {
    /// The setting for one kernel.
    #[must_use]
    pub fn for_kernel(&self, kernel: &KernelRelease) -> String {
        self.0.replace(KERNEL, kernel.as_str())
    }

    /// Whether it is another one for each kernel.
    #[must_use]
    pub fn names_kernel(&self) -> bool {
        self.0.contains(KERNEL)
    }
}

/// Every setting, with its default where none was made. As JSON it goes from the daemon to its workers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    root: PathBuf,
    /// `source_tree`, as seen from inside the root.
    pub source_tree: Option<PathBuf>,
    /// `dkms_tree`, likewise.
    pub dkms_tree: Option<PathBuf>,
    /// `--dkmstree` names another tree than the machine's: what dkmsd knows of it lies in it.
    pub state_in_tree: bool,
    /// `install_tree`, likewise.
    pub install_tree: Option<PathBuf>,
    /// `--kernelsourcedir`: one folder of headers for every kernel, as seen from inside the root.
    pub kernel_source_dir: Option<PathBuf>,
    /// `tmp_location`: where a process makes the jobserver that it has for itself alone. A build's own /tmp is in memory,
    /// and whatever else is temporary is made beside what becomes of it.
    pub tmp_location: PathBuf,
    /// `verbose`: the drop-in says more, as with `--verbose`.
    pub verbose: bool,
    /// `symlink_modules`: link modules into the kernel's folder, copy none.
    pub symlink_modules: bool,
    /// `autoinstall_all_kernels`: a package is built for every kernel, not only the running and the newest.
    pub autoinstall_all_kernels: bool,
    /// `modprobe_on_install`.
    pub modprobe_on_install: bool,
    /// `parallel_jobs`, from the environment where framework.conf has none; 0: no limit; none: a job a CPU.
    pub parallel_jobs: Option<u32>,
    /// `compress_gzip_opts`, as words.
    pub compress_gzip_opts: Vec<String>,
    /// `compress_xz_opts`, as words.
    pub compress_xz_opts: Vec<String>,
    /// `compress_zstd_opts`, as words.
    pub compress_zstd_opts: Vec<String>,
    /// `build_environment`: a file of variables for builds.
    pub build_environment: Option<PathBuf>,
    /// `post_transaction`: a command that runs when something was changed.
    pub post_transaction: Option<PerKernel>,
    /// `sign_file`.
    pub sign_file: Option<PerKernel>,
    /// `mok_signing_key`: a path or a `pkcs11:` URI.
    pub mok_signing_key: Option<PerKernel>,
    /// `mok_certificate`.
    pub mok_certificate: Option<PerKernel>,
    /// `try_sign_modules`.
    pub try_sign_modules: TrySign,
    /// `continue_on_error`: go on with the next kernel when a build failed; true by default.
    pub continue_on_error: bool,
    /// `[daemon]` of dkmsd.toml.
    pub daemon: DaemonSettings,
    /// `[package.NAME]` of dkmsd.toml.
    pub packages: BTreeMap<PackageName, PackageSettings>,
}

impl Settings {
    /// Reads the settings below a root.
    ///
    /// # Errors
    /// When a file cannot be read or evaluated, or a setting is not understood: with file, line and what to write.
    pub fn load(layout_root: &Path) -> Result<Self> {
        match Self::read(layout_root)? {
            (settings, None) => Ok(settings),
            (_, Some(mistake)) => Err(mistake),
        }
    }

    /// The settings, and the mistake in them if there is one: what is wrong has its default. For what has to be possible
    /// all the same, as taking a package off the machine.
    ///
    /// # Errors
    /// When a file cannot be read or evaluated, or does not tell where the trees are.
    pub fn load_in_spite_of_mistakes(layout_root: &Path) -> Result<(Self, Option<Error>)> {
        match Self::read(layout_root)? {
            (_, Some(Error::BadSettings { mistakes }))
                if mistakes.iter().any(|mistake| mistake.why.ends_with(NO_FULL_PATH)) =>
            {
                Err(Error::BadSettings { mistakes })
            }
            read => Ok(read),
        }
    }

    fn read(layout_root: &Path) -> Result<(Self, Option<Error>)> {
        let layout = Layout::under(layout_root);
        let files = framework_files(&layout)?;
        let mut preset = vec![("kernelver", KERNEL.to_owned())];
        preset.extend(std::env::var("parallel_jobs").ok().map(|jobs| ("parallel_jobs", jobs)));
        let environment_jobs = preset.get(1).map(|(_, jobs)| jobs.clone());
        let mut values = if files.is_empty() {
            BTreeMap::new()
        } else {
            Evaluator::new(&layout).variables(&files, NAMES, preset)?
        };
        if let Some(jobs) = environment_jobs {
            values.entry("parallel_jobs".to_owned()).or_insert(jobs);
        }
        let (own, in_own) = match daemon::load(&layout.config_dir().join("dkmsd.toml")) {
            Ok(own) => (own, Vec::new()),
            Err(Error::BadSettings { mistakes }) => (Default::default(), mistakes),
            Err(error) => return Err(error),
        };
        let (settings, problems) = Self::from_values(layout_root, values, own.0, own.1);
        let mut mistakes: Vec<Mistake> = problems.into_iter().map(|problem| problem.placed(&files)).collect();
        mistakes.extend(in_own);
        Ok((settings, (!mistakes.is_empty()).then_some(Error::BadSettings { mistakes })))
    }

    /// What goes where nothing was set.
    #[must_use]
    pub fn defaults(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            source_tree: None,
            dkms_tree: None,
            state_in_tree: false,
            install_tree: None,
            kernel_source_dir: None,
            tmp_location: PathBuf::from("/tmp"),
            verbose: false,
            symlink_modules: false,
            autoinstall_all_kernels: false,
            modprobe_on_install: false,
            parallel_jobs: None,
            compress_gzip_opts: Vec::new(),
            compress_xz_opts: Vec::new(),
            compress_zstd_opts: Vec::new(),
            build_environment: None,
            post_transaction: None,
            sign_file: None,
            mok_signing_key: None,
            mok_certificate: None,
            try_sign_modules: TrySign::default(),
            continue_on_error: true,
            daemon: DaemonSettings::default(),
            packages: BTreeMap::new(),
        }
    }

    fn from_values(
        root: &Path,
        mut values: BTreeMap<String, String>,
        daemon: DaemonSettings,
        packages: BTreeMap<PackageName, PackageSettings>,
    ) -> (Self, Vec<Problem>) {
        values.retain(|_, value| !value.is_empty());
        let mut take = |name: &str| values.remove(name);
        let mut problems = Vec::new();
        let mut tree = |name: &'static str, value: Option<String>| {
            let path = value.map(PathBuf::from)?;
            if path.is_absolute() {
                return Some(path);
            }
            problems.push(Problem { name, value: path.to_string_lossy().into_owned(), what: NO_FULL_PATH });
            None
        };
        let source_tree = tree("source_tree", take("source_tree"));
        let dkms_tree = tree("dkms_tree", take("dkms_tree"));
        let install_tree = tree("install_tree", take("install_tree"));
        let tmp_location = tree("tmp_location", take("tmp_location")).unwrap_or_else(|| PathBuf::from("/tmp"));
        let build_environment = tree("build_environment", take("build_environment"));
        let parallel_jobs = take("parallel_jobs").and_then(|jobs| {
            let number = jobs.parse().ok();
            if number.is_none() {
                let what = " is not a number; write one, 0 for no limit";
                problems.push(Problem { name: "parallel_jobs", value: jobs, what });
            }
            number
        });
        let try_sign_modules = match take("try_sign_modules").as_deref() {
            None | Some("not_in_chroot") => TrySign::NotInChroot,
            Some("true") => TrySign::Yes,
            Some("false") => TrySign::No,
            Some(other) => {
                let what = "; write true, false or not_in_chroot";
                problems.push(Problem { name: "try_sign_modules", value: other.to_owned(), what });
                TrySign::default()
            }
        };
        let words = |value: Option<String>| {
            value.map(|v| v.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
        };
        let defaults = Self::defaults(root);
        let settings = Self {
            source_tree,
            dkms_tree,
            install_tree,
            tmp_location,
            verbose: is_true(take("verbose")).unwrap_or(defaults.verbose),
            symlink_modules: is_true(take("symlink_modules")).unwrap_or(defaults.symlink_modules),
            autoinstall_all_kernels: is_true(take("autoinstall_all_kernels"))
                .unwrap_or(defaults.autoinstall_all_kernels),
            modprobe_on_install: is_true(take("modprobe_on_install")).unwrap_or(defaults.modprobe_on_install),
            parallel_jobs,
            compress_gzip_opts: words(take("compress_gzip_opts")),
            compress_xz_opts: words(take("compress_xz_opts")),
            compress_zstd_opts: words(take("compress_zstd_opts")),
            build_environment,
            post_transaction: take("post_transaction").map(PerKernel),
            sign_file: take("sign_file").map(PerKernel),
            mok_signing_key: take("mok_signing_key").map(PerKernel),
            mok_certificate: take("mok_certificate").map(PerKernel),
            try_sign_modules,
            continue_on_error: is_true(take("continue_on_error")).unwrap_or(defaults.continue_on_error),
            daemon,
            packages,
            ..defaults
        };
        (settings, problems)
    }

    /// Where everything lies, with the trees that were set.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let layout = Layout::under(&self.root)
            .with_trees(self.source_tree.clone(), self.dkms_tree.clone(), self.install_tree.clone())
            .with_kernel_source(self.kernel_source_dir.clone());
        if self.state_in_tree { layout.with_state_in_tree() } else { layout }
    }

    /// What was set for one package.
    #[must_use]
    pub fn package(&self, name: &PackageName) -> PackageSettings {
        self.packages.get(name).cloned().unwrap_or_default()
    }

    /// What a package's builds may do and how long they may take, in one line: an attempt that failed is worth another
    /// one when it differs.
    #[must_use]
    pub fn bounds(&self, name: &PackageName) -> String {
        let set = self.package(name);
        let seconds = set.timeout.unwrap_or(self.daemon.build_timeout).as_secs();
        let (network, user) = (set.network, set.user.as_deref().unwrap_or("dkms"));
        format!("network {network}, user {user}, writable {:?}, {seconds} s", set.writable)
    }
}

/// Where everything lies below a root, for callers that must neither fail nor start a process: the classic places where
/// framework.conf cannot be read or only bash can tell.
#[must_use]
pub fn layout_without_bash(root: &Path) -> Layout {
    let layout = Layout::under(root);
    let said = framework_files(&layout)
        .and_then(|files| Evaluator::new(&layout).variables_without_bash(&files, NAMES, Vec::new()));
    let Ok(Some(values)) = said else { return layout };
    let tree = |name: &str| values.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let (source, dkms, install) = (tree("source_tree"), tree("dkms_tree"), tree("install_tree"));
    layout.with_trees(source, dkms, install)
}

/// framework.conf, then framework.conf.d/*.conf by name; those that exist.
fn framework_files(layout: &Layout) -> Result<Vec<ConfFile>> {
    let main = layout.config_dir().join("framework.conf");
    let more = layout.config_dir().join("framework.conf.d");
    let mut paths = Vec::new();
    match fs::read_dir(&more) {
        Ok(folder) => {
            for entry in folder {
                let path = entry.at("read", &more)?.path();
                let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
                if !hidden && path.extension().is_some_and(|e| e == "conf") {
                    paths.push(path);
                }
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).at("read", &more),
    }
    paths.sort();
    paths.insert(0, main);
    let mut files = Vec::new();
    for path in paths {
        match fs::read(&path) {
            Ok(text) => files.push(ConfFile { path, text }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).at("read", &path),
        }
    }
    Ok(files)
}

/// A switch of framework.conf: set and not a word for no.
fn is_true(value: Option<String>) -> Option<bool> {
    value.map(|v| !["no", "false", "0", "n", "off"].contains(&v.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests;
