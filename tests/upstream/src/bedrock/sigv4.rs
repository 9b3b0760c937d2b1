//! Signature Version 4, computed again over what was received, and Bedrock's API keys in its place.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::{
    account,
    dialect::{Ask, Problem, Refused},
    http::Head,
    provider, text,
};

/// What AWS's documentation signs its examples with; an account that names no credentials has these.
const EXAMPLE_KEY: &str = "AKIDEXAMPLE";
const EXAMPLE_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// Seconds by which the clocks may differ.
const MAX_SKEW: i64 = 300;

/// The parts of an `Authorization` header.
struct Signature<'a> {
    key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

/// The id of the access key that signed a request.
pub(crate) fn access_key(head: &Head) -> Option<&str> {
    parse(head.value("authorization")?).map(|signature| signature.key)
}

/// Refuses a request that is not signed as it should be.
pub(super) fn verify(ask: &Ask<'_>) -> Result<(), Box<Refused>> {
    let head = ask.head;
    let refuse =
        |code: &str, message: &str, violation: bool| Err(ask.refuse(Problem::of(403, message).code(code), violation));
    if let Some(key) = provider::bearer(head) {
        if head.value("x-amz-date").is_some() {
            return refuse("InvalidSignatureException", "x-amz-date belongs to a signature, not to an API key.", true);
        }
        if !ask.knows(key) {
            return refuse(
                "AccessDeniedException",
                "Authentication failed: Please make sure your API Key is valid.",
                false,
            );
        }
        return Ok(());
    }
    let Some(authorization) = head.value("authorization") else {
        return refuse("MissingAuthenticationTokenException", "Missing Authentication Token", true);
    };
    let Some(found) = parse(authorization) else {
        return refuse(
            "IncompleteSignatureException",
            "Authorization header is not a complete AWS4-HMAC-SHA256 signature.",
            true,
        );
    };
    let settings = ask.settings;
    let invalid = "The security token included in the request is invalid.";
    if found.key != settings.access_key_id.as_deref().unwrap_or(EXAMPLE_KEY) {
        return refuse("UnrecognizedClientException", invalid, false);
    }
    if head.value("x-amz-security-token") != settings.session_token.as_deref() {
        return refuse("UnrecognizedClientException", invalid, false);
    }
    let stamp = head.value("x-amz-date").unwrap_or_default();
    if let Some(fault) = scope_fault(&found, head, stamp, settings.region.as_deref()) {
        return refuse("InvalidSignatureException", &fault, true);
    }
    match text::unix_of(stamp).map(|sent| sent - account::unix_seconds()) {
        Some(ahead) if ahead.abs() <= MAX_SKEW => {}
        Some(ahead) => {
            let what = if ahead < 0 { "Signature expired" } else { "Signature not yet current" };
            let now = text::rfc3339(account::unix_seconds());
            return refuse(
                "InvalidSignatureException",
                &format!("{what}: {stamp} is more than 5 min. from {now}"),
                false,
            );
        }
        None => return refuse("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'.", true),
    }
    let secret = settings.secret_access_key.as_deref().unwrap_or(EXAMPLE_SECRET);
    if head.value("x-amz-content-sha256").is_some_and(|said| said != sha256(ask.body)) {
        return refuse(
            "InvalidSignatureException",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            true,
        );
    }
    if found.signature != expected(&found, head, ask.body, stamp, secret) {
        let message = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";
        return refuse("InvalidSignatureException", message, false);
    }
    Ok(())
}

fn parse(authorization: &str) -> Option<Signature<'_>> {
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let field = |name: &str| fields.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let mut scope = field("Credential")?.split('/');
    let (key, date, region, service) = (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
    if (scope.next(), scope.next()) != (Some("aws4_request"), None) {
        return None;
    }
    let (signed, signature) = (field("SignedHeaders")?.split(';').collect(), field("Signature")?);
    Some(Signature { key, date, region, service, signed, signature })
}

/// What is wrong with the scope or the list of signed headers.
fn scope_fault(found: &Signature<'_>, head: &Head, stamp: &str, region: Option<&str>) -> Option<String> {
    if found.service != "bedrock" {
        return Some(format!("Credential should be scoped to correct service: 'bedrock', not '{}'.", found.service));
    }
    if region.is_some_and(|region| region != found.region) {
        return Some(format!("Credential should be scoped to a valid region, not '{}'.", found.region));
    }
    if !stamp.starts_with(found.date) || found.date.len() != 8 {
        return Some(format!("Date in Credential scope does not match that of '{stamp}'."));
    }
    if !found.signed.is_sorted() || found.signed.iter().any(|name| name.to_ascii_lowercase() != *name) {
        return Some("SignedHeaders must be sorted and in lower case.".to_owned());
    }
    if let Some(absent) = found.signed.iter().find(|name| head.value(name).is_none()) {
        return Some(format!("'{absent}' is named in SignedHeaders and was not sent."));
    }
    // The host, and whatever of these was sent, has to be signed.
    let must = |name: &str| name == "host" || name == "content-type" || name.starts_with("x-amz-");
    let missing =
        head.headers.iter().map(|(name, _)| name.as_str()).find(|name| must(name) && !found.signed.contains(name));
    missing.map(|name| format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."))
}

fn expected(found: &Signature<'_>, head: &Head, body: &[u8], stamp: &str, secret: &str) -> String {
    let headers: String = found.signed.iter().map(|name| format!("{name}:{}\n", canonical_value(head, name))).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{}\n{}",
        head.method,
        // What was received is encoded once more, whatever it is.
        head.path().split('/').map(text::escaped).collect::<Vec<_>>().join("/"),
        canonical_query(head.query()),
        found.signed.join(";"),
        sha256(body)
    );
    let scope = format!("{}/{}/{}/aws4_request", found.date, found.region, found.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [found.date, found.region, found.service, "aws4_request"] {
        key = hmac(&key, part);
    }
    hex(&hmac(&key, &to_sign))
}

fn canonical_value(head: &Head, name: &str) -> String {
    let all = head.headers.iter().filter(|(found, _)| found == name);
    all.map(|(_, value)| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(",")
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!("{}={}", text::escaped(&text::unescaped(name)), text::escaped(&text::unescaped(value)))
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // An HMAC takes a key of any length.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        },
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature that botocore made, over a path that holds an encoded colon and slash.
    #[test]
    fn the_signature_is_that_of_botocore() {
        let body = br#"{"messages": [{"role": "user", "content": [{"text": "hi"}]}]}"#;
        let cases = [
            (
                "/model/anthropic.claude-3-7-sonnet-20250219-v1%3A0/converse",
                "7db7fa421812cf01c37593a6596488cc4e8e24b52f915f8a951245a2b5e4cf07",
            ),
            (
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123xyz789/converse",
                "9396c52593ea1be5f23882561822717c0faf242d1af5b7c2a6ea4522cc5b4278",
            ),
        ];
        for (target, wanted) in cases {
            let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let head = Head {
                method: "POST".to_owned(),
                target: target.to_owned(),
                headers: vec![
                    header("host", "bedrock-runtime.us-east-1.amazonaws.com"),
                    header("content-type", "application/json"),
                    header("x-amz-date", "20260115T120000Z"),
                ],
            };
            let line = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260115/us-east-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=00";
            let signature = parse(line).map(|found| expected(&found, &head, body, "20260115T120000Z", EXAMPLE_SECRET));
            assert_eq!(signature.as_deref(), Some(wanted), "{target}");
        }
    }
}
