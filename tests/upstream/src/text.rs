//! Deterministic material for answers: words, counts, hashes, vectors and samples of a JSON schema.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

/// Splits a text into pieces that stand for tokens: each word with the white space before it.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut current = String::new();
    for letter in text.chars() {
        if letter.is_whitespace() && !current.trim().is_empty() {
            found.push(std::mem::take(&mut current));
        }
        current.push(letter);
    }
    if !current.is_empty() {
        found.push(current);
    }
    found
}

/// The pieces of an argument text in a stream.
pub(crate) fn pieces(arguments: &str) -> Vec<String> {
    let letters: Vec<char> = arguments.chars().collect();
    letters.chunks(8).map(|piece| piece.iter().collect()).collect()
}

/// Puts pieces together or adds further ones, so that there are exactly `count`.
pub(crate) fn regroup(mut pieces: Vec<String>, count: usize) -> Vec<String> {
    let count = count.max(1);
    for more in pieces.len()..count {
        pieces.push(format!(" word{more}"));
    }
    let all = pieces.len();
    let mut groups = vec![String::new(); count];
    for (at, piece) in pieces.iter().enumerate() {
        if let Some(group) = groups.get_mut(at * count / all) {
            group.push_str(piece);
        }
    }
    groups
}

/// A plausible number of tokens: one for four characters, never none.
pub(crate) fn tokens(text: &str) -> u64 {
    u64::try_from(text.chars().count().div_ceil(4).max(1)).unwrap_or(u64::MAX)
}

/// CRC-32 as gzip and AWS's event streams have it.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let update = |state: u32, byte: &u8| {
        (0..8).fold(state ^ u32::from(*byte), |s, _| if s & 1 == 1 { (s >> 1) ^ 0xedb8_8320 } else { s >> 1 })
    };
    !bytes.iter().fold(u32::MAX, update)
}

/// A path segment without its percent-encoding.
pub(crate) fn unescaped(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, code.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A path segment with everything encoded that is not unreserved.
pub(crate) fn escaped(segment: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    segment.bytes().map(one).collect()
}

/// Standard base64 with its padding, and not empty.
pub(crate) fn is_base64(text: &str) -> bool {
    !text.is_empty() && STANDARD.decode(text).is_ok()
}

/// The format of an image, where its first bytes tell.
pub(crate) fn image_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("webp"),
        _ => None,
    }
}

/// A time as `2026-01-15T12:00:00Z`.
pub(crate) fn rfc3339(unix: i64) -> String {
    let (days, seconds) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Seconds since 1970 of a time written `20260115T120000Z`.
pub(crate) fn unix_of(stamp: &str) -> Option<i64> {
    let number = |from: usize, to: usize| stamp.get(from..to)?.parse::<i64>().ok();
    if stamp.len() != 16 || stamp.get(8..9) != Some("T") || !stamp.ends_with('Z') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    Some(days(year, month, day) * 86_400 + number(9, 11)? * 3600 + number(11, 13)? * 60 + number(13, 15)?)
}

/// Days since 1970 of a date in the Gregorian calendar; years begin in March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// FNV-1a, finished by one round of splitmix64.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let raw = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    mix(raw)
}

/// The vector of a text: always the same, of length one.
pub(crate) fn vector(seed: u64, dimensions: usize) -> Vec<f32> {
    let mut state = seed;
    let raw: Vec<f32> = (0..dimensions)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let high = u16::try_from(mix(state) >> 48).unwrap_or_default();
            f32::from(high) / 32_768.0 - 1.0
        })
        .collect();
    let norm = raw.iter().map(|part| part * part).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|part| part / norm).collect()
}

/// A value that fits a JSON schema, as far as the usual keywords go.
pub(crate) fn sample(schema: &Value, text: &str) -> Value {
    if let Some(fixed) = schema.get("const") {
        return fixed.clone();
    }
    if let Some(first) = schema.get("enum").and_then(|list| list.get(0)) {
        return first.clone();
    }
    let kind = schema.get("type").map(|kind| kind.get(0).unwrap_or(kind)).and_then(Value::as_str);
    match kind {
        Some("string") => json!(text),
        Some("integer") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("number") => schema.get("minimum").cloned().unwrap_or(json!(1.5)),
        Some("boolean") => json!(true),
        Some("array") => {
            let items = schema.get("items").map(|items| sample(items, text));
            Value::Array(items.into_iter().collect())
        }
        Some("null") => Value::Null,
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let members = properties.into_iter().flatten().map(|(name, schema)| (name.clone(), sample(schema, text)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_put_together_give_the_text() {
        for text in ["", " ", "one", "one two", "  a\n\nb  ", "日本 語"] {
            assert_eq!(words(text).concat(), text);
        }
        assert_eq!(words("one two three").len(), 3);
    }

    #[test]
    fn regroup_gives_the_number_asked_for() {
        for (pieces, count) in [(0, 1), (1, 5), (5, 2), (7, 7), (3, 0)] {
            let all: Vec<String> = (0..pieces).map(|n| n.to_string()).collect();
            let groups = regroup(all.clone(), count);
            assert_eq!(groups.len(), count.max(1));
            assert!(groups.concat().starts_with(&all.concat()));
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (unix, stamp) in
            [(0, "19700101T000000Z"), (1_768_478_400, "20260115T120000Z"), (951_827_696, "20000229T123456Z")]
        {
            assert_eq!(unix_of(stamp), Some(unix));
            assert_eq!(rfc3339(unix).replace(['-', ':'], ""), stamp);
        }
        assert!(unix_of("2026-01-15T12:00").is_none());
    }

    #[test]
    fn vectors_are_of_length_one_and_differ() {
        let (a, b) = (vector(hash(b"a"), 8), vector(hash(b"b"), 8));
        assert_ne!(a, b);
        assert!((a.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_sample_fits_its_schema() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string"}, "b": {"type": ["integer", "null"]}, "c": {"type": "array", "items": {"enum": ["x"]}}}});
        assert_eq!(sample(&schema, "t"), json!({"a": "t", "b": 1, "c": ["x"]}));
    }
}
