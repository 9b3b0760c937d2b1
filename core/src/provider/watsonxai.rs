//! watsonx.ai: a host for each region, a dated version in every query, models by id or by deployment, and a token that
//! was exchanged for the key. <https://cloud.ibm.com/apidocs/watsonx-ai>

use http::HeaderMap;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};

use super::{Endpoint, Operation, Settings, unreachable};
use crate::egress::url;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::model::Capabilities;

/// The version when the tenant names none: the one that IBM's Python SDK 1.8.1 sends.
const API_VERSION: &str = "2026-10-14";

/// How the id of a model says that it names a deployment.
const DEPLOYMENT: &str = "deployment/";

/// The path below the base. Streams have paths of their own.
///
/// # Errors
/// `unsupported_endpoint` for embeddings of a deployment; another for one whose id cannot be in a path.
pub(crate) fn path(settings: &Settings, model: &str, can: &Capabilities, operation: Operation) -> Outcome<String> {
    let version = settings.get("api_version").unwrap_or(API_VERSION);
    let what = match operation {
        Operation::Models => return Ok(format!("/ml/v1/foundation_model_specs?version={version}")),
        Operation::Call(Endpoint::Chat, false) => "chat",
        Operation::Call(Endpoint::Chat, true) => "chat_stream",
        Operation::Call(Endpoint::Completions, false) => "generation",
        Operation::Call(Endpoint::Completions, true) => "generation_stream",
        Operation::Call(Endpoint::Embeddings, _) if can.deployment => {
            let text = "Deployments of watsonx.ai do not support /v1/embeddings. Enable the model by its own id.";
            return Err(Failure::new(ErrorCode::UnsupportedEndpoint, text).with_param("model"));
        }
        Operation::Call(Endpoint::Embeddings, _) => "embeddings",
    };
    if !can.deployment {
        return Ok(format!("/ml/v1/text/{what}?version={version}"));
    }
    let id = url::segment(model.strip_prefix(DEPLOYMENT).unwrap_or(model)).map_err(unreachable)?;
    Ok(format!("/ml/v1/deployments/{id}/text/{what}?version={version}"))
}

/// The headers of a call with the token that stands for the key; `None` if it fits no header.
pub(crate) fn headers(bearer: &str, stream: bool) -> Option<HeaderMap> {
    let mut token = HeaderValue::try_from(format!("Bearer {bearer}")).ok()?;
    token.set_sensitive(true);
    let accept = HeaderValue::from_static(if stream { "text/event-stream" } else { "application/json" });
    Some(HeaderMap::from_iter([(AUTHORIZATION, token), (ACCEPT, accept)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Overrides;
    use crate::provider::{ProviderKind, settings};

    const UUID: &str = "33333333-aaaa-4bbb-8ccc-444444444444";

    fn of(model: &str, said: Option<&Overrides>, endpoint: Endpoint, stream: bool) -> Outcome<String> {
        let can = Capabilities::of(ProviderKind::WatsonxAi, model, said);
        path(&Settings::default(), model, &can, Operation::Call(endpoint, stream))
    }

    #[test]
    fn paths_follow_model_endpoint_and_stream() {
        let id = "meta-llama/llama-3-3-70b-instruct";
        for (model, endpoint, stream, want) in [
            (id, Endpoint::Chat, false, "/ml/v1/text/chat?version=2026-10-14".to_owned()),
            (id, Endpoint::Chat, true, "/ml/v1/text/chat_stream?version=2026-10-14".to_owned()),
            (id, Endpoint::Completions, false, "/ml/v1/text/generation?version=2026-10-14".to_owned()),
            (id, Endpoint::Completions, true, "/ml/v1/text/generation_stream?version=2026-10-14".to_owned()),
            (id, Endpoint::Embeddings, false, "/ml/v1/text/embeddings?version=2026-10-14".to_owned()),
            (UUID, Endpoint::Chat, false, format!("/ml/v1/deployments/{UUID}/text/chat?version=2026-10-14")),
            (
                "deployment/a b/c",
                Endpoint::Chat,
                true,
                "/ml/v1/deployments/a%20b%2Fc/text/chat_stream?version=2026-10-14".to_owned(),
            ),
            (
                "deployment/x",
                Endpoint::Completions,
                true,
                "/ml/v1/deployments/x/text/generation_stream?version=2026-10-14".to_owned(),
            ),
        ] {
            assert_eq!(of(model, None, endpoint, stream), Ok(want), "{model} {endpoint:?} {stream}");
        }
        let said = serde_json::from_value::<Overrides>(serde_json::json!({"deployment": true})).unwrap();
        assert_eq!(
            of("named", Some(&said), Endpoint::Chat, false).as_deref(),
            Ok("/ml/v1/deployments/named/text/chat?version=2026-10-14")
        );
        for (model, endpoint, code) in [
            (UUID, Endpoint::Embeddings, ErrorCode::UnsupportedEndpoint),
            ("deployment/", Endpoint::Chat, ErrorCode::ModelNotFound),
            ("deployment/..", Endpoint::Chat, ErrorCode::ModelNotFound),
        ] {
            assert_eq!(of(model, None, endpoint, false).unwrap_err().code, code, "{model}");
        }
    }

    #[test]
    fn the_version_can_be_set_and_models_are_listed() {
        let can = Capabilities::of(ProviderKind::WatsonxAi, "", None);
        let settings = settings(&[("api_version", "2024-05-31")]);
        for (operation, want) in [
            (Operation::Models, "/ml/v1/foundation_model_specs?version=2024-05-31"),
            (Operation::Call(Endpoint::Chat, false), "/ml/v1/text/chat?version=2024-05-31"),
        ] {
            assert_eq!(path(&settings, "", &can, operation).as_deref(), Ok(want));
        }
    }

    #[test]
    fn the_token_and_the_kind_of_answer_are_said() {
        for (stream, accept) in [(false, "application/json"), (true, "text/event-stream")] {
            let headers = headers("IAM.JWT.EXAMPLE", stream).unwrap();
            assert_eq!(headers.get(AUTHORIZATION).unwrap(), "Bearer IAM.JWT.EXAMPLE");
            assert_eq!(headers.get(ACCEPT).unwrap(), accept);
            assert!(headers.get(AUTHORIZATION).unwrap().is_sensitive());
        }
        assert_eq!(headers("a\nb", false), None);
    }
}
