//! AWS Bedrock: one host for each region, model ids as one path segment, signatures or an API key.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-invoke.html>

use http::Uri;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::Settings;
use crate::egress::url::{self, Refusal};
use crate::secret::{Credential, Secret};
use crate::sign::sigv4::Signer;

/// An operation of the runtime, by the end of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A chat, answered as a whole.
    Converse,
    /// A chat, answered as an event stream.
    ConverseStream,
    /// A model's own format: embeddings.
    Invoke,
}

/// The path of the list of models, below [`default_models_base`] or a base that the tenant gave.
pub(crate) const MODELS_PATH: &str = "/foundation-models";

/// The base URL of calls when the tenant gives none; `None` without a region.
pub(crate) fn default_base(settings: &Settings) -> Option<String> {
    host(settings, "bedrock-runtime")
}

/// The base URL of the list of models when the tenant gives none: another service than that of calls.
pub(crate) fn default_models_base(settings: &Settings) -> Option<String> {
    host(settings, "bedrock")
}

fn host(settings: &Settings, service: &str) -> Option<String> {
    let region = settings.get("region")?;
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    Some(format!("https://{service}.{region}.amazonaws.com{china}"))
}

/// The path of a call. The id, perhaps an ARN, is encoded once here, and by nobody later: what is signed is this path.
///
/// # Errors
/// A [`Refusal`] for an id that has the segments `.` or `..`.
pub(crate) fn path(model: &str, call: Call) -> Result<String, Refusal> {
    let operation = match call {
        Call::Converse => "converse",
        Call::ConverseStream => "converse-stream",
        Call::Invoke => "invoke",
    };
    Ok(format!("/model/{}/{operation}", url::segment(model)?))
}

/// A request as it will be sent, but for what authenticates it.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The whole address, as it goes out.
    pub uri: &'a Uri,
    /// What is sent beside; `content-type` and `accept` are signed.
    pub headers: &'a HeaderMap,
    /// The body, to the byte.
    pub body: &'a [u8],
}

/// The headers that authenticate a call at `now_ms`, in milliseconds since the epoch: the bearer of an API key, else a
/// signature. `None` if the credential or the region is incomplete, or a value fits no header.
pub(crate) fn headers(
    credential: &Credential,
    settings: &Settings,
    request: &Outgoing<'_>,
    now_ms: u64,
) -> Option<HeaderMap> {
    if let Some(key) = credential.get("api_key") {
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.open())).ok()?;
        value.set_sensitive(true);
        return Some(HeaderMap::from_iter([(AUTHORIZATION, value)]));
    }
    let signer = Signer {
        access_key_id: credential.get("access_key_id")?.open(),
        secret_access_key: credential.get("secret_access_key")?.open(),
        session_token: credential.get("session_token").map(Secret::open),
        region: settings.get("region")?,
        service: "bedrock",
    };
    signer.sign(request.method, request.uri, request.headers, request.body, now_ms)
}

/// The ids of the list of models; `None` if it is none.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListFoundationModels.html>
pub(crate) fn read_models(body: &[u8]) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct List {
        #[serde(rename = "modelSummaries")]
        models: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(rename = "modelId")]
        id: String,
    }
    let list: List = crate::json::read_object(body)?;
    Some(list.models.into_iter().map(|entry| entry.id).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use http::header::CONTENT_TYPE;
    use serde_json::{Value, json};

    use super::*;
    use crate::egress::url::{AllowedOrigins, join, judge};

    fn settings(region: &str) -> Settings {
        serde_json::from_value(json!({"region": region})).unwrap()
    }

    fn golden(file: &str) -> Value {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/bedrock");
        serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap()
    }

    fn address(region: &str, model: &str, call: Call) -> Uri {
        let base = judge(&default_base(&settings(region)).unwrap(), &AllowedOrigins::default()).unwrap();
        join(&base, &path(model, call).unwrap()).unwrap()
    }

    #[test]
    fn addresses_are_botocores() {
        for file in ["sigv4_application_profile_arn", "sigv4_colon_model", "sigv4_inference_profile", "bearer_api_key"]
        {
            let case = golden(&format!("{file}.json"));
            let region = case["region"].as_str().unwrap_or("eu-west-1");
            let uri = address(region, case["model_id"].as_str().unwrap(), Call::Converse);
            assert_eq!(uri.to_string(), case["url"].as_str().unwrap(), "{file}");
        }
        assert_eq!(
            address("cn-north-1", "m", Call::ConverseStream).to_string(),
            "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/m/converse-stream"
        );
        assert_eq!(path("a/b%2f:", Call::Invoke).unwrap(), "/model/a%2Fb%252f%3A/invoke");
        for id in ["", ".", "..", "a/../b", "a%2F..%2Fb"] {
            assert!(path(id, Call::Converse).is_err(), "{id}");
        }
        let models = format!("{}{MODELS_PATH}", default_models_base(&settings("us-east-1")).unwrap());
        assert_eq!(models, "https://bedrock.us-east-1.amazonaws.com/foundation-models");
        assert_eq!(default_base(&Settings::default()), None);
    }

    #[test]
    fn a_key_is_a_bearer_and_key_pairs_sign() {
        let case = golden("bearer_api_key.json");
        let uri: Uri = case["url"].as_str().unwrap().parse().unwrap();
        let mut sent = HeaderMap::new();
        sent.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Outgoing { method: "POST", uri: &uri, headers: &sent, body: b"{}" };
        let mut credential = Credential::default();
        assert!(headers(&credential, &settings("us-east-1"), &request, 0).is_none());
        credential.set("api_key", Secret::new("bedrock-api-key-EXAMPLE".into()));
        let bearer = headers(&credential, &settings("us-east-1"), &request, 0).unwrap();
        assert_eq!(bearer[AUTHORIZATION], case["headers"]["authorization"].as_str().unwrap());
        assert!(bearer.len() == 1 && bearer[AUTHORIZATION].is_sensitive());

        let case = golden("sigv4_session_token.json");
        let uri = address("us-east-1", case["model_id"].as_str().unwrap(), Call::Converse);
        let request = Outgoing { uri: &uri, body: case["body"].as_str().unwrap().as_bytes(), ..request };
        let mut credential = Credential::default();
        credential.set("access_key_id", Secret::new(case["access_key"].as_str().unwrap().into()));
        assert!(headers(&credential, &settings("us-east-1"), &request, 0).is_none());
        credential.set("secret_access_key", Secret::new(case["secret_key"].as_str().unwrap().into()));
        credential.set("session_token", Secret::new(case["session_token"].as_str().unwrap().into()));
        let signed = headers(&credential, &settings("us-east-1"), &request, 1_768_478_400_000).unwrap();
        assert_eq!(signed[AUTHORIZATION], case["headers"]["Authorization"].as_str().unwrap());
        assert!(headers(&credential, &Settings::default(), &request, 0).is_none());
    }

    #[test]
    fn the_list_of_models_is_read() {
        let body =
            json!({"modelSummaries": [{"modelId": "amazon.nova-lite-v1:0", "modelName": "x"}, {"modelId": "m"}]});
        let want = Some(vec!["amazon.nova-lite-v1:0".to_owned(), "m".to_owned()]);
        assert_eq!(read_models(body.to_string().as_bytes()), want);
        for bad in [&b"[[]]"[..], b"{}", b"", b"null", br#"{"modelSummaries":[{}]}"#] {
            assert_eq!(read_models(bad), None);
        }
    }
}
