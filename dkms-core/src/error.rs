//! One typed error. Each variant carries the classic exit code (dkms-contract.md §2) and says which package, which
//! kernel, which file, what is wrong and what to do next.

use std::io;
use std::path::{Path, PathBuf};

use crate::build::toolchain::Missing;
use crate::model::{InvalidName, KernelId, KernelRelease, PackageId, PackageName};
use crate::settings::Mistake;

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read, written, made or removed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "cannot read".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own word.
        source: io::Error,
    },

    /// A program could not be started.
    #[error("cannot run {program}: {source}; {hint}")]
    Program {
        /// The program.
        program: String,
        /// The system's own word.
        source: io::Error,
        /// What to install or do.
        hint: String,
    },

    /// A word that cannot be a name.
    #[error(transparent)]
    Name(#[from] InvalidName),

    /// Changing the system takes root.
    #[error("this needs root: {what}")]
    NotRoot {
        /// What needs it.
        what: String,
    },

    /// Nothing says which distribution this is.
    #[error(
        "no os-release at {}: this distribution's module folder cannot be told; install the package that brings the file (base-files, *-release)",
        paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or ")
    )]
    NoOsRelease {
        /// Where it was looked for.
        paths: Vec<PathBuf>,
    },

    /// There is no folder to add.
    #[error("{package}: there is no source at {}; unpack the driver there, with its dkms.conf", path.display())]
    NoSource {
        /// The package.
        package: PackageId,
        /// Where it was looked for.
        path: PathBuf,
    },

    /// The package is in the tree already.
    #[error("{package} is in the tree already; build or install it, or forget it first: dkms remove {package} --all")]
    AlreadyAdded {
        /// The package.
        package: PackageId,
    },

    /// The package is not in the tree.
    #[error("{package} is not in the tree; dkms status lists what is, and dkms add {package} adds it")]
    NotAdded {
        /// The package.
        package: PackageId,
    },

    /// No version of the package is in the tree.
    #[error("no version of {name} is in the tree; see: dkms status")]
    UnknownPackage {
        /// The package.
        name: PackageName,
    },

    /// match was asked to make a kernel like itself.
    #[error("{kernel} is both the kernel to install on and the one to go by; name another with --templatekernel or -k")]
    SameKernel {
        /// The kernel.
        kernel: KernelId,
    },

    /// match was not told which kernel to go by.
    #[error("which kernel is to be gone by? Name it with --templatekernel KERNEL")]
    NoTemplate,

    /// The source of a package that is in the tree is missing.
    #[error(
        "{package} is broken: its source {} is missing; put the source back, or forget the package with: dkms remove {package} --all",
        path.display()
    )]
    Broken {
        /// The package.
        package: PackageId,
        /// Where its source should be.
        path: PathBuf,
    },

    /// The source of a package that is in the tree is there, and the tree's link to it is not.
    #[error("{package} is broken: the tree has lost its link to {}; restore it with: dkms add {package}", path.display())]
    Unlinked {
        /// The package.
        package: PackageId,
        /// Its source.
        path: PathBuf,
    },

    /// `--root` names what is no system to work on.
    #[error("--root {}: {why}", path.display())]
    NotARoot {
        /// What it names.
        path: PathBuf,
        /// Why it cannot be entered.
        why: String,
    },

    /// The source has no dkms.conf.
    #[error("{} is missing: every driver source has a dkms.conf at its root", path.display())]
    NoConf {
        /// Where it should be.
        path: PathBuf,
    },

    /// dkms.conf breaks a rule.
    #[error("{}: {}", path.display(), problems.join("; "))]
    BadConf {
        /// Which file.
        path: PathBuf,
        /// Each with directive, index and what to write instead.
        problems: Vec<String>,
    },

    /// Settings of framework.conf or dkmsd.toml are not understood.
    #[error("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    BadSettings {
        /// Each with file and line.
        mistakes: Vec<Mistake>,
    },

    /// dkms.conf could not be evaluated at all.
    #[error("{}: cannot be evaluated: {why}", path.display())]
    Evaluation {
        /// Which file.
        path: PathBuf,
        /// What stopped it.
        why: String,
    },

    /// The source folder is empty.
    #[error("{package}: its source {} is empty", path.display())]
    EmptySource {
        /// The package.
        package: PackageId,
        /// The folder.
        path: PathBuf,
    },

    /// The kernel's headers are absent or not whole.
    #[error("{kernel}: its headers are not ready: {why}")]
    NoHeaders {
        /// The kernel.
        kernel: KernelId,
        /// What is missing and which package brings it.
        why: String,
    },

    /// No kernel of this name.
    #[error("kernel {kernel}: {} does not exist; see dkmsctl kernels", path.display())]
    NoKernel {
        /// The kernel.
        kernel: KernelRelease,
        /// Where it was looked for.
        path: PathBuf,
    },

    /// The package, or all of its modules, are excluded for the kernel.
    #[error("{package} is not for kernel {kernel}: {reason}")]
    Excluded {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// Which directive rules it out.
        reason: String,
    },

    /// A package it depends on is not installed for the kernel.
    #[error("{package} needs {} installed for {kernel} first; --force builds without", join(missing))]
    DependsMissing {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// Which are missing.
        missing: Vec<PackageName>,
    },

    /// Compiler, linker or make are not there. The classic command goes on and make fails: so is this its code, not 21, at
    /// which callers wait for headers.
    #[error("{package} cannot be built for {kernel}: {} not installed; {}", programs(missing), packages(missing))]
    NoToolchain {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// What is missing, each with the package that brings it.
        missing: Vec<Missing>,
    },

    /// A patch is missing, or its name leaves the patches folder.
    #[error("{package}: patch {patch} {why}")]
    PatchMissing {
        /// The package.
        package: PackageId,
        /// Its name in PATCH.
        patch: String,
        /// What is wrong.
        why: String,
    },

    /// A patch did not apply.
    #[error("{package} for {kernel}: patch {patch} does not apply: {first}")]
    PatchFailed {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// Which patch.
        patch: String,
        /// The first rejected hunk.
        first: String,
        /// The log.
        log: PathBuf,
    },

    /// make failed.
    #[error("{package} does not build for {kernel}: {first}")]
    BuildFailed {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// The first error that a person can act on.
        first: String,
        /// The log.
        log: PathBuf,
    },

    /// make succeeded, and a promised module is not there.
    #[error("{package} for {kernel}: the build made no {module}; check BUILT_MODULE_NAME and BUILT_MODULE_LOCATION")]
    ModuleNotBuilt {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// Path of the module, below the build folder.
        module: String,
        /// The log.
        log: PathBuf,
    },

    /// A module that was built is not fit for the kernel.
    #[error("{package} for {kernel}: {} is not fit to install: {why}", file.display())]
    BadModule {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// The module's file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// PRE_BUILD, POST_BUILD or POST_ADD failed.
    #[error("{package}: its {directive} script failed with code {code}")]
    Script {
        /// The package.
        package: PackageId,
        /// Which directive.
        directive: &'static str,
        /// What it ended with.
        code: i32,
        /// Where its output is, when that is kept.
        log: Option<PathBuf>,
    },

    /// A script that would run as root lies where others can change it.
    #[error(
        "{package}: its {directive} script {script} is not run as root, because not only root can change it: {} belongs to uid {uid}, mode {mode:04o}; \
         look through {}, then: chown -R root:root {} && chmod -R go-w {}, and dkmsctl rebuild {package}",
        path.display(), folder.display(), folder.display(), folder.display()
    )]
    UnsafeScript {
        /// The package.
        package: PackageId,
        /// Which directive.
        directive: String,
        /// The script, as the directive names it.
        script: String,
        /// The file or folder that others can change.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Its permissions.
        mode: u32,
        /// The folder to be mended.
        folder: PathBuf,
    },

    /// PRE_INSTALL said no.
    #[error("{package} for {kernel}: its PRE_INSTALL script ended with code {code}, so nothing was installed")]
    PreInstall {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// What it ended with.
        code: i32,
    },

    /// The package is not built for the kernel.
    #[error("{package} is not built for {kernel}; build it first: dkms build {package} -k {}", kernel.release)]
    NotBuilt {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
    },

    /// Modules that a build promised are missing from the tree.
    #[error("{package} for {kernel}: {} is missing; build it again: dkms build {package} -k {} --force", file.display(), kernel.release)]
    BuiltModuleMissing {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// The file.
        file: PathBuf,
    },

    /// Every module was refused at install.
    #[error("{package} for {kernel}: nothing was installed: {}", reasons.join("; "))]
    AllRefused {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// One a module.
        reasons: Vec<String>,
        /// What the package is on this kernel because of it.
        state: crate::model::EntryState,
    },

    /// A file that should be a module is none.
    #[error("{} is no kernel module: {why}", file.display())]
    NotAModule {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// A program that works on one file failed.
    #[error("{program} failed on {}: {why}", file.display())]
    Tool {
        /// The program.
        program: String,
        /// The file.
        file: PathBuf,
        /// What it said.
        why: String,
    },

    /// An install that was interrupted can be neither finished nor undone.
    #[error("{package} for {kernel}: an interrupted install cannot be undone: {why}; the copies of what was there before are in {}", copies.display())]
    NotUndone {
        /// The package.
        package: PackageName,
        /// The kernel.
        kernel: KernelId,
        /// What is in the way.
        why: String,
        /// Where the copies are.
        copies: PathBuf,
    },

    /// depmod failed; installs that it was run for have been rolled back.
    #[error(
        "depmod failed for kernel {kernel}, so {}: {why}",
        if *undone { "the modules that were there before are back" } else { "modprobe does not know what has changed there; mend it, then run depmod" }
    )]
    Depmod {
        /// The kernel.
        kernel: KernelRelease,
        /// Whether an install was rolled back.
        undone: bool,
        /// What depmod said.
        why: String,
    },

    /// The build took longer than it may.
    #[error("{package} for {kernel}: it had not ended after {limit}, and was stopped")]
    Timeout {
        /// The package.
        package: PackageId,
        /// The kernel.
        kernel: KernelId,
        /// How long it may take, in words.
        limit: String,
        /// The log.
        log: PathBuf,
    },

    /// Somebody took it away by hand, and it was about to come back by itself.
    #[error("{package} was removed by hand, and stays so until it is added or installed by hand")]
    Held {
        /// The package.
        package: PackageId,
    },

    /// An archive is to hold nothing.
    #[error("{package}: an archive of binaries only and of source only would hold neither; choose one")]
    Neither {
        /// The package.
        package: PackageId,
    },

    /// Every build of the package is asked for, and there is none.
    #[error(
        "{package} is built for no kernel: there is nothing to put into an archive; build it first: dkms build {package}"
    )]
    NothingBuilt {
        /// The package.
        package: PackageId,
    },

    /// The place for an archive cannot be written.
    #[error("cannot write an archive at {}: {source}; name another place", path.display())]
    Destination {
        /// The archive.
        path: PathBuf,
        /// The system's own word.
        source: io::Error,
    },

    /// An archive could not be made.
    #[error("{package}: no archive was made at {}: {why}", path.display())]
    Pack {
        /// The package.
        package: PackageId,
        /// The archive.
        path: PathBuf,
        /// What failed.
        why: String,
    },

    /// There is no such archive.
    #[error("there is no archive at {}", path.display())]
    NoArchive {
        /// Where it was looked for.
        path: PathBuf,
    },

    /// An archive that holds no package.
    #[error("{} holds no dkms.conf, so no driver package", path.display())]
    ArchiveWithoutConf {
        /// The archive.
        path: PathBuf,
    },

    /// An archive that cannot be unpacked, must not be, or whose dkms.conf is not valid.
    #[error("{} is not loaded: {why}", path.display())]
    BadArchive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// The package of an archive is in the tree already.
    #[error("{package} is in the tree already, so {} is not loaded; --force replaces it", archive.display())]
    LoadedAlready {
        /// The package.
        package: PackageId,
        /// The archive.
        archive: PathBuf,
    },

    /// The binaries of an archive were loaded, and nothing else is there of the package.
    #[error(
        "{package}: its modules are loaded and can be installed, but there is no source at {}, so it cannot be built for other kernels; \
         unpack the source there and load the archive again with --force",
        path.display()
    )]
    OnlyBinaries {
        /// The package.
        package: PackageId,
        /// Where the source should be.
        path: PathBuf,
    },

    /// rpm did not install a package.
    #[error("rpm did not install {}: {why}", path.display())]
    Rpm {
        /// The package file.
        path: PathBuf,
        /// What it said.
        why: String,
    },

    /// Somebody canceled it.
    #[error("canceled")]
    Canceled,
}

fn join(names: &[PackageName]) -> String {
    names.iter().map(PackageName::as_str).collect::<Vec<_>>().join(", ")
}

fn programs(missing: &[Missing]) -> String {
    let names: Vec<_> = missing.iter().map(|m| m.program.as_str()).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}

fn packages(missing: &[Missing]) -> String {
    let mut packages: Vec<_> = missing.iter().filter_map(|m| m.package.as_deref()).collect();
    packages.dedup();
    if packages.is_empty() { "install what brings it".to_owned() } else { format!("install {}", packages.join(" ")) }
}

impl Error {
    /// The classic exit code (dkms-contract.md §2).
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Io { .. }
            | Self::Program { .. }
            | Self::Name(_)
            | Self::NotRoot { .. }
            | Self::Canceled
            | Self::Held { .. }
            | Self::NoTemplate
            | Self::OnlyBinaries { .. } => 1,
            Self::NoSource { .. } | Self::SameKernel { .. } | Self::NoArchive { .. } | Self::NotARoot { .. } => 2,
            Self::AlreadyAdded { .. }
            | Self::NotAdded { .. }
            | Self::UnknownPackage { .. }
            | Self::ArchiveWithoutConf { .. } => 3,
            Self::NoConf { .. } | Self::Broken { .. } | Self::Unlinked { .. } | Self::NoOsRelease { .. } => 4,
            Self::PatchMissing { .. } => 5,
            Self::PatchFailed { .. }
            | Self::NoKernel { .. }
            | Self::NotBuilt { .. }
            | Self::BuiltModuleMissing { .. }
            | Self::AllRefused { .. }
            | Self::BadModule { .. }
            | Self::NotAModule { .. }
            | Self::Tool { .. }
            | Self::NotUndone { .. }
            | Self::Depmod { .. }
            | Self::NothingBuilt { .. }
            | Self::Pack { .. } => 6,
            Self::ModuleNotBuilt { .. } | Self::BadArchive { .. } => 7,
            Self::BadConf { .. }
            | Self::BadSettings { .. }
            | Self::Evaluation { .. }
            | Self::EmptySource { .. }
            | Self::Neither { .. }
            | Self::LoadedAlready { .. } => 8,
            Self::Destination { .. } | Self::Rpm { .. } => 9,
            Self::BuildFailed { .. } | Self::NoToolchain { .. } | Self::Timeout { .. } => 10,
            Self::DependsMissing { .. } => 13,
            Self::NoHeaders { .. } => 21,
            Self::Excluded { .. } => 77,
            Self::PreInstall { .. } | Self::UnsafeScript { .. } => 101,
            Self::Script { code, .. } => *code,
        }
    }

    /// The file that shows more, when there is one.
    #[must_use]
    pub fn log(&self) -> Option<&Path> {
        match self {
            Self::PatchFailed { log, .. }
            | Self::BuildFailed { log, .. }
            | Self::ModuleNotBuilt { log, .. }
            | Self::Timeout { log, .. } => Some(log),
            Self::Script { log, .. } => log.as_deref(),
            _ => None,
        }
    }
}

/// Puts what was tried, and on what, before the system's own word.
pub trait IoContext<T> {
    /// `action` completes "cannot …".
    ///
    /// # Errors
    /// The error that was there, with its context.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| Error::Io { action, path: path.as_ref().to_owned(), source: e.into() })
    }
}
