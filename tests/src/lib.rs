//! Throw-away machines for whole-program tests: a booted Debian with a real systemd, D-Bus, polkit and journal.
//!
//! The scenarios lie in `tests/`, one file for what one of them shows; the drivers they build in `fixtures/`. A
//! scenario waits only for what tells of itself (signals of `org.dkmsd1`, the journal, a FIFO), each with a deadline.
#![allow(clippy::panic, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking, and says why")]

mod bus;
mod debs;
mod follow;
mod gate;
mod history;
mod image;
mod kit;
mod machine;
mod programs;
mod signals;
mod status;
mod wait;

pub use bus::Refusal;
pub use gate::Gate;
pub use history::Finished;
pub use image::Image;
pub use kit::{Case, Kit};
pub use machine::{Answer, Machine};
pub use programs::folder as programs_folder;
pub use signals::{Listener, Signal};
pub use status::Row;

use std::path::PathBuf;

/// The top of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests lie in the checkout").to_owned()
}
