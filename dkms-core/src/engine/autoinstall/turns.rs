//! Which steps may run now, and what a failed one takes with it. Pure; whoever runs the steps may run all that are ready
//! at once.

use std::collections::BTreeSet;

use super::order::{Step, Task};
use crate::model::ModuleName;

/// The installs that are still to be run.
#[derive(Debug, Clone)]
pub struct Turns {
    /// By place: what it waits for; none once it was given out or is through.
    waiting: Vec<Option<BTreeSet<usize>>>,
    /// By place: what it has to come after, whatever becomes of that.
    behind: Vec<BTreeSet<usize>>,
}

impl Turns {
    /// The turns of some steps; only installs get one.
    #[must_use]
    pub fn new(steps: &[Step]) -> Self {
        let waits = |step: &Step| match &step.task {
            Task::Install { after } => Some(after.iter().copied().collect()),
            _ => None,
        };
        Self { waiting: steps.iter().map(waits).collect(), behind: vec![BTreeSet::new(); steps.len()] }
    }

    /// Steps that bring a module of the same name run in their order: each finds what the one before left, and the last one
    /// has the last word, however long each takes. `modules`: what each step brings, by place.
    pub fn keep_order(&mut self, modules: &[BTreeSet<ModuleName>]) {
        let brings = |place: usize| modules.get(place).into_iter().flatten();
        for (place, behind) in self.behind.iter_mut().enumerate() {
            let same = |earlier: &usize| brings(*earlier).any(|module| brings(place).any(|own| own == module));
            behind.extend(
                (0..place).filter(|earlier| self.waiting.get(*earlier).is_some_and(Option::is_some)).filter(same),
            );
        }
    }

    /// The places of all steps that can run now, in order. Each is given out once.
    pub fn ready(&mut self) -> Vec<usize> {
        let mut ready = Vec::new();
        for (place, (waiting, behind)) in self.waiting.iter_mut().zip(&self.behind).enumerate() {
            if behind.is_empty() && waiting.as_ref().is_some_and(BTreeSet::is_empty) {
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
        self.through(place);
    }

    fn through(&mut self, place: usize) {
        for behind in &mut self.behind {
            behind.remove(&place);
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
        self.through(place);
        lost.iter().for_each(|(lost, _)| self.through(*lost));
        lost
    }
}
