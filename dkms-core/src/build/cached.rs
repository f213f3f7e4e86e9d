//! Takes a finished build out of the cache in place of making it, and keeps one that was made. Neither is worth failing
//! for: what the cache cannot do is a warning, and the build goes its way.

use std::fs;

use super::collect::{self, Staged};
use super::log::{self, BuildLog};
use super::{Build, LOGS_KEPT, publish};
use crate::artifact::{ModInfo, sign};
use crate::build::toolchain::{self, Toolchain};
use crate::cache::{Cache, Entry, Kept, Key, Place, Tools, tools};
use crate::error::{IoContext as _, Result};
use crate::event::{Event, Phase, Sink};
use crate::layout::Layout;
use crate::tree::Manifest;

/// Puts a build of these inputs at its classic place, when the cache has one; says whether it had.
///
/// The caller holds the build's lock, as for [`super::run`].
///
/// # Errors
/// When the result cannot be put in its place.
pub(crate) fn take(build: &Build<'_>, cache: &Cache, key: &Key, sink: &mut dyn Sink) -> Result<bool> {
    match place(build, cache, key, sink) {
        Ok(Some((staged, entry))) => {
            sink.phase(Phase::Finishing);
            let log = write_log(build, &staged, &entry)?;
            sink.emit(Event::Log { path: log });
            sink.emit(Event::FromCache { built_at: entry.built_at });
            publish(build, staged, entry.seconds, true)?;
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error) => {
            sink.warn(format!("the cache of builds cannot be used: {error}"));
            Ok(false)
        }
    }
}

fn place(build: &Build<'_>, cache: &Cache, key: &Key, sink: &mut dyn Sink) -> Result<Option<(Staged, Entry)>> {
    let mut staged = Staged::empty(build)?;
    let now = tools_now(build);
    let mut other = None;
    let placed = cache.place(key, staged.folder(), |entry| {
        other = now.changed_since(&entry.tools).map(str::to_owned);
        other.is_none() && entry.package == *build.package && entry.kernel == *build.kernel
    })?;
    match placed {
        Place::Placed(entry) => {
            staged.modules.clone_from(&entry.modules);
            Ok(Some((staged, entry)))
        }
        Place::Absent => Ok(None),
        Place::Refused => {
            if let Some(program) = other {
                sink.note(format!("the build in the cache is of another {program}: built anew"));
            }
            Ok(None)
        }
        Place::Damaged { why } => {
            sink.warn(format!("the build in the cache was damaged ({why}): thrown away, and built anew"));
            Ok(None)
        }
    }
}

/// The log of this attempt says where its result is from, and goes on with the log of the build itself; the same is the
/// result's log.
fn write_log(build: &Build<'_>, staged: &Staged, entry: &Entry) -> Result<std::path::PathBuf> {
    let logs = build.layout.attempt_logs(build.package, build.kernel);
    let mut log = BuildLog::begin(&logs, build.package, build.kernel)?;
    log::prune(&logs, LOGS_KEPT);
    let kept = staged.folder().join("log").join("make.log");
    let text = fs::read(&kept).unwrap_or_default();
    log.from_cache(entry.built_at, &text)?;
    // The file may be the cache's own.
    crate::tree::files::remove(&kept)?;
    fs::create_dir_all(staged.folder().join("log")).at("make the folder of", &kept)?;
    fs::copy(log.path(), &kept).at("write", &kept)?;
    Ok(log.path().to_owned())
}

/// Keeps what was built.
pub(crate) fn keep(build: &Build<'_>, cache: &Cache, key: &Key, sink: &mut dyn Sink) {
    match try_keep(build, cache, key) {
        Ok(Some(Kept::Yes { .. }) | None) => {}
        Ok(Some(Kept::TooLarge)) => {
            sink.note("its build is larger than the cache may be: not kept (cache_megabytes in dkmsd.toml)".into());
        }
        Err(error) => sink.warn(format!("the build could not be kept in the cache: {error}")),
    }
}

fn try_keep(build: &Build<'_>, cache: &Cache, key: &Key) -> Result<Option<Kept>> {
    let Some(manifest) = Manifest::read(build.layout, build.package, build.kernel)? else { return Ok(None) };
    let folder = build.layout.built_dir(build.package, build.kernel);
    let signer =
        sign::signer(build.layout, &build.kernel.release, &build.headers.config, &collect::sign_settings(build));
    match signer {
        Err(sign::SignOutcome::NotWanted { .. }) => {}
        // The next attempt may well be able to sign.
        Err(_) => return Ok(None),
        Ok(_) => {
            for module in &manifest.built.modules {
                if !ModInfo::read(&folder.join("module").join(&module.file_name))?.signed {
                    return Ok(None);
                }
            }
        }
    }
    let entry = Entry {
        package: build.package.clone(),
        kernel: build.kernel.clone(),
        built_at: manifest.built.at,
        seconds: manifest.built.seconds,
        tools: tools_now(build),
        modules: manifest.built.modules,
        files: Vec::new(),
    };
    // Our own records are of this build in this tree.
    let own = |name: &str| name.starts_with(".dkmsd-") || name.starts_with(Layout::DEPENDENCY_RECORD);
    cache.keep(key, entry, &folder, own).map(Some)
}

/// What this kernel's modules are built with here.
fn tools_now(build: &Build<'_>) -> Tools {
    let toolchain = Toolchain::choose(&build.headers.config, toolchain::on_path);
    Tools::now(toolchain.env.iter().map(|(_, program)| program.as_str()), tools::on_path)
}
