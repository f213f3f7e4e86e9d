//! Runs steps in threads of their own, all that are ready at once, and hands on what they tell to one sink, said of which
//! package. How many compilers that makes is the jobserver's to say.

use std::cmp::Reverse;
use std::sync::mpsc::{self, Sender};
use std::thread::{Builder, Scope};
use std::time::Duration;

use crate::build::jobserver;
use crate::error::Result;
use crate::event::{Event, Sink};

/// What one thread tells, and of which place.
pub(super) struct Told<T> {
    pub(super) place: usize,
    pub(super) what: What<T>,
}

/// What there is to tell.
pub(super) enum What<T> {
    /// It goes on.
    Event(Event),
    /// It is over; none when its thread broke off.
    Ended(Option<Result<T>>),
}

/// Takes a thread's events, and sees to it that its end is told however it ends.
struct Teller<T> {
    place: usize,
    to: Sender<Told<T>>,
    ended: bool,
}

impl<T> Teller<T> {
    fn tell(&self, what: What<T>) {
        // The other end is there until every thread has ended.
        let _ = self.to.send(Told { place: self.place, what });
    }
}

impl<T> Sink for Teller<T> {
    fn emit(&mut self, event: Event) {
        self.tell(What::Event(event));
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(What::Ended(None));
        }
    }
}

/// Runs places until none is left and none runs. `work` does one; `told` hears of everything in one thread, and gives the
/// places that are ready because of it. The longest of those that are ready goes first.
pub(super) fn run<T: Send>(
    ready: Vec<usize>,
    expected: impl Fn(usize) -> Duration,
    work: impl Fn(usize, &mut dyn Sink) -> Result<T> + Sync,
    mut told: impl FnMut(Told<T>) -> Vec<usize>,
) {
    // As many as the daemon has under way: one prepares while another compiles.
    let most = jobserver::cpus() * 2;
    let (to, heard) = mpsc::channel();
    let (mut ready, mut running) = (ready, 0);
    let work = &work;
    std::thread::scope(|scope| {
        loop {
            ready.sort_by_key(|place| (Reverse(expected(*place)), *place));
            while running < most && !ready.is_empty() {
                let place = ready.remove(0);
                running += 1;
                start(scope, Teller { place, to: to.clone(), ended: false }, work);
            }
            if running == 0 {
                return;
            }
            // Never closed: we hold an end ourselves.
            let Ok(message) = heard.recv() else { return };
            running -= usize::from(matches!(message.what, What::Ended(_)));
            ready.extend(told(message));
        }
    });
}

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    teller: Teller<T>,
    work: &'scope (impl Fn(usize, &mut dyn Sink) -> Result<T> + Sync),
) {
    let one = |mut teller: Teller<T>| {
        let result = work(teller.place, &mut teller);
        teller.ended = true;
        teller.tell(What::Ended(Some(result)));
    };
    let (place, to) = (teller.place, teller.to.clone());
    if Builder::new().name(format!("step {place}")).spawn_scoped(scope, move || one(teller)).is_err() {
        // Without a thread of its own, in ours: what it tells is heard afterwards.
        one(Teller { place, to, ended: false });
    }
}
