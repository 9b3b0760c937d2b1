//! A request for a chat, read once and checked as far as no dialect can do without.

use std::borrow::Cow;

use serde_json::Number;
use serde_json::value::RawValue;

use crate::json::{self, Object};

/// A chat request. Absent and `null` are the same.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The conversation; not empty. Legacy functions are tools here.
    pub messages: Vec<Message<'a>>,
    /// Most tokens of the answer: `max_completion_tokens`, else `max_tokens`.
    pub max_tokens: Option<u64>,
    /// 0 to 2.
    pub temperature: Option<Number>,
    /// 0 to 1.
    pub top_p: Option<Number>,
    /// -2 to 2.
    pub frequency_penalty: Option<Number>,
    /// -2 to 2.
    pub presence_penalty: Option<Number>,
    /// A whole number.
    pub seed: Option<Number>,
    /// Stop sequences, possibly none.
    pub stop: Vec<Cow<'a, str>>,
    /// How many choices; 1 if not given.
    pub n: u64,
    /// Whether the log probabilities of tokens are wanted.
    pub logprobs: bool,
    /// How many alternatives of each token.
    pub top_logprobs: Option<u64>,
    /// The tools that may be called: already only those that `allowed_tools` names.
    pub tools: Vec<Tool<'a>>,
    /// Which of them must be called; `None` if not said, or if there are no tools.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether several tools may be called at once; `None` if not said.
    pub parallel_tool_calls: Option<bool>,
    /// The client speaks of `functions`: calls must be answered as `function_call`.
    pub legacy_functions: bool,
    /// The wanted form of the answer; `None` for plain text.
    pub format: Option<Format<'a>>,
    /// How much to reason.
    pub effort: Option<Effort>,
    /// Who asks, for the provider's abuse detection: `user`, else `safety_identifier`.
    pub user: Option<Cow<'a, str>>,
    /// `service_tier`, if it is not `auto`.
    pub service_tier: Option<Cow<'a, str>>,
    /// Whether the answer is streamed.
    pub stream: bool,
    object: &'a Object<'a>,
}

/// A role of a message. A `function` message is [`Role::Tool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The operator's instructions, in the older word.
    System,
    /// The same, in the newer word.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Message<'a> {
    /// Its place among the client's messages, for errors: `messages[3]`.
    pub at: usize,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content<'a>,
    /// The speaker's name.
    pub name: Option<Cow<'a, str>>,
    /// The tools that the model called.
    pub tool_calls: Vec<ToolCall<'a>>,
    /// Which call a [`Role::Tool`] message answers; always one of the calls before it.
    pub tool_call_id: Option<Cow<'a, str>>,
    /// Why the model refused.
    pub refusal: Option<Cow<'a, str>>,
    /// The model's reasoning, of an earlier answer (extension `reasoning_content`).
    pub reasoning: Option<Cow<'a, str>>,
    /// Its thinking blocks as they were given out (extension `thinking_blocks`), each an object.
    pub thinking: Vec<&'a RawValue>,
    /// Ask to cache up to the end of this message (extension `cache_control` on the message).
    pub cache: Option<CacheControl>,
}

/// A thinking block as Claude makes it; texts are raw JSON strings.
/// <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>
#[derive(Clone, Copy, Debug)]
pub(crate) enum Thought<'a> {
    /// Thinking that is shown; its text may be empty.
    Shown {
        /// What was thought.
        text: &'a RawValue,
        /// Shows that it was.
        signature: &'a RawValue,
    },
    /// Thinking that is hidden in its data.
    Redacted(&'a RawValue),
}

impl<'a> Thought<'a> {
    /// Reads a block; `None` if Claude cannot have made it, or its signature was lost: it would be refused.
    pub(crate) fn read(raw: &'a RawValue) -> Option<Self> {
        let block = json::object(raw.get().as_bytes()).ok()?;
        let text = |name: &str| block.get(name).filter(|raw| raw.get().starts_with('"'));
        let some = |name: &str| text(name).filter(|raw| raw.get() != "\"\"");
        match text("type")?.get() {
            "\"thinking\"" => Some(Self::Shown { text: text("thinking")?, signature: some("signature")? }),
            "\"redacted_thinking\"" => some("data").map(Self::Redacted),
            _ => None,
        }
    }
}

/// What a message says.
#[derive(Clone, Debug)]
pub(crate) enum Content<'a> {
    /// Nothing: absent or `null`.
    None,
    /// A plain string.
    Text(Cow<'a, str>),
    /// Parts in order, possibly none.
    Parts(Vec<Part<'a>>),
}

/// One part of a message.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    /// Its place, for errors: `messages[0].content[2]`.
    pub at: usize,
    /// What it is.
    pub kind: PartKind<'a>,
    /// Ask to cache up to here (extension `cache_control`, or `prompt_cache_breakpoint`).
    pub cache: Option<CacheControl>,
}

/// The kinds of parts.
#[derive(Clone, Debug)]
pub(crate) enum PartKind<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// Why the model refused.
    Refusal(Cow<'a, str>),
    /// An image by address: `https:` or `data:`.
    Image {
        /// The address as the client wrote it.
        url: Cow<'a, str>,
        /// `low`, `high`, `auto`, `original`.
        detail: Option<Cow<'a, str>>,
    },
    /// Sound.
    Audio {
        /// Base64.
        data: Cow<'a, str>,
        /// `wav` or `mp3`.
        format: Cow<'a, str>,
    },
    /// A file.
    File {
        /// A data URL.
        data: Option<Cow<'a, str>>,
        /// Its name.
        name: Option<Cow<'a, str>>,
    },
    /// A type that this version does not know.
    Other,
}

/// How long a cached prefix is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheControl {
    /// The provider's default.
    Default,
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    OneHour,
}

/// A call in the conversation's history.
#[derive(Clone, Debug)]
pub(crate) struct ToolCall<'a> {
    /// Its place, for errors: `messages[1].tool_calls[0]`.
    pub at: usize,
    /// Its id; made up for legacy functions.
    pub id: Cow<'a, str>,
    /// The tool's name.
    pub name: Cow<'a, str>,
    /// The arguments' text; should be a JSON object, may be empty.
    pub arguments: Cow<'a, str>,
}

/// A tool that may be called.
#[derive(Clone, Debug)]
pub(crate) struct Tool<'a> {
    /// Its name; not empty.
    pub name: Cow<'a, str>,
    /// What it does; never empty.
    pub description: Option<Cow<'a, str>>,
    /// JSON Schema of the arguments; an object.
    pub parameters: Option<&'a RawValue>,
    /// Whether the arguments must follow the schema.
    pub strict: Option<bool>,
    /// Ask to cache up to here (extension `cache_control`).
    pub cache: Option<CacheControl>,
}

/// Which tools must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToolChoice<'a> {
    /// None.
    None,
    /// The model decides.
    Auto,
    /// One at least.
    Required,
    /// This one.
    Named(Cow<'a, str>),
}

/// The wanted form of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Format<'a> {
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema {
        /// The schema's name.
        name: Cow<'a, str>,
        /// What it is for.
        description: Option<Cow<'a, str>>,
        /// The schema; an object. Absent means any object.
        schema: Option<&'a RawValue>,
        /// Whether it must be followed exactly.
        strict: Option<bool>,
    },
}

/// How much to reason, OpenAI's words in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    /// Not at all.
    None,
    /// As little as possible.
    Minimal,
    /// Little.
    Low,
    /// As usual.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
    /// As much as possible.
    Max,
}

impl Effort {
    /// Every word in order.
    pub(crate) const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    /// OpenAI's word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// What a decoder hands over besides the messages and tools.
impl<'a> Request<'a> {
    /// A request that says nothing but `messages`, of the members of `object`.
    pub(crate) fn new(object: &'a Object<'a>, messages: Vec<Message<'a>>) -> Self {
        Self {
            messages,
            max_tokens: None,
            temperature: None,
            top_p: None,
            frequency_penalty: None,
            presence_penalty: None,
            seed: None,
            stop: Vec::new(),
            n: 1,
            logprobs: false,
            top_logprobs: None,
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            legacy_functions: false,
            format: None,
            effort: None,
            user: None,
            service_tier: None,
            stream: false,
            object,
        }
    }

    /// A member as the client wrote it, unless absent or `null`: for what has no neutral meaning.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.object.get(name).filter(|raw| raw.get() != "null")
    }

    /// The names of the members that say something: not those that are `null`, nor those whose value is what their
    /// absence means.
    pub(crate) fn given(&self) -> impl Iterator<Item = &str> {
        self.object.iter().filter(|(name, raw)| !says_nothing(name, raw.get())).map(|(name, _)| name)
    }

    /// Whether the history holds calls of tools or their results.
    pub(crate) fn has_tool_history(&self) -> bool {
        self.messages.iter().any(|message| message.role == Role::Tool || !message.tool_calls.is_empty())
    }
}

/// Whether a member's value means the same as its absence, for every provider.
pub(crate) fn says_nothing(name: &str, raw: &str) -> bool {
    let zero = || crate::json::number(raw) == Some(0.0);
    match name {
        _ if raw == "null" => true,
        "n" => raw == "1",
        "frequency_penalty" | "presence_penalty" => zero(),
        "logprobs" | "store" | "stream" => raw == "false",
        "parallel_tool_calls" => raw == "true",
        "service_tier" => raw == r#""auto""#,
        "logit_bias" | "metadata" | "stream_options" => raw == "{}",
        "tools" | "functions" | "stop" => raw == "[]",
        "verbosity" => raw == r#""medium""#,
        // White space within is as good as none.
        "modalities" => raw.chars().filter(|c| !c.is_whitespace()).eq(r#"["text"]"#.chars()),
        "response_format" => raw.chars().filter(|c| !c.is_whitespace()).eq(r#"{"type":"text"}"#.chars()),
        _ => false,
    }
}
