//! Sizes and times as people write and read them.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::config::values;

/// Such as `1.2 GB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let (mut rest, mut unit) = (count as f64, 0);
    while rest >= 1000.0 && unit + 1 < UNITS.len() {
        (rest, unit) = (rest / 1000.0, unit + 1);
    }
    if unit == 0 { format!("{count} B") } else { format!("{rest:.1} {}", UNITS[unit]) }
}

/// Such as `1 h 12 min`.
pub fn millis(count: u64) -> String {
    let seconds = count / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, count % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The day of a time in seconds since 1970.
pub fn day(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or("?".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

/// Such as `3 days ago`.
pub fn ago(time: SystemTime) -> String {
    let seconds = time.elapsed().unwrap_or_default().as_secs();
    let (count, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86400 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// A size, as settings have it.
pub fn parse_bytes(text: &str) -> Result<u64> {
    values::bytes(text)
        .with_context(|| format!("`{text}` is not a size (hint: a number and KB, MB, GB or TB)"))
}

/// An age, such as `30d`.
pub fn parse_age(text: &str) -> Result<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let seconds = match unit {
        "h" => 3600,
        "d" => 86400,
        "w" => 7 * 86400,
        _ => 0,
    };
    let number = text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok());
    let age = number.filter(|_| seconds > 0).and_then(|number| number.checked_mul(seconds));
    age.map(Duration::from_secs)
        .with_context(|| format!("`{text}` is not an age (hint: a number and h, d or w)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_sizes_and_times() {
        assert_eq!([0, 999, 1000, 12_345_678].map(bytes), ["0 B", "999 B", "1.0 KB", "12.3 MB"]);
        assert_eq!(
            [0, 1_234, 61_000, 3_700_000].map(millis),
            ["0.0 s", "1.2 s", "1 min 1 s", "1 h 1 min"]
        );
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(ago(SystemTime::now() - Duration::from_secs(7300)), "2 hours ago");
    }

    #[test]
    fn people_write_sizes_and_ages() {
        assert_eq!(parse_bytes("5GB").unwrap(), 5_000_000_000);
        assert_eq!(parse_age("30d").unwrap(), Duration::from_secs(30 * 86400));
        for text in ["", "d", "30", "30 d", "-1d", "x"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
        assert!(parse_bytes("5 apples").is_err());
    }
}
