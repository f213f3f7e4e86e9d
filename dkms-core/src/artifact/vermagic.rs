//! vermagic: the words by which a kernel knows modules that were built for it (include/linux/vermagic.h).
//!
//! The release comes first, then an option a word: `6.1.0-56-amd64 SMP preempt mod_unload modversions`. A kernel loads
//! nothing whose words differ from its own.

use crate::artifact::ModInfo;
use crate::artifact::compress;
use crate::host::kconfig::KernelConfig;
use crate::layout::Layout;
use crate::model::KernelRelease;

/// The words that come from the configuration alone on every architecture. What else a kernel may say (`aarch64`,
/// `ARMv7 p2v8`, `RANDSTRUCT_…`) only its own modules tell.
const KNOWN: [&str; 5] = ["SMP", "preempt", "preempt_rt", "mod_unload", "modversions"];

/// What is known of a kernel's vermagic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vermagic {
    /// All of it, from one of the kernel's own modules.
    Own(String),
    /// Which of the words that a configuration tells it has.
    Configured(Vec<&'static str>),
    /// Nothing.
    Unknown,
}

impl Vermagic {
    /// From the first of the kernel's own modules that can be read, else from the configuration of its headers.
    #[must_use]
    pub fn of(layout: &Layout, kernel: &KernelRelease, config: &KernelConfig) -> Self {
        let own = compress::first_module(layout, kernel).ok().flatten();
        let own = own.and_then(|(file, _)| ModInfo::read(&file).ok());
        // What another kernel's folder was filled with says nothing about this one.
        match own.filter(|info| info.release() == Some(kernel.as_str())).and_then(|info| info.vermagic) {
            Some(words) => Self::Own(words),
            None => Self::configured(config),
        }
    }

    /// From a configuration. One without CONFIG_MODULES is no kernel's that loads modules, or not whole.
    #[must_use]
    pub fn configured(config: &KernelConfig) -> Self {
        if !config.enabled("CONFIG_MODULES") {
            return Self::Unknown;
        }
        // CONFIG_PREEMPT_BUILD since 5.16, which CONFIG_PREEMPT selects; before, CONFIG_PREEMPT itself.
        let preempt = config.enabled("CONFIG_PREEMPT_BUILD") || config.enabled("CONFIG_PREEMPT");
        // Asked second: since 6.13 both may be set.
        let realtime = config.enabled("CONFIG_PREEMPT_RT") && !preempt;
        let words = [
            ("SMP", config.enabled("CONFIG_SMP")),
            ("preempt", preempt),
            ("preempt_rt", realtime),
            ("mod_unload", config.enabled("CONFIG_MODULE_UNLOAD")),
            ("modversions", config.enabled("CONFIG_MODVERSIONS")),
        ];
        Self::Configured(words.into_iter().filter(|(_, has)| *has).map(|(word, _)| word).collect())
    }

    /// How a module's vermagic differs from the kernel's, as a part of a sentence; none when it does not. Their releases
    /// are the caller's to compare.
    #[must_use]
    pub fn difference(&self, module: &str) -> Option<String> {
        let theirs: Vec<&str> = module.split_whitespace().skip(1).collect();
        let (ours, counts): (Vec<&str>, fn(&&&str) -> bool) = match self {
            Self::Own(own) => (own.split_whitespace().skip(1).collect(), |_| true),
            Self::Configured(words) => (words.clone(), |word| KNOWN.contains(word)),
            Self::Unknown => return None,
        };
        let quoted = |words: Vec<&&str>| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let extra: Vec<_> = theirs.iter().filter(counts).filter(|word| !ours.contains(word)).collect();
        let lacking: Vec<_> = ours.iter().filter(|word| !theirs.contains(word)).collect();
        let what = match (extra.is_empty(), lacking.is_empty()) {
            (true, true) => return None,
            (false, true) => format!("has {}, which the kernel's has not", quoted(extra)),
            (true, false) => format!("lacks {} of the kernel's", quoted(lacking)),
            (false, false) => format!("has {} where the kernel's has {}", quoted(extra), quoted(lacking)),
        };
        Some(format!("its vermagic (\"{}\") {what}", module.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::fixture;
    use rstest::rstest;

    const DEBIAN: &str = "6.1.0-56-amd64 SMP preempt mod_unload modversions ";

    #[rstest]
    #[case::same(DEBIAN, None)]
    #[case::realtime(
        "6.1.0-56-amd64 SMP preempt_rt mod_unload modversions ",
        Some("has \"preempt_rt\" where the kernel's has \"preempt\"")
    )]
    #[case::single("6.1.0-56-amd64 preempt mod_unload modversions ", Some("lacks \"SMP\" of the kernel's"))]
    #[case::no_versions("6.1.0-56-amd64 SMP preempt mod_unload ", Some("lacks \"modversions\""))]
    #[case::nothing("6.1.0-56-amd64", Some("lacks \"SMP\", \"preempt\", \"mod_unload\", \"modversions\""))]
    fn every_word_counts(#[case] module: &str, #[case] wanted: Option<&str>) {
        let config =
            "CONFIG_MODULES=y\nCONFIG_SMP=y\nCONFIG_PREEMPT_BUILD=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_MODVERSIONS=y\n";
        for kernel in [Vermagic::Own(DEBIAN.into()), Vermagic::configured(&KernelConfig::parse(config))] {
            let said = kernel.difference(module);
            assert_eq!(said.is_some(), wanted.is_some(), "{said:?}");
            assert!(wanted.is_none_or(|wanted| said.as_ref().unwrap().contains(wanted)), "{said:?}");
        }
    }

    /// Words of an architecture are compared where they are known.
    #[test]
    fn only_a_kernels_own_module_tells_words_of_its_architecture() {
        let config = KernelConfig::parse("CONFIG_MODULES=y\nCONFIG_SMP=y\n");
        assert_eq!(Vermagic::configured(&config).difference("6.1 SMP aarch64"), None);
        let own = Vermagic::Own("6.1 SMP aarch64".into());
        assert!(own.difference("6.1 SMP RANDSTRUCT_12").unwrap().contains("\"RANDSTRUCT_12\""));
    }

    #[rstest]
    #[case("CONFIG_ACPI=y\n", Vermagic::Unknown)]
    #[case("CONFIG_MODULES=y\n", Vermagic::Configured(vec![]))]
    #[case("CONFIG_MODULES=y\nCONFIG_PREEMPT=y\n", Vermagic::Configured(vec!["preempt"]))]
    #[case("CONFIG_MODULES=y\nCONFIG_PREEMPT_VOLUNTARY=y\nCONFIG_PREEMPT_BUILD=y\n", Vermagic::Configured(vec!["preempt"]))]
    #[case("CONFIG_MODULES=y\nCONFIG_PREEMPT=y\nCONFIG_PREEMPT_DYNAMIC=y\n", Vermagic::Configured(vec!["preempt"]))]
    #[case("CONFIG_MODULES=y\nCONFIG_PREEMPT_RT=y\n", Vermagic::Configured(vec!["preempt_rt"]))]
    #[case("CONFIG_MODULES=y\nCONFIG_PREEMPT_RT=y\nCONFIG_PREEMPT_BUILD=y\n", Vermagic::Configured(vec!["preempt"]))]
    fn a_configuration_tells_its_words(#[case] config: &str, #[case] wanted: Vermagic) {
        assert_eq!(Vermagic::configured(&KernelConfig::parse(config)), wanted);
    }

    /// The two ways agree on a real kernel.
    #[test]
    fn a_real_kernels_configuration_says_what_its_modules_say() {
        let kernel = fixture::kernel().release;
        let config = KernelConfig::below(&fixture::headers(&kernel));
        let Vermagic::Own(own) = Vermagic::of(&Layout::under(fixture::root()), &kernel, &config) else { panic!() };
        assert_eq!(Vermagic::configured(&config).difference(&own), None);
        assert_eq!(Vermagic::of(&Layout::under("/nonexistent"), &kernel, &config), Vermagic::configured(&config));
    }
}
