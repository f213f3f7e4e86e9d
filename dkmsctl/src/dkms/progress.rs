//! The one line of a terminal that is drawn over, on standard output. Whoever writes anything else to the terminal has
//! it wiped first, or it would stay in front of that.

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;

/// Whether it is there. Held while it is drawn or wiped.
static DRAWN: Mutex<bool> = Mutex::new(false);

fn drawn() -> MutexGuard<'static, bool> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Draws it anew: what is worked on, and how far that is.
pub(crate) fn draw(topic: &str, how_far: &str) {
    let mut drawn = drawn();
    let columns = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    erase_and_write(&fitted(topic, how_far, columns));
    *drawn = true;
}

/// Wipes it, if it is there.
pub(crate) fn wipe() {
    if std::mem::take(&mut *drawn()) {
        erase_and_write("");
    }
}

/// Wipes it for good: the program is about to end, whatever its other threads are at. A terminal that takes nothing,
/// since somebody has stopped it, is not waited for.
pub(crate) fn leave() {
    let Ok(drawn) = DRAWN.try_lock() else { return };
    if *drawn && takes_more() {
        erase_and_write("");
    }
    std::mem::forget(drawn);
}

/// Standard error for a line of its own.
pub(crate) fn stderr() -> io::Stderr {
    wipe();
    io::stderr()
}

fn erase_and_write(text: &str) {
    let mut out = io::stdout().lock();
    // Nobody left to read it is no reason to stop.
    let _ = write!(out, "\r\x1b[K{text}");
    let _ = out.flush();
}

fn takes_more() -> bool {
    let out = io::stdout();
    let mut asked = [PollFd::new(&out, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// The text of the line: one that ran over the edge could not be drawn over. How far it is matters more than of what.
/// `columns` is 0 where nobody knows.
fn fitted(topic: &str, how_far: &str, columns: usize) -> String {
    let text = format!("{topic}: {how_far}").replace(char::is_control, " ");
    let room = if columns == 0 { usize::MAX } else { columns - 1 };
    let surplus = text.chars().count().saturating_sub(room);
    if surplus == 0 {
        return text;
    }
    match topic.chars().count().checked_sub(surplus + 1) {
        Some(kept) if kept > 0 => {
            let topic: String = text.chars().take(kept).collect();
            format!("{topic}…: {how_far}")
        }
        _ => how_far.chars().take(room).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::unknown("a/1", "building 5 %", 0, "a/1: building 5 %")]
    #[case::wide("a/1", "building 5 %", 80, "a/1: building 5 %")]
    #[case::just_fits("abc/1", "building", 16, "abc/1: building")]
    #[case::one_too_many("abc/1", "building", 15, "abc…: building")]
    #[case::hardly_anything("abc/1", "building", 13, "a…: building")]
    #[case::no_topic("abc/1", "building", 12, "building")]
    #[case::not_even_that("abc/1", "building", 5, "buil")]
    #[case::nothing("abc/1", "building", 1, "")]
    #[case::by_characters("äöü/1", "ß", 9, "äöü/1: ß")]
    #[case::by_characters_cut("äöü/1", "ß", 8, "äöü…: ß")]
    #[case::tame("a\x1b[31m\n/1", "building", 0, "a [31m /1: building")]
    fn it_stays_on_one_line(#[case] topic: &str, #[case] how_far: &str, #[case] columns: usize, #[case] wanted: &str) {
        assert_eq!(fitted(topic, how_far, columns), wanted);
        assert!(columns == 0 || wanted.chars().count() < columns);
    }
}
