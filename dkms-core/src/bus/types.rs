//! Dictionaries and structures that travel over D-Bus.
//!
//! Every `a{sv}` is one Rust type with serde's derive, so that the daemon that fills it and the client that reads it
//! cannot drift. Keys are the fields' names in kebab-case. A key that is missing takes its default and an unknown one is
//! ignored, so that either side may be newer.

use serde::{Deserialize, Serialize};
use zbus::{OwnedObjectPath, Type, as_variant};

/// A struct that travels as `a{sv}`.
macro_rules! dictionary {
    (
        $(#[$outer:meta])*
        $name:ident { $( $(#[$inner:meta])* $field:ident: $type:ty, )* }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Type)]
        #[serde(default, rename_all = "kebab-case")]
        #[zbus(signature = "a{sv}")]
        pub struct $name {
            $( $(#[$inner])* #[serde(with = "as_variant")] pub $field: $type, )*
        }

        impl $name {
            /// The Rust names of the dictionary's keys.
            #[cfg(test)]
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    };
}

dictionary!(
    /// The options of every method that changes something.
    Options {
        /// Build or install although it is there, or a check says no.
        force: bool,
        /// polkit may ask the user for a password.
        interactive: bool,
        /// A person asks, not a hook or script: holds are set and ended, failures are tried again. True by default.
        by_hand: bool,
    }
);

impl Default for Options {
    fn default() -> Self {
        Self { force: false, interactive: false, by_hand: true }
    }
}

dictionary!(
    /// Which rows `ListStatus` gives; an empty field matches all.
    #[derive(Default)]
    StatusFilter {
        /// PACKAGE_NAME.
        package: String,
        /// PACKAGE_VERSION.
        version: String,
        /// A kernel's release.
        kernel: String,
        /// An architecture.
        arch: String,
    }
);

dictionary!(
    /// A row of `ListStatus`: a package version on a kernel, or with an empty kernel a version that is on none.
    #[derive(Default)]
    StatusRow {
        /// PACKAGE_NAME.
        package: String,
        /// PACKAGE_VERSION.
        version: String,
        /// The kernel's release; may be empty.
        kernel: String,
        /// Its architecture; empty when the kernel is.
        arch: String,
        /// A word of [`crate::model::EntryState`].
        state: String,
        /// Installed, but made from other headers, sources or tools than are there now.
        stale: bool,
        /// Why it is in this state, one line; empty when it needs none.
        reason: String,
        /// The failed build's first compiler error.
        first_error: String,
        /// That line behind `> ` and up to two around it, each on a line; behind `= ` what to do, where that is known.
        excerpt: String,
        /// What the last failed attempt ended with, one line.
        error: String,
        /// Path of the newest attempt's log; empty when there is none.
        log: String,
        /// The job that is at it; 0 for none.
        job: u32,
        /// Why the kernel does not take what is installed, and what to do, one line: it lacks a signature that the kernel
        /// trusts. Empty where it takes it, and where that is not known.
        refused: String,
        /// dkms.conf says AUTOINSTALL.
        autoinstall: bool,
        /// An admin took it away by hand.
        held: bool,
        /// What is built is `unsigned`, `signed`, or signed and `enrolled`; empty where that is not known.
        signing: String,
    }
);

dictionary!(
    /// A row of `ListKernels`.
    #[derive(Default)]
    KernelRow {
        /// The release.
        kernel: String,
        /// The architecture.
        arch: String,
        /// `installed` or `headers-only`.
        presence: String,
        /// `ready`, `settling`, `missing` or `unusable`.
        headers: String,
        /// Why the headers are not ready, one line.
        reason: String,
        /// The distribution's package that brings missing headers; empty when unknown or not needed.
        package: String,
        /// The kernel that runs.
        running: bool,
        /// Every AUTOINSTALL package is installed and fresh there, or rightly absent.
        fit: bool,
        /// Why it takes signed modules only, one line; empty when it takes any, or nothing is installed on it.
        enforces: String,
    }
);

dictionary!(
    /// A row of `ListHistory`: a finished job.
    #[derive(Default)]
    HistoryRow {
        /// When it ended, in seconds since 1970-01-01 UTC.
        at: u64,
        /// Its id.
        job: u32,
        /// What it did.
        operation: String,
        /// PACKAGE_NAME.
        package: String,
        /// PACKAGE_VERSION.
        version: String,
        /// The kernel's release; may be empty.
        kernel: String,
        /// Its architecture.
        arch: String,
        /// `done`, `failed`, `canceled`, `skipped`, `dependency` or `timeout`.
        result: String,
        /// From its start to its end, in seconds, without its time in the queue.
        seconds: f64,
        /// Why the job was made, one line.
        reason: String,
        /// Why it did not end as done, one line.
        error: String,
        /// The first compiler error of a build that failed.
        first_error: String,
        /// Path of the log of a build that failed; empty when this job has left none.
        log: String,
        /// It was skipped because it was so already: what was asked for is there.
        unchanged: bool,
        /// Nothing was compiled: the build came out of the cache.
        from_cache: bool,
    }
);

/// What keeps a kernel from being fit to boot into: `(ssss)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct CheckProblem {
    /// PACKAGE_NAME.
    pub package: String,
    /// PACKAGE_VERSION.
    pub version: String,
    /// A word of [`crate::model::EntryState`].
    pub state: String,
    /// Why, one line.
    pub reason: String,
}

/// A job that is queued or runs: `(ussssso)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct JobRow {
    /// Its id.
    pub id: u32,
    /// What it does.
    pub operation: String,
    /// PACKAGE_NAME.
    pub package: String,
    /// PACKAGE_VERSION.
    pub version: String,
    /// The kernel's release; may be empty.
    pub kernel: String,
    /// `queued`, `running` or `canceling`.
    pub state: String,
    /// Its object.
    pub object: OwnedObjectPath,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use zbus::wire::{LE, serialized::Context, to_bytes};
    use zbus::{OwnedVariant, Variant};

    use super::*;

    const XML: &str = include_str!("../../../dkmsd/dbus/org.dkmsd1.xml");

    fn through<A: Serialize + Type, B: for<'d> Deserialize<'d> + Type>(value: &A) -> B {
        to_bytes(Context::new(LE, 0), value).unwrap().deserialize().unwrap().0
    }

    fn kebab(fields: &[&str]) -> Vec<String> {
        let mut keys: Vec<_> = fields.iter().map(|f| f.replace('_', "-")).collect();
        keys.sort();
        keys
    }

    fn sent<T: Serialize + Type>(value: &T) -> HashMap<String, OwnedVariant> {
        through(value)
    }

    #[test]
    fn every_key_is_sent_and_written_down() {
        for (fields, dict) in [
            (Options::FIELDS, sent(&Options::default())),
            (StatusFilter::FIELDS, sent(&StatusFilter::default())),
            (StatusRow::FIELDS, sent(&StatusRow::default())),
            (KernelRow::FIELDS, sent(&KernelRow::default())),
            (HistoryRow::FIELDS, sent(&HistoryRow::default())),
        ] {
            let mut keys: Vec<_> = dict.keys().cloned().collect();
            keys.sort();
            assert_eq!(keys, kebab(fields));
            for (key, value) in &dict {
                let documented = format!("\"{key}\"");
                let signature = value.value_signature().to_string();
                assert!(
                    XML.match_indices(&documented)
                        .any(|(at, m)| XML[at + m.len()..].trim_start().starts_with(&signature)),
                    "{key} ({signature}) is not in the XML"
                );
            }
        }
    }

    #[test]
    fn rows_survive_the_wire() {
        let row = StatusRow {
            package: "r8169".into(),
            version: "2.2LK".into(),
            kernel: "6.1.0-56-amd64".into(),
            arch: "x86_64".into(),
            state: "failed".into(),
            stale: true,
            reason: "its build failed".into(),
            first_error: "r8169.c:10: error: no".into(),
            excerpt: "  CC r8169.o\n> r8169.c:10: error: no".into(),
            error: "make ended with 2".into(),
            log: "/var/lib/dkmsd/logs/x".into(),
            job: 7,
            refused: "its modules are not signed".into(),
            autoinstall: true,
            held: false,
            signing: "signed".into(),
        };
        assert_eq!(through::<_, StatusRow>(&row), row);
    }

    #[test]
    fn either_side_may_be_newer() {
        let sparse = HashMap::from([("force", Variant::from(true)), ("colour", Variant::from("green"))]);
        let options: Options = through(&sparse);
        assert_eq!(options, Options { force: true, interactive: false, by_hand: true });
        let none: HashMap<&str, Variant<'_>> = HashMap::new();
        assert_eq!(through::<_, Options>(&none), Options::default());
    }
}
