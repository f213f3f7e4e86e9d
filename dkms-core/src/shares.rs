//! Work on many things of one kind, spread over the processors: most of a look at the disk is path lookups, which every
//! one of them can do.

use std::thread;

/// What comes of each thing, in their order. A share of fewer than `least` is not worth a thread.
pub(crate) fn map<T: Sync, R: Send>(things: &[T], least: usize, each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = match things.len() / least.max(1) {
        0 => 1,
        worth => thread::available_parallelism().map_or(1, usize::from).min(worth + 1),
    };
    let all = |share: &[T]| share.iter().map(&each).collect::<Vec<R>>();
    thread::scope(|scope| {
        let all = &all;
        let start = |share| (share, thread::Builder::new().spawn_scoped(scope, move || all(share)));
        let mut shares = things.chunks(things.len().div_ceil(threads).max(1));
        let mine = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(start).collect();
        let mut found = all(mine);
        for (share, thread) in others {
            // A thread that could not be had is no reason to do less.
            let theirs = thread.ok().and_then(|thread| thread.join().ok());
            found.extend(theirs.unwrap_or_else(|| all(share)));
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none(0, 1)]
    #[case::one(1, 1)]
    #[case::a_thread_each(2, 1)]
    #[case::uneven(7, 2)]
    #[case::too_few(100, 1000)]
    #[case::least_of_nothing(5, 0)]
    fn what_comes_of_each_is_in_their_order(#[case] things: usize, #[case] least: usize) {
        let things: Vec<usize> = (0..things).collect();
        assert_eq!(map(&things, least, |n| n * 2), things.iter().map(|n| n * 2).collect::<Vec<_>>());
    }
}
