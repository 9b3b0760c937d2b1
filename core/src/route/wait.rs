//! How long a provider asks to be left alone: every dialect's way to say it, in milliseconds.
//!
//! First match wins: `retry-after-ms`; `Retry-After` in seconds, whole or not, or as a date (RFC 9110 section 10.2.3);
//! Google's `RetryInfo` in the body; the reset headers of Anthropic (RFC 3339) and of OpenAI (durations), of those
//! dimensions whose `remaining` is 0, the longest.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;

/// Longer than any provider means: beyond it a number is a mistake, and is not read.
const ABSURD_MS: f64 = 366.0 * 86_400_000.0;

/// What an answer says about waiting, in milliseconds from `now_ms`: neither capped nor rounded down.
pub(crate) fn read(headers: &HeaderMap, body: &[u8], now_ms: u64) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    text("retry-after-ms")
        .and_then(|text| millis(text, 1.0))
        .or_else(|| text("retry-after").and_then(|text| millis(text, 1000.0).or_else(|| date(text, now_ms))))
        .or_else(|| retry_info(body))
        .or_else(|| resets(headers, now_ms))
}

/// The longest reset among the dimensions that are used up.
fn resets(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let text = |name: String| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let used_up = |name: String| text(name).is_some_and(|left| left == "0");
    let anthropic = ["requests", "tokens", "input-tokens", "output-tokens"].into_iter().filter_map(|what| {
        let name = |part: &str| format!("anthropic-ratelimit-{what}-{part}");
        let at = rfc3339(text(name("reset")).filter(|_| used_up(name("remaining")))?)?;
        Some(at.saturating_sub(now_ms))
    });
    let openai = ["requests", "tokens"].into_iter().filter_map(|what| {
        let reset = text(format!("x-ratelimit-reset-{what}"));
        let reset = reset.filter(|_| used_up(format!("x-ratelimit-remaining-{what}")))?;
        // Azure OpenAI writes seconds without a unit.
        millis(reset, 1000.0).or_else(|| duration(reset))
    });
    anthropic.chain(openai).max()
}

/// A plain number of a unit; `None` if it is negative, absurd or no number.
fn millis(text: &str, unit_ms: f64) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let ms = crate::json::number(text).filter(|_| plain)? * unit_ms;
    whole(ms)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0..ABSURD_MS")]
fn whole(ms: f64) -> Option<u64> {
    (0.0..=ABSURD_MS).contains(&ms).then(|| ms.ceil() as u64)
}

/// A date of HTTP; one that has passed means no wait.
fn date(text: &str, now_ms: u64) -> Option<u64> {
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let wait = u64::try_from(at.as_millis()).ok()?.saturating_sub(now_ms);
    whole(wait as f64)
}

/// `1h2m3.5s`, `20ms`: numbers with units, as Go writes durations and OpenAI's headers do.
fn duration(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit_ms = match unit {
            "d" => 86_400_000.0,
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            _ => return None,
        };
        total += crate::json::number(number)? * unit_ms;
        rest = tail;
    }
    whole(total).filter(|_| !text.is_empty())
}

/// `retryDelay` of Google's `RetryInfo`, wherever it stands in the body:
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto>.
fn retry_info(body: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"retryDelay\"";
    let at = body.windows(NAME.len()).position(|window| window == NAME)?;
    let rest = std::str::from_utf8(body.get(at + NAME.len()..)?.get(..40.min(body.len() - at - NAME.len()))?).ok()?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    duration(value.split('"').next()?)
}

/// Milliseconds since the epoch of a time such as `2024-03-01T12:00:05Z` (RFC 3339 section 5.6).
fn rfc3339(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok().filter(|n| *n >= 0);
    let mark = |at: usize, any: &[u8]| text.as_bytes().get(at).is_some_and(|byte| any.contains(byte));
    if !(mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":") && mark(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let tail = text.get(19..)?;
    let zone = tail.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (sign, rest) = (zone.get(..1)?, zone.get(1..)?);
            let (hours, minutes) = rest.split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            match sign {
                "+" => minutes,
                "-" => -minutes,
                _ => return None,
            }
        }
    };
    // Howard Hinnant's `days_from_civil`: <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    // Fractions count up: a wait is never too short.
    let more = if tail.len() > zone.len() { 999 } else { 0 };
    u64::try_from(seconds).ok().map(|seconds| seconds * 1000 + more)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NOW: u64 = 1_767_225_600_000;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn every_way_to_ask_for_a_wait_is_read() {
        for (pairs, want) in [
            (&[("retry-after-ms", "1500")][..], Some(1500)),
            (&[("retry-after-ms", "0.2")], Some(1)),
            (&[("retry-after-ms", "70"), ("retry-after", "9")], Some(70)),
            (&[("retry-after-ms", "soon"), ("retry-after", "9")], Some(9000)),
            (&[("retry-after", "2")], Some(2000)),
            (&[("retry-after", " 1.25 ")], Some(1250)),
            (&[("retry-after", "0")], Some(0)),
            (&[("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT")], Some(30_000)),
            (&[("retry-after", "Thursday, 01-Jan-26 00:00:30 GMT")], Some(30_000)),
            (&[("retry-after", "Thu Jan  1 00:00:30 2026")], Some(30_000)),
            (&[("retry-after", "Wed, 01 Jan 2025 00:00:30 GMT")], Some(0)),
            (&[("retry-after", "Sun, 01 Jan 9999 00:00:30 GMT")], None),
            (&[("retry-after", "-5")], None),
            (&[("retry-after", "1e3")], None),
            (&[("retry-after", "99999999999999")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "")], None),
            (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1m30s")], Some(90_000)),
            (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "20ms")], Some(20)),
            (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "17")], Some(17_000)),
            (&[("x-ratelimit-remaining-requests", "5"), ("x-ratelimit-reset-requests", "20ms")], None),
            (
                &[
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ],
                Some(360_000),
            ),
            (
                &[
                    ("anthropic-ratelimit-requests-remaining", "0"),
                    ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:07Z"),
                    ("anthropic-ratelimit-tokens-remaining", "12"),
                    ("anthropic-ratelimit-tokens-reset", "2026-01-01T00:10:00Z"),
                ],
                Some(7000),
            ),
            (
                &[
                    ("anthropic-ratelimit-input-tokens-remaining", "0"),
                    ("anthropic-ratelimit-input-tokens-reset", "2026-01-01T01:00:01+01:00"),
                ],
                Some(1000),
            ),
            (&[], None),
        ] {
            assert_eq!(read(&headers(pairs), b"", NOW), want, "{pairs:?}");
        }
    }

    #[test]
    fn google_says_it_in_the_body() {
        for (body, want) in [
            (r#"{"error":{"details":[{"@type":"x","retryDelay":"52.4s"}]}}"#, Some(52_400)),
            (r#"{"retryDelay" : "1m1s"}"#, Some(61_000)),
            (r#"{"retryDelay":"-1s"}"#, None),
            (r#"{"retryDelay":5}"#, None),
            (r#"{"retryDelay":"5s"#, Some(5000)),
            (r#"{"retryDelay""#, None),
            (r#"{"retryDelay":""}"#, None),
        ] {
            assert_eq!(read(&HeaderMap::new(), body.as_bytes(), NOW), want, "{body}");
        }
    }

    #[test]
    fn times_of_rfc_3339_are_those_of_the_calendar() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:59z", Some(951_868_799_000)),
            ("2024-12-31t23:59:59-00:30", Some(1_735_691_399_000)),
            ("2026-01-01 00:00:00.25Z", Some(1_767_225_600_999)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-01T00:00:00", None),
            ("2026-01-01", None),
            ("2026-01-01T00:00:00+", None),
            ("+026-01-01T00:00:00Z", None),
            ("ä026-01-01T00:00:00Z", None),
        ] {
            assert_eq!(rfc3339(text), want, "{text}");
        }
    }
}
