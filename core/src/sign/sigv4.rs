//! AWS Signature Version 4, by Amazon's own crate `aws-sigv4`; this file says only what is signed.
//!
//! Of the headers just those that botocore signs count: `content-type`, `host`, `x-amz-date`, and `accept` and
//! `x-amz-security-token` where they are sent. Whatever a proxy or an HTTP client may change stays unsigned. The
//! canonical path is the path as it is sent, encoded once more, as for every service but S3.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request};
use aws_sigv4::sign::v4::SigningParams;
use http::Uri;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

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

/// The last moment that has a date of four digits, in milliseconds since the epoch.
const LAST_MS: u64 = 253_402_300_799_000;

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
        // The crate takes a host for granted.
        uri.host()?;
        let token = self.session_token.map(str::to_owned);
        let keys = Credentials::new(self.access_key_id, self.secret_access_key, token, None, "gateway").into();
        let parameters = SigningParams::builder()
            .identity(&keys)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms.min(LAST_MS)))
            .settings(SigningSettings::default())
            .build()
            .ok()?
            .into();
        let signed = [CONTENT_TYPE, ACCEPT]
            .into_iter()
            .filter_map(|name| Some((name.clone(), headers.get(&name)?.to_str().ok()?)));
        let signed: Vec<_> = signed.collect();
        let signed = signed.iter().map(|(name, value)| (name.as_str(), *value));
        let request = SignableRequest::new(method, uri.to_string(), signed, SignableBody::Bytes(body)).ok()?;
        let (instructions, _) = sign_request(request, &parameters).ok()?.into_parts();
        let mut out = HeaderMap::new();
        for header in instructions.into_parts().0 {
            let mut value = HeaderValue::from_str(header.value()).ok()?;
            value.set_sensitive(header.name() != "x-amz-date");
            out.insert(header.name(), value);
        }
        Some(out)
    }
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
}
