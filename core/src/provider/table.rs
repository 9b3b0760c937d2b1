//! Provider type by provider type: where it is reached, how a call proves itself, whose errors it speaks.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName};
use http::{Method, StatusCode, Uri};

use super::{
    Endpoint, Operation, ProviderKind, Settings, anthropic, azure_openai, bedrock, cerebras, nim, openai, unreachable,
    watsonxai,
};
use crate::config::Places;
use crate::dialect::failure::constant;
use crate::dialect::{self, openai_chat};
use crate::egress::url::{self, AllowedOrigins, BaseUrl};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::model::Capabilities;
use crate::secret::{Credential, Secret};

/// The base URL: the tenant's, else the provider's own. `None` if the settings do not tell it.
pub(crate) fn base(kind: ProviderKind, settings: &Settings) -> Option<Cow<'_, str>> {
    if let Some(base) = settings.get("base_url") {
        return Some(Cow::Borrowed(base));
    }
    match kind {
        ProviderKind::AzureOpenAi => azure_openai::default_base(settings).map(Cow::Owned),
        ProviderKind::Bedrock => bedrock::default_base(settings).map(Cow::Owned),
        _ => kind.default_base().map(Cow::Borrowed),
    }
}

/// The path of an endpoint that is the same for every model.
pub(crate) fn fixed_path(kind: ProviderKind, endpoint: Endpoint) -> Option<&'static str> {
    match kind {
        ProviderKind::OpenAi | ProviderKind::Cerebras | ProviderKind::Nim => Some(endpoint.path()),
        ProviderKind::Anthropic => Some(anthropic::path(Operation::Call(endpoint, false))),
        ProviderKind::AzureOpenAi | ProviderKind::Bedrock | ProviderKind::WatsonxAi => None,
    }
}

/// The address of an operation below a provider's base.
///
/// # Errors
/// `unsupported_endpoint` where a model has no such address, another if its id cannot be part of one.
pub(crate) fn address(
    kind: ProviderKind,
    places: &Places,
    settings: &Settings,
    model: &str,
    can: &Capabilities,
    operation: Operation,
) -> Outcome<Uri> {
    below(kind, places.base(), settings, model, can, operation)
}

fn below(
    kind: ProviderKind,
    base: &BaseUrl,
    settings: &Settings,
    model: &str,
    can: &Capabilities,
    operation: Operation,
) -> Outcome<Uri> {
    let path = match kind {
        ProviderKind::AzureOpenAi => azure_openai::path(settings, model, can, operation),
        ProviderKind::Bedrock => bedrock_path(model, operation),
        ProviderKind::WatsonxAi => watsonxai::path(settings, model, can, operation),
        ProviderKind::Anthropic => Ok(anthropic::path(operation).to_owned()),
        ProviderKind::OpenAi | ProviderKind::Cerebras | ProviderKind::Nim => {
            cerebras::path(settings, model, can, operation)
        }
    };
    url::join(base, &path?).map_err(unreachable)
}

fn bedrock_path(model: &str, operation: Operation) -> Outcome<String> {
    let call = match operation {
        Operation::Call(Endpoint::Chat, true) => bedrock::Call::ConverseStream,
        Operation::Call(Endpoint::Chat | Endpoint::Completions, _) => bedrock::Call::Converse,
        Operation::Call(Endpoint::Embeddings, _) => bedrock::Call::Invoke,
        Operation::Models => return Ok(bedrock::MODELS_PATH.to_owned()),
    };
    bedrock::path(model, call).map_err(unreachable)
}

/// What a call proves itself with.
pub(crate) struct Identity<'a> {
    /// The provider's stored credential.
    pub credential: &'a Credential,
    /// Its settings.
    pub settings: &'a Settings,
    /// The token that the credential was exchanged for, where that is how it works.
    pub token: Option<&'a Secret>,
    /// Whether a stream is wanted.
    pub stream: bool,
}

/// Adds the headers that authenticate a call. Everything else of the call must be final.
///
/// # Errors
/// `upstream_auth_failed` if the credential lacks what is needed, or fits no header.
pub(crate) fn authenticate(
    kind: ProviderKind,
    identity: &Identity<'_>,
    method: &Method,
    uri: &Uri,
    headers: &mut HeaderMap,
    body: &[u8],
    now_ms: u64,
) -> Outcome<()> {
    let Identity { credential, settings, token, stream } = identity;
    let proof = match kind {
        ProviderKind::OpenAi => openai::headers(credential),
        ProviderKind::Cerebras => cerebras::headers(credential),
        ProviderKind::Nim => nim::headers(credential),
        ProviderKind::AzureOpenAi => azure_openai::headers(credential),
        ProviderKind::Anthropic => anthropic::headers(credential),
        ProviderKind::WatsonxAi => token.and_then(|token| watsonxai::headers(token.open(), *stream)),
        ProviderKind::Bedrock => {
            let request = bedrock::Outgoing { method: method.as_str(), uri, headers, body };
            bedrock::headers(credential, settings, &request, now_ms)
        }
    };
    let proof = proof.ok_or_else(|| constant(ErrorCode::UpstreamAuthFailed).caused_by("credential lacks its key"))?;
    headers.extend(proof);
    Ok(())
}

/// The header in which a provider tells its id of a request.
pub(crate) fn request_id_header(kind: ProviderKind) -> HeaderName {
    HeaderName::from_static(match kind {
        ProviderKind::OpenAi | ProviderKind::Cerebras => "x-request-id",
        ProviderKind::AzureOpenAi => "apim-request-id",
        ProviderKind::Anthropic => "request-id",
        ProviderKind::Bedrock => "x-amzn-requestid",
        ProviderKind::WatsonxAi => "x-global-transaction-id",
        ProviderKind::Nim => "nvcf-reqid",
    })
}

/// The failure that an answer with another status than 200 means. `body` may be cut or empty.
pub(crate) fn classify(kind: ProviderKind, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    match kind {
        ProviderKind::OpenAi => openai_chat::classify(status, headers, body),
        ProviderKind::Anthropic => dialect::anthropic::classify(status, headers, body),
        ProviderKind::Bedrock => dialect::bedrock_converse::response::classify(status, headers, body),
        ProviderKind::AzureOpenAi | ProviderKind::WatsonxAi | ProviderKind::Cerebras | ProviderKind::Nim => {
            dialect::openai_like::classify(kind, status, headers, body)
        }
    }
}

/// Where a provider lists the models that it offers, and whether the operator opened that origin.
///
/// # Errors
/// `upstream_unreachable` if its base is refused.
pub(crate) fn models_address(
    kind: ProviderKind,
    settings: &Settings,
    allowed: &AllowedOrigins,
) -> Outcome<(Uri, bool)> {
    let refused = || constant(ErrorCode::UpstreamUnreachable).caused_by("base URL refused");
    let text = match kind {
        ProviderKind::Bedrock if settings.get("base_url").is_none() => {
            bedrock::default_models_base(settings).map(Cow::Owned)
        }
        _ => base(kind, settings),
    };
    let base = url::judge(&text.ok_or_else(refused)?, allowed).map_err(|_| refused())?;
    let can = Capabilities::of(kind, "", None);
    Ok((below(kind, &base, settings, "", &can, Operation::Models)?, base.private_allowed()))
}

/// The headers that the list of models needs beside the authentication.
pub(crate) fn models_headers(kind: ProviderKind) -> HeaderMap {
    let version = (kind == ProviderKind::Anthropic).then(anthropic::models_version);
    version.into_iter().collect()
}

/// The models of such a list, as pairs of id and creation time in seconds since the epoch (0 if not told).
pub(crate) fn read_models(kind: ProviderKind, body: &[u8]) -> Option<Vec<(String, u64)>> {
    match kind {
        ProviderKind::Anthropic => dialect::anthropic::read_models(body).map(|list| list.models),
        ProviderKind::Bedrock => Some(bedrock::read_models(body)?.into_iter().map(|id| (id, 0)).collect()),
        ProviderKind::WatsonxAi => dialect::watsonx::read_models(body),
        ProviderKind::OpenAi | ProviderKind::AzureOpenAi | ProviderKind::Cerebras | ProviderKind::Nim => {
            openai_chat::read_models(body)
        }
    }
}
