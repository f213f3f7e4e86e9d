//! Stories told by the second, and the driver on a clock that tests move.

use super::*;
use rstest::rstest;
use std::cell::Cell;

use crate::watch::source::{Watch, Watcher};

/// What happens at a second of the story.
#[derive(Debug, Clone, Copy)]
enum Do {
    Hint,
    Overflow,
    Rescan,
    Hook,
    /// The package manager begins, heard of by nobody.
    Lock,
    /// It ends, which is a hint.
    Unlock,
    /// It ends, and the event is lost.
    Vanish,
}
use Because as B;
use Do::*;

/// Plays a story and tells at which seconds a look came, and why. A look finds headers that settle until the
/// second that `settling` names, when it comes before.
fn play(story: &[(u64, Do)], settling: Option<u64>, end: u64) -> Vec<(u64, Because)> {
    let start = Instant::now();
    let at = |second: u64| start + Duration::from_secs(second);
    let mut settle = Settle::new(Timing::default(), start);
    let (mut now, mut locked, mut looks) = (0, false, Vec::new());
    let mut story = story.iter().peekable();
    loop {
        while let Some((_, what)) = story.next_if(|(when, _)| *when <= now) {
            match what {
                Hint => settle.hint(at(now)),
                Overflow => settle.overflow(at(now)),
                Rescan => settle.rescan(),
                Hook => settle.hook(at(now)),
                Lock => locked = true,
                Unlock => {
                    locked = false;
                    settle.hint(at(now));
                }
                Vanish => locked = false,
            }
        }
        let wake = match settle.next(at(now)) {
            Next::LookNow { because } => {
                looks.push((now, because));
                settle.looking(at(now));
                if let Some(until) = settling.filter(|until| *until > now) {
                    settle.look_again_at(at(until));
                }
                continue;
            }
            Next::AskPackageManager => {
                settle.package_manager(locked, at(now));
                continue;
            }
            Next::Wait(until) => (until - start).as_secs(),
        };
        assert!(wake > now, "it would spin at {now}");
        now = story.peek().map_or(wake, |(when, _)| wake.min(*when));
        if now > end {
            return looks;
        }
    }
}

#[rstest]
#[case::one_hint(&[(5, Hint)], None, 100, &[(7, B::Hint)])]
#[case::a_burst_is_one_look(&[(5, Hint), (6, Hint), (7, Hint), (8, Hint)], None, 100, &[(10, B::Hint)])]
#[case::two_bursts(&[(5, Hint), (9, Hint)], None, 100, &[(7, B::Hint), (11, B::Hint)])]
#[case::lost_events(&[(5, Hint), (6, Overflow), (7, Hint)], None, 100, &[(9, B::Overflow)])]
#[case::nothing_for_an_hour(&[], None, 7300, &[(3600, B::Idle), (7200, B::Idle)])]
#[case::the_hour_counts_from_the_last_look(&[(100, Hint)], None, 3800, &[(102, B::Hint), (3702, B::Idle)])]
#[case::lock_is_awaited(&[(1, Lock), (5, Hint), (60, Unlock)], None, 200, &[(62, B::Hint)])]
#[case::lock_taken_again(&[(1, Lock), (5, Hint), (60, Unlock), (61, Lock), (90, Unlock)], None, 200, &[(92, B::Hint)])]
#[case::lock_never_let_go(&[(1, Lock), (5, Hint)], None, 700, &[(607, B::Hint)])]
#[case::stale_lock_costs_once(&[(1, Lock), (5, Hint), (700, Hint)], None, 800, &[(607, B::Hint), (702, B::Hint)])]
#[case::end_of_lock_unheard(&[(1, Lock), (5, Hint), (50, Vanish), (70, Hint)], None, 200, &[(72, B::Hint)])]
#[case::lock_bars_the_hourly_look(&[(3000, Lock), (3700, Unlock)], None, 4000, &[(3702, B::Hint)])]
#[case::rescan_waits_for_nothing(&[(1, Lock), (5, Hint), (6, Rescan)], None, 100, &[(6, B::Rescan)])]
#[case::hook_waits_for_nothing(&[(1, Lock), (5, Hint), (5, Rescan), (5, Hook)], None, 100, &[(5, B::Hook)])]
#[case::headers_settle(&[(5, Hint)], Some(8), 100, &[(7, B::Hint), (8, B::Settled)])]
#[case::headers_settle_under_lock(&[(5, Hint), (7, Lock), (60, Unlock)], Some(9), 100, &[(62, B::Hint)])]
#[case::noise_puts_off_settled_headers(&[(5, Hint), (8, Hint)], Some(9), 100, &[(7, B::Hint), (10, B::Hint)])]
#[case::headers_settle_after_hook(&[(1, Lock), (5, Hook)], Some(7), 100, &[(5, B::Hook), (7, B::Settled)])]
#[case::hook_despite_hints(&[(1, Lock), (5, Hook), (6, Hint), (7, Hint)], Some(8), 100, &[(5, B::Hook), (8, B::Settled)])]
#[case::waiver_ends(&[(1, Lock), (5, Hook), (200, Unlock)], Some(90), 250, &[(5, B::Hook), (202, B::Hint)])]
fn looks_come(
    #[case] story: &[(u64, Do)],
    #[case] settling: Option<u64>,
    #[case] end: u64,
    #[case] wanted: &[(u64, Because)],
) {
    assert_eq!(play(story, settling, end), wanted);
}

#[test]
fn unending_noise_puts_no_look_off_for_longer_than_the_patience() {
    let story: Vec<_> = (1..2000).map(|second| (second, Hint)).collect();
    assert_eq!(play(&story, None, 1500), [(601, B::Hint), (1202, B::Hint)]);
}

#[tokio::test(start_paused = true)]
async fn the_driver_waits_for_hints_and_time() {
    let (mut watcher, mut hints) = Watcher::new().unwrap();
    let mut settle = Settle::new(Timing::default(), Instant::now());
    let locked = Cell::new(true);
    let begun = Instant::now();
    assert_eq!(next_look(&mut settle, &mut hints, async || true).await, Some(Because::Idle));
    assert_eq!(begun.elapsed().as_secs(), 3600);

    settle.rescan();
    assert_eq!(next_look(&mut settle, &mut hints, async || false).await, Some(Because::Rescan));

    let dir = tempfile::tempdir().unwrap();
    watcher.set([Watch { path: dir.path().to_owned(), recursive: false }].into()).unwrap();
    let heard = Instant::now();
    let because = next_look(&mut settle, &mut hints, async || !locked.replace(false)).await;
    assert_eq!((because, heard.elapsed().as_secs()), (Some(Because::Hint), 602));

    drop(watcher);
    assert_eq!(next_look(&mut settle, &mut hints, async || true).await, None);
}
