//! What a module file says of itself, read without running anything of it.

use std::io;
use std::path::Path;
use std::process::Command;

use object::{Object, ObjectSection};

use crate::artifact::{MOST_BYTES, tool};
use crate::error::{Error, IoContext, Result};

/// What ends a signed module file.
const SIGNATURE_MAGIC: &[u8] = b"~Module signature appended~\n";

/// Width of an ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfClass {
    /// 32 bits.
    Elf32,
    /// 64 bits.
    Elf64,
}

/// A module file's own words. What it does not say is none or empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModInfo {
    /// The name it is loaded as: `_` where the file name may have `-`.
    pub name: Option<String>,
    /// MODULE_VERSION.
    pub version: Option<String>,
    /// Checksum of its sources.
    pub srcversion: Option<String>,
    /// The kernel it was built for, in the kernel's words: release, then options.
    pub vermagic: Option<String>,
    /// Modules it needs.
    pub depends: Vec<String>,
    /// MODULE_LICENSE.
    pub license: Option<String>,
    /// Whether a signature is appended.
    pub signed: bool,
    /// Width.
    pub elf_class: ElfClass,
    /// Byte order.
    pub little_endian: bool,
    /// ELF's number of the machine.
    pub machine: u16,
}

impl ModInfo {
    /// Reads a module, compressed or not.
    ///
    /// # Errors
    /// When it cannot be read, the program that uncompresses it is missing or fails, or it is no module.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&contents(path)?).map_err(|why| Error::NotAModule { file: path.to_owned(), why })
    }

    /// Takes the bytes of an uncompressed module.
    ///
    /// # Errors
    /// Why it is no module, as a part of a sentence.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let elf_class = match bytes.get(4) {
            _ if !bytes.starts_with(b"\x7fELF") => return Err("it is no ELF file".to_owned()),
            Some(1) => ElfClass::Elf32,
            Some(2) => ElfClass::Elf64,
            _ => return Err("it is an ELF file of unknown width".to_owned()),
        };
        let little_endian = bytes.get(5) == Some(&1);
        let machine = match bytes.get(18..20) {
            Some(&[a, b]) if little_endian => u16::from_le_bytes([a, b]),
            Some(&[a, b]) => u16::from_be_bytes([a, b]),
            _ => return Err("it ends within its ELF header".to_owned()),
        };
        let file = object::File::parse(bytes).map_err(|e| format!("it is a damaged ELF file: {e}"))?;
        let section = file.section_by_name(".modinfo").ok_or("it has no .modinfo section")?;
        let words = section.data().map_err(|e| format!("its .modinfo section is damaged: {e}"))?;
        let mut info = Self {
            name: None,
            version: None,
            srcversion: None,
            vermagic: None,
            depends: Vec::new(),
            license: None,
            signed: bytes.ends_with(SIGNATURE_MAGIC),
            elf_class,
            little_endian,
            machine,
        };
        for word in words.split(|b| *b == 0) {
            let word = String::from_utf8_lossy(word);
            let Some((key, value)) = word.split_once('=') else { continue };
            let field = match key {
                "name" => &mut info.name,
                "version" => &mut info.version,
                "srcversion" => &mut info.srcversion,
                "vermagic" => &mut info.vermagic,
                "license" => &mut info.license,
                "depends" => {
                    info.depends = value.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
                    continue;
                }
                _ => continue,
            };
            field.get_or_insert_with(|| value.to_owned());
        }
        Ok(info)
    }

    /// The release of the kernel it was built for.
    #[must_use]
    pub fn release(&self) -> Option<&str> {
        self.vermagic.as_deref()?.split_whitespace().next()
    }
}

/// The bytes of an uncompressed module without the signature at its end.
///
/// Behind the signature come how long it is (struct module_signature: the last four of twelve bytes, big-endian) and
/// the mark. A length that does not fit is no signature's.
#[must_use]
pub fn unsigned(bytes: &[u8]) -> &[u8] {
    let signed = |bytes: &[u8]| {
        let rest = bytes.strip_suffix(SIGNATURE_MAGIC)?;
        let (rest, length) = rest.split_last_chunk::<4>()?;
        let end = rest.len().checked_sub(8)?.checked_sub(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        Some(end)
    };
    signed(bytes).and_then(|end| bytes.get(..end)).unwrap_or(bytes)
}

/// What uncompresses these bytes: program, option and its package; none where they are not compressed.
pub(crate) fn uncompressor(bytes: &[u8]) -> Option<(&'static str, &'static str, &'static str)> {
    match bytes {
        [0x1f, 0x8b, ..] => Some(("gzip", "-dc", "gzip")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(("xz", "-dc", "xz-utils (or xz)")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(("zstd", "-dcq", "zstd")),
        _ => None,
    }
}

/// The bytes of a module file, uncompressed. What it is compressed with is told by its bytes, not by its name.
///
/// # Errors
/// When it cannot be read, or the program that uncompresses it is missing or fails.
pub fn contents(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).at("read", path)?.len();
    if size > MOST_BYTES {
        let why = format!("has {} MiB, more than any module", size / 1024 / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why)).at("read", path);
    }
    let bytes = std::fs::read(path).at("read", path)?;
    let Some((program, arguments, package)) = uncompressor(&bytes) else { return Ok(bytes) };
    let mut command = Command::new(program);
    command.arg(arguments).arg("--").arg(path);
    Ok(tool::run(command, path, package)?.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::fixture;
    use proptest::prelude::*;

    /// kmod's own reader is the judge.
    #[test]
    fn kmod_reads_the_same() {
        for file in ["r8169.ko", "8139cp.ko", "8139too.ko"] {
            let path = fixture::module(file);
            let info = ModInfo::read(&path).unwrap();
            let field = |name: &str| {
                let output = Command::new("modinfo").args(["-F", name]).arg(&path).output().unwrap();
                let text = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
                (!text.is_empty()).then_some(text)
            };
            assert_eq!(info.name, field("name"));
            assert_eq!(info.version, field("version"));
            assert_eq!(info.srcversion, field("srcversion"));
            assert_eq!(info.vermagic, field("vermagic").map(|v| format!("{v} ")));
            assert_eq!(info.license, field("license"));
            assert_eq!(info.depends.join(","), field("depends").unwrap_or_default());
            assert_eq!(info.signed, field("sig_id").is_some());
            assert_eq!(info.release(), Some(fixture::kernel().release.as_str()));
        }
        let old = ModInfo::read(&fixture::module("8139cp.ko")).unwrap();
        assert!(old.version.is_some() && old.srcversion.is_some());
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let failed = ModInfo::read(Path::new("/nonexistent/r8169.ko")).unwrap_err();
        assert!(failed.to_string().contains("/nonexistent/r8169.ko"), "{failed}");
    }

    #[test]
    fn a_damaged_archive_names_program_and_file() {
        let folder = fixture::scratch();
        let file = folder.path().join("r8169.ko.xz");
        std::fs::write(&file, b"\xfd7zXZ\0nonsense").unwrap();
        let failed = ModInfo::read(&file).unwrap_err();
        assert!(matches!(&failed, Error::Tool { program, .. } if program == "xz"), "{failed}");
        assert!(failed.to_string().contains("r8169.ko.xz"), "{failed}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall(at in 0_usize..100_000, flip in 1_u8.., cut in 0_usize..100_000) {
            use std::sync::LazyLock;
            static REAL: LazyLock<Vec<u8>> =
                LazyLock::new(|| std::fs::read(fixture::module("8139too.ko")).unwrap());
            let mut bytes = REAL.clone();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
            bytes.truncate(cut.max(at.min(2000)));
            let _ = ModInfo::parse(&bytes);
        }
    }
}
