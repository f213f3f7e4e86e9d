//! `--json`: a contract of its own, apart from the D-Bus rows, so that neither drags the other along. Every document is
//! one object with `"format": 1`; fields are added, never altered. What is not there is `null`.

use dkms_core::bus::{CheckProblem, HistoryRow, JobRow, KernelRow, StatusRow};
use dkms_core::engine::Mok;
use serde::Serialize;
use serde_json::{Value, json};

use super::mok as text;
use super::status::Boot;

const FORMAT: u32 = 1;

fn word(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

fn number(n: u32) -> Value {
    if n == 0 { Value::Null } else { n.into() }
}

/// `{"format":1,"secure_boot":…,"lockdown":…,"unconfined":…,"packages":[…]}`.
pub(crate) fn status(rows: &[StatusRow], boot: &Boot, unconfined: &str) -> String {
    let packages: Vec<_> = rows
        .iter()
        .map(|r| {
            json!({
                "package": r.package, "version": r.version, "kernel": word(&r.kernel), "arch": word(&r.arch),
                "state": r.state, "stale": r.stale, "held": r.held, "autoinstall": r.autoinstall,
                "reason": word(&r.reason), "first_error": word(&r.first_error),
                "excerpt": word(&r.excerpt), "error": word(&r.error),
                "log": word(&r.log), "job": number(r.job), "signing": word(&r.signing),
                "refused": word(&r.refused),
            })
        })
        .collect();
    let secure_boot = if boot.secure_boot.is_empty() { Value::Null } else { (boot.secure_boot == "on").into() };
    document(&json!({
        "format": FORMAT, "secure_boot": secure_boot, "lockdown": word(&boot.lockdown), "unconfined": word(unconfined),
        "packages": packages,
    }))
}

/// `{"format":1,"kernels":[…]}`.
pub(crate) fn kernels(rows: &[KernelRow]) -> String {
    let kernels: Vec<_> = rows
        .iter()
        .map(|k| {
            json!({
                "kernel": k.kernel, "arch": k.arch, "presence": k.presence, "headers": k.headers,
                "reason": word(&k.reason), "headers_package": word(&k.package), "running": k.running, "fit": k.fit,
                "enforces": word(&k.enforces),
            })
        })
        .collect();
    document(&json!({ "format": FORMAT, "kernels": kernels }))
}

/// `{"format":1,"secure_boot":…}`: see dkmsctl(1).
pub(crate) fn mok(mok: &Mok) -> String {
    let (certificate, _) = text::certificate(mok);
    document(&json!({
        "format": FORMAT, "secure_boot": mok.boot.enabled, "lockdown": mok.boot.lockdown, "enforced": mok.enforced,
        "key": mok.key.to_string_lossy(), "key_exists": mok.key_exists,
        "certificate": mok.certificate_file.to_string_lossy(), "certificate_is": certificate, "next": text::next(mok),
    }))
}

/// `{"format":1,"jobs":[…]}` of what is queued or runs.
pub(crate) fn jobs(rows: &[JobRow]) -> String {
    let jobs: Vec<_> = rows
        .iter()
        .map(|j| {
            json!({
                "job": j.id, "operation": j.operation, "package": j.package, "version": j.version,
                "kernel": word(&j.kernel), "state": j.state,
            })
        })
        .collect();
    document(&json!({ "format": FORMAT, "jobs": jobs }))
}

/// `{"format":1,"jobs":[…]}` of what has ended.
pub(crate) fn history(rows: &[HistoryRow]) -> String {
    let jobs: Vec<_> = rows
        .iter()
        .map(|h| {
            json!({
                "ended": h.at, "job": h.job, "operation": h.operation, "package": h.package, "version": h.version,
                "kernel": word(&h.kernel), "arch": word(&h.arch), "result": h.result, "seconds": h.seconds,
                "reason": word(&h.reason), "error": word(&h.error), "first_error": word(&h.first_error),
                "log": word(&h.log), "unchanged": h.unchanged, "from_cache": h.from_cache,
            })
        })
        .collect();
    document(&json!({ "format": FORMAT, "jobs": jobs }))
}

/// `{"format":1,"kernel":…,"ready":…,"problems":[…]}`.
pub(crate) fn check(kernel: &str, ready: bool, problems: &[CheckProblem]) -> String {
    let problems: Vec<_> = problems
        .iter()
        .map(|p| json!({ "package": p.package, "version": p.version, "state": p.state, "reason": word(&p.reason) }))
        .collect();
    document(&json!({ "format": FORMAT, "kernel": kernel, "ready": ready, "problems": problems }))
}

/// Values have string keys and finite numbers only, which is all that could fail.
fn document(value: &impl Serialize) -> String {
    serde_json::to_string(value).map(|text| text + "\n").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_document() {
        let row = StatusRow {
            package: "hello".into(),
            version: "1.0".into(),
            state: "added".into(),
            autoinstall: true,
            ..StatusRow::default()
        };
        let boot = Boot { secure_boot: "off".into(), lockdown: String::new() };
        let parsed: Value = serde_json::from_str(&status(&[row], &boot, "they run as root")).unwrap();
        assert_eq!(
            parsed,
            json!({ "format": 1, "secure_boot": false, "lockdown": null, "unconfined": "they run as root", "packages": [{
                "package": "hello", "version": "1.0", "kernel": null, "arch": null, "state": "added", "stale": false,
                "held": false, "autoinstall": true, "reason": null, "first_error": null, "excerpt": null, "error": null, "log": null,
                "job": null, "signing": null, "refused": null
            }] })
        );
    }

    #[test]
    fn every_document_is_one_line_and_versioned() {
        for text in [status(&[], &Boot::default(), ""), kernels(&[]), jobs(&[]), history(&[]), check("6.1", true, &[])]
        {
            assert_eq!(text.matches('\n').count(), 1);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["format"], 1);
        }
    }

    #[test]
    fn history_document() {
        let row = HistoryRow {
            at: 7,
            job: 3,
            operation: "remove".into(),
            package: "hello".into(),
            version: "1.0".into(),
            result: "skipped".into(),
            seconds: 0.5,
            reason: "asked for (uid 0)".into(),
            error: "hello/1.0 is in the tree already".into(),
            unchanged: true,
            ..HistoryRow::default()
        };
        let parsed: Value = serde_json::from_str(&history(&[row])).unwrap();
        assert_eq!(
            parsed,
            json!({ "format": 1, "jobs": [{
                "ended": 7, "job": 3, "operation": "remove", "package": "hello", "version": "1.0", "kernel": null,
                "arch": null, "result": "skipped", "seconds": 0.5, "reason": "asked for (uid 0)",
                "error": "hello/1.0 is in the tree already", "first_error": null, "log": null, "unchanged": true,
                "from_cache": false
            }] })
        );
    }

    #[test]
    fn a_time_that_is_no_number_is_null() {
        let text = history(&[HistoryRow { seconds: f64::NAN, ..HistoryRow::default() }]);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["jobs"][0]["seconds"], Value::Null);
    }
}
