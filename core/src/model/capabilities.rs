//! What a model can do: guessed from its id, corrected by the tenant where the guess fails.
//!
//! Names of deployments and ARNs hide the model behind them, so every guess can be overridden when the model is
//! enabled; `base_model` gives another id to guess from. Facts are the providers' documentation and reports of 2026;
//! a model that is not known is taken for the newest of its family.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::provider::ProviderKind;

/// What a tenant says of a model; all optional. Unknown members survive; members that are known are of their kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(transparent)]
pub struct Overrides(Map<String, Value>);

/// What kind of value a member has.
enum Kind {
    Flag,
    Number,
    Text,
    Texts,
    OneOf(&'static [&'static str]),
}

/// The members of [`Overrides`]: an id to guess from instead of the model's own, and fields of [`Capabilities`].
const KNOWN: [(&str, Kind); 21] = [
    ("base_model", Kind::Text),
    ("sampling", Kind::Flag),
    ("top_p_with_temperature", Kind::Flag),
    ("thinking", Kind::OneOf(&["none", "budget", "adaptive", "effort"])),
    ("structured_output", Kind::Flag),
    ("forced_tool_choice", Kind::Flag),
    ("prompt_caching", Kind::Flag),
    ("images", Kind::Flag),
    ("audio", Kind::Flag),
    ("text_beside_tool_results", Kind::Flag),
    ("system_role", Kind::Flag),
    ("multiple_choices", Kind::Flag),
    ("max_output_tokens", Kind::Number),
    ("default_max_tokens", Kind::Number),
    ("max_tokens_parameter", Kind::OneOf(&["max_tokens", "max_completion_tokens"])),
    ("unsupported_parameters", Kind::Texts),
    ("input_type", Kind::Text),
    ("dimensions", Kind::Number),
    ("batch_size", Kind::Number),
    ("anthropic_version", Kind::OneOf(&["2023-06-01", "2026-10-21"])),
    ("deployment", Kind::Flag),
];

impl Overrides {
    /// From members; `None` if one that is known has a value of the wrong kind.
    pub(crate) fn of(mut members: Map<String, Value>) -> Option<Self> {
        members.retain(|name, value| !value.is_null() || !Self::knows(name));
        members.iter().all(|(name, value)| Self::fits(name, value)).then_some(Self(members))
    }

    /// Whether a value is of the kind that a known member has, or is none.
    pub(crate) fn fits(name: &str, value: &Value) -> bool {
        let Some((_, kind)) = KNOWN.iter().find(|(known, _)| *known == name) else { return true };
        value.is_null()
            || match kind {
                Kind::Flag => value.is_boolean(),
                Kind::Number => value.is_u64(),
                Kind::Text => value.is_string(),
                Kind::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
                Kind::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            }
    }

    /// Whether a member of that name means something to this version.
    pub(crate) fn knows(name: &str) -> bool {
        KNOWN.iter().any(|(known, _)| *known == name)
    }

    /// All members.
    pub(crate) fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }
}

/// How a model is told to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingForm {
    /// It cannot, or cannot be told.
    None,
    /// Claude's budget of tokens.
    Budget,
    /// Claude's adaptive thinking, with an effort.
    Adaptive,
    /// A parameter `reasoning_effort`.
    Effort,
}

/// Which of the two names of the limit on tokens a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxTokensParameter {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// A version of Anthropic's API. <https://platform.claude.com/docs/en/api/versioning>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnthropicVersion {
    /// Takes sampling parameters.
    V2023,
    /// Refuses them at any value.
    V2026,
}

impl AnthropicVersion {
    /// The value of the header `anthropic-version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2023 => "2023-06-01",
            Self::V2026 => "2026-10-21",
        }
    }
}

/// A line of models that a provider treats alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Anthropic's Claude.
    Claude,
    /// Amazon's Nova.
    Nova,
    /// OpenAI's open models.
    GptOss,
    /// Titan Text Embeddings G1.
    TitanEmbed1,
    /// Titan Text Embeddings V2.
    TitanEmbed2,
    /// Cohere Embed 3.
    CohereEmbed3,
    /// Cohere Embed 4.
    CohereEmbed4,
    /// Any other.
    Other,
}

/// What a model can do, as far as translation depends on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capabilities {
    /// Its line.
    pub family: Family,
    /// Whether it takes temperature and top_p.
    pub sampling: bool,
    /// Whether it takes both in one request.
    pub top_p_with_temperature: bool,
    /// How it is told to reason.
    pub thinking: ThinkingForm,
    /// Whether it can be told not to reason.
    pub thinking_off: bool,
    /// Whether it takes a JSON schema for its answer; else a forced tool stands for it.
    pub structured_output: bool,
    /// Whether a tool can be forced.
    pub forced_tool_choice: bool,
    /// Whether prefixes can be marked for caching.
    pub prompt_caching: bool,
    /// Whether it takes images.
    pub images: bool,
    /// Whether it takes sound.
    pub audio: bool,
    /// Whether text may stand in the same turn as results of tools.
    pub text_beside_tool_results: bool,
    /// Whether it takes system messages; else they go in front of the first user's text.
    pub system_role: bool,
    /// Whether it gives more than one choice.
    pub multiple_choices: bool,
    /// Most tokens of an answer.
    pub max_output_tokens: Option<u64>,
    /// Most tokens when the client says nothing.
    pub default_max_tokens: Option<u64>,
    /// Which name of the limit it takes; `None` to leave what the client wrote.
    pub max_tokens_parameter: Option<MaxTokensParameter>,
    /// Parameters that it refuses: they are dropped.
    pub unsupported_parameters: Vec<String>,
    /// Asymmetric embeddings: the `input_type` when the client gives none. `None` if it takes no input type.
    pub input_type: Option<String>,
    /// The length of its vectors, if it has one length only.
    pub dimensions: Option<u64>,
    /// Most inputs of one embeddings call, where smaller than the provider's own limit.
    pub batch_size: Option<usize>,
    /// The version of Anthropic's API to use in any case.
    pub anthropic_version: Option<AnthropicVersion>,
    /// The id names a deployment of watsonx.ai.
    pub deployment: bool,
}

impl Capabilities {
    /// What is known and said of a model of `kind`.
    pub(crate) fn of(kind: ProviderKind, id: &str, said: Option<&Overrides>) -> Self {
        let base = said.and_then(|said| said.text("base_model"));
        let mut known = Self::guess(kind, base.unwrap_or(id));
        known.deployment = kind == ProviderKind::WatsonxAi && is_deployment(id);
        let Some(said) = said else { return known };
        for (name, place) in [
            ("sampling", &mut known.sampling),
            ("top_p_with_temperature", &mut known.top_p_with_temperature),
            ("structured_output", &mut known.structured_output),
            ("forced_tool_choice", &mut known.forced_tool_choice),
            ("prompt_caching", &mut known.prompt_caching),
            ("images", &mut known.images),
            ("audio", &mut known.audio),
            ("text_beside_tool_results", &mut known.text_beside_tool_results),
            ("system_role", &mut known.system_role),
            ("multiple_choices", &mut known.multiple_choices),
            ("deployment", &mut known.deployment),
        ] {
            *place = said.0.get(name).and_then(Value::as_bool).unwrap_or(*place);
        }
        for (name, place) in [
            ("max_output_tokens", &mut known.max_output_tokens),
            ("default_max_tokens", &mut known.default_max_tokens),
            ("dimensions", &mut known.dimensions),
        ] {
            *place = said.number(name).or(*place);
        }
        known.batch_size = said.number("batch_size").and_then(|size| size.try_into().ok()).or(known.batch_size);
        known.thinking = match said.text("thinking") {
            Some("none") => ThinkingForm::None,
            Some("budget") => ThinkingForm::Budget,
            Some("adaptive") => ThinkingForm::Adaptive,
            Some("effort") => ThinkingForm::Effort,
            _ => known.thinking,
        };
        known.max_tokens_parameter = match said.text("max_tokens_parameter") {
            Some("max_tokens") => Some(MaxTokensParameter::MaxTokens),
            Some("max_completion_tokens") => Some(MaxTokensParameter::MaxCompletionTokens),
            _ => known.max_tokens_parameter,
        };
        known.anthropic_version = match said.text("anthropic_version") {
            Some("2023-06-01") => Some(AnthropicVersion::V2023),
            Some("2026-10-21") => Some(AnthropicVersion::V2026),
            _ => known.anthropic_version,
        };
        if let Some(names) = said.0.get("unsupported_parameters").and_then(Value::as_array) {
            known.unsupported_parameters = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        if let Some(input_type) = said.text("input_type") {
            known.input_type = Some(input_type.to_owned());
        }
        known
    }

    fn guess(kind: ProviderKind, id: &str) -> Self {
        let id = id.to_ascii_lowercase();
        let has = |part: &str| id.contains(part);
        let family = match kind {
            ProviderKind::Anthropic => Family::Claude,
            _ if has("claude") => Family::Claude,
            _ if has("nova-") => Family::Nova,
            _ if has("gpt-oss") => Family::GptOss,
            _ if has("titan-embed-text-v2") => Family::TitanEmbed2,
            _ if has("titan-embed") => Family::TitanEmbed1,
            _ if has("cohere.embed-v4") || has("embed-v4") => Family::CohereEmbed4,
            _ if has("cohere.embed") => Family::CohereEmbed3,
            _ => Family::Other,
        };
        let mut known = Self {
            family,
            sampling: true,
            top_p_with_temperature: true,
            thinking: ThinkingForm::None,
            thinking_off: false,
            structured_output: true,
            forced_tool_choice: true,
            prompt_caching: false,
            images: true,
            audio: false,
            text_beside_tool_results: true,
            system_role: true,
            multiple_choices: kind != ProviderKind::Nim,
            max_output_tokens: None,
            default_max_tokens: None,
            max_tokens_parameter: None,
            unsupported_parameters: Vec::new(),
            input_type: None,
            dimensions: None,
            batch_size: None,
            anthropic_version: None,
            deployment: false,
        };
        match family {
            Family::Claude => {
                let generation = claude_generation(&id).unwrap_or((u32::MAX, 0));
                known.prompt_caching = true;
                known.sampling = generation < (4, 7);
                // Claude 4.1 to 4.6 refuse the two together; Bedrock's 4.6 takes them (golden: bedrock/converse_basic).
                let bedrock = kind == ProviderKind::Bedrock && generation >= (4, 6);
                known.top_p_with_temperature = generation < (4, 1) || bedrock;
                known.thinking = match generation {
                    (..=3, minor) if generation.0 < 3 || minor < 7 => ThinkingForm::None,
                    (4, 0..=5) | (..=3, _) => ThinkingForm::Budget,
                    _ => ThinkingForm::Adaptive,
                };
                known.thinking_off = generation <= (4, 6);
                known.structured_output = generation >= (4, 5);
            }
            Family::Nova => {
                known.prompt_caching = true;
                known.structured_output = false;
            }
            Family::GptOss => known.thinking = ThinkingForm::Effort,
            Family::TitanEmbed1 => known.dimensions = Some(1536),
            Family::CohereEmbed3 | Family::CohereEmbed4 => known.input_type = Some("search_document".to_owned()),
            Family::TitanEmbed2 | Family::Other => {}
        }
        match kind {
            // Converse limits forced tools and schemas to some lines of models.
            ProviderKind::Bedrock if family == Family::Other || family == Family::GptOss => {
                known.structured_output = false;
                known.forced_tool_choice = false;
            }
            ProviderKind::Cerebras => known.images = false,
            ProviderKind::Nim if has("embedqa") || has("nv-embed") || has("e5-v5") => {
                known.input_type = Some("query".to_owned());
                known.dimensions = if has("nv-embedqa-e5-v5") || has("e5-v5") {
                    Some(1024)
                } else if has("nv-embed-v1") || has("nv-embedqa-mistral") {
                    Some(4096)
                } else {
                    None
                };
            }
            _ => {}
        }
        known
    }
}

/// The generation in a Claude id, such as 4.6 in `claude-sonnet-4-6` or 3.7 in `claude-3-7-sonnet-20250219`.
fn claude_generation(id: &str) -> Option<(u32, u32)> {
    let (_, rest) = id.split_once("claude")?;
    let mut numbers = rest
        .split(|c: char| !c.is_ascii_alphanumeric())
        .skip_while(|part| part.parse::<u32>().is_err())
        .map_while(|part| part.parse::<u32>().ok())
        // Dates have eight digits.
        .take_while(|number| *number < 100);
    let major = numbers.next()?;
    Some((major, numbers.next().unwrap_or(0)))
}

/// Whether a watsonx.ai model id stands for a deployment: `deployment/<id>`, or a bare UUID.
fn is_deployment(id: &str) -> bool {
    id.starts_with("deployment/") || uuid::Uuid::try_parse(id).is_ok_and(|_| id.len() == 36)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_of_claude_are_told_apart() {
        for (id, want) in [
            ("claude-sonnet-4-6", Some((4, 6))),
            ("claude-opus-4-20250514", Some((4, 0))),
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-3-opus-latest", Some((3, 0))),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Some((4, 5))),
            ("claude-opus-5", Some((5, 0))),
            ("claude-2.1", Some((2, 1))),
            ("claude-instant", None),
            ("gpt-4", None),
        ] {
            assert_eq!(claude_generation(id), want, "{id}");
        }
    }

    #[test]
    fn guesses_follow_the_generation_and_can_be_overridden() {
        let of = |id: &str, said: Value| {
            let said: Overrides = serde_json::from_value(said).unwrap();
            let known = Capabilities::of(ProviderKind::Bedrock, id, Some(&said));
            (known.sampling, known.thinking, known.forced_tool_choice)
        };
        let none = || serde_json::json!({});
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123xyz789";
        for (id, said, want) in [
            ("us.anthropic.claude-sonnet-4-6", none(), (true, ThinkingForm::Adaptive, true)),
            ("us.anthropic.claude-opus-4-7", none(), (false, ThinkingForm::Adaptive, true)),
            ("anthropic.claude-haiku-4-5", none(), (true, ThinkingForm::Budget, true)),
            ("anthropic.claude-3-5-sonnet", none(), (true, ThinkingForm::None, true)),
            ("openai.gpt-oss-120b-1:0", none(), (true, ThinkingForm::Effort, false)),
            (arn, none(), (true, ThinkingForm::None, false)),
            (arn, serde_json::json!({"base_model": "claude-opus-4-8"}), (false, ThinkingForm::Adaptive, true)),
            (arn, serde_json::json!({"sampling": false, "thinking": "budget"}), (false, ThinkingForm::Budget, false)),
        ] {
            assert_eq!(of(id, said.clone()), want, "{id} {said}");
        }
    }
}
