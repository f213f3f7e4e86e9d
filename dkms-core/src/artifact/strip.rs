//! Debugging information out of a module, as STRIP asks.

use std::path::Path;
use std::process::Command;

use crate::artifact::tool;
use crate::error::Result;

/// Runs `strip -g` on a module in place, or an `llvm-strip` for what clang built. A signature on it is lost.
///
/// # Errors
/// When the program is missing or fails; the file is then as it was.
pub fn strip(file: &Path, program: &str) -> Result<()> {
    let package = if program.starts_with("llvm") { "llvm" } else { "binutils" };
    let mut command = Command::new(program);
    command.arg("-g").arg(file);
    tool::run(command, file, package).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{ModInfo, fixture};
    use crate::error::Error;
    use rstest::rstest;
    use std::fs;

    #[rstest]
    #[case::gnu("strip")]
    #[case::llvm("llvm-strip")]
    fn a_stripped_module_says_the_same(#[case] program: &str) {
        let folder = fixture::scratch();
        let file = folder.path().join("r8169.ko");
        fs::copy(fixture::module("r8169.ko"), &file).unwrap();
        let before = ModInfo::read(&file).unwrap();
        assert!(before.signed);
        strip(&file, program).unwrap();
        assert_eq!(ModInfo::read(&file).unwrap(), ModInfo { signed: false, ..before });
    }

    #[test]
    fn what_is_no_module_is_left_as_it_is() {
        let folder = fixture::scratch();
        let file = folder.path().join("r8169.ko");
        fs::write(&file, "text").unwrap();
        let failed = strip(&file, "strip").unwrap_err();
        assert!(matches!(&failed, Error::Tool { program, .. } if program == "strip"), "{failed}");
        assert_eq!(fs::read(&file).unwrap(), b"text");
    }
}
