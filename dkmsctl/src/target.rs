//! From what was typed to what the daemon knows.

use dkms_core::bus::{KernelRow, StatusRow};

use crate::cli::{KernelArg, PackageArg};
use crate::failure::Failure;

/// Names this similar (Jaro-Winkler, 0 to 1) are offered in place of an unknown one.
const CLOSE: f64 = 0.75;

/// One version of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

/// Which version is meant. `rows` are all of them, each package's newest version first, as ListStatus gives them.
pub(crate) fn package(wanted: &PackageArg, rows: &[StatusRow]) -> Result<Package, Failure> {
    let mut versions: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|r| r.package == wanted.name) {
        if !versions.contains(&row.version.as_str()) {
            versions.push(&row.version);
        }
    }
    let Some(newest) = versions.first() else {
        return Err(Failure::Failed(unknown_package(&wanted.name, rows)));
    };
    let version = match &wanted.version {
        None => *newest,
        Some(v) if versions.contains(&v.as_str()) => v,
        Some(v) => {
            return Err(Failure::Failed(format!(
                "{} has no version {v} here; there is {}",
                wanted.name,
                versions.join(", ")
            )));
        }
    };
    Ok(Package { name: wanted.name.clone(), version: version.to_owned() })
}

fn unknown_package(name: &str, rows: &[StatusRow]) -> String {
    let known: Vec<&str> = rows.iter().map(|r| r.package.as_str()).collect();
    match known.as_slice() {
        [] => format!(
            "no package {name}: there are none yet; put its source with a dkms.conf into /usr/src/{name}-VERSION"
        ),
        known => format!("no package {name}{}; see dkmsctl status", did_you_mean(name, known)),
    }
}

/// The release that the daemon knows; the running one by default. `None` when there is no running one to fall back on.
pub(crate) fn kernel(wanted: Option<&KernelArg>, rows: &[KernelRow]) -> Result<Option<KernelArg>, Failure> {
    let Some(wanted) = wanted else {
        let running = rows.iter().find(|k| k.running);
        return Ok(running.map(|k| KernelArg { release: k.kernel.clone(), arch: k.arch.clone() }));
    };
    let fits = |k: &&KernelRow| k.kernel == wanted.release && (wanted.arch.is_empty() || k.arch == wanted.arch);
    match rows.iter().find(fits) {
        Some(k) => Ok(Some(KernelArg { release: k.kernel.clone(), arch: k.arch.clone() })),
        None if rows.iter().any(|k| k.kernel == wanted.release) => Err(Failure::Failed(format!(
            "kernel {} is not there for {}; see dkmsctl kernels",
            wanted.release, wanted.arch
        ))),
        None => {
            let known: Vec<&str> = rows.iter().map(|k| k.kernel.as_str()).collect();
            Err(Failure::Failed(format!(
                "no kernel {}{}; see dkmsctl kernels",
                wanted.release,
                did_you_mean(&wanted.release, &known)
            )))
        }
    }
}

/// As [`kernel`], where one has to be named.
pub(crate) fn one_kernel(wanted: Option<&KernelArg>, rows: &[KernelRow]) -> Result<KernelArg, Failure> {
    match (kernel(wanted, rows)?, rows) {
        (Some(kernel), _) => Ok(kernel),
        (None, [only]) => Ok(KernelArg { release: only.kernel.clone(), arch: only.arch.clone() }),
        (None, []) => Err(Failure::Failed("there are no kernels; install a kernel's headers".into())),
        (None, rows) => {
            let known: Vec<_> = rows.iter().map(|k| k.kernel.as_str()).collect();
            Err(Failure::Usage(format!(
                "the running kernel is not among them, so say which: -k {}",
                known.join(", -k ")
            )))
        }
    }
}

/// `; did you mean a or b` or nothing.
fn did_you_mean(name: &str, known: &[&str]) -> String {
    let mut close: Vec<_> =
        known.iter().map(|k| (strsim::jaro_winkler(name, k), *k)).filter(|(score, _)| *score >= CLOSE).collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    close.dedup();
    let names: Vec<_> = close.into_iter().map(|(_, k)| k).take(3).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}", names.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn rows() -> Vec<StatusRow> {
        [("r8168", "8.050"), ("r8169", "2.3"), ("r8169", "2.3"), ("r8169", "2.2LK"), ("v4l2loopback", "0.12.7")]
            .map(|(package, version)| StatusRow {
                package: package.into(),
                version: version.into(),
                ..StatusRow::default()
            })
            .to_vec()
    }

    #[rstest]
    #[case("r8169", "r8169/2.3")]
    #[case("r8169/2.2LK", "r8169/2.2LK")]
    #[case("r8169/9", "r8169 has no version 9 here; there is 2.3, 2.2LK")]
    #[case("r816", "no package r816; did you mean r8168 or r8169; see dkmsctl status")]
    #[case("v4l2lopback", "no package v4l2lopback; did you mean v4l2loopback; see dkmsctl status")]
    #[case("zfs", "no package zfs; see dkmsctl status")]
    fn packages(#[case] typed: &str, #[case] wanted: &str) {
        let got = match package(&typed.parse().unwrap(), &rows()) {
            Ok(p) => p.to_string(),
            Err(e) => e.to_string(),
        };
        assert_eq!(got, wanted);
    }

    fn kernels(running: bool) -> Vec<KernelRow> {
        ["6.1.0-56-amd64", "6.1.0-55-amd64"]
            .map(|k| KernelRow {
                kernel: k.into(),
                arch: "x86_64".into(),
                running: running && k.contains("55"),
                ..KernelRow::default()
            })
            .to_vec()
    }

    #[rstest]
    #[case(None, true, "6.1.0-55-amd64/x86_64")]
    #[case(None, false, "the running kernel is not among them, so say which: -k 6.1.0-56-amd64, -k 6.1.0-55-amd64")]
    #[case(Some("6.1.0-56-amd64"), true, "6.1.0-56-amd64/x86_64")]
    #[case(Some("6.1.0-56-amd64/arm64"), true, "kernel 6.1.0-56-amd64 is not there for arm64; see dkmsctl kernels")]
    #[case(
        Some("6.1.0-57-amd64"),
        true,
        "no kernel 6.1.0-57-amd64; did you mean 6.1.0-55-amd64 or 6.1.0-56-amd64; see dkmsctl kernels"
    )]
    #[case(Some("5.4"), true, "no kernel 5.4; see dkmsctl kernels")]
    fn kernels_by_name_or_default(#[case] typed: Option<&str>, #[case] running: bool, #[case] wanted: &str) {
        let typed = typed.map(|t| t.parse().unwrap());
        let got = match one_kernel(typed.as_ref(), &kernels(running)) {
            Ok(k) => format!("{}/{}", k.release, k.arch),
            Err(e) => e.to_string(),
        };
        assert_eq!(got, wanted);
    }

    #[test]
    fn a_single_kernel_needs_no_name() {
        assert_eq!(one_kernel(None, &kernels(false)[..1]).unwrap().release, "6.1.0-56-amd64");
        assert_eq!(one_kernel(None, &[]).unwrap_err().exit(), crate::failure::Exit::Failed);
    }
}
