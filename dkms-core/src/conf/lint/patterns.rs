//! Regular expressions for kernel releases that match more than they seem to.

use regex::Regex;

use crate::conf::ere;

/// What is wrong with a pattern, and what to write.
pub(super) type Complaint = (String, String);

/// How many minor releases each major one has had; more for the one that is not at its end.
const SERIES: [(u32, u32); 5] = [(3, 19), (4, 20), (5, 19), (6, 19), (7, 9)];

/// Judges a pattern that is searched in a kernel's release.
pub(super) fn for_releases(pattern: &str) -> Vec<Complaint> {
    let Ok(regex) = ere::compile(pattern) else { return Vec::new() };
    let mut found = Vec::new();
    if begins_inside(pattern) {
        let anchored = ere::compile(&format!("^({pattern})")).ok();
        let by_accident = anchored.and_then(|anchored| example(|r| regex.is_match(r) && !anchored.is_match(r)));
        let such_as = by_accident.map(|r| format!(", as in {r}")).unwrap_or_default();
        found.push((
            format!("also matches in the middle of a release{such_as}"),
            "begin it, and each alternative of it, with ^".to_owned(),
        ));
    }
    let escaped = with_dots_escaped(pattern);
    if let Some(escaped) = escaped.as_deref() {
        let by_accident = ere::compile(escaped).ok().and_then(|e| example(|r| regex.is_match(r) && !e.is_match(r)));
        if by_accident.is_some() || has_dot_in_number(pattern) {
            let such_as = by_accident.map(|r| format!(", so that {r} matches")).unwrap_or_default();
            found
                .push((format!("has a bare '.', which stands for any character{such_as}"), format!("write {escaped}")));
        }
    }
    // A dot that is to be escaped anyhow ends a number.
    let meant = escaped.and_then(|e| ere::compile(&e).ok()).unwrap_or(regex);
    for (major, _) in SERIES {
        let hit = |minor: u32| meant.is_match(&format!("{major}.{minor}.0-1-generic"));
        if hit(1) && (10..=19).all(hit) && !(2..=9).all(hit) {
            let why = format!("means {major}.1, and matches {major}.10 to {major}.19 too");
            found.push((why, format!("let a dot follow: {major}\\.1\\.")));
        }
    }
    if digit_star(pattern) {
        found.push((
            "has a '*' after a digit: it repeats that digit, and is not the '*' of file names".to_owned(),
            "write .* for anything, or leave it out".to_owned(),
        ));
    }
    found
}

/// Judges a pattern that says which kernels a module is for.
pub(super) fn exclusive_kernel(pattern: &str) -> Option<Complaint> {
    const OTHERS: [&str; 6] = ["2.4.37", "2.6.18-1.el5", "2.6.32-754", "10.0.0", "3.0.0", "11.1.1-arch1-1"];
    let regex = ere::compile(pattern).ok()?;
    let all = OTHERS.iter().all(|r| regex.is_match(r)) && example(|r| !regex.is_match(r)).is_none();
    all.then(nothing_excluded)
}

/// Judges a pattern that says which machines a module is for.
pub(super) fn exclusive_arch(pattern: &str) -> Option<Complaint> {
    const ARCHES: [&str; 10] =
        ["x86_64", "i686", "aarch64", "armv7l", "ppc64le", "s390x", "riscv64", "loongarch64", "mips", "sparc64"];
    let regex = ere::compile(pattern).ok()?;
    ARCHES.iter().all(|a| regex.is_match(a)).then(nothing_excluded)
}

fn nothing_excluded() -> Complaint {
    let write = "leave it out, or write what has to be there; an empty alternative, as in 'a|', matches anything";
    ("matches everything, so it excludes nothing".to_owned(), write.to_owned())
}

/// The first real release for which something holds.
fn example(holds: impl Fn(&str) -> bool) -> Option<String> {
    SERIES
        .iter()
        .flat_map(|(major, last)| (0..=*last).flat_map(move |minor| (0..=20).map(move |p| (*major, minor, p))))
        .map(|(major, minor, patch)| format!("{major}.{minor}.{patch}-1-generic"))
        .find(|release| holds(release))
}

/// Whether an alternative begins with a digit and no `^`.
fn begins_inside(pattern: &str) -> bool {
    let mut starts = true;
    // For each open group: whether it stands at the beginning.
    let mut groups = vec![true];
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' => groups.push(starts),
            ')' => {
                groups.pop();
                starts = false;
            }
            '|' => starts = groups.last().copied().unwrap_or(true),
            c if starts && (c.is_ascii_digit() || c == '[' && chars.peek().is_some_and(char::is_ascii_digit)) => {
                return true;
            }
            '\\' => {
                chars.next();
                starts = false;
            }
            _ => starts = false,
        }
    }
    false
}

/// The pattern with its bare dots escaped, those that follow a number and are not repeated; none when there are none.
fn with_dots_escaped(pattern: &str) -> Option<String> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::new();
    let mut in_set = false;
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|b| chars.get(b));
        match c {
            '[' => in_set = true,
            ']' => in_set = false,
            '.' if !in_set
                && before.is_some_and(|b| b.is_ascii_digit() || matches!(b, ']' | ')'))
                && !chars.get(i + 1).is_some_and(|n| matches!(n, '*' | '+' | '?' | '{')) =>
            {
                out.push('\\');
            }
            _ => {}
        }
        out.push(c);
    }
    (out != pattern).then_some(out)
}

fn has_dot_in_number(pattern: &str) -> bool {
    let mut outside = String::new();
    for (n, part) in pattern.split('[').enumerate() {
        // A set stands for one character of a number.
        outside.push_str(if n == 0 { part } else { part.split_once(']').map_or("", |(_, after)| after) });
        outside.push('0');
    }
    Regex::new(r"[0-9]\.[0-9]").is_ok_and(|dot| dot.is_match(&outside))
}

fn digit_star(pattern: &str) -> bool {
    let mut in_set = false;
    let mut before = ' ';
    for c in pattern.chars() {
        match c {
            '[' => in_set = true,
            ']' => in_set = false,
            '*' if !in_set && before.is_ascii_digit() => return true,
            _ => {}
        }
        before = c;
    }
    false
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r"5\.4", &["in the middle of a release, as in 3.5.4-1-generic"])]
    #[case(r"^4\.4|5\.4", &["in the middle"])]
    #[case(r"(5\.[0-9]\.0)", &["in the middle"])]
    #[case(r"^5.4", &["bare '.'"])]
    #[case(r"^(6.1[7])", &["bare '.'"])]
    #[case(r"^6.[0-9]+\.", &["bare '.'"])]
    #[case(r"^4.15.*", &["bare '.'"])]
    #[case(r"^4\.1.", &["any character, so that 4.10.0-1-generic matches"])]
    #[case(r"^6\.1", &["6.10 to 6.19"])]
    #[case(r"^(6\.1|6\.6)", &["6.10 to 6.19"])]
    #[case(r"^5\.4*", &["'*' after a digit"])]
    #[case(r"^(5\.[6-9]\.|5\.[1-9][0-9]\.|[6-9]\.)", &[])]
    #[case(r"^((5\.[0-5]($|[.-]))|(4\.)|(3\.1[0-9]))", &[])]
    #[case(r"^(4\.1[7-9]\.|4\.[2-9][0-9]\.|[5-9]\.)", &[])]
    #[case(r"^(6\.1[7-9]|7\.0)", &[])]
    #[case(r"^6\.18[\.-]", &[])]
    #[case(r"^6\.1\.", &[])]
    #[case(r"^6\.", &[])]
    #[case(r"^[5-9]\.[0-9]+", &[])]
    #[case("rpi-v8|generic", &[])]
    #[case(r"^5\.15\..*-azure$", &[])]
    #[case("REQUIRES CONFIG_VIDEO_DEV", &[])]
    fn releases(#[case] pattern: &str, #[case] wanted: &[&str]) {
        let found = for_releases(pattern);
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (complaint, word) in found.iter().zip(wanted) {
            assert!(complaint.0.contains(word), "{complaint:?}");
        }
    }

    #[rstest]
    #[case(".*", true)]
    #[case(".", true)]
    #[case(r"^6\.1\.|", true)]
    #[case(r"^(6\.1\.|)", true)]
    #[case("^[0-9]+", true)]
    #[case(r"^[4-9]\.", false)]
    #[case(r"^6\.1\.(0-|)", false)]
    fn everything(#[case] pattern: &str, #[case] wanted: bool) {
        assert_eq!(exclusive_kernel(pattern).is_some(), wanted);
    }

    #[rstest]
    #[case(".*", true)]
    #[case("(x86_64|)", true)]
    #[case("x86_64|i.86", false)]
    #[case("64", false)]
    fn every_arch(#[case] pattern: &str, #[case] wanted: bool) {
        assert_eq!(exclusive_arch(pattern).is_some(), wanted);
    }
}
