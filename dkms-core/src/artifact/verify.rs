//! Whether a module is fit for a kernel: an ELF file for its machine, built for its release and with its options, under
//! its own name, with the kernel's own versions of the symbols that it imports.

use std::path::Path;

use crate::artifact::symbols::{self, Crc, Symbols};
use crate::artifact::vermagic::Vermagic;
use crate::artifact::{ElfClass, ModInfo, modinfo};
use crate::error::{IoContext as _, Result};
use crate::host::kconfig::KernelConfig;
use crate::host::resolve::resolve;
use crate::layout::Layout;
use crate::model::{Arch, KernelId, ModuleName};
use crate::tree::files;

/// What a module has to be for one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitness {
    kernel: KernelId,
    vermagic: Vermagic,
    symbols: Symbols,
}

impl Fitness {
    /// For a kernel of this vermagic, with these symbols; both may be unknown, and are not checked then.
    #[must_use]
    pub fn new(kernel: KernelId, vermagic: Vermagic, symbols: Symbols) -> Self {
        Self { kernel, vermagic, symbols }
    }

    /// As far as a kernel's folder and its headers tell: for what was built elsewhere or long ago. What is not there is
    /// not checked.
    ///
    /// # Errors
    /// When the headers' Module.symvers is there and cannot be read.
    pub fn of_installed(layout: &Layout, kernel: &KernelId) -> Result<Self> {
        let headers = resolve(layout, &layout.kernel_source(&kernel.release)).ok();
        let config = headers.as_deref().map(KernelConfig::below).unwrap_or_default();
        let mut symbols = Symbols::default();
        if let Some(file) = headers.map(|headers| headers.join("Module.symvers"))
            && let Some(bytes) = files::read(&file)?
        {
            symbols.add_kernel(bytes.as_slice()).at("read", &file)?;
        }
        Ok(Self::new(kernel.clone(), Vermagic::of(layout, &kernel.release, &config), symbols))
    }

    /// Reads a module file and says what is wrong with it, as a part of a sentence; none when it is fit. It is to know
    /// itself by one of the names: a package may install what it builds as `nvidia` under the name `nvidia-current`.
    ///
    /// # Errors
    /// When it cannot be read, or uncompressed for want of a program. What is no module at all is wrong, not an error.
    pub fn check(&self, file: &Path, names: &[&ModuleName]) -> Result<Option<String>> {
        let bytes = modinfo::contents(file)?;
        let said = ModInfo::parse(&bytes)
            .and_then(|info| symbols::imported(&bytes).map(|imports| self.problem(&info, imports.as_deref(), names)));
        Ok(said.unwrap_or_else(Some))
    }

    /// What is wrong with a module that was promised under these names.
    fn problem(&self, info: &ModInfo, imports: Option<&[(String, Crc)]>, names: &[&ModuleName]) -> Option<String> {
        let kernel = &self.kernel;
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
        let Some(vermagic) = &info.vermagic else {
            return Some("it does not say for which kernel it was built (no vermagic)".to_owned());
        };
        let release = info.release().unwrap_or_default();
        if release != kernel.release.as_str() {
            return Some(format!("it was built for kernel {release}, not for {}", kernel.release));
        }
        let promised = |name: &&str| names.iter().any(|promised| folded(promised.as_str()) == folded(name));
        // Kernels before 4.13 put no name into .modinfo.
        if let (Some(name), Some(wanted)) = (info.name.as_deref().filter(|name| !promised(name)), names.first()) {
            return Some(format!("it calls itself {name}, so the kernel would not know it as {wanted}"));
        }
        self.vermagic.difference(vermagic).or_else(|| self.versions_problem(vermagic, imports))
    }

    fn versions_problem(&self, vermagic: &str, imports: Option<&[(String, Crc)]>) -> Option<String> {
        match imports {
            Some(imports) => self.symbols.mismatch(imports),
            // The kernel takes such a module for one that is forced on it, and most kernels refuse that.
            None if vermagic.split_whitespace().any(|word| word == "modversions") => Some(
                "it has no versions of the symbols that it imports (__versions), and the kernel wants them".to_owned(),
            ),
            None => None,
        }
    }
}

/// The kernel treats both signs as one.
fn folded(name: &str) -> String {
    name.replace('-', "_")
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
    use std::fs::{self, File};

    /// What the real kernel of the fixture wants.
    fn real() -> Fitness {
        let (kernel, layout) = (fixture::kernel(), Layout::under(fixture::root()));
        let headers = fixture::headers(&kernel.release);
        let vermagic = Vermagic::of(&layout, &kernel.release, &KernelConfig::below(&headers));
        let mut symbols = Symbols::default();
        symbols.add_kernel(File::open(headers.join("Module.symvers")).unwrap()).unwrap();
        Fitness::new(kernel, vermagic, symbols)
    }

    fn of(release: &str, arch: &str) -> Fitness {
        Fitness { kernel: KernelId::new(release, arch).unwrap(), ..real() }
    }

    /// A real module, changed, that was promised under a name.
    fn check(fitness: &Fitness, name: &str, bytes: &[u8]) -> Option<String> {
        let folder = fixture::scratch();
        let file = folder.path().join("built.ko");
        fs::write(&file, bytes).unwrap();
        fitness.check(&file, &[&ModuleName::new(name).unwrap()]).unwrap()
    }

    fn r8169() -> Vec<u8> {
        fs::read(fixture::module("r8169.ko")).unwrap()
    }

    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        let mut bytes = bytes.to_vec();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    }

    #[test]
    fn a_kernels_own_modules_are_fit_for_it() {
        let fitness = real();
        let mut seen = 0;
        for entry in fs::read_dir(fixture::module("")).unwrap() {
            let file = entry.unwrap().path();
            let name = ModuleName::new(file.file_stem().unwrap().to_str().unwrap()).unwrap();
            assert_eq!(fitness.check(&file, &[&name]).unwrap(), None);
            seen += 1;
        }
        assert!(seen > 2);
    }

    #[rstest]
    #[case::other_kernel("r8169", "6.1.0-57-amd64", None, Some("built for kernel"))]
    #[case::other_name("r8168", "", None, Some("calls itself r8169"))]
    #[case::other_machine("r8169", "", Some("s390x"), Some("another machine"))]
    #[case::unknown_machine("r8169", "", Some("vax"), None)]
    fn what_is_not_fit_is_told(
        #[case] name: &str,
        #[case] release: &str,
        #[case] arch: Option<&str>,
        #[case] wanted: Option<&str>,
    ) {
        let real = fixture::kernel();
        let release = if release.is_empty() { real.release.as_str() } else { release };
        let said = check(&of(release, arch.unwrap_or(real.arch.as_str())), name, &r8169());
        assert_eq!(said.is_some(), wanted.is_some(), "{said:?}");
        assert!(wanted.is_none_or(|wanted| said.as_ref().unwrap().contains(wanted)), "{said:?}");
    }

    #[rstest]
    #[case::realtime(b"SMP preempt mod_unload", b"SMP preempt_rt mod_unl", "\"preempt_rt\", \"mod_unl\"")]
    #[case::no_preemption(b" SMP preempt mod_unload", b" SMP mod_unload        ", "lacks \"preempt\"")]
    #[case::no_vermagic(b"\0vermagic=", b"\0vermagix=", "no vermagic")]
    fn every_word_of_vermagic_counts(#[case] from: &[u8], #[case] to: &[u8], #[case] wanted: &str) {
        let said = check(&real(), "r8169", &replaced(&r8169(), from, to)).unwrap();
        assert!(said.contains(wanted), "{said}");
    }

    #[test]
    fn a_symbol_in_another_version_is_told() {
        let imports = symbols::imported(&r8169()).unwrap().unwrap();
        let (_, crc) = imports.iter().find(|(name, _)| name == "module_layout").unwrap();
        let entry = |crc: Crc| [&u64::from(crc).to_le_bytes()[..], b"module_layout\0"].concat();
        let said = check(&real(), "r8169", &replaced(&r8169(), &entry(*crc), &entry(crc ^ 1))).unwrap();
        assert!(said.contains("module_layout") && said.contains(&format!("the kernel has {crc:#010x}")), "{said}");
    }

    #[test]
    fn without_versions_a_kernel_that_wants_them_takes_no_module() {
        let said = check(&real(), "r8169", &replaced(&r8169(), b"\0__versions\0", b"\0__versionz\0")).unwrap();
        assert!(said.contains("__versions"), "{said}");
    }

    #[rstest]
    #[case::text(b"text".to_vec(), "no ELF file")]
    #[case::empty(Vec::new(), "no ELF file")]
    #[case::ident_only(r8169().get(..10).unwrap().to_vec(), "ends within its ELF header")]
    #[case::header_only(r8169().get(..64).unwrap().to_vec(), "damaged")]
    #[case::half(r8169().get(..100_000).unwrap().to_vec(), "damaged")]
    #[case::a_program(fs::read("/bin/true").unwrap(), ".modinfo")]
    fn what_is_no_module_is_told(#[case] bytes: Vec<u8>, #[case] wanted: &str) {
        let said = check(&real(), "r8169", &bytes).unwrap();
        assert!(said.contains(wanted), "{said}");
    }

    /// Wherever a module is cut off, it is no longer taken for one.
    #[test]
    fn no_part_of_a_module_is_fit() {
        // Its signature may be missing.
        let whole = modinfo::unsigned(&r8169()).to_vec();
        let fitness = real();
        assert_eq!(check(&fitness, "r8169", &whole), None);
        for end in (1..whole.len()).step_by(whole.len() / 40) {
            let said = check(&fitness, "r8169", &whole[..end]);
            assert!(said.is_some(), "cut off at {end}");
        }
    }

    #[rstest]
    #[case::a_dash_is_an_underscore(&["snd-hda"], "snd_hda", true)]
    #[case::the_same(&["snd_hda"], "snd_hda", true)]
    #[case::another(&["snd.hda"], "snd_hda", false)]
    #[case::as_it_was_built(&["nvidia", "nvidia-current"], "nvidia", true)]
    #[case::as_it_is_installed(&["nvidia", "nvidia-current"], "nvidia_current", true)]
    #[case::neither(&["nvidia", "nvidia-current"], "nouveau", false)]
    fn one_of_its_names(#[case] promised: &[&str], #[case] name: &str, #[case] fit: bool) {
        let info = ModInfo { name: Some(name.to_owned()), ..ModInfo::read(&fixture::module("r8169.ko")).unwrap() };
        let promised: Vec<_> = promised.iter().map(|name| ModuleName::new(*name).unwrap()).collect();
        assert_eq!(real().problem(&info, Some(&[]), &promised.iter().collect::<Vec<_>>()).is_none(), fit);
    }
}
