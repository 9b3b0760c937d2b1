//! Anthropic: the key in a header of its own, paths below an origin. The version of the API depends on what a request
//! holds, so that its dialect sends it; only the list of models has a fixed one.
//! <https://platform.claude.com/docs/en/api/overview#authentication>

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::Operation;
use crate::model::AnthropicVersion;
use crate::secret::Credential;

/// The path and query below the base.
pub(crate) fn path(operation: Operation) -> &'static str {
    match operation {
        Operation::Call(..) => "/v1/messages",
        // The largest page.
        Operation::Models => "/v1/models?limit=1000",
    }
}

/// The headers that authenticate a call; `None` if the credential lacks its key or the key fits no header.
pub(crate) fn headers(credential: &Credential) -> Option<HeaderMap> {
    let mut value = HeaderValue::try_from(credential.get("apikey")?.open()).ok()?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-api-key"), value);
    Some(headers)
}

/// The header without which the list of models is refused.
pub(crate) fn models_version() -> (HeaderName, HeaderValue) {
    let version = HeaderValue::from_static(AnthropicVersion::V2023.as_str());
    (HeaderName::from_static("anthropic-version"), version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Endpoint;
    use crate::secret::Secret;

    #[test]
    fn the_key_goes_into_its_own_header_and_is_not_shown() {
        let mut credential = Credential::default();
        assert!(headers(&credential).is_none());
        credential.set("apikey", Secret::new("a\nb".into()));
        assert!(headers(&credential).is_none());
        credential.set("apikey", Secret::new("sk-ant-EXAMPLE".into()));
        let headers = headers(&credential).unwrap();
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["x-api-key"], "sk-ant-EXAMPLE");
        assert!(!format!("{headers:?}").contains("EXAMPLE"));
    }

    #[test]
    fn paths_are_those_of_the_api() {
        for (operation, want) in [
            (Operation::Call(Endpoint::Chat, false), "/v1/messages"),
            (Operation::Call(Endpoint::Chat, true), "/v1/messages"),
            (Operation::Models, "/v1/models?limit=1000"),
        ] {
            assert_eq!(path(operation), want);
        }
        assert_eq!(models_version().1, "2023-06-01");
    }
}
