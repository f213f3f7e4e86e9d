//! How long a build is going to take: as long as the last one did, or, before there is a record, by the size of its
//! source. Only good for comparing: the longest goes first, so that it does not run alone at the end.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::model::PackageId;
use crate::tree::TreePackage;

/// How much source a compiler gets through, roughly: headers weigh more than what is written here.
const BYTES_A_SECOND: u64 = 30_000;
/// No more files are counted than this; it is among the longest anyway.
const ENOUGH: usize = 20_000;
/// Folders in folders.
const DEEPEST: usize = 16;

/// How long the next build of a package will take. `packages`: the tree. `source`: its source.
#[must_use]
pub fn expected(package: &PackageId, packages: &[TreePackage], source: Option<&Path>) -> Duration {
    recorded(package, packages).unwrap_or_else(|| {
        let bytes = source.map_or(0, |source| code_in(source, DEEPEST, &mut 0));
        Duration::from_millis(bytes.saturating_mul(1000) / BYTES_A_SECOND)
    })
}

/// How long the newest build took: of this version on any kernel, else of another.
fn recorded(package: &PackageId, packages: &[TreePackage]) -> Option<Duration> {
    let built = |wanted: &dyn Fn(&PackageId) -> bool| {
        let entries = packages.iter().filter(|p| wanted(&p.id)).flat_map(|p| &p.entries);
        let newest = entries.filter_map(|e| Some(&e.manifest.as_ref()?.built)).max_by_key(|built| built.at)?;
        Duration::try_from_secs_f64(newest.seconds).ok()
    };
    built(&|id| id == package).or_else(|| built(&|id| id.name == package.name))
}

/// The bytes of C and assembler below a folder.
fn code_in(folder: &Path, depth: usize, seen: &mut usize) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        *seen += 1;
        if *seen > ENOUGH {
            break;
        }
        // Of the entry itself: no link is followed.
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        let is_code = path.extension().is_some_and(|e| ["c", "S", "cc", "cpp", "rs"].iter().any(|known| e == *known));
        if kind.is_dir() && depth > 0 {
            bytes += code_in(&path, depth - 1, seen);
        } else if kind.is_file() && is_code {
            bytes += entry.metadata().map_or(0, |m| m.len());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KernelId;
    use crate::tree::{BuiltRecord, Manifest, SourceState, TreeEntry};

    /// In the tree, with builds that ended at a time and took so long.
    fn package(id: &str, builds: &[(u64, f64)]) -> TreePackage {
        let id: PackageId = id.parse().unwrap();
        let entry = |(n, (at, seconds)): (usize, &(u64, f64))| {
            let kernel = KernelId::new(format!("6.{n}"), "x86_64").unwrap();
            let built = BuiltRecord {
                at: *at,
                seconds: *seconds,
                fingerprint: String::new(),
                source_stamp: String::new(),
                modules: Vec::new(),
                why: String::new(),
                from_cache: false,
            };
            let manifest = Some(Manifest::new(id.clone(), kernel.clone(), built));
            TreeEntry { kernel, built: true, installed: false, originals: false, manifest }
        };
        let entries = builds.iter().enumerate().map(entry).collect();
        TreePackage { source: SourceState::Present("/nowhere".into()), entries, weak: Vec::new(), id }
    }

    #[test]
    fn the_newest_build_says_and_this_versions_before_anothers() {
        let tree = [package("a/1", &[(5, 50.0), (7, 70.0)]), package("a/2", &[(9, 90.0)]), package("b/1", &[])];
        let seconds = |id: &str| expected(&id.parse().unwrap(), &tree, None).as_secs();
        assert_eq!((seconds("a/1"), seconds("a/2"), seconds("a/3")), (70, 90, 90));
        assert_eq!(seconds("b/1"), 0);
        let nonsense = [package("a/1", &[(1, f64::NAN)])];
        assert_eq!(expected(&"a/1".parse().unwrap(), &nonsense, None), Duration::ZERO);
    }

    #[test]
    fn without_a_record_the_code_is_counted_and_nothing_else() {
        let source = tempfile::tempdir().unwrap();
        fs::create_dir_all(source.path().join("sub")).unwrap();
        for (name, size) in [("a.c", 30_000), ("sub/b.c", 60_000), ("firmware.bin", 900_000)] {
            fs::write(source.path().join(name), vec![b' '; size]).unwrap();
        }
        std::os::unix::fs::symlink("sub", source.path().join("again")).unwrap();
        let id = "a/1".parse().unwrap();
        assert_eq!(expected(&id, &[], Some(source.path())), Duration::from_secs(3));
    }
}
