//! The queue: what is to be done, in which order, by whom.
//!
//! * [`job`]: what a job is, and what travels to its worker and back.
//! * [`graph`]: pure: which jobs may start now.
//! * [`rank`]: pure: which of them goes first.
//! * [`jobs`]: pure: the jobs there are, and what each event makes of them.
//! * `journal`: what is logged of them.
//! * [`messages`]: what travels between the coordinator and everybody else.
//! * [`workers`]: the processes that do the work.
//! * [`coordinator`]: the one task that owns the jobs; starts workers, publishes what changed.
//!
//! Everybody else holds a sender: the bus asks, the reconciler hands in plans, workers report. The coordinator's channel
//! is bounded, so that a flood of requests waits at its source; workers' events go through the same one.

pub mod coordinator;
pub mod graph;
pub mod job;
pub mod jobs;
mod journal;
pub mod messages;
pub mod rank;
pub mod workers;
