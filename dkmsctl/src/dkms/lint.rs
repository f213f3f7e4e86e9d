//! `dkms lint`: what is wrong with a dkms.conf, for its author.

use std::io::{self, Write};
use std::path::PathBuf;

use dkms_core::conf::Evaluator;
use dkms_core::conf::lint::{LintRequest, Report, lint};
use dkms_core::host::kernels;
use dkms_core::layout::Layout;
use dkms_core::model::{Arch, InvalidName, KernelId, KernelRelease, PackageId};

/// Judges a dkms.conf: what is wrong, where, why, and what to write instead.
///
/// Exit codes: 0 nothing, or warnings only; 1 warnings, with --strict; 8 errors; 4 no such file.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A dkms.conf, or the folder of one.
    path: PathBuf,
    /// The kernel to judge it for; the running one by default.
    #[arg(short, long = "kernelver", value_name = "KERNEL[/ARCH]")]
    kernel: Option<String>,
    /// What $module and $module_version are while the file is read; by default what it calls itself.
    #[arg(short, long, value_name = "NAME/VERSION")]
    module: Option<PackageId>,
    /// Prints findings, values and recipe as JSON.
    #[arg(long)]
    json: bool,
    /// Warnings count, too.
    #[arg(long)]
    strict: bool,
    /// Prints nothing: the exit code tells.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Why nothing could be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The file, or this machine.
    #[error(transparent)]
    Core(#[from] dkms_core::Error),
    /// A kernel's name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The other end of a pipe.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    /// A report that is no JSON.
    #[error("cannot print as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Failure {
    /// The classic exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Core(error) => u8::try_from(error.exit_code()).unwrap_or(1),
            Self::Name(name) if name.value.is_empty() => 16,
            Self::Name(_) => 2,
            Self::Print(_) | Self::Json(_) => 1,
        }
    }
}

/// Prints the report; gives the exit code.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> Result<u8, Failure> {
    let kernel = kernel(args.kernel.as_deref())?;
    let layout = Layout::default();
    let request = LintRequest { path: &args.path, kernel: &kernel, package: args.module.as_ref(), parallel_jobs: None };
    let report = lint(&layout, &Evaluator::new(&layout), &request)?;
    match if args.quiet { Ok(()) } else { print(&report, args.json, out) } {
        // `| head` has seen enough.
        Err(Failure::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    Ok(u8::try_from(report.exit_code(args.strict)).unwrap_or(1))
}

fn print(report: &Report, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(());
    }
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    if report.findings.is_empty() {
        writeln!(out, "nothing to complain about")?;
    }
    Ok(())
}

fn kernel(given: Option<&str>) -> Result<KernelId, Failure> {
    let (release, arch) = match given.map(|g| g.split_once('/').map_or((g, None), |(k, a)| (k, Some(a)))) {
        Some((release, arch)) => (KernelRelease::new(release)?, arch),
        None => (kernels::running()?, None),
    };
    let arch = match arch {
        Some(arch) => Arch::new(arch)?,
        None => kernels::machine()?,
    };
    Ok(KernelId { release, arch })
}
