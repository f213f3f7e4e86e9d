//! Times as people read them.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

/// `0:07`, `12:40`, `1:02:03`.
pub(crate) fn clock(elapsed: Duration) -> String {
    let (h, m, s) = (elapsed.as_secs() / 3600, elapsed.as_secs() / 60 % 60, elapsed.as_secs() % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m}:{s:02}") }
}

/// `0.4 s`, `12 s`, `3 min 5 s`.
pub(crate) fn took(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".into();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = Duration::try_from_secs_f64(seconds.round()).unwrap_or(Duration::MAX).as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {} s", seconds / 60, seconds % 60) }
}

/// `2026-11-22 12:30:05`; a dash for what no calendar has.
pub(crate) fn date(unix: u64, zone: &TimeZone) -> String {
    i64::try_from(unix)
        .ok()
        .and_then(|s| Timestamp::from_second(s).ok())
        .map_or_else(|| "-".into(), |t| t.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0:00")]
    #[case(7, "0:07")]
    #[case(760, "12:40")]
    #[case(3723, "1:02:03")]
    fn clocks(#[case] seconds: u64, #[case] wanted: &str) {
        assert_eq!(clock(Duration::from_secs(seconds)), wanted);
    }

    #[rstest]
    #[case(0.44, "0.4 s")]
    #[case(9.96, "10 s")]
    #[case(59.6, "1 min 0 s")]
    #[case(185.0, "3 min 5 s")]
    #[case(f64::NAN, "-")]
    #[case(1e300, "307445734561825860 min 15 s")]
    fn durations(#[case] seconds: f64, #[case] wanted: &str) {
        assert_eq!(took(seconds), wanted);
    }

    #[rstest]
    #[case(1_795_350_605, "2026-11-22 13:30:05")]
    #[case(u64::MAX, "-")]
    fn dates(#[case] unix: u64, #[case] wanted: &str) {
        let text = date(unix, &TimeZone::fixed(jiff::tz::offset(1)));
        assert_eq!(text, wanted);
    }
}
