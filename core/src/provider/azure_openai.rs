//! Azure OpenAI: a host for each resource, and two APIs on it: one of dated versions with the deployment in the path,
//! and `v1` with the deployment as the model of the body.
//! <https://learn.microsoft.com/azure/ai-foundry/openai/reference>

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::{Operation, Settings, unreachable};
use crate::egress::url;
use crate::error::Outcome;
use crate::model::Capabilities;
use crate::secret::Credential;

/// The version when the tenant names none: the one that IBM's SDKs document.
const API_VERSION: &str = "2024-10-21";

/// The host of a resource that is named without one.
const SUFFIX: &str = "openai.azure.com";

/// Hosts that a resource may be named with: Azure's clouds, and Foundry's.
const SUFFIXES: [&str; 7] = [
    SUFFIX,
    "openai.azure.us",
    "openai.azure.cn",
    "services.ai.azure.com",
    "cognitiveservices.azure.com",
    "cognitiveservices.azure.us",
    "cognitiveservices.azure.cn",
];

/// Whether `resource_name` is a name, or a host of Azure that begins with one.
pub(super) fn is_resource(value: &str) -> bool {
    let name = match value.split_once('.') {
        Some((name, suffix)) if SUFFIXES.contains(&suffix) => name,
        Some(_) => return false,
        None => value,
    };
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The base URL when the tenant gives none: that of the resource.
pub(crate) fn default_base(settings: &Settings) -> Option<String> {
    let name = settings.get("resource_name").filter(|name| is_resource(name))?;
    Some(if name.contains('.') { format!("https://{name}") } else { format!("https://{name}.{SUFFIX}") })
}

/// The path below the base.
///
/// # Errors
/// For a deployment whose name cannot be in a path.
pub(crate) fn path(settings: &Settings, model: &str, _: &Capabilities, operation: Operation) -> Outcome<String> {
    let version = settings.get("api_version").unwrap_or(API_VERSION);
    let below = match operation {
        Operation::Call(endpoint, _) => endpoint.path(),
        Operation::Models => "/models",
    };
    Ok(match (version, operation) {
        // It needs no version; this one opens what is not stable yet.
        ("preview", _) => format!("/openai/v1{below}?api-version=preview"),
        ("v1" | "latest", _) => format!("/openai/v1{below}"),
        (version, Operation::Models) => format!("/openai{below}?api-version={version}"),
        (version, Operation::Call(..)) => {
            let deployment = url::segment(model).map_err(unreachable)?;
            format!("/openai/deployments/{deployment}{below}?api-version={version}")
        }
    })
}

/// The headers that authenticate a call: a key of the resource, or a token of Entra ID; never both. `None` if the
/// credential has neither, or it fits no header.
pub(crate) fn headers(credential: &Credential) -> Option<HeaderMap> {
    let (name, text) = match credential.get("azure_ad_token") {
        Some(token) => (AUTHORIZATION, format!("Bearer {}", token.open())),
        None => (HeaderName::from_static("api-key"), credential.get("apikey")?.open().to_owned()),
    };
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(HeaderMap::from_iter([(name, value)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Endpoint, ProviderKind, settings};
    use crate::secret::Secret;

    #[test]
    fn resources_are_names_or_hosts_of_azure() {
        for (name, base) in [
            ("my-res", Some("https://my-res.openai.azure.com")),
            ("my-res.openai.azure.us", Some("https://my-res.openai.azure.us")),
            ("my-res.openai.azure.cn", Some("https://my-res.openai.azure.cn")),
            ("my-res.openai.azure.com", Some("https://my-res.openai.azure.com")),
            ("my-res.services.ai.azure.com", Some("https://my-res.services.ai.azure.com")),
            ("my-res.cognitiveservices.azure.com", Some("https://my-res.cognitiveservices.azure.com")),
            ("my-res.evil.com", None),
            ("evil.com/.openai.azure.com", None),
            ("a.b.openai.azure.com", None),
            ("openai.azure.com", None),
            (".openai.azure.com", None),
            ("my-res.openai.azure.com.", None),
            ("my-res.openai.azure.com.evil.com", None),
            ("my-res.OPENAI.azure.com", None),
            ("my-resopenai.azure.com", None),
            ("a@b", None),
            ("", None),
        ] {
            assert_eq!(default_base(&settings(&[("resource_name", name)])).as_deref(), base, "{name}");
        }
        assert_eq!(default_base(&Settings::default()), None);
    }

    #[test]
    fn paths_follow_the_version() {
        let chat = Operation::Call(Endpoint::Chat, true);
        let embeddings = Operation::Call(Endpoint::Embeddings, false);
        let completions = Operation::Call(Endpoint::Completions, false);
        let dated = "/openai/deployments/gpt%204o%2Fx";
        for (version, operation, want) in [
            (None, chat, format!("{dated}/chat/completions?api-version=2024-10-21")),
            (Some("2025-01-01-preview"), chat, format!("{dated}/chat/completions?api-version=2025-01-01-preview")),
            (None, embeddings, format!("{dated}/embeddings?api-version=2024-10-21")),
            (None, completions, format!("{dated}/completions?api-version=2024-10-21")),
            (None, Operation::Models, "/openai/models?api-version=2024-10-21".to_owned()),
            (Some("v1"), chat, "/openai/v1/chat/completions".to_owned()),
            (Some("latest"), embeddings, "/openai/v1/embeddings".to_owned()),
            (Some("preview"), chat, "/openai/v1/chat/completions?api-version=preview".to_owned()),
            (Some("v1"), Operation::Models, "/openai/v1/models".to_owned()),
        ] {
            let settings = version.map_or_else(Settings::default, |version| settings(&[("api_version", version)]));
            let can = Capabilities::of(ProviderKind::AzureOpenAi, "gpt 4o/x", None);
            assert_eq!(path(&settings, "gpt 4o/x", &can, operation), Ok(want), "{version:?} {operation:?}");
        }
        let can = Capabilities::of(ProviderKind::AzureOpenAi, "..", None);
        assert!(path(&Settings::default(), "..", &can, chat).is_err());
    }

    #[test]
    fn a_key_and_a_token_have_their_own_headers() {
        for (field, name, value) in
            [("apikey", "api-key", "secret"), ("azure_ad_token", "authorization", "Bearer secret")]
        {
            let mut credential = Credential::default();
            credential.set(field, Secret::new("secret".into()));
            let headers = headers(&credential).unwrap();
            assert_eq!((headers.len(), headers.get(name).and_then(|v| v.to_str().ok())), (1, Some(value)));
            assert!(headers.values().all(HeaderValue::is_sensitive));
        }
        assert_eq!(headers(&Credential::default()), None);
    }
}
