use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// A root with one driver source, and a loader for it.
struct Fixture {
    root: tempfile::TempDir,
    loader: ConfLoader,
}

impl Fixture {
    fn new(conf: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("usr/src/hello-1.0");
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(root.path().join("etc/dkms")).unwrap();
        fs::write(source.join("dkms.conf"), conf).unwrap();
        let loader = ConfLoader::new(&Layout::under(root.path()));
        Self { root, loader }
    }

    fn etc(&self, name: &str, text: &str) {
        fs::write(self.root.path().join("etc/dkms").join(name), text).unwrap();
    }

    fn load(&self, package: Option<&str>, directives: &[(&str, &str)]) -> Result<Loaded> {
        let package = package.map(|p| p.parse::<PackageId>().unwrap());
        let directives: Vec<_> = directives.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.loader.load(&Request {
            source: &self.root.path().join("usr/src/hello-1.0"),
            conf: None,
            package: package.as_ref(),
            kernel: &KernelId::new("6.1.0-56-amd64", "x86_64").unwrap(),
            strict: true,
            directives: &directives,
        })
    }
}

const CONF: &str = r#"
PACKAGE_NAME="hello"
PACKAGE_VERSION="1.0"
BUILT_MODULE_NAME[0]="hello"
DEST_MODULE_LOCATION[0]="/extra"
MAKE[0]="make -C $kernel_source_dir M=\$dkms_tree/$module/$module_version/build"
AUTOINSTALL="yes"
"#;

#[test]
fn values_recipe_and_digest_come_together() {
    let f = Fixture::new(CONF);
    let loaded = f.load(Some("hello/1.0"), &[]).unwrap();
    assert_eq!(loaded.recipe.make, "make -C /lib/modules/6.1.0-56-amd64/build M=/var/lib/dkms/hello/1.0/build");
    assert!(loaded.recipe.autoinstall);
    assert_eq!(loaded.digest, loaded.values.digest());
    assert_eq!(f.load(None, &[]).unwrap(), loaded);
}

#[test]
fn nothing_is_evaluated_twice() {
    let f = Fixture::new(CONF);
    let first = f.load(Some("hello/1.0"), &[]).unwrap();
    let answered = f.loader.evaluator().answered();
    assert_eq!(f.load(Some("hello/1.0"), &[]).unwrap(), first);
    assert_eq!(f.loader.evaluator().answered(), answered);
    f.etc("hello.conf", "AUTOINSTALL=no\n");
    assert!(!f.load(Some("hello/1.0"), &[]).unwrap().recipe.autoinstall);
}

#[test]
fn overrides_come_in_their_order_and_directives_last() {
    let f = Fixture::new(CONF);
    f.etc("hello.conf", "MAKE[0]=\"$MAKE V=1\"\nPRE_BUILD=general");
    f.etc("hello-1.0.conf", "PRE_BUILD=version");
    f.etc("hello--6.1.0-56-amd64.conf", "PRE_BUILD=\"$PRE_BUILD,kernel\"");
    f.etc("hello-2.0.conf", "PRE_BUILD=other");
    let recipe = f.load(Some("hello/1.0"), &[]).unwrap().recipe;
    assert!(recipe.make.ends_with("/build V=1"), "{}", recipe.make);
    assert_eq!(recipe.pre_build.as_deref(), Some("version,kernel"));
    let recipe = f.load(Some("hello/1.0"), &[("PRE_BUILD", "mine $kernelver"), ("STRIP[0]", "no")]).unwrap().recipe;
    assert_eq!(recipe.pre_build.as_deref(), Some("mine 6.1.0-56-amd64"));
    assert!(!recipe.modules[0].strip);
    assert!(f.load(Some("hello/1.0"), &[("NONSENSE", "1")]).is_err());
}

#[test]
fn all_six_overrides_come_in_the_order_of_the_contract() {
    let f = Fixture::new(CONF);
    let (k, a) = ("6.1.0-56-amd64", "x86_64");
    let names = [
        "hello".to_owned(),
        "hello-1.0".to_owned(),
        format!("hello-1.0-{k}"),
        format!("hello-1.0-{k}-{a}"),
        format!("hello--{k}"),
        format!("hello--{k}-{a}"),
    ];
    for (i, name) in names.iter().enumerate() {
        f.etc(&format!("{name}.conf"), &format!("PRE_BUILD=\"${{PRE_BUILD}}{i}\"\n"));
    }
    f.etc(&format!("hello--{k}-aarch64.conf"), "PRE_BUILD=other\n");
    assert_eq!(f.load(Some("hello/1.0"), &[]).unwrap().recipe.pre_build.as_deref(), Some("012345"));
}

#[test]
fn another_package_than_the_one_asked_for_is_an_error() {
    let f = Fixture::new(CONF);
    let error = f.load(Some("other/1.0"), &[]).unwrap_err();
    assert!(error.to_string().contains("hello/1.0") && error.to_string().contains("other/1.0"), "{error}");
    assert!(matches!(
        f.loader.load(&Request {
            source: Path::new("/nowhere"),
            conf: None,
            package: None,
            kernel: &KernelId::new("6.1", "x86_64").unwrap(),
            strict: true,
            directives: &[],
        }),
        Err(Error::NoConf { .. })
    ));
}

#[test]
fn what_bash_said_outlives_the_loader() {
    // `expr` is left to bash.
    let f = Fixture::new(&format!("{CONF}PRE_BUILD=\"count $(expr 1 + 1)\"\n"));
    let first = f.load(Some("hello/1.0"), &[]).unwrap();
    assert_eq!(first.recipe.pre_build.as_deref(), Some("count 2"));
    assert_eq!(f.loader.evaluator().answered(), (0, 1));
    let again = Fixture { loader: ConfLoader::new(&Layout::under(f.root.path())), root: f.root };
    assert_eq!(again.load(Some("hello/1.0"), &[]).unwrap(), first);
    assert_eq!(again.loader.evaluator().answered(), (0, 0));
    again.etc("hello.conf", "PRE_BUILD=\"count $(expr 2 + 2)\"\n");
    let changed = again.load(Some("hello/1.0"), &[]).unwrap();
    assert_eq!(changed.recipe.pre_build.as_deref(), Some("count 4"));
}

#[test]
fn what_bash_said_outlives_the_process() {
    let f = Fixture::new(&format!("{CONF}PRE_BUILD=\"count $(expr 1 + 1)\"\n"));
    let look = || {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "conf::loader::tests::a_look_of_another_process", "--ignored", "--nocapture"]);
        let output = process.env("DKMSD_TEST_LOOK", f.root.path()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        printed.lines().find_map(|l| l.split_once("answered: ").map(|(_, a)| a.to_owned())).unwrap_or(printed)
    };
    assert_eq!(look(), "count 2, natively 0, by bash 1");
    assert_eq!(look(), "count 2, natively 0, by bash 0");
    f.etc("hello.conf", "PRE_BUILD=\"count $(expr 2 + 2)\"\n");
    assert_eq!(look(), "count 4, natively 0, by bash 2", "the file and its override");
    assert_eq!(look(), "count 4, natively 0, by bash 0");
}

#[test]
#[ignore = "a part of what_bash_said_outlives_the_process"]
#[allow(clippy::print_stdout, reason = "its output is read by the other part")]
fn a_look_of_another_process() {
    let Some(root) = std::env::var_os("DKMSD_TEST_LOOK").map(PathBuf::from) else { return };
    let loader = ConfLoader::new(&Layout::under(&root));
    let loaded = loader.load(&Request {
        source: &root.join("usr/src/hello-1.0"),
        conf: None,
        package: Some(&"hello/1.0".parse().unwrap()),
        kernel: &KernelId::new("6.1.0-56-amd64", "x86_64").unwrap(),
        strict: true,
        directives: &[],
    });
    let (native, bash) = loader.evaluator().answered();
    println!("answered: {}, natively {native}, by bash {bash}", loaded.unwrap().recipe.pre_build.unwrap_or_default());
}

#[test]
fn a_file_that_cannot_be_evaluated_traps_nothing() {
    let f = Fixture::new("PACKAGE_NAME=hello\n\0\n");
    let package = "hello/1.0".parse().unwrap();
    let kernel = KernelId::new("6.1.0-56-amd64", "x86_64").unwrap();
    let source = f.root.path().join("usr/src/hello-1.0");
    let mut request = Request {
        source: &source,
        conf: None,
        package: Some(&package),
        kernel: &kernel,
        strict: true,
        directives: &[],
    };
    assert!(matches!(f.loader.load(&request), Err(Error::Evaluation { .. })));
    request.strict = false;
    let loaded = f.loader.load(&request).unwrap();
    assert_eq!(loaded.recipe.package, package);
    assert!(loaded.recipe.warnings.iter().any(|w| w.contains("NUL")), "{:?}", loaded.recipe.warnings);
}
