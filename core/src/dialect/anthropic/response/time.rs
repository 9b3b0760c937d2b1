//! Moments as texts, in whole seconds since the epoch. Moments before it, and wrong ones, are none.

/// A moment of [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339#section-5.6); parts of a second are cut.
pub(super) fn of_rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (clock, zone) = rest.split_at_checked(8)?;
    let zone = zone.strip_prefix('.').map_or(zone, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let offset = number(hours, 2)? * 3600 + number(minutes, 2)? * 60;
            if zone.starts_with('-') { -offset } else { zone.starts_with('+').then_some(offset)? }
        }
    };
    u64::try_from(days(year, month, day)? * 86_400 + seconds(clock)? - offset).ok()
}

/// A moment of HTTP, such as `Thu, 15 Jan 2026 12:00:00 GMT`
/// ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7)); not its obsolete forms.
pub(super) fn of_http(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.strip_suffix(" GMT")?.split_once(", ")?.1.splitn(4, ' ');
    let day = number(parts.next()?, 2)?;
    let word = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == word)? + 1;
    let year = number(parts.next()?, 4)?;
    u64::try_from(days(year, i64::try_from(month).ok()?, day)? * 86_400 + seconds(parts.next()?)?).ok()
}

/// `12:34:56`; a leap second counts.
fn seconds(clock: &str) -> Option<i64> {
    let mut parts = clock.splitn(3, ':');
    let (hour, minute, second) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Days since the epoch, in the Gregorian calendar, counted in years that begin with March.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468)
}

/// A number of exactly `digits` digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_wrong_ones_are_none() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-01-15T12:00:13Z", Some(1_768_478_413)),
            ("2026-01-15T12:00:13.999999Z", Some(1_768_478_413)),
            ("2026-01-15T14:30:13+02:30", Some(1_768_478_413)),
            ("2026-01-15T07:00:13-05:00", Some(1_768_478_413)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-15T24:00:00Z", None),
            ("2026-01-15T12:00:13", None),
            ("2026-01-15T12:00:13*05:00", None),
            ("2026-01-15", None),
            ("2026-01-15T12:00:1\u{fc}", None),
            ("+026-01-15T12:00:13Z", None),
            ("", None),
        ] {
            assert_eq!(of_rfc3339(text), want, "{text}");
        }
        for (text, want) in [
            ("Thu, 15 Jan 2026 12:00:00 GMT", Some(1_768_478_400)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thu, 15 Foo 2026 12:00:00 GMT", None),
            ("Thu, 15 Jan 2026 12:00:00", None),
            ("Thursday, 15-Jan-26 12:00:00 GMT", None),
            ("", None),
        ] {
            assert_eq!(of_http(text), want, "{text}");
        }
    }
}
