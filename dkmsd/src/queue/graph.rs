//! Which jobs may start now. Pure.

use dkms_core::model::{KernelRelease, PackageName};

use super::rank::Rank;

/// What a job has to itself while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Of which package.
    pub package: PackageName,
    /// Only on this kernel; none for the whole package.
    pub kernel: Option<KernelRelease>,
}

impl Claim {
    /// Whether two jobs must not run at the same time.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        self.package == other.package
            && match (&self.kernel, &other.kernel) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            }
    }
}

/// One job, as the order sees it.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its id.
    pub id: u32,
    /// What it has to itself.
    pub claim: Claim,
    /// Jobs that have to be through before.
    pub after: Vec<u32>,
    /// The smaller first; then by id.
    pub rank: Rank,
}

/// The ids that may start now, in order, so many that at most `most` run: of those that nobody asked for. What a person
/// waits for does not wait until one of them is over; of these, too, at most `most` run.
///
/// A job waits for what it comes after as long as that is in `waiting` or in `running`. Of two waiting jobs that clash,
/// the one that was queued first goes first, whatever their ranks: an uninstall must not overtake an install.
#[must_use]
pub fn ready(waiting: &[Node], running: &[Node], most: usize) -> Vec<u32> {
    let mut order: Vec<&Node> = waiting.iter().collect();
    order.sort_by_key(|node| (node.rank, node.id));
    let mut taken: Vec<&Node> = running.iter().collect();
    let mut start = Vec::new();
    for node in order {
        let full = match node.rank.unasked {
            true => taken.len() >= most,
            false => taken.iter().filter(|other| !other.rank.unasked).count() >= most,
        };
        if full {
            continue;
        }
        let unmet = node.after.iter().any(|id| waiting.iter().chain(running).any(|other| other.id == *id));
        let clash = taken.iter().any(|other| other.claim.clashes(&node.claim));
        let overtakes = waiting.iter().any(|other| other.id < node.id && other.claim.clashes(&node.claim));
        if !unmet && !clash && !overtakes {
            start.push(node.id);
            taken.push(node);
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::rank::Kernel;
    use rstest::rstest;
    use std::cmp::Reverse;

    /// `id package kernel rank after,after`; kernel `-` for the whole package.
    fn nodes(text: &str) -> Vec<Node> {
        text.lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                Node {
                    id: words[0].parse().unwrap(),
                    claim: Claim {
                        package: PackageName::new(words[1]).unwrap(),
                        kernel: (words[2] != "-").then(|| KernelRelease::new(words[2]).unwrap()),
                    },
                    rank: Rank {
                        unasked: words[3] != "0",
                        kernel: Kernel::Other,
                        longest: Reverse(Default::default()),
                    },
                    after: words.get(4).map_or(Vec::new(), |w| w.split(',').map(|id| id.parse().unwrap()).collect()),
                }
            })
            .collect()
    }

    #[rstest]
    #[case::by_rank_then_id("1 a k 1\n2 b k 0\n3 c k 1", "", 9, &[2, 1, 3])]
    #[case::no_room("1 a k 1\n2 b k 1", "", 1, &[1])]
    #[case::no_room_but_for_what_was_asked("1 a k 1\n2 b k 0\n3 c k 0", "4 d k 1", 1, &[2])]
    #[case::room_for_what_was_asked_only("1 a k 1\n2 b k 0", "4 d k 0\n5 e k 1", 2, &[2])]
    #[case::after_a_waiting_one("1 a k 1\n2 b k 0 1", "", 9, &[1])]
    #[case::after_a_running_one("2 b k 0 1", "1 a k 1", 9, &[])]
    #[case::after_one_that_is_through("2 b k 0 1", "", 9, &[2])]
    #[case::one_package_two_kernels("1 a k 1\n2 a l 1", "", 9, &[1, 2])]
    #[case::one_entry_twice("1 a k 1\n2 a k 0", "", 9, &[1])]
    #[case::whole_package_waits_for_its_kernels("2 a - 0", "1 a k 1", 9, &[])]
    #[case::kernels_wait_for_the_whole_package("1 a - 1\n2 a k 0", "", 9, &[1])]
    fn starts(#[case] waiting: &str, #[case] running: &str, #[case] room: usize, #[case] wanted: &[u32]) {
        assert_eq!(ready(&nodes(waiting), &nodes(running), room), wanted);
    }
}
