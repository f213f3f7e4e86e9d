//! dkmsd.toml: the daemon, and packages that need more than others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Mistake;
use crate::error::{Error, IoContext, Result};
use crate::model::PackageName;

/// `[daemon]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonSettings {
    /// `max_jobs`: how many jobs are under way at once; twice the number of CPUs by default, so that one prepares while
    /// another compiles. Compilers are counted by the jobserver ([`crate::build::jobserver`]), whatever stands here.
    pub max_jobs: u32,
    /// `quiet_seconds`: how long nothing may have changed before headers count as whole.
    pub quiet: Duration,
    /// `package_manager_wait_minutes`: how long the package manager is waited for.
    pub package_manager_wait: Duration,
    /// `build_timeout_minutes`: how long one build may take.
    pub build_timeout: Duration,
    /// `cache_megabytes`: how much of finished builds is kept, in MiB; 0 for nothing.
    pub cache_megabytes: u32,
    /// `nice` and `io_priority`: how builds that nobody asked for stand behind what people do with the machine.
    pub priority: Priority,
}

/// How a process stands behind others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Priority {
    /// As nice(1) adds it, from 0 to 19.
    pub nice: i32,
    /// When it may read and write.
    pub io: IoPriority,
}

/// When a process may read and write, as ionice(1) has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoPriority {
    /// As others.
    #[default]
    Normal,
    /// After others.
    Low,
    /// When nobody else does.
    Idle,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self::from(DaemonTable::default())
    }
}

/// `[package.NAME]`: what one package may do that others may not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PackageSettings {
    /// `network`: its build may use the network.
    pub network: bool,
    /// `user`: who builds it; the user `dkms` when none.
    pub user: Option<String>,
    /// The line of dkmsd.toml that names the user.
    pub user_line: usize,
    /// `writable`: folders that its build may write, beside its own.
    pub writable: Vec<PathBuf>,
    /// `timeout`, in minutes or as `"45m"`, `"2h"`: how long its build may take; as the daemon's when none.
    pub timeout: Option<Duration>,
    /// `cache = false`: its builds are neither kept nor taken from the cache.
    pub uncached: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    daemon: DaemonTable,
    #[serde(default)]
    package: BTreeMap<String, toml::Spanned<PackageTable>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DaemonTable {
    max_jobs: Option<toml::Spanned<u32>>,
    quiet_seconds: Option<u32>,
    package_manager_wait_minutes: Option<u32>,
    build_timeout_minutes: Option<toml::Spanned<u32>>,
    cache_megabytes: Option<u32>,
    nice: Option<toml::Spanned<i32>>,
    io_priority: Option<IoPriority>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackageTable {
    #[serde(default)]
    network: bool,
    user: Option<toml::Spanned<String>>,
    #[serde(default)]
    writable: Vec<toml::Spanned<PathBuf>>,
    timeout: Option<toml::Spanned<Span>>,
    cache: Option<bool>,
}

/// A length of time.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Span {
    Minutes(u32),
    Words(String),
}

impl Span {
    fn duration(&self) -> Option<Duration> {
        let length = match self {
            Self::Minutes(n) => minutes(*n),
            Self::Words(words) => Duration::try_from(words.parse::<jiff::SignedDuration>().ok()?).ok()?,
        };
        (length >= Duration::from_secs(1)).then_some(length)
    }
}

impl From<DaemonTable> for DaemonSettings {
    fn from(table: DaemonTable) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        Self {
            max_jobs: table.max_jobs.map_or(cpus.saturating_mul(2), toml::Spanned::into_inner),
            quiet: Duration::from_secs(table.quiet_seconds.unwrap_or(2).into()),
            package_manager_wait: minutes(table.package_manager_wait_minutes.unwrap_or(10)),
            build_timeout: minutes(table.build_timeout_minutes.map_or(60, toml::Spanned::into_inner)),
            cache_megabytes: table.cache_megabytes.unwrap_or(512),
            priority: Priority {
                nice: table.nice.map_or(10, toml::Spanned::into_inner),
                io: table.io_priority.unwrap_or(IoPriority::Low),
            },
        }
    }
}

fn minutes(n: u32) -> Duration {
    Duration::from_secs(u64::from(n) * 60)
}

/// Reads dkmsd.toml; the defaults when there is none.
pub(super) fn load(path: &Path) -> Result<(DaemonSettings, BTreeMap<PackageName, PackageSettings>)> {
    match fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => parse(path, ""),
        Err(e) => Err(e).at("read", path),
    }
}

fn parse(path: &Path, text: &str) -> Result<(DaemonSettings, BTreeMap<PackageName, PackageSettings>)> {
    let bad = |at: usize, why: String| {
        let (path, line) = (Some(path.to_owned()), Some(line_of(text, at)));
        Error::BadSettings { mistakes: vec![Mistake { path, line, why }] }
    };
    let file: File = toml::from_str(text).map_err(|e| bad(e.span().map_or(0, |s| s.start), e.message().to_owned()))?;
    for (name, number) in
        [("max_jobs", &file.daemon.max_jobs), ("build_timeout_minutes", &file.daemon.build_timeout_minutes)]
    {
        if let Some(number) = number
            && *number.get_ref() == 0
        {
            return Err(bad(number.span().start, format!("{name} is 0; write 1 or more, or leave it out")));
        }
    }
    if let Some(nice) = file.daemon.nice.as_ref().filter(|nice| !(0..=19).contains(nice.get_ref())) {
        return Err(bad(nice.span().start, format!("nice is {}; write a number from 0 to 19", nice.get_ref())));
    }
    let mut packages = BTreeMap::new();
    for (name, table) in file.package {
        let start = table.span().start;
        let name = PackageName::new(name).map_err(|e| bad(start, format!("{e}; write [package.NAME]")))?;
        let table = table.into_inner();
        if let Some(folder) = table.writable.iter().find(|f| !is_plain(f.get_ref())) {
            let what = folder.get_ref().display();
            return Err(bad(
                folder.span().start,
                format!("writable folder \"{what}\"; write a full path without '..'"),
            ));
        }
        if let Some(user) = &table.user
            && (user.get_ref().is_empty() || user.get_ref().contains([':', '/', '\n']))
        {
            return Err(bad(user.span().start, format!("\"{}\" is not a user's name", user.get_ref())));
        }
        let timeout = match &table.timeout {
            None => None,
            Some(given) => Some(given.get_ref().duration().ok_or_else(|| {
                let why = "timeout is no length of time; write minutes, or as \"45m\" or \"2h\", or leave it out";
                bad(given.span().start, why.to_owned())
            })?),
        };
        let settings = PackageSettings {
            network: table.network,
            user_line: table.user.as_ref().map_or(0, |user| line_of(text, user.span().start)),
            user: table.user.map(toml::Spanned::into_inner),
            writable: table.writable.into_iter().map(toml::Spanned::into_inner).collect(),
            timeout,
            uncached: table.cache == Some(false),
        };
        packages.insert(name, settings);
    }
    Ok((file.daemon.into(), packages))
}

fn is_plain(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|c| !matches!(c, std::path::Component::ParentDir))
}

/// The line of a byte, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn what_is_set_takes_effect_and_the_rest_keeps_its_default() {
        let text = "[daemon]\nmax_jobs = 3\nbuild_timeout_minutes = 5\ncache_megabytes = 0\nio_priority = \"idle\"\n\n[package.nvidia]\nnetwork = true\nuser = \"builder\"\nwritable = [\"/var/cache/x\"]\ntimeout = 90\ncache = false\n[package.zfs]\ncache = true\n";
        let (daemon, packages) = parse(Path::new("dkmsd.toml"), text).unwrap();
        assert_eq!((daemon.max_jobs, daemon.build_timeout), (3, Duration::from_secs(300)));
        assert_eq!((daemon.cache_megabytes, DaemonSettings::default().cache_megabytes), (0, 512));
        assert_eq!(daemon.priority, Priority { nice: 10, io: IoPriority::Idle });
        assert_eq!((daemon.quiet, daemon.package_manager_wait), (Duration::from_secs(2), Duration::from_secs(600)));
        let nvidia = &packages[&PackageName::new("nvidia").unwrap()];
        assert!(nvidia.network && nvidia.uncached);
        assert_eq!(packages[&PackageName::new("zfs").unwrap()], PackageSettings::default());
        assert_eq!(nvidia.timeout, Some(Duration::from_secs(5400)));
    }

    #[rstest]
    #[case("90", 5400)]
    #[case("\"45m\"", 2700)]
    #[case("\"1h 30m\"", 5400)]
    #[case("\"90s\"", 90)]
    fn a_timeout_is_minutes_or_says_its_unit(#[case] given: &str, #[case] seconds: u64) {
        let (_, packages) = parse(Path::new("dkmsd.toml"), &format!("[package.x]\ntimeout = {given}\n")).unwrap();
        let set = packages[&PackageName::new("x").unwrap()].timeout;
        assert_eq!(set, Some(Duration::from_secs(seconds)));
    }

    #[rstest]
    #[case("[daemon]\nmax_job = 3\n", 2, "max_job")]
    #[case("\n\n[deamon]\n", 3, "deamon")]
    #[case("[daemon]\nmax_jobs = 0\n", 2, "1 or more")]
    #[case("[daemon]\nnice = 20\n", 2, "from 0 to 19")]
    #[case("[daemon]\n\nnice = -1\n", 3, "from 0 to 19")]
    #[case("[daemon]\nio_priority = \"none\"\n", 2, "normal")]
    #[case("[daemon]\nmax_jobs = -1\n", 2, "")]
    #[case("[daemon]\n\ncache_megabytes = \"1G\"\n", 3, "")]
    #[case("[package.x]\ncache = 1\n", 2, "")]
    #[case("[daemon]\nmax_jobs = \"x\"\n", 2, "")]
    #[case("[package.x]\nnetwork = true\nwritable = [\"a\"]\n", 3, "full path")]
    #[case("[package.x]\nwritable = [\"/a/../b\"]\n", 2, "..")]
    #[case("[package.x]\n\ntimeout = 0\n", 3, "minutes")]
    #[case("[package.x]\ntimeout = \"soon\"\n", 2, "45m")]
    #[case("[package.x]\ntimeout = \"-1h\"\n", 2, "45m")]
    #[case("[package.x]\ntimeout = true\n", 2, "")]
    #[case("[package.\"a/b\"]\ntimeout = 1\n", 1, "slash")]
    #[case("[daemon\n", 1, "")]
    fn errors_name_the_line(#[case] text: &str, #[case] wanted: usize, #[case] word: &str) {
        match parse(Path::new("dkmsd.toml"), text) {
            Err(Error::BadSettings { mistakes }) => {
                let [Mistake { line, why, .. }] = mistakes.as_slice() else { panic!("{mistakes:?}") };
                assert_eq!(*line, Some(wanted), "{why}");
                assert!(why.contains(word), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}
