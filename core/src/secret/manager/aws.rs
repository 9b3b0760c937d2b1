//! Calls to AWS Secrets Manager, JSON 1.1: values only.
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/Welcome.html>

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Uri};
use serde_json::Map;

use crate::model::record::{self, Members, record};
use crate::ports::Fault;
use crate::secret::{Credential, Secret};
use crate::sign::sigv4::{Signer, TARGET};

/// Who we are at a manager.
#[derive(Debug)]
pub(crate) struct KeyPair(Credential);

impl KeyPair {
    /// Reads `{"access_key_id", "secret_access_key"}`, for a temporary pair with `session_token`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let credential = Credential::decode(&Secret::new(text.to_owned()))?;
        let visible =
            |secret: &Secret| !secret.open().is_empty() && secret.open().bytes().all(|b| b.is_ascii_graphic());
        let whole = ["access_key_id", "secret_access_key"].iter().all(|name| credential.get(name).is_some());
        let known = ["access_key_id", "secret_access_key", "session_token"];
        let count = known.iter().filter(|name| credential.get(name).is_some()).count();
        (whole && credential.values().all(visible) && credential.values().count() == count).then_some(Self(credential))
    }
}

/// What is asked of the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A new secret.
    Create,
    /// Another version of one.
    Put,
    /// The current version.
    Read,
    /// The end of one, with the shortest recovery window: names are never used again, so it blocks nothing.
    Delete,
}

impl Action {
    fn target(self) -> &'static str {
        match self {
            Self::Create => "secretsmanager.CreateSecret",
            Self::Put => "secretsmanager.PutSecretValue",
            Self::Read => "secretsmanager.GetSecretValue",
            Self::Delete => "secretsmanager.DeleteSecret",
        }
    }
}

/// The body of a call for the secret of a name or ARN. `value` comes with a version, a UUID that makes a repeated call
/// harmless.
pub(crate) fn body(action: Action, name: &str, value: Option<(&str, &Secret)>) -> Bytes {
    let id = if action == Action::Create { "Name" } else { "SecretId" };
    let known = [
        (id, name.into()),
        ("ClientRequestToken", value.map(|(version, _)| version).into()),
        ("SecretString", value.map(|(_, secret)| secret.open()).into()),
        ("RecoveryWindowInDays", (action == Action::Delete).then_some(7).into()),
    ];
    record::bytes(&record(known, &Map::new()))
}

/// The headers of a call, signed at `now_ms`.
pub(crate) fn headers(
    pair: &KeyPair,
    region: &str,
    action: Action,
    uri: &Uri,
    body: &[u8],
    now_ms: u64,
) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    headers.insert(HeaderName::from_static(TARGET), HeaderValue::from_static(action.target()));
    let field = |name: &str| pair.0.get(name).map(Secret::open);
    let signer = Signer {
        access_key_id: field("access_key_id")?,
        secret_access_key: field("secret_access_key")?,
        session_token: field("session_token"),
        region,
        service: "secretsmanager",
    };
    headers.extend(signer.sign("POST", uri, &headers, body, now_ms)?);
    Some(headers)
}

/// The value in the answer to [`Action::Read`]; `None` if it is not text.
pub(crate) fn value(body: &[u8]) -> Option<Secret> {
    Members::parse(body)?.text("SecretString").map(Secret::new)
}

/// What an error answer means, and AWS's own word for it.
pub(crate) fn fault(status: StatusCode, body: &[u8]) -> (Fault, String) {
    let word = Members::parse(body).and_then(|mut members| members.text("__type")).unwrap_or_default();
    let word = word.rsplit('#').next().unwrap_or_default();
    let plain = !word.is_empty() && word.len() <= 64 && word.bytes().all(|b| b.is_ascii_alphanumeric());
    let word = if plain { word.to_owned() } else { format!("status_{}", status.as_u16()) };
    let fault = match word.as_str() {
        // A secret that is scheduled for deletion is an invalid request, not a missing resource.
        "ResourceNotFoundException" | "InvalidRequestException" => Fault::Missing,
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded" => Fault::Throttled,
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignatureException"
        | "AccessDenied"
        | "DecryptionFailure" => Fault::Denied,
        _ => match status.as_u16() {
            401 | 403 => Fault::Denied,
            429 => Fault::Throttled,
            408 | 500..=599 => Fault::Unavailable,
            _ => Fault::Corrupt,
        },
    };
    (fault, word)
}

/// AWS's word for a creation that was made before.
pub(crate) const EXISTS: &str = "ResourceExistsException";

/// The region, as a host of AWS tells it: the label behind `secretsmanager`.
pub(super) fn region_of_host(host: &str) -> Option<String> {
    let host = host.split(':').next()?;
    if !host.ends_with(".amazonaws.com") && !host.ends_with(".amazonaws.com.cn") {
        return None;
    }
    let mut labels = host.split('.');
    labels.find(|label| matches!(*label, "secretsmanager" | "secretsmanager-fips"))?;
    labels.next().filter(|region| region.contains('-')).map(str::to_owned)
}
