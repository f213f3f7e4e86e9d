use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::conf::directive::is_array;
use crate::conf::overrides::Overrides;
use crate::conf::{Value, Values};
use crate::layout::Layout;

const CONF: &str = r#"
PACKAGE_NAME="hello"
PACKAGE_VERSION="1.0"
BUILT_MODULE_NAME[0]="hello"
BUILT_MODULE_NAME[1]="world"
DEST_MODULE_LOCATION[0]="/extra"
DEST_MODULE_LOCATION[1]="/extra"
MAKE[0]="make -C $kernel_source_dir KVER=$kernelver"
PRE_BUILD="configure $kernel_source_dir"
AUTOINSTALL="yes"
"#;

/// An outline, or why there is none.
type Said = Result<Outline, String>;

/// A root with one driver source, and overrides.
struct Fixture {
    root: tempfile::TempDir,
    loader: ConfLoader,
    layout: Layout,
}

impl Fixture {
    fn new(more: &str, overrides: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        for folder in ["usr/src/hello-1.0", "etc/dkms"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("usr/src/hello-1.0/dkms.conf"), format!("{CONF}{more}\n")).unwrap();
        for (name, text) in overrides {
            fs::write(root.path().join("etc/dkms").join(name), text).unwrap();
        }
        Self { root, loader: ConfLoader::new(&layout), layout }
    }

    /// For each kernel, what the outlines say; how many evaluations that took; and what a recipe of its own says.
    fn outlines(&self) -> Vec<(Said, u64, Said)> {
        let (package, source) = ("hello/1.0".parse().unwrap(), self.root.path().join("usr/src/hello-1.0"));
        let overrides = Overrides::list(&self.layout);
        let own = overrides.of(&package);
        let mut outlines = Outlines::new(&self.loader, &source, &package, &own);
        let mut found = Vec::new();
        for kernel in KERNELS.map(|release| KernelId::new(release, "x86_64").unwrap()) {
            let before = self.loader.evaluator().answered().0;
            let outline = outlines.of(&kernel).map_err(|why| why.to_string());
            let evaluated = self.loader.evaluator().answered().0 - before;
            let package = Some(&package);
            let request =
                Request { source: &source, conf: None, package, kernel: &kernel, strict: true, directives: &[] };
            let alone = ConfLoader::new(&self.layout).load(&request);
            let alone = alone.map(|loaded| Outline::of(loaded.recipe, &kernel)).map_err(|why| why.to_string());
            found.push((outline, evaluated, alone));
        }
        found
    }
}

const KERNELS: [&str; 4] = ["6.1.0-56-amd64", "5.10.0-9-amd64", "6.12.1+", "6.1.0~odd"];

/// How often a file is evaluated for each of the kernels.
type Often = [u64; 4];

/// Once for those with plain names.
const ONCE: Often = [1, 0, 0, 1];
/// For each, after it was tried once for all.
const EACH: Often = [2, 1, 1, 1];

#[rstest]
#[case::the_same_for_all("", &[], ONCE)]
#[case::patterns("MAKE[1]=x; MAKE_MATCH[1]=^6; PATCH=a; PATCH_MATCH=^5", &[], ONCE)]
#[case::excluded("BUILD_EXCLUSIVE_KERNEL='^6'", &[], ONCE)]
#[case::one_module_excluded("BUILD_EXCLUSIVE_KERNEL_MIN[1]=6.0", &[], ONCE)]
#[case::by_configuration("BUILD_EXCLUSIVE_CONFIG=CONFIG_X", &[], ONCE)]
#[case::obsolete("OBSOLETE_BY=6.0", &[], ONCE)]
#[case::depends("BUILD_DEPENDS=zfs; BUILD_DEPENDS_REBUILD=yes", &[], ONCE)]
#[case::broken("DEST_MODULE_LOCATION[1]=/nowhere; AUTOINSTALL=maybe", &[], ONCE)]
#[case::another_package("PACKAGE_VERSION=2", &[], ONCE)]
#[case::a_module_by_kernel("BUILT_MODULE_NAME[1]=world-$kernelver", &[], EACH)]
#[case::decided_by_the_kernel("[[ $kernelver == 5* ]] && AUTOINSTALL=no", &[], EACH)]
#[case::for_all_kernels("", &[("hello.conf", "AUTOINSTALL=no"), ("hello-1.0.conf", "CLEAN=x")], [2 + 1, 0, 0, 2 + 1])]
#[case::for_one_kernel("", &[("hello--5.10.0-9-amd64.conf", "AUTOINSTALL=no")], [1, 2, 0, 1])]
#[case::of_others("", &[("hello-2.0.conf", "AUTOINSTALL=no"), ("hello", "AUTOINSTALL=no"), ("a.conf", "")], ONCE)]
fn an_outline_is_what_a_recipe_of_its_own_says(
    #[case] conf: &str,
    #[case] overrides: &[(&str, &str)],
    #[case] wanted: Often,
) {
    let found = Fixture::new(conf, overrides).outlines();
    for (outline, _, alone) in &found {
        assert_eq!(outline, alone);
    }
    assert_eq!(found.into_iter().map(|(_, evaluated, _)| evaluated).collect::<Vec<_>>(), wanted);
}

#[test]
fn kernels_differ_where_the_package_says_so() {
    let found = Fixture::new("BUILD_EXCLUSIVE_KERNEL='^6'\nOBSOLETE_BY[0]=6.2", &[]).outlines();
    let [first, second, third, _] = [0, 1, 2, 3].map(|i: usize| found[i].0.clone().unwrap());
    assert_eq!((&first.exclusion, &first.obsolete), (&None, &None));
    assert!(second.exclusion.is_some(), "{second:?}");
    assert!(third.exclusion.is_some() && third.obsolete.is_some(), "{third:?}");
}

#[test]
fn what_is_changed_counts_at_the_next_look() {
    let fixture = Fixture::new("", &[]);
    assert!(fixture.outlines()[0].0.clone().unwrap().autoinstall);
    assert_eq!(fixture.outlines()[0].1, 0, "it is remembered");
    fs::write(fixture.root.path().join("etc/dkms/hello.conf"), "AUTOINSTALL=no").unwrap();
    assert!(!fixture.outlines()[0].0.clone().unwrap().autoinstall);
    fs::remove_file(fixture.root.path().join("usr/src/hello-1.0/dkms.conf")).unwrap();
    assert!(fixture.outlines()[0].0.is_err());
}

#[test]
fn a_folder_that_cannot_be_listed_may_hold_anything() {
    let fixture = Fixture::new("", &[("hello.conf", "AUTOINSTALL=no")]);
    let (package, overrides) = ("hello/1.0".parse().unwrap(), Overrides::unknown());
    let own = overrides.of(&package);
    assert!(!own.are_none());
    assert_eq!(own.general(&fixture.layout), [fixture.root.path().join("etc/dkms/hello.conf")]);
}

fn values() -> impl Strategy<Value = Values> {
    let text = prop::sample::select(vec!["", "x", "make -C /x", "^6", "(", "../x", "no", "true", "a.ko", "yes yes"]);
    let directive = prop::sample::select(NOT_NEEDED.to_vec());
    prop::collection::btree_map((directive, 0u32..3), text, 0..12).prop_map(|entries| {
        let mut values = BTreeMap::new();
        for ((name, index), text) in entries {
            if !is_array(name) {
                values.insert(name.to_owned(), Value::Scalar(text.to_owned()));
            } else if let Value::Array(elements) =
                values.entry(name.to_owned()).or_insert_with(|| Value::Array(BTreeMap::new()))
            {
                elements.insert(index, text.to_owned());
            }
        }
        Values(values)
    })
}

proptest! {
    /// Whatever the directives say that may differ between kernels, the outline is the same, and so is the trouble.
    #[test]
    fn what_may_differ_is_not_needed(differing in values(), trouble in prop::bool::ANY) {
        let kernel = KernelId::new(KERNELS[0], "x86_64").unwrap();
        let scalar = |text: &str| Value::Scalar(text.to_owned());
        let array = |text: &str| Value::Array(BTreeMap::from([(0, text.to_owned())]));
        let location = if trouble { "/nowhere" } else { "/extra" };
        let said = [
            ("PACKAGE_NAME", scalar("hello")),
            ("PACKAGE_VERSION", scalar("1.0")),
            ("DEST_MODULE_LOCATION", array(location)),
            ("BUILD_EXCLUSIVE_KERNEL", array("^5")),
        ];
        let same = Values(said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let outline = |values: &Values| {
            let (config, layout) = (KernelConfig::default(), Layout::default());
            let path = Path::new("/usr/src/hello-1.0/dkms.conf");
            let recipe = Recipe::from_values(&RecipeInput {
                values, kernel: &kernel, config: &config, layout: &layout, path, package: None, strict: true,
            });
            recipe.map(|recipe| Outline::of(recipe, &kernel)).map_err(|why| why.to_string())
        };
        let both = Values(same.0.clone().into_iter().chain(differing.0).collect());
        prop_assert_eq!(outline(&both), outline(&same));
        prop_assert_eq!(outline(&both).is_err(), trouble);
    }
}
