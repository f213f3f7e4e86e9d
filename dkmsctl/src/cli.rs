//! What can be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const AFTER_HELP: &str = "\
Exit codes:
  0  done, or so already; fit
  1  something failed, or is not fit
  2  the command line makes no sense
  3  dkmsd is not running, or went away
  4  you may not do this

PACKAGE without a version means its newest one.
--json prints one object with \"format\": 1; fields may be added, none is altered.";

/// See and steer dkmsd, which rebuilds kernel modules when kernels and drivers change.
#[derive(Debug, Parser)]
#[command(name = "dkmsctl", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Talk to the dkmsd of the system below this folder, by its private socket
    #[arg(long, value_name = "FOLDER", default_value = "/", hide_default_value = true, global = true)]
    pub(crate) root: PathBuf,
    /// Use the system bus, as root too
    #[arg(long, global = true, conflicts_with = "root", hide = true)]
    pub(crate) system_bus: bool,
    /// Do not ask for a password
    #[arg(long, global = true)]
    pub(crate) no_ask_password: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show every package on every kernel (the default)
    Status(Status),
    /// Build and install again, whatever was there and whatever failed before
    Rebuild(Rebuild),
    /// Take a driver source into the tree
    Add(Add),
    /// Uninstall a package from every kernel and forget it; its source stays
    Remove(Remove),
    /// Build for a kernel, without installing
    Build(Change),
    /// Install on a kernel, building first when needed
    Install(Change),
    /// Take a package off a kernel and keep it off; what was built stays
    Uninstall(Change),
    /// Take a package off a kernel, keep it off, and drop what was built
    Unbuild(Change),
    /// List the jobs that wait or run
    Jobs(Listing),
    /// Stop a job
    Cancel {
        /// Its number, from `dkmsctl jobs`
        id: u32,
    },
    /// Show the log of a build
    Logs(Logs),
    /// Say by exit code whether a kernel is fit to boot into
    Check(Check),
    /// See, make and enroll the key that modules are signed with
    Mok(MokArgs),
    /// List the kernels and whether their headers are there
    Kernels(Listing),
    /// List what was done, newest first
    History(History),
    /// Have the daemon look at the disk now
    Rescan,
    /// Print what happens, as it happens, until interrupted
    Monitor,
    /// A kernel's package, by its hook: the kernel is there. Exit code 3 when the hook has to see to it itself
    #[command(hide = true)]
    KernelAdded(KernelAdded),
    /// A kernel's package, by its hook: the kernel is going. Exit codes as of kernel-added
    #[command(hide = true)]
    KernelRemoved {
        /// Its release
        kernel: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct KernelAdded {
    /// Its release
    pub(crate) kernel: String,
    /// Wait at most so long for what can be built now
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait: Option<u64>,
}

/// PACKAGE or PACKAGE/VERSION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackageArg {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
}

impl std::str::FromStr for PackageArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('/') {
            None => (text, None),
            Some((name, version)) => (name, Some(version)),
        };
        let bad = |word: &str| word.is_empty() || word.starts_with('.') || word.contains('/');
        if bad(name) || version.is_some_and(bad) {
            return Err("it has to be PACKAGE or PACKAGE/VERSION".into());
        }
        Ok(Self { name: name.to_owned(), version: version.map(str::to_owned) })
    }
}

impl std::fmt::Display for PackageArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        self.version.iter().try_for_each(|v| write!(f, "/{v}"))
    }
}

/// KERNEL or KERNEL/ARCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelArg {
    pub(crate) release: String,
    pub(crate) arch: String,
}

impl std::str::FromStr for KernelArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (release, arch) = text.split_once('/').unwrap_or((text, ""));
        if release.is_empty() || arch.contains('/') {
            return Err("it has to be KERNEL or KERNEL/ARCH, as in `dkmsctl kernels`".into());
        }
        Ok(Self { release: release.to_owned(), arch: arch.to_owned() })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this package
    #[arg(value_name = "PACKAGE[/VERSION]")]
    pub(crate) package: Option<PackageArg>,
    /// Only this kernel
    #[arg(short, long, value_name = "KERNEL")]
    pub(crate) kernel: Option<KernelArg>,
    /// Print {"format":1,"packages":[…]}
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    /// Only this package; without it, every one with AUTOINSTALL
    #[arg(value_name = "PACKAGE[/VERSION]")]
    pub(crate) package: Option<PackageArg>,
    /// For this kernel; without it the running one
    #[arg(short, long, value_name = "KERNEL")]
    pub(crate) kernel: Option<KernelArg>,
    /// For every kernel that has headers
    #[arg(long, conflicts_with = "kernel")]
    pub(crate) all_kernels: bool,
    /// Queue the jobs and return
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The folder that holds dkms.conf (the current one by default), or PACKAGE/VERSION for /usr/src/PACKAGE-VERSION
    #[arg(value_name = "FOLDER|PACKAGE/VERSION", default_value = ".", hide_default_value = true)]
    pub(crate) source: String,
    /// Add it again although it is in the tree
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// What to remove; the version has to be named
    #[arg(value_name = "PACKAGE/VERSION")]
    pub(crate) package: PackageArg,
    /// Queue the jobs and return
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Which package
    #[arg(value_name = "PACKAGE[/VERSION]")]
    pub(crate) package: PackageArg,
    /// For this kernel; without it the running one
    #[arg(short, long, value_name = "KERNEL")]
    pub(crate) kernel: Option<KernelArg>,
    /// Do it although it is done already, or a check says no
    #[arg(long)]
    pub(crate) force: bool,
    /// Queue the job and return
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Which package, or the number of a job; without it what runs, else what ran last
    #[arg(value_name = "PACKAGE[/VERSION]|JOB")]
    pub(crate) what: Option<PackageArg>,
    /// For this kernel; without it the running one, else the newest that has a log
    #[arg(short, long, value_name = "KERNEL")]
    pub(crate) kernel: Option<KernelArg>,
    /// Go on while the job runs
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Which kernel; without it the running one
    #[arg(short, long, value_name = "KERNEL")]
    pub(crate) kernel: Option<KernelArg>,
    /// Print {"format":1,"kernel":…,"ready":…,"problems":[…]}
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MokArgs {
    /// What to do
    #[arg(value_enum, value_name = "status|generate|enroll", default_value_t = MokAction::Status, hide_default_value = true, hide_possible_values = true)]
    pub(crate) action: MokAction,
    /// Print {"format":1,"secure_boot":…,"next":…}
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `mok` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MokAction {
    /// Say what signs modules and whether this machine trusts it
    Status,
    /// Make key and certificate where they are missing
    Generate,
    /// Have the firmware trust the certificate
    Enroll,
}

#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// Print {"format":1,…} instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// At most this many (0: all that are kept)
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 20)]
    pub(crate) max: u32,
    /// Print {"format":1,"jobs":[…]}
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use rstest::rstest;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every command and option is in dkmsctl(1), and in what shells complete.
    #[test]
    fn the_manual_page_and_completion_know_all_of_it() {
        const PAGE: &str = include_str!("../../systemd/usr/share/man/man1/dkmsctl.1");
        let grammar = complete::Grammar::of_program(Cli::command());
        let mut program = Cli::command();
        program.build();
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(PAGE.contains(&format!("\n.It Cm {name}\n")), "dkmsctl(1) does not explain {name}");
            assert!(grammar.actions.iter().any(|a| a.word == name && !a.help.is_empty()), "{name} is not completed");
        }
        let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
        let options = shown.chain([&program]).flat_map(clap::Command::get_arguments);
        for option in options.filter(|a| !a.is_hide_set()) {
            if let Some(long) = option.get_long() {
                let item = |line: &str| line.starts_with(".It") && line.split(' ').any(|w| w == format!("-{long}"));
                assert!(PAGE.lines().any(item), "dkmsctl(1) does not explain --{long}");
                assert!(grammar.options.iter().any(|o| o.long == long), "--{long} is not completed");
            }
        }
        for line in AFTER_HELP.lines().filter_map(|line| line.strip_prefix("  ")) {
            let code = line.split(' ').next().unwrap_or_default();
            assert!(PAGE.contains(&format!("\n.It {code}\n")), "dkmsctl(1) does not explain exit code {code}");
        }
    }

    #[rstest]
    #[case("r8169", Some(("r8169", None)))]
    #[case("r8169/2.2LK", Some(("r8169", Some("2.2LK"))))]
    #[case("r8169/", None)]
    #[case("/2.2LK", None)]
    #[case("./x", None)]
    #[case("a/b/c", None)]
    #[case("", None)]
    fn packages(#[case] text: &str, #[case] wanted: Option<(&str, Option<&str>)>) {
        let parsed = text.parse::<PackageArg>().ok();
        assert_eq!(parsed.as_ref().map(|p| (p.name.as_str(), p.version.as_deref())), wanted);
        if let Some(parsed) = parsed {
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[rstest]
    #[case(&["status", "-k", "6.1/x86_64/x"])]
    #[case(&["rebuild", "-k", "6.1", "--all-kernels"])]
    #[case(&["cancel"])]
    #[case(&["cancel", "-1"])]
    #[case(&["install"])]
    #[case(&["nonsense"])]
    fn refused(#[case] args: &[&str]) {
        let args = std::iter::once("dkmsctl").chain(args.iter().copied());
        assert_eq!(Cli::try_parse_from(args).unwrap_err().exit_code(), 2);
    }
}
