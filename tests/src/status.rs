//! `ListStatus`, read over the system bus with busctl, as any other program would.

use serde_json::Value;

use crate::Machine;

/// One row of ListStatus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// PACKAGE_NAME.
    pub package: String,
    /// PACKAGE_VERSION.
    pub version: String,
    /// Kernel release; empty for a package that is on no kernel.
    pub kernel: String,
    /// One of the words of design.md.
    pub state: String,
    /// Installed, but from other inputs than are there now.
    pub stale: bool,
    /// Why it is in this state.
    pub reason: String,
    /// The first compiler error of the last attempt.
    pub first_error: String,
    /// Path of the newest attempt's log.
    pub log: String,
}

/// Every row there is.
pub(crate) fn rows(machine: &Machine) -> Result<Vec<Row>, String> {
    let answer =
        machine.try_sh("busctl --json=short call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager ListStatus 'a{sv}' 0");
    if answer.code != 0 {
        return Err(format!("ListStatus: {}", answer.stderr));
    }
    parse(&answer.stdout).ok_or_else(|| format!("not what ListStatus gives: {}", answer.stdout))
}

fn parse(reply: &str) -> Option<Vec<Row>> {
    let reply: Value = serde_json::from_str(reply).ok()?;
    reply["data"][0].as_array()?.iter().map(row).collect()
}

fn row(value: &Value) -> Option<Row> {
    let text = |key: &str| Some(value[key]["data"].as_str()?.to_owned());
    Some(Row {
        package: text("package")?,
        version: text("version")?,
        kernel: text("kernel")?,
        state: text("state")?,
        stale: value["stale"]["data"].as_bool()?,
        reason: text("reason")?,
        first_error: text("first-error")?,
        log: text("log")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_busctl_is_read() {
        let field = |key: &str, value: &str| format!(r#""{key}":{{"type":"s","data":"{value}"}}"#);
        let fields = [
            field("package", "r8169"),
            field("version", "2.2LK"),
            field("kernel", "6.1.0-56-amd64"),
            field("state", "failed"),
            field("reason", ""),
            field("first-error", "no such function"),
            field("log", "/x/make.log"),
            r#""stale":{"type":"b","data":false}"#.to_owned(),
        ];
        let reply = format!(r#"{{"type":"aa{{sv}}","data":[[{{{}}}]]}}"#, fields.join(","));
        let rows = parse(&reply).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].package.as_str(), rows[0].first_error.as_str(), rows[0].stale),
            ("r8169", "no such function", false)
        );
        assert_eq!(parse(r#"{"type":"aa{sv}","data":[[{}]]}"#), None);
    }
}
