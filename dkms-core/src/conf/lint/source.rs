//! What can be seen beside the file: patches, scripts and Makefiles it promises.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Severity;
use super::checks::Lint;
use crate::conf::Recipe;

/// Checks a recipe against the source folder it came from.
pub(super) fn check(lint: &mut Lint<'_>, folder: &Path, recipe: &Recipe) {
    let alone = fs::read_dir(folder).map(|entries| entries.flatten().count() < 2).unwrap_or(true);
    if alone {
        // A dkms.conf by itself: nothing can be said about what is not there to be seen.
        return;
    }
    for patch in &recipe.patches {
        if !folder.join("patches").join(patch).is_file() {
            let why = format!("PATCH {patch} is not in {}", folder.join("patches").display());
            lint.at(lint.line_of("PATCH"), Severity::Error, why, "put it there, or leave the directive out".to_owned());
        }
    }
    let scripts = [
        ("POST_ADD", &recipe.post_add),
        ("PRE_INSTALL", &recipe.pre_install),
        ("POST_INSTALL", &recipe.post_install),
        ("POST_REMOVE", &recipe.post_remove),
    ];
    for (directive, command) in scripts {
        let Some(script) = command.as_deref().and_then(|c| c.split_whitespace().next()) else { continue };
        let path = folder.join(script);
        let Ok(meta) = fs::metadata(&path) else { continue };
        if meta.permissions().mode() & 0o111 == 0 {
            let why = format!("{directive}: {script} is not executable, so it is not run");
            lint.at(lint.line_of(directive), Severity::Warning, why, format!("run chmod +x {script}"));
        }
    }
    for module in &recipe.modules {
        let at = folder.join(&module.built_location);
        let Some(objects) = objects(&at) else { continue };
        if !objects.iter().any(|o| o == module.built_name.as_str()) {
            let why = format!("no obj-m in {} makes {}.ko", at.display(), module.built_name);
            let write =
                format!("make BUILT_MODULE_NAME and BUILT_MODULE_LOCATION agree with: obj-m: {}", objects.join(" "));
            lint.at(lint.line_of("BUILT_MODULE_NAME"), Severity::Warning, why, write);
        }
    }
}

/// What the Makefile of a folder builds as modules; none when there is no telling.
fn objects(folder: &Path) -> Option<Vec<String>> {
    let text = ["Kbuild", "Makefile"].iter().find_map(|name| fs::read_to_string(folder.join(name)).ok())?;
    let mut objects = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split('#').next().unwrap_or(line).trim();
        let Some(rest) = line.strip_prefix("obj-") else {
            if line.starts_with("include ") {
                return None;
            }
            continue;
        };
        let (_, words) = rest.split_once("=")?;
        for word in words.split_whitespace() {
            if word.contains('$') || word.ends_with('/') {
                return None;
            }
            objects.extend(word.strip_suffix(".o").map(str::to_owned));
        }
    }
    (!objects.is_empty()).then_some(objects)
}
