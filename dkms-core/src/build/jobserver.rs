//! One budget of compilers for everything that builds on a machine, whoever starts it (design.md, decision 4): GNU make's
//! jobserver, as a FIFO that every participant opens, with a token a CPU in it.
//!
//! A build takes a token before its first command, since every make has one job that it asks nobody for; each further
//! compiler is a token that make itself takes and gives back. A build whose make does not ask (a `-j` of its own in the
//! MAKE line, fewer jobs than CPUs by setting) takes all the tokens that it is going to use beforehand.
//!
//! Two locks beside the FIFO make the number of tokens heal by itself, whoever is killed with some in its hands:
//!
//! * `turn`, alone: held while tokens are collected before a build. So one lines up at a time, nobody who wants many is
//!   overtaken for ever, and two who want many cannot hold half each.
//! * `work`, shared: held by whoever builds, and by every process of that build, until the last of them is gone.
//!
//! Who has its turn and finds nobody at work knows where every token is: in its own hands, or lost. It sets the FIFO to
//! what there should be: too few are made up, too many are taken out. While it waits, a thread waits for that moment, so
//! that a build that was killed with the last token holds nobody up. As a FIFO forgets what is in it when nobody has it
//! open, this is also how the first to come fills it; the daemon keeps it open, and does the same whenever it is idle.
//!
//! Where there is no `/run/dkmsd`, or this process may not use what is there (a chroot, somebody who is not root), a
//! process has a FIFO for itself and its threads.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::error::{IoContext as _, Result};
use crate::layout::Layout;
use crate::settings::Settings;
use crate::tree::files;

/// What is in the FIFO; any byte would do.
const TOKEN: u8 = b'+';

/// The budget, and how to take part in it.
#[derive(Debug)]
pub struct JobServer {
    fifo: PathBuf,
    size: usize,
    /// Holds the FIFO when it is this process's own.
    _own: Option<tempfile::TempDir>,
}

impl JobServer {
    /// The machine's, where this process may use it; else one of its own.
    ///
    /// # Errors
    /// When not even that can be made.
    pub fn open(settings: &Settings) -> Result<Self> {
        let layout = settings.layout();
        match Self::shared(&layout, cpus()) {
            Ok(shared) => Ok(shared),
            Err(error) => {
                tracing::debug!("{}: {error}; this process has a jobserver of its own", layout.jobserver().display());
                Self::own(&layout, &layout.host(&settings.tmp_location), cpus())
            }
        }
    }

    /// The one of the machine, made when it is not there.
    ///
    /// # Errors
    /// When its folder is not there, or this process may not use it.
    pub fn shared(layout: &Layout, size: usize) -> io::Result<Self> {
        let server = Self { fifo: layout.jobserver(), size: size.max(1), _own: None };
        server.make()?;
        server.end(true, true)?;
        server.turn()?;
        server.work()?;
        Ok(server)
    }

    fn own(layout: &Layout, tmp: &Path, size: usize) -> Result<Self> {
        let prefix = tempfile::Builder::new().prefix("dkms-jobs-").to_owned();
        let folder = match prefix.tempdir_in(tmp) {
            Ok(folder) => folder,
            Err(_) => {
                let locks = layout.locks_dir();
                files::make_folders(&locks)?;
                prefix.tempdir_in(&locks).at("make a folder in", &locks)?
            }
        };
        let server = Self { fifo: folder.path().join("jobserver"), size: size.max(1), _own: Some(folder) };
        server.make().at("make", &server.fifo)?;
        Ok(server)
    }

    /// How many compilers may run at once.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Where the FIFO is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.fifo
    }

    /// Keeps what is in the FIFO while nobody else has it open.
    ///
    /// # Errors
    /// The system's own.
    pub fn hold(&self) -> io::Result<File> {
        self.end(true, true)
    }

    /// Sets the number of tokens right when nobody is at work; gives whether that was so. Never waits.
    ///
    /// # Errors
    /// The system's own.
    pub fn top_up(&self) -> io::Result<bool> {
        let (turn, work, fifo) = (self.turn()?, self.work()?, self.end(true, true)?);
        let idle = try_alone(&turn)? && try_alone(&work)?;
        if idle {
            set(&fifo, self.size)?;
        }
        Ok(idle)
    }

    /// Takes tokens for a build: as many as are wanted, at least one, at most all. `wait` is called once when they are not
    /// there at once.
    ///
    /// # Errors
    /// The system's own.
    pub fn enter(&self, wanted: usize, wait: &mut dyn FnMut()) -> io::Result<Slot> {
        let wanted = wanted.clamp(1, self.size);
        let (turn, work) = (self.turn()?, Arc::new(OwnedFd::from(self.work()?)));
        let mut hand = Hand { fifo: self.end(true, true)?, tokens: 0 };
        let mut wait = Some(wait);
        let mut waits = || wait.take().map(|wait| wait());
        if !try_alone(&turn)? {
            waits();
            retry(|| flock(&turn, FlockOperation::LockExclusive))?;
        }
        let probe = self.work()?;
        if try_alone(&probe)? {
            set(&hand.fifo, self.size)?;
        }
        drop(probe);
        let mut idle: Option<Idle> = None;
        loop {
            hand.take(wanted)?;
            if hand.tokens == wanted {
                break;
            }
            waits();
            let watch = match &idle {
                Some(watch) => watch,
                None => idle.insert(Idle::watch(self.work()?)?),
            };
            let mut ready = [PollFd::new(&hand.fifo, PollFlags::IN), PollFd::new(&watch.told, PollFlags::IN)];
            retry(|| poll(&mut ready, None))?;
            let nobody_works = ready.last().is_some_and(|fd| !fd.revents().is_empty());
            if nobody_works {
                set(&hand.fifo, self.size - hand.tokens)?;
                idle = None;
            }
        }
        // It may have got the lock that is asked for next.
        drop(idle);
        retry(|| flock(&work, FlockOperation::LockShared))?;
        drop(turn);
        Ok(Slot { hand, work, fifo: self.fifo.clone() })
    }

    fn make(&self) -> io::Result<()> {
        match rustix::fs::mkfifoat(rustix::fs::CWD, &self.fifo, Mode::RUSR | Mode::WUSR) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn end(&self, read: bool, write: bool) -> io::Result<File> {
        open_fifo(&self.fifo, read, write, OFlags::NONBLOCK)
    }

    fn turn(&self) -> io::Result<File> {
        open_lock(&self.fifo.with_extension("turn"))
    }

    fn work(&self) -> io::Result<File> {
        open_lock(&self.fifo.with_extension("work"))
    }
}

/// How many CPUs this process may use.
#[must_use]
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Tokens in this process's hands, given back when dropped.
#[derive(Debug)]
struct Hand {
    fifo: File,
    tokens: usize,
}

impl Hand {
    /// Takes what is there, until it has so many.
    fn take(&mut self, wanted: usize) -> io::Result<()> {
        while self.tokens < wanted {
            match self.fifo.read(&mut [0]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.tokens += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn give_back(&mut self) {
        let tokens = vec![TOKEN; std::mem::take(&mut self.tokens)];
        // What cannot be given back is made up for as soon as nobody is at work.
        if let Err(error) = self.fifo.write_all(&tokens) {
            tracing::debug!("tokens could not be given back: {error}");
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The right to build, until this is dropped.
#[derive(Debug)]
pub struct Slot {
    hand: Hand,
    work: Arc<OwnedFd>,
    fifo: PathBuf,
}

impl Slot {
    /// How many tokens it has.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.hand.tokens
    }

    /// What every process of the build has to inherit, so that nobody takes it for gone while some of it runs.
    #[must_use]
    pub fn held_by_all(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.work)
    }

    /// What a make takes part with in the whole budget.
    ///
    /// # Errors
    /// The system's own.
    pub fn share(&self) -> io::Result<MakeJobs> {
        // Opened anew: make changes how its own end waits.
        let end = |read| open_fifo(&self.fifo, read, !read, OFlags::empty()).map(|file| Arc::new(file.into()));
        Ok(MakeJobs { reader: end(true)?, writer: end(false)? })
    }

    /// What a make shares this slot's own tokens with, and no others.
    ///
    /// # Errors
    /// The system's own.
    pub fn divide(&self) -> io::Result<MakeJobs> {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(&vec![TOKEN; self.hand.tokens.saturating_sub(1)])?;
        Ok(MakeJobs { reader: Arc::new(reader.into()), writer: Arc::new(writer.into()) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Before the lock is let go: whoever finds nobody at work takes what is not there for lost.
        self.hand.give_back();
        // A process that outlived the build has it open too.
        let _ = flock(&self.work, FlockOperation::Unlock);
    }
}

/// The two descriptors of a jobserver that a make is to inherit.
#[derive(Debug, Clone)]
pub struct MakeJobs {
    reader: Arc<OwnedFd>,
    writer: Arc<OwnedFd>,
}

impl MakeJobs {
    /// The descriptors.
    pub fn descriptors(&self) -> impl Iterator<Item = Arc<OwnedFd>> {
        [Arc::clone(&self.reader), Arc::clone(&self.writer)].into_iter()
    }

    /// The value of MAKEFLAGS that tells make of them; GNU make before 4.4 knows no jobserver by name.
    #[must_use]
    pub fn flags(&self) -> String {
        format!("-j --jobserver-auth={},{}", self.reader.as_raw_fd(), self.writer.as_raw_fd())
    }
}

/// Waits, in a thread, for the moment in which nobody is at work. That moment lasts until this is dropped.
struct Idle {
    told: PipeReader,
    _over: mpsc::Sender<()>,
}

impl Idle {
    fn watch(work: File) -> io::Result<Self> {
        let (told, mut tell) = io::pipe()?;
        let (over, is_over) = mpsc::channel::<()>();
        std::thread::Builder::new().name("jobserver".into()).spawn(move || {
            if retry(|| flock(&work, FlockOperation::LockExclusive)).is_ok() {
                // Nobody is left to hear it when the tokens came in another way; the wait is over at once then.
                let _ = tell.write_all(&[TOKEN]);
                let _ = is_over.recv();
            }
        })?;
        Ok(Self { told, _over: over })
    }
}

/// Makes it so many tokens. Only for who knows that nobody else has any.
fn set(fifo: &File, tokens: usize) -> io::Result<()> {
    let there = usize::try_from(rustix::io::ioctl_fionread(fifo)?).unwrap_or(usize::MAX);
    if there < tokens {
        return (&*fifo).write_all(&vec![TOKEN; tokens - there]);
    }
    let mut surplus = there - tokens;
    let mut chunk = [0; 512];
    while surplus > 0 {
        let part = surplus.min(chunk.len());
        match (&*fifo).read(chunk.get_mut(..part).unwrap_or_default()) {
            Ok(0) => break,
            Ok(n) => surplus -= n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn open_fifo(path: &Path, read: bool, write: bool, more: OFlags) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | more).bits().cast_signed();
    let file = OpenOptions::new().read(read).write(write).custom_flags(flags).open(path)?;
    if file.metadata()?.file_type().is_fifo() { Ok(file) } else { Err(io::Error::other("it is not a FIFO")) }
}

/// Not to be written to: builds inherit one.
fn open_lock(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Whether the lock could be had without waiting.
fn try_alone(lock: &File) -> io::Result<bool> {
    match flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn retry<T>(mut call: impl FnMut() -> std::result::Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests;
