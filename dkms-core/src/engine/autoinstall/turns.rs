//! Which steps may run now, and what a failed one takes with it. Pure; whoever runs the steps may run all that are ready
//! at once.

use std::collections::BTreeSet;

use super::order::{Step, Task};

/// The installs that are still to be run.
#[derive(Debug, Clone)]
pub struct Turns {
    /// By place: what it waits for; none once it was given out or is through.
    waiting: Vec<Option<BTreeSet<usize>>>,
}

impl Turns {
    /// The turns of some steps; only installs get one.
    #[must_use]
    pub fn new(steps: &[Step]) -> Self {
        let waits = |step: &Step| match &step.task {
            Task::Install { after } => Some(after.iter().copied().collect()),
            _ => None,
        };
        Self { waiting: steps.iter().map(waits).collect() }
    }

    /// The places of all steps that can run now, in order. Each is given out once.
    pub fn ready(&mut self) -> Vec<usize> {
        let mut ready = Vec::new();
        for (place, waiting) in self.waiting.iter_mut().enumerate() {
            if waiting.as_ref().is_some_and(BTreeSet::is_empty) {
                *waiting = None;
                ready.push(place);
            }
        }
        ready
    }

    /// A step came to a good end, or to one that counts as met.
    pub fn met(&mut self, place: usize) {
        for waiting in self.waiting.iter_mut().flatten() {
            waiting.remove(&place);
        }
    }

    /// A step failed. Gives what fails with it: the place of each, and of the step that it failed for.
    pub fn failed(&mut self, place: usize) -> Vec<(usize, usize)> {
        let mut lost = Vec::new();
        let mut causes = vec![place];
        while let Some(cause) = causes.pop() {
            for (place, waiting) in self.waiting.iter_mut().enumerate() {
                if waiting.as_ref().is_some_and(|after| after.contains(&cause)) {
                    *waiting = None;
                    lost.push((place, cause));
                    causes.push(place);
                }
            }
        }
        lost.sort_unstable();
        lost
    }
}
