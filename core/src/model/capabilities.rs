//! What a model can do: guessed from its id, corrected by the tenant where the guess fails.
//!
//! Names of deployments and ARNs hide the model behind them, so every guess can be overridden when the model is
//! enabled; `base_model` gives another id to guess from. Facts are the providers' documentation and reports of 2026;
//! a model that is not known is taken for the newest of its family.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::provider::ProviderKind;

/// What a tenant says of a model; all optional. Unknown members survive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// An id to guess from instead of the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
    /// See [`Capabilities::sampling`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<bool>,
    /// See [`Capabilities::top_p_with_temperature`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p_with_temperature: Option<bool>,
    /// See [`Capabilities::thinking`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<ThinkingForm>,
    /// See [`Capabilities::structured_output`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_output: Option<bool>,
    /// See [`Capabilities::forced_tool_choice`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_tool_choice: Option<bool>,
    /// See [`Capabilities::prompt_caching`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_caching: Option<bool>,
    /// See [`Capabilities::images`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<bool>,
    /// See [`Capabilities::audio`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<bool>,
    /// See [`Capabilities::text_beside_tool_results`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_beside_tool_results: Option<bool>,
    /// See [`Capabilities::system_role`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_role: Option<bool>,
    /// See [`Capabilities::multiple_choices`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiple_choices: Option<bool>,
    /// See [`Capabilities::max_output_tokens`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// See [`Capabilities::default_max_tokens`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_max_tokens: Option<u64>,
    /// See [`Capabilities::max_tokens_parameter`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens_parameter: Option<MaxTokensParameter>,
    /// See [`Capabilities::unsupported_parameters`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported_parameters: Option<Vec<String>>,
    /// See [`Capabilities::input_type`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_type: Option<String>,
    /// See [`Capabilities::dimensions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u64>,
    /// See [`Capabilities::batch_size`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// See [`Capabilities::anthropic_version`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic_version: Option<AnthropicVersion>,
    /// See [`Capabilities::deployment`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<bool>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How a model is told to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensParameter {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// A version of Anthropic's API. <https://platform.claude.com/docs/en/api/versioning>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnthropicVersion {
    /// Takes sampling parameters.
    #[serde(rename = "2023-06-01")]
    V2023,
    /// Refuses them at any value.
    #[serde(rename = "2026-10-21")]
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
        let base = said.and_then(|said| said.base_model.as_deref());
        let mut known = Self::guess(kind, base.unwrap_or(id));
        known.deployment = kind == ProviderKind::WatsonxAi && is_deployment(id);
        let Some(said) = said else { return known };
        let set = |place: &mut bool, value: Option<bool>| *place = value.unwrap_or(*place);
        set(&mut known.sampling, said.sampling);
        set(&mut known.top_p_with_temperature, said.top_p_with_temperature);
        set(&mut known.structured_output, said.structured_output);
        set(&mut known.forced_tool_choice, said.forced_tool_choice);
        set(&mut known.prompt_caching, said.prompt_caching);
        set(&mut known.images, said.images);
        set(&mut known.audio, said.audio);
        set(&mut known.text_beside_tool_results, said.text_beside_tool_results);
        set(&mut known.system_role, said.system_role);
        set(&mut known.multiple_choices, said.multiple_choices);
        set(&mut known.deployment, said.deployment);
        known.thinking = said.thinking.unwrap_or(known.thinking);
        known.max_output_tokens = said.max_output_tokens.or(known.max_output_tokens);
        known.default_max_tokens = said.default_max_tokens.or(known.default_max_tokens);
        known.max_tokens_parameter = said.max_tokens_parameter.or(known.max_tokens_parameter);
        known.dimensions = said.dimensions.or(known.dimensions);
        known.batch_size = said.batch_size.or(known.batch_size);
        known.anthropic_version = said.anthropic_version.or(known.anthropic_version);
        if let Some(parameters) = &said.unsupported_parameters {
            known.unsupported_parameters.clone_from(parameters);
        }
        if said.input_type.is_some() {
            known.input_type.clone_from(&said.input_type);
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
