//! The MAKE line as it is run (dkms-contract.md §3, MAKE).

use crate::model::KernelRelease;

/// A command that begins with the bare word `make` gets the jobs and KERNELRELEASE after it; a clang kernel's gets
/// `LLVM=1` at its end. `jobs` 0 means no limit.
#[must_use]
pub fn complete(make: &str, jobs: u32, kernel: &KernelRelease, clang: bool) -> String {
    let line = match make.strip_prefix("make").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
        Some(rest) => {
            let jobs = if jobs == 0 { String::new() } else { jobs.to_string() };
            format!("make -j{jobs} KERNELRELEASE={kernel}{rest}")
        }
        None => make.to_owned(),
    };
    if clang { format!("{line} LLVM=1") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("make", 2, false, "make -j2 KERNELRELEASE=6.1")]
    #[case("make -C /x M=/y", 4, false, "make -j4 KERNELRELEASE=6.1 -C /x M=/y")]
    #[case("'make' all", 4, false, "'make' all")]
    #[case("makefoo all", 4, false, "makefoo all")]
    #[case("./configure && make", 4, false, "./configure && make")]
    #[case("make all", 0, true, "make -j KERNELRELEASE=6.1 all LLVM=1")]
    fn completes(#[case] make: &str, #[case] jobs: u32, #[case] clang: bool, #[case] wanted: &str) {
        assert_eq!(complete(make, jobs, &KernelRelease::new("6.1").unwrap(), clang), wanted);
    }
}
