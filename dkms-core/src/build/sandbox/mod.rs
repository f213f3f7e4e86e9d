//! Runs a driver's own code (dkms.conf, patches, scripts, make) apart from the system (design.md, decision 6).
//!
//! The program starts itself again (`/proc/self/exe`) and says over its standard input what is to be done; that process
//! leaves its namespaces, mounts what the job may see, and starts a first process of a new pid namespace, which gives up
//! what root can do and runs the command as the build user. The standard input stays open as a lifeline: when it closes,
//! because we ask for it or are gone, everything below ends.
//!
//! A program that uses this calls [`enter_if_asked`] first thing in `main`. Where it did not, or where namespaces are
//! refused, the command runs as the build user alone ([`Strength::UserOnly`]): without a way to new privileges, and ended
//! with what it started, orphans included where the program can be its own launcher.

mod child;
mod left;
mod limits;
mod running;
mod spec;
mod users;
mod view;

use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use crate::host::users::User;
use crate::settings::Priority;

pub(crate) use running::stop_running;
pub use running::{Ended, Running, Stream};
use spec::{Spec, in_memory};

/// How well a command is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Own mount, pid, network and IPC namespaces.
    Namespaces,
    /// Only another user, or not even that.
    UserOnly,
}

/// Which namespaces a machine allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespaces {
    /// All of them.
    WithUsers,
    /// All but one for users ([`users`]).
    WithoutUsers,
}

/// A command to confine.
#[derive(Debug, Clone)]
pub struct Confined {
    spec: Spec,
    input: Vec<u8>,
    env: Vec<(OsString, OsString)>,
    inherited: Vec<Arc<OwnedFd>>,
    priority: Priority,
}

/// This program, wherever it lies.
const OURSELVES: &str = "/proc/self/exe";
/// What a line begins with that names the processes which a command left behind, and which were ended with it.
pub const LEFT: &str = "# left behind, and ended with it: ";
const OUTER: &str = "__dkms-confined";
const INIT: &str = "__dkms-confined-init";

/// Set once a program has said that it can be started as a confined process.
static LAUNCHER: OnceLock<()> = OnceLock::new();

/// Becomes a confined process when the program was started as one; returns in every other case. To be called first
/// thing in `main`, before threads exist.
pub fn enter_if_asked() {
    let role = std::env::args_os().nth(1);
    let role = role.as_deref().and_then(OsStr::to_str);
    match role {
        Some(OUTER) => std::process::exit(child::outer()),
        Some(INIT) => std::process::exit(child::init()),
        _ => {
            LAUNCHER.get_or_init(|| ());
        }
    }
}

/// Whether this program can start itself: it said so, and /proc is there to find it by (a bare chroot has none).
fn can_launch() -> bool {
    LAUNCHER.get().is_some() && Path::new(OURSELVES).exists()
}

/// How well commands are kept apart here. Found out once, by trying.
#[must_use]
pub fn strength() -> Strength {
    if found().is_ok() { Strength::Namespaces } else { Strength::UserOnly }
}

/// Why commands have no namespaces of their own here; none when they have.
#[must_use]
pub fn why_not() -> Option<&'static str> {
    found().as_ref().err().map(String::as_str)
}

/// What this machine allows, or why it allows nothing. Found out once, by trying.
fn found() -> &'static Result<Namespaces, String> {
    static FOUND: OnceLock<Result<Namespaces, String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        if !can_launch() {
            return Err("this program cannot start itself, for want of /proc".to_owned());
        }
        let why_not_users = match probe(Namespaces::WithUsers) {
            Ok(()) => return Ok(Namespaces::WithUsers),
            Err(why) => why,
        };
        match probe(Namespaces::WithoutUsers) {
            Ok(()) => {
                tracing::info!("driver code has no user namespace of its own here, so builds share one count of processes: {why_not_users}");
                Ok(Namespaces::WithoutUsers)
            }
            Err(why) => {
                tracing::warn!("driver code runs without namespaces of its own here: {why}");
                Err(why)
            }
        }
    })
}

/// Runs a command that does nothing, and gives what it says if it fails.
fn probe(namespaces: Namespaces) -> Result<(), String> {
    let mut said = Vec::new();
    let nothing = Confined::new("/", "true", [""; 0]);
    let ended = nothing.start(Some(namespaces), false).and_then(|running| {
        running.follow(
            None,
            |e| e,
            |_, bytes| {
                said.extend_from_slice(bytes);
                Ok(())
            },
        )
    });
    match ended {
        Ok(Ended::Code(0)) => Ok(()),
        Ok(_) => Err(String::from_utf8_lossy(&said).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is missing of the sandbox that driver code is to run in, in a sentence; none where it is whole.
#[must_use]
pub fn shortcoming(user: Option<&User>) -> Option<String> {
    let who = match user {
        Some(user) => format!("as the user {}", user.name),
        None => "as root, for there is no user dkms (systemd-sysusers makes it)".to_owned(),
    };
    match why_not() {
        Some(why) => Some(format!("they run {who}, without namespaces of their own: {why}")),
        None => user.is_none().then(|| format!("they run {who}")),
    }
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
                hidden: HIDDEN.iter().map(PathBuf::from).collect(),
                ..Spec::default()
            },
            input: Vec::new(),
            env: vec![("HOME".into(), "/nonexistent".into()), ("LC_ALL".into(), "C".into())],
            inherited: Vec::new(),
            priority: Priority::default(),
        }
    }

    /// Runs as this user; as root where none is given.
    #[must_use]
    pub fn user(mut self, user: Option<&User>) -> Self {
        self.spec.user = user.cloned();
        self
    }

    /// Shows folder `what` at `place`, writable.
    #[must_use]
    pub fn bind(mut self, what: &Path, place: &Path) -> Self {
        self.spec.binds.push((what.to_owned(), place.to_owned()));
        self
    }

    /// Keeps a folder or file in sight, read-only, wherever it lies: home folders, /tmp and /run are empty otherwise.
    #[must_use]
    pub fn show(mut self, what: impl Into<PathBuf>) -> Self {
        self.spec.shown.push(what.into());
        self
    }

    /// Takes a folder or file out of sight.
    #[must_use]
    pub fn hide(mut self, what: impl Into<PathBuf>) -> Self {
        self.spec.hidden.push(what.into());
        self
    }

    /// Lets it use the network.
    #[must_use]
    pub fn network(mut self, allowed: bool) -> Self {
        self.spec.network = allowed;
        // Names are looked up by what this leads to, which lies in /run as a rule.
        if allowed { self.show("/etc/resolv.conf") } else { self }
    }

    /// What it reads on its standard input; there is nothing to read otherwise.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.spec.input = Some(bytes.len());
        self.input = bytes;
        self
    }

    /// Sets a variable; nothing of our own environment is passed on but PATH.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Takes a variable away that it would have.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.env.retain(|(n, _)| n != name);
        self
    }

    /// Has a line that begins with [`LEFT`] end its output where it leaves processes behind.
    #[must_use]
    pub fn tell_left(mut self) -> Self {
        self.spec.tells_left = true;
        self
    }

    /// Lets it inherit a descriptor, by the number that it has here.
    #[must_use]
    pub fn inherit(mut self, descriptor: Arc<OwnedFd>) -> Self {
        self.inherited.push(descriptor);
        self
    }

    /// Holds a descriptor open until nothing of it runs any more, while the command itself has none of it.
    #[must_use]
    pub fn hold_open(mut self, descriptor: Arc<OwnedFd>) -> Self {
        self.spec.withheld.push(descriptor.as_raw_fd());
        self.inherit(descriptor)
    }

    /// Has it stand behind others.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Starts it, confined as well as this machine can, in its own session; both its outputs are one.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self) -> io::Result<Running> {
        self.start(self.allowed(), false)
    }

    /// As [`Confined::spawn`], with its two outputs apart.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn_apart(&self) -> io::Result<Running> {
        self.start(self.allowed(), true)
    }

    /// The namespaces that it gets. A build as root goes without a user namespace: it would be root over nobody's files.
    fn allowed(&self) -> Option<Namespaces> {
        let found = *found().as_ref().ok()?;
        Some(if self.spec.user.is_some() { found } else { Namespaces::WithoutUsers })
    }

    fn start(&self, namespaces: Option<Namespaces>, apart: bool) -> io::Result<Running> {
        let launches = can_launch();
        let mut command = if launches { launcher() } else { self.plain()? };
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        command.env_clear().env("PATH", path).envs(self.env.iter().map(|(n, v)| (n, v)));
        crate::sys::start_with(&mut command, self.inherited.clone(), self.priority);
        let outputs = connect(&mut command, apart)?;
        let own_users = namespaces == Some(Namespaces::WithUsers);
        let spec = Spec { isolated: namespaces.is_some(), own_users, ..self.spec.clone() };
        Running::start(&mut command, outputs, launches.then_some((&spec, self.input.as_slice())))
    }

    /// Without a launcher, in a program that cannot be its own.
    fn plain(&self) -> io::Result<Command> {
        let mut command = Command::new(&self.spec.program);
        command.args(&self.spec.args).current_dir(&self.spec.cwd);
        match self.spec.input {
            Some(_) => command.stdin(in_memory(|file| io::Write::write_all(file, &self.input))?),
            None => command.stdin(Stdio::null()),
        };
        if let Some(user) = &self.spec.user {
            command.uid(user.uid).gid(user.gid);
        }
        crate::sys::start_harmless(&mut command);
        Ok(command)
    }
}

fn launcher() -> Command {
    let mut command = Command::new(OURSELVES);
    command.arg(OUTER).stdin(Stdio::piped());
    command
}

fn connect(command: &mut Command, apart: bool) -> io::Result<Vec<(Stream, PipeReader)>> {
    let (reader, writer) = io::pipe()?;
    let mut outputs = vec![(Stream::Out, reader)];
    if apart {
        let (reader, writer) = io::pipe()?;
        outputs.push((Stream::Err, reader));
        command.stderr(writer);
    } else {
        command.stderr(writer.try_clone()?);
    }
    command.stdout(writer);
    Ok(outputs)
}

/// What no build may see, whatever its caller says.
const HIDDEN: &[&str] = &[
    "/var/lib/dkms/mok.key",
    "/var/lib/shim-signed",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/security/opasswd",
];

/// Where programs are looked for when we were started without PATH, as by a kernel's own hooks.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
