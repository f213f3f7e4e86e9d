//! Signs modules for kernels that want it (dkms-contract.md §4, "Signing"). Not to be able to sign is never an error:
//! the module is used unsigned, and the caller warns.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::artifact::certificate::Certificate;
use crate::artifact::signing::Signing;
use crate::artifact::{keys, tool};
use crate::fingerprint::digest;
use crate::host::distro::Distro;
use crate::host::kconfig::KernelConfig;
use crate::layout::Layout;
use crate::model::KernelRelease;
use crate::settings::{PerKernel, Settings, TrySign};
use crate::tree::resolve;

/// What framework.conf and the machine say. `$kernelver` in the paths stands for the kernel's release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignSettings {
    /// `try_sign_modules`.
    pub try_sign: TrySign,
    /// This process is in a chroot.
    pub in_chroot: bool,
    /// The distribution is Ubuntu, which has its own key and its own tool.
    pub ubuntu: bool,
    /// `sign_file`.
    pub sign_file: Option<String>,
    /// `mok_signing_key`: a path or a `pkcs11:` URI.
    pub key: Option<String>,
    /// `mok_certificate`.
    pub certificate: Option<String>,
}

impl SignSettings {
    /// What the settings and the machine say for a kernel.
    #[must_use]
    pub fn of(settings: &Settings, distro: &Distro, in_chroot: bool, kernel: &KernelRelease) -> Self {
        let per_kernel = |setting: &Option<PerKernel>| setting.as_ref().map(|s| s.for_kernel(kernel));
        Self {
            try_sign: settings.try_sign_modules,
            in_chroot,
            ubuntu: distro.is_like("ubuntu"),
            sign_file: per_kernel(&settings.sign_file),
            key: per_kernel(&settings.mok_signing_key),
            certificate: per_kernel(&settings.mok_certificate),
        }
    }
}

/// What became of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignOutcome {
    /// It is signed.
    Signed,
    /// It is not meant to be.
    NotWanted {
        /// Why not.
        why: String,
    },
    /// It should be, and is not: worth a warning.
    Failed {
        /// Why not, and what to do.
        why: String,
    },
}

/// Everything that signing for one kernel takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    tool: PathBuf,
    hash: String,
    /// A path or a `pkcs11:` URI.
    key: PathBuf,
    certificate: PathBuf,
}

/// Where key and certificate are, as given or by default, to be opened as they are.
#[must_use]
pub fn key_paths(layout: &Layout, kernel: &KernelRelease, settings: &SignSettings) -> (PathBuf, PathBuf) {
    let (key, certificate) = if settings.ubuntu {
        ("/var/lib/shim-signed/mok/MOK.priv", "/var/lib/shim-signed/mok/MOK.der")
    } else {
        ("/var/lib/dkms/mok.key", "/var/lib/dkms/mok.pub")
    };
    let path = |given: &Option<String>, default: &str| {
        let given = given.as_deref().filter(|given| !given.is_empty()).unwrap_or(default);
        let given = for_kernel(given, kernel);
        if is_uri(&given) { given.into() } else { layout.host(given) }
    };
    (path(&settings.key, key), path(&settings.certificate, certificate))
}

/// Finds what it takes to sign for a kernel; makes key and certificate when they are not there.
///
/// # Errors
/// The outcome for every module of this kernel, when they are not or cannot be signed.
pub fn signer(
    layout: &Layout,
    kernel: &KernelRelease,
    config: &KernelConfig,
    settings: &SignSettings,
) -> Result<Signer, SignOutcome> {
    let hash = wanted(config, settings).map_err(|why| SignOutcome::NotWanted { why: why.to_owned() })?;
    let candidates = tools(layout, kernel, settings);
    let Some(tool) = candidates.iter().find(|path| path.is_file()).cloned() else {
        let places = candidates.iter().map(|path| layout.inside(path).display().to_string()).collect::<Vec<_>>();
        return failed(format!("there is no sign-file in {}; install the kernel's headers", places.join(", ")));
    };
    let (key, certificate) = key_paths(layout, kernel, settings);
    if is_uri(&key.to_string_lossy()) {
        if !certificate.is_file() {
            return failed(format!("the certificate {} is missing", certificate.display()));
        }
    } else if settings.in_chroot && !(key.is_file() && certificate.is_file()) {
        // It would end up in every machine that is made from this image.
        return failed(format!(
            "there is no key {}, and in a chroot none is made unasked; dkms generate_mok makes one",
            layout.inside(&key).display()
        ));
    } else {
        match keys::make(layout, &key, &certificate) {
            Ok(true) => {
                tracing::info!(key = %key.display(), certificate = %certificate.display(), "made a signing key")
            }
            Ok(false) => {}
            Err(e) => return failed(e.to_string()),
        }
    }
    Ok(Signer { tool, hash: hash.to_owned(), key, certificate })
}

/// The hash that a kernel's modules are to be signed with.
///
/// # Errors
/// Why they are not meant to be signed, as a part of a sentence.
pub fn wanted<'c>(config: &'c KernelConfig, settings: &SignSettings) -> Result<&'c str, &'static str> {
    let hash = config.get("CONFIG_MODULE_SIG_HASH").filter(|hash| !hash.is_empty());
    let hash = hash.ok_or("the kernel's configuration has no CONFIG_MODULE_SIG_HASH")?;
    match settings.try_sign {
        TrySign::No => Err("try_sign_modules is off"),
        TrySign::NotInChroot if settings.in_chroot => Err("this is a chroot; try_sign_modules=true signs here as well"),
        TrySign::Yes | TrySign::NotInChroot => Ok(hash),
    }
}

/// What a kernel's modules would be signed with now.
///
/// It is no part of a fingerprint: the first build of all makes the key, which would make every build before it stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The certificate.
    pub certificate: Certificate,
    /// Where it is, as seen from inside the root.
    pub certificate_file: PathBuf,
    /// Another one when the certificate or the tool change, or the key's size does.
    pub mark: String,
}

/// What there is to sign a kernel's modules with; none when they are not to be signed, or something is missing. Unlike
/// [`signer`], it makes nothing.
#[must_use]
pub fn offer(layout: &Layout, kernel: &KernelRelease, config: &KernelConfig, settings: &SignSettings) -> Option<Offer> {
    wanted(config, settings).ok()?;
    let tool = tools(layout, kernel, settings).into_iter().find(|path| path.is_file())?;
    let (key, file) = key_paths(layout, kernel, settings);
    if !is_uri(&key.to_string_lossy()) && !key.is_file() {
        return None;
    }
    let certificate = Certificate::read(&file).ok()??;
    // A key that is brought back at each boot is the same one, whatever its time; a tool's time is its package's.
    let size = |path: &Path| fs::metadata(path).map(|meta| meta.size()).unwrap_or_default();
    let time = fs::metadata(&tool).map(|meta| meta.mtime()).unwrap_or_default();
    let key = format!("{} {}", key.display(), size(&key));
    let tool = format!("{} {} {time}", tool.display(), size(&tool));
    let mark = digest([certificate.digest.as_bytes(), key.as_bytes(), tool.as_bytes()]);
    Some(Offer { certificate, certificate_file: layout.inside(&file), mark })
}

impl Offer {
    /// Why a build is worth being signed anew, in words; none when it is not. What was tried with the same and failed
    /// is not.
    #[must_use]
    pub fn due(&self, signing: &Signing) -> Option<String> {
        match signing {
            Signing::Unsigned { tried, .. } if *tried != self.mark => {
                Some("it is not signed, and there is a key to sign it with".to_owned())
            }
            // Whose key it is was not known, so that another one tells nothing.
            Signing::Signed { certificate, .. }
                if !certificate.is_empty() && *certificate != self.certificate.digest =>
            {
                Some(format!("its signature is of another key than that of {}", self.certificate_file.display()))
            }
            Signing::Unknown | Signing::Unsigned { .. } | Signing::Signed { .. } => None,
        }
    }
}

fn failed<T>(why: String) -> Result<T, SignOutcome> {
    Err(SignOutcome::Failed { why })
}

/// Whether a key is named by a URI, and so is no file.
pub(crate) fn is_uri(key: &str) -> bool {
    key.starts_with("pkcs11:")
}

fn for_kernel(text: &str, kernel: &KernelRelease) -> String {
    text.replace("${kernelver}", kernel.as_str()).replace("$kernelver", kernel.as_str())
}

/// Where the tool may be, in the classic order.
fn tools(layout: &Layout, kernel: &KernelRelease, settings: &SignSettings) -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(given) = settings.sign_file.as_deref().filter(|given| !given.is_empty()) {
        candidates.push(layout.host(for_kernel(given, kernel)));
    }
    let mut numbers = kernel.as_str().split(|c: char| !c.is_ascii_digit());
    if let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) {
        candidates.push(layout.host(format!("/usr/lib/linux-kbuild-{major}.{minor}/scripts/sign-file")));
    }
    if settings.ubuntu {
        candidates.push(layout.host("/usr/bin/kmodsign"));
        candidates.push(layout.host(format!("/usr/src/linux-headers-{kernel}/scripts/sign-file")));
    }
    let headers = layout.kernel_source(kernel);
    candidates.push(resolve(layout, &headers).unwrap_or(headers).join("scripts/sign-file"));
    candidates
}

impl Signer {
    /// Signs a module in place. It must be neither compressed nor signed yet.
    #[must_use]
    pub fn sign(&self, file: &Path) -> SignOutcome {
        let mut command = Command::new(&self.tool);
        command.arg(&self.hash).arg(&self.key).arg(&self.certificate).arg(file);
        match tool::run(command, file, "with the kernel's headers") {
            Ok(_) => SignOutcome::Signed,
            Err(e) => SignOutcome::Failed { why: e.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{ModInfo, fixture, strip};
    use rstest::rstest;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A root whose kernel has real headers' configuration and tool, and a module that is not signed.
    fn setup() -> (tempfile::TempDir, Layout, KernelRelease, KernelConfig) {
        let root = fixture::scratch();
        let layout = Layout::under(root.path());
        let kernel = fixture::kernel().release;
        let tool = tools(&Layout::under(fixture::root()), &kernel, &SignSettings::default()).swap_remove(0);
        let place = layout.host(Layout::under(fixture::root()).inside(&tool));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(tool, place).unwrap();
        fs::copy(fixture::module("r8169.ko"), root.path().join("r8169.ko")).unwrap();
        strip::strip(&root.path().join("r8169.ko"), "strip").unwrap();
        let config = KernelConfig::below(&fixture::headers(&kernel));
        (root, layout, kernel, config)
    }

    #[test]
    fn a_module_is_signed_as_the_kernel_wants_it() {
        let (root, layout, kernel, config) = setup();
        let file = root.path().join("r8169.ko");
        assert!(!ModInfo::read(&file).unwrap().signed);
        let signer = signer(&layout, &kernel, &config, &SignSettings::default()).unwrap();
        assert_eq!(signer.hash, config.get("CONFIG_MODULE_SIG_HASH").unwrap());
        assert_eq!(signer.sign(&file), SignOutcome::Signed);
        assert!(ModInfo::read(&file).unwrap().signed);
        let output = Command::new("modinfo").args(["-F", "signer"]).arg(&file).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "DKMS module signing key");
    }

    #[test]
    fn the_setting_and_the_headers_are_looked_at_too() {
        let (_root, layout, kernel, config) = setup();
        let first = tools(&layout, &kernel, &SignSettings::default()).swap_remove(0);
        let headers = layout.host("/usr/src/headers");
        fs::create_dir_all(headers.join("scripts")).unwrap();
        fs::create_dir_all(layout.kernel_folder(&kernel)).unwrap();
        symlink("/usr/src/headers", layout.kernel_source(&kernel)).unwrap();
        fs::rename(&first, headers.join("scripts/sign-file")).unwrap();
        let found = signer(&layout, &kernel, &config, &SignSettings::default()).unwrap();
        assert_eq!(found.tool, headers.join("scripts/sign-file"));

        let given = layout.host(format!("/opt/{kernel}/sign"));
        fs::create_dir_all(given.parent().unwrap()).unwrap();
        fs::copy(&found.tool, &given).unwrap();
        let settings = SignSettings { sign_file: Some("/opt/$kernelver/sign".to_owned()), ..SignSettings::default() };
        assert_eq!(signer(&layout, &kernel, &config, &settings).unwrap().tool, given);
    }

    #[rstest]
    #[case::kernel_does_not_ask(TrySign::Yes, false, "", true)]
    #[case::off(TrySign::No, false, "CONFIG_MODULE_SIG_HASH=\"sha512\"", true)]
    #[case::in_a_chroot(TrySign::NotInChroot, true, "CONFIG_MODULE_SIG_HASH=\"sha512\"", true)]
    #[case::no_key_in_a_chroot(TrySign::Yes, true, "CONFIG_MODULE_SIG_HASH=\"sha512\"", false)]
    #[case::no_tool(TrySign::Yes, false, "CONFIG_MODULE_SIG_HASH=\"sha512\"", false)]
    fn not_signing_has_a_reason_and_makes_no_key(
        #[case] try_sign: TrySign,
        #[case] in_chroot: bool,
        #[case] config: &str,
        #[case] by_choice: bool,
    ) {
        let root = fixture::scratch();
        let layout = Layout::under(root.path());
        // Any file passes for the tool.
        let sign_file = in_chroot.then(|| "/sign-file".to_owned());
        if in_chroot {
            fs::write(root.path().join("sign-file"), "").unwrap();
        }
        let settings = SignSettings { try_sign, in_chroot, sign_file, ..SignSettings::default() };
        let kernel = fixture::kernel().release;
        let outcome = signer(&layout, &kernel, &KernelConfig::parse(config), &settings).unwrap_err();
        assert_eq!(matches!(outcome, SignOutcome::NotWanted { .. }), by_choice, "{outcome:?}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), usize::from(in_chroot));
    }

    #[test]
    fn a_tool_that_fails_says_why_and_leaves_the_module() {
        let (root, layout, kernel, _) = setup();
        let file = root.path().join("r8169.ko");
        let before = fs::read(&file).unwrap();
        let config = KernelConfig::parse("CONFIG_MODULE_SIG_HASH=\"no-such-hash\"");
        let signer = signer(&layout, &kernel, &config, &SignSettings::default()).unwrap();
        let outcome = signer.sign(&file);
        assert!(matches!(&outcome, SignOutcome::Failed { why } if why.contains("sign-file")), "{outcome:?}");
        assert_eq!(fs::read(&file).unwrap(), before);
    }

    #[rstest]
    #[case(false, None, "/r/var/lib/dkms/mok.key", "/r/var/lib/dkms/mok.pub")]
    #[case(true, None, "/r/var/lib/shim-signed/mok/MOK.priv", "/r/var/lib/shim-signed/mok/MOK.der")]
    #[case(false, Some("/keys/$kernelver/k"), "/r/keys/6.1/k", "/r/var/lib/dkms/mok.pub")]
    #[case(false, Some("pkcs11:token=x"), "pkcs11:token=x", "/r/var/lib/dkms/mok.pub")]
    fn keys_have_their_places(
        #[case] ubuntu: bool,
        #[case] key: Option<&str>,
        #[case] wanted_key: &str,
        #[case] wanted_certificate: &str,
    ) {
        let settings = SignSettings { ubuntu, key: key.map(str::to_owned), ..SignSettings::default() };
        let paths = key_paths(&Layout::under("/r"), &KernelRelease::new("6.1").unwrap(), &settings);
        assert_eq!(paths, (wanted_key.into(), wanted_certificate.into()));
    }
}
