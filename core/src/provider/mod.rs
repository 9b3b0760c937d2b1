//! The provider types: how each is configured and reached. One small file each for URL, authentication and quirks.

pub(crate) mod anthropic;
pub(crate) mod azure_openai;
pub(crate) mod bedrock;
pub(crate) mod cerebras;
pub(crate) mod nim;
pub(crate) mod openai;
mod table;
pub(crate) mod watsonxai;

pub(crate) use self::table::{
    Identity, address, authenticate, base, classify, fixed_path, models_address, models_headers, read_models,
    request_id_header,
};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::dialect::failure::constant;
use crate::egress::url::{self, AllowedOrigins};
use crate::error::{ErrorCode, Failure};
use crate::json;
use crate::limits;
use crate::secret::{Credential, Secret};

/// A provider type of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// OpenAI, or any server that speaks its API.
    OpenAi,
    /// Azure OpenAI.
    AzureOpenAi,
    /// Anthropic.
    Anthropic,
    /// AWS Bedrock.
    Bedrock,
    /// IBM watsonx.ai.
    WatsonxAi,
    /// Cerebras.
    Cerebras,
    /// NVIDIA NIM.
    Nim,
}

/// A data endpoint of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
}

/// What is asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// A call of a data endpoint, streamed or not.
    Call(Endpoint, bool),
    /// The list of models that it offers.
    Models,
}

impl Endpoint {
    /// The path below the provider's and our own base.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
        }
    }

    /// The value of OpenTelemetry's `gen_ai.operation.name`.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
        }
    }

    /// The parameter that must not be empty beside `model`.
    pub const fn input(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completions => "prompt",
            Self::Embeddings => "input",
        }
    }
}

impl ProviderKind {
    /// Every type.
    pub const ALL: [Self; 7] =
        [Self::OpenAi, Self::AzureOpenAi, Self::Anthropic, Self::Bedrock, Self::WatsonxAi, Self::Cerebras, Self::Nim];

    /// Its name in paths, answers and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AzureOpenAi => "azure-openai",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::WatsonxAi => "watsonxai",
            Self::Cerebras => "cerebras",
            Self::Nim => "nim",
        }
    }

    /// From a path segment. IBM's Node SDK misspells one type and tests another.
    pub fn from_path(segment: &str) -> Option<Self> {
        match segment {
            "cerebas" => Some(Self::Cerebras),
            "watsonx-ai" => Some(Self::WatsonxAi),
            _ => Self::from_stored(segment),
        }
    }

    /// From a record.
    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it has that endpoint, or one that can stand for it.
    pub const fn serves(self, endpoint: Endpoint) -> bool {
        match (self, endpoint) {
            (Self::Anthropic | Self::Bedrock, Endpoint::Completions)
            | (Self::Anthropic | Self::Cerebras, Endpoint::Embeddings) => false,
            (_, Endpoint::Chat | Endpoint::Completions | Endpoint::Embeddings) => true,
        }
    }

    /// The base URL when the tenant gives none.
    pub const fn default_base(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::AzureOpenAi | Self::Bedrock => None,
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::WatsonxAi => Some("https://us-south.ml.cloud.ibm.com"),
            Self::Cerebras => Some("https://api.cerebras.ai/v1"),
            Self::Nim => Some("https://integrate.api.nvidia.com/v1"),
        }
    }

    const fn fields(self) -> &'static [Field] {
        match self {
            Self::OpenAi | Self::Anthropic | Self::Cerebras | Self::Nim => &[APIKEY, BASE_URL],
            Self::AzureOpenAi => &[
                Field { name: "apikey", required: false, rule: Rule::Credential },
                Field { name: "azure_ad_token", required: false, rule: Rule::Credential },
                Field { name: "resource_name", required: true, rule: Rule::Resource },
                Field { name: "api_version", required: false, rule: Rule::ApiVersion },
                Field { name: "subscription_id", required: false, rule: Rule::Name },
                Field { name: "resource_group_name", required: false, rule: Rule::Name },
                Field { name: "account_name", required: false, rule: Rule::Name },
                BASE_URL,
            ],
            Self::Bedrock => &[
                Field { name: "access_key_id", required: false, rule: Rule::Credential },
                Field { name: "secret_access_key", required: false, rule: Rule::Credential },
                Field { name: "session_token", required: false, rule: Rule::Credential },
                Field { name: "api_key", required: false, rule: Rule::Credential },
                Field { name: "region", required: true, rule: Rule::Region },
                BASE_URL,
            ],
            Self::WatsonxAi => &[
                APIKEY,
                Field { name: "project_id", required: false, rule: Rule::Name },
                Field { name: "space_id", required: false, rule: Rule::Name },
                BASE_URL,
                Field { name: "auth_url", required: false, rule: Rule::Url },
                Field { name: "api_version", required: false, rule: Rule::Date },
            ],
        }
    }
}

const APIKEY: Field = Field { name: "apikey", required: true, rule: Rule::Credential };
const BASE_URL: Field = Field { name: "base_url", required: false, rule: Rule::Url };

#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    required: bool,
    rule: Rule,
}

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Credential,
    Url,
    Resource,
    Region,
    ApiVersion,
    Date,
    Name,
}

/// A provider's settings that are no secrets, as stored. Unknown members survive.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(transparent))]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// As they are stored.
    pub(crate) fn stored(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// All of them.
    pub(crate) fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// One setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

/// What is wrong with a provider's `data`. Neither member repeats what the caller sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DataError {
    /// The field at fault, in our spelling; `data` if it is none of ours.
    pub param: String,
    /// What to change.
    pub message: String,
    /// True if the field is not known for this type.
    pub unknown: bool,
}

/// Splits a provider's `data` into settings and credential, judging each value. Field names are matched without
/// regard to case, `_` and `-`.
pub(crate) fn parse_data(
    kind: ProviderKind,
    data: &RawValue,
    allowed: &AllowedOrigins,
) -> Result<(Settings, Credential), DataError> {
    let wrong = |message: &str| DataError { param: "data".into(), message: message.into(), unknown: false };
    let object = json::object(data.get().as_bytes()).map_err(|_| wrong("'data' must be an object."))?;
    let fields = kind.fields();
    let mut settings = Map::new();
    let mut credential = Credential::default();
    let mut seen: Vec<&str> = Vec::new();
    for (name, raw) in object.iter() {
        let plain = plain_name(name);
        let Some(field) = fields.iter().find(|f| plain_name(f.name) == plain) else {
            let known = fields.iter().map(|f| f.name).collect::<Vec<_>>().join(", ");
            return Err(DataError {
                unknown: true,
                ..wrong(&format!("'data' has a field that type '{}' does not know; it takes: {known}.", kind.as_str()))
            });
        };
        if raw.get() == "null" {
            continue;
        }
        let fault = |message: &str| DataError {
            param: format!("data.{}", field.name),
            message: format!("'data.{}' {message}", field.name),
            unknown: false,
        };
        if seen.contains(&field.name) {
            return Err(fault("is given twice."));
        }
        seen.push(field.name);
        let value: String = serde_json::from_str(raw.get()).map_err(|_| fault("must be a string."))?;
        match field.rule {
            Rule::Credential => {
                if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(fault("must consist of visible ASCII characters, and not be empty."));
                }
                if value.len() > limits::CREDENTIAL_BYTES {
                    return Err(fault("must have at most 16384 bytes."));
                }
                credential.set(field.name, Secret::new(value));
            }
            Rule::Url => {
                let base = url::judge(&value, allowed).map_err(|refusal| fault(&format!("is refused: {refusal}")))?;
                settings.insert(field.name.into(), Value::String(base.as_str().to_owned()));
            }
            Rule::Resource | Rule::Region | Rule::ApiVersion | Rule::Date | Rule::Name => {
                if let Some(message) = broken_rule(field.rule, &value) {
                    return Err(fault(message));
                }
                settings.insert(field.name.into(), Value::String(value));
            }
        }
    }
    if kind == ProviderKind::Bedrock {
        bedrock_credential(&seen)?;
    }
    if let Some(field) = fields.iter().find(|f| f.required && !seen.contains(&f.name)) {
        return Err(DataError {
            param: format!("data.{}", field.name),
            message: format!("'data.{}' is required for type '{}'.", field.name, kind.as_str()),
            unknown: false,
        });
    }
    if kind == ProviderKind::WatsonxAi && !seen.contains(&"project_id") && !seen.contains(&"space_id") {
        return Err(DataError {
            param: "data.project_id".into(),
            message: "'data.project_id' or 'data.space_id' is required for type 'watsonxai'.".into(),
            unknown: false,
        });
    }
    if kind == ProviderKind::AzureOpenAi {
        let fault = |what: &str| DataError {
            param: "data.apikey".into(),
            message: format!("'data.apikey' or 'data.azure_ad_token' {what} for type 'azure-openai'."),
            unknown: false,
        };
        match (seen.contains(&"apikey"), seen.contains(&"azure_ad_token")) {
            (false, false) => return Err(fault("is required")),
            (true, true) => return Err(fault("must be given, not both,")),
            (true, false) | (false, true) => {}
        }
    }
    Ok((Settings(settings), credential))
}

/// The credential in a secret of the tenant's own: a provider's `data` as JSON, in any spelling. What is no credential
/// was read when the provider was made, and is left alone. `None` if it is no such object.
pub(crate) fn read_credential(secret: &Secret) -> Option<Credential> {
    let object = json::object(secret.open().as_bytes()).ok()?;
    let mut credential = Credential::default();
    for (name, raw) in object.iter() {
        let plain = plain_name(name);
        let fields = ProviderKind::ALL.iter().flat_map(|kind| kind.fields());
        // Types spell one of them in two ways.
        for field in fields.filter(|field| field.rule == Rule::Credential && plain_name(field.name) == plain) {
            let value: String = serde_json::from_str(raw.get()).ok()?;
            let fits = (1..=limits::CREDENTIAL_BYTES).contains(&value.len());
            if !fits || !value.bytes().all(|b| b.is_ascii_graphic()) {
                return None;
            }
            credential.set(field.name, Secret::new(value));
        }
    }
    Some(credential)
}

/// The answer to a call of an endpoint that a provider type does not have.
pub(crate) fn unsupported_endpoint(kind: Option<ProviderKind>, endpoint: Endpoint) -> Failure {
    let name = kind.map_or("unknown", ProviderKind::as_str);
    let mut message = format!("Provider type '{name}' does not support /v1{}.", endpoint.path());
    if endpoint == Endpoint::Completions {
        message.push_str(" Use /v1/chat/completions.");
    }
    Failure::new(ErrorCode::UnsupportedEndpoint, message).with_param("model")
}

/// The answer to a model id that makes no path of a URL.
fn unreachable(refusal: url::Refusal) -> Failure {
    constant(ErrorCode::ModelNotFound).caused_by(refusal.to_string())
}

/// Settings of a test.
#[cfg(test)]
pub(crate) fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings(pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect())
}

/// Whether the fields of Bedrock make one credential: a key pair, perhaps a temporary one, or an API key.
fn bedrock_credential(seen: &[&str]) -> Result<(), DataError> {
    let has = |name: &str| seen.contains(&name);
    let pair = ["access_key_id", "secret_access_key"];
    let fault = match (pair.iter().find(|name| has(name)), pair.iter().find(|name| !has(name))) {
        (None, _) if has("api_key") && !has("session_token") => return Ok(()),
        (Some(_), None) if !has("api_key") => return Ok(()),
        _ if has("api_key") => (
            "api_key",
            "'data.api_key' is taken alone, or 'data.access_key_id' with 'data.secret_access_key'; not both."
                .to_owned(),
        ),
        (Some(given), Some(missing)) => {
            (*missing, format!("'data.{missing}' is required for type 'bedrock' beside 'data.{given}'."))
        }
        _ => (
            "access_key_id",
            "'data.access_key_id' with 'data.secret_access_key', or 'data.api_key', is required for type 'bedrock'."
                .to_owned(),
        ),
    };
    Err(DataError { param: format!("data.{}", fault.0), message: fault.1, unknown: false })
}

fn plain_name(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

fn broken_rule(rule: Rule, value: &str) -> Option<&'static str> {
    let in_range = |max: usize| !value.is_empty() && value.len() <= max;
    match rule {
        Rule::Resource => {
            let text = "must be 1 to 63 lower-case letters, digits and inner hyphens, or such a name with a host of \
                        Azure behind it ('my-resource.openai.azure.us').";
            (!azure_openai::is_resource(value)).then_some(text)
        }
        Rule::Region => (!is_region(value)).then_some("must look like 'us-east-1'."),
        Rule::ApiVersion => {
            let date = value.strip_suffix("-preview").unwrap_or(value);
            let fits = matches!(value, "v1" | "preview" | "latest") || is_date(date);
            (!fits).then_some("must be a date such as '2024-10-21' (or with '-preview'), 'v1', 'preview' or 'latest'.")
        }
        Rule::Date => (!is_date(value)).then_some("must be a date such as '2026-10-14'."),
        Rule::Name => {
            let fits = in_range(128) && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-():".contains(&b));
            (!fits).then_some("must be 1 to 128 letters, digits and the characters . _ - ( ) :")
        }
        Rule::Credential | Rule::Url => None,
    }
}

fn is_region(value: &str) -> bool {
    let mut parts = value.split('-');
    let first = parts.next().is_some_and(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_lowercase()));
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return false };
    first
        && value.len() <= 32
        && !middle.is_empty()
        && middle.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase()))
        && last.len() == 1
        && last.bytes().all(|b| b.is_ascii_digit())
}

fn is_date(value: &str) -> bool {
    value.len() == 10
        && value.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() })
}

#[cfg(test)]
mod tests;
