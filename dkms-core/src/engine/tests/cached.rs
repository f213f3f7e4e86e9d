//! Builds that come out of the cache.

use super::*;

impl Machine {
    fn dkmsd_toml(&self, text: &str) {
        self.write("etc/dkms/dkmsd.toml", text);
    }

    fn build_told(&self, package: &PackageId, order: &Order) -> (Result<Done>, Vec<Event>) {
        let mut events = Vec::new();
        let done = self.engine().build(package, &self.kernel, order, &mut events);
        (done, events)
    }

    /// Builds, and gives whether it came out of the cache.
    fn comes_from_cache(&self, package: &PackageId) -> bool {
        let (done, events) = self.build_told(package, &daemons());
        assert_eq!(done.unwrap(), Done::Changed);
        let told = events.iter().any(|event| matches!(event, Event::FromCache { .. }));
        assert_eq!(self.manifest(package).built.from_cache, told);
        told
    }

    fn drop_build(&self, package: &PackageId) {
        self.engine().unbuild(package, &self.kernel, &daemons(), &mut quiet()).unwrap();
        assert!(!self.layout().built_dir(package, &self.kernel).exists());
    }

    fn digests(&self, package: &PackageId) -> Vec<(String, String)> {
        let folder = self.layout().built_dir(package, &self.kernel);
        let files = crate::cache::store::list(&folder, &|name| name == "log" || name.starts_with(".dkmsd")).unwrap();
        let digest = |path: &Path| tree::files::sha256_file(&folder.join(path)).unwrap();
        files.iter().map(|f| (f.path.display().to_string(), digest(&f.path))).collect()
    }
}

#[test]
fn what_was_built_once_is_not_built_again() {
    let machine = Machine::new();
    let package = machine.source("a/1", "POST_BUILD=hook.sh");
    machine.script(&package, "hook.sh", "echo more >../$kernelver/$arch/more");
    machine.script(&package, "make.sh", "cp prebuilt r8169.ko; echo 'made once'");
    let source = machine.layout().source(&package);
    let conf = fs::read_to_string(source.join("dkms.conf")).unwrap();
    fs::write(source.join("dkms.conf"), conf.replace("cp prebuilt r8169.ko", "./make.sh")).unwrap();
    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let (first, installed) = (machine.manifest(&package), fs::read(machine.installed_file()).unwrap());
    let before = machine.digests(&package);
    assert!(!first.built.from_cache);
    machine.drop_build(&package);
    assert!(!machine.installed_file().exists());

    assert_eq!(machine.install(&package).unwrap(), Done::Placed);
    let again = machine.manifest(&package);
    assert!(again.built.from_cache);
    assert_eq!((&again.built.modules, &again.built.fingerprint), (&first.built.modules, &first.built.fingerprint));
    assert_eq!(again.built.seconds.to_bits(), first.built.seconds.to_bits(), "what it takes to build");
    assert_eq!(fs::read(machine.installed_file()).unwrap(), installed);
    assert_eq!(machine.digests(&package), before, "what POST_BUILD left is there as well");
    let log = fs::read_to_string(machine.layout().built_log(&package, &machine.kernel)).unwrap();
    assert!(
        log.starts_with("make.log of a/1") && log.contains("# taken from the cache") && log.contains("made once"),
        "{log}"
    );
    assert_eq!(verbs(&machine.look()), [], "and it is fresh");
    machine.engine().remove(&package, &daemons(), &mut quiet()).unwrap();
    assert!(machine.comes_from_cache(&package), "a package that was forgotten, too");
}

#[test]
fn whoever_forces_it_gets_a_build() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    assert!(!machine.comes_from_cache(&package));
    let (done, events) = machine.build_told(&package, &forced());
    assert_eq!(done.unwrap(), Done::Changed);
    assert!(!events.iter().any(|event| matches!(event, Event::FromCache { .. })));
    assert_eq!(machine.manifest(&package).built.why, "it was asked for, whatever is there");
    machine.drop_build(&package);
    assert!(machine.comes_from_cache(&package), "which is kept all the same");
}

#[rstest]
#[case::off("[daemon]\ncache_megabytes = 0\n", "")]
#[case::opted_out("[package.a]\ncache = false\n", "")]
#[case::network("[package.a]\nnetwork = true\n", "it is built anew each time: its build may use the network")]
#[case::writable("[package.a]\nwritable = [\"/srv\"]\n", "folders of others")]
fn not_every_build_is_kept(#[case] toml: &str, #[case] said: &str) {
    let machine = Machine::new();
    machine.dkmsd_toml(toml);
    let package = machine.source("a/1", "");
    let (done, events) = machine.build_told(&package, &daemons());
    assert_eq!(done.unwrap(), Done::Changed);
    let notes: Vec<_> =
        events.iter().filter_map(|e| if let Event::Note { text } = e { Some(text) } else { None }).collect();
    assert!(notes.iter().any(|text| text.contains(said)) || said.is_empty() && notes.is_empty(), "{notes:?}");
    machine.drop_build(&package);
    assert!(!machine.comes_from_cache(&package));
    assert!(!machine.layout().build_cache().exists());
    machine.dkmsd_toml("");
    machine.drop_build(&package);
    assert!(!machine.comes_from_cache(&package));
    machine.drop_build(&package);
    machine.dkmsd_toml(toml);
    assert!(!machine.comes_from_cache(&package), "nor taken out where one is there");
}

#[test]
fn a_link_that_leads_out_of_the_source_is_not_kept() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let source = machine.layout().source(&package);
    std::os::unix::fs::symlink("dkms.conf", source.join("inside")).unwrap();
    assert!(!machine.comes_from_cache(&package));
    machine.drop_build(&package);
    assert!(machine.comes_from_cache(&package));
    machine.drop_build(&package);
    std::os::unix::fs::symlink("/etc/hostname", source.join("outside")).unwrap();
    assert!(!machine.comes_from_cache(&package));
    machine.drop_build(&package);
    assert!(!machine.comes_from_cache(&package));
}

type Change = fn(&Machine, &PackageId);

#[rstest]
#[case::source(|m: &Machine, p: &PackageId| m.script(p, "more.sh", ""))]
#[case::conf(|m: &Machine, p: &PackageId| { m.source(&p.to_string(), "STRIP[0]=no"); })]
#[case::override_conf(|m: &Machine, _: &PackageId| m.write("etc/dkms/a.conf", "STRIP[0]=no\n"))]
#[case::patches(|m: &Machine, _: &PackageId| m.write("etc/dkms/a/patches/x.patch", "x"))]
#[case::a_header(|m: &Machine, _: &PackageId| m.write(&format!("{}/include/linux/deep/down/module.h", crate::host::headers::tests::COMMON), "/* x */"))]
#[case::symbols(|m: &Machine, _: &PackageId| m.write(&format!("{BUILD}/Module.symvers"), "0x2\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n"))]
#[case::environment(|m: &Machine, _: &PackageId| {
    m.write("etc/dkms/framework.conf", "build_environment=/etc/dkms/env\n");
    m.write("etc/dkms/env", "A=1\n");
})]
#[case::signing(|m: &Machine, _: &PackageId| m.write("etc/dkms/framework.conf", "try_sign_modules=false\n"))]
#[case::certificate(|m: &Machine, _: &PackageId| m.write("var/lib/dkms/mok.pub", "another"))]
fn what_goes_into_it_makes_another_build(#[case] change: Change) {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    assert!(!machine.comes_from_cache(&package));
    change(&machine, &package);
    machine.drop_build(&package);
    assert!(!machine.comes_from_cache(&package), "built from what it is now");
    machine.drop_build(&package);
    assert!(machine.comes_from_cache(&package));
}

/// A conf that asks for the date says something else each time: that alone makes nothing stale.
#[test]
fn a_conf_that_asks_for_the_time_is_not_stale() {
    let machine = Machine::new();
    let package = machine.source("a/1", "AT=$(date +%N); MAKE[0]=\"cp prebuilt r8169.ko\"; CLEAN=\"rm $AT\"");
    machine.install(&package).unwrap();
    assert_eq!(verbs(&machine.look()), []);
    assert!(matches!(machine.install(&package).unwrap(), Done::Unchanged(_)));
    machine.drop_build(&package);
    assert!(machine.comes_from_cache(&package), "what no build asks for does not count");
}

#[test]
fn what_is_damaged_is_built_anew() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.comes_from_cache(&package);
    machine.drop_build(&package);
    let [entry] = fs::read_dir(machine.layout().build_cache())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|path| path.is_dir())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let module = entry.join("files/module/r8169.ko");
    let mut bytes = fs::read(&module).unwrap();
    bytes[1000] ^= 1;
    fs::write(&module, bytes).unwrap();
    let (done, events) = machine.build_told(&package, &daemons());
    assert_eq!(done.unwrap(), Done::Changed);
    let warned = |text: &String| text.contains("r8169.ko has other bytes") && text.contains("built anew");
    assert!(events.iter().any(|e| matches!(e, Event::Warning { text } if warned(text))), "{events:?}");
    assert!(!machine.manifest(&package).built.from_cache);
    machine.drop_build(&package);
    assert!(machine.comes_from_cache(&package), "the new one took its place");
}

#[test]
fn a_failed_build_and_one_of_a_source_that_changed_meanwhile_are_not_kept() {
    let machine = Machine::new();
    let package = machine.source("a/1", "MAKE[0]=false");
    assert!(machine.install(&package).is_err());
    assert!(!machine.layout().build_cache().exists());

    let package = machine.source("b/1", "PRE_BUILD=hook.sh; MAKE[0]=\"cp prebuilt r8169.ko\"");
    let more = machine.layout().source(&package).join("more");
    machine.script(&package, "hook.sh", &format!("echo x >{}", more.display()));
    assert!(!machine.comes_from_cache(&package));
    assert!(more.exists());
    machine.drop_build(&package);
    assert!(!machine.comes_from_cache(&package), "the first was of another source");
}

#[test]
fn another_version_of_a_dependency_makes_another_build() {
    let machine = Machine::new();
    machine.install(&machine.source("base/1", "")).unwrap();
    let other = "BUILT_MODULE_NAME=8139cp; MAKE[0]=\"cp other 8139cp.ko\"; BUILD_DEPENDS[0]=base";
    let package = machine.source("a/1", &format!("{other}; BUILD_DEPENDS_REBUILD=yes"));
    fs::copy(fixture::module("8139cp.ko"), machine.layout().source(&package).join("other")).unwrap();
    assert!(!machine.comes_from_cache(&package));
    machine.install(&machine.source("base/2", "")).unwrap();
    assert!(!machine.comes_from_cache(&package));
    assert_eq!(machine.manifest(&package).built.why, "dependency base 1 → 2");
    machine.drop_build(&package);
    assert!(machine.comes_from_cache(&package));
    // Of the same version, but with other symbols.
    let base = machine.layout().module_dir(&"base/2".parse().unwrap(), &machine.kernel);
    fs::write(base.join("Module.symvers"), "0x9\tother\n").unwrap();
    machine.drop_build(&package);
    assert!(!machine.comes_from_cache(&package));
}

#[rstest]
#[case::source(|m: &Machine, p: &PackageId| m.script(p, "more.sh", ""), "its source changed")]
#[case::overrides(|m: &Machine, _: &PackageId| m.write("etc/dkms/a.conf", "STRIP[0]=no\n"), "its overrides in /etc/dkms changed")]
#[case::lost(|m: &Machine, p: &PackageId| fs::remove_file(m.layout().module_dir(p, &m.kernel).join("r8169.ko")).unwrap(), "r8169.ko is missing from the tree")]
fn why_something_is_built_again_is_on_record(#[case] change: Change, #[case] why: &str) {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.comes_from_cache(&package);
    assert_eq!(machine.manifest(&package).built.why, "it is not there yet");
    change(&machine, &package);
    let (done, events) = machine.build_told(&package, &daemons());
    assert_eq!(done.unwrap(), Done::Changed);
    assert_eq!(machine.manifest(&package).built.why, why);
    let note = Event::Note { text: format!("built anew: {why}") };
    assert!(events.contains(&note), "{events:?}");
}

/// The cache is never worth failing for.
#[test]
fn a_cache_that_cannot_be_used_is_a_warning() {
    let machine = Machine::new();
    machine.write("var/lib/dkmsd/cache/builds", "no folder");
    let package = machine.source("a/1", "");
    let (done, events) = machine.build_told(&package, &daemons());
    assert_eq!(done.unwrap(), Done::Changed);
    let about = |event: &Event| matches!(event, Event::Warning { text } if text.contains("cache"));
    assert!(events.iter().any(about), "{events:?}");
}
