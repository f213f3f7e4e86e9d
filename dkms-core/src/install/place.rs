//! The first half of an install: everything up to depmod.

use std::path::Path;

use crate::error::Result;
use crate::event::Sink;
use crate::install::intent::{Content, Intent, Source, Stage};
use crate::install::plan::{Plan, plan};
use crate::install::{Placed, Target, due, undo};
use crate::tree::{InstallRecord, files};

/// Puts a package's built modules in place of what was there, and makes the `kernel-…` link. Runs no depmod.
///
/// Modules that are refused while others are not are in the result, for the caller to warn about.
/// An install of this package that was left unfinished on this kernel is undone first. When something fails half way,
/// what was done is undone.
///
/// # Errors
/// When the kernel's folder is missing, a built module is missing, all modules are refused
/// ([`crate::Error::AllRefused`]), or the disk cannot be changed.
pub fn place(target: &Target<'_>, sink: &mut dyn Sink) -> Result<Placed> {
    undo(target.layout, &target.package.name, target.kernel)?;
    let Plan { intent, refused } = plan(target, sink)?;
    if let Err(e) = carry_out(target, intent.clone()) {
        if let Err(e) = undo(target.layout, &target.package.name, target.kernel) {
            tracing::error!("{e}");
        }
        return Err(e);
    }
    let InstallRecord { files, displaced: others, .. } = intent.record;
    let owner = |origin: &Path| others.iter().find(|other| other.origin == origin).map(|other| other.package.clone());
    let displaced = intent.displaced.into_iter().map(|origin| (origin.clone(), owner(&origin))).collect();
    Ok(Placed { displaced, files, refused })
}

/// The order is what makes it safe: the mark that depmod is due, the plan, then copies of all that will change, then the
/// changes, then the link, then the mark that all is done. New files come before old ones go.
pub(super) fn carry_out(target: &Target<'_>, mut intent: Intent) -> Result<()> {
    let layout = target.layout;
    due::mark(layout, &intent.kernel.release, intent.owner.as_ref())?;
    intent.write(layout)?;
    files::make_folders(&layout.undo_dir(&intent.package.name, &intent.kernel))?;
    for (n, change) in intent.changes.iter().enumerate() {
        if let Some(before @ Content::File { .. }) = &change.before {
            files::copy_atomic(&layout.host(&change.path), &intent.copy(layout, n), 0o600, before.attributes())?;
        }
    }
    for folder in &intent.folders {
        files::make_folders(&layout.host(folder))?;
    }
    for change in &intent.changes {
        let path = layout.host(&change.path);
        match (&change.after, &change.from) {
            (Some(after), _) if change.before.as_ref().is_some_and(|before| before.same(after)) => {}
            (Some(Content::Link { target }), _) => files::link_atomic(target, &path)?,
            (Some(Content::File { mode, .. }), Some(Source::Bytes(bytes))) => {
                files::write_atomic(&path, bytes, *mode)?;
            }
            (Some(after @ Content::File { mode, .. }), Some(from)) => {
                let from = match from {
                    Source::Before(n) => intent.copy(layout, *n),
                    Source::File(from) => layout.host(from),
                    Source::Bytes(_) => continue,
                };
                files::copy_atomic(&from, &path, *mode, after.attributes())?;
            }
            _ => {}
        }
    }
    for change in intent.changes.iter().filter(|change| change.after.is_none()) {
        files::remove(&layout.host(&change.path))?;
    }
    let link = layout.installed_link(&intent.package.name, &intent.kernel);
    files::link_atomic(&intent.link_after(), &link)?;
    intent.stage = Stage::Placed;
    intent.write(layout)
}
