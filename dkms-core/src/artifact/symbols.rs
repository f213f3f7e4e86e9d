//! Symbol versions: the checksum of each symbol's type that a module was built with, and those that a kernel has.
//!
//! A module lists what it imports in `__versions`, or since kernel 6.14 in `__version_ext_crcs` and
//! `__version_ext_names`; a kernel's headers list what there is in Module.symvers. A kernel with CONFIG_MODVERSIONS loads
//! nothing whose checksums differ from its own.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};

use object::{Object, ObjectSection};

/// A checksum of a symbol's type.
pub type Crc = u32;

/// What a module imports, by name.
///
/// # Errors
/// Why its sections cannot be read, as a part of a sentence.
pub fn imported(bytes: &[u8]) -> Result<Option<Vec<(String, Crc)>>, String> {
    let file = object::File::parse(bytes).map_err(|e| format!("it is a damaged ELF file: {e}"))?;
    let data = |name: &str| match file.section_by_name(name) {
        None => Ok(None),
        Some(section) => section.data().map(Some).map_err(|e| format!("its {name} section is damaged: {e}")),
    };
    if let (Some(crcs), Some(names)) = (data("__version_ext_crcs")?, data("__version_ext_names")?) {
        return Ok(Some(extended(crcs, names, file.is_little_endian())));
    }
    let width = if file.is_64() { 8 } else { 4 };
    Ok(data("__versions")?.map(|entries| classic(entries, width, file.is_little_endian())))
}

/// `struct modversion_info`: 64 bytes, an `unsigned long` and the name.
fn classic(entries: &[u8], width: usize, little_endian: bool) -> Vec<(String, Crc)> {
    entries
        .chunks_exact(64)
        .filter_map(|entry| {
            let (crc, name) = entry.split_at_checked(width)?;
            // Of a 64-bit long only the low half is the checksum.
            let crc = if little_endian { crc.get(..4)? } else { crc.get(width - 4..)? };
            Some((text(name), number(crc, little_endian)?))
        })
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

fn extended(crcs: &[u8], names: &[u8], little_endian: bool) -> Vec<(String, Crc)> {
    let crcs = crcs.chunks_exact(4).filter_map(|crc| number(crc, little_endian));
    names.split(|b| *b == 0).map(text).zip(crcs).filter(|(name, _)| !name.is_empty()).collect()
}

fn number(bytes: &[u8], little_endian: bool) -> Option<Crc> {
    let bytes = <[u8; 4]>::try_from(bytes).ok()?;
    Some(if little_endian { Crc::from_le_bytes(bytes) } else { Crc::from_be_bytes(bytes) })
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Who has a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The kernel's image: nothing can take its place.
    Kernel,
    /// One of the kernel's modules, whose place another package's may have taken.
    KernelModule,
    /// Another package.
    Package,
}

/// The symbols that a module may import on one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    known: HashMap<String, Vec<(Crc, Owner)>>,
}

impl Symbols {
    /// Adds the Module.symvers of the kernel's headers.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_kernel(&mut self, symvers: impl Read) -> io::Result<()> {
        self.add(symvers, |module| if module == "vmlinux" { Owner::Kernel } else { Owner::KernelModule })
    }

    /// Adds the Module.symvers of a package: the module's own, or one that it depends on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_package(&mut self, symvers: impl Read) -> io::Result<()> {
        self.add(symvers, |_| Owner::Package)
    }

    /// A line is `0xCRC <tab> symbol <tab> module <tab> …`.
    fn add(&mut self, symvers: impl Read, owner: impl Fn(&str) -> Owner) -> io::Result<()> {
        for line in BufReader::new(symvers).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            let mut fields = line.split('\t');
            let (Some(crc), Some(name), Some(module)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let Ok(crc) = Crc::from_str_radix(crc.trim_start_matches("0x"), 16) else { continue };
            // Without CONFIG_MODVERSIONS all are zero.
            if crc != 0 {
                self.known.entry(name.to_owned()).or_default().push((crc, owner(module)));
            }
        }
        Ok(())
    }

    /// The first import that nobody has in that version, as a part of a sentence; none when all fit.
    ///
    /// A symbol that is not known is nobody's fault: the package that has it may have been named in another way
    /// (KBUILD_EXTRA_SYMBOLS). One of the kernel's modules may have been replaced by a package that is not known here.
    #[must_use]
    pub fn mismatch(&self, imports: &[(String, Crc)]) -> Option<String> {
        let mut wrong = imports.iter().filter(|(name, crc)| {
            self.known.get(name).is_some_and(|versions| {
                versions.iter().all(|(version, owner)| version != crc && *owner != Owner::KernelModule)
            })
        });
        let (name, crc) = wrong.next()?;
        let (has, owner) = self.known.get(name)?.first()?;
        let more = match wrong.count() {
            0 => String::new(),
            more => format!(", and {more} more like it"),
        };
        let whose = if *owner == Owner::Package { "the package that has it" } else { "the kernel" };
        Some(format!(
            "it was built with the symbol {name} in version {crc:#010x}, and {whose} has {has:#010x}{more}: \
             its headers were others than this kernel's"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::fixture;
    use rstest::rstest;
    use std::process::Command;

    /// kmod's own reader is the judge.
    #[test]
    fn kmod_reads_the_same() {
        let file = fixture::module("r8169.ko");
        let output = Command::new("modprobe").arg("--dump-modversions").arg(&file).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let mut theirs: Vec<_> = said.lines().map(|line| line.split_once('\t').unwrap()).collect();
        let imports = imported(&std::fs::read(&file).unwrap()).unwrap().unwrap();
        let mut ours: Vec<_> = imports.iter().map(|(name, crc)| (format!("{crc:#010x}"), name.as_str())).collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert!(theirs.len() > 100, "{said}");
        assert!(ours.iter().map(|(crc, name)| (crc.as_str(), *name)).eq(theirs));
    }

    #[rstest]
    #[case::little_64(8, true, &[1, 2, 3, 4, 0, 0, 0, 0])]
    #[case::little_32(4, true, &[1, 2, 3, 4])]
    #[case::big_64(8, false, &[0, 0, 0, 0, 4, 3, 2, 1])]
    #[case::big_32(4, false, &[4, 3, 2, 1])]
    fn entries_of_every_machine(#[case] width: usize, #[case] little: bool, #[case] crc: &[u8]) {
        let mut entry = crc.to_vec();
        entry.extend(b"printk");
        entry.resize(64, 0);
        entry.extend([0; 10]);
        assert_eq!(classic(&entry, width, little), [("printk".to_owned(), 0x0403_0201)]);
    }

    #[test]
    fn the_newer_form_pairs_names_with_checksums() {
        let crcs = [1, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(extended(&crcs, b"a\0b\0", true), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(extended(&crcs, b"a\0b\0", false).first(), Some(&("a".to_owned(), 0x0100_0000)));
    }

    #[rstest]
    #[case::fits(&[("printk", 0x11)], None)]
    #[case::unknown(&[("other", 9)], None)]
    #[case::kernels_own(&[("module_layout", 9), ("printk", 8), ("printk", 0x11)], Some("module_layout in version 0x00000009, and the kernel has 0x00000022, and 1 more"))]
    #[case::kernel_module_may_be_replaced(&[("drm_open", 9)], None)]
    #[case::replaced_by_a_known_one(&[("usb_register", 0x55)], None)]
    #[case::of_a_package(&[("spl_open", 9)], Some("the package that has it has 0x00000044"))]
    #[case::without_versions(&[("unversioned", 9)], None)]
    fn versions_are_compared(#[case] imports: &[(&str, Crc)], #[case] wanted: Option<&str>) {
        let mut symbols = Symbols::default();
        let kernel = "0x00000011\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n0x22\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\n\
                      0x33\tdrm_open\tdrivers/gpu/drm/drm\tEXPORT_SYMBOL\t\nnonsense\n0x66\tusb_register\tvmlinux\tX\t\n\
                      0x00000000\tunversioned\tvmlinux\tEXPORT_SYMBOL\t\n";
        symbols.add_kernel(kernel.as_bytes()).unwrap();
        symbols
            .add_package("0x44\tspl_open\t/b/spl\tEXPORT_SYMBOL\t\n0x55\tusb_register\t/b/usb\tX\t\n".as_bytes())
            .unwrap();
        let imports: Vec<_> = imports.iter().map(|(name, crc)| ((*name).to_owned(), *crc)).collect();
        let said = symbols.mismatch(&imports);
        assert_eq!(said.is_some(), wanted.is_some(), "{said:?}");
        assert!(wanted.is_none_or(|wanted| said.as_ref().unwrap().contains(wanted)), "{said:?}");
    }
}
