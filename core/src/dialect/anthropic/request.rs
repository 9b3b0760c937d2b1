//! A chat request, written for the Messages API.
//!
//! Rules without a source are ours. <https://platform.claude.com/docs/en/api/messages/create>

mod conversation;

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use serde_json::Number;
use serde_json::value::RawValue;

use self::conversation::{Conversation, blank, tool_name};
use super::wire::{self, Body, Cache, Choice, Metadata, OutputConfig, Thinking};
use crate::chat::{
    CacheControl, Destination, Drops, Effort, Encoded, Expect, Fate, Format, JSON_TOOL, Request, ToolChoice,
};
use crate::dialect::schema::closed;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json::{self, Edit};
use crate::model::{AnthropicVersion, Capabilities, ThinkingForm};

/// Most tokens of an answer where neither the client nor the model's record says it: the API insists on a number.
const MAX_TOKENS: u64 = 4096;

/// Marks for caching that one request may have.
/// <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>
const CACHE_MARKS: usize = 4;

/// Smallest budget for thinking. <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>
const LEAST_BUDGET: u64 = 1024;

/// Longest `metadata.user_id`.
const USER_CHARS: usize = 256;

/// Says what an answer without a schema must be: the API has no such mode.
const JSON_INSTRUCTION: &str =
    "Answer with exactly one JSON object and nothing else: no text before or after it, no Markdown.";

/// What the tool that stands for a response format is for, if the client does not say it.
const JSON_DESCRIPTION: &str = "Gives the final answer to the user. Call it once, with the whole answer.";

/// Stands for [`JSON_TOOL`] where a tool of the client has that name.
const OTHER_JSON_TOOL: &str = "json_output_of_gateway";

/// Writes a request.
///
/// # Errors
/// A code of status 400, naming what cannot be expressed.
pub(crate) fn encode_request<'r>(request: &'r Request<'r>, to: &Destination<'r>) -> Outcome<Encoded> {
    let can = to.can;
    let mut drops = Drops::default();
    if request.n > 1 {
        return Err(unsupported_value("n", "Parameter 'n' greater than 1"));
    }
    drops.judge(request, |name| fate(name, can))?;
    if request.raw("stream_options").is_some_and(asks_for_obfuscation) {
        drops.note("stream_options.include_obfuscation");
    }
    let mut conversation = Conversation::read(request, to, &mut drops)?;
    let max_tokens = request.max_tokens.unwrap_or_else(|| {
        let usual = can.default_max_tokens.unwrap_or(MAX_TOKENS);
        can.max_output_tokens.map_or(usual, |most| usual.min(most))
    });

    let answer = answer(request, can, &mut conversation)?;
    let mut expect = Expect::default();
    let mut tools = tools(request, can, &conversation, &mut expect, &mut drops)?;
    let tool_choice = tool_choice(request, can, &answer, !tools.is_empty())?;
    let mut output_config = OutputConfig::default();
    match answer {
        Form::Free => {}
        Form::Schema(schema) => {
            let schema = match closed(schema.get()) {
                Cow::Borrowed(_) => Cow::Borrowed(schema),
                Cow::Owned(json) => made(json)?,
            };
            output_config.format = Some(wire::Format::JsonSchema { schema });
        }
        Form::Tool { name, description, schema } => {
            let input_schema = object_schema(Some(schema))?;
            let description = description.filter(|text| !text.is_empty()).or(Some(JSON_DESCRIPTION));
            tools.push(wire::Tool { name: name.into(), description, input_schema, strict: false, cache_control: None });
            expect.json_tool = Some(name);
        }
    }
    let forced = tool_choice.as_ref().is_some_and(|choice| matches!(choice.r#type, "any" | "tool"));
    let thinking;
    (thinking, output_config.effort) =
        reasoning(request, can, max_tokens, forced, conversation.unthinking_call(), &mut drops);

    // Thinking goes with the usual temperature only, and the newer version takes no sampling at any value.
    let samples = can.sampling
        && can.anthropic_version != Some(AnthropicVersion::V2026)
        && !matches!(thinking, Some(Thinking::Adaptive { .. } | Thinking::Enabled { .. }));
    let temperature = request.temperature.as_ref().filter(|_| samples && takes(can, "temperature")).map(at_most_one);
    let top_p = request
        .top_p
        .clone()
        .filter(|_| samples && takes(can, "top_p") && (temperature.is_none() || can.top_p_with_temperature));
    for (name, lost) in [
        ("temperature", request.temperature.is_some() && temperature.is_none()),
        ("top_p", request.top_p.is_some() && top_p.is_none()),
    ] {
        if lost {
            drops.note(name);
        }
    }
    let older = temperature.is_some() || top_p.is_some() || can.thinking == ThinkingForm::Budget;
    let version =
        can.anthropic_version.unwrap_or(if older { AnthropicVersion::V2023 } else { AnthropicVersion::V2026 });

    let (system, messages) = conversation.finish();
    let mut body = Body {
        model: to.model,
        max_tokens,
        system,
        tools,
        tool_choice,
        messages,
        cache_control: request.raw("cache_control").and_then(cache_control).map(Cache::from),
        stop_sequences: stop(request, can, &mut drops),
        temperature,
        top_p,
        thinking,
        output_config,
        metadata: user(request, can, &mut drops).map(|user_id| Metadata { user_id }),
        service_tier: service_tier(request, can, &mut drops),
        stream: request.stream,
    };
    limit_caching(&mut body, can, &mut drops);
    let body = serde_json::to_vec(&body).map_err(|_| Failure::internal("a request cannot be written"))?;
    let headers = vec![(HeaderName::from_static("anthropic-version"), HeaderValue::from_static(version.as_str()))];
    Ok(Encoded { body: Bytes::from(body), headers, drops, expect })
}

/// What becomes of each parameter. Those that depend on the model are used here and noted where they are written.
fn fate(name: &str, can: &Capabilities) -> Fate {
    match name {
        "model" | "messages" | "max_tokens" | "max_completion_tokens" | "temperature" | "top_p" | "stop" | "n"
        | "tools" | "tool_choice" | "functions" | "function_call" | "response_format" | "reasoning_effort" | "user"
        | "safety_identifier" | "service_tier" | "stream" | "stream_options" | "cache_control"
        // The gateway's own.
        | "cache" | "router" | "input_type" => Fate::Used,
        "parallel_tool_calls" if takes(can, name) => Fate::Used,
        // Sound is an answer that the client checks for; the others change what an answer is made from.
        "modalities" | "audio" | "moderation" | "web_search_options" => Fate::Refused,
        _ => Fate::Dropped,
    }
}

/// Whether the tenant says nothing against a parameter.
fn takes(can: &Capabilities, name: &str) -> bool {
    !can.unsupported_parameters.iter().any(|refused| refused == name)
}

fn unsupported_value(param: &'static str, what: &str) -> Failure {
    Failure::new(ErrorCode::UnsupportedValue, format!("{what} is not supported by provider type 'anthropic'."))
        .with_param(param)
}

fn asks_for_obfuscation(options: &RawValue) -> bool {
    json::object(options.get().as_bytes())
        .is_ok_and(|options| options.get("include_obfuscation").is_some_and(|raw| raw.get() == "true"))
}

/// The same number, but not above 1: OpenAI's temperature ends at 2.
fn at_most_one(temperature: &Number) -> Number {
    match temperature.as_f64() {
        Some(value) if value > 1.0 => Number::from_f64(1.0).unwrap_or_else(|| 1.into()),
        _ => temperature.clone(),
    }
}

/// How the answer's form is asked for.
enum Form<'r> {
    /// Not at all, or in words.
    Free,
    /// By its schema.
    Schema(&'r RawValue),
    /// By a tool that has to be called.
    Tool { name: &'static str, description: Option<&'r str>, schema: &'r RawValue },
}

fn answer<'r>(request: &'r Request<'r>, can: &Capabilities, conversation: &mut Conversation<'r>) -> Outcome<Form<'r>> {
    let (description, schema) = match &request.format {
        None => return Ok(Form::Free),
        Some(Format::JsonObject | Format::JsonSchema { schema: None, .. }) => {
            conversation.instruct(JSON_INSTRUCTION);
            return Ok(Form::Free);
        }
        Some(Format::JsonSchema { schema: Some(schema), description, .. }) => (description.as_deref(), *schema),
    };
    if can.structured_output {
        return Ok(Form::Schema(schema));
    }
    // A tool must be called: then there is no answer that the schema could be for.
    if matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_))) {
        return Ok(Form::Free);
    }
    if !can.forced_tool_choice {
        return Err(Failure::new(
            ErrorCode::UnsupportedValue,
            "This model does not support a response format with a JSON schema.",
        )
        .with_param("response_format"));
    }
    let taken = request.tools.iter().any(|tool| tool.name == JSON_TOOL);
    Ok(Form::Tool { name: if taken { OTHER_JSON_TOOL } else { JSON_TOOL }, description, schema })
}

fn tools<'r>(
    request: &'r Request<'r>,
    can: &Capabilities,
    conversation: &Conversation<'r>,
    expect: &mut Expect,
    drops: &mut Drops,
) -> Outcome<Vec<wire::Tool<'r>>> {
    if request.tools.is_empty() {
        // Blocks of tools in the history want tools in the request.
        return conversation
            .called()
            .into_iter()
            .map(|name| {
                let input_schema = object_schema(None)?;
                Ok(wire::Tool { name, description: None, input_schema, strict: false, cache_control: None })
            })
            .collect();
    }
    let mut tools = Vec::with_capacity(request.tools.len() + 1);
    for tool in &request.tools {
        let name = tool_name(&tool.name);
        if name != tool.name {
            expect.renamed.push((name.clone().into_owned(), tool.name.clone().into_owned()));
        }
        let strict = tool.strict == Some(true);
        if strict && !can.structured_output {
            drops.note("tools.strict");
        }
        tools.push(wire::Tool {
            name,
            description: tool.description.as_deref(),
            input_schema: object_schema(tool.parameters)?,
            strict: strict && can.structured_output,
            cache_control: tool.cache.map(Cache::from),
        });
    }
    Ok(tools)
}

/// A schema whose root says that it is an object, which the API insists on.
fn object_schema(schema: Option<&RawValue>) -> Outcome<Cow<'_, RawValue>> {
    let Some(raw) = schema else { return made(r#"{"type":"object","properties":{}}"#.to_owned()) };
    let root: wire::Kind<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    if root.kind.is_some() {
        return Ok(Cow::Borrowed(raw));
    }
    let Ok(object) = json::object(raw.get().as_bytes()) else { return Ok(Cow::Borrowed(raw)) };
    if object.get("type").is_some_and(|kind| kind.get() != "null") {
        return Ok(Cow::Borrowed(raw));
    }
    let keep = |name: &str, _: &RawValue| if name == "type" { Edit::Drop } else { Edit::Keep };
    made(String::from_utf8(json::rewrite(&object, keep, &[("type", "\"object\"")])).unwrap_or_default())
}

/// A schema that was written anew.
fn made<'r>(json: String) -> Outcome<Cow<'r, RawValue>> {
    RawValue::from_string(json).map(Cow::Owned).map_err(|_| Failure::internal("a schema cannot be written"))
}

fn tool_choice<'r>(
    request: &'r Request<'r>,
    can: &Capabilities,
    answer: &Form<'r>,
    any_tools: bool,
) -> Outcome<Option<Choice<'r>>> {
    let choice = |r#type, name| Choice { r#type, name, disable_parallel_tool_use: false };
    let one_only = request.parallel_tool_calls == Some(false) && takes(can, "parallel_tool_calls");
    let mut choice = match (&request.tool_choice, answer) {
        // Without another tool to call this one is the answer; two of them would be none.
        (said, Form::Tool { name, .. }) if request.tools.is_empty() || *said == Some(ToolChoice::None) => {
            return Ok(Some(Choice { disable_parallel_tool_use: true, ..choice("tool", Some((*name).into())) }));
        }
        (_, Form::Tool { .. }) => choice("any", None),
        (_, _) if !any_tools => return Ok(None),
        (Some(ToolChoice::None), _) => return Ok(Some(choice("none", None))),
        // These tools are the history's; the client gave none that could be called.
        (None, _) if request.tools.is_empty() => return Ok(Some(choice("none", None))),
        (Some(ToolChoice::Required | ToolChoice::Named(_)), _) if !can.forced_tool_choice => {
            return Err(Failure::new(ErrorCode::UnsupportedValue, "This model does not support a forced tool.")
                .with_param("tool_choice"));
        }
        (Some(ToolChoice::Required), _) => choice("any", None),
        (Some(ToolChoice::Named(name)), _) => choice("tool", Some(tool_name(name))),
        (Some(ToolChoice::Auto), _) => choice("auto", None),
        (None, _) if one_only => choice("auto", None),
        (None, _) => return Ok(None),
    };
    choice.disable_parallel_tool_use = one_only;
    Ok(Some(choice))
}

/// How much to reason, as `thinking` and as the effort of `output_config`.
fn reasoning(
    request: &Request<'_>,
    can: &Capabilities,
    max_tokens: u64,
    forced: bool,
    unthinking_call: bool,
    drops: &mut Drops,
) -> (Option<Thinking>, Option<&'static str>) {
    let Some(effort) = request.effort else { return (None, None) };
    let used = match (can.thinking, effort) {
        _ if !takes(can, "reasoning_effort") => None,
        (ThinkingForm::Adaptive, Effort::None) => can.thinking_off.then_some((Some(Thinking::Disabled), None)),
        // Their absence is no reasoning.
        (ThinkingForm::None | ThinkingForm::Budget | ThinkingForm::Effort, Effort::None) => Some((None, None)),
        (ThinkingForm::None, _) => None,
        (ThinkingForm::Effort, effort) => Some((None, Some(effort_word(effort)))),
        // Who thinks cannot be forced to call a tool.
        (ThinkingForm::Adaptive | ThinkingForm::Budget, _) if forced => None,
        (ThinkingForm::Adaptive, effort) => {
            Some((Some(Thinking::Adaptive { display: "summarized" }), Some(effort_word(effort))))
        }
        // A turn that called a tool must begin with its thinking if there is to be more of it.
        (ThinkingForm::Budget, _) if unthinking_call || max_tokens <= LEAST_BUDGET => None,
        (ThinkingForm::Budget, effort) => {
            let budget_tokens = budget(effort).min(max_tokens - 1);
            Some((Some(Thinking::Enabled { budget_tokens }), None))
        }
    };
    used.unwrap_or_else(|| {
        drops.note("reasoning_effort");
        (None, None)
    })
}

/// Anthropic's word for an effort.
const fn effort_word(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal => Effort::Low.as_str(),
        Effort::Low | Effort::Medium | Effort::High | Effort::XHigh | Effort::Max => effort.as_str(),
    }
}

/// How many tokens an effort is worth, for models that want a budget.
const fn budget(effort: Effort) -> u64 {
    match effort {
        Effort::None | Effort::Minimal => LEAST_BUDGET,
        Effort::Low => 2048,
        Effort::Medium => 8192,
        Effort::High => 16_384,
        Effort::XHigh => 24_576,
        Effort::Max => 32_000,
    }
}

/// Stop sequences. Those of nothing but white space are refused upstream.
fn stop<'r>(request: &'r Request<'_>, can: &Capabilities, drops: &mut Drops) -> Vec<&'r str> {
    let taken = takes(can, "stop");
    let stop: Vec<&str> = request.stop.iter().map(|text| &**text).filter(|text| taken && !blank(text)).collect();
    if stop.len() < request.stop.len() {
        drops.note("stop");
    }
    stop
}

/// Who asks. The API wants no personal data there.
fn user<'r>(request: &'r Request<'_>, can: &Capabilities, drops: &mut Drops) -> Option<&'r str> {
    let user = request.user.as_deref()?;
    let name = if request.raw("user").is_some() { "user" } else { "safety_identifier" };
    if takes(can, name) && !user.is_empty() && user.chars().count() <= USER_CHARS && !is_personal(user) {
        return Some(user);
    }
    drops.note(name);
    None
}

/// Whether a text looks like an address or number of a person. A row of digits alone is more often an id.
fn is_personal(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let phone = (7..=15).contains(&digits)
        && digits < text.len()
        && text.bytes().all(|b| b.is_ascii_digit() || b" +-().".contains(&b));
    phone || text.contains('@')
}

fn service_tier(request: &Request<'_>, can: &Capabilities, drops: &mut Drops) -> Option<&'static str> {
    match request.service_tier.as_deref() {
        None => None,
        Some("default") if takes(can, "service_tier") => Some("standard_only"),
        Some(_) => {
            drops.note("service_tier");
            None
        }
    }
}

/// `cache_control` of the request itself: the service then chooses the place.
fn cache_control(raw: &RawValue) -> Option<CacheControl> {
    let object = json::object(raw.get().as_bytes()).ok()?;
    Some(match object.get("ttl").map(RawValue::get) {
        Some(r#""1h""#) => CacheControl::OneHour,
        Some(r#""5m""#) => CacheControl::FiveMinutes,
        _ => CacheControl::Default,
    })
}

/// Leaves out marks for caching that the model does not take, or that are too many: then the last ones stay, which
/// cover the longest prefixes.
fn limit_caching(body: &mut Body<'_>, can: &Capabilities, drops: &mut Drops) {
    let whole = usize::from(body.cache_control.is_some());
    let turns = body.messages.iter_mut().filter_map(|turn| match &mut turn.content {
        wire::Content::Blocks(blocks) => Some(blocks),
        wire::Content::Text(_) => None,
    });
    let blocks = body.system.iter_mut().chain(turns.flatten()).filter_map(wire::Block::cache);
    let mut marks: Vec<&mut Option<Cache>> =
        body.tools.iter_mut().map(|tool| &mut tool.cache_control).chain(blocks).filter(|mark| mark.is_some()).collect();
    let most = if can.prompt_caching { CACHE_MARKS - whole } else { 0 };
    let surplus = marks.len().saturating_sub(most);
    for mark in marks.iter_mut().take(surplus) {
        **mark = None;
    }
    let refused = !can.prompt_caching && whole > 0;
    if refused {
        body.cache_control = None;
    }
    if surplus > 0 || refused {
        drops.note("cache_control");
    }
}

#[cfg(test)]
mod tests;
