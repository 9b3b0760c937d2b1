//! Durations as Go writes them: `1h30m`, `1.5s`, `300ms`. <https://pkg.go.dev/time#ParseDuration>
//!
//! Days (`1d`) are taken too: IBM's console offers them, though Go has none.

/// Units and their nanoseconds; the longer spelling of two that begin alike stands first.
const UNITS: [(&str, u64); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// Reads a positive duration in whole milliseconds; a part of a millisecond counts as a whole one. `None` if it is none,
/// negative, zero, or longer than 500 years.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (name, unit) = UNITS.into_iter().find(|(name, _)| after.starts_with(name))?;
        rest = after.get(name.len()..)?;
        let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?.checked_add(part(fraction, unit))?;
    }
    Some(total.div_ceil(MS)).filter(|ms| *ms > 0 && total < i64::MAX.unsigned_abs())
}

/// Writes milliseconds as Go does.
pub(crate) fn write(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let (hours, minutes, seconds, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    let mut text = String::new();
    if hours > 0 {
        text = format!("{hours}h");
    }
    if hours > 0 || minutes > 0 {
        text = format!("{text}{minutes}m");
    }
    if ms == 0 {
        return format!("{text}{seconds}s");
    }
    let fraction = format!("{ms:03}");
    format!("{text}{seconds}.{}s", fraction.trim_end_matches('0'))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// The part of a unit that the digits after a point stand for.
fn part(fraction: &str, unit: u64) -> u64 {
    let mut scale = unit;
    let mut sum = 0;
    for digit in fraction.bytes() {
        scale /= 10;
        sum += u64::from(digit - b'0') * scale;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, ms) in [
            ("1m", 60_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("300ms", 300),
            ("1h0m0.5s", 3_600_500),
            ("+2s", 2_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("1d", 86_400_000),
            ("1d12h", 129_600_000),
            ("1ns", 1),
            ("1500us", 2),
            ("1500µs", 2),
            ("1500μs", 2),
            ("0h1m", 60_000),
            ("0.0000001h", 1),
            ("1m1m", 120_000),
        ] {
            assert_eq!(parse(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "+",
            "1",
            "0",
            "0s",
            "-1s",
            "s",
            ".s",
            "1x",
            "1 s",
            "1s ",
            "1S",
            "1M",
            "1min",
            "1e3s",
            "++1s",
            "1s-1s",
            "1,5s",
            "１s",
            "99999999999999999999s",
            "9999999h",
            "300000000h",
            "1µ",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (ms, text) in [
            (0, "0s"),
            (300, "300ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (1_050, "1.05s"),
            (60_000, "1m0s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
            (5_400_001, "1h30m0.001s"),
            (86_400_000, "24h0m0s"),
        ] {
            assert_eq!(write(ms), text);
            assert!(ms == 0 || parse(text) == Some(ms), "{text}");
        }
    }
}
