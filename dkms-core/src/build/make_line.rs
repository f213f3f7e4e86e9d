//! The MAKE line as it is run (dkms-contract.md §3, MAKE), and what it takes of the machine's budget of compilers.

use crate::model::KernelRelease;

/// How many jobs a MAKE line runs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// It begins with the bare word `make`: as many as there are tokens.
    Shared,
    /// One after the other.
    One,
    /// As many as its own `-j` says; none where that says no number, or none that can be known before it runs. A jobserver
    /// would not be asked.
    Own(Option<usize>),
}

/// A command that begins with the bare word `make` gets KERNELRELEASE after it; a clang kernel's gets `LLVM=1` at its end.
///
/// The parallel jobs of a bare `make` are in its environment, not in the line: a `-jN` there would switch the jobserver off.
#[must_use]
pub fn complete(make: &str, kernel: &KernelRelease, clang: bool) -> String {
    let line = match bare(make) {
        Some(rest) => format!("make KERNELRELEASE={kernel}{rest}"),
        None => make.to_owned(),
    };
    if clang { format!("{line} LLVM=1") } else { line }
}

/// How many jobs a MAKE line runs at once.
#[must_use]
pub fn jobs(make: &str) -> Jobs {
    match own_jobs(make) {
        Some(number) => Jobs::Own(number),
        None if bare(make).is_some() => Jobs::Shared,
        None => Jobs::One,
    }
}

/// What follows the bare word `make`.
fn bare(make: &str) -> Option<&str> {
    make.strip_prefix("make").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// The largest `-j` among the words of a line, wherever it stands: one that is no option of make's costs little.
fn own_jobs(make: &str) -> Option<Option<usize>> {
    let mut words =
        make.split([' ', '\t', '\n', ';', '&', '|', '(', ')', '"']).filter(|word| !word.is_empty()).peekable();
    let mut found: Option<Option<usize>> = None;
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--") {
            Some(long) => match long.split_once('=') {
                Some(("jobs", value)) => value,
                None if long == "jobs" => "",
                _ => continue,
            },
            None => match word.strip_prefix('-').and_then(|short| short.split_once('j')) {
                // Options without a value may stand before it in the same word.
                Some((before, value)) if before.chars().all(|c| "bBdeikmnpqrRsStvw".contains(c)) => value,
                _ => continue,
            },
        };
        let number = match value {
            "" => words.peek().and_then(|next| next.parse().ok()),
            value => value.parse().ok(),
        };
        found = Some(match (found, number) {
            (None, number) => number,
            (Some(before), number) => before.zip(number).map(|(a, b)| std::cmp::max(a, b)),
        });
    }
    found.map(|number| number.filter(|number| *number > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("make", false, "make KERNELRELEASE=6.1")]
    #[case("make -C /x M=/y", false, "make KERNELRELEASE=6.1 -C /x M=/y")]
    #[case("'make' all", false, "'make' all")]
    #[case("makefoo all", false, "makefoo all")]
    #[case("./configure && make", false, "./configure && make")]
    #[case("make all", true, "make KERNELRELEASE=6.1 all LLVM=1")]
    fn completes(#[case] make: &str, #[case] clang: bool, #[case] wanted: &str) {
        assert_eq!(complete(make, &KernelRelease::new("6.1").unwrap(), clang), wanted);
    }

    #[rstest]
    #[case("make", Jobs::Shared)]
    #[case("make -C /x M=/y modules", Jobs::Shared)]
    #[case("make clean; make modules", Jobs::Shared)]
    #[case("'make' all", Jobs::One)]
    #[case("cd src && make", Jobs::One)]
    #[case("make -j4 all", Jobs::Own(Some(4)))]
    #[case("make -j 4 all", Jobs::Own(Some(4)))]
    #[case("make --jobs=4", Jobs::Own(Some(4)))]
    #[case("make --jobs 4", Jobs::Own(Some(4)))]
    #[case("make -kj4", Jobs::Own(Some(4)))]
    #[case("'make' -j$(nproc) modules", Jobs::Own(None))]
    #[case("'make' -j`nproc` NV=''", Jobs::Own(None))]
    #[case("make -j all", Jobs::Own(None))]
    #[case("make -j", Jobs::Own(None))]
    #[case("make -j0", Jobs::Own(None))]
    #[case("make -j2 a && make -j8 b", Jobs::Own(Some(8)))]
    #[case("make -j2 a && make -j b", Jobs::Own(None))]
    #[case("make -C /home/a-j4", Jobs::Shared)]
    #[case("make -Cj4 x", Jobs::Shared)]
    #[case("make JOBS=-j4", Jobs::Shared)]
    fn counts_jobs(#[case] make: &str, #[case] wanted: Jobs) {
        assert_eq!(jobs(make), wanted);
    }
}
