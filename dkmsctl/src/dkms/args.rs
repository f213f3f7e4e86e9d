//! The classic command line (dkms-contract.md §2): one action and its arguments, in any order.
//!
//! Pure but for one question, asked of every bare word: what lies at this path ([`Look`]).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use dkms_core::model::{Arch, KernelRelease};
use lexopt::Arg::{Long, Short, Value};

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

    /// Whether it is for the running kernel where none is named.
    fn has_default_kernel(self) -> bool {
        !matches!(self, Self::Add | Self::Ldtarball | Self::Status)
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

/// Other options with a value.
const VALUES: [&str; 5] = ["module", "kernelver", "arch", "templatekernel", "directive"];

/// Letters with a value.
const LETTERS: &str = "mvkacj";

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
                Some(long) => VALUES.contains(&long) || PATHS.iter().any(|(name, _)| *name == long),
                // The first letter that takes a value takes the rest of the word, if there is any.
                None => option.find(|letter| LETTERS.contains(letter)).is_some_and(|at| at + 1 == option.len()),
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
    if found == Found::File && text.ends_with("dkms.conf") {
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
    } else if matches!(args.action, Some(Action::Match | Action::Status))
        && found == Found::Nothing
        && args.name.is_none()
    {
        args.name = Some(text.into_owned());
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
mod tests {
    use super::*;
    use rstest::rstest;

    fn look(path: &Path) -> Found {
        match path.to_str() {
            Some("/src/a/dkms.conf" | "a.tar.gz" | "/etc/my-dkms.conf") => Found::File,
            Some("/src/a" | "a/1") => Found::Source,
            Some("/src" | "b/1" | "b/" | "b/1/6.1" | "../b") => Found::Folder,
            Some("/other/src/a" | "/other/here") => Found::Source,
            _ => Found::Nothing,
        }
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').filter(|w| !w.is_empty()).map(|w| if w == "''" { "".into() } else { w.into() }).collect()
    }

    fn parsed(line: &str) -> Result<Args, Failure> {
        parse(words(line), &look, &mut drop)
    }

    fn shown(line: &str) -> String {
        let a = parsed(line).unwrap();
        let path = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string());
        let words = [
            a.action.map(|action| action.as_str().to_owned()),
            a.name,
            a.version,
            path(&a.folder).map(|p| format!("folder {p}")),
            path(&a.archive).map(|p| format!("archive {p}")),
            path(&a.conf).map(|p| format!("conf {p}")),
        ];
        let kernels = a.kernels.iter().map(ToString::to_string).chain(a.arches.iter().map(|a| format!("arch {a}")));
        words.into_iter().flatten().chain(kernels).collect::<Vec<_>>().join(" ")
    }

    #[rstest]
    #[case("add -m a -v 1", "add a 1")]
    #[case("-m a/1 add", "add a 1")]
    #[case("a/2 add", "add a 2")]
    #[case("build a/1", "build folder a/1")]
    #[case("add /src/a", "add folder /src/a")]
    #[case("add /src/a/dkms.conf", "add folder /src/a")]
    #[case("add /etc/my-dkms.conf", "add conf /etc/my-dkms.conf")]
    #[case("ldtarball a.tar.gz", "ldtarball archive a.tar.gz")]
    #[case("ldtarball --archive=b.tar.xz", "ldtarball archive b.tar.xz")]
    #[case("install --module a -v1 --kernelver 6.1/x86_64 -k 6.2", "install a 1 6.1 6.2 arch x86_64")]
    #[case("install a/2 -k 6.1 -k 6.2 -a x -a y", "install a 2 6.1 6.2 arch x arch y")]
    #[case("match a --templatekernel 6.1 -k 6.2", "match a 6.2")]
    #[case("status a", "status a")]
    #[case("build nonsense", "build")]
    #[case::in_the_tree("remove b/1", "remove b 1")]
    #[case::a_folder("add b/", "add")]
    #[case::a_folder("add b/1/6.1", "add")]
    #[case::a_folder("add ../b", "add")]
    #[case::not_in_that_root("add a/1 --root /other", "add a 1")]
    #[case::in_that_root("add /src/a --root /other", "add folder /src/a")]
    #[case::in_that_root("--root=/other add here", "add folder here")]
    #[case("remove a/1 --all --root /other", "remove a 1")]
    #[case("mktarball a/1 --source-only --root /other", "mktarball a 1")]
    #[case("status --root /other", "status")]
    #[case("nonsense", "")]
    fn words_come_in_any_order(#[case] line: &str, #[case] wanted: &str) {
        assert_eq!(shown(line), wanted);
    }

    #[rstest]
    #[case("add build", 4)]
    #[case("add --nonsense", 2)]
    #[case("add -x", 2)]
    #[case("add -k", 2)]
    #[case("build -j many", 2)]
    #[case("remove --all -k 6.1", 2)]
    #[case("remove --all -a x86_64", 3)]
    #[case("add --all", 5)]
    #[case("build --all", 5)]
    #[case("install --all", 5)]
    #[case("autoinstall --all", 5)]
    #[case("autoinstall -k 6.1 -k 6.2", 4)]
    #[case("match -k 6.1 -k 6.2", 4)]
    #[case("kernel_prerm", 4)]
    #[case("kernel_postinst -k 6.1 -k 6.2", 4)]
    #[case("build -k 6.1 -a x -a y", 1)]
    #[case("build -k ''", 16)]
    #[case("build -a ''", 16)]
    #[case("build -k 6.1/", 12)]
    #[case("build -k 6.1/x86_64 -k /", 16)]
    #[case("mktarball --binaries-only --source-only", 8)]
    #[case("build --directive AUTOINSTALL", 2)]
    #[case("build a/1 --root /other", 1)]
    #[case("--root /other autoinstall", 1)]
    #[case("remove a/1 --root /other", 1)]
    #[case("mktarball a/1 --root /other", 1)]
    fn what_is_wrong_has_its_classic_code(#[case] line: &str, #[case] code: u8) {
        let failure = parsed(line).unwrap_err();
        assert_eq!(failure.code, code, "{}", failure.message);
        assert!(!failure.message.is_empty());
    }

    #[rstest]
    #[case("-q add build", true)]
    #[case("add build -q", true)]
    #[case("add --nonsense -q", false)]
    #[case("add -q --nonsense", true)]
    fn quiet_is_quiet_from_there_on(#[case] line: &str, #[case] silent: bool) {
        assert_eq!(parsed(line).unwrap_err().message.is_empty(), silent);
    }

    #[rstest]
    #[case("add --no-initrd --no-clean-kernel --no-prepare-kernel", 3)]
    #[case("add --no-initrd -q --no-clean-kernel", 1)]
    #[case("build nonsense", 1)]
    #[case("build nonsense -q", 1)]
    #[case("build -q nonsense", 0)]
    #[case("add /src", 1)]
    #[case::before_what_is_wrong("--no-initrd add build", 1)]
    fn what_has_no_effect_is_said(#[case] line: &str, #[case] remarks: usize) {
        let mut said = Vec::new();
        let _ = parse(words(line), &look, &mut |remark| said.push(remark));
        assert_eq!(said.len(), remarks, "{said:?}");
    }

    #[rstest]
    #[case("lint a", Some("a"))]
    #[case("-q lint a", Some("-q a"))]
    #[case("--json a lint", Some("--json a"))]
    #[case("-k 6.1 lint a", Some("-k 6.1 a"))]
    #[case("-qk 6.1 lint a", Some("-qk 6.1 a"))]
    #[case("-k6.1 lint a", Some("-k6.1 a"))]
    #[case("--kernelver 6.1 lint lint", Some("--kernelver 6.1 lint"))]
    #[case("-m add lint a", Some("-m add a"))]
    #[case::a_package("-m lint status", None)]
    #[case::a_package("status --module lint", None)]
    #[case::a_name("--archive=x --dkmstree lint status", None)]
    #[case("status", None)]
    #[case("", None)]
    fn lint_is_taken_anywhere(#[case] line: &str, #[case] wanted: Option<&str>) {
        assert_eq!(for_lint(&words(line)).unwrap(), wanted.map(words));
    }

    #[rstest]
    #[case("lint add a")]
    #[case("add -- lint")]
    fn lint_is_one_action(#[case] line: &str) {
        assert_eq!(for_lint(&words(line)).unwrap_err().code, 4);
    }

    #[rstest]
    #[case("-V", Some(Show::Version))]
    #[case("--version add build-something", Some(Show::Version))]
    #[case("status -h", Some(Show::Help))]
    #[case("status", None)]
    fn help_and_version_come_first(#[case] line: &str, #[case] wanted: Option<Show>) {
        assert_eq!(parsed(line).unwrap().show, wanted);
    }

    #[test]
    fn every_switch_and_path_is_its_own() {
        for (name, place) in SWITCHES {
            let mut args = parsed(&format!("--{name}")).unwrap();
            assert!(*place(&mut args), "{name}");
        }
        for (name, place) in PATHS {
            let mut args = parsed(&format!("--{name} /there")).unwrap();
            assert_eq!(place(&mut args).as_deref(), Some(Path::new("/there")), "{name}");
        }
    }
}
