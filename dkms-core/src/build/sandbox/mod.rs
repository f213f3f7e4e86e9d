//! Runs a driver's own code (dkms.conf, patches, scripts, make) apart from the system (design.md, decision 6).
//!
//! The program starts itself again (`/proc/self/exe`) with a [`Spec`]; that process leaves its namespaces, mounts what
//! the job may see, and starts a first process of a new pid namespace, which drops to the build user and runs the
//! command. When any link of that chain dies, the kernel ends everything below it.
//!
//! A program that uses this calls [`enter_if_asked`] first thing in `main`. Where it did not, or where namespaces are
//! refused, the command runs as the build user alone ([`Strength::UserOnly`]).

mod child;
mod running;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::host::users::User;

pub use running::{Ended, Running, kill_running};

/// How well a command is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Own mount, pid, network and IPC namespaces.
    Namespaces,
    /// Only another user, or not even that.
    UserOnly,
}

/// What a confined process is to do; travels to it as JSON in its arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Spec {
    program: String,
    args: Vec<String>,
    cwd: PathBuf,
    user: Option<User>,
    /// Folders to bind over others: (what, where).
    binds: Vec<(PathBuf, PathBuf)>,
    /// Folders hidden behind an empty, private one.
    private: Vec<PathBuf>,
    /// Folders and files that are out of sight.
    hidden: Vec<PathBuf>,
}

/// A command to confine.
#[derive(Debug, Clone)]
pub struct Confined {
    spec: Spec,
    env: Vec<(OsString, OsString)>,
}

const OUTER: &str = "__dkms-confined";
const INIT: &str = "__dkms-confined-init";

/// Set once a program has said that it can be started as a confined process.
static LAUNCHER: OnceLock<()> = OnceLock::new();

/// Becomes a confined process when the program was started as one; returns in every other case. To be called first
/// thing in `main`, before threads exist.
pub fn enter_if_asked() {
    let mut args = std::env::args_os().skip(1);
    let role = args.next();
    let role = role.as_deref().and_then(OsStr::to_str);
    match role {
        Some(OUTER) => std::process::exit(child::outer(args.next().as_deref())),
        Some(INIT) => std::process::exit(child::init(args.next().as_deref())),
        _ => {
            LAUNCHER.get_or_init(|| ());
        }
    }
}

/// How well commands are kept apart here. Found out once, by trying.
#[must_use]
pub fn strength() -> Strength {
    static FOUND: OnceLock<Strength> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if LAUNCHER.get().is_none() {
            return Strength::UserOnly;
        }
        let probe = Confined::new("/", "true", [""; 0]).namespaced().stdin(Stdio::null()).output();
        match probe {
            Ok(output) if output.status.success() => Strength::Namespaces,
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                tracing::warn!("builds run without namespaces here: {}", why.trim());
                Strength::UserOnly
            }
            Err(error) => {
                tracing::warn!("builds run without namespaces here: {error}");
                Strength::UserOnly
            }
        }
    })
}

impl Confined {
    /// A command with its working folder, as seen inside.
    pub fn new<A: Into<String>>(
        cwd: impl Into<PathBuf>,
        program: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            spec: Spec {
                program: program.into(),
                args: args.into_iter().map(Into::into).collect(),
                cwd: cwd.into(),
                user: None,
                binds: Vec::new(),
                private: ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from).to_vec(),
                hidden: [
                    "/root",
                    "/home",
                    "/var/lib/dkms/mok.key",
                    "/var/lib/shim-signed",
                    "/etc/shadow",
                    "/etc/gshadow",
                ]
                .map(PathBuf::from)
                .to_vec(),
            },
            env: Vec::new(),
        }
    }

    /// Runs as this user; as root where none is given.
    #[must_use]
    pub fn user(mut self, user: Option<&User>) -> Self {
        self.spec.user = user.cloned();
        self
    }

    /// Shows folder `what` at `place`.
    #[must_use]
    pub fn bind(mut self, what: &Path, place: &Path) -> Self {
        self.spec.binds.push((what.to_owned(), place.to_owned()));
        self
    }

    /// Adds a variable; nothing of our own environment is passed on but PATH.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it, confined as well as this machine can, in its own process group, without input; both its outputs
    /// arrive at the returned reader.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self) -> io::Result<(Running, io::PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        Ok((Running::start(&mut command)?, reader))
    }

    fn command(&self) -> Command {
        match strength() {
            Strength::Namespaces => self.namespaced(),
            Strength::UserOnly => self.plain(),
        }
    }

    fn namespaced(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        // A Spec is strings and lists of them: it always serialises.
        command.arg(OUTER).arg(serde_json::to_string(&self.spec).unwrap_or_default());
        self.finish(command)
    }

    fn plain(&self) -> Command {
        let mut command = Command::new(&self.spec.program);
        command.args(&self.spec.args).current_dir(&self.spec.cwd);
        if let Some(user) = &self.spec.user {
            command.uid(user.uid).gid(user.gid);
        }
        self.finish(command)
    }

    fn finish(&self, mut command: Command) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        command.env_clear().env("PATH", path).env("HOME", "/nonexistent").env("LC_ALL", "C");
        command.envs(self.env.iter().map(|(n, v)| (n, v))).process_group(0);
        command
    }
}

/// Where programs are looked for when we were started without PATH, as by a kernel's own hooks.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
