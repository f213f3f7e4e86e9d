//! Whether a module is fit for a kernel: an ELF file for its machine, built for its release. Its file may be called
//! otherwise than the module calls itself (`DEST_MODULE_NAME`, as Debian's nvidia packages do): modprobe goes by the file.

use std::path::Path;

use crate::artifact::{ElfClass, ModInfo};
use crate::error::Result;
use crate::model::{Arch, KernelId};

/// Reads a module file and says what is wrong with it for a kernel; none when it is fit.
///
/// # Errors
/// When it cannot be read, or uncompressed for want of a program. What is no module at all is wrong, not an error.
pub fn check(file: &Path, kernel: &KernelId) -> Result<Option<String>> {
    match ModInfo::read(file) {
        Ok(info) => Ok(problem(&info, kernel)),
        Err(crate::Error::NotAModule { why, .. }) => Ok(Some(why)),
        Err(e) => Err(e),
    }
}

/// What is wrong with a module for a kernel, as a part of a sentence; none when it is fit.
#[must_use]
pub fn problem(info: &ModInfo, kernel: &KernelId) -> Option<String> {
    if let Some(machine) = Machine::of(&kernel.arch)
        && !machine.runs(info)
    {
        let bits = if info.elf_class == ElfClass::Elf64 { 64 } else { 32 };
        let order = if info.little_endian { "little" } else { "big" };
        return Some(format!(
            "it is for another machine (ELF machine {}, {bits} bits, {order}-endian), and the kernel's is {}",
            info.machine, kernel.arch
        ));
    }
    match info.release() {
        None => Some("it does not say for which kernel it was built (no vermagic)".to_owned()),
        Some(release) if release != kernel.release.as_str() => {
            Some(format!("it was built for kernel {release}, not for {}", kernel.release))
        }
        Some(_) => None,
    }
}

struct Machine {
    number: u16,
    class: ElfClass,
    little_endian: Option<bool>,
}

impl Machine {
    /// What `uname -m` calls a machine, in ELF's numbers; none for one that is not known here, which is not checked.
    fn of(arch: &Arch) -> Option<Self> {
        use ElfClass::{Elf32, Elf64};
        let (number, class, little_endian) = match arch.as_str() {
            "x86_64" => (62, Elf64, Some(true)),
            "i386" | "i486" | "i586" | "i686" => (3, Elf32, Some(true)),
            "aarch64" => (183, Elf64, Some(true)),
            "aarch64_be" => (183, Elf64, Some(false)),
            "ppc64" => (21, Elf64, Some(false)),
            "ppc64le" => (21, Elf64, Some(true)),
            "ppc" => (20, Elf32, Some(false)),
            "s390x" => (22, Elf64, Some(false)),
            "riscv64" => (243, Elf64, Some(true)),
            "riscv32" => (243, Elf32, Some(true)),
            "loongarch64" => (258, Elf64, Some(true)),
            "sparc64" => (43, Elf64, Some(false)),
            "mips" => (8, Elf32, None),
            "mips64" => (8, Elf64, None),
            arm if arm.starts_with("arm") => (40, Elf32, None),
            _ => return None,
        };
        Some(Self { number, class, little_endian })
    }

    fn runs(&self, info: &ModInfo) -> bool {
        info.machine == self.number
            && info.elf_class == self.class
            && self.little_endian.is_none_or(|order| order == info.little_endian)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::fixture;
    use rstest::rstest;
    use std::fs;

    #[test]
    fn a_kernels_own_modules_are_fit_for_it() {
        let (kernel, folder) = (fixture::kernel(), fixture::module(""));
        let mut seen = 0;
        for entry in fs::read_dir(folder).unwrap() {
            assert_eq!(check(&entry.unwrap().path(), &kernel).unwrap(), None);
            seen += 1;
        }
        assert!(seen > 2);
    }

    #[rstest]
    #[case::other_kernel("r8169.ko", "6.1.0-57-amd64", None, Some("built for kernel"))]
    #[case::other_name("r8168.ko", "", None, None)]
    #[case::other_machine("r8169.ko", "", Some("s390x"), Some("another machine"))]
    #[case::unknown_machine("r8169.ko", "", Some("vax"), None)]
    fn what_is_not_fit_is_told(
        #[case] name: &str,
        #[case] release: &str,
        #[case] arch: Option<&str>,
        #[case] wanted: Option<&str>,
    ) {
        let real = fixture::kernel();
        let release = if release.is_empty() { real.release.as_str() } else { release };
        let kernel = KernelId::new(release, arch.unwrap_or(real.arch.as_str())).unwrap();
        let folder = fixture::scratch();
        let file = folder.path().join(name);
        fs::copy(fixture::module("r8169.ko"), &file).unwrap();
        let said = check(&file, &kernel).unwrap();
        match wanted {
            None => assert_eq!(said, None),
            Some(wanted) => assert!(said.as_ref().is_some_and(|said| said.contains(wanted)), "{said:?}"),
        }
    }

    #[rstest]
    #[case::text(b"text".to_vec(), "no ELF file")]
    #[case::empty(Vec::new(), "no ELF file")]
    #[case::header_only(fs::read(fixture::module("r8169.ko")).unwrap().get(..64).unwrap().to_vec(), "")]
    #[case::half(fs::read(fixture::module("r8169.ko")).unwrap().get(..100_000).unwrap().to_vec(), "")]
    #[case::a_program(fs::read("/bin/true").unwrap(), ".modinfo")]
    fn what_is_no_module_is_told(#[case] bytes: Vec<u8>, #[case] wanted: &str) {
        let folder = fixture::scratch();
        let file = folder.path().join("r8169.ko");
        fs::write(&file, bytes).unwrap();
        let said = check(&file, &fixture::kernel()).unwrap().unwrap();
        assert!(said.contains(wanted), "{said}");
    }
}
