//! A whole answer, and the words that answers and streams share.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::account::Usage;

/// Why a choice ended: OpenAI's five words, and no other (typed clients refuse more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinishReason {
    /// A natural end, or a stop sequence.
    Stop,
    /// A limit on tokens.
    Length,
    /// Tools are called.
    ToolCalls,
    /// The provider withheld the rest, or the model refused.
    ContentFilter,
    /// A legacy function is called.
    FunctionCall,
}

impl FinishReason {
    /// OpenAI's word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::FunctionCall => "function_call",
        }
    }

    /// From OpenAI's word.
    pub(crate) fn from_openai(word: &str) -> Option<Self> {
        [Self::Stop, Self::Length, Self::ToolCalls, Self::ContentFilter, Self::FunctionCall]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }
}

/// Why a choice ended, with the provider's own word where ours cannot say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finish {
    /// Our word.
    pub reason: FinishReason,
    /// The provider's word, if it has no exact match in [`FinishReason`]. For `x-gateway-native-finish-reason` and the log.
    pub native: Option<String>,
}

impl From<FinishReason> for Finish {
    fn from(reason: FinishReason) -> Self {
        Self { reason, native: None }
    }
}

impl Finish {
    /// A word of the provider that means `reason` only roughly. At most 64 visible ASCII characters of it are kept.
    pub(crate) fn roughly(reason: FinishReason, native: &str) -> Self {
        let native = native.chars().filter(char::is_ascii_graphic).take(64).collect();
        Self { reason, native: Some(native) }
    }
}

/// Who answers, as far as the provider says it in OpenAI's terms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity<'a> {
    /// The answer's id, if the provider's ids are OpenAI-shaped; else the gateway makes one.
    pub id: Option<Cow<'a, str>>,
    /// When the answer was made, in seconds since the epoch; else the gateway's clock.
    pub created: Option<u64>,
    /// The provider's name of the model, for `x-gateway-upstream-model`.
    pub model: Option<Cow<'a, str>>,
    /// `system_fingerprint`, as it is written.
    pub fingerprint: Option<&'a RawValue>,
    /// `service_tier`, as it is written.
    pub service_tier: Option<&'a RawValue>,
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer<'a> {
    /// Who answers.
    pub identity: Identity<'a>,
    /// The choices in order of their index.
    pub choices: Vec<Choice<'a>>,
    /// What was used, if reported.
    pub usage: Option<Usage>,
}

/// One choice of a whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Choice<'a> {
    /// The text; `None` where the provider gave none.
    pub content: Option<Cow<'a, str>>,
    /// Why the model refused.
    pub refusal: Option<Cow<'a, str>>,
    /// The model's reasoning.
    pub reasoning: Option<Cow<'a, str>>,
    /// Thinking blocks, as the client must send them back.
    pub thinking: Vec<Thinking<'a>>,
    /// Tool calls in order.
    pub tools: Vec<ToolUse<'a>>,
    /// `logprobs`, as OpenAI writes it.
    pub logprobs: Option<&'a RawValue>,
    /// Why it ended.
    pub finish: Finish,
}

/// A thinking block: JSON as the client must send it back, without an `index`.
pub(crate) type Thinking<'a> = Cow<'a, str>;

/// A tool call of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolUse<'a> {
    /// The call's id.
    pub id: Cow<'a, str>,
    /// The tool's name, as the client knows it.
    pub name: Cow<'a, str>,
    /// The arguments: the text of a JSON object.
    pub arguments: Cow<'a, str>,
}

/// What an encoder promised to undo in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expect {
    /// The answer comes as the arguments of this tool, which stands for a response format: they become the content, and
    /// the end is a plain stop. Calls of other tools stay calls.
    pub json_tool: Option<&'static str>,
    /// The client forbade tools where the provider cannot: calls are left out, and an end by them is a plain stop.
    pub no_tools: bool,
    /// The model was free to call tools, and its server ends by a plain stop after calls too: that is an end by calls.
    pub free_calls: bool,
    /// Tool names that were written differently: (as the provider knows it, as the client does).
    pub renamed: Vec<(String, String)>,
}

impl Expect {
    /// A tool's name as the client knows it.
    pub(crate) fn name<'a>(&'a self, name: &'a str) -> &'a str {
        self.renamed.iter().find(|(theirs, _)| theirs == name).map_or(name, |(_, ours)| ours)
    }
}

/// The name of the tool that stands for a response format.
pub(crate) const JSON_TOOL: &str = "json_output";
