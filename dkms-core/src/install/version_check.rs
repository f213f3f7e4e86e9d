//! Whether the kernel's own module is as good as ours (dkms-contract.md §3, "Version check").

use std::cmp::Ordering;
use std::path::Path;

use crate::artifact::{ModInfo, modinfo};
use crate::conf::version;
use crate::error::Result;

/// Why `ours` should not be installed where the kernel has `theirs`, as a part of a sentence; none when it should. `whose`:
/// what that one is called in it.
///
/// # Errors
/// When ours cannot be read. A kernel module that cannot be read refuses nothing, which is logged.
pub fn refusal(ours: &Path, theirs: &Path, whose: &str) -> Result<Option<String>> {
    let our_info = ModInfo::read(ours)?;
    let their_info = match ModInfo::read(theirs) {
        Ok(info) => info,
        Err(e) => {
            tracing::warn!("no version check: {e}");
            return Ok(None);
        }
    };
    let same_bytes = || -> Result<bool> { Ok(modinfo::contents(ours)? == modinfo::contents(theirs)?) };
    let verdict = judge(&our_info, &their_info, same_bytes)?;
    Ok(verdict.map(|verdict| match verdict {
        Verdict::Newer => format!(
            "{whose} has version {}, which is newer than {}",
            their_info.version.as_deref().unwrap_or_default(),
            our_info.version.as_deref().unwrap_or("none"),
        ),
        Verdict::Same => format!("{whose} is the same already"),
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Newer,
    Same,
}

fn judge(ours: &ModInfo, theirs: &ModInfo, same_bytes: impl Fn() -> Result<bool>) -> Result<Option<Verdict>> {
    let stated = |info: &ModInfo| info.version.clone().unwrap_or_default();
    let srcversion = |info: &ModInfo| info.srcversion.clone().unwrap_or_default();
    let (our_version, their_version) = (stated(ours), stated(theirs));
    if !their_version.is_empty() && version::compare(&their_version, &our_version) == Ordering::Greater {
        return Ok(Some(Verdict::Newer));
    }
    if our_version != their_version || srcversion(ours) != srcversion(theirs) {
        return Ok(None);
    }
    let says_nothing = our_version.is_empty() && srcversion(ours).is_empty();
    Ok((!says_nothing || same_bytes()?).then_some(Verdict::Same))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::ElfClass;
    use rstest::rstest;

    fn info(version: &str, srcversion: &str) -> ModInfo {
        let word = |w: &str| (!w.is_empty()).then(|| w.to_owned());
        ModInfo {
            name: None,
            version: word(version),
            srcversion: word(srcversion),
            vermagic: None,
            depends: Vec::new(),
            license: None,
            signed: false,
            elf_class: ElfClass::Elf64,
            little_endian: true,
            machine: 62,
        }
    }

    #[rstest]
    #[case::newer(("1.2", "a"), ("1.10", "b"), false, Some(Verdict::Newer))]
    #[case::older(("1.10", "a"), ("1.2", "b"), false, None)]
    #[case::ours_says_no_version(("", "a"), ("1.2", "b"), false, Some(Verdict::Newer))]
    #[case::theirs_says_no_version(("1.2", "a"), ("", "b"), false, None)]
    #[case::same(("1.2", "a"), ("1.2", "a"), false, Some(Verdict::Same))]
    #[case::same_version_other_source(("1.2", "a"), ("1.2", "b"), true, None)]
    #[case::same_source_without_version(("", "a"), ("", "a"), false, Some(Verdict::Same))]
    #[case::nothing_said_same_bytes(("", ""), ("", ""), true, Some(Verdict::Same))]
    #[case::nothing_said_other_bytes(("", ""), ("", ""), false, None)]
    fn the_kernels_own_module_may_win(
        #[case] ours: (&str, &str),
        #[case] theirs: (&str, &str),
        #[case] same_bytes: bool,
        #[case] wanted: Option<Verdict>,
    ) {
        let verdict = judge(&info(ours.0, ours.1), &info(theirs.0, theirs.1), || Ok(same_bytes)).unwrap();
        assert_eq!(verdict, wanted);
    }
}
