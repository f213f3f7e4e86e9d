//! POST_BUILD (dkms-contract.md §3): it finds the modules at their classic place and may write beside them, or change
//! them. What it leaves there is looked at again before it counts; when it fails, what make made counts.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::Instant;

use super::collect::{self, Staged};
use super::commands::{Progress, Surroundings};
use super::log::BuildLog;
use super::{Build, script};
use crate::error::{IoContext as _, Result};
use crate::host::users::User;

/// Runs POST_BUILD, if there is one, and puts the result at its classic place.
///
/// # Errors
/// POST_BUILD's own, or what is wrong with what it left: the package is built all the same. A result that cannot be put
/// in place.
pub(super) fn publish(
    build: &Build<'_>,
    around: &Surroundings<'_>,
    staged: Staged,
    started: Instant,
    log: &mut BuildLog,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let put = |staged: Staged| super::publish(build, staged, started.elapsed().as_secs_f64());
    if build.recipe.post_build.is_none() {
        return put(staged);
    }
    let place = build.layout.built_dir(build.package, build.kernel);
    let made = staged.modules.clone();
    let (changed, spare) = match around.workspace.copy_for_build(staged.folder())? {
        Some(copy) => {
            let around = Surroundings { result: Some((&copy, &place)), ..*around };
            let ran = script(build, &around, "POST_BUILD", build.recipe.post_build.as_deref(), log, progress);
            (
                ran.and_then(|()| collect::stage_again(build, around.workspace, &copy, &made, log, progress.sink())),
                staged,
            )
        }
        None => {
            let spare = staged.duplicate(build)?;
            put(staged)?;
            let opened = Opened::to(build.user, &place)?;
            let ran = script(build, around, "POST_BUILD", build.recipe.post_build.as_deref(), log, progress);
            drop(opened);
            (
                ran.and_then(|()| collect::stage_again(build, around.workspace, &place, &made, log, progress.sink())),
                spare,
            )
        }
    };
    match changed {
        Ok(changed) => put(changed),
        Err(error) => put(spare).and(Err(error)),
    }
}

/// The result's folders while the build user may add to them, but neither change nor remove what root has put there:
/// where nothing can be bound, that is as far as it goes.
struct Opened<'a> {
    folders: [std::path::PathBuf; 2],
    place: &'a Path,
}

impl<'a> Opened<'a> {
    fn to(user: Option<&User>, place: &'a Path) -> Result<Self> {
        let opened = Self { folders: [place.to_owned(), place.join("module")], place };
        if let Some(user) = user.filter(|_| rustix::process::geteuid().is_root()) {
            for folder in &opened.folders {
                chown(folder, Some(0), Some(user.gid)).at("change the group of", folder)?;
                fs::set_permissions(folder, Permissions::from_mode(0o1775)).at("open", folder)?;
            }
        }
        Ok(opened)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        for folder in &self.folders {
            if let Err(error) = fs::set_permissions(folder, Permissions::from_mode(0o755)) {
                tracing::warn!("cannot close {} again: {error}", self.place.display());
            }
        }
    }
}
