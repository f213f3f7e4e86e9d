//! The classic command line (dkms-contract.md §2): one action and its arguments, in any order.
//!
//! Pure but for one question, asked of every bare word: what lies at this path ([`Look`]).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use dkms_core::model::{Arch, KernelRelease};
use lexopt::Arg::{Long, Short, Value};

use super::complete;
use super::failure::Failure;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Add,
    Remove,
    Build,
    Unbuild,
    Install,
    Uninstall,
    Match,
    Mktarball,
    Ldtarball,
    Status,
    Autoinstall,
    GenerateMok,
    KernelPreinst,
    KernelPostinst,
    KernelPrerm,
}

/// Every action, by the word that asks for it.
pub(crate) const ACTIONS: [(&str, Action); 15] = [
    ("add", Action::Add),
    ("build", Action::Build),
    ("install", Action::Install),
    ("uninstall", Action::Uninstall),
    ("unbuild", Action::Unbuild),
    ("remove", Action::Remove),
    ("status", Action::Status),
    ("autoinstall", Action::Autoinstall),
    ("match", Action::Match),
    ("mktarball", Action::Mktarball),
    ("ldtarball", Action::Ldtarball),
    ("generate_mok", Action::GenerateMok),
    ("kernel_preinst", Action::KernelPreinst),
    ("kernel_postinst", Action::KernelPostinst),
    ("kernel_prerm", Action::KernelPrerm),
];

impl Action {
    fn named(word: &OsStr) -> Option<Self> {
        ACTIONS.iter().find(|(name, _)| word == *name).map(|(_, action)| *action)
    }

    /// The word that asks for it.
    pub(crate) fn as_str(self) -> &'static str {
        ACTIONS.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }

    /// Whether it is done for every kernel for which something is built.
    fn takes_all(self) -> bool {
        matches!(self, Self::Remove | Self::Unbuild | Self::Uninstall | Self::Mktarball | Self::Status)
    }

    /// Whether it is for the running kernel where none is named. The signing key is of all kernels, unless its path says
    /// otherwise.
    fn has_default_kernel(self) -> bool {
        !matches!(self, Self::Add | Self::Ldtarball | Self::Status | Self::GenerateMok)
    }

    /// Whether it is for one kernel.
    fn takes_one_kernel(self) -> bool {
        matches!(self, Self::Autoinstall | Self::Match | Self::KernelPreinst | Self::KernelPostinst | Self::KernelPrerm)
    }
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// A file.
    File,
    /// A folder with a dkms.conf.
    Source,
    /// Another folder.
    Folder,
}

/// Tells what lies at a path.
pub(crate) type Look<'a> = &'a dyn Fn(&Path) -> Found;

/// The arguments, understood.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Args {
    pub(crate) action: Option<Action>,
    /// `--help`, or `--version`: all else does not matter then.
    pub(crate) show: Option<Show>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    /// A driver's source, named as a folder or by its dkms.conf.
    pub(crate) folder: Option<PathBuf>,
    /// A folder without dkms.conf, whose path is taken as NAME/VERSION.
    pub(crate) bare_folder: Option<PathBuf>,
    pub(crate) archive: Option<PathBuf>,
    pub(crate) conf: Option<PathBuf>,
    pub(crate) kernels: Vec<KernelRelease>,
    /// As many as kernels, or one, or none.
    pub(crate) arches: Vec<Arch>,
    pub(crate) all: bool,
    pub(crate) force: bool,
    pub(crate) force_version_override: bool,
    pub(crate) no_depmod: bool,
    pub(crate) modprobe_on_install: bool,
    pub(crate) symlink_modules: bool,
    pub(crate) binaries_only: bool,
    pub(crate) source_only: bool,
    pub(crate) rpm_safe_upgrade: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    pub(crate) debug: bool,
    pub(crate) json: bool,
    pub(crate) template_kernel: Option<KernelRelease>,
    pub(crate) dkms_tree: Option<PathBuf>,
    pub(crate) source_tree: Option<PathBuf>,
    pub(crate) install_tree: Option<PathBuf>,
    pub(crate) kernel_config: Option<PathBuf>,
    pub(crate) kernel_source_dir: Option<PathBuf>,
    pub(crate) root: Option<PathBuf>,
    pub(crate) directives: Vec<(String, String)>,
    /// `-j`: 0 for no limit.
    pub(crate) jobs: Option<u32>,
}

/// A bare word, and whether `--quiet` came before it.
type Word = (OsString, bool);

/// What is shown in place of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Help,
    Version,
}

/// The place in [`Args`] that an option sets.
type Place<T> = fn(&mut Args) -> &mut T;

/// Options without a value.
pub(crate) const SWITCHES: [(&str, Place<bool>); 14] = [
    ("all", |a| &mut a.all),
    ("force", |a| &mut a.force),
    ("force-version-override", |a| &mut a.force_version_override),
    ("no-depmod", |a| &mut a.no_depmod),
    ("modprobe-on-install", |a| &mut a.modprobe_on_install),
    ("symlink-modules", |a| &mut a.symlink_modules),
    ("binaries-only", |a| &mut a.binaries_only),
    ("source-only", |a| &mut a.source_only),
    ("rpm_safe_upgrade", |a| &mut a.rpm_safe_upgrade),
    ("quiet", |a| &mut a.quiet),
    ("verbose", |a| &mut a.verbose),
    ("debug", |a| &mut a.debug),
    ("json", |a| &mut a.json),
    ("rpm-safe-upgrade", |a| &mut a.rpm_safe_upgrade),
];

/// Options whose value is a path.
pub(crate) const PATHS: [(&str, Place<Option<PathBuf>>); 7] = [
    ("dkmstree", |a| &mut a.dkms_tree),
    ("sourcetree", |a| &mut a.source_tree),
    ("installtree", |a| &mut a.install_tree),
    ("config", |a| &mut a.kernel_config),
    ("archive", |a| &mut a.archive),
    ("kernelsourcedir", |a| &mut a.kernel_source_dir),
    ("root", |a| &mut a.root),
];

/// Options that once did something.
pub(crate) const DEPRECATED: [&str; 3] = ["no-initrd", "no-clean-kernel", "no-prepare-kernel"];

/// The action whose options are its own.
pub(crate) const LINT: &str = "lint";

/// When lint is what is asked for: all other words.
///
/// # Errors
/// When another action is asked for, too.
pub(crate) fn for_lint(given: &[OsString]) -> Result<Option<Vec<OsString>>, Failure> {
    let mut others = Vec::new();
    let (mut lint, mut other, mut only_words) = (false, None, false);
    let mut rest = given.iter();
    while let Some(arg) = rest.next() {
        let text = arg.to_string_lossy();
        if !lint && text == LINT {
            lint = true;
            continue;
        }
        others.push(arg.clone());
        let takes_next = match text.strip_prefix('-') {
            _ if only_words => false,
            Some("-") => {
                only_words = true;
                false
            }
            Some(option) => match option.strip_prefix('-') {
                Some(long) => complete::takes_value(long),
                // The first letter that takes a value takes the rest of the word, if there is any.
                None => option.find(complete::letter_takes_value).is_some_and(|at| at + 1 == option.len()),
            },
            None => false,
        };
        if takes_next {
            others.extend(rest.next().cloned());
        } else if other.is_none() && (only_words || !text.starts_with('-')) {
            other = Action::named(arg);
        }
    }
    match other {
        Some(other) if lint => Err(two_actions(LINT, other.as_str())),
        _ => Ok(lint.then_some(others)),
    }
}

fn two_actions(first: &str, second: &str) -> Failure {
    Failure::new(4, format!("one action at a time: {first} or {second}"))
}

/// Understands the arguments. `remark` is told of words that have no effect, but for those after `--quiet`.
///
/// # Errors
/// Those of dkms-contract.md §2 that the command line alone shows.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
    look: Look<'_>,
    remark: &mut dyn FnMut(String),
) -> Result<Args, Failure> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut args = Args::default();
    let mut words = Vec::new();
    // Whatever goes wrong after `--quiet` is not told.
    match options(&mut parser, &mut args, &mut words, remark).and_then(|()| understand(&mut args, words, look, remark))
    {
        Ok(()) => Ok(args),
        Err(failure) if args.quiet => Err(failure.silent()),
        Err(failure) => Err(failure),
    }
}

fn options(
    parser: &mut lexopt::Parser,
    args: &mut Args,
    words: &mut Vec<Word>,
    remark: &mut dyn FnMut(String),
) -> Result<(), Failure> {
    while let Some(arg) = parser.next()? {
        match arg {
            Short('m') | Long("module") => package(args, &text(parser.value()?, "-m")?),
            Short('v') => args.version = Some(text(parser.value()?, "-v")?),
            Short('k') | Long("kernelver") => kernel(args, &text(parser.value()?, "-k")?)?,
            Short('a') | Long("arch") => {
                let arch = text(parser.value()?, "-a")?;
                if arch.is_empty() {
                    return Err(Failure::new(
                        16,
                        "-a: an architecture is not empty; leave the option out, or write one",
                    ));
                }
                args.arches.push(Arch::new(arch).map_err(|why| Failure::new(16, why.to_string()))?);
            }
            Short('c') => args.conf = Some(parser.value()?.into()),
            Short('q') => args.quiet = true,
            Short('V') | Long("version") => args.show = args.show.or(Some(Show::Version)),
            Short('h') | Long("help") => args.show = args.show.or(Some(Show::Help)),
            Short('j') => {
                let given = text(parser.value()?, "-j")?;
                let jobs = given.parse();
                args.jobs = Some(
                    jobs.map_err(|_| Failure::new(2, format!("-j {given}: write a number of jobs; 0 for no limit")))?,
                );
            }
            Long("templatekernel") => {
                let kernel = text(parser.value()?, "--templatekernel")?;
                args.template_kernel = Some(release(&kernel)?);
            }
            Long("directive") => {
                let given = text(parser.value()?, "--directive")?;
                let directive = given.split_once('=').filter(|(name, _)| !name.is_empty());
                let (name, value) = directive.ok_or_else(|| {
                    Failure::new(2, format!("--directive {given}: write NAME=VALUE, as in AUTOINSTALL=yes"))
                })?;
                args.directives.push((name.to_owned(), value.to_owned()));
            }
            Long(name) => {
                if DEPRECATED.contains(&name) {
                    if !args.quiet {
                        remark(format!("--{name} does nothing any more; leave it out"));
                    }
                } else if let Some((_, switch)) = SWITCHES.iter().find(|(n, _)| *n == name) {
                    *switch(args) = true;
                } else if let Some((_, place)) = PATHS.iter().find(|(n, _)| *n == name) {
                    *place(args) = Some(parser.value()?.into());
                } else {
                    return Err(arg.unexpected().into());
                }
            }
            Value(word) => words.push((word, args.quiet)),
            Short(_) => return Err(arg.unexpected().into()),
        }
    }
    Ok(())
}

fn text(value: OsString, option: &str) -> Result<String, Failure> {
    value
        .into_string()
        .map_err(|value| Failure::new(2, format!("{option} {}: not UTF-8, as no name here is", value.display())))
}

/// NAME or NAME/VERSION.
fn package(args: &mut Args, given: &str) {
    let (name, version) = given.split_once('/').map_or((given, None), |(name, version)| (name, Some(version)));
    args.name = Some(name.to_owned());
    if let Some(version) = version {
        args.version = Some(version.to_owned());
    }
}

/// KERNEL or KERNEL/ARCH.
fn kernel(args: &mut Args, given: &str) -> Result<(), Failure> {
    let (kernel, arch) = given.split_once('/').map_or((given, None), |(kernel, arch)| (kernel, Some(arch)));
    args.kernels.push(release(kernel)?);
    match arch {
        None => {}
        Some("") => return Err(Failure::new(12, format!("-k {given}: no architecture after the slash"))),
        Some(arch) => args.arches.push(Arch::new(arch).map_err(|why| Failure::new(12, why.to_string()))?),
    }
    Ok(())
}

fn release(given: &str) -> Result<KernelRelease, Failure> {
    if given.is_empty() {
        return Err(Failure::new(16, "-k: a kernel's name is not empty; leave the option out for the running kernel"));
    }
    KernelRelease::new(given).map_err(|why| Failure::new(16, why.to_string()))
}

/// Bare words, then what goes with what.
fn understand(
    args: &mut Args,
    words: Vec<Word>,
    look: Look<'_>,
    remark: &mut dyn FnMut(String),
) -> Result<(), Failure> {
    let (actions, words): (Vec<_>, Vec<_>) = words.into_iter().partition(|(word, _)| Action::named(word).is_some());
    for action in actions.iter().filter_map(|(word, _)| Action::named(word)) {
        if let Some(first) = args.action.replace(action) {
            return Err(two_actions(first.as_str(), action.as_str()));
        }
    }
    // Paths are as seen from inside the other root, where the process is not yet.
    let root = args.root.clone();
    let look = |path: &Path| match &root {
        Some(root) => look(&root.join(path.strip_prefix("/").unwrap_or(path))),
        None => look(path),
    };
    for (word, quiet) in words {
        let no_effect = bare(args, PathBuf::from(word), &look);
        no_effect.filter(|_| !quiet).into_iter().for_each(&mut *remark);
    }
    if args.show.is_some() {
        return Ok(());
    }
    let Some(action) = args.action else { return Ok(()) };
    if args.all && !action.takes_all() {
        return Err(Failure::new(5, format!("{} has no --all; name kernels with -k", action.as_str())));
    }
    if args.all && action != Action::Status {
        if !args.kernels.is_empty() {
            return Err(Failure::new(2, "--all is every kernel that the package is built for; leave out --all or -k"));
        }
        if !args.arches.is_empty() {
            return Err(Failure::new(3, "--all is every kernel and its architecture; leave out --all or -a"));
        }
    }
    if args.binaries_only && args.source_only {
        return Err(Failure::new(8, "--binaries-only and --source-only leave nothing; take one of them"));
    }
    if action.takes_one_kernel() && args.kernels.len() > 1 {
        return Err(Failure::new(4, format!("{} is for one kernel; name one with -k", action.as_str())));
    }
    if matches!(action, Action::KernelPreinst | Action::KernelPostinst | Action::KernelPrerm) && args.kernels.is_empty()
    {
        return Err(Failure::new(4, format!("{} needs the kernel: -k KERNEL", action.as_str())));
    }
    if let Some(root) = &args.root
        && action.has_default_kernel()
        && !(args.all || args.source_only)
        && args.kernels.is_empty()
    {
        return Err(no_kernel_there(root));
    }
    if args.arches.len() > 1 && args.arches.len() != args.kernels.len() {
        return Err(Failure::new(
            1,
            format!(
                "{} architectures and {} kernels: give one architecture for all, or one for each kernel",
                args.arches.len(),
                args.kernels.len()
            ),
        ));
    }
    Ok(())
}

/// What is asked for needs a kernel, and in another root none is the default.
pub(crate) fn no_kernel_there(root: &Path) -> Failure {
    Failure::new(1, format!("which kernel? no kernel runs in {}; name one with -k", root.display()))
}

/// Takes a bare word for what it is; tells when it has no effect.
fn bare(args: &mut Args, word: PathBuf, look: Look<'_>) -> Option<String> {
    let found = look(&word);
    let text = word.to_string_lossy();
    let a_name = match args.action {
        // Whether a source is meant, or what is known by its name, is for the tree to say.
        Some(Action::Status) => found != Found::Source,
        Some(Action::Match) => true,
        _ => false,
    };
    if a_name && args.name.is_none() && !text.contains('/') && !text.starts_with('.') {
        args.name = Some(text.into_owned());
    } else if found == Found::File && text.ends_with("dkms.conf") {
        if word.file_name() == Some(OsStr::new("dkms.conf")) {
            let folder = word.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            args.folder = Some(folder.to_owned());
        } else {
            args.conf = Some(word);
        }
    } else if found == Found::Source {
        args.folder = Some(word);
    } else if found == Found::File {
        args.archive = Some(word);
    } else if could_be_package(&text, found) {
        package(args, &text);
        args.bare_folder = (found == Found::Folder).then(|| word.clone());
    } else {
        let why = if found == Found::Folder {
            "this folder has no dkms.conf"
        } else {
            "it is no action, file or NAME/VERSION"
        };
        return Some(format!("{text} is passed over: {why}"));
    }
    None
}

/// Whether a word that is no source and no file is NAME/VERSION. In the tree itself that is a folder, too.
fn could_be_package(word: &str, found: Found) -> bool {
    let name_and_version = word.split_once('/').filter(|(name, _)| !name.is_empty() && !name.starts_with('.'));
    match found {
        Found::Nothing => name_and_version.is_some(),
        Found::Folder => name_and_version.is_some_and(|(_, version)| !version.is_empty() && !version.contains('/')),
        Found::File | Found::Source => false,
    }
}

#[cfg(test)]
mod tests;
