//! How long to wait until it makes sense to look: the debounce.
//!
//! [`Settle`] decides, without a clock of its own; [`next_look`] waits for what it names. The rules:
//!
//! * After a hint: once nothing was heard for the quiet period and the package manager is idle. Its lock is asked for
//!   after every hint, as letting go of it is one (an event on the lock file). Waiting for it, or for quiet, ends
//!   after the patience.
//! * Events were lost, or nothing was heard for the idle period: as after a hint.
//! * A look found headers that settle: at the time it named, as after a hint.
//! * A person asked, or a kernel hook: at once. A hook runs while the package manager holds its lock, so the lock is
//!   not asked for, nor at the looks that follow for headers that settle.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use super::source::Hints;

/// Why it is time to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Because {
    /// A kernel hook gave word.
    Hook,
    /// Somebody asked.
    Rescan,
    /// Events were lost.
    Overflow,
    /// Something changed.
    Hint,
    /// Headers should have settled by now.
    Settled,
    /// Nothing was heard for long.
    Idle,
    /// A job ended.
    JobEnded,
}

impl Because {
    /// For logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hook => "a kernel hook gave word",
            Self::Rescan => "asked to",
            Self::Overflow => "events were lost",
            Self::Hint => "something changed",
            Self::Settled => "headers have settled",
            Self::Idle => "nothing was heard for long",
            Self::JobEnded => "a job ended",
        }
    }
}

/// How long things are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Nothing may be heard for so long before a look.
    pub quiet: Duration,
    /// No look is put off for longer, whether by the package manager or by noise.
    pub patience: Duration,
    /// For so long after a kernel hook's word, headers that settle are looked at without asking for the lock.
    pub waiver: Duration,
    /// A look comes this long after the last one, heard or not.
    pub idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(2),
            patience: Duration::from_secs(10 * 60),
            waiver: Duration::from_secs(60),
            idle: Duration::from_secs(60 * 60),
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Look at the disk, after saying so by [`Settle::looking`].
    LookNow {
        /// Why.
        because: Because,
    },
    /// Find out whether a package manager is at work, and say so by [`Settle::package_manager`].
    AskPackageManager,
    /// Nothing until then, or until something is heard.
    Wait(Instant),
}

/// The state of the debounce.
#[derive(Debug, Clone)]
pub struct Settle {
    timing: Timing,
    /// What was heard since the last look.
    pending: Option<Pending>,
    /// A look that waits for nothing.
    at_once: Option<Because>,
    /// When headers should have settled.
    again: Option<Instant>,
    /// Until when a kernel hook's word stands for the lock.
    waived_until: Option<Instant>,
    package_manager: PackageManager,
    last_look: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    first: Instant,
    last: Instant,
    because: Because,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PackageManager {
    /// Not asked since the last hint or look; since when it was busy, if it was.
    Unknown(Option<Instant>),
    Idle,
    Busy(Instant),
}

impl PackageManager {
    fn busy_since(self) -> Option<Instant> {
        match self {
            Self::Busy(since) | Self::Unknown(Some(since)) => Some(since),
            Self::Idle | Self::Unknown(None) => None,
        }
    }
}

impl Settle {
    /// Begins with nothing heard, and a look just done.
    #[must_use]
    pub fn new(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            pending: None,
            at_once: None,
            again: None,
            waived_until: None,
            package_manager: PackageManager::Unknown(None),
            last_look: now,
        }
    }

    /// Something was heard.
    pub fn hint(&mut self, now: Instant) {
        self.heard(Because::Hint, now);
    }

    /// Something was heard, and some of it was lost.
    pub fn overflow(&mut self, now: Instant) {
        self.heard(Because::Overflow, now);
    }

    fn heard(&mut self, because: Because, now: Instant) {
        let pending = self.pending.get_or_insert(Pending { first: now, last: now, because });
        pending.last = now;
        if because == Because::Overflow {
            pending.because = because;
        }
        self.package_manager = PackageManager::Unknown(self.package_manager.busy_since());
    }

    /// Somebody asks for a look.
    pub fn rescan(&mut self) {
        self.at_once.get_or_insert(Because::Rescan);
    }

    /// A kernel hook gives word.
    pub fn hook(&mut self, now: Instant) {
        self.at_once = Some(Because::Hook);
        self.waived_until = Some(now + self.timing.waiver);
    }

    /// The look found something that is worth another look then.
    pub fn look_again_at(&mut self, at: Instant) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    /// The answer to [`Next::AskPackageManager`].
    pub fn package_manager(&mut self, busy: bool, now: Instant) {
        self.package_manager = if busy {
            PackageManager::Busy(self.package_manager.busy_since().unwrap_or(now))
        } else {
            PackageManager::Idle
        };
    }

    /// What to do now.
    #[must_use]
    pub fn next(&self, now: Instant) -> Next {
        if let Some(because) = self.at_once {
            return Next::LookNow { because };
        }
        let waived = self.again.filter(|at| self.waived_until.is_some_and(|until| *at <= until));
        if waived.is_some_and(|at| at <= now) {
            return Next::LookNow { because: Because::Settled };
        }
        let wait = |until: Instant| Next::Wait(waived.map_or(until, |at| at.min(until)));
        let (due, because) = self.due();
        if due > now {
            return wait(due);
        }
        match self.package_manager {
            PackageManager::Idle => Next::LookNow { because },
            PackageManager::Unknown(_) => Next::AskPackageManager,
            PackageManager::Busy(since) => match since + self.timing.patience {
                end if end <= now => Next::LookNow { because },
                end => wait(end),
            },
        }
    }

    /// When the next look is due as far as the package manager lets it, and why. What was heard last decides: the
    /// look that follows it serves the timers too.
    fn due(&self) -> (Instant, Because) {
        if let Some(Pending { first, last, because }) = self.pending {
            return ((last + self.timing.quiet).min(first + self.timing.patience), because);
        }
        let idle = (self.last_look + self.timing.idle, Because::Idle);
        match self.again {
            Some(at) if at <= idle.0 => (at, Because::Settled),
            _ => idle,
        }
    }

    /// A look begins: what was heard so far is served by it, what is heard from now on is not.
    pub fn looking(&mut self, now: Instant) {
        self.pending = None;
        self.at_once = None;
        self.again = None;
        self.package_manager = PackageManager::Unknown(self.package_manager.busy_since());
        self.last_look = now;
    }
}

/// When a time of day will be, by the clock that waits; now, when it is over.
#[must_use]
pub fn on_the_clock(at: SystemTime) -> Instant {
    Instant::now() + at.duration_since(SystemTime::now()).unwrap_or_default()
}

/// Waits until it is time to look; none when nobody can tell of changes any more. `idle` finds out whether no package
/// manager is at work. May be dropped and called again at any time.
pub async fn next_look<F: Future<Output = bool>>(
    settle: &mut Settle,
    hints: &mut Hints,
    mut idle: impl FnMut() -> F,
) -> Option<Because> {
    loop {
        let until = match settle.next(Instant::now()) {
            Next::LookNow { because } => {
                settle.looking(Instant::now());
                return Some(because);
            }
            Next::AskPackageManager => {
                let busy = !idle().await;
                settle.package_manager(busy, Instant::now());
                continue;
            }
            Next::Wait(until) => until,
        };
        tokio::select! {
            hint = hints.next() => {
                let now = Instant::now();
                if hint?.overflow { settle.overflow(now) } else { settle.hint(now) }
            }
            () = sleep_until(until) => {}
        }
    }
}

#[cfg(test)]
mod tests;
