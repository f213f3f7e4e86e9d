//! The digest of everything that a finished build is made from.

use std::fmt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::artifact::sign::SignSettings;
use crate::artifact::{CompressOptions, Suffix};
use crate::conf::Recipe;
use crate::fingerprint::Fingerprint;
use crate::model::{KernelId, PackageId, PackageName};

/// What an entry is called: SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The digest itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key like no other of that name.
    #[cfg(test)]
    pub(super) fn of_test(name: &str) -> Self {
        Self(crate::tree::files::sha256_bytes(name.as_bytes()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form of the digest, of entries and of what becomes of a build between make and the tree. A program of another
/// version may check, strip or sign otherwise, so its version counts as well.
const FORM: &str = concat!("1 ", env!("CARGO_PKG_VERSION"));

/// Everything that a build is made from, but for the compiler ([`super::Tools`]).
#[derive(Debug, Clone)]
pub struct Ingredients<'a> {
    /// What is built.
    pub package: &'a PackageId,
    /// For which kernel.
    pub kernel: &'a KernelId,
    /// Its source, an admin's patches, scripts and overrides.
    pub inputs: &'a Fingerprint,
    /// What dkms.conf comes to. Not its values: those may hold what no build asks for, as a date.
    pub recipe: &'a Recipe,
    /// `--directive`.
    pub directives: &'a [(String, String)],
    /// [`super::header_tree::identity`].
    pub headers: String,
    /// What it depends on, as installed for this kernel: name, and digest of its version, source and result.
    pub dependencies: Vec<(PackageName, String)>,
    /// Whether and how modules are signed.
    pub signing: &'a SignSettings,
    /// The certificate, by which modules are signed; empty where there is none.
    pub certificate: Vec<u8>,
    /// How the kernel's modules are compressed.
    pub suffix: Suffix,
    /// With which options.
    pub compress: &'a CompressOptions,
    /// framework.conf's `build_environment`: the file and what is in it.
    pub build_environment: Option<(&'a Path, Vec<u8>)>,
    /// The paths that a build sees: headers and trees. Some end up in modules.
    pub paths: Vec<&'a Path>,
}

impl Ingredients<'_> {
    /// Their digest.
    ///
    /// # Errors
    /// When the description of one cannot be written as JSON.
    pub fn key(&self) -> serde_json::Result<Key> {
        let mut hash = Sha256::new();
        let mut add = |name: &str, bytes: &[u8]| {
            for part in [name.as_bytes(), bytes] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        };
        add("form", FORM.as_bytes());
        add("package", self.package.to_string().as_bytes());
        add("kernel", self.kernel.to_string().as_bytes());
        add("source", self.inputs.source.as_bytes());
        add("scripts", self.inputs.scripts.as_bytes());
        add("overrides", self.inputs.conf.as_bytes());
        let Recipe { make, patches, pre_build, post_build, .. } = self.recipe;
        let wanted: Vec<_> = self.recipe.wanted().collect();
        add("recipe", &serde_json::to_vec(&(wanted, make, patches, pre_build, post_build))?);
        add("directives", &serde_json::to_vec(self.directives)?);
        add("headers", self.headers.as_bytes());
        for (name, digest) in &self.dependencies {
            add("dependency", name.as_str().as_bytes());
            add("as", digest.as_bytes());
        }
        add("signing", &serde_json::to_vec(self.signing)?);
        add("certificate", &self.certificate);
        add("suffix", self.suffix.as_str().as_bytes());
        add("compress", &serde_json::to_vec(self.compress)?);
        if let Some((path, text)) = &self.build_environment {
            add("environment", path.as_os_str().as_encoded_bytes());
            add("text", text);
        }
        for path in &self.paths {
            add("path", path.as_os_str().as_encoded_bytes());
        }
        Ok(Key(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

/// How a build runs, as far as that decides whether it would come to the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// It runs in namespaces of its own.
    pub apart: bool,
    /// It runs as root.
    pub as_root: bool,
    /// `network = true`.
    pub network: bool,
    /// It may write to other folders than its own.
    pub writes: bool,
    /// A link of its source leads out of it, to what no digest holds.
    pub links_out: bool,
}

impl Conditions {
    /// Why the same inputs need not give the same result, in half a sentence; none when they do.
    #[must_use]
    pub fn why_not(&self) -> Option<&'static str> {
        [
            (self.network, "its build may use the network"),
            (self.as_root, "it is built as root"),
            (self.writes, "its build may write to folders of others"),
            (!self.apart, "builds are not kept apart from the system here"),
            (self.links_out, "a link in its source leads out of it"),
        ]
        .into_iter()
        .find_map(|(so, why)| so.then_some(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::ModuleRecipe;
    use rstest::rstest;

    fn recipe() -> Recipe {
        let name: crate::model::ModuleName = "a".parse().unwrap();
        Recipe {
            package: "a/1".parse().unwrap(),
            modules: vec![ModuleRecipe {
                built_name: name.clone(),
                built_location: String::new(),
                dest_name: name,
                dest_location: "/extra".into(),
                strip: true,
                exclusion: None,
            }],
            make: "make".into(),
            patches: vec!["one.patch".into()],
            pre_build: None,
            post_build: None,
            post_add: None,
            pre_install: None,
            post_install: None,
            post_remove: None,
            build_depends: Vec::new(),
            build_depends_rebuild: false,
            autoinstall: true,
            no_weak_modules: false,
            obsolete_by: None,
            exclusion: None,
            warnings: Vec::new(),
        }
    }

    /// Everything a key is made from, each part to be changed by a test.
    struct All {
        package: PackageId,
        kernel: KernelId,
        inputs: Fingerprint,
        recipe: Recipe,
        directives: Vec<(String, String)>,
        headers: String,
        dependencies: Vec<(PackageName, String)>,
        signing: SignSettings,
        certificate: Vec<u8>,
        suffix: Suffix,
        compress: CompressOptions,
        environment: Option<Vec<u8>>,
        path: &'static str,
    }

    fn all() -> All {
        All {
            package: "a/1".parse().unwrap(),
            kernel: KernelId::new("6.1", "x86_64").unwrap(),
            inputs: Fingerprint { source: "s".into(), ..Fingerprint::default() },
            recipe: recipe(),
            directives: Vec::new(),
            headers: "h".into(),
            dependencies: vec![("zfs".parse().unwrap(), "2.3".into())],
            signing: SignSettings::default(),
            certificate: b"cert".to_vec(),
            suffix: Suffix::Ko,
            compress: CompressOptions::default(),
            environment: None,
            path: "/usr/src",
        }
    }

    fn key(all: &All) -> Key {
        Ingredients {
            package: &all.package,
            kernel: &all.kernel,
            inputs: &all.inputs,
            recipe: &all.recipe,
            directives: &all.directives,
            headers: all.headers.clone(),
            dependencies: all.dependencies.clone(),
            signing: &all.signing,
            certificate: all.certificate.clone(),
            suffix: all.suffix,
            compress: &all.compress,
            build_environment: all.environment.clone().map(|text| (Path::new("/env"), text)),
            paths: vec![Path::new(all.path)],
        }
        .key()
        .unwrap()
    }

    type Change = fn(&mut All);

    #[rstest]
    #[case::package(|a: &mut All| a.package = "a/2".parse().unwrap())]
    #[case::kernel(|a: &mut All| a.kernel = KernelId::new("6.2", "x86_64").unwrap())]
    #[case::arch(|a: &mut All| a.kernel = KernelId::new("6.1", "i686").unwrap())]
    #[case::source(|a: &mut All| a.inputs.source = "t".into())]
    #[case::scripts(|a: &mut All| a.inputs.scripts = "t".into())]
    #[case::overrides(|a: &mut All| a.inputs.conf = "t".into())]
    #[case::make(|a: &mut All| a.recipe.make = "make all".into())]
    #[case::patches(|a: &mut All| a.recipe.patches.clear())]
    #[case::pre_build(|a: &mut All| a.recipe.pre_build = Some("x".into()))]
    #[case::post_build(|a: &mut All| a.recipe.post_build = Some("x".into()))]
    #[case::strip(|a: &mut All| a.recipe.modules[0].strip = false)]
    #[case::name(|a: &mut All| a.recipe.modules[0].dest_name = "b".parse().unwrap())]
    #[case::module_left_out(|a: &mut All| a.recipe.modules[0].exclusion = Some("arch".into()))]
    #[case::directive(|a: &mut All| a.directives.push(("A".into(), "b".into())))]
    #[case::headers(|a: &mut All| a.headers = "i".into())]
    #[case::dependency(|a: &mut All| a.dependencies[0].1 = "2.4".into())]
    #[case::dependencies(|a: &mut All| a.dependencies.clear())]
    #[case::signing(|a: &mut All| a.signing.in_chroot = true)]
    #[case::key(|a: &mut All| a.signing.key = Some("pkcs11:other".into()))]
    #[case::certificate(|a: &mut All| a.certificate = b"other".to_vec())]
    #[case::suffix(|a: &mut All| a.suffix = Suffix::Xz)]
    #[case::compression(|a: &mut All| a.compress.xz.push("-9".into()))]
    #[case::environment(|a: &mut All| a.environment = Some(b"A=1".to_vec()))]
    #[case::path(|a: &mut All| a.path = "/opt/src")]
    fn every_ingredient_counts(#[case] change: Change) {
        let mut changed = all();
        change(&mut changed);
        assert_ne!(key(&changed), key(&all()));
    }

    /// What happens to the modules afterwards is no part of the build.
    #[rstest]
    #[case::autoinstall(|a: &mut All| a.recipe.autoinstall = false)]
    #[case::post_install(|a: &mut All| a.recipe.post_install = Some("x".into()))]
    #[case::warnings(|a: &mut All| a.recipe.warnings.push("date: 12:01".into()))]
    #[case::dependencies_by_name(|a: &mut All| a.recipe.build_depends_rebuild = true)]
    fn what_is_no_ingredient_does_not(#[case] change: Change) {
        let mut changed = all();
        change(&mut changed);
        assert_eq!(key(&changed), key(&all()));
    }

    #[rstest]
    #[case(Conditions { apart: true, as_root: false, network: false, writes: false, links_out: false }, None)]
    #[case(Conditions { apart: true, as_root: true, network: false, writes: false, links_out: false }, Some("root"))]
    #[case(Conditions { apart: true, as_root: false, network: true, writes: false, links_out: false }, Some("network"))]
    #[case(Conditions { apart: true, as_root: false, network: false, writes: true, links_out: false }, Some("write"))]
    #[case(Conditions { apart: false, as_root: false, network: false, writes: false, links_out: false }, Some("apart"))]
    #[case(Conditions { apart: true, as_root: false, network: false, writes: false, links_out: true }, Some("link"))]
    fn only_what_comes_to_the_same_again_is_kept(#[case] conditions: Conditions, #[case] word: Option<&str>) {
        let why = conditions.why_not();
        assert_eq!(why.is_some(), word.is_some());
        assert!(why.zip(word).is_none_or(|(why, word)| why.contains(word)), "{why:?}");
    }
}
