//! Chats with servers that speak OpenAI's format with gaps and quirks: Cerebras, NVIDIA NIM, watsonx.ai, and Azure
//! OpenAI where its annotations are unwanted.
//!
//! One writer, one reader; what differs between the servers is a row of [`Profile`]. Nothing that a server is not
//! known to take is sent. <https://inference-docs.cerebras.ai/api-reference/chat-completions>,
//! <https://docs.api.nvidia.com/nim/reference/llm-apis>, <https://cloud.ibm.com/apidocs/watsonx-ai#text-chat>,
//! <https://learn.microsoft.com/azure/ai-foundry/openai/reference>

mod failure;
mod request;
mod response;
mod stream;
mod wire;

pub(crate) use failure::{classify, embedded};
pub(crate) use request::{encode_request, encode_with};
pub(crate) use response::decode_response;
pub(crate) use stream::Decoder;

use crate::provider::ProviderKind;

/// What one server's requests have of their own. Answers need no profile: they are read alike, whoever wrote them.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Members that are sent as the client wrote them: of OpenAI's those that have no neutral meaning, and the
    /// server's own.
    copied: &'static [&'static str],
    /// Members that are written from the neutral form, beyond those that every server takes.
    written: &'static [&'static str],
    /// Whether it knows the role `developer`.
    developer: bool,
    /// Whether only a user's content may be an array.
    flat: bool,
    /// Whether messages have a `name`.
    names: bool,
    /// Whether an assistant's message has a `refusal`.
    refusals: bool,
    /// What it calls the reasoning of earlier answers; `None` if it takes none.
    reasoning: Option<&'static str>,
    /// Whether a message that only calls tools needs an empty content.
    empty_content: bool,
    /// How it takes images.
    images: Images,
    /// Whether it may take sound, if the model does.
    audio: bool,
    /// What it calls the limit on tokens, unless the model says otherwise.
    limit: Limit,
    /// Whether `stop` must be an array.
    stop_array: bool,
    /// Whether functions have `strict`.
    strict: bool,
    /// How it is told which tools to call.
    choice: ChoiceForm,
    /// How it is told how much to reason.
    effort: EffortForm,
    /// The service tiers that it knows.
    tiers: &'static [&'static str],
    /// How it is told to stream.
    stream: StreamForm,
}

/// How a server takes images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Images {
    /// As data URLs only; with a detail.
    Inline,
    /// As the client wrote it; with a detail.
    Detailed,
    /// As the client wrote it; without a detail.
    Plain,
}

/// The name of the limit on tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// As the client wrote it.
    AsGiven,
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// How a server is told which tools to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChoiceForm {
    /// `tool_choice`: a word or an object.
    One,
    /// A word in `tool_choice_option`, or an object in `tool_choice`.
    Split,
}

/// How a server is told how much to reason. All know `low`, `medium` and `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EffortForm {
    /// `none` too.
    WithNone,
    /// Only models whose record says so; not `none`.
    ByModel,
    /// Beside `include_reasoning`, which is false for `none`.
    WithInclude,
}

/// How a server is told to stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamForm {
    /// By another path.
    Path,
    /// By `stream`. Usage comes with the last chunk, asked for or not.
    Flag,
    /// By `stream`. Usage comes if asked for, and is always asked for: calls are metered.
    FlagAndUsage,
}

impl Profile {
    /// The profile of a provider type; `None` for those whose requests are not written here. Azure OpenAI's are not:
    /// it takes OpenAI's own.
    fn of(kind: ProviderKind) -> Option<&'static Self> {
        match kind {
            ProviderKind::WatsonxAi => Some(&WATSONX),
            ProviderKind::Cerebras => Some(&CEREBRAS),
            ProviderKind::Nim => Some(&NIM),
            ProviderKind::AzureOpenAi | ProviderKind::OpenAi | ProviderKind::Anthropic | ProviderKind::Bedrock => None,
        }
    }
}

/// watsonx.ai. Members as in IBM's Node SDK of June 2026.
static WATSONX: Profile = Profile {
    copied: &[
        "logit_bias",
        // Its own.
        "chat_template_kwargs",
        "context",
        "crypto",
        "guided_choice",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "include_reasoning",
        "length_penalty",
        "repetition_penalty",
        "time_limit",
    ],
    written: &["reasoning_effort"],
    developer: false,
    flat: true,
    names: true,
    refusals: true,
    reasoning: None,
    empty_content: false,
    images: Images::Inline,
    audio: true,
    limit: Limit::AsGiven,
    stop_array: true,
    strict: false,
    choice: ChoiceForm::Split,
    effort: EffortForm::WithInclude,
    tiers: &[],
    stream: StreamForm::Path,
};

/// Cerebras. Members as in its SDK 1.91.
static CEREBRAS: Profile = Profile {
    copied: &[
        "logit_bias",
        "prediction",
        "prompt_cache_key",
        // Its own.
        "clear_thinking",
        "disable_reasoning",
        "min_completion_tokens",
        "min_tokens",
        "model_parameters",
        "reasoning_format",
    ],
    written: &["parallel_tool_calls", "reasoning_effort", "service_tier", "user"],
    developer: true,
    flat: false,
    names: true,
    refusals: false,
    reasoning: Some("reasoning"),
    empty_content: false,
    images: Images::Detailed,
    audio: false,
    limit: Limit::MaxCompletionTokens,
    stop_array: false,
    strict: true,
    choice: ChoiceForm::One,
    effort: EffortForm::WithNone,
    tiers: &["default", "flex", "priority"],
    stream: StreamForm::Flag,
};

/// NVIDIA NIM: what vLLM and its kin take in every configuration.
static NIM: Profile = Profile {
    copied: &[],
    written: &["reasoning_effort"],
    developer: false,
    flat: true,
    names: false,
    refusals: false,
    reasoning: None,
    empty_content: true,
    images: Images::Plain,
    audio: false,
    limit: Limit::MaxTokens,
    stop_array: false,
    strict: false,
    choice: ChoiceForm::One,
    effort: EffortForm::ByModel,
    tiers: &[],
    stream: StreamForm::FlagAndUsage,
};

#[cfg(test)]
mod tests;
