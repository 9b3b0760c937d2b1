//! The providers, and which of them a call is for.

use serde::Deserialize;

use crate::{
    answer::Answer,
    anthropic, azure, bedrock, cerebras,
    dialect::{Ask, Checked, Problem},
    http::Head,
    nim, openai, secrets,
    step::Settings,
    watsonx,
};

/// Whose API an account speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Provider {
    #[serde(rename = "openai")]
    OpenAi,
    #[serde(rename = "azure-openai")]
    Azure,
    Anthropic,
    Bedrock,
    #[serde(rename = "watsonxai")]
    Watsonx,
    Cerebras,
    Nim,
    /// No provider of models: IBM Cloud Secrets Manager.
    SecretsManager,
}

impl Provider {
    /// The provider that the account is set to, else the one whose path it is.
    pub(crate) fn of(settings: &Settings, head: &Head, path: &str) -> Self {
        let guessed = match path {
            "/v1/messages" | "/v1/messages/count_tokens" => Self::Anthropic,
            watsonx::TOKEN_PATH => Self::Watsonx,
            "/foundation-models" => Self::Bedrock,
            _ if path.starts_with("/model/") => Self::Bedrock,
            _ if path.starts_with("/ml/v1/") => Self::Watsonx,
            _ if path.starts_with("/openai/") => Self::Azure,
            _ if path.starts_with("/api/v2/") => Self::SecretsManager,
            _ if path.starts_with("/v1/models") && head.value("anthropic-version").is_some() => Self::Anthropic,
            _ => Self::OpenAi,
        };
        settings.provider.unwrap_or(guessed)
    }

    /// The credential of a request: a key, a token or the id of an access key.
    pub(crate) fn key(self, head: &Head) -> Option<&str> {
        match self {
            Self::OpenAi | Self::Cerebras | Self::Nim | Self::Watsonx | Self::SecretsManager => bearer(head),
            Self::Azure => head.value("api-key").filter(|key| !key.is_empty()).or_else(|| bearer(head)),
            Self::Anthropic => head.value("x-api-key").filter(|key| !key.is_empty()).or_else(|| bearer(head)),
            Self::Bedrock => bearer(head).or_else(|| bedrock::access_key(head)),
        }
    }

    /// Headers that belong to this provider and to no other.
    pub(crate) fn headers(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi | Self::Cerebras | Self::Nim | Self::Watsonx | Self::SecretsManager => &[],
            Self::Azure => &["api-key"],
            Self::Anthropic => &["x-api-key", "anthropic-version", "anthropic-beta"],
            Self::Bedrock => &["x-amz-date", "x-amz-security-token", "x-amz-content-sha256"],
        }
    }

    /// Members of the query that the provider knows on this path.
    pub(crate) fn query(self, path: &str) -> &'static [&'static str] {
        match self {
            Self::OpenAi | Self::Cerebras | Self::Nim => &[],
            Self::Azure => &["api-version"],
            Self::Anthropic if path == "/v1/models" => &["limit", "after_id", "before_id"],
            Self::Bedrock if path == "/foundation-models" => {
                &["byProvider", "byCustomizationType", "byInferenceType", "byOutputModality"]
            }
            Self::Anthropic | Self::Bedrock => &[],
            Self::Watsonx | Self::SecretsManager if path == watsonx::TOKEN_PATH => &[],
            Self::SecretsManager => {
                &["limit", "offset", "sort", "search", "groups", "secret_types", "match_all_labels"]
            }
            Self::Watsonx => &["version", "limit", "start", "filters", "project_id", "space_id"],
        }
    }

    /// The content type of a request body.
    pub(crate) fn content_type(self, path: &str) -> &'static str {
        match self {
            Self::Watsonx | Self::SecretsManager if path == watsonx::TOKEN_PATH => "application/x-www-form-urlencoded",
            _ => "application/json",
        }
    }

    /// Checks credential, method, path and body.
    pub(crate) fn check<'a>(self, ask: &'a Ask<'a>) -> Checked<'a> {
        match self {
            Self::OpenAi => openai::check(ask),
            Self::Azure => azure::check(ask),
            Self::Anthropic => anthropic::check(ask),
            Self::Bedrock => bedrock::check(ask),
            Self::Watsonx => watsonx::check(ask),
            Self::Cerebras => cerebras::check(ask),
            Self::Nim => nim::check(ask),
            Self::SecretsManager => secrets::check(ask),
        }
    }

    /// An error in the provider's shape.
    pub(crate) fn error(self, ask: &Ask<'_>, problem: Problem<'_>) -> Answer {
        match self {
            Self::OpenAi => openai::error(ask, problem),
            Self::Azure => azure::error(problem),
            Self::Anthropic => anthropic::error(ask, problem),
            Self::Bedrock => bedrock::error(ask, problem),
            Self::Watsonx => watsonx::error(ask, problem),
            Self::Cerebras => cerebras::error(problem),
            Self::Nim => nim::error(problem),
            Self::SecretsManager => secrets::error(ask, problem),
        }
    }
}

/// The bearer token of a request, if there is one.
pub(crate) fn bearer(head: &Head) -> Option<&str> {
    head.value("authorization")?
        .strip_prefix("Bearer ")
        .filter(|key| !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic()))
}
