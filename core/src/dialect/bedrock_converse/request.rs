//! A neutral request, written for Converse.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_RequestBody>

mod documents;
mod messages;
mod names;
mod tools;

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use self::names::Names;
use self::tools::Plan;
use super::wire::Json;
use crate::chat::{Destination, Drops, Effort, Encoded, Expect, Fate, Format, Request};
use crate::dialect::schema::closed;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json;
use crate::model::{Family, ThinkingForm};

/// Most cache points of a request. <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>
const CACHE_POINTS: usize = 4;

/// Writes a request. `model` and `stream` are in the URL, not in the body.
///
/// # Errors
/// A code of status 400 for what the provider or the model cannot take and must not be left out.
pub(crate) fn encode_request(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Encoded> {
    let mut drops = Drops::default();
    drops.judge(request, |name| fate(request, to, name))?;
    if request.raw("stream_options").is_some_and(asks_for_obfuscation) {
        drops.note("stream_options.include_obfuscation");
    }
    if request.n > 1 {
        let text = "Parameter 'n' greater than 1 is not supported by provider type 'bedrock'.";
        return Err(Failure::new(ErrorCode::UnsupportedValue, text).with_param("n"));
    }
    let names = Names::of(request);
    let plan = tools::plan(request, to)?;
    let thinking = thinking(request, to, &plan, &mut drops);

    let mut body = Json::default();
    body.raw("{");
    messages::write(&mut body, request, to, &names, plan.json_instruction, &mut drops)?;
    inference(&mut body, request, to, &thinking, &mut drops);
    let points = body.cache_points();
    tools::write(&mut body, request, to, &names, &plan, &mut drops);
    additional(&mut body, request, to, &thinking, &mut drops)?;
    output(&mut body, &plan, to, &thinking);
    if let Some(tier) = request.service_tier.as_deref() {
        if matches!(tier, "flex" | "priority" | "default") {
            body.name("serviceTier").raw("{").name("type").string(tier).raw("}");
        } else {
            drops.note("service_tier");
        }
    }
    if let Some(raw) = request.raw("metadata").filter(|raw| raw.get() != "{}") {
        if fits_metadata(raw) {
            body.name("requestMetadata").raw(raw.get());
        } else {
            drops.note("metadata");
        }
    }
    body.raw("}");
    // A prompt begins with its tools; the last points cover the longest prefixes.
    if body.limit_cache_points(CACHE_POINTS, points) {
        drops.note("cache_control");
    }
    let expect =
        Expect { json_tool: plan.json_tool(), no_tools: plan.no_tools, renamed: names.renamed(), ..Expect::default() };
    Ok(Encoded { body: Bytes::from(body.into_bytes()), headers: Vec::new(), drops, expect })
}

/// Whether the model takes a parameter, as far as its record says.
fn takes(to: &Destination<'_>, name: &str) -> bool {
    !to.can.unsupported_parameters.iter().any(|refused| refused == name)
}

/// What becomes of a top-level parameter. Those that are used in part are judged where they are written.
fn fate(request: &Request<'_>, to: &Destination<'_>, name: &str) -> Fate {
    match name {
        "model" | "messages" => Fate::Used,
        "audio" | "modalities" | "moderation" | "web_search_options" => Fate::Refused,
        _ if !takes(to, name) => Fate::Dropped,
        "max_tokens"
        | "max_completion_tokens"
        | "temperature"
        | "top_p"
        | "top_k"
        | "stop"
        | "n"
        | "tools"
        | "tool_choice"
        | "functions"
        | "function_call"
        | "response_format"
        | "reasoning_effort"
        | "service_tier"
        | "metadata"
        | "stream"
        | "stream_options" => Fate::Used,
        // Steer the gateway.
        "cache" | "router" | "cache_control" => Fate::Used,
        // Some models refused its counterpart: https://github.com/anthropics/anthropic-sdk-python/issues/739
        "parallel_tool_calls" if request.tools.is_empty() => Fate::Used,
        _ => Fate::Dropped,
    }
}

fn asks_for_obfuscation(options: &RawValue) -> bool {
    let asks = |options: json::Object<'_>| options.get("include_obfuscation").is_some_and(|raw| raw.get() == "true");
    json::object(options.get().as_bytes()).is_ok_and(asks)
}

/// How the model is told to think.
enum Thinking {
    /// Nothing is said.
    Unsaid,
    /// Claude is told not to.
    Off,
    /// Claude decides how much, with this effort.
    Adaptive(&'static str),
    /// Claude has this many tokens for it; `max_tokens` of the answer include them.
    Budget { tokens: u64, max_tokens: u64 },
    /// `reasoning_effort`.
    Effort(&'static str),
}

fn thinking(request: &Request<'_>, to: &Destination<'_>, plan: &Plan<'_>, drops: &mut Drops) -> Thinking {
    let Some(effort) = request.effort.filter(|_| takes(to, "reasoning_effort")) else { return Thinking::Unsaid };
    let found = match (to.can.thinking, effort) {
        (ThinkingForm::None | ThinkingForm::Budget, Effort::None) => return Thinking::Unsaid,
        (ThinkingForm::Adaptive, Effort::None) => to.can.thinking_off.then_some(Thinking::Off),
        (ThinkingForm::None, _) | (ThinkingForm::Effort, Effort::None) => None,
        // Claude cannot think and be forced to call a tool.
        (ThinkingForm::Adaptive | ThinkingForm::Budget, _) if plan.forces() => None,
        (ThinkingForm::Adaptive, Effort::Minimal) => Some(Thinking::Adaptive(Effort::Low.as_str())),
        (ThinkingForm::Adaptive, effort) => Some(Thinking::Adaptive(effort.as_str())),
        // The open models of OpenAI know three words.
        (ThinkingForm::Effort, Effort::Minimal | Effort::Low) => Some(Thinking::Effort("low")),
        (ThinkingForm::Effort, Effort::Medium) => Some(Thinking::Effort("medium")),
        (ThinkingForm::Effort, Effort::High | Effort::XHigh | Effort::Max) => Some(Thinking::Effort("high")),
        // With a budget, a last turn of the model that calls tools must begin with its thinking.
        (ThinkingForm::Budget, _) if messages::lacks_thinking(request) => None,
        (ThinkingForm::Budget, effort) => budget(request, to, effort),
    };
    found.unwrap_or_else(|| {
        drops.note("reasoning_effort");
        Thinking::Unsaid
    })
}

/// Our steps of budgets, below the limit of the answer; `None` where that leaves less than Claude takes, 1,024.
fn budget(request: &Request<'_>, to: &Destination<'_>, effort: Effort) -> Option<Thinking> {
    /// Tokens for the answer beside the thinking, where the client sets no limit.
    const ANSWER: u64 = 4_096;
    let tokens = match effort {
        Effort::None => return None,
        Effort::Minimal => 1_024,
        Effort::Low => 2_048,
        Effort::Medium => 8_192,
        Effort::High => 16_384,
        Effort::XHigh => 24_576,
        Effort::Max => 32_000,
    };
    let most =
        max_tokens(request, to).unwrap_or_else(|| to.can.max_output_tokens.unwrap_or(u64::MAX).min(tokens + ANSWER));
    (most > 1_024).then(|| Thinking::Budget { tokens: tokens.min(most - 1), max_tokens: most })
}

/// The limit of the answer that the client or the tenant gave.
fn max_tokens(request: &Request<'_>, to: &Destination<'_>) -> Option<u64> {
    let takes = takes(to, "max_tokens") && takes(to, "max_completion_tokens");
    request.max_tokens.filter(|_| takes).or(to.can.default_max_tokens)
}

/// Writes `inferenceConfig`, if there is anything to say.
fn inference(body: &mut Json, request: &Request<'_>, to: &Destination<'_>, thinking: &Thinking, drops: &mut Drops) {
    let mut config = Json::default();
    let most = match thinking {
        Thinking::Budget { max_tokens, .. } => Some(*max_tokens),
        _ => max_tokens(request, to),
    };
    if let Some(most) = most {
        config.name("maxTokens").raw(&most.to_string());
    }
    let samples = to.can.sampling;
    let budget = matches!(thinking, Thinking::Budget { .. });
    let mut temperature = request.temperature.as_ref().filter(|_| takes(to, "temperature"));
    if temperature.is_some() && (!samples || budget) {
        drops.note("temperature");
        temperature = None;
    }
    if let Some(number) = temperature {
        // OpenAI's scale ends at 2, Converse's at 1.
        let text = if is_above(number, 1.0) { "1.0".to_owned() } else { number.to_string() };
        config.name("temperature").raw(&text);
    }
    if let Some(number) = request.top_p.as_ref().filter(|_| takes(to, "top_p")) {
        // With a budget Claude takes 0.95 and more.
        let narrow = budget && !is_above(number, 0.949_999);
        if samples && !narrow && (temperature.is_none() || to.can.top_p_with_temperature) {
            config.name("topP").raw(&number.to_string());
        } else {
            drops.note("top_p");
        }
    }
    let mut stops = Json::default();
    for stop in request.stop.iter().filter(|_| takes(to, "stop")) {
        // Claude refuses sequences of nothing but white space: https://github.com/BerriAI/litellm/issues/3286
        if stop.is_empty() || (to.can.family == Family::Claude && stop.trim().is_empty()) {
            drops.note("stop");
        } else {
            stops.string(stop);
        }
    }
    if !stops.is_empty() {
        config.name("stopSequences").raw("[").splice(&stops).raw("]");
    }
    if !config.is_empty() {
        body.name("inferenceConfig").raw("{").splice(&config).raw("}");
    }
}

fn is_above(number: &Number, bound: f64) -> bool {
    number.as_f64().is_some_and(|value| value > bound)
}

/// Writes `additionalModelRequestFields`: what goes to the model in its own words.
fn additional(
    body: &mut Json,
    request: &Request<'_>,
    to: &Destination<'_>,
    thinking: &Thinking,
    drops: &mut Drops,
) -> Outcome<()> {
    let mut fields = Json::default();
    match thinking {
        Thinking::Unsaid => {}
        Thinking::Off => {
            fields.name("thinking").raw(r#"{"type":"disabled"}"#);
        }
        Thinking::Adaptive(_) => {
            fields.name("thinking").raw(r#"{"type":"adaptive"}"#);
        }
        Thinking::Budget { tokens, .. } => {
            fields.name("thinking").raw(&format!(r#"{{"type":"enabled","budget_tokens":{tokens}}}"#));
        }
        Thinking::Effort(word) => {
            fields.name("reasoning_effort").string(word);
        }
    }
    if let Some(raw) = request.raw("top_k").filter(|_| takes(to, "top_k")) {
        if raw.get().parse::<u32>().is_err() {
            return Err(Failure::invalid("top_k", "'top_k' must be a whole number that is not negative."));
        }
        if to.can.sampling && !matches!(thinking, Thinking::Budget { .. }) {
            fields.name("top_k").raw(raw.get());
        } else {
            drops.note("top_k");
        }
    }
    if !fields.is_empty() {
        body.name("additionalModelRequestFields").raw("{").splice(&fields).raw("}");
    }
    Ok(())
}

/// Writes `outputConfig`: the effort, and the schema of the answer.
fn output(body: &mut Json, plan: &Plan<'_>, to: &Destination<'_>, thinking: &Thinking) {
    let mut config = Json::default();
    if let Thinking::Adaptive(effort) = thinking {
        config.name("effort").string(effort);
    }
    if let Some(Format::JsonSchema { name, description, schema: Some(schema), .. }) = plan.native_format {
        config.name("textFormat").raw("{").name("type").plain("json_schema").name("structure").raw("{");
        // The schema is a string here: https://github.com/BerriAI/litellm/issues/9351
        let mut schema = compact(schema.get());
        if to.can.family == Family::Claude
            && let Cow::Owned(closed) = closed(&schema)
        {
            schema = closed;
        }
        config.name("jsonSchema").raw("{").name("schema").string(&schema).name("name").string(name);
        if let Some(description) = description.as_deref().filter(|text| !text.is_empty()) {
            config.name("description").string(description);
        }
        config.raw("}").raw("}").raw("}");
    }
    if !config.is_empty() {
        body.name("outputConfig").raw("{").splice(&config).raw("}");
    }
}

/// JSON without white space between its tokens.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string || !c.is_ascii_whitespace() {
            out.push(c);
        }
        in_string = match c {
            '"' if !escaped => !in_string,
            _ => in_string,
        };
        escaped = in_string && c == '\\' && !escaped;
    }
    out
}

/// Whether `requestMetadata` takes these pairs: 1 to 16, of texts of at most 256 characters of an alphabet.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#bedrock-runtime_Converse-request-requestMetadata>
fn fits_metadata(raw: &RawValue) -> bool {
    let Ok(pairs) = serde_json::from_str::<Map<String, Value>>(raw.get()) else { return false };
    let fits = |text: &str| {
        text.len() <= 256
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b.is_ascii_whitespace() || b":_@$#=/+,-.".contains(&b))
    };
    (1..=16).contains(&pairs.len())
        && pairs.iter().all(|(name, value)| !name.is_empty() && fits(name) && value.as_str().is_some_and(fits))
}

/// Content that cannot be expressed.
fn content_refused(place: String, what: &'static str) -> Failure {
    Failure::new(ErrorCode::UnsupportedContent, what).with_param(place)
}

/// A value that the model cannot take.
fn value_refused(param: &'static str, what: &'static str) -> Failure {
    Failure::new(ErrorCode::UnsupportedValue, what).with_param(param)
}

#[cfg(test)]
mod tests;
