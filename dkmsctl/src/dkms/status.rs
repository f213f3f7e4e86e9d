//! `dkms status`: one line for each package on each kernel, in the form that scripts parse (dkms-contract.md §2).

use std::path::Path;

use dkms_core::conf::{ConfLoader, Request};
use dkms_core::error::Error;
use dkms_core::host::distro::Distro;
use dkms_core::host::kernels;
use dkms_core::install::{self, Difference};
use dkms_core::layout::Layout;
use dkms_core::model::{KernelId, PackageId};
use dkms_core::settings::Settings;
use dkms_core::tree::{self, SourceState, TreeEntry, TreePackage};
use serde::Serialize;

use super::args::Args;
use super::failure::Failure;
use super::machine;
use super::terminal::Terminal;

/// What `--json` prints, as `dkmsctl status --json` does: fields are added, never altered; what is not there is `null`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    format: u32,
    packages: &'a [Row],
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    #[serde(rename = "package")]
    name: String,
    version: String,
    kernel: Option<String>,
    arch: Option<String>,
    state: State,
    /// The kernel that it was built for, of a weak module.
    from: Option<String>,
    /// Kernel modules that it displaced are kept.
    original_modules: bool,
    difference: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Added,
    Broken,
    Built,
    Installed,
    InstalledWeak,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Broken => "broken",
            Self::Built => "built",
            Self::Installed => "installed",
            Self::InstalledWeak => "installed-weak",
        }
    }
}

/// Prints what is in the tree; whatever is wrong with it is told and changes no exit code.
pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<(), Failure> {
    let root = args.root.as_deref().unwrap_or(Path::new("/"));
    if !root.is_dir() {
        terminal.warning(&format!("--root {}: there is no such folder", root.display()));
    }
    let layout = match machine::settings(args, root) {
        Ok(settings) => settings.layout(),
        Err(failure) => {
            terminal.failure(&failure.clone());
            Settings::defaults(root).layout()
        }
    };
    let packages = match tree::scan(&layout) {
        Ok(packages) => packages,
        Err(error) => {
            terminal.failure(&error.into());
            return Ok(());
        }
    };
    let named = match &args.folder {
        Some(folder) if args.name.is_none() => of_folder(args, folder, &layout, &packages, terminal),
        _ => Named { name: args.name.clone(), version: args.version.clone() },
    };
    let view = View { args, layout: &layout, loader: ConfLoader::new(&layout), distro: Distro::load(&layout).ok() };
    let mut rows = Vec::new();
    for package in packages.iter().filter(|p| named.fits(&p.id)) {
        if let SourceState::Broken(source) = &package.source {
            terminal.warning(&format!(
                "{} is broken: its source {} is missing; put it back, or forget the package with: dkms remove {} --all",
                package.id,
                source.display(),
                package.id
            ));
        }
        rows.extend(view.rows(package));
    }
    if args.json {
        terminal.line(&json(&rows)?);
        return Ok(());
    }
    rows.iter().for_each(|row| terminal.line(&line(row)));
    Ok(())
}

/// Which packages are asked for; what is none is any.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    name: Option<String>,
    version: Option<String>,
}

impl Named {
    fn fits(&self, id: &PackageId) -> bool {
        self.name.as_deref().is_none_or(|name| name == id.name.as_str())
            && self.version.as_deref().is_none_or(|version| version == id.version.as_str())
    }
}

/// Which package is meant by a word that is a source, too: one that is known by it as NAME or NAME/VERSION; else the one
/// that the dkms.conf there describes.
fn of_folder(args: &Args, folder: &Path, layout: &Layout, packages: &[TreePackage], terminal: &mut Terminal) -> Named {
    let word = folder.to_string_lossy();
    let (name, version) = match word.split_once('/') {
        Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
        None => (word.as_ref().to_owned(), None),
    };
    let known = Named { name: Some(name), version };
    if packages.iter().any(|package| known.fits(&package.id)) {
        return known;
    }
    let source = match &args.root {
        Some(root) => root.join(folder.strip_prefix("/").unwrap_or(folder)),
        None => folder.to_owned(),
    };
    match identify(&source, layout) {
        Ok(id) => Named { name: Some(id.name.to_string()), version: Some(id.version.to_string()) },
        Err(error) => {
            terminal.warning(&format!("which package {} is cannot be told: {error}", folder.display()));
            known
        }
    }
}

fn identify(source: &Path, layout: &Layout) -> Result<PackageId, Error> {
    let kernel = KernelId { release: kernels::running()?, arch: kernels::machine()? };
    let request = Request { source, conf: None, package: None, kernel: &kernel, strict: false, directives: &[] };
    Ok(ConfLoader::new(layout).load(&request)?.recipe.package)
}

struct View<'a> {
    args: &'a Args,
    layout: &'a Layout,
    loader: ConfLoader,
    distro: Option<Distro>,
}

impl View<'_> {
    fn rows(&self, package: &TreePackage) -> Vec<Row> {
        if matches!(package.source, SourceState::Broken(_)) {
            return vec![row(&package.id, State::Broken)];
        }
        let built = package.entries.iter().filter(|entry| self.asked(&entry.kernel)).map(|e| self.entry(package, e));
        let weak = package.weak.iter().filter(|weak| self.asked(&weak.kernel)).map(|weak| Row {
            from: Some(weak.from.release.to_string()),
            ..on(row(&package.id, State::InstalledWeak), &weak.kernel)
        });
        let rows: Vec<Row> = built.chain(weak).collect();
        if rows.is_empty() { vec![row(&package.id, State::Added)] } else { rows }
    }

    /// Kernels and architectures filter by themselves or by position, as they are given.
    fn asked(&self, kernel: &KernelId) -> bool {
        let (kernels, arches) = (&self.args.kernels, &self.args.arches);
        if kernels.len() > 1 && arches.len() == kernels.len() {
            return kernels.iter().zip(arches).any(|(k, a)| *k == kernel.release && *a == kernel.arch);
        }
        (kernels.is_empty() || kernels.contains(&kernel.release))
            && (arches.is_empty() || arches.contains(&kernel.arch))
    }

    fn entry(&self, package: &TreePackage, entry: &TreeEntry) -> Row {
        let state = if entry.installed { State::Installed } else { State::Built };
        let difference = if entry.installed { self.difference(package, entry) } else { None };
        Row { original_modules: entry.originals, difference, ..on(row(&package.id, state), &entry.kernel) }
    }

    fn difference(&self, package: &TreePackage, entry: &TreeEntry) -> Option<&'static str> {
        let record = entry.manifest.as_ref().and_then(|manifest| manifest.installed.as_ref());
        let recipe = match (&package.source, record) {
            (SourceState::Present(source), None) => {
                let request = Request {
                    source,
                    conf: None,
                    package: Some(&package.id),
                    kernel: &entry.kernel,
                    strict: false,
                    directives: &[],
                };
                self.loader.load(&request).ok().map(|loaded| loaded.recipe)
            }
            _ => None,
        };
        let folder = self.distro.as_ref().and_then(Distro::modules_folder);
        let found =
            install::difference(self.layout, &package.id, &entry.kernel, record, recipe.as_ref(), folder.as_deref());
        match found {
            Ok(None) => None,
            Ok(Some(Difference::BuiltMissing)) => Some("Built modules are missing in the kernel modules folder"),
            // What cannot be read cannot be said to be the same.
            Ok(Some(Difference::Differs)) | Err(_) => Some("Differences between built and installed modules"),
        }
    }
}

fn row(id: &PackageId, state: State) -> Row {
    Row {
        name: id.name.to_string(),
        version: id.version.to_string(),
        state,
        kernel: None,
        arch: None,
        from: None,
        original_modules: false,
        difference: None,
    }
}

fn on(row: Row, kernel: &KernelId) -> Row {
    Row { kernel: Some(kernel.release.to_string()), arch: Some(kernel.arch.to_string()), ..row }
}

fn json(rows: &[Row]) -> Result<String, Failure> {
    let document = Document { format: 1, packages: rows };
    serde_json::to_string(&document).map_err(|why| Failure::new(1, why.to_string()))
}

/// The fixed form.
fn line(row: &Row) -> String {
    let Row { name, version, .. } = row;
    let state = row.state.as_str();
    let (Some(kernel), Some(arch)) = (&row.kernel, &row.arch) else {
        return format!("{name}/{version}: {state}");
    };
    if let Some(from) = &row.from {
        return format!("{name}, {version}, {kernel}, {arch}: {state} from {from}");
    }
    let mut line = format!("{name}/{version}, {kernel}, {arch}: {state}");
    if row.original_modules {
        line.push_str(" (Original modules exist)");
    }
    if let Some(difference) = row.difference {
        line.push_str(&format!(" ({difference})"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn installed() -> Row {
        let kernel = KernelId::new("6.1.0-56-amd64", "x86_64").unwrap();
        on(row(&PackageId::new("r8169", "2.2LK").unwrap(), State::Installed), &kernel)
    }

    #[test]
    fn the_document_has_every_field_of_every_state() {
        let id = PackageId::new("a", "1").unwrap();
        let rows = [
            row(&id, State::Added),
            row(&id, State::Broken),
            Row { state: State::Built, ..installed() },
            Row { original_modules: true, difference: Some("D"), ..installed() },
            Row { state: State::InstalledWeak, from: Some("6.0".into()), ..installed() },
        ];
        let text = json(&rows).unwrap();
        assert_eq!(text.lines().count(), 1);
        let none = json!({ "kernel": null, "arch": null, "from": null, "original_modules": false, "difference": null });
        let with = |base: &Value, more: Value| {
            let mut all = base.as_object().unwrap().clone();
            all.extend(more.as_object().unwrap().clone());
            Value::from(all)
        };
        let a = with(&none, json!({ "package": "a", "version": "1" }));
        let on = json!({ "package": "r8169", "version": "2.2LK", "kernel": "6.1.0-56-amd64", "arch": "x86_64" });
        let r8169 = with(&none, on);
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({ "format": 1, "packages": [
                with(&a, json!({ "state": "added" })),
                with(&a, json!({ "state": "broken" })),
                with(&r8169, json!({ "state": "built" })),
                with(&r8169, json!({ "state": "installed", "original_modules": true, "difference": "D" })),
                with(&r8169, json!({ "state": "installed-weak", "from": "6.0" })),
            ] })
        );
        assert_eq!(json(&[]).unwrap(), r#"{"format":1,"packages":[]}"#);
    }

    #[rstest]
    #[case(row(&PackageId::new("a", "1").unwrap(), State::Added), "a/1: added")]
    #[case(row(&PackageId::new("a", "1").unwrap(), State::Broken), "a/1: broken")]
    #[case(installed(), "r8169/2.2LK, 6.1.0-56-amd64, x86_64: installed")]
    #[case(Row { state: State::Built, ..installed() }, "r8169/2.2LK, 6.1.0-56-amd64, x86_64: built")]
    #[case(
        Row { original_modules: true, difference: Some("D"), ..installed() },
        "r8169/2.2LK, 6.1.0-56-amd64, x86_64: installed (Original modules exist) (D)"
    )]
    #[case(
        Row { state: State::InstalledWeak, from: Some("6.0".into()), ..installed() },
        "r8169, 2.2LK, 6.1.0-56-amd64, x86_64: installed-weak from 6.0"
    )]
    fn lines_have_their_fixed_form(#[case] row: Row, #[case] wanted: &str) {
        assert_eq!(line(&row), wanted);
    }
}
