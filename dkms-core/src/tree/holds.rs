//! What an admin removed by hand, so that the daemon does not put it back (design.md, state `held`).

use serde::{Deserialize, Serialize};

use crate::error::{IoContext, Result};
use crate::layout::Layout;
use crate::model::{KernelId, PackageId};
use crate::tree::{files, locks, record};

/// One thing that was removed by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Which package; another version of it is not held.
    pub package: PackageId,
    /// On which kernel; none: on all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelId>,
    /// Who removed it.
    pub by_uid: u32,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// Everything that is held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Format of the file: 1.
    format: u32,
    holds: Vec<Hold>,
}

impl Holds {
    /// Reads what is held. A damaged file holds nothing, which is logged; it is kept beside when the next hold is written.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(layout: &Layout) -> Result<Self> {
        Ok(record::read(&layout.holds())?.unwrap_or_default())
    }

    /// The hold that keeps a package off a kernel, when there is one.
    #[must_use]
    pub fn is_held(&self, package: &PackageId, kernel: &KernelId) -> Option<&Hold> {
        self.holds.iter().find(|h| h.package == *package && h.kernel.as_ref().is_none_or(|k| k == kernel))
    }

    /// Every hold.
    pub fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter()
    }
}

/// Holds a package off a kernel, or off all; `at` is in seconds since 1970. What was held stays held, by whoever was first.
/// Says whether it was not held before.
///
/// # Errors
/// When it cannot be written.
pub fn hold(layout: &Layout, package: &PackageId, kernel: Option<&KernelId>, by_uid: u32, at: u64) -> Result<bool> {
    let mut new = false;
    change(layout, |holds| {
        new = !holds.iter().any(|h| h.package == *package && h.kernel.as_ref() == kernel);
        if new {
            holds.push(Hold { package: package.clone(), kernel: kernel.cloned(), by_uid, at });
        }
    })?;
    Ok(new)
}

/// Ends the hold on a package for a kernel, and with it one on the whole package: who installs it on one kernel by hand
/// has added it again. Without a kernel, ends all holds on the package.
///
/// # Errors
/// When it cannot be written.
pub fn release(layout: &Layout, package: &PackageId, kernel: Option<&KernelId>) -> Result<()> {
    retain(layout, |h| h.package != *package || kernel.is_some_and(|k| h.kernel.as_ref().is_some_and(|held| held != k)))
}

/// Keeps only some holds, as when a kernel is gone or a newer version has come.
///
/// # Errors
/// When it cannot be written.
pub fn retain(layout: &Layout, keep: impl FnMut(&Hold) -> bool) -> Result<()> {
    change(layout, |holds| holds.retain(keep))
}

fn change(layout: &Layout, change: impl FnOnce(&mut Vec<Hold>)) -> Result<()> {
    let _lock = locks::lock(layout, "holds", &[], &mut |_| {})?;
    let path = layout.holds();
    let before = Holds::read(layout)?;
    let mut after = Holds { format: 1, holds: before.holds.clone() };
    change(&mut after.holds);
    if after.holds == before.holds {
        return Ok(());
    }
    if before.format == 0 && files::look(&path)?.is_some() {
        let aside = path.with_extension("json.damaged");
        std::fs::rename(&path, &aside).at("set aside", &path)?;
    }
    files::make_folders(&layout.state_dir())?;
    files::write_atomic(&path, &record::bytes(&after, &path)?, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn package(version: &str) -> PackageId {
        PackageId::new("r8169", version).unwrap()
    }

    fn kernel(release: &str) -> KernelId {
        KernelId::new(release, "x86_64").unwrap()
    }

    #[rstest]
    #[case::one_kernel(Some("6.1"), None, &[("1", "6.1")])]
    #[case::the_whole_package(None, None, &[("1", "6.1"), ("1", "6.12")])]
    #[case::released_there(Some("6.1"), Some(Some("6.1")), &[])]
    #[case::released_elsewhere(Some("6.1"), Some(Some("6.12")), &[("1", "6.1")])]
    #[case::one_install_releases_the_package(None, Some(Some("6.1")), &[])]
    #[case::released_everywhere(Some("6.1"), Some(None), &[])]
    fn holds_last_until_released(
        #[case] held: Option<&str>,
        #[case] released: Option<Option<&str>>,
        #[case] wanted: &[(&str, &str)],
    ) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        hold(&layout, &package("1"), held.map(kernel).as_ref(), 1000, 7).unwrap();
        if let Some(released) = released {
            release(&layout, &package("1"), released.map(kernel).as_ref()).unwrap();
        }
        let holds = Holds::read(&layout).unwrap();
        let mut found = Vec::new();
        for version in ["1", "2"] {
            for release in ["6.1", "6.12"] {
                if let Some(hold) = holds.is_held(&package(version), &kernel(release)) {
                    assert_eq!((hold.by_uid, hold.at), (1000, 7));
                    found.push((version, release));
                }
            }
        }
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_damaged_file_holds_nothing_and_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        std::fs::create_dir_all(layout.state_dir()).unwrap();
        std::fs::write(layout.holds(), "{\"format\":1,").unwrap();
        assert_eq!(Holds::read(&layout).unwrap().iter().count(), 0);
        hold(&layout, &package("1"), None, 0, 0).unwrap();
        assert_eq!(Holds::read(&layout).unwrap().iter().count(), 1);
        assert!(layout.holds().with_extension("json.damaged").exists());
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        std::thread::scope(|scope| {
            for n in 0..8 {
                let layout = &layout;
                scope.spawn(move || hold(layout, &package(&n.to_string()), None, 0, 0).unwrap());
            }
        });
        assert_eq!(Holds::read(&layout).unwrap().iter().count(), 8);
    }
}
