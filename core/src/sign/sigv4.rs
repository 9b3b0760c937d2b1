//! AWS Signature Version 4 in headers: what requests to Bedrock and Secrets Manager need of it and no more.
//!
//! Of the headers just those that botocore signs count: `content-type`, `host`, `x-amz-date`, and `accept`,
//! `x-amz-security-token` and `x-amz-target` where they are sent. Whatever a proxy or an HTTP client may change stays unsigned. The
//! canonical path is the path as it is sent, encoded once more, as for every service but S3.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use http::Uri;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// Whose signature it is, and for what.
#[derive(Clone, Copy)]
pub(crate) struct Signer<'a> {
    /// The access key's id.
    pub access_key_id: &'a str,
    /// The secret access key.
    pub secret_access_key: &'a str,
    /// The token of a temporary key.
    pub session_token: Option<&'a str>,
    /// The region, such as `us-east-1`.
    pub region: &'a str,
    /// The service's name in signatures, such as `bedrock`.
    pub service: &'a str,
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// The header that names the action of a JSON service.
pub(crate) const TARGET: &str = "x-amz-target";

/// Everything but letters, digits and `-._~` (RFC 3986 unreserved) is encoded.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path, slashes stand too.
const PATH: &AsciiSet = &PARAMETER.remove(b'/');

/// The last moment that has a date of four digits, in seconds since the epoch.
const LAST_S: u64 = 253_402_300_799;

impl Signer<'_> {
    /// The headers to add to a request: `authorization`, `x-amz-date` and, for a temporary key,
    /// `x-amz-security-token`.
    ///
    /// `uri` is what is sent, to the letter; of `headers` those above are signed. `now_ms` is the time since the
    /// epoch; AWS takes a signature for five minutes. `None` if `uri` has no host, or a value fits no header.
    pub(crate) fn sign(
        &self,
        method: &str,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
        now_ms: u64,
    ) -> Option<HeaderMap> {
        let time = timestamp((now_ms / 1000).min(LAST_S));
        let day = time.get(..8)?;

        let mut canonical = format!("{method}\n{}\n{}\n", path(uri.path()), query(uri.query().unwrap_or_default()));
        let mut names = String::new();
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        // In the order of their names.
        let signed = [
            ("accept", text(ACCEPT)),
            ("content-type", text(CONTENT_TYPE)),
            ("host", Some(host(uri)?)),
            ("x-amz-date", Some(time.as_str())),
            ("x-amz-security-token", self.session_token),
            (TARGET, headers.get(TARGET).and_then(|value| value.to_str().ok())),
        ];
        for (name, value) in signed {
            let Some(value) = value else { continue };
            canonical.extend([name, ":"]);
            // Spaces at the ends go, several in a row become one.
            for (at, word) in value.split(' ').filter(|word| !word.is_empty()).enumerate() {
                canonical.extend([if at == 0 { "" } else { " " }, word]);
            }
            canonical.push('\n');
            names.extend([if names.is_empty() { "" } else { ";" }, name]);
        }
        canonical.extend(["\n", &names, "\n", &hex(&Sha256::digest(body))]);

        let scope = [day, self.region, self.service, "aws4_request"];
        let to_sign = [ALGORITHM, &time, &scope.join("/"), &hex(&Sha256::digest(&canonical))].join("\n");
        let mut key = mac(format!("AWS4{}", self.secret_access_key).as_bytes(), day)?;
        for part in scope.iter().skip(1).chain([&to_sign.as_str()]) {
            key = mac(&key, part)?;
        }

        let authorization = [
            ALGORITHM,
            " Credential=",
            self.access_key_id,
            "/",
            &scope.join("/"),
            ", SignedHeaders=",
            &names,
            ", Signature=",
            &hex(&key),
        ];
        let mut out = HeaderMap::new();
        out.insert(DATE, HeaderValue::from_str(&time).ok()?);
        out.insert(AUTHORIZATION, sensitive(&authorization.concat())?);
        if let Some(token) = self.session_token {
            out.insert(TOKEN, sensitive(token)?);
        }
        Some(out)
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn mac(key: &[u8], text: &str) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    Some(mac.finalize().into_bytes().into())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The value of the header `host`: a port that goes without saying is not said.
fn host(uri: &Uri) -> Option<&str> {
    let host = uri.host()?;
    match (uri.scheme_str(), uri.port_u16()) {
        (_, None) | (Some("https"), Some(443)) | (Some("http"), Some(80)) => Some(host),
        _ => uri.authority().map(http::uri::Authority::as_str),
    }
}

/// A path that is encoded already, without dot segments and empty ones (RFC 3986 section 5.2.4), encoded once more.
fn path(sent: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut last = "";
    for segment in sent.split('/') {
        last = segment;
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let mut out = String::new();
    for segment in &kept {
        // A `String` takes every write.
        let written = write!(out, "/{}", utf8_percent_encode(segment, PATH));
        debug_assert!(written.is_ok());
    }
    if out.is_empty() || matches!(last, "" | "." | "..") {
        out.push('/');
    }
    out
}

/// A query's parameters, each as it is sent but for characters that must be encoded, in order.
fn query(sent: &str) -> String {
    let encode = |text: &str| {
        let plain: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
        percent_encoding::percent_encode(&plain, PARAMETER).to_string()
    };
    let mut pairs: Vec<(String, String)> = sent
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| [name, value].join("=")).collect();
    pairs.join("&")
}

/// Seconds since the epoch as `YYYYMMDDTHHMMSSZ`. The date is Howard Hinnant's `civil_from_days`, for years from 1970:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn timestamp(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // From the first of March of the year 0 in eras of 400 years, so that a leap day is a year's last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    fn json_headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }

    const AT: u64 = 1_768_478_400_000;

    fn signer() -> Signer<'static> {
        Signer {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session_token: None,
            region: "us-east-1",
            service: "bedrock",
        }
    }

    #[test]
    fn signatures_are_botocores() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/bedrock");
        let mut played = 0;
        for entry in fs::read_dir(golden).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_str().unwrap().starts_with("sigv4_") {
                continue;
            }
            played += 1;
            let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let text = |name: &str| case[name].as_str().unwrap();
            let signer = Signer {
                access_key_id: text("access_key"),
                secret_access_key: text("secret_key"),
                session_token: case["session_token"].as_str(),
                region: text("region"),
                service: text("service"),
            };
            assert_eq!(text("timestamp"), "20260115T120000Z");
            let mut headers = json_headers();
            // What a client may add to a request is not signed.
            headers.insert("user-agent", HeaderValue::from_static("x"));
            headers.insert("x-amzn-trace-id", HeaderValue::from_static("x"));
            let uri: Uri = text("url").parse().unwrap();
            let signed = signer.sign(text("method"), &uri, &headers, text("body").as_bytes(), AT).unwrap();
            for (name, value) in case["headers"].as_object().unwrap() {
                if !name.eq_ignore_ascii_case("content-type") {
                    assert_eq!(signed[name.to_lowercase()], value.as_str().unwrap(), "{path:?}");
                }
            }
            assert_eq!(signed.len(), case["headers"].as_object().unwrap().len() - 1);
            assert!(signed["authorization"].is_sensitive());
        }
        assert_eq!(played, 4);
    }

    #[test]
    fn what_is_signed_is_said() {
        let mut headers = json_headers();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let list = |headers: &HeaderMap, uri: &str| {
            let signed = signer().sign("POST", &uri.parse().unwrap(), headers, b"{}", AT).unwrap();
            let text = signed["authorization"].to_str().unwrap().to_owned();
            text.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap().to_owned()
        };
        let uri = "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/invoke";
        assert_eq!(list(&headers, uri), "accept;content-type;host;x-amz-date");
        assert_eq!(list(&HeaderMap::new(), "http://127.0.0.1:9/"), "host;x-amz-date");
    }

    #[test]
    fn odd_values_do_no_harm() {
        let uri: Uri = "https://example.com/".parse().unwrap();
        assert!(signer().sign("GET", &"/only/a/path".parse().unwrap(), &HeaderMap::new(), b"", AT).is_none());
        let date = |now| signer().sign("GET", &uri, &HeaderMap::new(), b"", now).unwrap()["x-amz-date"].clone();
        assert_eq!(date(0), "19700101T000000Z");
        assert_eq!(date(u64::MAX), "99991231T235959Z");
        let broken = Signer { session_token: Some("a\nb"), ..signer() };
        assert!(broken.sign("GET", &uri, &HeaderMap::new(), b"", AT).is_none());
    }

    #[test]
    fn dates_of_the_calendar() {
        for (seconds, want) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_709_164_800, "20240229T000000Z"),
            (1_709_251_200, "20240301T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
            (1_735_689_600, "20250101T000000Z"),
            (4_107_456_000, "21000228T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
            (LAST_S, "99991231T235959Z"),
        ] {
            assert_eq!(timestamp(seconds), want);
        }
    }

    #[test]
    fn paths_are_encoded_twice_and_have_no_dots() {
        for (sent, want) in [
            ("", "/"),
            ("/", "/"),
            ("/model/a%3Ab/converse", "/model/a%253Ab/converse"),
            ("/model/a:b~c_d.e-f/x y", "/model/a%3Ab~c_d.e-f/x%20y"),
            ("/model/arn%3Aaws%3A1%2Fx", "/model/arn%253Aaws%253A1%252Fx"),
            ("/a//b", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/a/b/", "/a/b/"),
            ("/a/b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../a", "/a"),
        ] {
            assert_eq!(path(sent), want, "{sent}");
        }
    }

    #[test]
    fn queries_are_sorted_and_encoded() {
        for (sent, want) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a", "a="),
            ("a=x%2fy&a=b%20c", "a=b%20c&a=x%2Fy"),
            ("byProvider=Anthropic&byOutputModality=TEXT", "byOutputModality=TEXT&byProvider=Anthropic"),
        ] {
            assert_eq!(query(sent), want, "{sent}");
        }
    }

    #[test]
    fn a_default_port_is_not_said() {
        for (uri, want) in [
            ("https://a.example/", "a.example"),
            ("https://a.example:443/", "a.example"),
            ("https://a.example:8443/", "a.example:8443"),
            ("http://a.example:80/", "a.example"),
            ("http://[::1]:9/", "[::1]:9"),
        ] {
            assert_eq!(host(&uri.parse().unwrap()), Some(want));
        }
    }

    #[test]
    fn spaces_in_values_are_joined() {
        let uri: Uri = "https://example.com/".parse().unwrap();
        let sign = |accept| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            signer().sign("GET", &uri, &headers, b"", AT).unwrap()["authorization"].clone()
        };
        assert_eq!(sign("a  b"), sign(" a b "));
        assert_ne!(sign("a b"), sign("ab"));
    }
}
