use std::path::Path;

use rstest::rstest;

use super::*;
use crate::conf::values::Collector;

fn values(entries: &[(&str, &str)]) -> Values {
    let mut out = Collector::default();
    for (name, value) in entries {
        let (name, index) = name.strip_suffix(']').and_then(|n| n.split_once('[')).unwrap_or((name, "0"));
        out.put(name, index, value);
    }
    out.finish()
}

const BASE: &[(&str, &str)] = &[
    ("PACKAGE_NAME", "hello"),
    ("PACKAGE_VERSION", "1.0"),
    ("BUILT_MODULE_NAME[0]", "hello"),
    ("DEST_MODULE_LOCATION[0]", "/extra"),
];

fn recipe_for(kernel: &str, config: &str, strict: bool, more: &[(&str, &str)]) -> Result<Recipe> {
    let all: Vec<_> = BASE.iter().chain(more).copied().collect();
    let mut parsed = KernelConfig::parse(config);
    parsed.path = (!config.is_empty()).then(|| "auto.conf".into());
    Recipe::from_values(&RecipeInput {
        values: &values(&all),
        kernel: &KernelId::new(kernel, "x86_64").unwrap(),
        config: &parsed,
        layout: &Layout::default(),
        path: Path::new("/usr/src/hello-1.0/dkms.conf"),
        package: None,
        strict,
    })
}

fn recipe(more: &[(&str, &str)]) -> Recipe {
    recipe_for("6.1.0-56-amd64", "", true, more).unwrap()
}

#[test]
fn the_default_make_names_headers_and_build_folder() {
    assert_eq!(recipe(&[]).make, "make -C /lib/modules/6.1.0-56-amd64/build M=/var/lib/dkms/hello/1.0/build");
}

#[rstest]
#[case(&[("MAKE[0]", "make a")], "make a")]
#[case(&[("MAKE[0]", "make a"), ("MAKE[1]", "make b"), ("MAKE_MATCH[1]", "^6\\.")], "make b")]
#[case(&[("MAKE[0]", "make a"), ("MAKE[1]", "make b"), ("MAKE_MATCH[1]", "^5\\.")], "make a")]
#[case(&[("MAKE[0]", "make a"), ("MAKE[1]", "make b")], "make a")]
#[case(&[("MAKE[0]", "make a"), ("MAKE[2]", "make c"), ("MAKE_MATCH[2]", "amd64")], "make a")] // Past the count.
#[case(&[("MAKE[0]", "make a"), ("MAKE[1]", "make b"), ("MAKE_MATCH[0]", "^6"), ("MAKE_MATCH[1]", "6")], "make b")]
fn make_is_the_last_that_matches(#[case] more: &[(&str, &str)], #[case] wanted: &str) {
    assert_eq!(recipe(more).make, wanted);
}

#[test]
fn a_make_whose_only_match_misses_leaves_the_default() {
    let r = recipe(&[("MAKE[0]", "make a"), ("MAKE_MATCH[0]", "^5")]);
    assert!(r.make.starts_with("make -C "), "{}", r.make);
}

#[test]
fn patches_are_walked_to_their_count() {
    let r = recipe(&[("PATCH[0]", "a"), ("PATCH[1]", "b"), ("PATCH_MATCH[1]", "^5"), ("PATCH[2]", "c")]);
    assert_eq!(r.patches, ["a", "c"]);
    let r = recipe(&[("PATCH[1]", "b")]);
    assert!(r.patches.is_empty());
    assert!(r.warnings.iter().any(|w| w.contains("PATCH[1]")), "{:?}", r.warnings);
}

#[rstest]
#[case(&[("BUILD_EXCLUSIVE_KERNEL", "^5")], true)]
#[case(&[("BUILD_EXCLUSIVE_KERNEL", "^6")], false)]
#[case(&[("BUILD_EXCLUSIVE_KERNEL_MIN", "6.2")], true)]
#[case(&[("BUILD_EXCLUSIVE_KERNEL_MAX", "6.1")], true)]
#[case(&[("BUILD_EXCLUSIVE_KERNEL_MAX", "6.1.999")], false)]
#[case(&[("BUILD_EXCLUSIVE_ARCH", "aarch64|riscv64")], true)]
#[case(&[("BUILD_EXCLUSIVE_ARCH", "x86")], false)]
#[case(&[("BUILD_EXCLUSIVE_CONFIG", "CONFIG_ACPI !CONFIG_NOT")], false)]
#[case(&[("BUILD_EXCLUSIVE_CONFIG", "CONFIG_ACPI CONFIG_NOT")], true)]
#[case(&[("BUILD_EXCLUSIVE_CONFIG", "!CONFIG_ACPI")], true)]
#[case(&[("OBSOLETE_BY", "6.0")], true)]
#[case(&[("OBSOLETE_BY", "6.0"), ("BUILD_EXCLUSIVE_KERNEL_MAX", "7")], false)]
fn exclusion(#[case] more: &[(&str, &str)], #[case] excluded: bool) {
    let r = recipe_for("6.1.0-56-amd64", "CONFIG_ACPI=y\n", true, more).unwrap();
    assert_eq!(r.exclusion.is_some(), excluded, "{:?}", r.exclusion);
    assert_eq!(r.wanted().count(), usize::from(!excluded));
}

#[test]
fn a_module_can_be_excluded_by_its_own_index() {
    let second = [("BUILT_MODULE_NAME[1]", "two"), ("DEST_MODULE_LOCATION[1]", "/updates/x/")];
    let mut more = second.to_vec();
    more.push(("BUILD_EXCLUSIVE_KERNEL[1]", "^5"));
    let r = recipe(&more);
    assert_eq!((r.exclusion.is_none(), r.wanted().count()), (true, 1));
    more.push(("BUILD_EXCLUSIVE_KERNEL[0]", "^4"));
    let r = recipe(&more);
    assert_eq!((r.exclusion.is_some(), r.wanted().count()), (true, 0));
}

#[test]
fn strip_of_index_0_is_the_default_of_the_rest() {
    let second = [("BUILT_MODULE_NAME[1]", "two"), ("DEST_MODULE_LOCATION[1]", "/extra")];
    let strip = |more: &[(&str, &str)]| {
        let all: Vec<_> = second.iter().chain(more).copied().collect();
        recipe(&all).modules.iter().map(|m| m.strip).collect::<Vec<_>>()
    };
    assert_eq!(strip(&[]), [true, true]);
    assert_eq!(strip(&[("STRIP[0]", "no")]), [false, false]);
    assert_eq!(strip(&[("STRIP[0]", "no"), ("STRIP[1]", "yes")]), [false, true]);
    assert_eq!(strip(&[("STRIP[0]", ""), ("STRIP[1]", "no")]), [true, false]);
}

#[rstest]
#[case(&[("PACKAGE_VERSION", "")], "PACKAGE_VERSION")]
#[case(&[("BUILT_MODULE_NAME[0]", "hello.ko")], "ends in .ko")]
#[case(&[("BUILT_MODULE_NAME[0]", "../hello")], "leaves the build folder")]
#[case(&[("DEST_MODULE_LOCATION[0]", "/usr/lib")], "DEST_MODULE_LOCATION[0]")]
#[case(&[("DEST_MODULE_LOCATION[0]", "/extra/../../../etc")], "leaves")]
#[case(&[("DEST_MODULE_LOCATION[2]", "/extra")], "BUILT_MODULE_NAME[2]")]
#[case(&[("BUILT_MODULE_LOCATION[0]", "../../etc")], "leaves the build folder")]
#[case(&[("BUILT_MODULE_NAME[1]", "hello"), ("DEST_MODULE_LOCATION[1]", "/extra")], "same module")]
#[case(&[("BUILT_MODULE_NAME[1]", "x"), ("DEST_MODULE_NAME[1]", "hello"), ("DEST_MODULE_LOCATION[1]", "/extra/")], "overwrite")]
#[case(&[("BUILT_MODULE_NAME[1]", "hello"), ("BUILT_MODULE_LOCATION[1]", "x"), ("DEST_MODULE_LOCATION[1]", "/kernel")], "DEST_MODULE_NAME[1]")]
#[case(&[("AUTOINSTALL", "y")], "neither yes nor no")]
#[case(&[("BUILT_MODULE_NAME[4294967295]", "x")], "more than 4096")]
#[case(&[("PACKAGE_NAME", "a/b")], "slash")]
fn strict_names_what_is_broken(#[case] more: &[(&str, &str)], #[case] wanted: &str) {
    let error = recipe_for("6.1.0-56-amd64", "", true, more).unwrap_err();
    assert!(error.to_string().contains(wanted), "{error}");
    assert_eq!(error.exit_code(), 8);
}

#[test]
fn lenient_reads_around_a_broken_rule() {
    let r =
        recipe_for("6.1.0-56-amd64", "", false, &[("AUTOINSTALL", "y"), ("BUILT_MODULE_NAME[0]", "hello.ko")]).unwrap();
    assert_eq!(r.modules[0].built_name.as_str(), "hello");
    assert_eq!(r.warnings.len(), 2, "{:?}", r.warnings);
}

#[test]
fn lenient_keeps_each_module_with_its_own_index() {
    // Index 1 has no name and is left out; what index 2 says is about index 2.
    let more = [
        ("BUILT_MODULE_NAME[2]", "two"),
        ("DEST_MODULE_LOCATION[1]", "/extra"),
        ("DEST_MODULE_LOCATION[2]", "/extra"),
        ("BUILD_EXCLUSIVE_KERNEL[2]", "^5"),
    ];
    let r = recipe_for("6.1.0-56-amd64", "", false, &more).unwrap();
    assert_eq!(r.wanted().map(|m| m.built_name.as_str()).collect::<Vec<_>>(), ["hello"]);
    assert!(r.modules[1].exclusion.as_deref().unwrap().contains("BUILD_EXCLUSIVE_KERNEL[2]"));
}

#[rstest]
#[case("6.1", "6.1.0-56-amd64", true)]
#[case("6.1.0", "6.1.0-56-amd64", true)]
#[case("6.1.0-56", "6.1.0-56-amd64", true)]
#[case("6.1.0-57", "6.1.0-56-amd64", false)]
#[case("6.1.1", "6.1.0-56-amd64", false)]
#[case("6.2", "6.12.111-generic", true)]
fn obsolete_at_or_past_the_bound(#[case] bound: &str, #[case] kernel: &str, #[case] wanted: bool) {
    let r = recipe_for(kernel, "", false, &[("OBSOLETE_BY", bound)]).unwrap();
    assert_eq!(r.obsolete_reason(&kernel.parse().unwrap()).is_some(), wanted);
}

#[test]
fn one_module_takes_the_package_s_name_and_none_is_a_warning() {
    let all =
        values(&[("PACKAGE_NAME", "solo"), ("PACKAGE_VERSION", "2"), ("DEST_MODULE_LOCATION", "/kernel/drivers/")]);
    let input = RecipeInput {
        values: &all,
        kernel: &KernelId::new("6.1", "x86_64").unwrap(),
        config: &KernelConfig::default(),
        layout: &Layout::default(),
        path: Path::new("dkms.conf"),
        package: None,
        strict: true,
    };
    let r = Recipe::from_values(&input).unwrap();
    assert_eq!((r.modules[0].built_name.as_str(), r.modules[0].dest_location.as_str()), ("solo", "/kernel/drivers"));
    let none = values(&[("PACKAGE_NAME", "solo"), ("PACKAGE_VERSION", "2")]);
    let r = Recipe::from_values(&RecipeInput { values: &none, ..input }).unwrap();
    assert!(r.modules.is_empty() && r.warnings.len() == 1);
    let other = PackageId::new("solo", "3").unwrap();
    let error = Recipe::from_values(&RecipeInput { package: Some(&other), ..input }).unwrap_err();
    assert!(error.to_string().contains("solo/3"), "{error}");
}

#[rstest]
#[case("/kernel/../updates/", "/updates")]
#[case("/kernel/drivers//net/./", "/kernel/drivers/net")]
#[case("/updates", "/updates")]
fn destinations_are_read_as_paths(#[case] written: &str, #[case] wanted: &str) {
    assert_eq!(recipe(&[("DEST_MODULE_LOCATION[0]", written)]).modules[0].dest_location, wanted);
}

#[test]
fn a_folder_in_a_built_name_is_one_below_the_location() {
    let r = recipe(&[("BUILT_MODULE_NAME[0]", "master/ec"), ("BUILT_MODULE_LOCATION[0]", "src/")]);
    assert_eq!((r.modules[0].built_location.as_str(), r.modules[0].dest_name.as_str()), ("src/master", "ec"));
}

#[rstest]
#[case("yes", true)]
#[case("YES", true)]
#[case("yEs", true)]
#[case("No", false)]
#[case("", false)]
fn yes_and_no_in_any_case(#[case] value: &str, #[case] wanted: bool) {
    let r = recipe(&[("AUTOINSTALL", value), ("BUILD_DEPENDS_REBUILD", value), ("NO_WEAK_MODULES", value)]);
    assert_eq!((r.autoinstall, r.build_depends_rebuild, r.no_weak_modules), (wanted, wanted, wanted));
}

#[rstest]
#[case(&[("CLEAN", "make clean")], "CLEAN")]
#[case(&[("REMAKE_INITRD", "no")], "REMAKE_INITRD")]
#[case(&[("MODULES_CONF_OBSOLETES[0]", "x")], "MODULES_CONF_OBSOLETES")]
#[case(&[("OBSOLETE_BY", "9")], "BUILD_EXCLUSIVE_KERNEL_MAX")]
fn what_is_deprecated_is_said_so(#[case] more: &[(&str, &str)], #[case] wanted: &str) {
    let warnings = recipe(more).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains(wanted), "{warnings:?}");
}

#[test]
fn a_clean_that_is_true_and_empty_values_say_nothing() {
    let r = recipe(&[("CLEAN", "true"), ("REMAKE_INITRD", ""), ("OBSOLETE_BY", ""), ("PRE_BUILD", "")]);
    assert!(r.warnings.is_empty() && r.pre_build.is_none(), "{:?}", r.warnings);
}

#[test]
fn every_script_keeps_its_arguments_and_its_place() {
    let r = recipe(&[
        ("PRE_BUILD", "a 1"),
        ("POST_BUILD", "b 2"),
        ("POST_ADD", "c 3"),
        ("PRE_INSTALL", "d 4"),
        ("POST_INSTALL", "e 5"),
        ("POST_REMOVE", "f 6"),
    ]);
    let scripts = [r.pre_build, r.post_build, r.post_add, r.pre_install, r.post_install, r.post_remove];
    assert_eq!(scripts.map(Option::unwrap), ["a 1", "b 2", "c 3", "d 4", "e 5", "f 6"]);
}

#[test]
fn dependencies_are_words_and_a_module_of_the_kernel_counts_as_enabled() {
    let r = recipe(&[("BUILD_DEPENDS[0]", "one  two"), ("BUILD_DEPENDS[3]", "three")]);
    assert_eq!(r.build_depends.iter().map(PackageName::as_str).collect::<Vec<_>>(), ["one", "two", "three"]);
    let config = "CONFIG_A=m\n";
    let excluded = |words| recipe_for("6.1", config, true, &[("BUILD_EXCLUSIVE_CONFIG", words)]).unwrap().exclusion;
    assert_eq!(excluded("CONFIG_A"), None);
    assert!(excluded("!CONFIG_A").is_some_and(|why| why.contains("has CONFIG_A")));
}

#[test]
fn an_error_names_file_directive_index_and_what_to_write() {
    let more = [("BUILT_MODULE_NAME[1]", "x.ko"), ("DEST_MODULE_LOCATION[1]", "/lib")];
    let error = recipe_for("6.1", "", true, &more).unwrap_err().to_string();
    for part in [
        "/usr/src/hello-1.0/dkms.conf",
        "BUILT_MODULE_NAME[1]=\"x.ko\"",
        "write BUILT_MODULE_NAME[1]=\"x\"",
        "DEST_MODULE_LOCATION[1]=\"/lib\"",
        "begins with /kernel, /updates or /extra",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[rstest]
#[case("BUILD_EXCLUSIVE_KERNEL", true)]
#[case("PATCH_MATCH[0]", false)]
fn a_pattern_that_is_none_matches_nothing_and_is_told(#[case] directive: &'static str, #[case] excluded: bool) {
    let r = recipe(&[("PATCH[0]", "a"), (directive, "(6")]);
    assert_eq!((r.exclusion.is_some(), r.patches.is_empty()), (excluded, !excluded));
    assert!(r.warnings.iter().any(|w| w.contains(directive) && w.contains("grep -E")), "{:?}", r.warnings);
}
